//! From paths to a checked set of resources.
//!
//! The one place of `resource` that reads files; never the network. Called by
//! `app` at start and by `cli` for `check`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use crate::name::Name;
use crate::resource::absolute::absolute;
use crate::resource::check::plugin::{self, Known};
use crate::resource::check::{At, Check, endpoint, gateway, read_resource};
use crate::resource::node::{Node, TEXT_BYTES_MAX, Value, documents, of_json, shown_text};
use crate::resource::problem::{PROBLEMS_MAX, Problem};
use crate::resource::raw::endpoint::EndpointSpec;
use crate::resource::raw::gateway::GatewaySpec;
use crate::resource::raw::plugin::PluginSpec;
use crate::resource::raw::{Metadata, Resource};
use crate::resource::suggest::suggestion;
use crate::resource::{Endpoint, GatewayConfig, Plugin};

/// The one version of the resources' format.
pub const API_VERSION: &str = "tidegate.dev/v1alpha1";
const KINDS: [&str; 3] = ["GatewayConfig", "Plugin", "Endpoint"];

/// Everything that some files say, checked one by one and against each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set {
    /// The gateway; all defaults where no file says otherwise.
    pub config: GatewayConfig,
    /// Every plugin that may be bound: those of the files, and the shipped ones
    /// that no file describes.
    pub plugins: Vec<Plugin>,
    /// In the order of the files.
    pub endpoints: Vec<Endpoint>,
    /// Each resource as it was written.
    pub documents: Vec<Document>,
}

/// One resource as it was written, but with absolute paths.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// `GatewayConfig`, `Plugin` or `Endpoint`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// The whole resource.
    pub value: serde_json::Value,
}

/// Some text with resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What stands before its problems; empty for none.
    pub name: String,
    /// YAML of one or more documents, or JSON.
    pub text: String,
    /// Where relative paths start; none: they are refused.
    pub base: Option<PathBuf>,
}

/// A resource, or anything else, as YAML.
///
/// # Errors
///
/// What YAML cannot say, in words.
pub fn yaml(value: &serde_json::Value) -> Result<String, String> {
    serde_saphyr::to_string(value).map_err(|error| error.to_string())
}

/// Reads and checks files. A folder means its `*.yaml`, `*.yml` and `*.json`,
/// in the order of their names; `-` is standard input.
///
/// # Errors
///
/// All problems of all files, in their order.
pub fn load(paths: &[PathBuf]) -> Result<Set, Vec<Problem>> {
    let (sources, problems) = texts(paths);
    checked(&sources, problems)
}

