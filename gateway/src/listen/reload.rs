//! Certificates that are read again when their files change (SEMANTICS §9).
//!
//! The same for listeners and for the admin API: a bad file keeps the old
//! certificate, and an event and status say why. Connections that are open keep
//! what they have. Called by `start` and by `admin`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::tls::{Tls, Watcher};
use crate::event::Events;
use crate::metrics::Metrics;
use crate::shutdown::Tasks;

/// How often files are looked at: half of what SEMANTICS §9 allows.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a certificate is shown.
#[derive(Debug, Clone)]
pub struct Place {
    /// `name` of `tidegate_certificate_expiry_seconds`.
    pub label: String,
    /// What its events are about.
    pub object: String,
    /// What stands before its problems, as `listener https`.
    pub words: String,
}

impl Place {
    /// A listener.
    pub(super) fn listener(name: &str) -> Self {
        Self {
            label: name.to_owned(),
            object: format!("listener/{name}"),
            words: format!("listener {name}"),
        }
    }
}

/// What reads certificates again.
#[derive(Debug, Clone)]
pub struct Reload {
    metrics: Arc<Metrics>,
    events: Arc<Events>,
    /// Of the control runtime.
    tasks: Tasks,
    problems: Arc<Mutex<Vec<String>>>,
}

impl Reload {
    /// One that has found no problem yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, events: Arc<Events>, tasks: Tasks) -> Self {
        Self {
            metrics,
            events,
            tasks,
            problems: Arc::default(),
        }
    }

    /// Why certificates were not taken, as it is now.
    #[must_use]
    pub fn problems(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.problems)
    }

    /// Shows when the certificates of a place end, and looks at their files until
    /// `stop`.
    pub fn watch(&self, place: Place, tls: &Arc<Tls>, stop: Tasks) {
        self.show_expiries(&place, tls);
        let (reload, tls) = (self.clone(), Arc::clone(tls));
        self.tasks.spawn(async move {
            tokio::select! {
                () = reload.look(&place, &tls) => {}
                () = stop.stopped() => {}
            }
        });
    }

    async fn look(&self, place: &Place, tls: &Arc<Tls>) {
        let mut watcher = Watcher::new(tls);
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let at = Arc::clone(tls);
            let looking = self.tasks.blocking(move || {
                let found = watcher.look(&at);
                (watcher, found)
            });
            let Ok((back, found)) = looking.await else {
                return;
            };
            watcher = back;
            let Some(outcome) = found else { continue };
            let prefix = format!("{}: ", place.words);
            let mut problems = self.problems.lock();
            problems.retain(|problem| !problem.starts_with(&prefix));
            match outcome {
                Ok(()) => {
                    self.show_expiries(place, tls);
                    let what = "certificates were read again";
                    self.events.tell("CertificateReloaded", &place.object, what);
                }
                Err(errors) => {
                    for error in errors {
                        let text = format!("the old certificate stays: {error}");
                        self.events.tell("CertificateRefused", &place.object, &text);
                        problems.push(format!("{prefix}{text}"));
                    }
                }
            }
        }
    }

    /// `tidegate_certificate_expiry_seconds`, by place; further certificates of
    /// one have their number in its list behind the name.
    fn show_expiries(&self, place: &Place, tls: &Tls) {
        for (number, expires) in tls.expiries().into_iter().enumerate() {
            let label = match number {
                0 => place.label.clone(),
                number => format!("{}[{number}]", place.label),
            };
            self.metrics
                .certificate_expiry_seconds
                .with(&[&label])
                .set(expires);
        }
    }
}
