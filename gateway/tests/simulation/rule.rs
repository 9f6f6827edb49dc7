//! The rules that are compared: the gateway's own scaler, and what Knative's
//! pod autoscaler and a plain HorizontalPodAutoscaler would do with what they
//! can see. Each is asked once a second of virtual time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tidegate::scale::{Bounds, Load, Scaler};

/// What a rule can see at one second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// The fleet's counts now.
    pub(crate) load: Load,
    /// Requests that ran and waited, averaged over the second.
    pub(crate) concurrency: f64,
    /// Requests that ran, averaged over the second.
    pub(crate) running: f64,
}

/// One of the rules.
#[derive(Debug)]
pub(crate) enum Rule {
    Tidegate(Scaler),
    Knative(Knative),
    Hpa(Hpa),
    /// The count never changes.
    Fixed(u32),
}

/// Which rule, before it has a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tidegate,
    Knative,
    Hpa,
    Fixed(u32),
}

impl Kind {
    /// The rules that are compared, in the order of the tables.
    pub(crate) const COMPARED: [Self; 3] = [Self::Tidegate, Self::Knative, Self::Hpa];

    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "Tidegate",
            Self::Knative => "Knative",
            Self::Hpa => "HPA",
            Self::Fixed(_) => "fixed",
        }
    }

    /// A rule at the start of a scenario that has `wanted` replicas.
    pub(crate) fn start(self, bounds: &Bounds, now: Instant, wanted: u32) -> Rule {
        match self {
            Self::Tidegate => Rule::Tidegate(Scaler::new(bounds.clone(), now, wanted)),
            Self::Knative => Rule::Knative(Knative::new(bounds.clone(), wanted)),
            Self::Hpa => Rule::Hpa(Hpa::new(bounds.clone(), wanted)),
            Self::Fixed(count) => Rule::Fixed(count),
        }
    }
}

impl Rule {
    /// How many replicas there should be.
    pub(crate) fn look(&mut self, now: Instant, seen: &Seen) -> u32 {
        match self {
            Self::Tidegate(scaler) => scaler.look(now, &seen.load),
            Self::Knative(rule) => rule.look(seen),
            Self::Hpa(rule) => rule.look(seen),
            Self::Fixed(count) => *count,
        }
    }

    /// Whether a request that finds no replica makes it look at once: the
    /// gateway's fleet wakes its scaler, Knative's activator pokes its own.
    pub(crate) fn is_woken(&self) -> bool {
        matches!(self, Self::Tidegate(_) | Self::Knative(_))
    }
}

/// The average of the last so many seconds.
fn average(values: &VecDeque<f64>, seconds: usize) -> f64 {
    let count = values.len().min(seconds);
    values.iter().rev().take(count).sum::<f64>() / count.max(1) as f64
}

fn push(values: &mut VecDeque<f64>, value: f64, most: usize) {
    values.push_back(value);
    if values.len() > most {
        values.pop_front();
    }
}

/// Knative Serving's pod autoscaler with its defaults: every 2 s, concurrency
/// averaged over a stable window of 60 s, or of 6 s where that asks for at
/// least twice the ready pods (panic); no scaling down in panic; at most half
/// of the pods away per look; to zero 30 s after a stable window of nothing.
#[derive(Debug)]
pub(crate) struct Knative {
    bounds: Bounds,
    wanted: u32,
    second: u64,
    seen: VecDeque<f64>,
    panic_since: Option<u64>,
    most_in_panic: u32,
    quiet_since: Option<u64>,
}

const STABLE: usize = 60;
const PANIC: usize = 6;
const GRACE: u64 = 30;

impl Knative {
    fn new(bounds: Bounds, wanted: u32) -> Self {
        Self {
            bounds,
            wanted,
            second: 0,
            seen: VecDeque::new(),
            panic_since: None,
            most_in_panic: 0,
            quiet_since: None,
        }
    }

