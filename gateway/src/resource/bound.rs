//! Which plugins a resource names in its bindings, as it is written.
//!
//! Never says whether they are there or fit; `check` does. Used by `cli`, which
//! asks a gateway for those that the files do not have, and by `reconcile`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::resource::list::documents;
use crate::resource::load::{kind_and_name, shipped};
use crate::resource::node::Node;
use crate::resource::text::Source;

/// The plugins that an Endpoint binds; of anything else none.
pub fn bound_plugins(endpoint: &Value) -> impl Iterator<Item = &str> {
    let list = |pointer| endpoint.pointer(pointer).and_then(Value::as_array);
    let lists = [list("/spec/auth/policies"), list("/spec/collect")];
    let all = lists.into_iter().flatten().flatten();
    all.chain(endpoint.pointer("/spec/split/policy"))
        .filter_map(|binding| binding.get("plugin").and_then(Value::as_str))
}

/// The plugins that texts bind and do not have, and that are not shipped.
#[must_use]
pub fn plugins_elsewhere(sources: &[Source]) -> BTreeSet<String> {
    let all: Vec<Node> = sources
        .iter()
        // What cannot be read, the check tells.
        .flat_map(|source| documents(&source.name, &source.text).unwrap_or_default())
        .collect();
    let of_kind = |wanted: &str, node: &&Node| kind_and_name(node).0 == Some(wanted);
    let mut elsewhere = BTreeSet::new();
    for endpoint in all.iter().filter(|node| of_kind("Endpoint", node)) {
        elsewhere.extend(bound_plugins(&endpoint.json()).map(str::to_owned));
    }
    for plugin in all.iter().filter(|node| of_kind("Plugin", node)) {
        elsewhere.remove(kind_and_name(plugin).1.unwrap_or_default());
    }
    for plugin in shipped() {
        elsewhere.remove(plugin.name.as_str());
    }
    elsewhere
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let source = Source {
            name: String::new(),
            text: text.to_owned(),
            base: None,
        };
        let found = plugins_elsewhere(&[source]);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn what_is_bound_and_in_no_text_is_elsewhere() {
        let endpoint = "kind: Endpoint\nspec:\n  auth: { policies: [{ plugin: key-auth }, { plugin: tenant }] }\n  \
                        split: { policy: { plugin: by-hand } }\n  collect: [{ plugin: redact }, {}]\n";
        check(endpoint, &["by-hand", "redact", "tenant"]);
        let plugin = "---\nkind: Plugin\nmetadata: { name: redact }\n";
        check(&format!("{endpoint}{plugin}"), &["by-hand", "tenant"]);
        check(
            "kind: Plugin\nspec: { split: { policy: { plugin: a } } }\n",
            &[],
        );
        check("kind: [Endpoint", &[]);
    }
}