/// The texts of files, as [`load`] reads them, and what could not be read.
#[must_use]
pub fn texts(paths: &[PathBuf]) -> (Vec<Source>, Vec<Problem>) {
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match sources_of(path) {
            Ok(found) => sources.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    (sources, problems)
}

/// Checks texts, after the problems that there were in reading them.
///
/// # Errors
///
/// All problems, in their order.
pub fn checked(sources: &[Source], mut problems: Vec<Problem>) -> Result<Set, Vec<Problem>> {
    match check(sources) {
        Ok(set) if problems.is_empty() => Ok(set),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

fn sources_of(path: &Path) -> Result<Vec<Source>, Problem> {
    if path == Path::new("-") {
        let base = std::env::current_dir().ok();
        let text =
            text_of(std::io::stdin().lock()).map_err(|what| Problem::of_file("<stdin>", what))?;
        return Ok(vec![Source {
            name: "<stdin>".to_owned(),
            text,
            base,
        }]);
    }
    let shown = path.display().to_string();
    let failed =
        |error: std::io::Error| Problem::of_file(&shown, format!("cannot be read: {error}"));
    if !path.is_dir() {
        return Ok(vec![source_of(path)?]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let wanted = file
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if wanted && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Problem::of_file(
            &shown,
            "the folder has no *.yaml, *.yml or *.json",
        ));
    }
    files.sort();
    files.iter().map(|file| source_of(file)).collect()
}

/// The text of one file.
///
/// # Errors
///
/// Where it cannot be read, is no UTF-8, or is too large.
pub fn source_of(path: &Path) -> Result<Source, Problem> {
    let name = path.display().to_string();
    let failed =
        |error: std::io::Error| Problem::of_file(&name, format!("cannot be read: {error}"));
    let absolute = std::path::absolute(path).map_err(failed)?;
    let file = std::fs::File::open(path).map_err(failed)?;
    let text = text_of(file).map_err(|what| Problem::of_file(&name, what))?;
    let base = absolute.parent().map(Path::to_owned);
    Ok(Source { name, text, base })
}

/// The text of a file, at most a byte more than is allowed.
fn text_of(file: impl std::io::Read) -> Result<String, String> {
    let most = TEXT_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(format!(
            "more than {TEXT_BYTES_MAX} bytes; split it into several files"
        ));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 text: byte {}", error.utf8_error().valid_up_to()))
}

/// Checks texts, one by one and against each other.
///
/// # Errors
///
/// All problems of all sources, in their order.
pub fn check(sources: &[Source]) -> Result<Set, Vec<Problem>> {
    let mut all = Documents::default();
    for source in sources {
        match documents(&source.name, &source.text) {
            Ok(found) => found.into_iter().for_each(|root| all.take(source, root)),
            Err(problem) => all.problems.push((all.next(), problem)),
        }
    }
    all.set()
}

/// What stands where a resource comes from no text.
static NO_SOURCE: LazyLock<Source> = LazyLock::new(|| Source {
    name: String::new(),
    text: String::new(),
    base: None,
});

/// Checks whole resources, as they are kept, one by one and against each other.
/// Their paths must be absolute.
///
/// # Errors
///
/// All problems of all of them, in their order.
pub fn check_values<'v>(
    values: impl IntoIterator<Item = &'v serde_json::Value>,
) -> Result<Set, Vec<Problem>> {
    let mut all = Documents::default();
    for value in values {
        all.take_json(value);
    }
    all.set()
}

/// One resource that checks.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// The gateway.
    GatewayConfig(Box<GatewayConfig>),
    /// A plugin.
    Plugin(Box<Plugin>),
    /// An endpoint.
    Endpoint(Box<Endpoint>),
}

/// Checks one resource by itself; a binding may name one of `plugins`. Its paths
/// must be absolute. Costs the same however much else there is.
///
/// # Errors
///
/// All its problems.
pub fn check_one(
    value: &serde_json::Value,
    plugins: impl IntoIterator<Item = Plugin>,
) -> Result<Checked, Vec<Problem>> {
    let mut all = Documents::default();
    all.take_json(value);
    let kind = all.documents.first().map(|doc| doc.written.kind.clone());
    let checked = match kind.as_deref() {
        Some("GatewayConfig") => Some(Checked::GatewayConfig(Box::new(all.gateways()))),
        Some("Plugin") => {
            let made = all.plugins().0.into_iter().next();
            made.map(|plugin| Checked::Plugin(Box::new(plugin)))
        }
        Some("Endpoint") => {
            let named = |plugin: Plugin| (plugin.name.to_string(), Some(plugin));
            let known = plugins.into_iter().map(named).collect();
            let made = all.endpoints(&known).into_iter().next();
            made.map(|endpoint| Checked::Endpoint(Box::new(endpoint)))
        }
        _ => None,
    };
    match checked {
        Some(checked) if all.problems.is_empty() => Ok(checked),
        _ => Err(all.told()),
    }
}

/// The shipped plugins, as they are without a resource.
#[must_use]
pub fn shipped() -> Vec<Plugin> {
    plugin::shipped()
}

/// All documents of one check, and what was wrong so far, with the number of
/// its document.
#[derive(Default)]
struct Documents<'s> {
    documents: Vec<Doc<'s>>,
    problems: Vec<(usize, Problem)>,
}

struct Doc<'s> {
    source: &'s Source,
    file: Arc<str>,
    object: Arc<str>,
    root: Node,
    written: Document,
}

impl<'s> Documents<'s> {
    fn next(&self) -> usize {
        self.documents.len()
    }

