//! What the host lends a plugin: log, metrics, clock, random, keys, crypto; and
//! `tokens` and `counters` empty-handed, until they are built.
//!
//! Every call is bounded and none waits. A key's value never enters a guest.
//! Used by the linkers of `host`.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use wasmtime::component::{HasSelf, Linker};

use super::FaultKind;
use super::contract::{auth, collect, lent, split, types};
use super::guest::{Guest, LOG_LINES_MAX};
use super::measure::OwnMetrics;
use crate::id;
use crate::identity::{self, KeySet};
use crate::metrics::Counter;
use crate::name::Name;

/// Bytes of one log line, and of the last error that a trap's detail quotes.
const LOG_LINE_BYTES_MAX: usize = 4 << 10;

/// Bytes that `random` gives in a call (`policy.wit`).
const RANDOM_BYTES_MAX: u32 = 1024;

/// Failures of one policy that are told in full.
const TOLD_MAX: usize = 32;

/// What the instances of one policy are lent. Shared by them; never refers to
/// the policy.
pub(super) struct Lent {
    pub(super) plugin: Name,
    pub(super) endpoint: Name,
    pub(super) keys: Arc<KeySet>,
    pub(super) own: Arc<OwnMetrics>,
    pub(super) lines_dropped: Arc<Counter>,
    pub(super) warned: Arc<Warned>,
    /// Failures that were told in full.
    pub(super) told: Mutex<HashSet<(FaultKind, u64)>>,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({} in {})", self.plugin, self.endpoint)
    }
}

/// What a plugin asked for and the host does not have yet: one warning each.
#[derive(Debug, Default)]
pub(super) struct Warned {
    tokens: AtomicBool,
    counters: AtomicBool,
    hmac: AtomicBool,
}

impl Lent {
    /// Whether a failure is the first of its kind and text, so that a call that
    /// fails a thousand times a second fills no log.
    pub(super) fn unlike_before(&self, kind: FaultKind, detail: &str) -> bool {
        let mut text = DefaultHasher::new();
        detail.hash(&mut text);
        let mut told = self.told.lock();
        told.len() < TOLD_MAX && told.insert((kind, text.finish()))
    }

    fn missing(&self, warned: &AtomicBool, what: &str) {
        if !warned.swap(true, Relaxed) {
            tracing::warn!(plugin = %self.plugin, "the plugin uses {what}, which this gateway does not have yet");
        }
    }
}

/// A linker per world: what is not in it, a plugin of that role cannot import.
pub(super) struct Linkers {
    pub(super) auth: Linker<Guest>,
    pub(super) split: Linker<Guest>,
    pub(super) collect: Linker<Guest>,
}

impl Linkers {
    pub(super) fn new(engine: &wasmtime::Engine) -> wasmtime::Result<Self> {
        let mut linkers = Self {
            auth: Linker::new(engine),
            split: Linker::new(engine),
            collect: Linker::new(engine),
        };
        auth::AuthPolicy::add_to_linker::<_, HasSelf<_>>(&mut linkers.auth, |guest| guest)?;
        split::SplitPolicy::add_to_linker::<_, HasSelf<_>>(&mut linkers.split, |guest| guest)?;
        collect::CollectPolicy::add_to_linker::<_, HasSelf<_>>(&mut linkers.collect, |guest| {
            guest
        })?;
        Ok(linkers)
    }
}

type Pairs = Vec<(String, String)>;

impl types::Host for Guest {}

impl lent::log::Host for Guest {
    fn emit(&mut self, level: lent::log::Level, message: String, fields: Pairs) {
        use lent::log::Level;
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines > LOG_LINES_MAX {
            self.lent.lines_dropped.inc();
            return;
        }
        let line = line(&message, &fields);
        let (plugin, endpoint) = (&self.lent.plugin, &self.lent.endpoint);
        match level {
            Level::Trace => tracing::trace!(target: "plugin", %plugin, %endpoint, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", %plugin, %endpoint, "{line}"),
            Level::Info => tracing::info!(target: "plugin", %plugin, %endpoint, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", %plugin, %endpoint, "{line}"),
            Level::Error => tracing::error!(target: "plugin", %plugin, %endpoint, "{line}"),
        }
        if level == Level::Error {
            self.last_error = Some(line);
        }
    }
}

/// Message and fields as one line without control characters, cut to
/// [`LOG_LINE_BYTES_MAX`].
fn line(message: &str, fields: &[(String, String)]) -> String {
    let mut line = String::new();
    append(&mut line, message);
    for (name, value) in fields {
        append(&mut line, " ");
        append(&mut line, name);
        append(&mut line, "=");
        append(&mut line, value);
    }
    line
}

fn append(line: &mut String, text: &str) {
    for character in text.chars() {
        if line.len() + character.len_utf8() > LOG_LINE_BYTES_MAX {
            return;
        }
        line.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
}

impl lent::metrics::Host for Guest {
    fn add(&mut self, name: String, delta: u64, labels: Pairs) {
        self.lent.own.add(&name, delta, &labels);
    }

    fn observe(&mut self, name: String, value: f64, labels: Pairs) {
        self.lent.own.observe(&name, value, &labels);
    }
}

impl lent::clock::Host for Guest {
    fn now_ms(&mut self) -> u64 {
        *self.now_ms.get_or_insert_with(id::wall_ms)
    }
}

impl lent::random::Host for Guest {
    fn bytes(&mut self, n: u32) -> wasmtime::Result<Vec<u8>> {
        if n > RANDOM_BYTES_MAX {
            wasmtime::bail!("{n} random bytes in a call; at most {RANDOM_BYTES_MAX}");
        }
        let mut bytes = vec![0; n as usize];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| wasmtime::Error::msg("no random bytes"))?;
        Ok(bytes)
    }
}

impl lent::keys::Host for Guest {
    fn match_key(&mut self, presented: Vec<u8>) -> Option<lent::keys::KeyMatch> {
        let found = self.lent.keys.match_key(&presented)?;
        if let Some(ends) = found.expires_ms {
            let known = self.credential_ends_ms.unwrap_or(u64::MAX);
            self.credential_ends_ms = Some(known.min(ends));
        }
        Some(lent::keys::KeyMatch {
            name: found.name.to_owned(),
            scopes: found.scopes,
            expires_ms: found.expires_ms,
        })
    }
}

impl lent::tokens::Host for Guest {
    fn verify(
        &mut self,
        _token: String,
        _issuer: Option<String>,
    ) -> Result<lent::tokens::Verified, lent::tokens::Error> {
        self.lent.missing(&self.lent.warned.tokens, "`tokens`");
        Err(lent::tokens::Error::Unavailable)
    }
}

impl lent::crypto::Host for Guest {
    fn sha256(&mut self, data: Vec<u8>) -> Vec<u8> {
        identity::sha256(&data).to_vec()
    }

    fn hmac_sha256(&mut self, _secret: String, _data: Vec<u8>) -> Option<Vec<u8>> {
        self.lent
            .missing(&self.lent.warned.hmac, "`crypto.hmac-sha256`");
        None
    }

    fn constant_time_equal(&mut self, a: Vec<u8>, b: Vec<u8>) -> bool {
        identity::constant_time_equal(&a, &b)
    }
}

impl lent::counters::Host for Guest {
    fn known(&mut self, _limiter: String) -> bool {
        self.lent.missing(&self.lent.warned.counters, "`counters`");
        false
    }

    fn take(
        &mut self,
        _limiter: String,
        _key: String,
        _cost: u64,
    ) -> Option<lent::counters::Verdict> {
        self.lent.missing(&self.lent.warned.counters, "`counters`");
        None
    }
}
