//! What a replica's process is started with: program, arguments, environment,
//! user.
//!
//! Never starts anything, and passes nothing of the gateway's environment on
//! but what `inheritEnv` names. Used by `process`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::user::{self, User, UserError};
use crate::descriptors;
use crate::resource::Process;

/// How deep `$(NAME)` in a value may lead to another; past it, as in a circle,
/// the text stays as it is.
const DEPTH_MAX: u32 = 8;

/// Everything a process is started with.
#[derive(Debug)]
pub(super) struct Launch {
    /// Found on the replica's `PATH`; absolute.
    pub(super) program: PathBuf,
    /// With `$(NAME)` replaced.
    pub(super) args: Vec<OsString>,
    /// All of its environment.
    pub(super) env: BTreeMap<OsString, OsString>,
    /// Its working directory.
    pub(super) dir: PathBuf,
    /// Who it runs as; none: as the gateway does.
    pub(super) user: Option<User>,
    /// Its limit of open files; none: as the gateway's.
    pub(super) files: Option<u64>,
}

/// Why a process cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    /// Its folder is not there.
    #[error("process.dir {} is not a folder", .0.display())]
    Dir(PathBuf),
    /// No program.
    #[error("process.command is empty")]
    Empty,
    /// The program is a path and not there.
    #[error("process.command: {} is not a program", .0.display())]
    NotThere(PathBuf),
    /// The program is a name and on no folder of `PATH`.
    #[error(
        "process.command: {program:?} is in no folder of PATH={path:?}; name PATH in process.env, or keep it in process.inheritEnv"
    )]
    NotFound {
        /// The name.
        program: String,
        /// Where it was looked for.
        path: String,
    },
    /// The user.
    #[error(transparent)]
    User(#[from] UserError),
}

impl LaunchError {
    /// The key of `process` that it is about.
    const fn key(&self) -> &'static str {
        match self {
            Self::Dir(_) => "dir",
            Self::Empty | Self::NotThere(_) | Self::NotFound { .. } => "command",
            Self::User(_) => "user",
        }
    }
}

/// Why a process could not be started on this machine as it is now: the key of
/// `process` that it is about, and the reason. Starts nothing; `cli` asks it.
#[must_use]
pub fn obstacle(process: &Process) -> Option<(&'static str, String)> {
    let error = launch(process, 0, |name| std::env::var_os(name)).err()?;
    let (key, text) = (error.key(), error.to_string());
    let why = text
        .strip_prefix("process.")
        .and_then(|text| text.strip_prefix(key));
    let why = why.map(|why| why.trim_start_matches([':', ' ']).to_owned());
    Some((key, why.unwrap_or(text)))
}

/// Works out what the process on `port` is started with, `outer` being the
/// gateway's environment.
pub(super) fn launch(
    process: &Process,
    port: u16,
    outer: impl Fn(&str) -> Option<OsString>,
) -> Result<Launch, LaunchError> {
    if !process.dir.is_dir() {
        return Err(LaunchError::Dir(process.dir.clone()));
    }
    let env = environment(process, port, outer);
    let mut words = process
        .command
        .iter()
        .map(|word| replace(OsStr::new(word), &env, 0));
    let program = words.next().filter(|word| !word.is_empty());
    let program = program.ok_or(LaunchError::Empty)?;
    let args = words.collect();
    Ok(Launch {
        program: find(&program, &process.dir, env.get(OsStr::new("PATH")))?,
        args,
        env,
        dir: process.dir.clone(),
        user: process.user.as_deref().map(user::find).transpose()?,
        files: descriptors::found(),
    })
}

fn environment(
    process: &Process,
    port: u16,
    outer: impl Fn(&str) -> Option<OsString>,
) -> BTreeMap<OsString, OsString> {
    let mut raw: BTreeMap<OsString, OsString> = BTreeMap::new();
    for name in &process.inherit_env {
        if let Some(value) = outer(name) {
            raw.insert(name.into(), value);
        }
    }
    let given = |(name, value): (&String, &String)| (name.into(), value.into());
    raw.extend(process.env.iter().map(given));
    if let Some(dir) = &process.model_dir {
        raw.insert("AZUREML_MODEL_DIR".into(), dir.into());
    }
    raw.insert("PORT".into(), port.to_string().into());
    let mut env = raw.clone();
    for name in process.env.keys() {
        if let Some(value) = env.get_mut(OsStr::new(name)) {
            *value = replace(value, &raw, 0);
        }
    }
    env
}

