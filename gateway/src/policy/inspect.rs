//! What is in a component, told without compiling or running it; and every
//! reason for which a plugin is refused.
//!
//! Never grants anything: what a role may import stands in one table here, and
//! the linkers of `lend` hold no more. Used by `host`, for `admin` and before
//! every load.

use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use super::PolicyFault;
use crate::id::Digest;
use crate::resource::Role;

/// Largest component (DESIGN §6).
pub(super) const COMPONENT_BYTES_MAX: usize = 32 << 20;

const PACKAGE: &str = "tidegate:policy/";

/// The versions of the contract that the host links: every 0.1.z.
const CONTRACT: &str = "0.1.";

/// What is in a component, told without running it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Its content.
    pub digest: Digest,
    /// What it decides.
    pub role: Role,
    /// What it imports, by full name.
    pub imports: Vec<String>,
    /// Its size.
    pub bytes: u64,
}

/// Why a plugin, or a binding of it, was refused. The text is for the operator.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// It is something else than a component.
    #[error("it is {0}")]
    NotComponent(&'static str),
    /// It is over the limit.
    #[error("it has {0} bytes; at most {COMPONENT_BYTES_MAX}")]
    TooLarge(usize),
    /// It is cut short or broken.
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    /// It needs something of WebAssembly that is switched off.
    #[error("it uses {0}, which plugins cannot")]
    Feature(&'static str),
    /// It imports what its role is not given.
    #[error("it imports {0}, which is not granted")]
    NotGranted(String),
    /// It speaks another version of the contract.
    #[error("it exports {0}; this gateway speaks {PACKAGE}*@{CONTRACT}*")]
    Version(String),
    /// It is no policy, or more than one.
    #[error("{0}")]
    NoRole(String),
    /// It decides something else than its resource says.
    #[error("it is a {} plugin; the resource says {}", found.as_str(), wanted.as_str())]
    OtherRole {
        /// What it is.
        found: Role,
        /// What the resource says.
        wanted: Role,
    },
    /// The content is not the one that is pinned.
    #[error("its digest is {found}; pinned is {wanted}")]
    OtherDigest {
        /// What it is.
        found: Digest,
        /// What the resource pins.
        wanted: Digest,
    },
    /// The compiler could not make code of it.
    #[error("it does not compile: {0}")]
    Compile(String),
    /// Its imports or exports have other types than the contract's.
    #[error("it does not fit the contract: {0}")]
    Link(String),
    /// No instance could be made of it.
    #[error("no instance can be made: {0}")]
    Instance(PolicyFault),
    /// It does not accept the binding's settings.
    #[error("it refuses the settings: {0}")]
    Configure(PolicyFault),
    /// It failed its own test.
    #[error("its self-test failed: {0}")]
    SelfTest(PolicyFault),
    /// A metric it declares cannot be counted.
    #[error("its metric {name}: {what}")]
    Metric {
        /// The metric.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The gateway itself failed.
    #[error("the gateway could not load it: {0}")]
    Gateway(String),
}

/// What each role may import beside `types`.
const fn granted(role: Role) -> &'static [&'static str] {
    match role {
        Role::Auth => &[
            "log", "metrics", "clock", "random", "keys", "tokens", "crypto", "counters",
        ],
        Role::Split => &["log", "metrics", "clock", "crypto", "counters"],
        Role::Collect => &["log", "metrics", "clock", "crypto", "random"],
    }
}

/// What is off in the engine, by the word that tells an author what to change.
const OFF: [(WasmFeatures, &str); 8] = [
    (
        WasmFeatures::CM_ASYNC,
        "the asynchronous component ABI (WASI P3)",
    ),
    (WasmFeatures::EXCEPTIONS, "exceptions"),
    (WasmFeatures::GC, "garbage collection"),
    (
        WasmFeatures::FUNCTION_REFERENCES,
        "typed function references",
    ),
    (WasmFeatures::THREADS, "threads"),
    (WasmFeatures::MEMORY64, "64-bit memories"),
    (WasmFeatures::TAIL_CALL, "tail calls"),
    (WasmFeatures::RELAXED_SIMD, "relaxed SIMD"),
];

/// Tells what is in a component, without compiling it and without a host. Reads
/// all of it: a tenth of a second for the largest.
///
/// # Errors
///
/// [`Refusal`] where it is no component of the contract, or imports what is
/// not granted.
pub fn inspected(component: &[u8]) -> Result<Inspection, Refusal> {
    // The parser is made for hostile input; a panic must stay a refusal.
    std::panic::catch_unwind(|| inspect(component))
        .unwrap_or_else(|_| Err(Refusal::Invalid("it broke the parser".to_owned())))
}

/// Tells what is in a component and whether it may be loaded.
pub(super) fn inspect(component: &[u8]) -> Result<Inspection, Refusal> {
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(Refusal::TooLarge(component.len()));
    }
    if component.starts_with(b"\x7fELF") {
        return Err(Refusal::NotComponent(
            "compiled code (.cwasm), which is never taken from outside; push the component it was made of",
        ));
    }
    if Parser::is_core_wasm(component) {
        return Err(Refusal::NotComponent(
            "a core module; wrap it into a component first (docs/PLUGINS.md)",
        ));
    }
    if !Parser::is_component(component) {
        return Err(Refusal::NotComponent("not WebAssembly"));
    }
    validate(component)?;
    let (imports, exports) = surface(component)?;
    let role = role(&exports)?;
    if let Some(import) = imports.iter().find(|import| !may_import(role, import)) {
        return Err(Refusal::NotGranted(import.clone()));
    }
    Ok(Inspection {
        digest: Digest::of(component),
        role,
        imports,
        bytes: component.len() as u64,
    })
}

