//! The guest crates of `tests/guests`, written with the SDK as anybody's are:
//! each that misbehaves has a test of its name here.
//!
//! They are built once for all tests; `tests/` drives the same ones through the
//! real binary.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::calls::candidates;
use super::*;

const TARGET: &str = "wasm32-unknown-unknown";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Names of the folders of `tests/guests`.
fn names() -> BTreeSet<String> {
    std::fs::read_dir(root().join("tests/guests"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// Where all guests lie, built.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = root().join("target/guests");
        let mut command = Command::new(env!("CARGO"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let stays = name == "CARGO_HOME" || name.starts_with("CARGO_NET_");
            if !stays
                && (name.starts_with("CARGO") || name.starts_with("RUSTC") || name == "RUSTFLAGS")
            {
                command.env_remove(name);
            }
        }
        command
            .current_dir(root().join("plugins"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--release",
                "--target",
                TARGET,
            ])
            .arg("--target-dir")
            .arg(&folder);
        for name in names() {
            command.args(["--package", &name]);
        }
        assert!(
            command.status().unwrap().success(),
            "the guests do not build"
        );
        folder.join(TARGET).join("release")
    })
}

fn guest(name: &str) -> Bytes {
    let module = std::fs::read(built().join(format!("{}.wasm", name.replace('-', "_")))).unwrap();
    component(Bytes::from(module)).unwrap()
}

fn role(name: &str) -> Role {
    match name.rsplit_once('-').unwrap().1 {
        "split" => Role::Split,
        "collect" => Role::Collect,
        _ => Role::Auth,
    }
}

async fn bound(fixture: &Fixture, name: &str, config: &str) -> Result<Arc<Policy>, Refusal> {
    let mut plugin = Fixture::plugin(name, role(name));
    plugin.headers.push(http::HeaderName::from_static("x-user"));
    let loaded = fixture.host.load(&plugin, guest(name)).await?;
    let mut spec = binding(&plugin.name);
    spec.binding.config = serde_json::from_str(config).unwrap();
    fixture.host.bind(&loaded, spec).await
}

/// Asks an auth guest until it failed twice, and calmly in between: the plugin
/// itself lives on.
async fn check_auth(name: &str, config: &str, kind: FaultKind, detail: &str) {
    let fixture = fixture();
    let policy = bound(&fixture, name, config).await.unwrap();
    let asked = Asked::new(&[]);
    for _ in 0..2 {
        let fault = policy.authenticate(&asked.facts(), None).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.detail.contains(detail), "{fault}");
        let facts = RequestFacts {
            query: Some("calm"),
            ..asked.facts()
        };
        let answer = policy.authenticate(&facts, None).await;
        let Ok(AuthDecision::Allow(grant)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(grant.caller.subject, "calm");
    }
    drop(policy);
    assert_eq!(fixture.host.instances(), 0);
    assert_eq!(
        fixture.metrics.plugin_versions_live.with(&[name]).value(),
        0
    );
}

async fn check_split(name: &str, config: &str, kind: FaultKind, detail: &str) {
    let fixture = fixture();
    let policy = bound(&fixture, name, config).await.unwrap();
    let asked = Asked::new(&[]);
    let candidates = candidates(&[("blue", 8000), ("green", 2000)]);
    let fault = policy
        .choose(&asked.facts(), None, 1, candidates)
        .await
        .unwrap_err();
    assert_eq!(fault.kind, kind, "{fault}");
    assert!(fault.detail.contains(detail), "{fault}");
}

async fn check_collect(name: &str, kind: FaultKind, detail: &str) {
    let fixture = fixture();
    let policy = bound(&fixture, name, "{}").await.unwrap();
    let batch = [exchange()];
    let fault = policy.collect(&batch, Vec::new()).await.unwrap_err();
    assert_eq!(fault.kind, kind, "{fault}");
    assert!(fault.detail.contains(detail), "{fault}");
}

async fn refused(name: &str, config: &str) -> String {
    let fixture = fixture();
    let refusal = bound(&fixture, name, config).await.unwrap_err().to_string();
    assert_eq!(fixture.host.instances(), 0);
    assert_eq!(
        fixture.metrics.plugin_versions_live.with(&[name]).value(),
        0
    );
    refusal
}

#[tokio::test]
async fn trap_auth() {
    check_auth("trap-auth", "{}", FaultKind::Trap, "unreachable").await;
}

#[tokio::test]
async fn panic_auth() {
    check_auth(
        "panic-auth",
        "{}",
        FaultKind::Trap,
        "panicked on purpose at /score",
    )
    .await;
}

#[tokio::test]
async fn spin_auth() {
    check_auth("spin-auth", "{}", FaultKind::Timeout, "CPU").await;
}

#[tokio::test]
async fn alloc_auth() {
    check_auth("alloc-auth", "{}", FaultKind::Memory, "refused memory").await;
}

#[tokio::test]
async fn recurse_auth() {
    // The stack of the compiled code, or the one in its memory, whichever ends first.
    check_auth("recurse-auth", "{}", FaultKind::Trap, "wasm trap").await;
}

#[tokio::test]
async fn huge_auth() {
    check_auth("huge-auth", "{}", FaultKind::Trap, "fuel").await;
}

#[tokio::test]
async fn error_auth() {
    check_auth(
        "error-auth",
        "{}",
        FaultKind::Error,
        "the directory is away",
    )
    .await;
}

#[tokio::test]
async fn lie_auth() {
    for (config, lie) in [
        (r#"{"lie": "status"}"#, "status 200"),
        (r#"{"lie": "header-value"}"#, "x-note"),
        (r#"{"lie": "header-name"}"#, "name"),
    ] {
        check_auth("lie-auth", config, FaultKind::Lie, lie).await;
    }
    // What frames the answer is the gateway's and is dropped, not believed.
    let fixture = fixture();
    let policy = bound(&fixture, "lie-auth", r#"{"lie": "framing"}"#)
        .await
        .unwrap();
    let answer = policy.authenticate(&Asked::new(&[]).facts(), None).await;
    let Ok(AuthDecision::Deny(refused)) = answer else {
        panic!("{answer:?}")
    };
    assert!(refused.denial.headers.is_empty());
}

/// What the answer is to a policy that asks for what is not there yet.
#[tokio::test]
async fn ask_auth() {
    let fixture = fixture();
    let policy = bound(&fixture, "ask-auth", "{}").await.unwrap();
    for _ in 0..2 {
        let answer = policy.authenticate(&Asked::new(&[]).facts(), None).await;
        let Ok(AuthDecision::Deny(refused)) = answer else {
            panic!("{answer:?}")
        };
        let told = refused.denial.detail.as_deref().unwrap_or_default();
        assert!(told.contains("Unavailable"), "{told}");
        assert!(
            told.ends_with("limiter: false, taken: None, hmac: None"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn leak_auth() {
    let fixture = fixture();
    let policy = bound(&fixture, "leak-auth", "{}").await.unwrap();
    for _ in 0..100 {
        let answer = policy.authenticate(&Asked::new(&[]).facts(), None).await;
        assert!(matches!(answer, Ok(AuthDecision::Allow(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn noisy_auth() {
    let fixture = fixture();
    let policy = bound(&fixture, "noisy-auth", "{}").await.unwrap();
    let answer = policy.authenticate(&Asked::new(&[]).facts(), None).await;
    assert!(matches!(answer, Ok(AuthDecision::Allow(_))), "{answer:?}");
    let text = fixture.metrics.text();
    for line in [
        r#"tidegate_plugin_log_lines_dropped_total{plugin="noisy-auth"} 36"#,
        r#"tidegate_plugin_metrics_dropped_total{plugin="noisy-auth"} 1"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn echo_auth() {
    let fixture = fixture();
    let config = r#"{"user": "ada", "cacheMs": 3600000}"#;
    let policy = bound(&fixture, "echo-auth", config).await.unwrap();
    for (headers, subject) in [(vec![], "ada"), (vec![("x-user", "bob")], "bob")] {
        let answer = policy
            .authenticate(&Asked::new(&headers).facts(), None)
            .await;
        let Ok(AuthDecision::Allow(grant)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(grant.caller.subject, subject);
        // An hour is more than anything is remembered for.
        assert_eq!(grant.cache, Duration::from_secs(60));
    }
    let refusal = refused("echo-auth", r#"{"usr": "ada"}"#).await;
    assert!(refusal.contains("usr"), "{refusal}");
}

#[tokio::test]
async fn import_auth() {
    let refusal = refused("import-auth", "{}").await;
    assert_eq!(
        refusal,
        "it imports tidegate:policy/http@0.1.0, which is not granted"
    );
}

#[tokio::test]
async fn fail_selftest() {
    let refusal = refused("fail-selftest", "{}").await;
    assert_eq!(
        refusal,
        "its self-test failed: error: internal: failed on purpose"
    );
}

#[tokio::test]
async fn slow_configure() {
    let refusal = refused("slow-configure", "{}").await;
    assert!(
        refusal.starts_with("it refuses the settings: timeout: over its"),
        "{refusal}"
    );
}

#[tokio::test]
async fn trap_split() {
    check_split("trap-split", "{}", FaultKind::Trap, "unreachable").await;
}

#[tokio::test]
async fn spin_split() {
    check_split("spin-split", "{}", FaultKind::Timeout, "CPU").await;
}

#[tokio::test]
async fn error_split() {
    check_split("error-split", "{}", FaultKind::Error, "no opinion").await;
}

#[tokio::test]
async fn lie_split() {
    for (config, lie) in [
        (r#"{"lie": "version"}"#, "not-there"),
        (r#"{"lie": "mirror"}"#, "not-there"),
        (r#"{"lie": "twice"}"#, "twice"),
    ] {
        check_split("lie-split", config, FaultKind::Lie, lie).await;
    }
}

#[tokio::test]
async fn trap_collect() {
    check_collect("trap-collect", FaultKind::Trap, "unreachable").await;
}

#[tokio::test]
async fn lie_collect() {
    check_collect("lie-collect", FaultKind::Lie, "of exchange").await;
}

#[tokio::test]
async fn mirror_split() {
    let fixture = fixture();
    let policy = bound(&fixture, "mirror-split", "{}").await.unwrap();
    let asked = Asked::new(&[]);
    let candidates = candidates(&[("blue", 8000), ("green", 2000)]);
    let choice = policy.choose(&asked.facts(), None, 1, candidates).await;
    let choice = choice.unwrap();
    let mirrors: Vec<&str> = choice.mirrors.iter().map(Name::as_str).collect();
    assert_eq!((choice.version.as_str(), mirrors), ("blue", vec!["green"]));
}

#[test]
fn every_guest_has_a_test_of_its_name() {
    let tests = include_str!("guests.rs");
    for name in names() {
        let test = format!("async fn {}() {{", name.replace('-', "_"));
        assert!(tests.contains(&test), "no test of the guest {name}");
    }
}
