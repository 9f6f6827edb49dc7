//! kill -9 while changes are written: what was acknowledged, what the store has,
//! what administrators are shown and what callers get are one thing afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tidegate_tests::client::{Answer, Client};
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::replica::Replica;
use tidegate_tests::{guests, rounds, until, yaml};

/// What a thing was last said to be, and what it may be since: a change that was
/// sent and not acknowledged. A text tells states apart; none: it is not there.
#[derive(Debug, Clone, Default)]
struct Known {
    acknowledged: Option<String>,
    sent: Option<Option<String>>,
}

/// By the thing's name: `iris`, `rose-0` …, `lily/gray`, `weighted-split`.
type Book = Arc<Mutex<BTreeMap<String, Known>>>;

/// One change: of what, to what, and how it is asked for.
struct Order {
    thing: String,
    becomes: Option<String>,
    method: &'static str,
    path: String,
    body: Value,
}

/// Makes changes until its connection breaks.
fn write(
    address: SocketAddr,
    token: String,
    book: Book,
    done: Arc<AtomicU32>,
    orders: impl Iterator<Item = Order> + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let Ok(mut client) = Client::try_connect(address) else {
            return;
        };
        for order in orders {
            book.lock()
                .unwrap()
                .entry(order.thing.clone())
                .or_default()
                .sent = Some(order.becomes.clone());
            let body = match &order.body {
                Value::Null => String::new(),
                body => body.to_string(),
            };
            let answer: io::Result<Answer> =
                client.request(order.method, &order.path, &headers, body.as_bytes());
            let Ok(answer) = answer else { return };
            assert!(
                (200..300).contains(&answer.status),
                "{} {}: {}",
                order.method,
                order.path,
                answer.text()
            );
            *book.lock().unwrap().entry(order.thing).or_default() = Known {
                acknowledged: order.becomes,
                sent: None,
            };
            done.fetch_add(1, Ordering::SeqCst);
        }
    })
}

/// Small numbers, spread; the same in every run.
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// The replicas behind every endpoint.
struct Garden {
    blue: Replica,
    green: Replica,
}

impl Garden {
    /// All traffic goes to blue where `number` is even, else to green.
    fn endpoint(&self, name: &str, number: u64) -> Value {
        let (blue, green) = if number.is_multiple_of(2) {
            (100, 0)
        } else {
            (0, 100)
        };
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Endpoint",
            "metadata": { "name": name, "labels": { "number": number.to_string() } },
            "spec": { "auth": { "mode": "none" }, "versions": [
                { "name": "blue", "default": true, "traffic": blue, "static": { "addresses": [self.blue.address.to_string()] } },
                { "name": "green", "traffic": green, "static": { "addresses": [self.green.address.to_string()] } },
            ] },
        })
    }

    fn put(&self, name: &str, number: u64) -> Order {
        Order {
            thing: name.to_owned(),
            becomes: Some(number.to_string()),
            method: "PUT",
            path: format!("/v1/endpoints/{name}"),
            body: self.endpoint(name, number),
        }
    }

    /// One endpoint, changed again and again.
    fn changes(self: &Arc<Self>, first: u64) -> impl Iterator<Item = Order> + Send + use<> {
        let garden = Arc::clone(self);
        (first..).map(move |number| garden.put("iris", number))
    }

    /// Endpoints that come and go.
    fn comings(
        self: &Arc<Self>,
        first: u64,
        book: &Book,
    ) -> impl Iterator<Item = Order> + Send + use<> {
        let (garden, book) = (Arc::clone(self), Arc::clone(book));
        (first..).map(move |number| {
            let name = format!("rose-{}", number % 3);
            let there = book
                .lock()
                .unwrap()
                .get(&name)
                .is_some_and(|known| known.acknowledged.is_some());
            if there && number.is_multiple_of(2) {
                Order {
                    becomes: None,
                    method: "DELETE",
                    body: Value::Null,
                    ..garden.put(&name, number)
                }
            } else {
                garden.put(&name, number)
            }
        })
    }

    /// A version that comes, changes and goes.
    fn versions(
        self: &Arc<Self>,
        first: u64,
        book: &Book,
    ) -> impl Iterator<Item = Order> + Send + use<> {
        let (garden, book) = (Arc::clone(self), Arc::clone(book));
        (first..).map(move |number| {
            let there = book.lock().unwrap().get("lily/gray").is_some_and(|known| known.acknowledged.is_some());
            let gone = there && number.is_multiple_of(3);
            let body = json!({ "description": number.to_string(), "static": { "addresses": [garden.blue.address.to_string()] } });
            Order {
                thing: "lily/gray".to_owned(),
                becomes: (!gone).then(|| number.to_string()),
                method: if gone { "DELETE" } else { "PUT" },
                path: "/v1/endpoints/lily/versions/gray".to_owned(),
                body: if gone { Value::Null } else { body },
            }
        })
    }
}

