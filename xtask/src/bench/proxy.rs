//! The proxies side by side and their upstream: configured, pinned, started.
//!
//! All of them do the same: TLS or plain HTTP/1.1 in, one pooled upstream,
//! one worker, no access log unless the name says so. Called by `bench`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::gateway::{self, GATEWAYS};
use crate::run::{command, run, which};

/// The core every proxy has to itself.
pub(super) const PROXY_CORE: &str = "0";
/// Load and upstream.
const OTHER_CORE: &str = "1";
/// The name of the upstream's files.
const UPSTREAM: &str = "upstream";
/// The body of every answer; requests have one as long.
const BODY_BYTES: usize = 1024;

/// A body as models get and give them: JSON of [`BODY_BYTES`], rows of four
/// decimals. What collects them checks that they are JSON.
pub(super) fn rows(name: &str) -> String {
    let mut text = format!("{{\"{name}\":[");
    let mut number = 1_u32;
    while text.len() + "[9.99,9.99,9.99,9.99]]}".len() <= BODY_BYTES {
        let row = [0; 4].map(|_: u8| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("{}.{:02}", number >> 24 & 7, number >> 16 & 63)
        });
        text.push_str(&format!("[{}],", row.join(",")));
    }
    text.truncate(text.len() - 1);
    text.push_str("]}");
    // White space at the end is JSON too.
    format!("{text:<BODY_BYTES$}")
}
/// Longest start; under valgrind it takes a minute.
pub(super) const START: Duration = Duration::from_secs(240);

/// A running proxy.
pub(super) struct Proxy {
    pub(super) name: &'static str,
    pub(super) plain: String,
    pub(super) tls: Option<String>,
    /// wrk's script: method, body, headers.
    pub(super) script: PathBuf,
    /// Its processes; empty where there is no proxy.
    pub(super) pids: Vec<u32>,
    children: Vec<Child>,
}

