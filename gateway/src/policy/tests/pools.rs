//! Instances: how many there are, who gets one, and that they are freed.

use std::time::Instant;

use super::wasm::{self, Guest};
use super::*;

async fn ask(policy: &Arc<Policy>) -> Result<AuthDecision, PolicyFault> {
    policy.authenticate(&Asked::new(&[]).facts(), None).await
}

fn spins() -> Guest<'static> {
    Guest {
        body: "(loop $on (br $on)) unreachable".to_owned(),
        ..wasm::auth()
    }
}

#[tokio::test]
async fn a_policy_that_is_dropped_frees_its_instances_and_its_version() {
    let fixture = fixture();
    let plugin = Fixture::plugin("freed", Role::Auth);
    let live = fixture.metrics.plugin_versions_live.with(&["freed"]);
    let instances = fixture.metrics.plugin_instances.with(&["freed"]);
    for _ in 0..3 {
        let policy = fixture.bound(&plugin, &wasm::auth()).await;
        assert!(matches!(ask(&policy).await, Ok(AuthDecision::Pass)));
        assert_eq!(live.value(), 1);
        assert!(instances.value() >= 1);
        // A call under way keeps its version to its end.
        let call = policy.authenticate(&Asked::new(&[]).facts(), None);
        drop(policy);
        assert_eq!(live.value(), 1);
        assert!(matches!(call.await, Ok(AuthDecision::Pass)));
        assert_eq!((live.value(), instances.value()), (0, 0));
        assert_eq!(fixture.host.instances(), 0);
    }
}

#[tokio::test]
async fn one_instance_serves_every_worker_where_the_plugin_may_have_one() {
    let fixture = fixture();
    let mut plugin = Fixture::plugin("alone", Role::Auth);
    plugin.limits.instances = std::num::NonZeroU32::MIN;
    let policy = fixture.bound(&plugin, &wasm::auth()).await;
    for _ in 0..5 {
        assert!(matches!(ask(&policy).await, Ok(AuthDecision::Pass)));
        assert_eq!(fixture.host.instances(), 1);
    }
}

#[tokio::test]
async fn two_calls_compute_at_once_and_the_third_waits_20_ms() {
    let fixture = fixture();
    let mut plugin = Fixture::plugin("busy", Role::Auth);
    plugin.limits.cpu = Duration::from_millis(200);
    let policy = fixture.bound(&plugin, &spins()).await;
    let calls = (0..4).map(|_| ask(&policy));
    let kinds: Vec<_> = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .map(|answer| answer.unwrap_err().kind)
        .collect();
    let overloaded = kinds
        .iter()
        .filter(|kind| **kind == FaultKind::Overload)
        .count();
    assert_eq!((overloaded, kinds.len()), (2, 4), "{kinds:?}");
}

