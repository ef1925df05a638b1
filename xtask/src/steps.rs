//! A verb is a row of steps: each is announced with its place in the row, and summed up at the end.
//!
//! All of this goes to stderr, so that stdout ends with what the last program printed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

type Work<'a> = Box<dyn FnOnce() -> Result<()> + 'a>;

/// What to do after a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// The later steps need this one.
    Stop,
    /// The steps do not depend on each other: show all that is wrong.
    GoOn,
}

/// A row of steps.
pub(crate) struct Steps<'a> {
    verb: &'static str,
    after_failure: AfterFailure,
    steps: Vec<(String, Work<'a>)>,
}

struct Done {
    name: String,
    took: Duration,
    failure: Option<String>,
}

// === impl Steps ===

impl<'a> Steps<'a> {
    /// A row with no step yet.
    pub(crate) fn new(verb: &'static str, after_failure: AfterFailure) -> Self {
        Self { verb, after_failure, steps: Vec::new() }
    }

    /// Adds a step at the end.
    pub(crate) fn then(mut self, name: impl Into<String>, work: impl FnOnce() -> Result<()> + 'a) -> Self {
        self.steps.push((name.into(), Box::new(work)));
        self
    }

    /// Takes the steps in their order; an error when one failed.
    pub(crate) fn run(self) -> Result<()> {
        let (started, total, verb) = (Instant::now(), self.steps.len(), self.verb);
        let mut done = Vec::with_capacity(total);
        for (index, (name, work)) in self.steps.into_iter().enumerate() {
            eprintln!("\n[{}/{total}, after {}] {name}", index + 1, shown(started.elapsed()));
            let begun = Instant::now();
            let failure = work().err().map(|error| format!("{error:#}"));
            let failed = failure.is_some();
            done.push(Done { name, took: begun.elapsed(), failure });
            if failed && self.after_failure == AfterFailure::Stop {
                break;
            }
        }
        sum_up(verb, total, &done);
        match done.iter().filter(|step| step.failure.is_some()).count() {
            0 => Ok(()),
            failed => bail!("cargo xtask {verb}: {failed} of {total} steps failed"),
        }
    }
}

fn sum_up(verb: &str, total: usize, done: &[Done]) {
    let whole: Duration = done.iter().map(|step| step.took).sum();
    eprintln!("\ncargo xtask {verb}: {} of {total} steps taken in {}", done.len(), shown(whole));
    for step in done {
        match &step.failure {
            None => eprintln!("  ok      {:>8}  {}", shown(step.took), step.name),
            Some(failure) => eprintln!("  FAILED  {:>8}  {}: {failure}", shown(step.took), step.name),
        }
    }
}

fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 60 {
        0 => format!("{:.1} s", time.as_secs_f64()),
        minutes => format!("{minutes} min {:02} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn steps_taken_when_the_first_of_two_fails(after_failure: AfterFailure) -> u32 {
        let taken = Cell::new(0);
        let steps = Steps::new("test", after_failure)
            .then("fails", || {
                taken.set(taken.get() + 1);
                bail!("on purpose")
            })
            .then("succeeds", || {
                taken.set(taken.get() + 1);
                Ok(())
            });
        assert_eq!(steps.run().unwrap_err().to_string(), "cargo xtask test: 1 of 2 steps failed");
        taken.get()
    }

    #[test]
    fn a_failed_step_ends_the_row_only_when_the_others_need_it() {
        assert_eq!(steps_taken_when_the_first_of_two_fails(AfterFailure::Stop), 1);
        assert_eq!(steps_taken_when_the_first_of_two_fails(AfterFailure::GoOn), 2);
    }
}
