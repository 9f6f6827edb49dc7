//! The rules about the source itself: layers, owners, headers, sizes.
//!
//! Reads the tree as text, which is enough because rustfmt has the last word on
//! its shape. An exception stands in a table here, with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_tests::root;

/// The gateway's modules and their layers, low to high (`docs/ARCHITECTURE.md`).
/// A module uses lower layers only.
const LAYERS: &[(u32, &[&str])] = &[
    (
        0,
        &[
            "descriptors",
            "durable",
            "event",
            "fault",
            "id",
            "log",
            "memory",
            "metrics",
            "name",
            "shutdown",
            "state",
            "units",
        ],
    ),
    (
        1,
        &["balance", "breaker", "queue", "resource", "scale", "split"],
    ),
    (2, &["fetch", "identity", "journal", "store", "upstream"]),
    (3, &["fleet", "policy", "runtime"]),
    (4, &["outbox", "table"]),
    (5, &["collector", "exchange", "reconcile"]),
    (6, &["listen"]),
    (7, &["admin"]),
    (8, &["app", "cli"]),
    (9, &["main"]),
];

/// Uses within a layer that stand, each with its reason.
const SIDEWAYS: &[(&str, &str, &str)] = &[
    (
        "id",
        "name",
        "a replica is named by its version and a number",
    ),
    ("fault", "name", "a fault names the endpoint"),
    (
        "event",
        "id",
        "an event has a time, and `id` has the one wall clock",
    ),
    (
        "metrics",
        "fault",
        "the label `fault` is a fault's code, from the one table",
    ),
    (
        "state",
        "durable",
        "the state folder's files are written durably",
    ),
    (
        "outbox",
        "table",
        "what is to be collected carries its collect bindings",
    ),
];

/// A dependency and the files (by the beginning of their path below
/// `gateway/src`) that may use it.
const OWNERS: &[(&str, &[&str])] = &[
    ("wasmtime", &["policy"]),
    ("wit_component", &["policy"]),
    ("wasmparser", &["policy"]),
    ("prometheus", &["metrics"]),
    ("rusqlite", &["store"]),
    ("jsonwebtoken", &["identity"]),
    ("reqwest", &["fetch"]),
    ("rcgen", &["listen"]),
    ("listenfd", &["listen/inherited"]),
    ("rustls", &["listen/tls", "upstream/tls", "app", "main"]),
    ("rustls_platform_verifier", &["upstream/tls"]),
    ("tokio_rustls", &["listen", "upstream/tls"]),
    ("serde_saphyr", &["resource"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("similar", &["cli"]),
    ("matchit", &["admin"]),
    ("notify", &["app/bell"]),
    ("quick_cache", &["policy"]),
];

/// The only files that may contain `unsafe`.
const UNSAFE: &[(&str, &str)] = &[(
    "gateway/src/policy/native.rs",
    "deserializes plugins this gateway compiled",
)];

/// Names that tell nothing, but stand for something.
const NAMED: &[(&str, &str)] = &[(
    "sdk/src/types.rs",
    "the interface `types` of wit/policy.wit",
)];

/// Files over 500 lines without their tests, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions over 70 lines, each with its reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// A Rust file of the repository.
struct Source {
    /// From the root.
    path: String,
    text: String,
}

/// All of ours, but for what is built.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["gateway", "sdk", "plugins", "tests", "xtask", "bench"] {
        walk(&root().join(folder), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 30, "only {} files found", found.len());
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            found.push(Source { path, text });
        }
    }
}

impl Source {
    /// The part of the file that is built into the product: no comments, no
    /// test module (which stands last).
    fn code(&self) -> String {
        let lines = self
            .text
            .lines()
            .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
        lines
            .filter(|line| !line.trim_start().starts_with("//"))
            .fold(String::new(), |mut code, line| {
                code.push_str(line);
                code.push('\n');
                code
            })
    }

    /// The path below `gateway/src`, where it is product code of the gateway.
    fn gateway(&self) -> Option<&str> {
        let below = self.path.strip_prefix("gateway/src/")?;
        (below != "lib.rs" && !below.ends_with("tests.rs") && !below.contains("/tests/"))
            .then_some(below)
    }
}

/// The module of layer 0 to 9 a file belongs to.
fn module(below: &str) -> &str {
    below.split(['/', '.']).next().unwrap()
}

/// Modules named after `crate::` or `tidegate::`, also in braces.
fn modules_used(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for prefix in ["crate::", "tidegate::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(braces) => used.extend(first_names(braces)),
                None => used.extend(word(rest)),
            }
        }
    }
    used
}

