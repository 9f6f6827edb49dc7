//! One file of the original: its settings by key path, what is wrong with them,
//! and which are not known.
//!
//! What a setting means is `deployment`'s and `inference`'s, whose tables this
//! reads by. Never shows the value of a secret. Used by `import`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::resource::node::{Key, Node, Value, documents};
use crate::resource::suggest::suggestion;
use crate::resource::{Problem, Source};
use crate::units::{Cpu, Memory, Percent};

/// A setting of the original.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its key path.
    pub(super) path: &'static str,
    /// What its value must be.
    pub(super) wants: Wants,
    /// Why it has no equal; none: it has one, which who reads the table gives it.
    pub(super) no_equal: Option<&'static str>,
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wants {
    /// `true` or `false`.
    Flag,
    /// Text.
    Text,
    /// Text that is never shown.
    Secret,
    /// A whole number within bounds.
    Whole(u64, u64),
    /// Percent, from this to 100.
    Percent(u32),
    /// Cores, above 0.
    Cpu,
    /// Gigabytes, above 0.
    Gigabytes,
    /// A map of texts.
    Texts,
    /// Anything.
    Any,
}

/// A value that is what its setting wants.
#[derive(Debug, Clone)]
enum Given {
    Flag(bool),
    Text(String),
    Whole(u64),
    Percent(Percent),
    Cpu(Cpu),
    Memory(Memory),
    Texts(BTreeMap<String, String>),
    Any(serde_json::Value),
}

/// What a file says.
#[derive(Debug)]
pub(super) struct Settings {
    file: Arc<str>,
    given: BTreeMap<&'static str, (Given, (u64, u64))>,
    /// What has no equal and why, a line each.
    pub(super) notes: Vec<String>,
    /// What is not known.
    pub(super) warnings: Vec<Problem>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
}

/// A row of a table: a setting that has its equal.
pub(super) const fn kept(path: &'static str, wants: Wants) -> Setting {
    Setting {
        path,
        wants,
        no_equal: None,
    }
}

/// A row of a table: a setting without an equal.
pub(super) const fn lost(path: &'static str, wants: Wants, why: &'static str) -> Setting {
    Setting {
        path,
        wants,
        no_equal: Some(why),
    }
}

impl Settings {
    /// Reads a file by a table.
    pub(super) fn read(source: &Source, table: &'static [Setting]) -> Self {
        let mut settings = Self {
            file: source.name.as_str().into(),
            given: BTreeMap::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            problems: Vec::new(),
        };
        let root = match documents(&source.name, &source.text) {
            Err(problem) => {
                settings.problems.push(problem);
                return settings;
            }
            Ok(documents) => documents.into_iter().next(),
        };
        match root {
            Some(root) if matches!(root.value, Value::Map(_)) => {
                settings.walk(&root, "", table);
            }
            Some(root) => settings.tell_at(
                root.place,
                "",
                format!("{} is not a map of settings", root.shown()),
            ),
            None => settings.tell_at((0, 0), "", "the file is empty".to_owned()),
        }
        settings
    }

    /// What nobody wrote.
    pub(super) fn none() -> Self {
        Self {
            file: "".into(),
            given: BTreeMap::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn walk(&mut self, node: &Node, prefix: &str, table: &'static [Setting]) {
        let Value::Map(entries) = &node.value else {
            return;
        };
        for (key, value) in entries {
            let path = if prefix.is_empty() {
                key.text.clone()
            } else {
                format!("{prefix}.{}", key.text)
            };
            let inside = format!("{path}.");
            let section = table.iter().any(|row| row.path.starts_with(&inside));
            let row = table.iter().find(|row| row.path == path);
            match (row, &value.value) {
                (_, Value::Map(_)) if section => self.walk(value, &path, table),
                // The client sends null for what is not set.
                (Some(_), Value::Null) => {}
                (None, Value::Null) if section => {}
                (Some(row), _) => self.take(row, value),
                (None, _) if section => {
                    self.tell_at(
                        value.place,
                        &path,
                        format!("{} is not a map", value.shown()),
                    );
                }
                (None, _) => self.unknown(&path, prefix, &key.text, key.place, table),
            }
        }
    }

    fn unknown(
        &mut self,
        path: &str,
        prefix: &str,
        key: &str,
        place: (u64, u64),
        table: &'static [Setting],
    ) {
        let mut known: Vec<&str> = table
            .iter()
            .filter_map(|row| {
                let rest = row.path.strip_prefix(prefix)?;
                rest.trim_start_matches('.').split('.').next()
            })
            .collect();
        known.dedup();
        let mut problem = self.problem(place, path, "no such setting; it is left out".to_owned());
        problem.hint = suggestion(key, &known);
        self.warnings.push(problem);
        self.notes.push(format!(
            "{path}: no setting of the original that is known here"
        ));
    }

    fn take(&mut self, row: &'static Setting, node: &Node) {
        if let (Wants::Texts, Value::Map(entries)) = (row.wants, &node.value) {
            let texts = self.texts_of(row.path, entries);
            self.given
                .insert(row.path, (Given::Texts(texts), node.place));
            return;
        }
        let given = match read(row.wants, node) {
            Ok(given) => given,
            Err(why) => return self.tell_at(node.place, row.path, why),
        };
        if let Some(why) = row.no_equal {
            self.notes.push(match row.wants {
                Wants::Secret => format!("{}: {why}", row.path),
                _ => format!("{}: {}: {why}", row.path, node.json()),
            });
        }
        self.given.insert(row.path, (given, node.place));
    }

    fn texts_of(&mut self, path: &str, entries: &[(Key, Node)]) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (key, value) in entries {
            match scalar(value) {
                Some(text) => drop(texts.insert(key.text.clone(), text)),
                None => self.tell_at(
                    value.place,
                    &format!("{path}.{}", key.text),
                    format!("{} is not text", value.shown()),
                ),
            }
        }
        texts
    }

    /// Puts the problems in the order of the file.
    pub(super) fn sort(&mut self) {
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
    }

    fn problem(&self, place: (u64, u64), path: &str, message: String) -> Problem {
        Problem {
            line: place.0,
            column: place.1,
            path: path.to_owned(),
            ..Problem::of_file(&self.file, message)
        }
    }

    fn tell_at(&mut self, place: (u64, u64), path: &str, message: String) {
        let problem = self.problem(place, path, message);
        self.problems.push(problem);
    }

    /// Tells what is wrong with a setting, or that it is missing.
    pub(super) fn tell(&mut self, path: &str, message: impl Into<String>) {
        let place = self.given.get(path).map_or((0, 0), |(_, place)| *place);
        self.tell_at(place, path, message.into());
    }

    /// Whether it is set.
    pub(super) fn has(&self, path: &str) -> bool {
        self.given.contains_key(path)
    }

    /// The settings that are set, in the order of their paths.
    pub(super) fn paths(&self) -> Vec<&'static str> {
        self.given.keys().copied().collect()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, path: &str) -> Option<bool> {
        match self.given.get(path) {
            Some((Given::Flag(flag), _)) => Some(*flag),
            _ => None,
        }
    }

