//! The digest of a shipped plugin names its content: it is the same whatever
//! folder the repository is cloned into.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something cannot be done"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

/// What the build of the plugins reads, from the root of the repository.
const SOURCES: [&str; 3] = ["plugins", "sdk", "wit"];
/// Members of the workspace of plugins that it does not build, but wants there.
const GUESTS: &str = "tests/guests";
const SHIPPED: [&str; 3] = ["key-auth", "weighted-split", "model-data"];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (name, kind) = (entry.file_name(), entry.file_type().unwrap());
        if kind.is_dir() && name != "target" {
            copy(&entry.path(), &to.join(name));
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[test]
fn another_folder_makes_the_same_plugins() {
    let gateway = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = gateway.parent().unwrap();
    let elsewhere = tempdir().unwrap();
    let clone = elsewhere.path().join("a/clone somewhere else");
    for source in SOURCES.into_iter().chain([GUESTS]) {
        copy(&root.join(source), &clone.join(source));
    }
    let out = elsewhere.path().join("out");
    fs::create_dir_all(&out).unwrap();
    let built = Command::new(env!("TIDEGATE_BUILD"))
        .env("CARGO_MANIFEST_DIR", clone.join("gateway"))
        .env("OUT_DIR", &out)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    for name in SHIPPED {
        let file = format!("{name}.wasm");
        let ours = fs::read(Path::new(env!("OUT_DIR")).join(&file)).unwrap();
        let theirs = fs::read(out.join(&file)).unwrap();
        assert!(ours == theirs, "{file} is not the same in another folder");
        let text = String::from_utf8_lossy(&ours);
        for path in [root.to_str().unwrap(), "registry/src", "/.cargo/"] {
            assert!(!text.contains(path), "{file} names {path}");
        }
    }
}
