//! Guests that misbehave in a call: each kind of fault is told by its name, the
//! next call gets a new instance, and the host goes on.

use super::calls::candidates;
use super::wasm::{self, Guest};
use super::*;

async fn ask(policy: &Arc<Policy>) -> Result<AuthDecision, PolicyFault> {
    policy.authenticate(&Asked::new(&[]).facts(), None).await
}

async fn choose(policy: &Arc<Policy>) -> Result<Choice, PolicyFault> {
    let candidates = candidates(&[("blue", 8000), ("green", 2000)]);
    let asked = Asked::new(&[]);
    policy.choose(&asked.facts(), None, 7, candidates).await
}

/// Asks an auth guest twice: both fail alike, nothing of it stays behind, and
/// another policy of the same host answers.
#[track_caller]
fn check(name: &str, guest: &Guest<'_>, kind: FaultKind, detail: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let fixture = fixture();
        let policy = fixture
            .bound(&Fixture::plugin(name, Role::Auth), guest)
            .await;
        for _ in 0..2 {
            let fault = ask(&policy).await.unwrap_err();
            assert_eq!(fault.kind, kind, "{fault}");
            assert!(fault.detail.contains(detail), "{fault}");
        }
        let family = &fixture.metrics.policy_faults;
        assert_eq!(family.with(&[name, "auth", kind.as_str()]).value(), 2);
        let other = Fixture::plugin("well-behaved", Role::Auth);
        let other = fixture.bound(&other, &wasm::auth()).await;
        assert!(matches!(ask(&other).await, Ok(AuthDecision::Pass)));
        drop((policy, other));
        assert_eq!(fixture.host.instances(), 0);
    });
}

fn does(body: &str) -> Guest<'static> {
    Guest {
        body: body.to_owned(),
        ..wasm::auth()
    }
}

fn answers(data: Vec<u8>) -> Guest<'static> {
    Guest {
        data,
        ..wasm::auth()
    }
}

#[test]
fn a_guest_that_traps_is_a_trap() {
    check(
        "traps",
        &does("unreachable"),
        FaultKind::Trap,
        "unreachable",
    );
}

