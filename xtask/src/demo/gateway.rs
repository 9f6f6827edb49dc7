//! The gateway of the demo: started, waited for, stopped.
//!
//! Talks to it only as an operator does: by `run.json`, the admin API and
//! signals. Called by `demo`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{command, output};

/// How long the two models have to become healthy; a cold import of
/// scikit-learn took 12 s on two busy cores.
const START: Duration = Duration::from_secs(120);
/// `limits.drain` is 30 s, a model's `grace` 10 s.
const STOP: Duration = Duration::from_secs(45);

/// A running gateway.
pub(super) struct Gateway {
    child: Child,
    /// Its state folder.
    pub(super) state: PathBuf,
    /// Where its output goes.
    pub(super) log: PathBuf,
    /// Its scoring address.
    pub(super) url: String,
    admin: String,
}

impl Gateway {
    /// Starts it on the default ports where they are free and wanted, else on
    /// free ones, and waits until the endpoint is healthy.
    ///
    /// # Errors
    ///
    /// With the end of its log where it does not come up.
    pub(super) fn start(
        binary: &Path,
        venv: &Path,
        state: &Path,
        default_ports: bool,
    ) -> Result<Self> {
        fs::create_dir_all(state)?;
        let log = state.with_extension("log");
        let file = fs::File::create(&log)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            std::iter::once(venv.to_path_buf()).chain(std::env::split_paths(&path)),
        )?;
        let mut run = command(binary);
        run.args(["run", "-f", "examples/iris/endpoint.yaml", "--state"])
            .arg(state)
            .args(["--listen", &address(8443, default_ports)])
            .args(["--admin", &address(9443, default_ports)])
            .env("PATH", path)
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // A Ctrl-C reaches us alone; we pass it on once, as SIGTERM.
            .process_group(0);
        let _ = fs::remove_file(state.join("run.json"));
        let child = run.spawn().context("cannot start tidegate")?;
        let mut gateway = Self {
            child,
            state: state.to_path_buf(),
            log,
            url: String::new(),
            admin: String::new(),
        };
        if let Err(error) = gateway.come_up() {
            let _ = gateway.stop();
            bail!("{error:#}\n{}", gateway.log_tail());
        }
        Ok(gateway)
    }

    fn come_up(&mut self) -> Result<()> {
        let begun = Instant::now();
        let mut last = "no run.json yet".to_owned();
        while begun.elapsed() < START {
            if let Some(status) = self.child.try_wait()? {
                bail!("tidegate ended while starting: {status}");
            }
            match self.healthy() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => last = format!("{error:#}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("endpoint iris is not healthy after {START:?}: {last}")
    }

    fn healthy(&mut self) -> Result<bool> {
        let text = fs::read_to_string(self.state.join("run.json"))?;
        let run: Value = serde_json::from_str(&text)?;
        let listener = run.get("listeners").and_then(Value::as_object);
        let url = listener
            .and_then(|all| all.values().next())
            .and_then(Value::as_str);
        self.url = url
            .context("run.json names no listener")?
            .trim_end_matches('/')
            .to_owned();
        let admin = run
            .get("admin")
            .and_then(Value::as_str)
            .context("run.json: no admin")?;
        self.admin = if admin.contains("://") {
            admin.to_owned()
        } else {
            format!("http://{admin}")
        };
        let status = self.admin("/v1/endpoints/iris")?;
        let state = status
            .pointer("/status/state")
            .and_then(Value::as_str)
            .unwrap_or("unknown");
        if state == "Healthy" {
            return Ok(true);
        }
        let reason = status
            .pointer("/status/reason")
            .and_then(Value::as_str)
            .unwrap_or("");
        bail!("state {state}: {reason}")
    }

    /// `GET` at the admin API.
    pub(super) fn admin(&self, path: &str) -> Result<Value> {
        let token = fs::read_to_string(self.state.join("admin.token"))?;
        let text = output(
            Command::new("curl")
                .args(["-sS", "--fail-with-body", "--max-time", "10", "-H"])
                .arg(format!("Authorization: Bearer {}", token.trim()))
                .arg(format!("{}{path}", self.admin)),
        )?;
        serde_json::from_str(&text).with_context(|| format!("GET {path}: not JSON: {text}"))
    }

    /// The endpoint's primary key.
    pub(super) fn key(&self) -> Result<String> {
        let keys = self.admin("/v1/endpoints/iris/keys")?;
        let key = keys.get("primaryKey").and_then(Value::as_str);
        Ok(key.context("no primaryKey in the keys of iris")?.to_owned())
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines it wrote.
    pub(super) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(20);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    ///
    /// Where it has to be killed, because it does not end in time.
    pub(super) fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let begun = Instant::now();
        while begun.elapsed() < STOP {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("tidegate did not end within {STOP:?} of SIGTERM")
    }

    /// Waits for Ctrl-C (or SIGTERM, or the gateway's own end), then stops it.
    ///
    /// # Errors
    ///
    /// Where it does not end with 0.
    pub(super) fn until_interrupted(mut self) -> Result<()> {
        println!("Ctrl-C ends it.");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut term =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            let mut look = tokio::time::interval(Duration::from_millis(500));
            loop {
                tokio::select! {
                    done = tokio::signal::ctrl_c() => return done.map_err(anyhow::Error::from),
                    _ = term.recv() => return Ok(()),
                    _ = look.tick() => if self.child.try_wait()?.is_some() { return Ok(()) },
                }
            }
        })?;
        println!("\nstopping");
        let status = self.stop()?;
        if !status.success() {
            bail!("tidegate: {status}\n{}", self.log_tail());
        }
        println!("stopped");
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The default port where it is wanted and free, else any.
fn address(default: u16, wanted: bool) -> String {
    let free = wanted && TcpListener::bind(("127.0.0.1", default)).is_ok();
    format!("127.0.0.1:{}", if free { default } else { 0 })
}
