//! Step 4 of an exchange: which version answers?
//!
//! A pin wins; else the split policy decides; where it fails, the weights do,
//! or nobody (`onFailure`). Never trusts a plugin with a version that is not a
//! candidate. Called by `exchange` after `authenticate`.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{self, HeaderName};
use tokio::time::Instant;

use super::authenticate::{Identified, facts, failed};
use super::draw::draw;
use super::head;
use super::ledger::{Kept, Ledger, Place};
use super::mirror;
use super::outlive::outlive;
use super::route::Routed;
use crate::fault::Fault;
use crate::fleet::{Counts, Figures};
use crate::name::Name;
use crate::policy::{Candidate, KeptFacts, Policy};
use crate::resource::{OnFailure, Role};
use crate::split::{self, Share};
use crate::table::{Entry, SplitPolicy, VersionEntry};

/// Output of this step; input of `forward`. Holds the version and no longer
/// its endpoint's entry.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The request.
    pub(super) admitted: super::admit::Admitted,
    /// Path and query as the model gets them.
    pub(super) target: http::uri::PathAndQuery,
    /// The version that answers.
    pub(super) version: Arc<VersionEntry>,
    /// Largest request body.
    pub(super) max_request_bytes: u64,
    /// Whether `Authorization` reaches the model.
    pub(super) forward_credential: bool,
    /// Whether a model's 500 becomes 502.
    pub(super) model_errors_as_502: bool,
    /// Versions that get a copy; none of them is `version`.
    pub(super) mirrors: Vec<Arc<VersionEntry>>,
    /// Whether the bodies of answers to copies are compared.
    pub(super) compare_body: bool,
}

/// What a split policy said beside the version.
#[derive(Debug, Default)]
struct Said {
    tags: Vec<(String, String)>,
    mirrors: Vec<Name>,
}

/// Picks the version. One plugin call, about 2 µs with a Rust policy.
///
/// # Errors
///
/// `not-found` for a pin to a version that is not there, or a path that the
/// version does not list; `policy-failed` where the split policy failed and
/// `onFailure` is `refuse`.
pub(super) async fn choose(ledger: &mut Ledger, identified: Identified) -> Result<Chosen, Fault> {
    let routed = identified.routed;
    let entry = Arc::clone(&routed.entry);
    let mut said = Said::default();
    let (version, mirrors) = match pinned(&entry, &routed.admitted.parts.headers)? {
        // Who asks for one version is not for another to see.
        Some(version) => (version, Vec::new()),
        None => {
            let version = by_policy(ledger, &routed, &entry, &mut said).await?;
            let mirrors = mirror::choose(&ledger.worker(), &entry, &version, &said.mirrors);
            (version, mirrors)
        }
    };
    if !version.paths.allow(routed.target.path()) {
        let what = format!("Version {} lists no such path", version.spec.name);
        return Err(Fault::NotFound(what));
    }
    keep(ledger, &routed, &version, said.tags);
    ledger.place = Place::Version(entry.spec.name.clone(), Arc::clone(&version));
    let open = matches!(entry.spec.auth.mode, crate::resource::AuthMode::None);
    Ok(Chosen {
        admitted: routed.admitted,
        target: routed.target,
        version,
        max_request_bytes: entry.spec.max_request_bytes,
        forward_credential: open || entry.spec.auth.forward_credential,
        model_errors_as_502: entry.spec.model_errors_as_502,
        mirrors,
        compare_body: entry
            .spec
            .mirror
            .as_ref()
            .is_some_and(|mirror| mirror.compare_body),
    })
}

/// The version that the caller asked for by name, where the endpoint lets it.
fn pinned(entry: &Entry, headers: &HeaderMap) -> Result<Option<Arc<VersionEntry>>, Fault> {
    let Some(name) = headers.get(head::DEPLOYMENT) else {
        return Ok(None);
    };
    if !entry.spec.split.pin {
        return Ok(None);
    }
    // Two lines are one list, and no version is called that.
    let only = headers.get_all(head::DEPLOYMENT).iter().nth(1).is_none();
    let name = name.to_str().ok().filter(|_| only);
    let version = name.and_then(|name| entry.version(name));
    match version {
        Some(version) => Ok(Some(Arc::clone(version))),
        None => Err(Fault::NotFound("No such version".to_owned())),
    }
}

