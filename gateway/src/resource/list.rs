//! The documents of a text, where those of a `kind: List` are its items.
//!
//! `tidegate get` writes several resources as one List, as `kubectl` does, so that
//! they can be applied again. Knows nothing of what the items are. Used wherever
//! texts with resources are read.

use crate::resource::load::API_VERSION;
use crate::resource::node::{self, Node, Value};
use crate::resource::problem::Problem;

/// The kind of a text with several resources in one document.
pub const LIST: &str = "List";

/// The documents of a text, and in the place of a List its items, each with its
/// own place; empty ones are left out.
///
/// # Errors
///
/// As [`node::documents`].
pub fn documents(file: &str, text: &str) -> Result<Vec<Node>, Problem> {
    let mut all = Vec::new();
    for document in node::documents(file, text)? {
        match items(document) {
            Ok(items) => all.extend(items),
            Err(document) => all.push(*document),
        }
    }
    Ok(all)
}

/// The items of a List; else the document as it is. One of another version of the
/// format, or without a list of items, is none: its check tells what is wrong.
fn items(document: Node) -> Result<Vec<Node>, Box<Node>> {
    let says = |key, wanted| document.get(key).and_then(Node::text) == Some(wanted);
    let items = document.get("items").map(|items| &items.value);
    if !says("kind", LIST) || !says("apiVersion", API_VERSION) {
        return Err(Box::new(document));
    }
    let Some(Value::List(items)) = items else {
        return Err(Box::new(document));
    };
    let mut items = items.clone();
    items.retain(|item| item.value != Value::Null);
    for item in &mut items {
        item.number(&mut 0);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, (u64, u64))]) {
        let found = documents("", text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.get("a").and_then(Node::text).unwrap_or("-"), one.place))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_items_of_a_list_stand_in_its_place() {
        let list = "apiVersion: tidegate.dev/v1alpha1\nkind: List\nitems:\n";
        check(
            &format!("{list}- a: x\n- a: y\n---\na: z\n"),
            &[("x", (4, 3)), ("y", (5, 3)), ("z", (7, 1))],
        );
        check(&format!("{list}- null\n"), &[]);
        check(&format!("{list}  a: x\n"), &[("-", (1, 1))]);
        check("kind: List\nitems: [{ a: x }]\n", &[("-", (1, 1))]);
        check("items: [{ a: x }]\n", &[("-", (1, 1))]);
    }
}