/// The first name of each item of a use list, up to its closing brace.
fn first_names(braces: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_start) = (0, Vec::new(), true);
    for (at, character) in braces.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && !character.is_whitespace() => {
                names.extend(word(&braces[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[track_caller]
fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n  {}", broken.join("\n  "));
}

#[test]
fn a_module_uses_lower_layers_only() {
    let layers: BTreeMap<&str, u32> = LAYERS
        .iter()
        .flat_map(|(layer, names)| names.iter().map(|name| (*name, *layer)))
        .collect();
    let mut broken = Vec::new();
    for source in sources() {
        let Some(below) = source.gateway() else {
            continue;
        };
        let of = module(below);
        let Some(own) = layers.get(of) else {
            broken.push(format!(
                "{}: module `{of}` has no layer in tidy.rs",
                source.path
            ));
            continue;
        };
        for used in modules_used(&source.code()) {
            let Some(layer) = layers.get(used.as_str()) else {
                continue;
            };
            let stands = SIDEWAYS
                .iter()
                .any(|(from, to, _)| *from == of && *to == used);
            if used != of && layer >= own && !stands {
                broken.push(format!(
                    "{}: layer {own} uses `{used}` of layer {layer}",
                    source.path
                ));
            }
        }
    }
    broken.dedup();
    none("lower layers only, never sideways:", &broken);
}

#[test]
fn every_dependency_has_one_owner() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(below) = source.gateway() else {
            continue;
        };
        let code = source.code();
        for (dependency, owners) in OWNERS {
            let path = format!("{dependency}::");
            let uses = code.match_indices(&path).any(|(at, _)| {
                // `tokio_rustls::` is not `rustls::`.
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            });
            if uses && !owners.iter().any(|owner| below.starts_with(owner)) {
                broken.push(format!(
                    "{}: uses {dependency}, which {owners:?} own",
                    source.path
                ));
            }
        }
    }
    none("one owner per dependency:", &broken);
}

#[test]
fn every_file_begins_with_what_it_does() {
    let broken: Vec<String> = sources()
        .iter()
        .filter(|source| !source.path.ends_with("/tests.rs") && !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect();
    none("a file begins with `//!`:", &broken);
}

#[test]
fn files_are_at_most_500_lines() {
    let mut broken = Vec::new();
    for source in sources() {
        let tests = |line: &str| line.trim_start().starts_with("#[cfg(test)]");
        let lines = source.text.lines().take_while(|line| !tests(line)).count();
        if lines > FILE_LINES && !LONG_FILES.iter().any(|(path, _)| *path == source.path) {
            broken.push(format!("{}: {lines} lines", source.path));
        }
    }
    none("split by noun, or say in LONG_FILES why not:", &broken);
}

#[test]
fn functions_are_at_most_70_lines() {
    let mut broken = Vec::new();
    for source in sources() {
        for (name, lines) in functions(&source.text) {
            let stands =
                |(path, known, _): &(&str, &str, &str)| *path == source.path && *known == name;
            if lines > FUNCTION_LINES && !LONG_FUNCTIONS.iter().any(stands) {
                broken.push(format!("{}: `{name}` has {lines} lines", source.path));
            }
        }
    }
    none("split it, or say in LONG_FUNCTIONS why not:", &broken);
}

/// Functions with the number of lines of code in their body, found by rustfmt's
/// indentation and counted as clippy does: no blank lines, no comments.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let Some(fn_at) = code.find("fn ") else {
            continue;
        };
        let before = &code[..fn_at];
        let starts = before.split_whitespace().all(|word| {
            word.starts_with("pub") || ["async", "const", "unsafe", "in"].contains(&word)
        });
        if !starts || code.ends_with(';') || code.ends_with('}') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[at..]
            .iter()
            .position(|line| *line == close)
            .unwrap_or(0);
        let body = lines.get(at + 1..at + end).unwrap_or_default().iter();
        let counts = |line: &&&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        let length = body.filter(counts).count();
        found.push((word(&code[fn_at + 3..]).unwrap_or_default(), length));
    }
    found
}

#[test]
fn files_are_named_for_a_noun_and_lie_flat() {
    let mut broken = Vec::new();
    for source in sources() {
        let name = source.path.rsplit('/').next().unwrap();
        let banned = [
            "mod.rs",
            "utils.rs",
            "util.rs",
            "common.rs",
            "helpers.rs",
            "types.rs",
            "misc.rs",
        ];
        if banned.contains(&name) && !NAMED.iter().any(|(path, _)| *path == source.path) {
            broken.push(format!("{}: name it for what it owns", source.path));
        }
        if let Some(below) = source.path.split_once("/src/").map(|(_, below)| below)
            && below.matches('/').count() > 2
        {
            broken.push(format!("{}: more than two levels below src", source.path));
        }
    }
    none("names and levels:", &broken);
}

#[test]
fn unsafe_stands_where_it_must() {
    let mut broken = Vec::new();
    for source in sources() {
        let ours = UNSAFE.iter().any(|(path, _)| *path == source.path);
        // What the SDK's macro expands to is the ABI's own; a guest of the tests
        // misbehaves on purpose.
        if ours || source.path.starts_with("sdk/") || source.path.starts_with("tests/guests/") {
            continue;
        }
        let code = source.code();
        let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
        if words.iter().any(|word| code.contains(word)) {
            broken.push(source.path);
        }
    }
    broken.retain(|path| path != "tests/tests/tidy.rs");
    none("`unsafe` only where UNSAFE says:", &broken);
}

#[test]
fn every_misbehaving_guest_has_a_test_of_its_name() {
    let tests = fs::read_to_string(root().join("tests/tests/guests.rs")).unwrap_or_default();
    let mut broken = Vec::new();
    for entry in fs::read_dir(root().join("tests/guests"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().replace('-', "_");
        if entry.path().join("Cargo.toml").is_file() && !tests.contains(&format!("fn {name}")) {
            broken.push(name);
        }
    }
    none(
        "no test in guests.rs begins with the guest's name:",
        &broken,
    );
}
