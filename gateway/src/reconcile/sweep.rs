//! Contents of plugins that nobody can need any more, and their removal.
//!
//! Swept after each change of a plugin and at start, under the change lock, which
//! everybody holds who reads a content: none is removed while it is read. The
//! store has the change by then, so that a kill at any moment leaves at most too
//! much. Where the store cannot be read nothing is removed. Used by `reconcile`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Control;
use super::change::PLUGIN;
use super::plugins::{PluginFolder, Record};
use crate::id::Digest;
use crate::name::Name;

/// Contents that stay because they came last, whether or not they ever decided:
/// what was pushed is tried, pinned or swapped to some time later.
const NEWEST_KEPT: usize = 10;

/// The contents that somebody may name: what decides and decided before, what the
/// source holds, and what a revision can be rolled back to, with what it pins.
fn needed(record: Option<&Record>, pinned: Option<&str>, kept: &[Value]) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    if let Some(record) = record {
        let decided = record.active.iter().chain(&record.previous);
        needed.extend(decided.chain(&record.source).cloned());
    }
    let mut add = |digest: Option<&str>| needed.extend(digest.map(str::to_owned));
    add(pinned);
    for document in kept {
        for pointer in ["/status/activeDigest", "/spec/digest"] {
            add(document.pointer(pointer).and_then(Value::as_str));
        }
    }
    needed
}

/// Of the contents that are there, the newest first, those that may go.
fn disposable<'d>(there: &'d [String], needed: &BTreeSet<String>, spare: usize) -> Vec<&'d str> {
    let old = there.iter().skip(spare);
    old.filter(|digest| !needed.contains(*digest))
        .map(String::as_str)
        .collect()
}

impl Control {
    /// Removes the contents of a plugin that nobody can need. Under the change
    /// lock. That it cannot is told and stops nothing: it is tried again after the
    /// next change.
    pub(super) fn sweep(&self, name: &Name) {
        self.sweep_but(name, None);
    }

    /// The same where one content just came, which may not be the newest by the
    /// clock of the machine.
    pub(super) fn sweep_but(&self, name: &Name, came: Option<&Digest>) {
        // Not before what is stored runs, nor while it may not be all there is.
        if self.starting() || self.custody.warning().is_some() {
            return;
        }
        let kept = self.custody.store().and_then(|store| {
            let kept = store.kept(PLUGIN, name.as_str());
            kept.map_err(|error| self.custody.failed(error))
        });
        let Ok(kept) = kept else { return };
        let running = self.plugin_running(name.as_str()).ok();
        let record = running.as_ref().map(|running| &running.record);
        let pinned = running.as_ref().and_then(|one| one.spec.digest.as_ref());
        let mut needed = needed(record, pinned.map(|digest| digest.as_str()), &kept);
        needed.extend(came.map(Digest::to_string));
        // One that is gone can only come back by a revision.
        let spare = if running.is_some() { NEWEST_KEPT } else { 0 };
        let folder = PluginFolder::at(&self.state, name);
        tokio::task::block_in_place(|| {
            let there = folder.versions(None, &[]).into_iter();
            let there: Vec<String> = there.map(|version| version.digest).collect();
            let gone = disposable(&there, &needed, spare);
            if let Err(error) = folder.remove(&gone) {
                tracing::warn!(%error, %name, "contents that nobody needs could not be removed");
            }
        });
    }

    /// Sweeps every plugin that has a folder, also those that are gone.
    pub(super) fn sweep_all(&self) {
        for entry in std::fs::read_dir(self.state.join("plugins"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            if let Some(Ok(name)) = name.to_str().map(Name::parse) {
                self.sweep(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn digests(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_a_way_back_may_name_is_needed() {
        let record = Record {
            active: Some("a".to_owned()),
            previous: digests("b c"),
            source: Some("s".to_owned()),
            last_swap: None,
        };
        let kept = [
            json!({ "kind": "Plugin", "spec": { "digest": "p" }, "status": { "activeDigest": "d" } }),
            json!({ "status": { "activeDigest": "e" } }),
            json!({ "kind": "Plugin", "spec": { "digest": null } }),
        ];
        let all = needed(Some(&record), Some("q"), &kept);
        assert_eq!(all, digests("a b c d e p q s").into_iter().collect());
        // One that is gone has its revisions alone.
        assert_eq!(
            needed(None, None, &kept),
            digests("d e p").into_iter().collect()
        );
    }

    #[test]
    fn the_newest_stay_and_of_the_rest_what_is_needed() {
        let check = |there: &str, needs: &str, spare: usize, gone: &str| {
            let needs = digests(needs).into_iter().collect();
            let there = digests(there);
            assert_eq!(
                disposable(&there, &needs, spare),
                digests(gone),
                "{there:?}"
            );
        };
        check("", "a", 2, "");
        check("e d c b a", "", 2, "c b a");
        check("e d c b a", "b e", 2, "c a");
        check("e d c b a", "x", 0, "e d c b a");
        check("b a", "", 2, "");
    }

    proptest! {
        #[test]
        fn nothing_needed_goes_and_nothing_else_stays(
            there in proptest::collection::btree_set("[a-f]{2}", 0..20),
            active in "[a-f]{2}",
            previous in proptest::collection::vec("[a-f]{2}", 0..10),
            kept in proptest::collection::vec(("[a-f]{2}", proptest::option::of("[a-f]{2}")), 0..10),
            spare in 0_usize..12,
        ) {
            let there: Vec<String> = there.into_iter().collect();
            let record = Record { active: Some(active.clone()), previous: previous.clone(), ..Record::default() };
            let documents: Vec<Value> = kept.iter().map(|(decided, pinned)| {
                json!({ "spec": { "digest": pinned }, "status": { "activeDigest": decided } })
            }).collect();
            let needed = needed(Some(&record), None, &documents);
            let gone = disposable(&there, &needed, spare);
            for digest in &gone {
                prop_assert!(*digest != active && !previous.iter().any(|one| one == digest));
                prop_assert!(!kept.iter().any(|(decided, pinned)| decided == digest || pinned.as_deref() == Some(*digest)));
                prop_assert!(!there.iter().take(spare).any(|one| one == digest));
            }
            prop_assert!(there.len() - gone.len() <= spare + needed.len());
        }
    }
}