    /// Text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        match self.given.get(path) {
            Some((Given::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    /// A whole number.
    pub(super) fn whole(&self, path: &str) -> Option<u64> {
        match self.given.get(path) {
            Some((Given::Whole(number), _)) => Some(*number),
            _ => None,
        }
    }

    /// A percentage.
    pub(super) fn percent(&self, path: &str) -> Option<Percent> {
        match self.given.get(path) {
            Some((Given::Percent(percent), _)) => Some(*percent),
            _ => None,
        }
    }

    /// Cores.
    pub(super) fn cpu(&self, path: &str) -> Option<Cpu> {
        match self.given.get(path) {
            Some((Given::Cpu(cpu), _)) => Some(*cpu),
            _ => None,
        }
    }

    /// Bytes.
    pub(super) fn memory(&self, path: &str) -> Option<Memory> {
        match self.given.get(path) {
            Some((Given::Memory(memory), _)) => Some(*memory),
            _ => None,
        }
    }

    /// A map of texts.
    pub(super) fn texts(&self, path: &str) -> BTreeMap<String, String> {
        match self.given.get(path) {
            Some((Given::Texts(texts), _)) => texts.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Anything.
    pub(super) fn any(&self, path: &str) -> Option<&serde_json::Value> {
        match self.given.get(path) {
            Some((Given::Any(value), _)) => Some(value),
            _ => None,
        }
    }
}

/// A value as its setting wants it, or why it is not.
fn read(wants: Wants, node: &Node) -> Result<Given, String> {
    let not = |what: &str| format!("{} is not {what}", node.shown());
    match (wants, &node.value) {
        (Wants::Flag, Value::Bool(flag)) => Ok(Given::Flag(*flag)),
        (Wants::Flag, _) => Err(not("true or false")),
        (Wants::Text | Wants::Secret, Value::Text(text)) => Ok(Given::Text(text.clone())),
        (Wants::Secret, _) => Err("not text".to_owned()),
        (Wants::Text, _) => Err(not("text")),
        (Wants::Whole(least, most), Value::Whole(number)) if (least..=most).contains(number) => {
            Ok(Given::Whole(*number))
        }
        (Wants::Whole(least, most), _) => {
            Err(not(&format!("a whole number from {least} to {most}")))
        }
        (Wants::Percent(least), _) => percent(least, node),
        (Wants::Cpu, _) => {
            let cpu = Cpu::parse(&number(node).ok_or_else(|| not("a number above 0"))?);
            let cpu = cpu.map_err(|error| error.to_string())?;
            if cpu == Cpu::default() {
                return Err(not("a number above 0"));
            }
            Ok(Given::Cpu(cpu))
        }
        (Wants::Gigabytes, _) => {
            let number = number(node).ok_or_else(|| not("a number above 0"))?;
            let memory = Memory::parse(&format!("{number}G")).map_err(|error| error.to_string())?;
            if memory == Memory::default() {
                return Err(not("a number above 0"));
            }
            Ok(Given::Memory(memory))
        }
        (Wants::Texts, _) => Err(not("a map of texts")),
        (Wants::Any, _) => Ok(Given::Any(node.json())),
    }
}

fn percent(least: u32, node: &Node) -> Result<Given, String> {
    let not = || format!("{} is not a percentage from {least} to 100", node.shown());
    let number = number(node).ok_or_else(not)?;
    // Too exact is told as such, all else by the bounds.
    let percent = Percent::parse(&number).map_err(|error| match error {
        crate::units::UnitError::TooExact { .. } => error.to_string(),
        _ => not(),
    })?;
    if percent.hundredths() < u64::from(least) * 100 {
        return Err(not());
    }
    Ok(Given::Percent(percent))
}

/// A number that is not negative, in decimals.
fn number(node: &Node) -> Option<String> {
    match &node.value {
        Value::Whole(number) => Some(number.to_string()),
        Value::Float(number) if *number >= 0.0 => Some(number.to_string()),
        _ => None,
    }
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Null => Some(String::new()),
        Value::Bool(_) | Value::Whole(_) | Value::Negative(_) | Value::Float(_) => {
            Some(node.json().to_string())
        }
        _ => None,
    }
}
