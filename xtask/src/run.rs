//! Runs other programs from the root of the repository and says how long they took.
//!
//! Never a shell: a program and its arguments. Called by every command.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The target folder, `CARGO_TARGET_DIR` or `target/`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(set) => root().join(set),
        None => root().join("target"),
    }
}

/// A command that runs at the root.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// `cargo ARGUMENTS` at the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    // Set by the outer `cargo run`; it would make the inner one rebuild.
    cargo
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_PKG_NAME");
    cargo
}

/// Runs to the end with our own output streams.
///
/// # Errors
///
/// When it cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs to the end and returns standard output.
///
/// # Errors
///
/// When it cannot be started or does not exit with 0; then with what it wrote to
/// standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    if !output.status.success() {
        bail!(
            "{shown}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether it runs and exits with 0, without a word.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The folder of `PATH` (or the system's own) that holds the program.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut shown = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}

/// The steps of a command, each with the time it took.
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
    begun: Instant,
}

impl Steps {
    /// No step yet.
    pub(crate) fn new() -> Self {
        Self {
            done: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Runs one step and says so; a failed one ends the command and is named in
    /// its error.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("==> {name}");
        let begun = Instant::now();
        let result = work().with_context(|| format!("step `{name}` failed"));
        let took = begun.elapsed();
        println!("    {name}: {:.1} s", took.as_secs_f64());
        self.done.push((name.to_owned(), took));
        result
    }

    /// Prints every step with its time.
    pub(crate) fn table(&self) {
        println!("\n{:<44} {:>8}", "step", "seconds");
        for (name, took) in &self.done {
            println!("{name:<44} {:>8.1}", took.as_secs_f64());
        }
        println!("{:<44} {:>8.1}", "all", self.begun.elapsed().as_secs_f64());
    }
}