async fn by_policy(
    ledger: &mut Ledger,
    routed: &Routed,
    entry: &Entry,
    said: &mut Said,
) -> Result<Arc<VersionEntry>, Fault> {
    let seen = look(ledger, entry);
    let headers = &routed.admitted.parts.headers;
    let draw = draw(
        &ledger.worker(),
        &entry.spec,
        headers,
        ledger.caller.as_deref(),
    );
    let reason = match &entry.split {
        SplitPolicy::Missing(reason) => reason.clone(),
        SplitPolicy::Ask(policy) => {
            let began = Instant::now();
            let choice = ask(ledger, routed, policy, draw, candidates(entry, &seen)).await;
            ledger.deciding += began.elapsed();
            match choice {
                Ok(choice) => {
                    if let Some(version) = entry.version(choice.version.as_str()) {
                        said.tags = choice.tags;
                        said.mirrors = choice.mirrors;
                        return Ok(Arc::clone(version));
                    }
                    format!("{} is no version", choice.version)
                }
                Err(fault) => {
                    let (plugin, digest) = (policy.plugin(), policy.digest());
                    failed(plugin.as_str(), digest, &fault.to_string()).to_string()
                }
            }
        }
    };
    match entry.spec.split.on_failure {
        OnFailure::Refuse => Err(Fault::PolicyFailed(reason)),
        OnFailure::Weights => {
            tracing::debug!(endpoint = %entry.spec.name, reason, "the weights decide");
            by_weights(entry, &seen, draw)
        }
    }
}

async fn ask(
    ledger: &mut Ledger,
    routed: &Routed,
    policy: &Arc<Policy>,
    draw: u64,
    candidates: Vec<Candidate>,
) -> Result<crate::policy::Choice, crate::policy::PolicyFault> {
    ledger.id();
    ledger.decided(Role::Split, policy);
    let facts = facts(ledger, routed);
    let call = policy.choose(&facts, ledger.caller.as_deref(), draw, candidates);
    let worker = ledger.worker();
    outlive(&worker, &ledger.connection, call).await
}

/// The host's own choice: the same rule as `weighted-split`'s.
fn by_weights(entry: &Entry, seen: &[Seen], draw: u64) -> Result<Arc<VersionEntry>, Fault> {
    let names = entry.versions.iter().map(|one| one.spec.name.as_str());
    let pairs: Vec<(&str, u32)> = names.zip(seen.iter().map(|one| one.weight)).collect();
    let place = split::rendezvous(draw, &pairs);
    let version = place.and_then(|place| entry.versions.get(place));
    let default = || entry.versions.iter().find(|one| one.spec.default);
    version
        .or_else(default)
        .or_else(|| entry.versions.first())
        .cloned()
        .ok_or_else(|| Fault::Internal("an endpoint without versions".to_owned()))
}

/// What an exchange sees of a version before one is chosen.
struct Seen {
    takes_share: bool,
    counts: Counts,
    figures: Figures,
    weight: u32,
}

/// Looks at every version once: its share is what it has after the remainder
/// went to the default and those of versions that cannot answer were moved.
fn look(ledger: &Ledger, entry: &Entry) -> Vec<Seen> {
    let seen = |version: &Arc<VersionEntry>| {
        let (takes_share, counts, figures) = version.fleet.look();
        Seen {
            takes_share,
            counts,
            figures,
            weight: 0,
        }
    };
    let mut seen: Vec<Seen> = entry.versions.iter().map(seen).collect();
    let share = |(version, seen): (&Arc<VersionEntry>, &Seen)| Share {
        weight: version.spec.traffic,
        is_default: version.spec.default,
        can_answer: seen.takes_share,
    };
    let mut shares: Vec<Share> = entry.versions.iter().zip(&seen).map(share).collect();
    for (seen, weight) in seen.iter_mut().zip(split::effective(&shares)) {
        seen.weight = weight;
    }
    if seen.iter().all(|one| one.takes_share) {
        for version in &entry.versions {
            note_share(ledger, entry, version, false);
        }
        return seen;
    }
    for share in &mut shares {
        share.can_answer = true;
    }
    let own = split::effective(&shares);
    for ((version, seen), own) in entry.versions.iter().zip(&seen).zip(own) {
        let moved = !seen.takes_share && seen.weight == 0 && own > 0;
        note_share(ledger, entry, version, moved);
    }
    seen
}

