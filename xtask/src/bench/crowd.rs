//! A gateway with many endpoints: its files, its start, what it uses, its admin API.
//!
//! Every endpoint has two versions of one static replica each, and all replicas
//! are the one upstream. Called by `endpoints`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::gateway::{binary, run_json};
use super::load;
use super::proxy::{PLACES, PROXY_CORE, START, pinned, rows};

/// Between looks whether every version is ready: a look counts all endpoints.
const LOOK: Duration = Duration::from_millis(500);

/// Endpoints of a file: one of 10,000 would be too large for a YAML file.
const OF_A_FILE: usize = 1000;

/// The settings of one gateway, and where it lives.
pub(super) struct Crowd {
    /// How many endpoints it has.
    pub(super) count: usize,
    name: &'static str,
    folder: PathBuf,
    files: PathBuf,
    state: PathBuf,
}

/// How long a start took.
pub(super) struct Start {
    /// Until `GET /readyz` answered 200.
    pub(super) ready: Duration,
    /// Until every version of every endpoint was healthy.
    pub(super) healthy: Duration,
}

/// Memory of a gateway, in MB.
pub(super) struct Memory {
    pub(super) rss: f64,
    pub(super) pss: f64,
}

/// A gateway that runs; ended when it is dropped.
pub(super) struct Running {
    child: Child,
    url: String,
    admin: Admin,
}

/// The name of an endpoint, from 1 on.
pub(super) fn endpoint(number: usize) -> String {
    format!("bench-{number:05}")
}

fn resource(number: usize, upstream: &str) -> String {
    let name = endpoint(number);
    // The same server at one of its addresses.
    let port = upstream.rsplit(':').next().unwrap_or_default();
    let address = format!("127.0.0.{}:{port}", 1 + number % PLACES);
    let replica = format!("maxConcurrentRequests: 256, static: {{ addresses: [\"{address}\"] }}");
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {{ name: {name} }}\nspec:\n  \
         auth: {{ mode: none }}\n  versions:\n    - {{ name: one, traffic: 100, {replica} }}\n    \
         - {{ name: two, {replica} }}\n"
    )
}

impl Crowd {
    /// Writes its files, and forgets the state of an earlier run.
    pub(super) fn new(
        folder: &Path,
        name: &'static str,
        count: usize,
        upstream: &str,
    ) -> Result<Self> {
        let state = folder.join(format!("{name}-state"));
        if state.is_dir() {
            fs::remove_dir_all(&state)?;
        }
        let files = folder.join(format!("{name}-files"));
        if files.is_dir() {
            fs::remove_dir_all(&files)?;
        }
        fs::create_dir_all(&files)?;
        let config = "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\nmetadata: { name: default }\nspec:\n  \
             threads: 1\n  listeners: [{ name: plain, address: 127.0.0.1:0, tls: { mode: none } }]\n  \
             admin: { address: 127.0.0.1:0 }\n  accessLog: { to: none }\n  limits: { upstreamIdle: 60s }\n";
        fs::write(files.join("config.yaml"), config)?;
        let numbers: Vec<usize> = (1..=count).collect();
        for (part, numbers) in numbers.chunks(OF_A_FILE).enumerate() {
            let text: String = numbers
                .iter()
                .map(|number| resource(*number, upstream))
                .collect();
            fs::write(files.join(format!("endpoints-{part}.yaml")), text)?;
        }
        Ok(Self {
            count,
            name,
            folder: folder.to_path_buf(),
            files,
            state,
        })
    }

