//! Why a command does not succeed, and what a script sees of it.

use crate::cli::client::ClientError;
use crate::cli::problem::Problem;
use crate::config::ConfigError;
use crate::daemon::{ActionError, ProblemView};
use std::io;
use std::path::PathBuf;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The daemon was asked, and did not do it.
    Client(ClientError),
    /// The input cannot be used.
    Refused(Problem),
    /// The configuration file cannot be used.
    Config(ConfigError),
    /// A file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The answer cannot be printed.
    Print(io::Error),
    /// Waiting took too long.
    TimedOut(String),
    /// The receiver of a webhook did not take it.
    NotTaken(String),
    /// The daemon could not run.
    Serve(anyhow::Error),
}

// === impl CliError ===

impl CliError {
    /// The input cannot be used, and `detail` says why and what to do.
    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Self::Refused(Problem::new(detail, Vec::new()))
    }

    /// Whether nobody reads any more, as after `| head -1`: whoever left has what they wanted.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What a script sees: 1 for a refusal, 3 when trying again later may help.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Refused(_) | Self::Config(_) | Self::Read { .. } => 1,
            Self::Print(_) | Self::TimedOut(_) | Self::NotTaken(_) | Self::Serve(_) => 3,
        }
    }

    /// What is wrong, field by field where that is known.
    pub(crate) fn into_problem(self) -> Problem {
        let alone = |detail: String| Problem::new(detail, Vec::new());
        match self {
            Self::Client(ClientError::Refused(problem) | ClientError::Failed(problem))
            | Self::Refused(problem) => problem,
            Self::Client(error) => alone(error.to_string()),
            Self::Config(error) => alone(format!("{:#}", anyhow::Error::new(error))),
            Self::Read { path, source } => alone(format!("cannot read {}: {source}", path.display())),
            Self::Print(error) => alone(format!("cannot print the answer: {error}")),
            Self::TimedOut(detail) | Self::NotTaken(detail) => alone(detail),
            Self::Serve(error) => {
                let detail = format!("{error:#}");
                let errors = match error.downcast::<ActionError>() {
                    Ok(ActionError::Invalid { problems, .. }) => {
                        problems.into_iter().map(ProblemView::from).collect()
                    }
                    _ => Vec::new(),
                };
                Problem::new(detail, errors)
            }
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_start_that_fails_names_each_problem_of_what_is_stored() {
        let problems = vec![graylane_plan::Problem::error("spec.services[0].stable", "is not the baseline")];
        let error: Result<(), _> = Err(ActionError::Invalid { what: "plan", problems });
        let error = CliError::Serve(error.context("cannot load the stored state").unwrap_err());
        assert_eq!(error.exit_code(), 3);
        let text = error.into_problem().to_string();
        assert_eq!(
            text,
            "cannot load the stored state: the plan has 1 problem\n  spec.services[0].stable: is not the baseline"
        );
    }
}