fn validate(component: &[u8]) -> Result<(), Refusal> {
    let off = OFF
        .iter()
        .fold(WasmFeatures::empty(), |sum, (feature, _)| sum | *feature);
    let base = WasmFeatures::default().difference(off);
    let check = |features| Validator::new_with_features(features).validate_all(component);
    let Err(error) = check(base) else {
        return Ok(());
    };
    // Only one that is valid with all of them is told which of them it needs.
    if check(base | off).is_ok() {
        for (feature, word) in OFF {
            if check((base | off).difference(feature)).is_err() {
                return Err(Refusal::Feature(word));
            }
        }
    }
    Err(Refusal::Invalid(error.to_string()))
}

/// Names of the outermost component's imports and exports.
fn surface(component: &[u8]) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let invalid = |error: wasmparser::BinaryReaderError| Refusal::Invalid(error.to_string());
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// `interface` and `version` of a name of the contract's package.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

fn may_import(role: Role, import: &str) -> bool {
    of_contract(import).is_some_and(|(interface, version)| {
        version.starts_with(CONTRACT)
            && (interface == "types" || granted(role).contains(&interface))
    })
}

fn role(exports: &[String]) -> Result<Role, Refusal> {
    let mut roles = Vec::new();
    let mut lifecycle = false;
    for export in exports {
        let Some((interface, version)) = of_contract(export) else {
            continue;
        };
        if !version.starts_with(CONTRACT) {
            return Err(Refusal::Version(export.clone()));
        }
        match interface {
            "auth" => roles.push(Role::Auth),
            "split" => roles.push(Role::Split),
            "collect" => roles.push(Role::Collect),
            "lifecycle" => lifecycle = true,
            _ => {}
        }
    }
    match (roles.as_slice(), lifecycle) {
        ([role], true) => Ok(*role),
        ([_], false) => Err(Refusal::NoRole(format!(
            "it does not export {PACKAGE}lifecycle"
        ))),
        ([], _) => Err(Refusal::NoRole(format!(
            "it exports none of {PACKAGE}auth, split and collect"
        ))),
        _ => Err(Refusal::NoRole(
            "it exports more than one of auth, split and collect; a plugin has one role".to_owned(),
        )),
    }
}
