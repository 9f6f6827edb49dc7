//! From paths to a checked set of resources.
//!
//! `text` reads the files. Called by `app` at start and by `cli` for `check`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use crate::name::Name;
use crate::resource::absolute::absolute;
use crate::resource::check::plugin::{self, Known};
use crate::resource::check::{At, Check, endpoint, gateway, read_resource};
use crate::resource::list::{LIST, documents};
use crate::resource::node::{Node, Value, of_json, shown_text};
use crate::resource::problem::{PROBLEMS_MAX, Problem};
use crate::resource::raw::endpoint::EndpointSpec;
use crate::resource::raw::gateway::GatewaySpec;
use crate::resource::raw::plugin::PluginSpec;
use crate::resource::raw::{Metadata, Resource};
use crate::resource::suggest::suggestion;
use crate::resource::text::{Source, texts};
use crate::resource::{Endpoint, GatewayConfig, Plugin};

/// The one version of the resources' format.
pub const API_VERSION: &str = "tidegate.dev/v1alpha1";
/// The kinds of resources.
pub const KINDS: [&str; 3] = ["GatewayConfig", "Plugin", "Endpoint"];

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

/// Plugins that are there beside what is checked, by name; none where no more
/// than the name is known of one.
pub type Beside = BTreeMap<String, Option<Plugin>>;

/// Checks texts, after the problems that there were in reading them.
///
/// # Errors
///
/// All problems, in their order.
pub fn checked(sources: &[Source], problems: Vec<Problem>) -> Result<Set, Vec<Problem>> {
    checked_beside(sources, problems, Beside::new())
}

/// The same, where a binding may also name one of the plugins `beside` the
/// texts. Those are not in the set; one that a text has is as the text says.
///
/// # Errors
///
/// All problems, in their order.
pub fn checked_beside(
    sources: &[Source],
    mut problems: Vec<Problem>,
    beside: Beside,
) -> Result<Set, Vec<Problem>> {
    match Documents::of(sources, beside).set() {
        Ok(set) if problems.is_empty() => Ok(set),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

/// Checks texts, one by one and against each other.
///
/// # Errors
///
/// All problems of all sources, in their order.
pub fn check(sources: &[Source]) -> Result<Set, Vec<Problem>> {
    Documents::of(sources, Beside::new()).set()
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
    beside: Beside,
}

struct Doc<'s> {
    source: &'s Source,
    file: Arc<str>,
    object: Arc<str>,
    root: Node,
    written: Document,
}

impl<'s> Documents<'s> {
    /// Those of some texts.
    fn of(sources: &'s [Source], beside: Beside) -> Self {
        let mut all = Self {
            beside,
            ..Self::default()
        };
        for source in sources {
            match documents(&source.name, &source.text) {
                Ok(found) => found.into_iter().for_each(|root| all.take(source, root)),
                Err(problem) => all.problems.push((all.next(), problem)),
            }
        }
        all
    }

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
        for (name, plugin) in std::mem::take(&mut self.beside) {
            known.entry(name).or_insert(plugin);
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
    if kind == LIST {
        let message =
            "a List has apiVersion and items, a list of resources; none of those is a List";
        check.tell(&At::ROOT.key("kind"), message);
        return false;
    }
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