    /// All of them checked, or all problems.
    fn set(mut self) -> Result<Set, Vec<Problem>> {
        let config = self.gateways();
        let (plugins, known) = self.plugins();
        let endpoints = self.endpoints(&known);
        if !self.problems.is_empty() {
            return Err(self.told());
        }
        let documents = self.documents.into_iter().map(|d| d.written).collect();
        Ok(Set {
            config,
            plugins,
            endpoints,
            documents,
        })
    }

    /// What was wrong, in the order of the documents.
    fn told(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|(order, problem)| (*order, problem.line, problem.column));
        let mut problems: Vec<Problem> = self
            .problems
            .into_iter()
            .map(|(_, problem)| problem)
            .collect();
        if problems.len() > PROBLEMS_MAX {
            let more = problems.len() - PROBLEMS_MAX;
            problems.truncate(PROBLEMS_MAX);
            problems.push(Problem::of_file(
                "",
                format!("{more} more problems are not shown"),
            ));
        }
        problems
    }

    fn take_json(&mut self, value: &serde_json::Value) {
        match of_json(value) {
            Ok(root) => self.take(&NO_SOURCE, root),
            Err(problem) => self.problems.push((self.next(), problem)),
        }
    }

    /// Sorts a document in by its kind, or tells why it has none.
    fn take(&mut self, source: &'s Source, root: Node) {
        let order = self.next();
        let (kind, name) = kind_and_name(&root);
        let (kind, name) = (kind.map(str::to_owned), name.unwrap_or_default().to_owned());
        let object: Arc<str> = match &kind {
            Some(kind) if KINDS.contains(&kind.as_str()) && !name.is_empty() => {
                let name: String = name.chars().take(64).collect();
                format!("{}/{name}", kind.to_lowercase()).into()
            }
            Some(kind) if KINDS.contains(&kind.as_str()) => kind.to_lowercase().into(),
            _ => "".into(),
        };
        let mut check = Check {
            file: source.name.as_str().into(),
            object: Arc::clone(&object),
            root: &root,
            base: None,
            problems: Vec::new(),
        };
        let known = what_it_is(&mut check, kind.as_deref());
        let file = Arc::clone(&check.file);
        self.problems
            .extend(check.problems.into_iter().map(|problem| (order, problem)));
        let kind = if known {
            kind.unwrap_or_default()
        } else {
            String::new()
        };
        let mut value = root.json();
        if let Some(base) = &source.base {
            absolute(&mut value, base);
        }
        let written = Document { kind, name, value };
        self.documents.push(Doc {
            source,
            file,
            object,
            root,
            written,
        });
    }

    /// Runs `f` on every document of a kind.
    fn each<S>(
        &mut self,
        kind: &str,
        mut f: impl FnMut(&mut Check<'_>, &Metadata, Option<Name>, &S),
    ) where
        S: Default,
        Resource<S>: for<'de> serde::Deserialize<'de>,
    {
        for (order, doc) in self
            .documents
            .iter_mut()
            .enumerate()
            .filter(|(_, d)| d.written.kind == kind)
        {
            let mut problems = Vec::new();
            let raw = read_resource::<S>(&mut doc.root, &doc.file, &doc.object, &mut problems);
            let mut check = Check {
                file: Arc::clone(&doc.file),
                object: Arc::clone(&doc.object),
                root: &doc.root,
                base: doc.source.base.as_deref(),
                problems,
            };
            if let Some(raw) = raw {
                let metadata = raw.metadata.unwrap_or_default();
                let metadata_at = At::ROOT.key("metadata");
                let name = match (&metadata.name, kind) {
                    (None, "GatewayConfig") => None,
                    (given, _) => check.name(given.as_ref(), &metadata_at, "name"),
                };
                f(&mut check, &metadata, name, &raw.spec.unwrap_or_default());
            }
            let found = check.problems.into_iter().map(|problem| (order, problem));
            self.problems.extend(found);
        }
    }

    fn gateways(&mut self) -> GatewayConfig {
        let mut config = None;
        self.each::<GatewaySpec>("GatewayConfig", |check, _, _, spec| {
            if config.is_some() {
                check.tell(&At::ROOT.key("kind"), "a second GatewayConfig; at most one");
            }
            config = Some(gateway::gateway(check, spec));
        });
        config.unwrap_or_default()
    }

    fn plugins(&mut self) -> (Vec<Plugin>, Known) {
        let mut known = Known::new();
        let mut plugins = Vec::new();
        self.each::<PluginSpec>("Plugin", |check, metadata, name, spec| {
            let name_text = metadata.name.clone().unwrap_or_default();
            let before = check.problems.len();
            let made = plugin::plugin(check, name, spec).filter(|_| check.problems.len() == before);
            match known.entry(name_text) {
                Entry::Occupied(taken) => {
                    let message = format!("a second plugin {}; names are unique", taken.key());
                    check.tell(&At::ROOT.key("metadata").key("name"), message);
                }
                Entry::Vacant(free) => {
                    free.insert(made.clone());
                    plugins.extend(made);
                }
            }
        });
        for shipped in plugin::shipped() {
            if !known.contains_key(shipped.name.as_str()) {
                known.insert(shipped.name.to_string(), Some(shipped.clone()));
                plugins.push(shipped);
            }
        }
        (plugins, known)
    }

    fn endpoints(&mut self, known: &Known) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let mut names: BTreeSet<Name> = BTreeSet::new();
        let mut hosts: BTreeMap<String, Name> = BTreeMap::new();
        self.each::<EndpointSpec>("Endpoint", |check, metadata, name, spec| {
            let Some(made) = endpoint::endpoint(check, metadata, name, spec, known) else {
                return;
            };
            if !names.insert(made.name.clone()) {
                let message = format!("a second endpoint {}; names are unique", made.name);
                check.tell(&At::ROOT.key("metadata").key("name"), message);
                return;
            }
            let hosts_at = At::ROOT.key("spec");
            let hosts_at = hosts_at.key("hosts");
            for (i, host) in spec.hosts.iter().flatten().enumerate() {
                let host = host.to_ascii_lowercase();
                if let Some(other) = hosts.get(&host).filter(|other| **other != made.name) {
                    let message = format!("{host} is claimed by endpoint {other} already");
                    check.tell(&hosts_at.index(i), message);
                } else {
                    hosts.insert(host, made.name.clone());
                }
            }
            endpoints.push(made);
        });
        endpoints
    }
}

