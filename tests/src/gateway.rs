//! The real gateway, started for a test and stopped after it.
//!
//! Found by `TIDEGATE_BIN`, else built once. Listens on free ports of loopback:
//! `http` plain, `https` with a development certificate. Its state is in a
//! folder that goes with the test.

mod setup;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, Client};
use crate::{process, until};
pub use setup::{Setup, binary};

/// A debug build compiles three plugins in this time on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    folder: TempDir,
    more: Vec<String>,
    socket: Option<Arc<TcpListener>>,
    run: Value,
}

impl Gateway {
    /// One with these Endpoint and Plugin resources and two workers.
    #[must_use]
    pub fn start(resources: &str) -> Self {
        Setup::new(resources).start()
    }

    fn wait_up(&mut self) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("tidegate ended while starting: {status}\n{}", self.log());
            }
            if self.read_run() && self.ready() {
                return;
            }
            assert!(
                begun.elapsed() < START,
                "not ready after {START:?}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn read_run(&mut self) -> bool {
        let text = fs::read_to_string(self.state().join("run.json")).unwrap_or_default();
        let run: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let ours = run.get("pid").and_then(Value::as_u64) == Some(u64::from(self.pid()));
        self.run = run;
        ours
    }

    fn ready(&self) -> bool {
        let mut client = Client::connect(self.admin_address());
        client
            .request("GET", "/readyz", &[], b"")
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The folder of its resource files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything it wrote to standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("gateway.log")).unwrap_or_default()
    }

    /// The address of the listener of that name.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        socket(&self.url(listener))
    }

    /// The URL of the listener of that name, without a slash at its end.
    #[must_use]
    pub fn url(&self, listener: &str) -> String {
        let url = self
            .run
            .pointer(&format!("/listeners/{listener}"))
            .and_then(Value::as_str);
        url.expect("run.json names every listener")
            .trim_end_matches('/')
            .to_owned()
    }

    /// The admin API, without a slash at its end.
    ///
    /// # Panics
    ///
    /// Where `run.json` does not name it.
    #[must_use]
    pub fn admin_url(&self) -> String {
        let url = self.run.get("admin").and_then(Value::as_str);
        url.expect("run.json names admin")
            .trim_end_matches('/')
            .to_owned()
    }

    /// Where the admin API listens.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        socket(&self.admin_url())
    }

    /// A connection to the plain listener.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(self.address("http"))
    }

    /// One `POST` to an endpoint's score path on a connection of its own.
    ///
    /// # Panics
    ///
    /// Where there is no whole answer.
    #[must_use]
    pub fn score(&self, endpoint: &str, query: &str, headers: &[(&str, &str)]) -> Answer {
        let target = format!("/api/v1/service/{endpoint}/score{query}");
        self.client()
            .request("POST", &target, headers, b"{}")
            .unwrap()
    }

    /// The primary key of an endpoint, as a header's value.
    #[must_use]
    pub fn bearer(&self, endpoint: &str) -> String {
        let (_, keys) = self.admin("GET", &format!("/v1/endpoints/{endpoint}/keys"), b"");
        let key = keys
            .get("primaryKey")
            .and_then(Value::as_str)
            .expect("a primary key");
        format!("Bearer {key}")
    }

    /// A request to the admin API; JSON or null.
    ///
    /// # Panics
    ///
    /// Where there is no whole answer.
    #[must_use]
    pub fn admin(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let answer = self.admin_raw(method, path, "application/json", body);
        (answer.status, answer.json())
    }

    /// A request to the admin API with a body of any type.
    ///
    /// # Panics
    ///
    /// Where there is no whole answer.
    #[must_use]
    pub fn admin_raw(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        self.admin_with(method, path, &[("content-type", content_type)], body)
    }

    /// A request to the admin API with headers of its own, beside the token.
    ///
    /// # Panics
    ///
    /// Where there is no whole answer.
    #[must_use]
    pub fn admin_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token());
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        Client::connect(self.admin_address())
            .request(method, path, &all, body)
            .unwrap()
    }

    /// The binary's own command line, as a client of this gateway.
    ///
    /// # Panics
    ///
    /// Where it cannot be started.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let mut cli = Command::new(binary());
        cli.args(arguments)
            .arg("--state")
            .arg(self.state())
            .stdin(Stdio::null());
        cli.current_dir(self.folder.path()).output().unwrap()
    }

    /// What the command line printed.
    ///
    /// # Panics
    ///
    /// Where it failed.
    #[must_use]
    #[track_caller]
    pub fn cli_text(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "tidegate {arguments:?}: {}: {errors}",
            output.status
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Pushes a module and swaps to it; the digest that is active then.
    ///
    /// # Panics
    ///
    /// Where either is refused.
    #[track_caller]
    pub fn swap(&self, plugin: &str, module: &Path) -> String {
        let bytes = fs::read(module).unwrap();
        let path = format!("/v1/plugins/{plugin}/versions");
        let pushed = self.admin_raw("POST", &path, "application/wasm", &bytes);
        assert!(
            matches!(pushed.status, 200 | 201),
            "push: {}",
            pushed.text()
        );
        let digest = pushed
            .json()
            .get("digest")
            .and_then(Value::as_str)
            .unwrap()
            .to_owned();
        let order = serde_json::json!({ "digest": digest }).to_string();
        let (status, answer) = self.admin(
            "POST",
            &format!("/v1/plugins/{plugin}/swap"),
            order.as_bytes(),
        );
        assert_eq!(status, 200, "swap: {answer}");
        digest
    }

    /// All metrics, as Prometheus reads them.
    ///
    /// # Panics
    ///
    /// Where there is no whole answer.
    #[must_use]
    pub fn metrics(&self) -> String {
        let answer = Client::connect(self.admin_address()).request("GET", "/metrics", &[], b"");
        answer.unwrap().text()
    }

    /// The sum of a metric's samples that have all these labels.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.metrics();
        let wanted: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{value}\""))
            .collect();
        text.lines()
            .filter_map(|line| {
                let (sample, value) = line.rsplit_once(' ')?;
                let (found, rest) = sample.split_once('{').unwrap_or((sample, ""));
                let all = wanted.iter().all(|label| rest.contains(label.as_str()));
                (found == name && all).then(|| value.parse::<f64>().ok())?
            })
            .sum()
    }

    /// The messages of the events of a kind, the oldest first.
    ///
    /// # Panics
    ///
    /// Where the API does not tell them.
    #[must_use]
    pub fn events(&self, kind: &str) -> Vec<String> {
        let (_, list) = self.admin("GET", "/v1/events", b"");
        let items = list.get("items").and_then(Value::as_array).unwrap();
        let text = |event: &Value, key: &str| {
            let found = event.get(key).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let of_kind = items.iter().filter(|event| text(event, "kind") == kind);
        of_kind.map(|event| text(event, "message")).collect()
    }

    /// Waits until the endpoint's state is `Healthy`.
    ///
    /// # Panics
    ///
    /// Where it is not in time; its last status is shown.
    #[track_caller]
    pub fn healthy(&self, endpoint: &str) {
        self.state_is(endpoint, "Healthy");
    }

    /// Waits until the endpoint's state is the one named.
    ///
    /// # Panics
    ///
    /// Where it is not in time; its last status is shown.
    #[track_caller]
    pub fn state_is(&self, endpoint: &str, state: &str) {
        let begun = Instant::now();
        loop {
            let (_, resource) = self.admin("GET", &format!("/v1/endpoints/{endpoint}"), b"");
            let seen = resource.pointer("/status/state").and_then(Value::as_str);
            if seen == Some(state) {
                return;
            }
            let status = resource.get("status").unwrap_or(&resource);
            assert!(
                begun.elapsed() < START,
                "not {state}: {status}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The access lines so far.
    #[must_use]
    pub fn access_lines(&self) -> Vec<Value> {
        // The oldest first: files that were set aside by their size, then the last.
        let folder = self.folder.path();
        let aside = (1..=4).rev().map(|n| format!("access.log.{n}"));
        let names = aside.chain(std::iter::once("access.log".to_owned()));
        let texts = names.map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default());
        let text: String = texts.collect();
        // The last line may be half written.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The access lines when there are at least `count`; lines are written a
    /// moment after their answers.
    ///
    /// # Panics
    ///
    /// Where there are fewer for a minute.
    #[must_use]
    #[track_caller]
    pub fn access_lines_at_least(&self, count: usize) -> Vec<Value> {
        until(
            &format!("{count} access lines"),
            Duration::from_secs(60),
            || {
                let lines = self.access_lines();
                (lines.len() >= count).then_some(lines)
            },
        )
    }

    /// SIGTERM; how it ended.
    ///
    /// # Panics
    ///
    /// Where it does not end within 45 s.
    pub fn stop(mut self) -> ExitStatus {
        process::signal(self.pid(), rustix::process::Signal::TERM);
        until(
            "tidegate ends after SIGTERM",
            Duration::from_secs(45),
            || self.child.try_wait().unwrap(),
        )
    }

    /// How it ended, having been told to; it must within the limit.
    ///
    /// # Panics
    ///
    /// Where it goes on.
    #[track_caller]
    pub fn ends(mut self, limit: Duration) -> ExitStatus {
        until("tidegate ends", limit, || self.child.try_wait().unwrap())
    }

    /// SIGKILL; nothing of it gets to say goodbye.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for its end; [`Gateway::start_again`] may follow.
    ///
    /// # Panics
    ///
    /// Where it does not end within 45 s, or not well.
    pub fn terminate(&mut self) {
        process::signal(self.pid(), rustix::process::Signal::TERM);
        let limit = Duration::from_secs(45);
        let status = until("tidegate ends after SIGTERM", limit, || {
            self.child.try_wait().unwrap()
        });
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Starts the same again on the same state, after [`Gateway::kill`] or
    /// [`Gateway::terminate`].
    ///
    /// # Panics
    ///
    /// Where it does not come up.
    pub fn start_again(&mut self) {
        self.begin_again();
        self.wait_up();
    }

    /// The same, without waiting until it is up.
    pub fn begin_again(&mut self) {
        self.child = setup::spawn(self.folder.path(), &self.more, self.socket.as_deref());
    }

    /// The token of the admin API.
    ///
    /// # Panics
    ///
    /// Where there is none.
    #[must_use]
    pub fn token(&self) -> String {
        let token = fs::read_to_string(self.state().join("admin.token")).unwrap();
        token.trim().to_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            process::signal(self.pid(), rustix::process::Signal::TERM);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(5) {
                if let Ok(Some(_)) = self.child.try_wait() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(4000);
            eprintln!(
                "--- the gateway's log ---\n{}",
                log.get(from..).unwrap_or(&log)
            );
        }
    }
}

/// `SCHEME://IP:PORT` or `IP:PORT` as an address.
fn socket(url: &str) -> SocketAddr {
    let address = url
        .rsplit("://")
        .next()
        .unwrap_or(url)
        .trim_end_matches('/');
    let address = address
        .replace("0.0.0.0", "127.0.0.1")
        .replace("localhost", "127.0.0.1");
    address
        .parse()
        .unwrap_or_else(|_| panic!("not an address: {url}"))
}
