//! What is wrong with a resource: one problem with its place, and the list that
//! `check` fills.
//!
//! Never decides what is wrong. Used by the whole of `resource`, shown by `cli`
//! and sent by `admin`.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

/// Most problems that are told at once; a file that is wrong all through is not
/// read to its end.
pub const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong with a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// The file as it was named, `<stdin>`, or empty for the API.
    #[serde(skip)]
    pub file: Arc<str>,
    /// Line, from 1; 0 where there is none.
    pub line: u64,
    /// Column, from 1; 0 where there is none.
    pub column: u64,
    /// The resource, as `endpoint/iris`; empty where it is not known yet.
    #[serde(skip)]
    pub object: Arc<str>,
    /// The key path from the resource's root, `spec.versions[1].traffic`; may be empty.
    pub path: String,
    /// The value, the limit, what to do.
    pub message: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of a whole file.
    #[must_use]
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            object: "".into(),
            path: String::new(),
            message: message.into(),
            hint: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut whole = String::new();
        if !self.file.is_empty() {
            whole.push_str(&self.file);
            if self.line > 0 {
                write!(whole, ":{}:{}", self.line, self.column)?;
            }
            whole.push_str(": ");
        }
        for part in [&*self.object, &self.path] {
            if !part.is_empty() {
                write!(whole, "{part}: ")?;
            }
        }
        whole.push_str(&self.message);
        if let Some(hint) = &self.hint {
            write!(whole, "; {hint}")?;
        }
        // One line, whatever a key or a file is called, and nothing that drives a terminal.
        for c in whole.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}
