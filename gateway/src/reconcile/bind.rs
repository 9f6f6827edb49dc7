//! From an endpoint's bindings to policies at work, and to its table entry.
//!
//! A binding whose plugin is missing or refuses its settings closes what it
//! guards (auth), leaves the weights (split) or drops what it would have been
//! given (collect); it never stops the gateway. Used by `reconcile`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RunningEndpoint;
use crate::identity::KeySet;
use crate::name::Name;
use crate::policy::{BindingSpec, Host, Loaded, Policy, Refusal};
use crate::resource::{self, AuthMode, Binding, Problem};
use crate::table::{AuthPolicies, CollectEntry, Entry, Paths, SplitPolicy, VersionEntry};

/// A binding with the policy at work in it, or with why there is none.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) binding: Binding,
    pub(super) policy: Result<Arc<Policy>, String>,
}

/// All bindings of an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Bindings {
    pub(super) auth: Vec<Bound>,
    pub(super) split: Bound,
    pub(super) collect: Vec<Bound>,
}

/// The bindings that an endpoint's auth mode means.
fn auth_bindings(mode: &AuthMode) -> Vec<Binding> {
    match mode {
        AuthMode::None => Vec::new(),
        AuthMode::Key => Name::parse("key-auth")
            .map(|plugin| Binding {
                plugin,
                config: serde_json::Value::Object(serde_json::Map::new()),
                cache_by: Vec::new(),
            })
            .into_iter()
            .map(narrowed)
            .collect(),
        AuthMode::Custom(bindings) => bindings.iter().cloned().map(narrowed).collect(),
    }
}

/// `key-auth` decides by the credential alone, so what it granted is remembered
/// by that (SEMANTICS §8).
fn narrowed(mut binding: Binding) -> Binding {
    if binding.plugin.as_str() == "key-auth" && binding.cache_by.is_empty() {
        binding.cache_by.push(http::header::AUTHORIZATION);
    }
    binding
}

/// What binds: the host, the plugins that are loaded, and the endpoint's keys.
pub(super) struct Binder<'a> {
    pub(super) host: &'a Arc<Host>,
    pub(super) loaded: &'a BTreeMap<Name, Result<Arc<Loaded>, String>>,
    pub(super) endpoint: Name,
    pub(super) keys: Arc<KeySet>,
}

impl Binder<'_> {
    /// Binds everything an endpoint names. Never fails: see the module.
    pub(super) async fn bind_all(&self, spec: &resource::Endpoint) -> Bindings {
        let mut auth = Vec::new();
        for binding in auth_bindings(&spec.auth.mode) {
            auth.push(self.bound(binding).await);
        }
        let split = self.bound(spec.split.policy.clone()).await;
        let mut collect = Vec::new();
        for one in &spec.collect {
            collect.push(self.bound(one.binding.clone()).await);
        }
        Bindings {
            auth,
            split,
            collect,
        }
    }

    /// The bindings with `candidate` in every place of the plugin `name`. A place
    /// that had no policy before may go on without.
    ///
    /// # Errors
    ///
    /// The first refusal, with the endpoint's name.
    pub(super) async fn rebind(
        &self,
        before: &Bindings,
        name: &Name,
        candidate: &Arc<Loaded>,
    ) -> Result<Bindings, Refusal> {
        let mut after = before.clone();
        let all = after
            .auth
            .iter_mut()
            .chain(std::iter::once(&mut after.split))
            .chain(after.collect.iter_mut());
        for bound in all.filter(|bound| bound.binding.plugin == *name) {
            bound.policy = match self.bind(candidate, bound.binding.clone()).await {
                Ok(policy) => Ok(policy),
                Err(refusal) if bound.policy.is_err() => Err(format!("policy {name}: {refusal}")),
                Err(refusal) => return Err(refusal),
            };
        }
        Ok(after)
    }

    async fn bound(&self, binding: Binding) -> Bound {
        let policy = match self.loaded.get(&binding.plugin) {
            Some(Ok(loaded)) => self.bind(loaded, binding.clone()).await.map_err(|refusal| {
                let plugin = &binding.plugin;
                tracing::error!(endpoint = %self.endpoint, %plugin, %refusal, "policy refused");
                format!("policy {plugin}: {refusal}")
            }),
            Some(Err(reason)) => Err(format!("plugin {}: {reason}", binding.plugin)),
            None => Err(format!("plugin {} is not known", binding.plugin)),
        };
        Bound { binding, policy }
    }

    async fn bind(&self, loaded: &Arc<Loaded>, binding: Binding) -> Result<Arc<Policy>, Refusal> {
        let spec = BindingSpec {
            endpoint: self.endpoint.clone(),
            binding,
            keys: Arc::clone(&self.keys),
        };
        self.host.bind(loaded, spec).await
    }
}

