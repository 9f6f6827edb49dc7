//! A JSON text with the place of each value, and what serde_json lets pass.
//!
//! serde_json says what is JSON. A key that stands twice, of which it would keep
//! the last, is told here; and a problem that was found in a value gets the place
//! where the text has it. Used by `admin` for the bodies of its callers.

use crate::resource::locate::place;
use crate::resource::node::{Key, Node, Value};
use crate::resource::problem::{PROBLEMS_MAX, Problem};

/// What is wrong with a text as JSON: the first place where it is none, else
/// every key that stands twice in one map. Costs one more pass.
///
/// # Errors
///
/// At least one problem; each has its place, and no file.
pub fn strict(text: &[u8]) -> Result<(), Vec<Problem>> {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).map_err(|error| {
        let (line, column) = (error.line() as u64, error.column() as u64);
        let whole = error.to_string();
        let place = format!(" at line {line} column {column}");
        let message = whole.strip_suffix(&place).unwrap_or(&whole);
        vec![Problem {
            line,
            // serde_json counts the columns before the place.
            column: column.max(1),
            ..Problem::of_file("", message)
        }]
    })?;
    let mut scan = Scan::of(text);
    drop(scan.value(""));
    if scan.problems.is_empty() {
        Ok(())
    } else {
        Err(scan.problems)
    }
}

/// A problem at the place where a body has its key path, or the nearest key
/// above. `root` is the key path of the body itself, empty for a resource. A
/// problem that is not within the body keeps no place.
#[must_use]
pub fn placed(text: &[u8], root: &str, mut problem: Problem) -> Problem {
    let inner = problem.path.strip_prefix(root);
    let inner =
        inner.filter(|rest| root.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']));
    if let Some(inner) = inner {
        (problem.line, problem.column) = place(&Scan::of(text).value(""), inner);
    }
    problem
}

/// Goes through a text that is JSON.
struct Scan<'t> {
    rest: &'t str,
    line: u64,
    column: u64,
    problems: Vec<Problem>,
}

impl<'t> Scan<'t> {
    fn of(text: &'t [u8]) -> Self {
        Self {
            rest: std::str::from_utf8(text).unwrap_or_default(),
            line: 1,
            column: 1,
            problems: Vec::new(),
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let found = chars.next()?;
        self.rest = chars.as_str();
        if found == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(found)
    }

    /// The next character that is not a space, which stays.
    fn peek(&mut self) -> Option<char> {
        while self.rest.starts_with([' ', '\t', '\r', '\n']) {
            self.next();
        }
        self.rest.chars().next()
    }

    /// A value with the places of all in it; what a scalar is does not matter.
    /// As deep as serde_json goes, which is 128.
    fn value(&mut self, path: &str) -> Node {
        let first = self.peek();
        let place = (self.line, self.column);
        let value = match first {
            Some('{') => Value::Map(self.map(path)),
            Some('[') => Value::List(self.list(path)),
            Some('"') => {
                self.string();
                Value::Null
            }
            _ => {
                while !self.rest.is_empty()
                    && !self
                        .rest
                        .starts_with([',', '}', ']', ' ', '\t', '\r', '\n'])
                {
                    self.next();
                }
                Value::Null
            }
        };
        Node {
            id: 0,
            place,
            value,
        }
    }

    fn map(&mut self, path: &str) -> Vec<(Key, Node)> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        self.next();
        while self.peek() == Some('"') {
            let place = (self.line, self.column);
            let text = self.string();
            self.peek();
            self.next(); // the colon
            let inner = if path.is_empty() {
                text.clone()
            } else {
                format!("{path}.{text}")
            };
            let first = entries.iter().find(|(key, _)| key.text == text);
            if let Some((first, _)) = first {
                self.twice(&inner, first.place, place);
            }
            let value = self.value(&inner);
            entries.push((Key { text, place }, value));
            if self.peek() == Some(',') {
                self.next();
            }
        }
        self.next();
        entries
    }

