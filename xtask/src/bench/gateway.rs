//! The gateway in the bench: its settings, its start.
//!
//! Called by `proxy` for the comparison, by `steps` and by `crowd`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::proxy::{PROXY_CORE, Proxy, START, pinned, script, up};
use crate::run::{command, output, target};

/// Plugins that may compute for as long as they do under valgrind.
const PATIENT: &str = "---\napiVersion: tidegate.dev/v1alpha1\nkind: Plugin\nmetadata: { name: weighted-split }\nspec:\n  \
    role: split\n  source: { shipped: weighted-split }\n  limits: { cpu: 1s, timeout: 2s }\n---\n\
    apiVersion: tidegate.dev/v1alpha1\nkind: Plugin\nmetadata: { name: model-data }\nspec:\n  \
    role: collect\n  source: { shipped: model-data }\n  headers: [content-type]\n  limits: { cpu: 5s, timeout: 10s }\n";

/// A setting of the gateway.
pub(super) struct Setting {
    pub(super) name: &'static str,
    access_log: bool,
    /// Whether requests pin their version, which skips the split policy.
    pinned: bool,
    /// Lines of the endpoint's `spec`.
    spec: &'static str,
}

const KEY: &str = "auth: { mode: key }";
const OPEN: &str = "auth: { mode: none }";
const COLLECT: &str = "auth: { mode: key }\n  collect: [{ plugin: model-data, bodyBytes: 64Ki }]";

/// The gateway with no plugin asked, with a log, with one, two and three.
pub(super) const GATEWAYS: [Setting; 5] = [
    Setting {
        name: "tidegate",
        access_log: false,
        pinned: true,
        spec: OPEN,
    },
    Setting {
        name: "tidegate, log",
        access_log: true,
        pinned: true,
        spec: OPEN,
    },
    Setting {
        name: "tidegate, 1 plugin",
        access_log: false,
        pinned: true,
        spec: KEY,
    },
    Setting {
        name: "tidegate, 2 plugins",
        access_log: false,
        pinned: false,
        spec: KEY,
    },
    Setting {
        name: "tidegate, 3 plugins",
        access_log: false,
        pinned: false,
        spec: COLLECT,
    },
];

impl Setting {
    /// Its name in names of files.
    pub(super) fn short(&self) -> String {
        self.name.replace([' ', ','], "")
    }
}

/// The release build, or `TIDEGATE_BIN`.
pub(super) fn binary() -> PathBuf {
    std::env::var_os("TIDEGATE_BIN")
        .map_or_else(|| target().join("release/tidegate"), PathBuf::from)
}

/// Starts the gateway; `under` is a program with arguments that runs it.
pub(super) fn start(
    folder: &Path,
    setting: &Setting,
    upstream: &str,
    under: &[String],
) -> Result<Proxy> {
    let Setting {
        name,
        spec: endpoint,
        ..
    } = setting;
    let short = setting.short();
    let state = folder.join(format!("{short}-state"));
    if state.is_dir() {
        fs::remove_dir_all(&state)?;
    }
    let log = folder.join("access.log").display().to_string();
    let log = if setting.access_log {
        log.as_str()
    } else {
        "none"
    };
    let file = folder.join(format!("{short}.yaml"));
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\nmetadata: {{ name: default }}\nspec:\n  \
         threads: 1\n  listeners:\n    - {{ name: plain, address: 127.0.0.1:0, tls: {{ mode: none }} }}\n    \
         - {{ name: tls, address: 127.0.0.1:0, tls: {{ mode: certificates, certificates: [{{ certFile: tls.crt, keyFile: tls.key }}] }} }}\n  \
         admin: {{ address: 127.0.0.1:0 }}\n  accessLog: {{ to: {log} }}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {{ name: bench }}\nspec:\n  {endpoint}\n  \
         versions:\n    - name: one\n      traffic: 100\n      maxConcurrentRequests: 256\n      \
         static: {{ addresses: [\"{upstream}\"] }}\n{}",
        if under.is_empty() { "" } else { PATIENT },
    );
    fs::write(&file, text)?;
    let binary = binary();
    let shown = |path: &Path| path.display().to_string();
    let (file, state_shown) = (shown(&file), shown(&state));
    let mut line: Vec<String> = under.to_vec();
    line.push(shown(&binary));
    line.extend(["run", "-f", &file, "--state", &state_shown].map(str::to_owned));
    let (program, arguments) = line.split_first().context("nothing to run")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = pinned(folder, PROXY_CORE, name, Path::new(program), &arguments)?;
    let run = run_json(&state, &mut child)?;
    let listener = |name: &str| -> Result<String> {
        let url = run
            .pointer(&format!("/listeners/{name}"))
            .and_then(Value::as_str);
        let url = url.with_context(|| format!("run.json has no listener {name}"))?;
        Ok(format!(
            "{}/api/v1/service/bench/score",
            url.trim_end_matches('/')
        ))
    };
    let key = endpoint
        .contains("mode: key")
        .then(|| key(&binary, &state))
        .transpose()?;
    let script = script(folder, name, key.as_deref(), setting.pinned)?;
    up(
        child,
        name,
        listener("plain")?,
        Some(listener("tls")?),
        script,
    )
}

/// What a gateway that has come up says of itself in its state folder.
pub(super) fn run_json(state: &Path, child: &mut Child) -> Result<Value> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("the gateway ended while starting: {status}; see target/bench");
        }
        let text = fs::read_to_string(state.join("run.json")).unwrap_or_default();
        if let Ok(run) = serde_json::from_str::<Value>(&text) {
            return Ok(run);
        }
        if begun.elapsed() > START {
            bail!("no {}; see target/bench", state.join("run.json").display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The endpoint's primary key, as an operator gets it.
fn key(binary: &Path, state: &Path) -> Result<String> {
    let mut show = command(binary);
    show.args(["keys", "show", "bench", "-o", "json", "--state"])
        .arg(state);
    let shown: Value = serde_json::from_str(&output(&mut show)?)?;
    let key = shown
        .get("primaryKey")
        .and_then(Value::as_str)
        .context("no primaryKey")?;
    Ok(key.to_owned())
}