/// Counts an exchange that was drawn while a version's share was `moved` to
/// others, and logs the first of them, and the first after them.
fn note_share(ledger: &Ledger, entry: &Entry, version: &VersionEntry, moved: bool) {
    let (endpoint, name) = (&entry.spec.name, &version.spec.name);
    if moved {
        let labels = [endpoint.as_str(), name.as_str()];
        let metrics = &ledger.worker().shared.metrics;
        metrics.moved_shares.with(&labels).inc();
    }
    if version.fleet.share_moved(moved) {
        if moved {
            tracing::warn!(%endpoint, version = %name, "no replica is ready; its share goes to others");
        } else {
            tracing::info!(%endpoint, version = %name, "it has its share again");
        }
    }
}

fn candidates(entry: &Entry, seen: &[Seen]) -> Vec<Candidate> {
    let candidate = |(version, seen): (&Arc<VersionEntry>, &Seen)| Candidate {
        version: version.spec.name.clone(),
        weight: seen.weight,
        kind: version.spec.kind,
        is_default: version.spec.default,
        replicas_ready: seen.counts.ready,
        slots_free: seen.counts.free,
        queued: seen.counts.queued,
        latency_ms_p50: seen.figures.latency_ms_p50,
        errors_per_10k: seen.figures.errors_per_10k,
    };
    entry.versions.iter().zip(seen).map(candidate).collect()
}

/// Draws which of the version's collect policies keep this exchange, and keeps
/// what they will be shown of the request. Never a credential.
fn keep(ledger: &mut Ledger, routed: &Routed, version: &VersionEntry, tags: Vec<(String, String)>) {
    let (mut asked, mut body_bytes) = (0_u32, 0);
    let worker = ledger.worker();
    for (place, collect) in version.collect.iter().enumerate().take(32) {
        if worker.chance.draw() % 10_000 < u64::from(collect.sample) {
            asked |= 1 << place;
            body_bytes = body_bytes.max(collect.body_bytes);
        }
    }
    if asked == 0 {
        return;
    }
    ledger.id();
    let facts = facts(ledger, routed);
    let mut headers = HeaderMap::new();
    let policies = version.collect.iter().filter_map(|one| one.policy.as_ref());
    for name in policies.flat_map(|policy| policy.headers()) {
        copy(facts.headers, &mut headers, name);
    }
    let facts = KeptFacts {
        id: facts.id.to_owned(),
        method: facts.method.clone(),
        path: facts.path.to_owned(),
        query: facts.query.map(str::to_owned),
        authority: facts.authority.to_owned(),
        client_ip: facts.client_ip,
        endpoint: facts.endpoint.clone(),
        content_length: facts.content_length,
        headers,
        attributes: facts.attributes.to_vec(),
    };
    ledger.kept = Some(Box::new(Kept {
        facts,
        asked,
        body_bytes,
        started_ms: crate::id::wall_ms(),
        response_headers: HeaderMap::new(),
        response: Vec::new(),
        response_ended: false,
        tags,
    }));
}

/// Copies a field, unless it is a credential or there already.
pub(super) fn copy(from: &HeaderMap, to: &mut HeaderMap, name: &HeaderName) {
    let secret = [
        header::AUTHORIZATION,
        header::COOKIE,
        header::PROXY_AUTHORIZATION,
        header::SET_COOKIE,
    ];
    if secret.contains(name) || to.contains_key(name) {
        return;
    }
    for value in from.get_all(name) {
        to.append(name, value.clone());
    }
}
