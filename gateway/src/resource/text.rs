//! The texts that resources are read from: files, folders, standard input.
//!
//! The one place of `resource` that reads files; never the network, and never
//! more than a limit. Checks nothing. Called by `load` and by `cli`.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::resource::node::TEXT_BYTES_MAX;
use crate::resource::problem::Problem;

/// Some text with resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What stands before its problems; empty for none.
    pub name: String,
    /// YAML of one or more documents, or JSON.
    pub text: String,
    /// Where relative paths start; none: they are refused.
    pub base: Option<PathBuf>,
}

/// The texts of files, as [`load`](super::load()) reads them, and what could not be read.
#[must_use]
pub fn texts(paths: &[PathBuf]) -> (Vec<Source>, Vec<Problem>) {
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match sources_of(path) {
            Ok(found) => sources.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    (sources, problems)
}

fn sources_of(path: &Path) -> Result<Vec<Source>, Problem> {
    if path == Path::new("-") {
        let base = std::env::current_dir().ok();
        let text =
            text_of(std::io::stdin().lock()).map_err(|what| Problem::of_file("<stdin>", what))?;
        return Ok(vec![Source {
            name: "<stdin>".to_owned(),
            text,
            base,
        }]);
    }
    if !path.is_dir() {
        return Ok(vec![source_of(path)?]);
    }
    let files = files_of(path)?;
    if files.is_empty() {
        return Err(Problem::of_file(
            &path.display().to_string(),
            "the folder has no *.yaml, *.yml or *.json",
        ));
    }
    files.iter().map(|file| source_of(file)).collect()
}

/// The files that [`texts`] would read now. What cannot be listed is left out:
/// reading tells of it.
#[must_use]
pub fn files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(files_of(path).unwrap_or_default());
        } else {
            all.push(path.clone());
        }
    }
    all
}

/// The files of a folder that are read, by name.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let shown = folder.display().to_string();
    let failed =
        |error: std::io::Error| Problem::of_file(&shown, format!("cannot be read: {error}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let wanted = file
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if wanted && is_to_be_read(&file) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether it is a file, or something that should be one: what cannot be looked
/// at is told when it is read, and never taken for a file that is not there. A
/// hidden link that leads nowhere is an editor's lock (`.#iris.yaml`).
fn is_to_be_read(path: &Path) -> bool {
    let hidden = || {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with('.'))
    };
    match path.metadata() {
        Ok(found) => found.is_file(),
        Err(_) => path.symlink_metadata().is_ok() && !hidden(),
    }
}

/// The names of the texts that say nothing at all: a generator that failed may
/// have written its comment.
#[must_use]
pub fn blank(sources: &[Source]) -> BTreeSet<String> {
    let says = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && line != "---" && line != "..."
    };
    let blank = sources.iter().filter(|one| !one.text.lines().any(says));
    blank.map(|one| one.name.clone()).collect()
}

/// The text of one file.
///
/// # Errors
///
/// Where it cannot be read, is no UTF-8, or is too large.
pub fn source_of(path: &Path) -> Result<Source, Problem> {
    let name = path.display().to_string();
    let failed =
        |error: std::io::Error| Problem::of_file(&name, format!("cannot be read: {error}"));
    let absolute = std::path::absolute(path).map_err(failed)?;
    let file = std::fs::File::open(path).map_err(failed)?;
    let text = text_of(file).map_err(|what| Problem::of_file(&name, what))?;
    let base = absolute.parent().map(Path::to_owned);
    Ok(Source { name, text, base })
}

/// The text of a file, at most a byte more than is allowed.
fn text_of(file: impl std::io::Read) -> Result<String, String> {
    let most = TEXT_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(format!(
            "more than {TEXT_BYTES_MAX} bytes; split it into several files"
        ));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 text: byte {}", error.utf8_error().valid_up_to()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_told_and_not_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("iris.yaml"), "x: 1").unwrap();
        std::fs::create_dir(at("folder.yaml")).unwrap();
        std::os::unix::fs::symlink("iris.yaml", at("lily.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("rose.yaml")).unwrap();
        std::os::unix::fs::symlink("someone@host.1", at(".#iris.yaml")).unwrap();
        let found = files(&[folder.path().to_owned()]);
        assert_eq!(found, ["iris.yaml", "lily.yaml", "rose.yaml"].map(at));
        let (_, problems) = texts(&[folder.path().to_owned()]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].to_string().contains("rose.yaml"),
            "{problems:?}"
        );
    }
}
