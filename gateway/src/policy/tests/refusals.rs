//! Plugins that are refused, each with a reason an author can act on, and with
//! nothing left behind.

use super::wasm::{self, Guest};
use super::*;
use crate::id::Digest;

#[track_caller]
fn check(component: &[u8], reason: &str) {
    let refusal = inspect::inspect(component).unwrap_err().to_string();
    assert!(refusal.contains(reason), "{refusal}");
}

#[test]
fn what_is_no_component_is_refused_by_what_it_is() {
    check(b"", "not WebAssembly");
    check(b"#!/bin/sh", "not WebAssembly");
    check(b"\x7fELF\x02\x01\x01\x00", ".cwasm");
    check(&wasm::auth().module(), "a core module");
    let whole = wasm::auth().component();
    for length in [9, whole.len() / 2, whole.len() - 1] {
        check(&whole[..length], "not a valid component");
    }
    check(
        &vec![0; inspect::COMPONENT_BYTES_MAX + 1],
        "at most 33554432",
    );
    let empty = wat::parse_str("(component)").unwrap();
    check(
        &empty,
        "exports none of tidegate:policy/auth, split and collect",
    );
}

#[test]
fn an_import_that_is_not_granted_refuses_the_plugin_by_name() {
    let environment = "package wasi:cli@0.2.3 { interface environment { get-arguments: func() -> list<string>; } }";
    let guest = Guest {
        imports: (environment, "import wasi:cli/environment@0.2.3;"),
        more: r#"(import "wasi:cli/environment@0.2.3" "get-arguments" (func (param i32)))"#
            .to_owned(),
        ..wasm::auth()
    };
    check(
        &guest.component(),
        "it imports wasi:cli/environment@0.2.3, which is not granted",
    );
    let guest = Guest {
        imports: ("", "import tidegate:policy/keys@0.1.0;"),
        more: r#"(import "tidegate:policy/keys@0.1.0" "match-key" (func (param i32 i32 i32)))"#
            .to_owned(),
        ..wasm::split()
    };
    check(
        &guest.component(),
        "it imports tidegate:policy/keys@0.1.0, which is not granted",
    );
}

#[test]
fn what_the_engine_has_not_is_refused_by_name() {
    for (text, reason) in [
        ("(component (core module (tag)))", "exceptions"),
        (
            "(component (core module (memory i64 1)))",
            "64-bit memories",
        ),
        ("(component (core module (memory 1 1 shared)))", "threads"),
        (
            "(component (core module (func $f (return_call $f))))",
            "tail calls",
        ),
        (
            r#"(component (core func (canon task.cancel)))"#,
            "the asynchronous component ABI (WASI P3)",
        ),
    ] {
        let component = wat::parse_str(text).unwrap();
        check(&component, reason);
    }
}

#[test]
fn inspect_tells_role_imports_and_digest() {
    let guest = Guest {
        more: r#"(import "tidegate:policy/clock@0.1.0" "now-ms" (func (result i64)))"#.to_owned(),
        ..wasm::collect()
    };
    let component = guest.component();
    let found = inspect::inspect(&component).unwrap();
    assert_eq!(found.role, Role::Collect);
    assert_eq!(found.digest, Digest::of(&component));
    assert_eq!(found.bytes, component.len() as u64);
    assert!(
        found
            .imports
            .contains(&"tidegate:policy/clock@0.1.0".to_owned())
    );
}

#[tokio::test]
async fn another_digest_or_role_than_the_resource_says_is_refused() {
    let fixture = fixture();
    let component = wasm::auth().component();
    let mut pinned = Fixture::plugin("pinned", Role::Auth);
    pinned.digest = Some(Digest::of(b"other"));
    let refusal = fixture
        .host
        .load(&pinned, component.clone())
        .await
        .unwrap_err();
    assert!(matches!(refusal, Refusal::OtherDigest { .. }), "{refusal}");
    let split = Fixture::plugin("pinned", Role::Split);
    let refusal = fixture.host.load(&split, component).await.unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "it is a auth plugin; the resource says split"
    );
    let live = fixture.metrics.plugin_versions_live.with(&["pinned"]);
    assert_eq!(live.value(), 0);
}

async fn bind(guest: Guest<'_>) -> Refusal {
    let fixture = fixture();
    let plugin = Fixture::plugin("candidate", Role::Auth);
    let loaded = fixture.host.load(&plugin, guest.component()).await.unwrap();
    let refusal = fixture
        .host
        .bind(&loaded, binding(&plugin.name))
        .await
        .unwrap_err();
    assert_eq!(fixture.host.instances(), 0);
    drop(loaded);
    let live = fixture.metrics.plugin_versions_live.with(&["candidate"]);
    assert_eq!(live.value(), 0);
    refusal
}

#[tokio::test]
async fn settings_that_the_plugin_refuses_refuse_the_binding_in_its_words() {
    let refusal = bind(Guest {
        configure: "(i32.const 1024)".to_owned(),
        data: wasm::plugin_error(0, b"tenant: is missing"),
        ..wasm::auth()
    });
    assert_eq!(
        refusal.await.to_string(),
        "it refuses the settings: error: misconfigured: tenant: is missing"
    );
}

#[tokio::test]
async fn a_self_test_that_fails_refuses_the_binding() {
    let refusal = bind(Guest {
        self_test: "unreachable".to_owned(),
        ..wasm::auth()
    });
    assert!(matches!(refusal.await, Refusal::SelfTest(fault) if fault.kind == FaultKind::Trap));
}

#[tokio::test]
async fn a_self_test_that_spins_is_refused_after_a_second() {
    let refusal = bind(Guest {
        self_test: "(loop $on (br $on)) unreachable".to_owned(),
        ..wasm::auth()
    });
    assert!(matches!(refusal.await, Refusal::SelfTest(fault) if fault.kind == FaultKind::Timeout));
}

#[tokio::test]
async fn a_guest_that_starts_with_too_much_memory_is_refused() {
    let refusal = bind(Guest {
        pages: 1000,
        ..wasm::auth()
    });
    let refusal = refusal.await;
    assert!(matches!(&refusal, Refusal::Instance(_)), "{refusal}");
}
