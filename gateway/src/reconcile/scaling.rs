//! One version's replicas: started, followed, scaled, drained, stopped.
//!
//! One task per version is the only writer of its fleet's replicas and of their
//! number. What the number should be is `scale`'s rule, fed with the fleet's own
//! counts, never by asking replicas. Used by `reconcile`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::version::VersionState;
use super::{Control, RunningVersion};
use crate::fleet::{Fleet, FleetSettings};
use crate::id::ReplicaId;
use crate::metrics::ExchangeMetrics;
use crate::name::Name;
use crate::resource::{Autoscale, Scale, Version};
use crate::runtime::{ReplicaEvent, Replicas, ReplicasSpec};
use crate::scale::{Bounds, Load, Scaler};

/// How often a version without a scaler looks at its fleet, so that what is over
/// there, such as an ejection, is over in the gauges too.
const IDLE_LOOK: Duration = Duration::from_secs(10);

fn settings(endpoint: &Name, version: &Version) -> FleetSettings {
    let mut settings = FleetSettings::new(
        endpoint.clone(),
        version.name.clone(),
        version.max_concurrent_requests,
        version.queue_capacity,
        version.max_queue_wait,
    );
    settings.warm_up = version.warm_up;
    match &version.scale {
        Scale::Fixed(replicas) => settings.replicas_max = *replicas,
        Scale::Auto(autoscale) => {
            settings.replicas_max = autoscale.max_replicas;
            if autoscale.min_replicas == 0 {
                settings.cold_start_wait = Some(autoscale.cold_start_wait);
            }
        }
    }
    settings
}

fn bounds(version: &Version, autoscale: &Autoscale) -> Bounds {
    Bounds {
        min: autoscale.min_replicas,
        max: autoscale.max_replicas,
        slots: version.max_concurrent_requests,
        target: autoscale.target_utilization,
        scale_down_delay: autoscale.scale_down_delay,
        scale_to_zero_after: autoscale.scale_to_zero_after,
    }
}

/// The task of one version.
struct Driver {
    control: Arc<Control>,
    object: String,
    version: Arc<RunningVersion>,
    replicas: Arc<Replicas>,
    scaler: Option<Scaler>,
}

impl Control {
    /// Makes a version's fleet and starts its replicas.
    pub(super) fn start_version(
        self: &Arc<Self>,
        endpoint: &Name,
        version: &Version,
    ) -> Arc<RunningVersion> {
        let (wanted, needed, scaler) = match &version.scale {
            Scale::Fixed(replicas) => (*replicas, *replicas, None),
            Scale::Auto(autoscale) => {
                let wanted = autoscale.min_replicas;
                let scaler = Scaler::new(bounds(version, autoscale), Instant::now(), wanted);
                (wanted, wanted, Some(scaler))
            }
        };
        let fleet = Fleet::new(settings(endpoint, version), &self.metrics);
        fleet.set_wanted(wanted);
        fleet.set_starting(wanted);
        let spec = Arc::new(version.clone());
        let metrics = ExchangeMetrics::new(&self.metrics, endpoint.as_str(), version.name.as_str());
        let running = Arc::new(RunningVersion {
            spec: Arc::clone(&spec),
            metrics: Arc::new(metrics),
            state: Mutex::new(VersionState::new(wanted, needed)),
            fleet: Arc::clone(&fleet),
        });
        let busy = move |id: &ReplicaId| fleet.busy(id) > 0;
        let (replicas, news) = self.machine.start(
            ReplicasSpec {
                endpoint: endpoint.clone(),
                version: spec,
                busy: Arc::new(busy),
            },
            wanted,
        );
        let driver = Driver {
            control: Arc::clone(self),
            object: format!("endpoint/{endpoint}"),
            version: Arc::clone(&running),
            replicas: Arc::new(replicas),
            scaler,
        };
        drop(self.tasks.spawn(driver.run(news)));
        running
    }
}

impl Driver {
    /// Follows the replicas until the gateway stops; then stops them.
    async fn run(mut self, mut news: mpsc::Receiver<ReplicaEvent>) {
        let refresh = match &self.version.spec.scale {
            Scale::Auto(autoscale) => autoscale.refresh,
            Scale::Fixed(_) => IDLE_LOOK,
        };
        let mut looks = interval(refresh);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = news.recv() => match event {
                    Some(event) => self.take(&event),
                    None => break,
                },
                _ = looks.tick() => self.look(),
                () = self.version.fleet.woken() => self.look(),
                () = self.control.tasks.stopped() => break,
            }
        }
        // The channel is drained beside, or a replica would wait with its news.
        let drain = async { while news.recv().await.is_some() {} };
        tokio::select! {
            () = self.replicas.stop_all() => {}
            () = drain => {}
        }
    }

    fn take(&mut self, event: &ReplicaEvent) {
        if let Some(kind) = self.version.take(event) {
            let message = match event {
                ReplicaEvent::Exited { reason, .. } | ReplicaEvent::NotReady { reason, .. } => {
                    format!("{}: {reason}", event.id())
                }
                _ => event.id().to_string(),
            };
            self.control.events.tell(kind, &self.object, &message);
        }
        let failing = self.version.state.lock().failing();
        // No request may start a first replica while its back-off runs.
        self.version.fleet.set_cold(failing == 0);
    }

    /// Looks at the load and orders what it needs.
    fn look(&mut self) {
        let counts = self.version.fleet.counts();
        let Some(scaler) = &mut self.scaler else {
            return;
        };
        let (failing, draining) = {
            let state = self.version.state.lock();
            (state.failing(), state.draining())
        };
        let before = scaler.wanted();
        let wanted = scaler.look(
            Instant::now(),
            &Load {
                busy: counts.busy,
                queued: counts.queued,
                ready: counts.ready,
                starting: counts.starting,
                failing,
                arrived: counts.arrived,
            },
        );
        if wanted == before {
            return;
        }
        let message = format!(
            "{} from {before} to {wanted} replicas: {} busy, {} queued",
            self.version.spec.name, counts.busy, counts.queued
        );
        self.control.events.tell("Scaled", &self.object, &message);
        self.version.fleet.set_wanted(wanted);
        self.version.state.lock().want(wanted);
        if wanted > before {
            self.version
                .fleet
                .set_starting(counts.starting + (wanted - before));
            self.replicas.want(wanted + draining);
        } else {
            self.take_out(wanted);
        }
    }

    /// Takes replicas out: nothing new, then their exchanges, then SIGTERM.
    fn take_out(&self, wanted: u32) {
        let fleet = &self.version.fleet;
        let leaving = self
            .version
            .state
            .lock()
            .take_out(wanted, |id| fleet.busy(id));
        for id in leaving {
            let fleet = Arc::clone(fleet);
            let replicas = Arc::clone(&self.replicas);
            let bound = self.control.drain;
            drop(self.control.tasks.spawn(async move {
                if timeout(bound, fleet.drain(&id)).await.is_err() {
                    tracing::warn!(replica = %id, "cut after {bound:?} of draining");
                }
                fleet.remove(&id);
                replicas.stop(&id).await;
            }));
        }
    }
}
