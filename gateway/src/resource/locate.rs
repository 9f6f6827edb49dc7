//! Where a key path of the admin API's problems stands in the files.
//!
//! The gateway judges a resource without its file; people look for a line and a
//! column. Reads the texts again, so that nothing of them is kept for it. Used
//! by `cli`.

use crate::resource::list::documents;
use crate::resource::load::kind_and_name;
use crate::resource::node::{Node, Value};
use crate::resource::problem::Problem;
use crate::resource::text::Source;

/// Gives a problem of a resource its file, line and column; those of the nearest
/// key above it where its own key is not there.
#[must_use]
pub fn located(sources: &[Source], kind: &str, name: &str, mut problem: Problem) -> Problem {
    problem.object = match name {
        // A GatewayConfig needs none.
        "" => kind.to_lowercase().into(),
        _ => format!("{}/{name}", kind.to_lowercase()).into(),
    };
    for source in sources {
        let found = documents(&source.name, &source.text).unwrap_or_default();
        let document = found.iter().find(|document| {
            let (of_kind, named) = kind_and_name(document);
            (of_kind, named.unwrap_or_default()) == (Some(kind), name)
        });
        if let Some(document) = document {
            problem.file = source.name.as_str().into();
            (problem.line, problem.column) = place(document, &problem.path);
            return problem;
        }
    }
    problem
}

/// The same for a text whose root is what the path starts at.
#[must_use]
pub fn located_at_root(source: &Source, mut problem: Problem) -> Problem {
    problem.file = source.name.as_str().into();
    if let Ok(found) = documents(&source.name, &source.text)
        && let Some(document) = found.first()
    {
        (problem.line, problem.column) = place(document, &problem.path);
    }
    problem
}

/// The place where `path` leads from `node`, as far as it does. A key may itself
/// have dots in it.
pub(super) fn place(node: &Node, path: &str) -> (u64, u64) {
    let (mut node, mut rest, mut place) = (node, path, node.place);
    loop {
        let next = match &node.value {
            Value::Map(entries) => entries
                .iter()
                .filter_map(|(key, value)| Some((key, value, after(rest, &key.text)?)))
                .max_by_key(|(key, ..)| key.text.len())
                .map(|(key, value, rest)| {
                    let inside = matches!(value.value, Value::Map(_) | Value::List(_));
                    (value, rest, if inside { key.place } else { value.place })
                }),
            Value::List(items) => index(rest)
                .and_then(|(at, rest)| items.get(at).map(|item| (item, rest, item.place))),
            _ => None,
        };
        match next {
            Some((inner, left, at)) => (node, rest, place) = (inner, left, at),
            None => return place,
        }
    }
}

/// What is left of a path after a key.
fn after<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let rest = path.strip_prefix(key)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// The number of `[1]`, and what is left after it.
fn index(path: &str) -> Option<(usize, &str)> {
    let (number, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kind: Plugin\nmetadata: { name: iris }\n---\nkind: Endpoint\n\
                        metadata:\n  name: iris\nspec:\n  versions:\n    - name: blue\n      \
                        tags: { a.b: x, a: y }\n    - name: green\n      traffic: 140\n";

    #[track_caller]
    fn check(path: &str, line: u64, column: u64) {
        let source = Source {
            name: "iris.yaml".to_owned(),
            text: TEXT.to_owned(),
            base: None,
        };
        let problem = Problem {
            path: path.to_owned(),
            ..Problem::of_file("", "no good")
        };
        let found = located(&[source], "Endpoint", "iris", problem);
        let place = format!("iris.yaml:{line}:{column}: endpoint/iris: ");
        assert!(found.to_string().starts_with(&place), "{path}: {found}");
    }

    #[test]
    fn a_key_path_leads_to_its_line() {
        check("spec.versions[1].traffic", 12, 16);
        check("spec.versions", 8, 3);
        check("spec.versions[0].tags.a.b", 10, 20);
        check("spec.versions[0].tags.a", 10, 26);
        // Where it is not there, the nearest above.
        check("spec.versions[1].process.command", 11, 7);
        check("spec.collect", 7, 1);
        check("", 4, 1);
    }

    #[test]
    fn a_resource_of_no_file_stands_nowhere() {
        let problem = Problem::of_file("", "no good");
        let found = located(&[], "Endpoint", "iris", problem);
        assert_eq!(found.to_string(), "endpoint/iris: no good");
    }
}
