//! Colour where a person looks on, and text that cannot drive their terminal.
//!
//! Colour only where standard output is a terminal and `NO_COLOR` is not set
//! (<https://no-color.org>). Used by all that prints for people.

use std::io::{self, IsTerminal as _};

/// What a text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// On its way.
    Waiting,
    /// To be looked at.
    Bad,
    /// A heading.
    Head,
}

impl Tone {
    /// The tone of a state (SEMANTICS §12).
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "Healthy" => Self::Good,
            "Transitioning" | "Unschedulable" => Self::Waiting,
            "Unhealthy" | "Failed" | "Conflict" => Self::Bad,
            _ => Self::Plain,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Waiting => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Head => "\x1b[1m",
        }
    }

    /// The text in this tone, where colour is wanted.
    pub(super) fn paint(self, text: &str, colour: bool) -> String {
        if colour && self != Self::Plain && !text.is_empty() {
            format!("{}{text}\x1b[0m", self.code())
        } else {
            text.to_owned()
        }
    }
}

/// Whether standard output shows colour.
pub(super) fn colour() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    io::stdout().is_terminal()
        && set("NO_COLOR").is_none()
        && set("TERM").is_none_or(|term| term != "dumb")
}

/// The text with its control characters escaped.
pub(super) fn plain(text: &str) -> String {
    escaped(text, |c| c == '\t')
}

/// The same of a text of several lines.
pub(super) fn plain_lines(text: &str) -> String {
    escaped(text, |c| c == '\t' || c == '\n')
}

fn escaped(text: &str, stands: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !stands(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_their_colour_where_colour_is_wanted() {
        let healthy = Tone::of_state("Healthy");
        assert_eq!(healthy.paint("Healthy", true), "\x1b[32mHealthy\x1b[0m");
        assert_eq!(healthy.paint("Healthy", false), "Healthy");
        assert_eq!(Tone::of_state("Failed"), Tone::Bad);
        assert_eq!(Tone::of_state("Unschedulable"), Tone::Waiting);
        assert_eq!(Tone::Plain.paint("x", true), "x");
    }

    #[test]
    fn a_text_cannot_drive_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\tc\nd"), "a\\u{1b}[2Jb\tc\\nd");
        assert_eq!(plain_lines("a\r\nb"), "a\\r\nb");
        assert_eq!(plain("größer"), "größer");
    }
}