/// Replaces `$(NAME)` by the value of `NAME`; `$$(NAME)` stands for the text
/// `$(NAME)`, and so does a name without a value, as on Kubernetes.
fn replace(text: &OsStr, env: &BTreeMap<OsString, OsString>, depth: u32) -> OsString {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some(dollar) = rest.iter().position(|b| *b == b'$') {
        let (before, from) = rest.split_at(dollar);
        out.extend_from_slice(before);
        if let Some(after) = from.strip_prefix(b"$$") {
            out.push(b'$');
            rest = after;
            continue;
        }
        let reference = from.strip_prefix(b"$(").and_then(|name| {
            let end = name.iter().position(|b| *b == b')')?;
            Some((name.get(..end)?, name.get(end + 1..)?))
        });
        let value = reference.and_then(|(name, after)| {
            let value = env.get(OsStr::from_bytes(name))?;
            (depth < DEPTH_MAX).then(|| (replace(value, env, depth + 1), after))
        });
        match value {
            Some((value, after)) => {
                out.extend_from_slice(value.as_bytes());
                rest = after;
            }
            None => {
                out.push(b'$');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

/// The program's file: a path is taken from `dir`, a name is looked for in
/// `path`, whose relative folders are taken from `dir` too.
fn find(program: &OsStr, dir: &Path, path: Option<&OsString>) -> Result<PathBuf, LaunchError> {
    if program.as_bytes().contains(&b'/') {
        let file = dir.join(program);
        return if is_program(&file) {
            Ok(file)
        } else {
            Err(LaunchError::NotThere(file))
        };
    }
    let path = path.map_or(OsStr::new(""), |path| path);
    std::env::split_paths(path)
        .map(|folder| dir.join(folder).join(program))
        .find(|file| is_program(file))
        .ok_or_else(|| LaunchError::NotFound {
            program: program.to_string_lossy().into_owned(),
            path: path.to_string_lossy().into_owned(),
        })
}

fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn process(command: &[&str], env: &[(&str, &str)]) -> Process {
        Process {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            dir: "/".into(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            inherit_env: vec!["PATH".to_owned(), "LANG".to_owned()],
            model_dir: Some("/models/blue".into()),
            user: None,
            grace: Duration::from_secs(10),
        }
    }

    fn outer(name: &str) -> Option<OsString> {
        match name {
            "PATH" => Some("/usr/bin:/bin".into()),
            "SECRET" => Some("of the gateway".into()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(env: &[(&str, &str)], word: &str, expected: &str) {
        let launch = launch(&process(&["sh", word], env), 4711, outer).unwrap();
        assert_eq!(launch.args, [OsString::from(expected)]);
    }

    #[test]
    fn names_in_parentheses_are_replaced() {
        check(&[], "--port=$(PORT)", "--port=4711");
        check(&[], "$(AZUREML_MODEL_DIR)/m.pkl", "/models/blue/m.pkl");
        check(&[("A", "x")], "$(A)$(A)", "xx");
        check(&[("A", "$(B)"), ("B", "p$(PORT)")], "$(A)", "p4711");
        check(
            &[],
            "$$(PORT) $(NONE) $(PORT $x $",
            "$(PORT) $(NONE) $(PORT $x $",
        );
    }

    #[test]
    fn a_circle_of_names_ends() {
        let launch = launch(&process(&["sh"], &[("A", "$(B)"), ("B", "$(A)")]), 1, outer).unwrap();
        assert!(launch.env[OsStr::new("A")].as_bytes().starts_with(b"$("));
    }

    #[test]
    fn the_environment_is_what_was_said_and_nothing_else() {
        let launch = launch(
            &process(&["sh"], &[("OMP_NUM_THREADS", "1"), ("PORT", "1")]),
            4711,
            outer,
        )
        .unwrap();
        let env: Vec<(&str, &str)> = launch
            .env
            .iter()
            .map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            env,
            [
                ("AZUREML_MODEL_DIR", "/models/blue"),
                ("OMP_NUM_THREADS", "1"),
                ("PATH", "/usr/bin:/bin"),
                ("PORT", "4711"),
            ]
        );
    }

    #[test]
    fn a_program_is_found_on_the_replicas_path_from_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("venv/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let serve = bin.join("serve");
        std::fs::write(&serve, "#!/bin/sh\n").unwrap();
        let mut process = process(&["serve"], &[("PATH", "nowhere:venv/bin")]);
        process.dir = folder.path().to_owned();
        let error = launch(&process, 1, outer).unwrap_err();
        assert!(
            matches!(error, LaunchError::NotFound { .. }),
            "not executable: {error}"
        );
        std::fs::set_permissions(&serve, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(launch(&process, 1, outer).unwrap().program, serve);
        process.command = vec!["venv/bin/serve".to_owned()];
        assert_eq!(launch(&process, 1, outer).unwrap().program, serve);
        process.command = vec!["./serve".to_owned()];
        let error = launch(&process, 1, outer).unwrap_err();
        assert!(matches!(error, LaunchError::NotThere(_)), "{error}");
        process.dir = folder.path().join("gone");
        let error = launch(&process, 1, outer).unwrap_err();
        assert!(matches!(error, LaunchError::Dir(_)), "{error}");
    }
}
