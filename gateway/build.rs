//! Builds the plugins that the binary carries, so that `cargo build` in a clean
//! clone is enough.
//!
//! Calls cargo for `plugins/` with target `wasm32-unknown-unknown`, in a target
//! folder of its own and without the outer build's flags, and wraps each module
//! into a component. The same sources make the same bytes wherever the clone and
//! cargo's home lie: a digest names a content, not a machine. Never changes
//! anything outside of `OUT_DIR`.

use std::env;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The packages of `plugins/` that are carried.
const SHIPPED: [&str; 3] = ["key-auth", "weighted-split", "model-data"];

const TARGET: &str = "wasm32-unknown-unknown";

/// What a plugin is built from, beside its own folder.
const SOURCES: [&str; 5] = [
    "plugins/Cargo.toml",
    "plugins/Cargo.lock",
    "sdk/Cargo.toml",
    "sdk/src",
    "wit",
];

/// Set where cargo runs this program in rustc's place.
const AS_RUSTC: &str = "TIDEGATE_BUILD_AS_RUSTC";

fn main() -> ExitCode {
    let done = if env::var_os(AS_RUSTC).is_some() {
        as_rustc()
    } else {
        run().map(|()| ExitCode::SUCCESS)
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: the shipped plugins could not be built: {error}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<(), Box<dyn Error>> {
    let gateway = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = gateway.parent().ok_or("the gateway has no parent folder")?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo:rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    for name in SHIPPED {
        println!(
            "cargo:rerun-if-changed={}",
            root.join("plugins").join(name).display()
        );
    }
    target_is_installed()?;
    build(root, &out.join("plugins"))?;
    for name in SHIPPED {
        let module = out
            .join("plugins")
            .join(TARGET)
            .join("release")
            .join(format!("{}.wasm", name.replace('-', "_")));
        wrap(&module, &out.join(format!("{name}.wasm")))?;
    }
    // For the test that builds the same in another folder.
    let this = env::current_exe()?;
    println!("cargo:rustc-env=TIDEGATE_BUILD={}", this.display());
    Ok(())
}

fn variable(name: &str) -> Result<String, Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed={name}");
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}

fn sysroot() -> Result<PathBuf, Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed = Command::new(rustc).args(["--print", "sysroot"]).output()?;
    Ok(PathBuf::from(String::from_utf8(printed.stdout)?.trim()))
}

/// rustc's own words for a missing target are three hundred lines about `core`.
fn target_is_installed() -> Result<(), Box<dyn Error>> {
    let library = sysroot()?.join("lib/rustlib").join(TARGET);
    if library.is_dir() {
        Ok(())
    } else {
        Err(format!("the target {TARGET} is not installed: `rustup target add {TARGET}`").into())
    }
}

/// Whether a variable of the outer build would change the inner one. What says
/// where registries and toolchains are stays.
fn is_of_the_outer_build(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let stays = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
    ];
    let outer = [
        "CARGO",
        "RUSTFLAGS",
        "RUSTC",
        "RUSTDOC",
        "TIDEGATE_",
        "CLIPPY",
    ];
    let exact = [
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "MAKEFLAGS",
        "MFLAGS",
    ];
    !stays.iter().any(|start| name.starts_with(start))
        && (outer.iter().any(|start| name.starts_with(start)) || exact.contains(&name))
}

/// What this program does in rustc's place: the same, but for the number of a
/// crate. Cargo makes it of the whole path where a member lies outside of its
/// workspace's folder, as the SDK does, and functions are ordered by it.
fn as_rustc() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let named = arguments.iter().position(|one| one == "--crate-name");
    let name = named.and_then(|place| arguments.get(place + 1)).cloned();
    for argument in &mut arguments {
        if argument.to_string_lossy().starts_with("metadata=")
            && let Some(name) = &name
        {
            *argument = format!("metadata={}", name.to_string_lossy()).into();
        }
    }
    let (rustc, arguments) = arguments.split_first().ok_or("no rustc is named")?;
    let status = Command::new(rustc).args(arguments).status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where panics are said to be: no folder of this machine.
fn remapped(root: &Path) -> Result<String, Box<dyn Error>> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let mut flags = Vec::new();
    let mut remap = |from: &Path, to: &str| {
        // A literal string of TOML, as paths are on every system.
        flags.push(format!("'--remap-path-prefix={}={to}'", from.display()));
    };
    remap(root, "/tidegate");
    if let Some(cargo) = cargo {
        remap(&cargo, "/cargo");
        // The folder of a registry is named after its address.
        for registry in std::fs::read_dir(cargo.join("registry/src"))
            .into_iter()
            .flatten()
        {
            remap(&registry?.path(), "/cargo/registry");
        }
    }
    remap(&sysroot()?.join("lib/rustlib/src/rust"), "/rust");
    Ok(format!("target.{TARGET}.rustflags=[{}]", flags.join(",")))
}

fn build(root: &Path, target: &Path) -> Result<(), Box<dyn Error>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in env::vars_os() {
        if is_of_the_outer_build(&name) {
            command.env_remove(name);
        }
    }
    command
        .current_dir(root.join("plugins"))
        .args(["build", "--release", "--locked", "--target", TARGET])
        .arg("--target-dir")
        .arg(target)
        .args(["--config", &remapped(root)?])
        .env("RUSTC_WORKSPACE_WRAPPER", env::current_exe()?)
        .env(AS_RUSTC, "1");
    for name in SHIPPED {
        command.args(["--package", name]);
    }
    let built = command.output()?;
    if built.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&built.stderr).into())
    }
}

fn wrap(module: &Path, component: &Path) -> Result<(), Box<dyn Error>> {
    let error = |error: &dyn std::fmt::Display| format!("{}: {error}", module.display());
    let module_bytes = std::fs::read(module).map_err(|e| error(&e))?;
    let wrapped = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&module_bytes)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|e| format!("{}: {e:#}", module.display()))?;
    // Unchanged content keeps its time, so that nothing above is rebuilt.
    if std::fs::read(component).is_ok_and(|old| old == wrapped) {
        return Ok(());
    }
    std::fs::write(component, wrapped).map_err(|e| error(&e))?;
    Ok(())
}
