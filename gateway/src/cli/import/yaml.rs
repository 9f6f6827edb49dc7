//! YAML with comments, as a person would write it.
//!
//! Every text is quoted unless it is plain beyond doubt, and no comment can end
//! its line, so that nothing of a foreign file becomes YAML of ours. Knows no
//! resource. Used by `import`.

use std::fmt::Write as _;

/// Where a comment is broken into lines.
const WIDTH: usize = 100;

/// A map in the order of its entries.
#[derive(Debug, Default)]
pub(super) struct Map(Vec<Entry>);

#[derive(Debug)]
enum Entry {
    Key(String, Value),
    /// A comment above the next key.
    Note(String),
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// What this program made and YAML reads as it stands: a number, a boolean, a duration.
    Word(String),
    /// Any text.
    Text(String),
    /// A list of texts, in one line.
    Texts(Vec<String>),
    /// A map.
    Map(Map),
    /// A list of maps.
    Maps(Vec<Map>),
}

impl Map {
    /// Adds a key.
    pub(super) fn key(&mut self, key: &str, value: Value) {
        self.0.push(Entry::Key(key.to_owned(), value));
    }

    /// Adds a text under a key.
    pub(super) fn text(&mut self, key: &str, text: impl Into<String>) {
        self.key(key, Value::Text(text.into()));
    }

    /// Adds a word under a key.
    pub(super) fn word(&mut self, key: &str, word: impl ToString) {
        self.key(key, Value::Word(word.to_string()));
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a map under a key, unless it is empty.
    pub(super) fn map(&mut self, key: &str, map: Map) {
        if !map.is_empty() {
            self.key(key, Value::Map(map));
        }
    }

    /// Adds a comment.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.0.push(Entry::Note(text.into()));
    }

    /// The whole as YAML.
    pub(super) fn document(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0, false);
        out
    }

    /// Writes the entries at a depth; `item`: the first stands behind `- `.
    fn write(&self, out: &mut String, depth: usize, item: bool) {
        let mut behind_dash = item;
        // Comments stand above the dash of their first key.
        for entry in &self.0 {
            let indent = if behind_dash {
                depth.saturating_sub(1)
            } else {
                depth
            };
            match entry {
                Entry::Note(text) => out.push_str(&comment(text, indent)),
                Entry::Key(key, value) => {
                    let lead = if behind_dash { "- " } else { "" };
                    let _ = write!(out, "{}{lead}{}:", "  ".repeat(indent), quoted(key));
                    value.write(out, depth);
                    behind_dash = false;
                }
            }
        }
    }
}

impl Value {
    fn write(&self, out: &mut String, depth: usize) {
        match self {
            Self::Word(word) => {
                let _ = writeln!(out, " {word}");
            }
            Self::Text(text) => {
                let _ = writeln!(out, " {}", quoted(text));
            }
            Self::Texts(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                let _ = writeln!(out, " [{}]", texts.join(", "));
            }
            Self::Map(map) => {
                out.push('\n');
                map.write(out, depth + 1, false);
            }
            Self::Maps(maps) => {
                out.push('\n');
                for map in maps {
                    map.write(out, depth + 2, true);
                }
            }
        }
    }
}

/// A comment at a depth, broken between words.
pub(super) fn comment(text: &str, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut out = String::new();
    for part in text.split('\n') {
        // What goes on stands below its text, not below its dash.
        let hang = if part.starts_with("- ") { "  " } else { "" };
        let mut line = format!("{indent}#");
        let words = part.split(' ').filter(|word| !word.is_empty());
        for (before, word) in words.enumerate() {
            let word = visible(word);
            if before > 0 && line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(out, "{line}");
                line = format!("{indent}#{hang}");
            }
            line.push(' ');
            line.push_str(&word);
        }
        let _ = writeln!(out, "{line}");
    }
    out
}

/// A text without what could end a line or drive a terminal.
fn visible(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if escaped(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// What YAML does not take as it is, or an editor does not show.
fn escaped(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// A text as a scalar: plain where no reader of YAML takes it for anything else.
pub(super) fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if escaped(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Words that some reader of YAML takes for a boolean, for nothing or for a number.
const RESERVED: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

fn is_plain(text: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '/' || c == '_';
    // Options of a command are plain too, but for `-` and `---`.
    let option = text.strip_prefix("--").unwrap_or(text);
    option.starts_with(starts)
        && option
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c))
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 24] = [
        "",
        " ",
        "a: b",
        "a #b",
        "#",
        "-",
        "---",
        "- a",
        "line\nkind: Plugin\n---\n",
        "tab\tquote\"slash\\",
        "'single'",
        "null",
        "~",
        "Yes",
        "1",
        "1e3",
        "0x10",
        "12:30",
        "2026-01-01",
        "{a: b}",
        "*alias",
        "\u{85}next\u{2028}line",
        "\u{1b}[2J",
        "größer 日本 🦀",
    ];

    #[test]
    fn every_text_comes_back_as_it_was() {
        let mut map = Map::default();
        for (i, text) in HOSTILE.iter().enumerate() {
            map.note(*text);
            map.text(&format!("{text}{i}"), *text);
        }
        map.key("list", Value::Texts(HOSTILE.map(str::to_owned).to_vec()));
        let mut item = Map::default();
        item.note("above the dash");
        item.text("name", "a: b");
        item.word("count", 3);
        map.key("items", Value::Maps(vec![item, Map::default()]));
        let yaml = map.document();
        let read = crate::resource::node::documents("f", &yaml).unwrap();
        assert_eq!(read.len(), 1, "{yaml}");
        let read = read[0].json();
        for (i, text) in HOSTILE.iter().enumerate() {
            assert_eq!(read[format!("{text}{i}")], *text, "{yaml}");
            assert_eq!(read["list"][i], *text, "{yaml}");
        }
        assert_eq!(
            read["items"],
            serde_json::json!([{ "name": "a: b", "count": 3 }])
        );
    }

    #[test]
    fn what_is_plain_stays_plain() {
        for plain in [
            "azmlinfsrv",
            "--entry_script",
            "src/score.py",
            "/a",
            "blue-1",
        ] {
            assert_eq!(quoted(plain), plain);
        }
        for other in ["on", "--", "-a", ".5", "$(PORT)", "5001", "~/a"] {
            assert!(quoted(other).starts_with('"'), "{other}");
        }
    }

    #[test]
    fn a_long_comment_is_broken_between_words() {
        let text = format!("- {}", "word ".repeat(40));
        let lines: Vec<String> = comment(&text, 1).lines().map(str::to_owned).collect();
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= WIDTH));
        assert!(lines[0].starts_with("  # - word") && lines[1].starts_with("  #   word"));
    }
}