    /// Starts it on the state there is, and waits until all of it is healthy.
    pub(super) fn start(&self) -> Result<(Running, Start)> {
        let shown = |path: &Path| path.display().to_string();
        let (files, state) = (shown(&self.files), shown(&self.state));
        let arguments = ["run", "-f", &files, "--state", &state];
        let begun = Instant::now();
        let mut child = pinned(&self.folder, PROXY_CORE, self.name, &binary(), &arguments)?;
        let run = run_json(&self.state, &mut child)?;
        let said = |pointer: &str| -> Result<String> {
            let url = run.pointer(pointer).and_then(Value::as_str);
            let url = url.with_context(|| format!("run.json has no {pointer}"))?;
            Ok(url.trim_end_matches('/').to_owned())
        };
        let token = fs::read_to_string(self.state.join("admin.token"))?;
        let running = Running {
            admin: Admin::new(&said("/admin")?, token.trim()),
            url: said("/listeners/plain")?,
            child,
        };
        while running.admin.call("GET", "/readyz", "")?.0 != 200 {
            ensure!(begun.elapsed() < START, "not ready within {START:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let ready = begun.elapsed();
        while running.healthy()? < self.count {
            ensure!(begun.elapsed() < START, "not healthy within {START:?}");
            std::thread::sleep(LOOK.min(ready));
        }
        let healthy = begun.elapsed();
        Ok((running, Start { ready, healthy }))
    }
}

impl Running {
    /// Endpoints that are healthy.
    fn healthy(&self) -> Result<usize> {
        let (code, text) = self.admin.call("GET", "/v1/status", "")?;
        ensure!(code == 200, "GET /v1/status: {code} {text}");
        let status: Value = serde_json::from_str(&text)?;
        let ready = status.pointer("/endpoints/ready").and_then(Value::as_u64);
        Ok(usize::try_from(ready.context("no endpoints.ready")?)?)
    }

    /// Changes the traffic of an endpoint; how long that took.
    pub(super) fn change(&self, number: usize, one: u32) -> Result<Duration> {
        let path = format!("/v1/endpoints/{}/traffic", endpoint(number));
        let body = format!("{{\"one\": {one}, \"two\": {}}}", 100 - one);
        let begun = Instant::now();
        let (code, text) = self.admin.call("PUT", &path, &body)?;
        let took = begun.elapsed();
        ensure!(code == 200, "PUT {path}: {code} {text}");
        Ok(took)
    }

    /// User and system time so far, in seconds.
    pub(super) fn cpu(&self) -> f64 {
        load::cpu(&[self.child.id()])
    }

    /// The same to the nanosecond, but without threads that have ended.
    pub(super) fn cpu_of_threads(&self) -> Result<f64> {
        self.cpu_of("")
    }

    /// The same of the threads that serve requests.
    pub(super) fn cpu_of_workers(&self) -> Result<f64> {
        self.cpu_of("worker-")
    }

    /// Of the threads whose name begins so.
    fn cpu_of(&self, name: &str) -> Result<f64> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut nanoseconds = 0.0;
        for task in fs::read_dir(tasks)? {
            let task = task?;
            let of = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if !of.starts_with(name) {
                continue;
            }
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let ran = text.split_whitespace().next();
            nanoseconds += ran.and_then(|ran| ran.parse().ok()).unwrap_or(0.0);
        }
        Ok(nanoseconds / 1e9)
    }

    /// What it has in memory.
    pub(super) fn memory(&self) -> Memory {
        let pids = [self.child.id()];
        Memory {
            rss: load::memory(&pids, "status", "VmRSS:"),
            pss: load::memory(&pids, "smaps_rollup", "Pss:"),
        }
    }

    /// Loads it with wrk; how many requests that were.
    pub(super) fn load(&self, script: &Path, connections: u32, seconds: u32) -> Result<f64> {
        load::requests_at("tidegate", &self.url, script, connections, seconds)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// wrk's script: requests to `spread` of `count` endpoints, first each once, then
/// at random, the same in every run.
pub(super) fn script(folder: &Path, count: usize, spread: usize, pinned: bool) -> Result<PathBuf> {
    let pin = if pinned {
        "headers[\"azureml-model-deployment\"] = \"one\"\n"
    } else {
        ""
    };
    let step = count / spread.max(1);
    let lua = format!(
        "local body = [==[{}]==]\nlocal headers = {{}}\nheaders[\"Content-Type\"] = \"application/json\"\n{pin}\
         local requests, sent = {{}}, 0\n\
         function init()\n  math.randomseed(42)\n  for n = 1, {spread} do\n    \
         local name = string.format(\"bench-%05d\", (n - 1) * {step} + 1)\n    \
         requests[n] = wrk.format(\"POST\", \"/api/v1/service/\" .. name .. \"/score\", headers, body)\n  end\nend\n\
         function request()\n  sent = sent + 1\n  if sent <= #requests then return requests[sent] end\n  \
         return requests[math.random(#requests)]\nend\n",
        rows("data")
    );
    let kind = if pinned { "pinned" } else { "split" };
    let file = folder.join(format!("spread-{spread}-of-{count}-{kind}.lua"));
    fs::write(&file, lua)?;
    Ok(file)
}

/// An admin API; a connection for each request.
struct Admin {
    host: String,
    token: String,
}

impl Admin {
    fn new(url: &str, token: &str) -> Self {
        Self {
            host: url.trim_start_matches("http://").to_owned(),
            token: token.to_owned(),
        }
    }

    /// Sends a request; status and body of the answer.
    fn call(&self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let Self { host, token } = self;
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(START))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, text) = answer.split_once("\r\n\r\n").context("no head")?;
        let code = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((code, text.to_owned()))
    }
}
