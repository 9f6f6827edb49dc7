//! Every command of README and docs runs: the ```sh blocks, as they stand.
//!
//! A page's blocks run in their order as one script that begins at the root of the
//! repository. A block that cannot run here stands in a table with what runs it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tidegate_tests::{gateway, root};

/// Blocks that another test or command runs, and which.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "cargo xtask demo",
        "`cargo xtask demo --check`, in `cargo xtask ci`",
    ),
    ("cargo xtask test", "it is what runs this test"),
];

/// Languages of blocks that nothing here can run or check, and why that is well.
const UNCHECKED: &[(&str, &str)] = &[
    ("", "a drawing"),
    (
        "ini",
        "systemd's units; tests/restart.rs hands sockets over as they say",
    ),
];

/// README and everything below docs, but decisions.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry
            .path()
            .extension()
            .is_some_and(|ending| ending == "md")
        {
            pages.push(entry.path());
        }
    }
    pages.sort();
    pages
}

/// The ```sh blocks of a page.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("\n```sh\n") {
        let (block, after) = after.split_once("\n```").unwrap();
        blocks.push(block.trim().to_owned());
        rest = after;
    }
    blocks
}

#[test]
fn every_command_of_readme_and_docs_runs() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let script: Vec<String> = blocks(&text)
            .into_iter()
            .filter(|block| !ELSEWHERE.iter().any(|(known, _)| known == block))
            .collect();
        if script.is_empty() {
            continue;
        }
        run(&page.display().to_string(), &script.join("\n"));
    }
}

/// A resource or JSON that stands in a block of its own would rot unseen: it
/// belongs into the script that uses it.
#[test]
fn every_block_of_readme_and_docs_is_run() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let fences = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("```"));
        for language in fences.step_by(2) {
            let known = language == "sh" || UNCHECKED.iter().any(|(known, _)| *known == language);
            let page = page.display();
            assert!(
                known,
                "{page}: a block of {language:?} is never run; write sh"
            );
        }
    }
}

/// Runs a script from the root; its temporary folders go with it, and so does
/// what it left in the background.
fn run(page: &str, script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let whole = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{script}\n"
    );
    // The first block of a page builds the binary, which is there already.
    drop(gateway::binary());
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &whole])
        .current_dir(root())
        .env("TMPDIR", folder.path());
    let output = shell.output().unwrap();
    assert!(
        output.status.success(),
        "{page}: {}\n{script}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
