//! How a gateway of a test is set up and spawned.
//!
//! Writes a GatewayConfig with free ports and an access log in the test's own
//! folder. Used through `Gateway`.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;

use super::Gateway;
use crate::{root, target};

/// A gateway that is not started yet.
#[derive(Debug)]
pub struct Setup {
    resources: String,
    threads: u32,
    spec: String,
    listeners: String,
    access_log: Option<String>,
    files: Vec<(String, Vec<u8>)>,
    under: Vec<String>,
    more: Vec<String>,
    unheard: bool,
    socket: Option<Arc<TcpListener>>,
}

impl Setup {
    /// With these Endpoint and Plugin resources (YAML documents), two workers.
    #[must_use]
    pub fn new(resources: &str) -> Self {
        Self {
            resources: resources.to_owned(),
            threads: 2,
            spec: String::new(),
            listeners: String::new(),
            access_log: None,
            files: Vec::new(),
            under: Vec::new(),
            more: Vec::new(),
            unheard: false,
            socket: None,
        }
    }

    /// With this many workers.
    #[must_use]
    pub fn threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    /// With another line in the GatewayConfig's `spec`, as `limits: { … }`.
    #[must_use]
    pub fn spec(mut self, line: &str) -> Self {
        self.spec.push_str(&format!("  {line}\n"));
        self
    }

    /// With one more listener, as `{ name: web, address: 127.0.0.1:0, tls: … }`.
    #[must_use]
    pub fn listener(mut self, item: &str) -> Self {
        self.listeners.push_str(&format!("    - {item}\n"));
        self
    }

    /// With a file beside the resource file, under its relative name.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.files
            .push((name.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// With the access log somewhere else than in its file.
    #[must_use]
    pub fn access_log(mut self, to: &str) -> Self {
        self.access_log = Some(to.to_owned());
        self
    }

    /// Started by another program that becomes it, as `prlimit --nofile=64`.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With more words on the command line of `run`, also when it starts again.
    #[must_use]
    pub fn run(mut self, words: &[&str]) -> Self {
        self.more = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With nobody at the other end of its standard output and error.
    #[must_use]
    pub fn unheard(mut self) -> Self {
        self.unheard = true;
        self
    }

    /// With the socket of its plain listener handed over, also when it starts
    /// again, as systemd does.
    #[must_use]
    pub fn socket(mut self, socket: TcpListener) -> Self {
        self.socket = Some(Arc::new(socket));
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    ///
    /// With its log, where it does not come up.
    #[must_use]
    pub fn start(self) -> Gateway {
        let folder = TempDir::with_prefix("tidegate-").unwrap();
        self.write(folder.path());
        let child = self.spawn(folder.path());
        let mut gateway = Gateway {
            child,
            folder,
            more: self.more,
            socket: self.socket,
            run: serde_json::Value::Null,
        };
        gateway.wait_up();
        gateway
    }

    fn spawn(&self, folder: &Path) -> Child {
        let mut run = match self.under.split_first() {
            Some((program, words)) => {
                let mut run = Command::new(program);
                run.args(words).arg(binary()).stdin(Stdio::null());
                run
            }
            None => command(self.socket.as_deref()),
        };
        if self.unheard {
            let (_nobody, writer) = std::io::pipe().unwrap();
            run.stdout(writer.try_clone().unwrap()).stderr(writer);
        } else {
            to_log(&mut run, folder);
        }
        start(run, folder, &self.more)
    }

    fn write(&self, folder: &Path) {
        let access = folder.join("access.log").display().to_string();
        let access = self.access_log.as_ref().unwrap_or(&access);
        let config = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\nmetadata: {{ name: default }}\n\
             spec:\n  threads: {}\n  listeners:\n\
             \x20   - {{ name: http, address: 127.0.0.1:0, tls: {{ mode: none }} }}\n\
             \x20   - {{ name: https, address: 127.0.0.1:0, tls: {{ mode: development }} }}\n{}\
             \x20 admin: {{ address: 127.0.0.1:0 }}\n\
             \x20 accessLog: {{ format: json, to: {access} }}\n{}",
            self.threads, self.listeners, self.spec
        );
        fs::write(folder.join("gateway.yaml"), config).unwrap();
        fs::write(folder.join("resources.yaml"), &self.resources).unwrap();
        for (name, content) in &self.files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
    }
}

/// The binary, with a socket as its third descriptor where there is one. Only
/// standard streams can be handed to a child, and only the child knows its id:
/// a shell moves the one and tells the other.
fn command(socket: Option<&TcpListener>) -> Command {
    let Some(socket) = socket else {
        let mut run = Command::new(binary());
        run.stdin(Stdio::null());
        return run;
    };
    let mut run = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=http exec \"$@\"";
    run.args(["-c", script, "sh"]).arg(binary());
    run.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    run
}

/// Starts the binary on a folder that is written; its output is appended to
/// `gateway.log`.
pub(super) fn spawn(folder: &Path, more: &[String], socket: Option<&TcpListener>) -> Child {
    let mut run = command(socket);
    to_log(&mut run, folder);
    start(run, folder, more)
}

fn to_log(run: &mut Command, folder: &Path) {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("gateway.log"));
    let log = log.unwrap();
    run.stdout(log.try_clone().unwrap()).stderr(log);
}

fn start(mut run: Command, folder: &Path, more: &[String]) -> Child {
    run.args([
        "run",
        "-f",
        "gateway.yaml",
        "-f",
        "resources.yaml",
        "--state",
        "state",
    ]);
    run.args(more);
    run.current_dir(folder);
    run.spawn().expect("tidegate starts")
}

/// The binary under test: `TIDEGATE_BIN`, else the debug build, made once.
///
/// # Panics
///
/// Where it does not build.
#[must_use]
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let found = BINARY.get_or_init(|| {
        if let Some(set) = std::env::var_os("TIDEGATE_BIN") {
            return set.into();
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--package",
            "tidegate",
            "--bin",
            "tidegate",
        ]);
        assert!(
            cargo.current_dir(root()).status().unwrap().success(),
            "tidegate does not build"
        );
        target().join("debug/tidegate")
    });
    found.clone()
}
