//! What an exchange looks up: names and hosts → one entry per endpoint.
//!
//! An entry is a snapshot: it is never changed, only replaced whole, so that an
//! exchange sees the state before a change or the state after it. Replicas
//! enter and leave the fleets, not the table. Written by `reconcile`, read by
//! `exchange`; a look-up takes no lock.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::fleet::Fleet;
use crate::metrics::ExchangeMetrics;
use crate::name::Name;
use crate::policy::Policy;
use crate::resource;

mod paths;

pub use paths::Paths;

/// Shards of the maps, so that an endpoint that comes or goes copies a part of
/// the names only. 64: with 10,000 endpoints a copy is of about 160.
const SHARDS: usize = 64;

/// Everything an exchange needs to know of an endpoint.
#[derive(Debug)]
pub struct Entry {
    /// The checked resource.
    pub spec: Arc<resource::Endpoint>,
    /// Who may call.
    pub auth: AuthPolicies,
    /// Which version answers.
    pub split: SplitPolicy,
    /// Its versions, in the resource's order.
    pub versions: Vec<Arc<VersionEntry>>,
    /// Of exchanges that ended before a version was chosen.
    pub metrics: Arc<ExchangeMetrics>,
}

/// Who is asked whether a request may pass.
#[derive(Debug)]
pub enum AuthPolicies {
    /// Nobody: mode `none`.
    Open,
    /// A policy is missing or was refused: every exchange gets 503.
    Closed(String),
    /// These, in order.
    Ask(Vec<Arc<Policy>>),
}

/// Who is asked which version answers.
#[derive(Debug)]
pub enum SplitPolicy {
    /// The policy is missing or was refused; the text says why. The weights
    /// decide, or every exchange gets 503 (`onFailure`).
    Missing(String),
    /// This one.
    Ask(Arc<Policy>),
}

/// One version of an endpoint. The same object as long as the version, its
/// fleet and its collect policies are the same.
#[derive(Debug)]
pub struct VersionEntry {
    /// The checked resource.
    pub spec: Arc<resource::Version>,
    /// What callers may reach.
    pub paths: Paths,
    /// Its replicas, slots and queue.
    pub fleet: Arc<Fleet>,
    /// What is kept of its exchanges.
    pub collect: Arc<[CollectEntry]>,
    /// Of its exchanges.
    pub metrics: Arc<ExchangeMetrics>,
}

/// A collect policy of a version.
#[derive(Debug, Clone)]
pub struct CollectEntry {
    /// The policy; none where it is missing or was refused: then what it would
    /// have been given is dropped and counted.
    pub policy: Option<Arc<Policy>>,
    /// Of each body, what the policy is given.
    pub body_bytes: usize,
    /// Share of exchanges, in hundredths of a percent.
    pub sample: u32,
}

impl Entry {
    /// The version of that name.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<&Arc<VersionEntry>> {
        self.versions
            .iter()
            .find(|version| version.spec.name.as_str() == name)
    }
}

/// Where an endpoint's entry is; the same for as long as the endpoint exists.
#[derive(Debug)]
struct Place {
    entry: ArcSwap<Entry>,
}

/// A part of a map, replaced whole when a name comes or goes.
type Shard = ArcSwapOption<HashMap<String, Arc<Place>>>;

/// One map of names or hosts.
#[derive(Debug)]
struct Map(Box<[Shard]>, RandomState);

impl Map {
    fn new() -> Self {
        Self(
            (0..SHARDS).map(|_| ArcSwapOption::empty()).collect(),
            RandomState::new(),
        )
    }

    fn shard(&self, name: &str) -> Option<&Shard> {
        let place = usize::try_from(self.1.hash_one(name) % SHARDS as u64).unwrap_or(0);
        self.0.get(place)
    }

    fn get(&self, name: &str) -> Option<Arc<Entry>> {
        let shard = self.shard(name)?.load();
        let place = shard.as_ref()?.get(name)?;
        Some(place.entry.load_full())
    }

    fn place(&self, name: &str) -> Option<Arc<Place>> {
        self.shard(name)?.load().as_ref()?.get(name).cloned()
    }

    /// Takes a name away where it leads to this place; another may have it by now.
    fn release(&self, name: &str, place: &Arc<Place>) {
        if self.leads(name, place) {
            self.change(name, None);
        }
    }

    fn leads(&self, name: &str, place: &Arc<Place>) -> bool {
        self.place(name).is_some_and(|now| Arc::ptr_eq(&now, place))
    }

    fn change(&self, name: &str, place: Option<Arc<Place>>) {
        let Some(shard) = self.shard(name) else {
            return;
        };
        let mut map = shard
            .load_full()
            .map_or_else(HashMap::new, |map| (*map).clone());
        match place {
            Some(place) => map.insert(name.to_owned(), place),
            None => map.remove(name),
        };
        shard.store(Some(Arc::new(map)));
    }
}

/// The table of one gateway. One writer (`reconcile`), many readers.
#[derive(Debug)]
pub struct Table {
    names: Map,
    hosts: Map,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            names: Map::new(),
            hosts: Map::new(),
        }
    }
}

impl Table {
    /// The endpoint of that name, as it is now.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> Option<Arc<Entry>> {
        self.names.get(name)
    }

    /// The endpoint that claims that host (lower case, without port).
    #[must_use]
    pub fn host(&self, host: &str) -> Option<Arc<Entry>> {
        // Its entry may be a newer one, which does not claim it any more.
        let claims = |entry: &Arc<Entry>| entry.spec.hosts.iter().any(|one| one == host);
        self.hosts.get(host).filter(claims)
    }

    /// Puts an entry in the place of the endpoint's last one. Costs the same
    /// among ten and among ten thousand endpoints.
    pub fn put(&self, entry: Arc<Entry>) {
        let name: Name = entry.spec.name.clone();
        let (place, hosts_before) = match self.names.place(name.as_str()) {
            Some(place) => {
                let before = place.entry.swap(Arc::clone(&entry));
                (place, before.spec.hosts.clone())
            }
            None => {
                let place = Arc::new(Place {
                    entry: ArcSwap::new(Arc::clone(&entry)),
                });
                self.names.change(name.as_str(), Some(Arc::clone(&place)));
                (place, Vec::new())
            }
        };
        for host in hosts_before
            .iter()
            .filter(|host| !entry.spec.hosts.contains(host))
        {
            self.hosts.release(host, &place);
        }
        for host in entry
            .spec
            .hosts
            .iter()
            .filter(|host| !self.hosts.leads(host, &place))
        {
            self.hosts.change(host, Some(Arc::clone(&place)));
        }
    }

    /// Takes an endpoint out; exchanges under way keep what they hold.
    pub fn remove(&self, name: &str) {
        if let Some(place) = self.names.place(name) {
            for host in &place.entry.load().spec.hosts {
                self.hosts.release(host, &place);
            }
            self.names.change(name, None);
        }
    }
}

#[cfg(test)]
mod tests;
