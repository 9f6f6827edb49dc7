//! Hosts that move from one endpoint to another in one set of files.
//!
//! The gateway takes a host of one endpoint only, and resources one by one: whoever
//! gives a host up comes first. Pure; sends nothing. Used by `apply` and `diff`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

/// The hosts that an endpoint claims, as it is written; of anything else none.
pub(super) fn hosts(endpoint: &Value) -> BTreeSet<String> {
    let list = endpoint.pointer("/spec/hosts").and_then(Value::as_array);
    let names = list.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_ascii_lowercase).collect()
}

/// The endpoint with those of its hosts that `keep` takes.
pub(super) fn with_hosts(endpoint: &Value, keep: impl Fn(&str) -> bool) -> Value {
    let mut endpoint = endpoint.clone();
    let list = endpoint.pointer_mut("/spec/hosts");
    if let Some(list) = list.and_then(Value::as_array_mut) {
        list.retain(|host| {
            let host = host.as_str().map(str::to_ascii_lowercase);
            host.is_none_or(|host| keep(&host))
        });
    }
    endpoint
}

/// What an endpoint of the files claims.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    /// At the gateway, before; none where it is new.
    pub(super) before: BTreeSet<String>,
    /// As the files have it.
    pub(super) after: BTreeSet<String>,
}

/// The hosts that somebody gives up: endpoints of the files, or that are `gone`.
pub(super) fn given_up<'c>(
    claims: impl IntoIterator<Item = &'c Claim>,
    gone: &[BTreeSet<String>],
) -> BTreeSet<String> {
    let mut given: BTreeSet<String> = gone.iter().flatten().cloned().collect();
    for claim in claims {
        given.extend(claim.before.difference(&claim.after).cloned());
    }
    given
}

/// One act on the way to what the files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// An endpoint of the files is written, as it is there.
    Write(usize),
    /// It is written with these hosts only: others wait for one of its hosts, and
    /// it for one of theirs. Its [`Turn::Write`] follows.
    Part(usize, BTreeSet<String>),
    /// One that is gone is deleted.
    Delete(usize),
}

/// Who has a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    File(usize),
    Gone(usize),
}

/// The order in which endpoints of files can be written, that of the files but
/// for those that wait for a host. Of those that are gone only what somebody waits
/// for is deleted here.
pub(super) fn turns(claims: &[Claim], gone: &[BTreeSet<String>]) -> Vec<Turn> {
    let mut held: BTreeMap<&str, Holder> = BTreeMap::new();
    for (at, hosts) in gone.iter().enumerate() {
        held.extend(hosts.iter().map(|host| (host.as_str(), Holder::Gone(at))));
    }
    for (at, claim) in claims.iter().enumerate() {
        let mine = claim.before.iter();
        held.extend(mine.map(|host| (host.as_str(), Holder::File(at))));
    }
    let mut turns = Vec::new();
    let mut left: VecDeque<(usize, &Claim)> = claims.iter().enumerate().collect();
    // Those in a row that had to wait.
    let mut waited = 0;
    while let Some((at, claim)) = left.pop_front() {
        let me = Holder::File(at);
        // Whoever does not give it up is nobody to wait for: the gateway refuses then.
        let keeps =
            |by: usize, host: &str| claims.get(by).is_some_and(|one| one.after.contains(host));
        let waited_for = |host: &String| match held.get(host.as_str()) {
            Some(Holder::File(by)) if keeps(*by, host) => None,
            holder => holder.copied(),
        };
        match claim.after.iter().find_map(waited_for) {
            None => {
                held.retain(|_, holder| *holder != me);
                held.extend(claim.after.iter().map(|host| (host.as_str(), me)));
                turns.push(Turn::Write(at));
                waited = 0;
            }
            Some(Holder::Gone(one)) => {
                held.retain(|_, holder| *holder != Holder::Gone(one));
                turns.push(Turn::Delete(one));
                left.push_front((at, claim));
            }
            Some(Holder::File(_)) if waited < left.len() => {
                left.push_back((at, claim));
                waited += 1;
            }
            Some(blocker @ Holder::File(by)) => {
                held.retain(|host, holder| *holder != blocker || keeps(by, host));
                let mine = held.iter().filter(|(_, holder)| **holder == blocker);
                let mine = mine.map(|(host, _)| (*host).to_owned()).collect();
                turns.push(Turn::Part(by, mine));
                left.push_front((at, claim));
                waited = 0;
            }
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Turn::{Delete, Part, Write};
    use super::*;

    fn set(hosts: &str) -> BTreeSet<String> {
        hosts.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(claims: &[(&str, &str)], gone: &[&str], expected: &[Turn]) {
        let claim = |(before, after): &(&str, &str)| Claim {
            before: set(before),
            after: set(after),
        };
        let claims: Vec<Claim> = claims.iter().map(claim).collect();
        let gone: Vec<BTreeSet<String>> = gone.iter().map(|one| set(one)).collect();
        assert_eq!(turns(&claims, &gone), expected);
    }

    #[test]
    fn whoever_gives_a_host_up_comes_first() {
        check(&[("p", "p"), ("", "q")], &["r"], &[Write(0), Write(1)]);
        check(&[("q", ""), ("", "q")], &[], &[Write(0), Write(1)]);
        check(&[("", "q"), ("q", "")], &[], &[Write(1), Write(0)]);
        // A chain, the wrong way round.
        let chain = [("", "a"), ("a", "b"), ("b", "c"), ("", "")];
        check(&chain, &[], &[Write(2), Write(3), Write(1), Write(0)]);
        check(
            &[("", "q"), ("", "r")],
            &["x", "q"],
            &[Delete(1), Write(0), Write(1)],
        );
    }

    #[test]
    fn hosts_can_change_places() {
        check(
            &[("a k", "b k"), ("b", "a")],
            &[],
            &[Part(0, set("k")), Write(1), Write(0)],
        );
        check(
            &[("a", "b"), ("b", "c"), ("c k", "a k")],
            &[],
            &[Part(0, set("")), Write(2), Write(1), Write(0)],
        );
        // What both claim the gateway refuses.
        check(&[("a", "a"), ("", "a")], &[], &[Write(0), Write(1)]);
    }

    #[test]
    fn hosts_are_compared_as_the_gateway_does() {
        let iris = json!({ "spec": { "hosts": ["Q.example", "r.example"], "versions": [] } });
        assert_eq!(hosts(&iris), set("q.example r.example"));
        let part = json!({ "spec": { "hosts": ["r.example"], "versions": [] } });
        assert_eq!(with_hosts(&iris, |host| host != "q.example"), part);
        let claim = Claim {
            before: set("a b"),
            after: set("b c"),
        };
        assert_eq!(given_up([&claim], &[set("d")]), set("a d"));
    }
}
