//! Tests of the store in a file: revisions, migrations, and what ails a file.

use rusqlite::Connection;
use serde_json::json;

use super::super::salvage;
use super::*;

const KEPT: u32 = 100;

fn change(document: Option<Value>, expected: Option<u64>) -> Change {
    Change {
        kind: "Endpoint",
        name: "iris".to_owned(),
        act: document.map_or(Act::Delete, Act::Put),
        kept: None,
        source: None,
        by: "test",
        change: "tested".to_owned(),
        expected,
    }
}

fn named(name: &str, document: Value) -> Change {
    Change {
        name: name.to_owned(),
        ..change(Some(document), None)
    }
}

fn write(store: &FileStore, one: &Change) -> Result<u64, StoreError> {
    store.write(std::slice::from_ref(one)).map(|all| all[0])
}

fn endpoint(n: usize) -> Value {
    json!({ "kind": "Endpoint", "n": n, "fill": "x".repeat(1500) })
}

#[track_caller]
fn trouble<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Trouble {
    match result {
        Err(StoreError::File { trouble, .. }) => trouble,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_there_after_it_is_opened_again() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    assert_eq!(
        write(&store, &change(Some(json!({ "a": 1 })), None)).unwrap(),
        1
    );
    assert_eq!(
        write(&store, &change(Some(json!({ "a": 2 })), Some(1))).unwrap(),
        2
    );
    drop(store);
    let store = FileStore::open(state.path(), KEPT).unwrap();
    let found = store.list().unwrap();
    assert_eq!(
        (found[0].revision, &found[0].document),
        (2, &json!({ "a": 2 }))
    );
    assert_eq!(
        store.at("Endpoint", "iris", 1).unwrap(),
        Some(json!({ "a": 1 }))
    );
    assert_eq!(found.len(), 1);
}

#[test]
fn a_stale_change_is_refused_and_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    write(&store, &change(Some(json!(1)), Some(0))).unwrap();
    // Neither is what stands beside it in one transaction.
    let both = [named("other", json!(1)), change(Some(json!(2)), Some(7))];
    let error = store.write(&both).unwrap_err();
    assert_eq!(error.to_string(), "revision 7 is stale; it is at 1");
    assert_eq!(store.history("Endpoint", "iris").unwrap().len(), 1);
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn numbers_go_on_after_a_resource_was_deleted() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    write(&store, &change(Some(json!(1)), None)).unwrap();
    write(&store, &change(None, Some(1))).unwrap();
    assert!(store.list().unwrap().is_empty());
    assert_eq!(write(&store, &change(Some(json!(2)), Some(0))).unwrap(), 3);
    assert_eq!(store.at("Endpoint", "iris", 2).unwrap(), None);
}

#[test]
fn only_the_last_revisions_are_kept_and_how_many_is_said() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), 7).unwrap();
    for n in 0..12 {
        write(&store, &change(Some(json!(n)), None)).unwrap();
    }
    let history = store.history("Endpoint", "iris").unwrap();
    let numbers: Vec<u64> = history.iter().map(|one| one.revision).collect();
    assert_eq!(numbers, [12, 11, 10, 9, 8, 7, 6]);
    assert_eq!(store.at("Endpoint", "iris", 5).unwrap(), None);
    write(&store, &change(None, None)).unwrap();
    let mut kept = store.kept("Endpoint", "iris").unwrap();
    kept.sort_by_key(Value::as_u64);
    let numbers = [json!(6), json!(7), json!(8), json!(9), json!(10), json!(11)];
    assert_eq!(kept, numbers, "and no deletion");
    // Fewer from the next change on.
    drop(store);
    let store = FileStore::open(state.path(), 2).unwrap();
    write(&store, &change(Some(json!(12)), None)).unwrap();
    assert_eq!(store.history("Endpoint", "iris").unwrap().len(), 2);
}