impl Proxy {
    /// Host and port.
    pub(super) fn address(&self) -> String {
        let url = self.plain.trim_start_matches("http://");
        url.trim_end_matches("/score").to_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for child in &mut self.children {
            let pid = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

/// The upstream and every proxy whose name contains `only`.
pub(super) fn start_all(folder: &Path, only: Option<&str>) -> Result<Vec<Proxy>> {
    certificate(folder)?;
    let upstream = upstream(folder)?;
    let at = upstream.address();
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let mut proxies = vec![upstream];
    if wanted("nginx") {
        proxies.push(nginx(folder, &at)?);
    }
    if wanted("haproxy") {
        proxies.push(haproxy(folder, &at)?);
    }
    for setting in &GATEWAYS {
        if wanted(setting.name) {
            proxies.push(gateway::start(folder, setting, &at, &[])?);
        }
    }
    Ok(proxies)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub(super) fn certificate(folder: &Path) -> Result<()> {
    let (key, chain) = (folder.join("tls.key"), folder.join("tls.crt"));
    if !chain.is_file() {
        let mut openssl = command("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        openssl.args(["-nodes", "-days", "3650", "-subj", "/CN=localhost"]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        openssl
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&chain)
            .stderr(Stdio::null());
        run(&mut openssl)?;
    }
    let pem = [fs::read(&chain)?, fs::read(&key)?].concat();
    fs::write(folder.join("both.pem"), pem)?;
    Ok(())
}

/// wrk's script; a pin names the endpoint's only version.
pub(super) fn script(
    folder: &Path,
    name: &str,
    key: Option<&str>,
    pinned: bool,
) -> Result<PathBuf> {
    let mut lua = format!(
        "wrk.method = \"POST\"\nwrk.body = [==[{}]==]\n\
         wrk.headers[\"Content-Type\"] = \"application/json\"\n",
        rows("data")
    );
    if let Some(key) = key {
        lua.push_str(&format!(
            "wrk.headers[\"Authorization\"] = \"Bearer {key}\"\n"
        ));
    }
    if pinned {
        lua.push_str("wrk.headers[\"azureml-model-deployment\"] = \"one\"\n");
    }
    let file = folder.join(format!("{}.lua", name.replace([' ', ','], "")));
    fs::write(&file, lua)?;
    Ok(file)
}

/// `program ARGUMENTS` on one core; its output goes to a file of its name.
pub(super) fn pinned(
    folder: &Path,
    core: &str,
    name: &str,
    program: &Path,
    arguments: &[&str],
) -> Result<Child> {
    let log = fs::File::create(folder.join(format!("{}.out", name.replace([' ', ','], ""))))?;
    let mut child = Command::new("taskset");
    child
        .args(["-c", core])
        .arg(program)
        .args(arguments)
        .current_dir(folder);
    child
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    child
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

/// Waits until a `POST` is answered with 200, then lists the process and its
/// children.
pub(super) fn up(
    mut child: Child,
    name: &'static str,
    plain: String,
    tls: Option<String>,
    script: PathBuf,
) -> Result<Proxy> {
    let begun = Instant::now();
    let lua = fs::read_to_string(&script)?;
    let key = lua
        .split("Bearer ")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("");
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended while starting: {status}; see target/bench");
        }
        let mut curl = command("curl");
        curl.args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-d",
            "x",
            "-H",
        ]);
        curl.arg(format!("Authorization: Bearer {key}"))
            .arg(&plain)
            .stderr(Stdio::null());
        let answer = curl.output()?;
        if answer.stdout == b"200" {
            break;
        }
        if begun.elapsed() > START {
            let seen = String::from_utf8_lossy(&answer.stdout).into_owned();
            bail!("{name} does not answer 200 at {plain}, but {seen}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut pids = vec![child.id()];
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let below = fs::read_to_string(children).unwrap_or_default();
    pids.extend(
        below
            .split_whitespace()
            .filter_map(|pid| pid.parse::<u32>().ok()),
    );
    Ok(Proxy {
        name,
        plain,
        tls,
        script,
        pids,
        children: vec![child],
    })
}

fn nginx_conf(folder: &Path, name: &str, http: &str) -> Result<PathBuf> {
    // Of ten thousand endpoints each has its own connection to the upstream.
    let connections = if name == UPSTREAM { 16_384 } else { 4096 };
    let file = folder.join(format!("{name}.conf"));
    let text = format!(
        "daemon off;\nworker_processes 1;\npid {name}.pid;\nerror_log {name}.err warn;\n\
         events {{ worker_connections {connections}; }}\nhttp {{\n  access_log off;\n  \
         keepalive_requests 1000000000;\n  client_body_buffer_size 64k;\n  \
         client_body_temp_path {name}-body;\n  proxy_temp_path {name}-proxy;\n  \
         fastcgi_temp_path {name}-f;\n  uwsgi_temp_path {name}-u;\n  scgi_temp_path {name}-s;\n{http}}}\n"
    );
    fs::write(&file, text)?;
    Ok(file)
}

fn start_nginx(folder: &Path, core: &str, name: &str, http: &str) -> Result<Child> {
    let conf = nginx_conf(folder, name, http)?;
    let program = which("nginx").context("no nginx")?;
    let prefix = format!("{}/", folder.display());
    pinned(
        folder,
        core,
        name,
        &program,
        &["-p", &prefix, "-c", &conf.display().to_string()],
    )
}

/// Addresses of the upstream: thousands of probes of one address would leave so many
/// closed connections that finding a free port is what they cost.
pub(super) const PLACES: usize = 200;

pub(super) fn upstream(folder: &Path) -> Result<Proxy> {
    let port = free_port()?;
    let body = rows("predictions");
    let listen: String = (1..=PLACES)
        .map(|place| format!("    listen 127.0.0.{place}:{port} backlog=4096;\n"))
        .collect();
    let http = format!(
        "  server {{\n{listen}    default_type application/json;\n    \
         location / {{ return 200 '{body}'; }}\n  }}\n"
    );
    let child = start_nginx(folder, OTHER_CORE, UPSTREAM, &http)?;
    let plain = format!("http://127.0.0.1:{port}/score");
    up(
        child,
        "direct",
        plain,
        None,
        script(folder, "direct", None, false)?,
    )
}

fn nginx(folder: &Path, upstream: &str) -> Result<Proxy> {
    let (plain, tls) = (free_port()?, free_port()?);
    let http = format!(
        "  upstream model {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n  server {{\n    \
         listen 127.0.0.1:{plain} backlog=4096;\n    listen 127.0.0.1:{tls} ssl backlog=4096;\n    \
         ssl_certificate tls.crt;\n    ssl_certificate_key tls.key;\n    ssl_protocols TLSv1.2 TLSv1.3;\n    \
         location / {{\n      proxy_pass http://model;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_request_buffering off;\n      proxy_buffering off;\n    }}\n  }}\n"
    );
    let child = start_nginx(folder, PROXY_CORE, "nginx", &http)?;
    let script = script(folder, "nginx", None, false)?;
    up(
        child,
        "nginx",
        url("http", plain),
        Some(url("https", tls)),
        script,
    )
}

fn haproxy(folder: &Path, upstream: &str) -> Result<Proxy> {
    let (plain, tls) = (free_port()?, free_port()?);
    let file = folder.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  \
         timeout client 60s\n  timeout server 60s\n  http-reuse always\nfrontend in\n  \
         bind 127.0.0.1:{plain}\n  bind 127.0.0.1:{tls} ssl crt {}/both.pem alpn http/1.1\n  \
         default_backend model\nbackend model\n  server one {upstream} maxconn 256\n",
        folder.display()
    );
    fs::write(&file, text)?;
    let program = which("haproxy").context("no haproxy")?;
    let conf = file.display().to_string();
    let child = pinned(
        folder,
        PROXY_CORE,
        "haproxy",
        &program,
        &["-db", "-f", &conf],
    )?;
    let script = script(folder, "haproxy", None, false)?;
    up(
        child,
        "haproxy",
        url("http", plain),
        Some(url("https", tls)),
        script,
    )
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}/score")
}
