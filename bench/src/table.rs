//! A table of a report: aligned for a terminal, or as Markdown.

use std::fmt::Write as _;

/// Rows of text under a head. A column with a figure in its first row is aligned to the right.
pub(crate) struct Table {
    title: String,
    note: String,
    rows: Vec<Vec<String>>,
}

// === impl Table ===

impl Table {
    /// A table with no row yet.
    pub(crate) fn new(title: impl Into<String>, note: impl Into<String>, head: &[&str]) -> Self {
        let head = head.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.into(), note: note.into(), rows: vec![head] }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// Whether there is nothing below the head.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                // Writing to a string cannot fail.
                let _ = match self.is_figure(column) {
                    true => write!(line, "  {cell:>width$}"),
                    false => write!(line, "  {cell:<width$}"),
                };
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !self.note.is_empty() {
            let _ = writeln!(text, "  {}", self.note);
        }
        text
    }

    /// For the repository.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        if !self.note.is_empty() {
            let _ = writeln!(text, "{}\n", self.note);
        }
        for (number, row) in self.rows.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if number == 0 {
                let rule = |column| if self.is_figure(column) { "---:" } else { "---" };
                let rules: Vec<_> = (0..row.len()).map(rule).collect();
                let _ = writeln!(text, "| {} |", rules.join(" | "));
            }
        }
        text
    }

    fn is_figure(&self, column: usize) -> bool {
        let cell = self.rows.get(1).and_then(|row| row.get(column));
        cell.is_some_and(|cell| {
            cell.starts_with(|first: char| first.is_ascii_digit() || "-+".contains(first))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_to_the_right() {
        let mut table = Table::new("t", "n", &["who", "ms"]);
        assert!(table.is_empty());
        table.push(["a".to_owned(), "1.5".to_owned()]);
        table.push(["bcd".to_owned(), "10.5".to_owned()]);
        assert_eq!(table.text(), "t\n  who    ms\n  a     1.5\n  bcd  10.5\n  n\n");
        let markdown = "## t\n\nn\n\n| who | ms |\n| --- | ---: |\n| a | 1.5 |\n| bcd | 10.5 |\n";
        assert_eq!(table.markdown(), markdown);
    }
}