#[test]
fn a_note_is_a_revision_that_leaves_the_resource() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    write(&store, &change(Some(json!({ "a": 1 })), None)).unwrap();
    let note = Change {
        act: Act::Note,
        kept: Some(json!({ "a": 1, "status": 7 })),
        ..change(None, Some(1))
    };
    assert_eq!(write(&store, &note).unwrap(), 2);
    let found = store.list().unwrap();
    assert_eq!(
        (found[0].revision, &found[0].document),
        (2, &json!({ "a": 1 }))
    );
    let latest = store.latest("Endpoint").unwrap();
    assert_eq!(latest["iris"].kept, Some(json!({ "a": 1, "status": 7 })));
}

#[test]
fn what_a_file_applied_is_known_also_of_a_resource_that_was_deleted() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    let mut filed = change(Some(json!(1)), None);
    filed.source = Some("sha256:1".to_owned());
    write(&store, &filed).unwrap();
    write(&store, &change(Some(json!(2)), None)).unwrap();
    assert!(store.list().unwrap()[0].from_file);
    write(&store, &change(None, None)).unwrap();
    let key = ("Endpoint".to_owned(), "iris".to_owned());
    assert_eq!(store.applied().unwrap()[&key], "sha256:1");
    // Made anew by somebody else it is no file's.
    write(&store, &change(Some(json!(3)), None)).unwrap();
    assert!(!store.list().unwrap()[0].from_file);
    // Where the file is gone, so is what it applied.
    let pruned = Change {
        by: "file",
        ..change(None, None)
    };
    write(&store, &pruned).unwrap();
    assert!(store.applied().unwrap().is_empty());
}

#[test]
fn a_file_of_every_earlier_version_is_brought_up() {
    for version in 0..schema::VERSION {
        let state = tempfile::tempdir().unwrap();
        let old = Connection::open(state.path().join(FILE)).unwrap();
        for step in &schema::steps()[..version] {
            old.execute_batch(step).unwrap();
        }
        old.pragma_update(None, "user_version", i64::try_from(version).unwrap())
            .unwrap();
        // What the first build wrote.
        if version == 1 {
            old.execute_batch(
                "INSERT INTO resource VALUES
                   ('Endpoint', 'iris', 2, '{\"a\":2}', 'sha256:f'),
                   ('Endpoint', 'rose', 1, '{\"b\":1}', NULL);
                 INSERT INTO history VALUES
                   ('Endpoint', 'iris', 1, '2026-01-01T00:00:00Z', 'file', 'x', '{\"a\":1}'),
                   ('Endpoint', 'iris', 2, '2026-01-02T00:00:00Z', 'admin', 'y', '{\"a\":2}'),
                   ('Endpoint', 'rose', 1, '2026-01-02T00:00:00Z', 'admin', 'z', '{\"b\":1}');",
            )
            .unwrap();
        }
        drop(old);
        let store = FileStore::open(state.path(), KEPT).unwrap();
        if version == 1 {
            let found = store.list().unwrap();
            let seen: Vec<_> = found
                .iter()
                .map(|one| (one.name.as_str(), one.revision, one.from_file))
                .collect();
            assert_eq!(seen, [("iris", 2, true), ("rose", 1, false)]);
            assert_eq!(store.applied().unwrap().len(), 1);
            assert_eq!(store.history("Endpoint", "iris").unwrap()[1].by, "file");
            assert_eq!(
                store.at("Endpoint", "iris", 1).unwrap(),
                Some(json!({ "a": 1 }))
            );
        }
        write(&store, &named("new", json!(1))).unwrap();
        drop(store);
        FileStore::open(state.path(), KEPT).unwrap();
    }
}

#[test]
fn a_file_of_a_later_build_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    drop(FileStore::open(state.path(), KEPT).unwrap());
    let file = Connection::open(state.path().join(FILE)).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    assert_eq!(trouble(FileStore::open(state.path(), KEPT)), Trouble::Later);
}

#[test]
fn a_file_that_is_no_store_is_said_by_its_path() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join(FILE), "not a database, but long enough").unwrap();
    let error = FileStore::open(state.path(), KEPT).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("store.db") && text.contains("not a database"),
        "{text}"
    );
    assert_eq!(trouble::<()>(Err(error)), Trouble::Torn);
    assert!(salvage(state.path()).is_empty());
}