    fn list(&mut self, path: &str) -> Vec<Node> {
        let mut items = Vec::new();
        self.next();
        while !matches!(self.peek(), Some(']') | None) {
            items.push(self.value(&format!("{path}[{}]", items.len())));
            if self.peek() == Some(',') {
                self.next();
            }
        }
        self.next();
        items
    }

    /// A text in quotes.
    fn string(&mut self) -> String {
        let before = self.rest;
        self.next();
        while let Some(found) = self.next() {
            match found {
                '"' => break,
                '\\' => drop(self.next()),
                _ => {}
            }
        }
        let token = before.get(..before.len() - self.rest.len());
        serde_json::from_str(token.unwrap_or_default()).unwrap_or_default()
    }

    fn twice(&mut self, path: &str, first: (u64, u64), place: (u64, u64)) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let message = format!(
            "the key stands twice, first at line {}, column {}; keep one of them",
            first.0, first.1
        );
        self.problems.push(Problem {
            line: place.0,
            column: place.1,
            path: path.to_owned(),
            ..Problem::of_file("", message)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LINE:COLUMN path: message` of each problem.
    fn told(text: &str) -> Vec<String> {
        let problems = strict(text.as_bytes()).err().unwrap_or_default();
        let told = |one: &Problem| format!("{}:{} {one}", one.line, one.column);
        problems.iter().map(told).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(told(text), expected, "{text}");
    }

    #[test]
    fn a_key_that_stands_twice_is_told_with_both_places() {
        check(r#"{"a": 1, "b": {"a": [1, {"a": "}\"a\":"}]}}"#, &[]);
        check(
            "{\n  \"a\": 1,\n  \"a\": 2\n}",
            &["3:3 a: the key stands twice, first at line 2, column 3; keep one of them"],
        );
        // Escapes do not hide it, characters are counted, all are told.
        check(
            r#"{"ü": [{"x": 1, "\u0078": 2}], "b": {"c":1,"c":2,"c":3}}"#,
            &[
                "1:17 ü[0].x: the key stands twice, first at line 1, column 9; keep one of them",
                "1:44 b.c: the key stands twice, first at line 1, column 38; keep one of them",
                "1:50 b.c: the key stands twice, first at line 1, column 38; keep one of them",
            ],
        );
        for text in ["", " ", "{", "[1,]", "{\"a\" 1}", "nul"] {
            assert_eq!(told(text).len(), 1, "{text}");
        }
        check("{\n \"a\" 1}", &["2:6 expected `:`"]);
    }

    #[track_caller]
    fn stands(text: &str, root: &str, path: &str, expected: (u64, u64)) {
        let problem = Problem {
            path: path.to_owned(),
            ..Problem::of_file("", "no good")
        };
        let found = placed(text.as_bytes(), root, problem);
        assert_eq!((found.line, found.column), expected, "{root} {path}");
    }

    #[test]
    fn a_problem_stands_where_the_body_has_it() {
        let whole =
            "{\"spec\": {\n  \"versions\": [\n    {\"name\": \"blue\"},\n    {\"traffic\": 140}]}}";
        stands(whole, "", "spec.versions[1].traffic", (4, 17));
        stands(whole, "", "spec.versions", (2, 3));
        // Where it is not there, the nearest above.
        stands(whole, "", "spec.versions[0].static", (3, 5));
        let version = "{\n \"traffic\": 140 }";
        stands(
            version,
            "spec.versions[1]",
            "spec.versions[1].traffic",
            (2, 13),
        );
        stands(version, "spec.versions[1]", "spec.versions[1]", (1, 1));
        // Another version is not in this body.
        stands(
            version,
            "spec.versions[1]",
            "spec.versions[10].traffic",
            (0, 0),
        );
        stands(version, "spec.versions[1]", "spec.versions", (0, 0));
    }
}