/// What a document says it is.
pub(super) fn kind_and_name(root: &Node) -> (Option<&str>, Option<&str>) {
    let name = root.get("metadata").and_then(|m| m.get("name"));
    (
        root.get("kind").and_then(Node::text),
        name.and_then(Node::text),
    )
}

/// Tells what is wrong with `apiVersion` and `kind`; whether the kind is known.
fn what_it_is(check: &mut Check<'_>, kind: Option<&str>) -> bool {
    if !matches!(check.root.value, Value::Map(_)) {
        let message = format!(
            "{} is not a resource: a map with apiVersion, kind, metadata and spec",
            check.root.shown()
        );
        check.tell(&At::ROOT, message);
        return false;
    }
    match check.root.get("apiVersion") {
        None => check.tell(
            &At::ROOT,
            format!("apiVersion is missing; write apiVersion: {API_VERSION}"),
        ),
        Some(version) if version.text() != Some(API_VERSION) => {
            let message = format!("{} is not known; write {API_VERSION}", version.shown());
            check.tell(&At::ROOT.key("apiVersion"), message);
        }
        Some(_) => {}
    }
    let Some(kind) = kind else {
        let message = format!("kind is missing or no text; one of {}", KINDS.join(", "));
        check.tell(&At::ROOT, message);
        return false;
    };
    let known = KINDS.contains(&kind);
    if !known {
        let message = format!(
            "{} is not a kind; one of {}",
            shown_text(kind),
            KINDS.join(", ")
        );
        check.tell_with(&At::ROOT.key("kind"), message, suggestion(kind, &KINDS));
    }
    known
}