    fn look(&mut self, seen: &Seen) -> u32 {
        if self.wanted == 0 && seen.load.queued > 0 {
            self.wanted = 1;
            return 1;
        }
        self.second += 1;
        push(&mut self.seen, seen.concurrency, STABLE);
        if !self.second.is_multiple_of(2) || self.wanted == 0 {
            return self.wanted;
        }
        let per_pod =
            f64::from(self.bounds.slots.get()) * self.bounds.target.hundredths() as f64 / 10_000.0;
        let ready = seen.load.ready.max(1);
        let pods = |concurrency: f64| ((concurrency / per_pod).ceil() as u32).max(ready / 2);
        let (stable, panic) = (
            pods(average(&self.seen, STABLE)),
            pods(average(&self.seen, PANIC)),
        );
        if panic >= 2 * ready {
            if self.panic_since.is_none() {
                self.most_in_panic = self.wanted;
            }
            self.panic_since = Some(self.second);
        } else if self
            .panic_since
            .is_some_and(|since| self.second - since > STABLE as u64)
        {
            self.panic_since = None;
        }
        let mut desired = stable;
        if self.panic_since.is_some() {
            self.most_in_panic = self.most_in_panic.max(panic);
            desired = self.most_in_panic;
        }
        self.wanted = self.or_none(desired).min(self.bounds.max);
        self.wanted
    }

    fn or_none(&mut self, desired: u32) -> u32 {
        let quiet =
            self.seen.iter().all(|concurrency| *concurrency == 0.0) && self.seen.len() >= STABLE;
        if !quiet || self.bounds.min > 0 {
            self.quiet_since = None;
            return desired.max(self.bounds.min).max(1);
        }
        let since = *self.quiet_since.get_or_insert(self.second);
        u32::from(self.second - since < GRACE)
    }
}

/// A HorizontalPodAutoscaler with its defaults on the share of slots that are
/// busy (what a CPU target sees: it cannot see who waits): every 15 s, 10 %
/// tolerance, at most twice the pods or 4 more per 15 s, down only to the
/// highest recommendation of the last 300 s, never to zero.
#[derive(Debug)]
pub(crate) struct Hpa {
    bounds: Bounds,
    wanted: u32,
    second: u64,
    running: VecDeque<f64>,
    recommended: VecDeque<(u64, u32)>,
}

const SYNC: u64 = 15;
const STABILISATION: Duration = Duration::from_secs(300);

impl Hpa {
    fn new(bounds: Bounds, wanted: u32) -> Self {
        Self {
            bounds,
            wanted,
            second: 0,
            running: VecDeque::new(),
            recommended: VecDeque::new(),
        }
    }

    fn look(&mut self, seen: &Seen) -> u32 {
        self.second += 1;
        push(&mut self.running, seen.running, SYNC as usize);
        if self.second.is_multiple_of(SYNC) {
            let raw = self.recommend(seen);
            let limit = (self.wanted * 2).max(self.wanted + 4);
            let raw = raw
                .min(limit)
                .clamp(self.bounds.min.max(1), self.bounds.max);
            self.recommended.push_back((self.second, raw));
            let oldest = self.second.saturating_sub(STABILISATION.as_secs());
            self.recommended.retain(|(second, _)| *second > oldest);
            let highest = self
                .recommended
                .iter()
                .map(|(_, count)| *count)
                .max()
                .unwrap_or(raw);
            // Up at once; down to the highest of the window.
            self.wanted = raw.max(highest.min(self.wanted));
        }
        self.wanted
    }

    fn recommend(&self, seen: &Seen) -> u32 {
        let target = self.bounds.target.hundredths() as f64 / 10_000.0;
        let slots = f64::from(self.bounds.slots.get());
        let used = average(&self.running, SYNC as usize) / slots;
        let ready = f64::from(seen.load.ready);
        if ready == 0.0 {
            return self.wanted;
        }
        let within = |ratio: f64| (ratio - 1.0).abs() <= 0.1;
        let ratio = used / ready / target;
        if within(ratio) {
            return self.wanted;
        }
        if ratio > 1.0 {
            // Pods that are not ready count as unused.
            let all = ready + f64::from(seen.load.starting);
            let ratio = used / all / target;
            return if ratio < 1.0 || within(ratio) {
                self.wanted
            } else {
                (ratio * all).ceil() as u32
            };
        }
        (ratio * ready).ceil() as u32
    }
}
