//! Tables for people: columns, no frame, so that they can be cut and grepped.
//!
//! A column is as wide as its widest cell, and keeps its width over rows that
//! come later. Never lets a cell break its line. Used by all that lists.

use super::tone::{Tone, colour, plain};
use super::{Failure, say};

/// Between columns.
const GAP: &str = "  ";

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// In this tone.
    pub(super) fn new(text: &str, tone: Tone) -> Self {
        Self {
            text: plain(text),
            tone,
        }
    }

    /// A state, in its colour.
    pub(super) fn state(text: &str) -> Self {
        Self::new(text, Tone::of_state(text))
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text.as_ref(), Tone::Plain)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    widths: Vec<usize>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Without rows.
    pub(super) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|name| Cell::new(name, Tone::Head));
        let mut table = Self {
            widths: Vec::new(),
            rows: Vec::new(),
        };
        table.add(head.collect());
        table
    }

    /// One row more.
    pub(super) fn add(&mut self, row: Vec<Cell>) {
        for (at, cell) in row.iter().enumerate() {
            let width = cell.text.chars().count();
            match self.widths.get_mut(at) {
                Some(widest) => *widest = width.max(*widest),
                None => self.widths.push(width),
            }
        }
        self.rows.push(row);
    }

    /// The lines of all rows that were not taken yet.
    pub(super) fn take(&mut self, colour: bool) -> Vec<String> {
        let rows = std::mem::take(&mut self.rows);
        rows.iter().map(|row| self.line(row, colour)).collect()
    }

    fn line(&self, row: &[Cell], colour: bool) -> String {
        let mut line = String::new();
        let last = row.iter().rposition(|cell| !cell.text.is_empty());
        for (at, cell) in row.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
            line.push_str(&cell.tone.paint(&cell.text, colour));
            if Some(at) != last {
                let width = self.widths.get(at).copied().unwrap_or(0);
                let fill = width.saturating_sub(cell.text.chars().count());
                line.extend(std::iter::repeat_n(' ', fill));
                line.push_str(GAP);
            }
        }
        line
    }

    /// Prints the rows that were not printed yet.
    pub(super) fn print(&mut self) -> Result<(), Failure> {
        let lines = self.take(colour());
        if lines.is_empty() {
            return Ok(());
        }
        say(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_end_without_spaces() {
        let mut table = Table::new(&["NAME", "STATE", "REASON"]);
        table.add(vec!["iris".into(), Cell::state("Healthy"), "".into()]);
        table.add(vec!["größer".into(), Cell::state("Failed"), "a\nb".into()]);
        assert_eq!(
            table.take(false),
            [
                "NAME    STATE    REASON",
                "iris    Healthy",
                "größer  Failed   a\\nb"
            ]
        );
        table.add(vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(table.take(false), ["a       b        c"]);
    }

    #[test]
    fn colour_does_not_move_a_column() {
        let mut table = Table::new(&["A", "B"]);
        table.add(vec![Cell::state("Healthy"), "x".into()]);
        assert_eq!(
            table.take(true),
            [
                "\x1b[1mA\x1b[0m        \x1b[1mB\x1b[0m",
                "\x1b[32mHealthy\x1b[0m  x"
            ]
        );
    }
}