/// A plugin, swapped to and fro.
fn swaps(first: u64, digests: [String; 2]) -> impl Iterator<Item = Order> + Send {
    (first..).map(move |number| {
        let digest = digests[usize::from(number.is_multiple_of(2))].clone();
        Order {
            thing: "weighted-split".to_owned(),
            becomes: Some(digest.clone()),
            method: "POST",
            path: "/v1/plugins/weighted-split/swap".to_owned(),
            body: json!({ "digest": digest }),
        }
    })
}

/// Kind and name → revision and document, as they are in the file.
fn stored(gateway: &Gateway) -> BTreeMap<(String, String), (i64, Value)> {
    let connection = open(gateway);
    let whole: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
    let mut rows = connection
        .prepare("SELECT kind, name, revision, document FROM resource WHERE kind = 'Endpoint'")
        .unwrap();
    let rows = rows.query_map([], |row| {
        let document: String = row.get(3)?;
        Ok((
            (row.get(0)?, row.get(1)?),
            (row.get(2)?, serde_json::from_str(&document).unwrap()),
        ))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn open(gateway: &Gateway) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(gateway.state().join("store.db"), flags).unwrap()
}

/// The same, as administrators are shown it.
fn shown(gateway: &Gateway) -> BTreeMap<(String, String), (i64, Value)> {
    let (_, list) = gateway.admin("GET", "/v1/endpoints", b"");
    let items = list["items"].as_array().unwrap().iter().cloned();
    items
        .map(|mut one| {
            one.as_object_mut().unwrap().remove("status");
            let revision = one["metadata"].as_object_mut().unwrap().remove("revision");
            let name = one["metadata"]["name"].as_str().unwrap().to_owned();
            (
                ("Endpoint".to_owned(), name),
                (revision.unwrap().as_i64().unwrap(), one),
            )
        })
        .collect()
}

/// What a thing is now, by what is shown of it.
fn state(
    gateway: &Gateway,
    shown: &BTreeMap<(String, String), (i64, Value)>,
    thing: &str,
) -> Option<String> {
    if thing == "weighted-split" {
        let (_, plugin) = gateway.admin("GET", "/v1/plugins/weighted-split", b"");
        let last: i64 = open(gateway)
            .query_row("SELECT max(revision) FROM history WHERE kind = 'Plugin' AND name = 'weighted-split'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(
            plugin["metadata"]["revision"].as_i64(),
            Some(last),
            "{plugin}"
        );
        return plugin["status"]["activeDigest"].as_str().map(str::to_owned);
    }
    let name = thing.split('/').next().unwrap().to_owned();
    let (_, document) = shown.get(&("Endpoint".to_owned(), name))?;
    let text = match thing {
        "lily/gray" => {
            let versions = document["spec"]["versions"].as_array().unwrap();
            let gray = versions.iter().find(|one| one["name"] == "gray")?;
            gray["description"].as_str()
        }
        _ => document["metadata"]["labels"]["number"].as_str(),
    };
    text.map(str::to_owned)
}

/// What callers get is what is stored.
fn compare_traffic(gateway: &Gateway, thing: &str, state: Option<&str>) {
    let pin: &[(&str, &str)] = match thing {
        "weighted-split" => return,
        "lily/gray" => &[("azureml-model-deployment", "gray")],
        _ => &[],
    };
    let endpoint = thing.split('/').next().unwrap();
    let Some(state) = state else {
        assert_eq!(gateway.score(endpoint, "", pin).status, 404, "{thing}");
        return;
    };
    gateway.healthy(endpoint);
    let expected = match state.parse::<u64>().unwrap() {
        _ if thing == "lily/gray" => "gray",
        number if number.is_multiple_of(2) => "blue",
        _ => "green",
    };
    for _ in 0..4 {
        let answer = gateway.score(endpoint, "", pin);
        assert_eq!(
            answer.header("azureml-model-deployment"),
            Some(expected),
            "{thing} {state}: {answer:?}"
        );
    }
}

/// Everything is what was acknowledged, or what was sent last; it is so in the
/// store, to administrators and to callers. Keeps what was found.
fn compare(gateway: &Gateway, book: &Book) {
    let (stored, shown) = (stored(gateway), shown(gateway));
    assert_eq!(stored, shown);
    assert!(gateway.events("StoreFailed").is_empty());
    for (thing, known) in &mut *book.lock().unwrap() {
        let found = state(gateway, &shown, thing);
        let may_be = known.acknowledged == found || known.sent.as_ref() == Some(&found);
        assert!(may_be, "{thing} is {found:?}: {known:?}");
        compare_traffic(gateway, thing, found.as_deref());
        *known = Known {
            acknowledged: found,
            sent: None,
        };
    }
}

fn push(gateway: &Gateway, tag: &str) -> String {
    let module = fs::read(guests::build("weighted-split", tag)).unwrap();
    let path = "/v1/plugins/weighted-split/versions";
    let pushed = gateway.admin_raw("POST", path, "application/wasm", &module);
    pushed.json()["digest"].as_str().unwrap().to_owned()
}

#[test]
fn killed_while_changes_are_written_nothing_acknowledged_is_lost() {
    let garden = Arc::new(Garden {
        blue: Replica::start("blue"),
        green: Replica::start("green"),
    });
    let lily = yaml::open(
        "lily",
        &[yaml::version("blue", &[&garden.blue], "default: true")],
    );
    let mut gateway = Setup::new(&lily).start();
    let digests = [push(&gateway, "one"), push(&gateway, "two")];
    let book = Book::default();
    let mut draw = Draw(1);
    let mut number = 1;
    for round in 0..rounds(200) {
        let done = Arc::new(AtomicU32::new(0));
        let (address, token) = (gateway.admin_address(), gateway.token());
        let writer = |orders: Box<dyn Iterator<Item = Order> + Send>| {
            write(
                address,
                token.clone(),
                Arc::clone(&book),
                Arc::clone(&done),
                orders,
            )
        };
        let writers = [
            writer(Box::new(garden.changes(number))),
            writer(Box::new(garden.comings(number, &book))),
            writer(Box::new(garden.versions(number, &book))),
            writer(Box::new(swaps(number, digests.clone()))),
        ];
        let enough = 4 + u32::try_from(draw.below(12)).unwrap();
        until("changes are acknowledged", Duration::from_secs(60), || {
            (done.load(Ordering::SeqCst) >= enough).then_some(())
        });
        // Somewhere in the next change; what is asserted holds wherever.
        std::thread::sleep(Duration::from_micros(draw.below(4_000)));
        gateway.kill();
        for writer in writers {
            writer.join().unwrap();
        }
        number += u64::from(done.load(Ordering::SeqCst)) + 8;
        if round % 4 == 3 {
            // Once more while it comes up.
            gateway.begin_again();
            std::thread::sleep(Duration::from_millis(draw.below(600)));
            gateway.kill();
        }
        gateway.start_again();
        compare(&gateway, &book);
    }
}

/// The names of versions whose settings are kept as having served.
fn served(gateway: &Gateway) -> Vec<String> {
    let connection = open(gateway);
    let mut rows = connection
        .prepare("SELECT version || ' ' || settings FROM served")
        .unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_restart_amid_an_update_that_fails_leaves_the_old_replicas_serving() {
    let process = yaml::process("blue", &[], "replicas: 1\nmaxConcurrentRequests: 4");
    let mut gateway = Gateway::start(&yaml::open("iris", &[process]));
    gateway.healthy("iris");
    let kept = |what: &str| {
        until(what, Duration::from_secs(20), || {
            served(&gateway)
                .iter()
                .any(|one| one.contains(what))
                .then_some(())
        });
    };
    kept("replica");
    let patch = |gateway: &Gateway, blue: Value| {
        let kind = "application/merge-patch+json";
        let path = "/v1/endpoints/iris/versions/blue";
        let answer = gateway.admin_raw("PATCH", path, kind, blue.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    // One that comes up is what serves, and the one before is not started again.
    patch(&gateway, json!({ "process": { "env": { "BUILD": "2" } } }));
    kept("BUILD");
    gateway.kill();
    gateway.start_again();
    gateway.healthy("iris");
    assert!(gateway.events("UpdateResumed").is_empty());
    // One that does not come up.
    patch(
        &gateway,
        json!({ "process": { "command": ["/bin/false"] } }),
    );
    gateway.state_is("iris", "Failed");
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    for restart in 0..2 {
        if restart == 0 {
            gateway.kill();
        } else {
            gateway.terminate();
        }
        gateway.start_again();
        gateway.state_is("iris", "Failed");
        let (_, shown) = gateway.admin("GET", "/v1/endpoints/iris", b"");
        let reason = shown["status"]["versions"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("the replicas before it serve"), "{reason}");
        assert_eq!(gateway.events("UpdateResumed").len(), 1);
        until("the old replica serves", Duration::from_secs(20), || {
            (gateway.score("iris", "", &[]).status == 200).then_some(())
        });
    }
    // What is asked for is still the new one; going back ends it.
    let output = gateway.cli(&["rollback", "endpoint/iris", "--to", "2"]);
    assert!(output.status.success());
    gateway.healthy("iris");
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
}