#[tokio::test]
async fn a_guest_that_spins_is_ended_also_where_the_clock_rested() {
    let fixture = fixture();
    let mut plugin = Fixture::plugin("rested", Role::Auth);
    // Longer than what the clock needs to come to rest.
    plugin.limits.cpu = Duration::from_millis(300);
    let policy = fixture.bound(&plugin, &spins()).await;
    for _ in 0..3 {
        let rested = async {
            while !fixture.host.clock().rests() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let rested = tokio::time::timeout(Duration::from_secs(20), rested).await;
        assert!(rested.is_ok(), "it ticks while nobody calls");
        let fault = ask(&policy).await.unwrap_err();
        // Not its wall time, which needs two ticks only.
        let why = (fault.kind, fault.detail.as_str());
        assert_eq!(why, (FaultKind::Timeout, "over its CPU time"));
    }
}

#[tokio::test]
async fn more_than_64_waiting_calls_are_overload_at_once() {
    let fixture = fixture();
    let policy = fixture
        .bound(&Fixture::plugin("crowded", Role::Auth), &spins())
        .await;
    let calls = (0..2 + 64 + 10).map(|_| ask(&policy));
    let at_once = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .filter(|answer| {
            let fault = answer.as_ref().unwrap_err();
            fault.kind == FaultKind::Overload && fault.detail.contains("wait already")
        })
        .count();
    assert_eq!(at_once, 10);
}

#[tokio::test]
async fn a_plugin_that_loses_every_instance_is_given_new_ones_ever_more_slowly() {
    let fixture = fixture();
    let guest = Guest {
        body: "unreachable".to_owned(),
        ..wasm::auth()
    };
    let policy = fixture
        .bound(&Fixture::plugin("hopeless", Role::Auth), &guest)
        .await;
    let mut kinds = Vec::new();
    for _ in 0..200 {
        kinds.push(ask(&policy).await.unwrap_err().kind);
    }
    assert!(
        kinds[..16].iter().all(|kind| *kind == FaultKind::Trap),
        "{kinds:?}"
    );
    let trapped = kinds
        .iter()
        .filter(|kind| **kind == FaultKind::Trap)
        .count();
    assert!(trapped < 100, "{trapped} of 200 calls made an instance");
}

#[tokio::test]
async fn idle_instances_are_dropped_and_made_again_when_they_are_needed() {
    let fixture = fixture();
    let policy = fixture
        .bound(&Fixture::plugin("idle", Role::Auth), &wasm::auth())
        .await;
    assert!(fixture.host.instances() > 0);
    fixture.host.reap(Instant::now() + Duration::from_secs(50));
    assert!(fixture.host.instances() > 0);
    fixture.host.reap(Instant::now() + Duration::from_secs(70));
    assert_eq!(fixture.host.instances(), 0);
    assert!(matches!(ask(&policy).await, Ok(AuthDecision::Pass)));
    assert_eq!(fixture.host.instances(), 1);
}

#[tokio::test]
async fn past_half_of_the_room_settings_that_were_taken_before_make_no_instance() {
    let fixture = fixture();
    let half = engine::INSTANCES_MAX / 2;
    let bind = async |guest: Guest<'_>, count: usize| {
        let plugin = Fixture::plugin("many", Role::Auth);
        let loaded = fixture.host.load(&plugin, guest.component()).await.unwrap();
        let mut bound = Vec::new();
        for _ in 0..count {
            bound.push(fixture.host.bind(&loaded, binding(&plugin.name)).await);
        }
        bound
    };
    let policies = bind(wasm::auth(), half + 100).await;
    let made = fixture.host.instances();
    assert!((half..half + 100).contains(&made), "{made}");
    // It is there when it is called.
    let last = policies.last().unwrap().as_ref().unwrap();
    assert!(matches!(ask(last).await, Ok(AuthDecision::Pass)));
    assert_eq!(fixture.host.instances(), made + 1);
    // What was never taken is tried all the same.
    let refusing = Guest {
        configure: "(i32.const 1024)".to_owned(),
        data: wasm::plugin_error(0, b"tenant: is missing"),
        ..wasm::auth()
    };
    let refused = bind(refusing, 2).await;
    for refusal in refused {
        assert!(matches!(refusal, Err(Refusal::Configure(_))), "{refusal:?}");
    }
    drop(policies);
    assert_eq!(fixture.host.instances(), 0);
}

#[tokio::test]
async fn an_instance_that_gained_much_memory_is_not_used_again() {
    let fixture = fixture();
    let guest = Guest {
        body: "(drop (memory.grow (i32.const 300))) (i32.const 1024)".to_owned(),
        ..wasm::auth()
    };
    let policy = fixture
        .bound(&Fixture::plugin("grows", Role::Auth), &guest)
        .await;
    let warm = fixture.host.instances();
    assert!(matches!(ask(&policy).await, Ok(AuthDecision::Pass)));
    assert!(fixture.host.instances() <= warm);
    for _ in 0..10 {
        // On a kept instance the second or third growth would be refused.
        assert!(matches!(ask(&policy).await, Ok(AuthDecision::Pass)));
    }
}

#[tokio::test]
async fn plugins_run_without_the_pooling_allocator_too() {
    let cache = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let options = HostOptions {
        cache_dir: cache.path().to_path_buf().join("cache"),
        metrics: Arc::clone(&metrics),
    };
    let host = Host::on(engine::on_demand().unwrap(), options).unwrap();
    let plugin = Fixture::plugin("on-demand", Role::Auth);
    let loaded = host.load(&plugin, wasm::auth().component()).await.unwrap();
    let policy = host.bind(&loaded, binding(&plugin.name)).await.unwrap();
    assert!(matches!(ask(&policy).await, Ok(AuthDecision::Pass)));
}

#[tokio::test]
async fn a_torn_or_foreign_file_of_the_cache_is_compiled_again() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = fixture();
    let folder = fixture._cache.path().join("cache");
    let plugin = Fixture::plugin("cached", Role::Auth);
    let component = wasm::auth().component();
    let load = async || fixture.host.load(&plugin, component.clone()).await.unwrap();
    drop(load().await);
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&file).unwrap();
    // What another version left is removed at the next start.
    let old = folder.join("aa-0000000000000000.cwasm");
    std::fs::write(&old, b"old").unwrap();
    let engine = engine::on_demand().unwrap();
    compile::Compiler::new(&engine, &folder).unwrap();
    assert!(!old.exists());
    std::fs::write(&file, &whole).unwrap();
    // Torn: the hash at its end does not fit.
    std::fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    drop(load().await);
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    // Others could have written it.
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&file, open).unwrap();
    drop(load().await);
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // A folder that others may use is refused.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&folder, open).unwrap();
    let refused = native::Folder::open(&folder).unwrap_err().to_string();
    assert!(refused.contains("0700"), "{refused}");
}
