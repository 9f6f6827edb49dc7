//! Contents of plugins on the disk: what somebody may need stays, the rest goes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, yaml};

/// The same module with a custom section that makes its digest another one.
fn marked(module: &[u8], number: u8) -> Vec<u8> {
    // Id 0, six bytes: a name of four and one of content.
    [module, &[0, 6, 4], b"mark", &[number]].concat()
}

/// The digests of the contents in the folder of a plugin.
fn there(gateway: &Gateway) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(gateway)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let hex = names.filter_map(|name| name.strip_suffix(".wasm").map(str::to_owned));
    hex.map(|hex| format!("sha256:{hex}")).collect()
}

fn folder(gateway: &Gateway) -> PathBuf {
    gateway.state().join("plugins/door")
}

fn push(gateway: &Gateway, content: &[u8]) -> String {
    let path = "/v1/plugins/door/versions";
    let pushed = gateway.admin_raw("POST", path, "application/wasm", content);
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    pushed.json()["digest"].as_str().unwrap().to_owned()
}

/// A rollback to each revision that is kept would work.
#[track_caller]
fn every_way_back_is_open(gateway: &Gateway, expected: usize) {
    let (_, history) = gateway.admin("GET", "/v1/plugins/door/history", b"");
    let revisions = history["items"].as_array().unwrap();
    assert_eq!(revisions.len(), expected, "{history}");
    for one in revisions {
        let to = json!({ "to": one["revision"] }).to_string();
        let path = "/v1/plugins/door/rollback?dryRun=true";
        let (status, answer) = gateway.admin("POST", path, to.as_bytes());
        assert_eq!(status, 200, "{one}: {answer}");
    }
}

fn active(gateway: &Gateway) -> Value {
    let (_, shown) = gateway.admin("GET", "/v1/plugins/door", b"");
    shown["status"]["activeDigest"].clone()
}

#[test]
fn contents_that_nobody_can_need_go_and_every_way_back_stays_open() {
    const SWAPS: u8 = 16;
    let blue = Replica::start("blue");
    let auth = "auth: { mode: custom, policies: [{ plugin: door }] }";
    let iris = yaml::endpoint("iris", auth, &[yaml::version("blue", &[&blue], "")]);
    let module = fs::read(guests::build("echo-auth", "one")).unwrap();
    let resources = format!("{}{iris}", yaml::plugin("door", "auth", ""));
    let setup = Setup::new(&resources).spec("store: { revisions: 3 }");
    let mut gateway = setup.file("door.wasm", &module).start();
    gateway.healthy("iris");
    let mut swapped = vec![active(&gateway).as_str().unwrap().to_owned()];
    for number in 1..=SWAPS {
        let digest = push(&gateway, &marked(&module, number));
        let order = json!({ "digest": digest }).to_string();
        let path = "/v1/plugins/door/swap";
        let (status, answer) = gateway.admin("POST", path, order.as_bytes());
        assert_eq!(status, 200, "{answer}");
        swapped.push(digest);
    }
    // What decides and the ten before it, and what the file holds.
    let last = swapped.iter().rev().take(11).chain(&swapped[..1]).cloned();
    assert_eq!(there(&gateway), last.clone().collect());
    every_way_back_is_open(&gateway, 3);
    // Pushes that are not swapped to: the last ten of them stay as well.
    let pushed: Vec<String> = (0..12)
        .map(|number| push(&gateway, &marked(&module, 100 + number)))
        .collect();
    let all: BTreeSet<String> = last.chain(pushed[2..].iter().cloned()).collect();
    assert_eq!(there(&gateway), all);
    // Killed, with what a kill may leave: one too many, and half of one.
    gateway.kill();
    let hex = |digest: &str| digest.strip_prefix("sha256:").unwrap().to_owned();
    let at = |name: String| folder(&gateway).join(name);
    let left = at(format!("{}.wasm", hex(&swapped[1])));
    fs::copy(at(format!("{}.wasm", hex(&swapped[16]))), &left).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = fs::File::options().write(true).open(&left).unwrap();
    file.set_modified(old).unwrap();
    let half = at(format!("{}.1.tmp", hex(&swapped[2])));
    fs::write(&half, "half").unwrap();
    gateway.start_again();
    gateway.healthy("iris");
    assert!(!left.exists() && !half.exists());
    assert_eq!(there(&gateway), all);
    assert_eq!(active(&gateway), json!(swapped[16]));
    every_way_back_is_open(&gateway, 3);
    let (status, back) = gateway.admin("POST", "/v1/plugins/door/rollback", b"");
    assert_eq!((status, &back["activeDigest"]), (200, &json!(swapped[15])));
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
}

#[test]
fn of_a_plugin_that_was_deleted_its_revisions_alone_are_kept() {
    let module = fs::read(guests::build("echo-auth", "one")).unwrap();
    let gateway = Setup::new(&yaml::plugin("door", "auth", ""))
        .file("door.wasm", &module)
        .start();
    let first = active(&gateway);
    push(&gateway, &marked(&module, 1));
    assert_eq!(there(&gateway).len(), 2);
    assert_eq!(gateway.admin("DELETE", "/v1/plugins/door", b"").0, 204);
    assert_eq!(there(&gateway), [first.as_str().unwrap().to_owned()].into());
    let (status, back) = gateway.admin("POST", "/v1/plugins/door/rollback", br#"{"to": 1}"#);
    assert_eq!((status, &back["activeDigest"]), (200, &first));
}
