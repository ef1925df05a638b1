//! What is shown again and again: on a terminal in the place of what was there before.

use crate::cli::output::print;
use crate::cli::{CliError, Session};
use console::{Term, truncate_str};

/// A terminal, and what stands on it.
pub(crate) struct Screen {
    terminal: Term,
    text: String,
}

// === impl Screen ===

impl Screen {
    /// The terminal, when people read the output there.
    pub(crate) fn of(session: &Session) -> Option<Self> {
        session.is_on_terminal().then(|| Self { terminal: Term::stdout(), text: String::new() })
    }

    /// Shows the text in the place of the one before, if it is another.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub(crate) fn show(&mut self, text: &str) -> Result<(), CliError> {
        let (rows, columns) = self.terminal.size();
        let text = fitted(text, usize::from(rows), usize::from(columns));
        if text != self.text {
            print(&format_args!("{}{text}", self.wipe()))?;
        }
        self.text = text;
        Ok(())
    }

    /// What takes the text before off a terminal: so many lines up, and everything below gone.
    fn wipe(&self) -> String {
        match self.text.lines().count() {
            0 => String::new(),
            lines => format!("\x1b[{lines}F\x1b[J"),
        }
    }
}

/// The text with lines that a terminal neither wraps nor scrolls away, so that as many are there as are taken off again. The
/// cursor stands below them. The first lines and the last one stay.
fn fitted(text: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let left_out = (lines.len() + 1).saturating_sub(rows);
    let Some((last, first)) = lines.split_last().filter(|_| left_out > 0 && rows > 3) else {
        return joined(lines.iter().map(|line| truncate_str(line, columns, "…").into_owned()));
    };
    // The line that says so takes a place too.
    let shown = first.iter().take(rows - 3).map(|line| (*line).to_owned());
    let note = format!("… {} lines more than fit here", left_out + 1);
    let lines = shown.chain([note, (*last).to_owned()]);
    joined(lines.map(|line| truncate_str(&line, columns, "…").into_owned()))
}

fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_fewer_lines_than_the_terminal_and_keeps_its_last_one() {
        let text = |lines: usize| joined((1..=lines).map(|line| format!("line {line}")));
        for (lines, rows) in [(1, 24), (23, 24), (5, 6), (3, 2)] {
            assert_eq!(fitted(&text(lines), rows, 80), text(lines));
        }
        for (lines, rows) in [(24, 24), (100, 24), (6, 6), (9, 4)] {
            let shown = fitted(&text(lines), rows, 80);
            assert_eq!(shown.lines().count(), rows - 1, "{shown}");
            assert_eq!(shown.lines().last(), Some(&*format!("line {lines}")));
            let hidden = lines - (rows - 2);
            assert!(shown.contains(&format!("… {} lines more", hidden)), "{lines} in {rows}: {shown}");
        }
        assert_eq!(fitted("a long line", 24, 6), "a lon…");
    }
}