#[test]
fn a_guest_that_spins_is_a_timeout() {
    let started = std::time::Instant::now();
    check(
        "spins",
        &does("(loop $on (br $on)) unreachable"),
        FaultKind::Timeout,
        "CPU",
    );
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_guest_that_allocates_without_end_is_memory() {
    let body =
        "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    check("allocates", &does(body), FaultKind::Memory, "33554432");
}

#[test]
fn a_guest_that_recurses_is_a_trap() {
    let guest = Guest {
        more: "(func $deep (param i32) (result i32) (i32.add (local.get 0) (call $deep (i32.add (local.get 0) (i32.const 1)))))".to_owned(),
        ..does("(call $deep (i32.const 0))")
    };
    check("recurses", &guest, FaultKind::Trap, "stack");
}

#[test]
fn a_guest_that_returns_128_mib_of_strings_that_alias_is_a_trap() {
    // 2,048 scopes that are all the same 64 KiB.
    let body = "(drop (memory.grow (i32.const 2)))
        (local.set $n (i32.const 65536))
        (loop $on
            (i32.store (local.get $n) (i32.const 131072))
            (i32.store offset=4 (local.get $n) (i32.const 65536))
            (local.set $n (i32.add (local.get $n) (i32.const 8)))
            (br_if $on (i32.lt_u (local.get $n) (i32.const 81920))))
        (i32.store (i32.const 1048) (i32.const 65536))
        (i32.store (i32.const 1052) (i32.const 2048))
        (i32.const 1024)";
    let guest = Guest {
        data: wasm::allow(b"me", 0, &[]),
        ..does(body)
    };
    check("aliases", &guest, FaultKind::Trap, "fuel");
}

#[test]
fn a_guest_that_says_it_failed_is_an_error_and_keeps_its_instance() {
    let guest = answers(wasm::plugin_error(1, b"no database"));
    check(
        "unavailable",
        &guest,
        FaultKind::Error,
        "unavailable: no database",
    );
}

#[test]
fn a_guest_that_denies_with_status_200_is_a_lie() {
    check(
        "lies-status",
        &answers(wasm::deny(200, b"", &[])),
        FaultKind::Lie,
        "status 200",
    );
}

#[test]
fn a_guest_that_puts_cr_lf_into_a_header_is_a_lie() {
    let headers: [(&[u8], &[u8]); 1] = [(b"x-why", b"a\r\nset-cookie: b")];
    check(
        "lies-header",
        &answers(wasm::deny(403, b"", &headers)),
        FaultKind::Lie,
        "x-why",
    );
    let headers: [(&[u8], &[u8]); 1] = [(b"x why", b"a")];
    check(
        "lies-name",
        &answers(wasm::deny(403, b"", &headers)),
        FaultKind::Lie,
        "name",
    );
}

#[test]
fn a_guest_that_names_a_caller_with_a_line_break_is_a_lie() {
    check(
        "lies-caller",
        &answers(wasm::allow(b"a\nb", 0, &[])),
        FaultKind::Lie,
        "control",
    );
}

#[test]
fn a_call_is_over_its_wall_time_only_where_it_met_a_tick_before() {
    use wasmtime::UpdateDeadline::{Interrupt, Yield};
    let now = std::time::Instant::now();
    let mut budget = guest::Budget::new(Duration::from_millis(2), now);
    assert!(matches!(budget.meet_tick(now), Yield(1)));
    assert!(matches!(budget.meet_tick(now), Interrupt));
    assert_eq!(budget.over, Some(guest::Over::Wall));
    let mut budget = guest::Budget::new(Duration::from_millis(2), now + Duration::from_secs(1));
    for _ in 0..2 {
        assert!(matches!(budget.meet_tick(now), Yield(1)));
    }
    assert!(matches!(budget.meet_tick(now), Interrupt));
    assert_eq!(budget.over, Some(guest::Over::Cpu));
}

#[tokio::test]
async fn a_denial_keeps_what_the_contract_allows() {
    let fixture = fixture();
    let headers: [(&[u8], &[u8]); 2] = [(b"X-Plan", b"free"), (b"connection", b"close")];
    let guest = answers(wasm::deny(429, b"slow down", &headers));
    let policy = fixture
        .bound(&Fixture::plugin("denies", Role::Auth), &guest)
        .await;
    let AuthDecision::Deny(refused) = ask(&policy).await.unwrap() else {
        panic!("not denied")
    };
    assert_eq!(refused.status, DenyStatus::RateLimited);
    assert_eq!(refused.denial.detail.as_deref(), Some("slow down"));
    assert_eq!(refused.denial.code.as_deref(), Some("over"));
    assert_eq!(
        refused.denial.retry_after,
        Some(Duration::from_millis(1500))
    );
    let names: Vec<_> = refused
        .denial
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["x-plan"]);
}

#[tokio::test]
async fn a_guest_that_chooses_what_is_not_there_is_a_lie() {
    let fixture = fixture();
    let tag: (&[u8], &[u8]) = (b"why", b"x");
    for (number, (data, lie)) in [
        (wasm::choice(b"red", b"", &[]), Some("\"red\"")),
        (wasm::choice(b"blue", b"red", &[]), Some("\"red\"")),
        (wasm::choice(b"blue", b"blue", &[]), Some("twice")),
        (wasm::choice(b"blue", b"green", &[tag; 65]), Some("65 tags")),
        (wasm::choice(b"blue", b"green", &[tag; 2]), None),
    ]
    .into_iter()
    .enumerate()
    {
        let guest = Guest {
            data,
            ..wasm::split()
        };
        let plugin = Fixture::plugin(&format!("lies-version-{number}"), Role::Split);
        let policy = fixture.bound(&plugin, &guest).await;
        match (choose(&policy).await, lie) {
            (Ok(choice), None) => {
                assert_eq!(choice.version.as_str(), "blue");
                assert_eq!(choice.mirrors.len(), 1);
                assert_eq!(choice.tags.len(), 2);
            }
            (Err(fault), Some(lie)) => {
                assert_eq!(fault.kind, FaultKind::Lie, "{fault}");
                assert!(fault.detail.contains(lie), "{fault}");
            }
            (other, lie) => panic!("{other:?}, expected {lie:?}"),
        }
    }
}

