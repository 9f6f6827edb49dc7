//! Resource documents of the tests, so that each test shows only what it is about.
//!
//! Plain text in, plain text out; the gateway's own check is what judges it.

use crate::replica::Replica;

/// An open endpoint with these versions (each the lines of a list item, see
/// [`version`]).
#[must_use]
pub fn open(name: &str, versions: &[String]) -> String {
    endpoint(name, "auth: { mode: none }", versions)
}

/// An endpoint with more lines of its `spec`, separated by line ends and not
/// indented.
#[must_use]
pub fn endpoint(name: &str, spec: &str, versions: &[String]) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {{ name: {name} }}\n\
         spec:\n{spec}  versions:\n{}",
        versions.concat()
    )
}

/// A version of fixed addresses with more keys, as `traffic: 80` lines.
#[must_use]
pub fn version(name: &str, replicas: &[&Replica], keys: &str) -> String {
    let addresses: Vec<String> = replicas
        .iter()
        .map(|replica| format!("\"{}\"", replica.address))
        .collect();
    with_keys(
        name,
        &format!("static: {{ addresses: [{}] }}", addresses.join(", ")),
        keys,
    )
}

/// A version of processes of the test replica with more keys.
#[must_use]
pub fn process(name: &str, arguments: &[&str], keys: &str) -> String {
    let program = program();
    let mut words = vec![program.as_str()];
    words.extend(arguments);
    command(name, &words, keys)
}

/// The test replica's binary.
#[must_use]
pub fn program() -> String {
    crate::target().join("debug/replica").display().to_string()
}

/// A version of processes of any command with more keys.
#[must_use]
pub fn command(name: &str, words: &[&str], keys: &str) -> String {
    let command: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let process = format!(
        "process: {{ command: [{}], grace: 2s }}",
        command.join(", ")
    );
    with_keys(name, &process, keys)
}

fn with_keys(name: &str, place: &str, keys: &str) -> String {
    let keys: String = keys
        .lines()
        .map(|line| format!("      {}\n", line.trim()))
        .collect();
    format!("    - name: {name}\n      {place}\n{keys}")
}

/// A Plugin resource with its module beside the file.
#[must_use]
pub fn plugin(name: &str, role: &str, keys: &str) -> String {
    let keys: String = keys
        .lines()
        .map(|line| format!("  {}\n", line.trim()))
        .collect();
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: Plugin\nmetadata: {{ name: {name} }}\n\
         spec:\n  role: {role}\n  source: {{ file: {name}.wasm }}\n{keys}"
    )
}