#[test]
fn a_file_that_another_holds_is_read_but_not_written() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    write(&store, &change(Some(json!(1)), None)).unwrap();
    let other = Connection::open(state.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        trouble(write(&store, &change(Some(json!(2)), None))),
        Trouble::Locked
    );
    assert_eq!(trouble(store.probe()), Trouble::Locked);
    assert_eq!(store.list().unwrap()[0].document, json!(1));
    other.execute_batch("ROLLBACK").unwrap();
    store.probe().unwrap();
    assert_eq!(write(&store, &change(Some(json!(2)), None)).unwrap(), 2);
}

#[test]
fn a_full_disk_refuses_a_change_and_keeps_what_is_there() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    write(&store, &named("first", endpoint(0))).unwrap();
    // As a disk that is full: no page more.
    let most = |pages: i64| {
        let connection = store.connection.lock();
        let now: i64 = connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        let most = (now + pages).to_string();
        let set = format!("PRAGMA max_page_count = {most}");
        connection.query_row(&set, [], |_| Ok(())).unwrap();
    };
    most(0);
    let many: Vec<Change> = (0..50)
        .map(|n| named(&format!("e{n}"), endpoint(n)))
        .collect();
    assert_eq!(trouble(store.write(&many)), Trouble::Disk);
    assert_eq!(store.list().unwrap().len(), 1);
    most(1000);
    store.write(&many).unwrap();
    assert_eq!(store.list().unwrap().len(), 51);
}

#[test]
fn of_a_torn_file_what_is_whole_is_read() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    let all: Vec<Change> = (0..400)
        .map(|n| named(&format!("e{n:03}"), endpoint(n)))
        .collect();
    store.write(&all).unwrap();
    store
        .write(&[Change {
            name: "e007".to_owned(),
            ..change(None, None)
        }])
        .unwrap();
    drop(store);
    let path = state.path().join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    std::fs::write(&path, &bytes).unwrap();
    let torn = FileStore::open(state.path(), KEPT);
    assert_eq!(trouble(torn), Trouble::Torn);
    let found = salvage(state.path());
    // A page holds two of them; each is there twice.
    assert_eq!(found.len(), 399, "of 399");
    assert!(
        found
            .iter()
            .all(|one| one.name != "e007" && one.revision == 1)
    );
    assert_eq!(found[0].document, endpoint(0));
    // The file is as it was found.
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn what_served_is_kept_for_as_long_as_its_version_is_there() {
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path(), KEPT).unwrap();
    let versions = |names: &[&str]| {
        let versions: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        json!({ "spec": { "versions": versions } })
    };
    let served = |version: &str, n: u32| Served {
        endpoint: "iris".to_owned(),
        version: version.to_owned(),
        settings: json!({ "n": n }),
    };
    let kept = || -> Vec<(String, Value)> {
        let all = store.served().unwrap();
        all.into_iter()
            .map(|((_, version), n)| (version, n["n"].clone()))
            .collect()
    };
    let put = |names: &[&str]| write(&store, &change(Some(versions(names)), None)).unwrap();
    // Of what is not there nothing is kept.
    store.keep_served(&[served("blue", 1)]).unwrap();
    assert_eq!(kept(), []);
    put(&["blue", "green"]);
    store
        .keep_served(&[served("blue", 2), served("green", 3), served("gray", 4)])
        .unwrap();
    store.keep_served(&[served("blue", 5)]).unwrap();
    assert_eq!(
        kept(),
        [
            ("blue".to_owned(), json!(5)),
            ("green".to_owned(), json!(3))
        ]
    );
    put(&["blue"]);
    put(&["blue", "green"]);
    assert_eq!(kept(), [("blue".to_owned(), json!(5))]);
    write(&store, &change(None, None)).unwrap();
    put(&["blue"]);
    assert_eq!(kept(), []);
}