#[tokio::test]
async fn an_entry_of_an_exchange_that_is_not_there_is_a_lie() {
    let fixture = fixture();
    for (name, data, lie) in [
        ("lies-entry", wasm::entry(1, b"application/json"), true),
        ("lies-media", wasm::entry(0, b"text/plain\r\n"), true),
        ("collects", wasm::entry(0, b"application/json"), false),
    ] {
        let guest = Guest {
            data,
            ..wasm::collect()
        };
        let policy = fixture
            .bound(&Fixture::plugin(name, Role::Collect), &guest)
            .await;
        let kept = policy.collect(&[exchange()], Vec::new()).await;
        match kept {
            Err(fault) if lie => assert_eq!(fault.kind, FaultKind::Lie, "{fault}"),
            Ok(kept) if !lie => {
                let entry = kept.first().unwrap();
                assert_eq!(entry.designation, Designation::Predictions);
                assert_eq!((entry.exchange, &entry.data[..]), (Some(0), &b"{}"[..]));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_policy_that_is_asked_what_is_not_its_role_is_an_error() {
    let fixture = fixture();
    let policy = fixture
        .bound(&Fixture::plugin("splits", Role::Split), &wasm::split())
        .await;
    let fault = ask(&policy).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Error);
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_its_instance_along_and_nothing_else() {
    let fixture = fixture();
    let policy = fixture
        .bound(
            &Fixture::plugin("dropped", Role::Auth),
            &does("(loop $on (br $on)) unreachable"),
        )
        .await;
    let before = fixture.host.instances();
    let mut call = Box::pin(ask(&policy));
    // It spins, so it gives the worker back at its first tick.
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    let _ = before;
    for _ in 0..8 {
        assert_eq!(ask(&policy).await.unwrap_err().kind, FaultKind::Timeout);
    }
    drop(policy);
    assert_eq!(fixture.host.instances(), 0);
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_counted() {
    let fixture = fixture();
    let guest = Guest {
        more: r#"(import "tidegate:policy/log@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))"#.to_owned(),
        body: "(loop $on
                (call $emit (i32.const 0) (i32.const 1024) (i32.const 8) (i32.const 0) (i32.const 0))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $on (i32.lt_u (local.get $n) (i32.const 100))))
            (i32.const 1024)"
            .to_owned(),
        ..wasm::auth()
    };
    let policy = fixture
        .bound(&Fixture::plugin("floods", Role::Auth), &guest)
        .await;
    ask(&policy).await.unwrap();
    let text = fixture.metrics.text();
    let line = r#"tidegate_plugin_log_lines_dropped_total{plugin="floods"} 36"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn more_random_bytes_than_the_contract_gives_are_a_trap() {
    let fixture = fixture();
    let import = r#"(import "tidegate:policy/random@0.1.0" "bytes" (func $bytes (param i32 i32)))"#;
    for (name, bytes, fails) in [("random-ok", 1024, false), ("random-much", 1025, true)] {
        let guest = Guest {
            more: import.to_owned(),
            ..does(&format!(
                "(call $bytes (i32.const {bytes}) (i32.const 512)) (i32.const 1024)"
            ))
        };
        let policy = fixture
            .bound(&Fixture::plugin(name, Role::Auth), &guest)
            .await;
        assert_eq!(ask(&policy).await.is_err(), fails, "{name}");
    }
}