impl Bindings {
    /// Whether the plugin is named anywhere.
    pub(super) fn names(&self, plugin: &Name) -> bool {
        self.all().any(|bound| bound.binding.plugin == *plugin)
    }

    /// Whether every place of the plugin has this of it at work.
    pub(super) fn has(&self, loaded: &Arc<Loaded>) -> bool {
        let name = &loaded.spec().name;
        self.all()
            .filter(|bound| bound.binding.plugin == *name)
            .all(|bound| {
                let policy = bound.policy.as_ref();
                policy.is_ok_and(|policy| Arc::ptr_eq(policy.loaded(), loaded))
            })
    }

    /// Why the endpoint does not do what it should; none where it does.
    pub(super) fn problem(&self) -> Option<String> {
        self.all()
            .find_map(|bound| bound.policy.as_ref().err().cloned())
    }

    /// What stands against them, by its place in the endpoint: bindings without a
    /// policy, but for those that had none before either.
    pub(super) fn refused(&self, auth: &AuthMode, before: Option<&Self>) -> Vec<Problem> {
        let custom = matches!(auth, AuthMode::Custom(_));
        let auth = self.auth.iter().enumerate().map(|(place, bound)| {
            let path = match custom {
                true => format!("spec.auth.policies[{place}]"),
                false => "spec.auth".to_owned(),
            };
            (path, bound)
        });
        let split = std::iter::once(("spec.split.policy".to_owned(), &self.split));
        let collect = self.collect.iter().enumerate();
        let collect = collect.map(|(place, bound)| (format!("spec.collect[{place}]"), bound));
        let had_none = |bound: &Bound| {
            let mut had = before.into_iter().flat_map(Self::all);
            had.any(|one| one.policy.is_err() && one.binding == bound.binding)
        };
        auth.chain(split)
            .chain(collect)
            .filter(|(_, bound)| !had_none(bound))
            .filter_map(|(path, bound)| {
                let reason = bound.policy.as_ref().err()?;
                Some(Problem {
                    path,
                    ..Problem::of_file("", reason.clone())
                })
            })
            .collect()
    }

    /// Whether callers can pass.
    pub(super) fn open(&self) -> bool {
        self.auth.iter().all(|bound| bound.policy.is_ok())
    }

    fn all(&self) -> impl Iterator<Item = &Bound> {
        self.auth
            .iter()
            .chain(std::iter::once(&self.split))
            .chain(&self.collect)
    }
}

/// The table's entry of an endpoint.
pub(super) fn entry(running: &RunningEndpoint) -> Arc<Entry> {
    let RunningEndpoint {
        spec,
        bindings,
        versions,
        metrics,
        ..
    } = running;
    let auth = if matches!(spec.auth.mode, AuthMode::None) {
        AuthPolicies::Open
    } else {
        let policies: Result<Vec<_>, _> = bindings
            .auth
            .iter()
            .map(|bound| bound.policy.clone())
            .collect();
        policies.map_or_else(AuthPolicies::Closed, AuthPolicies::Ask)
    };
    let split = bindings
        .split
        .policy
        .clone()
        .map_or_else(SplitPolicy::Missing, SplitPolicy::Ask);
    let versions = versions
        .iter()
        .map(|version| {
            Arc::new(VersionEntry {
                spec: Arc::clone(&version.spec),
                paths: Paths::new(&version.spec.paths),
                fleet: Arc::clone(&version.fleet),
                collect: collect(spec, bindings, &version.spec.name),
                metrics: Arc::clone(&version.metrics),
            })
        })
        .collect();
    Arc::new(Entry {
        spec: Arc::clone(spec),
        auth,
        split,
        versions,
        metrics: Arc::clone(metrics),
    })
}

fn collect(spec: &resource::Endpoint, bindings: &Bindings, version: &Name) -> Arc<[CollectEntry]> {
    spec.collect
        .iter()
        .zip(&bindings.collect)
        .filter(|(one, _)| one.versions.is_empty() || one.versions.contains(version))
        .map(|(one, bound)| CollectEntry {
            policy: bound.policy.clone().ok(),
            body_bytes: usize::try_from(one.body_bytes).unwrap_or(usize::MAX),
            sample: u32::try_from(one.sample.hundredths()).unwrap_or(10_000),
        })
        .collect()
}
