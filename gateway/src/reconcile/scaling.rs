//! One version's replicas: started, followed, scaled, drained, stopped.
//!
//! One task per version is the only writer of its fleet's replicas and of their
//! number. What the number should be is `scale`'s rule, fed with the fleet's own
//! counts, never by asking replicas. Used by `reconcile`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::orders::Orders;
use super::status::State;
use super::version::VersionState;
use super::{Control, RunningVersion};
use crate::event::Budget;
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

/// For how long a version that was replaced still takes requests once no
/// exchange holds an entry with it: from its choice to its slot an exchange
/// waits for nothing, but its thread may.
const LINGER: Duration = Duration::from_millis(500);

/// How often a version that is to end looks whether its queue is served.
const QUEUE_LOOK: Duration = Duration::from_millis(20);

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
    endpoint: Name,
    object: String,
    version: Arc<RunningVersion>,
    replicas: Arc<Replicas>,
    scaler: Option<Scaler>,
    settings: watch::Receiver<Arc<Version>>,
    serving: watch::Receiver<bool>,
    /// Of an update: how many replicas those before it have.
    followed: Option<watch::Receiver<u32>>,
    retire: CancellationToken,
    /// The state that was told.
    told: State,
    /// Whether it is kept that these replicas served.
    kept: bool,
    replica_news: Budget,
    state_news: Budget,
}

/// The scaler of a version that has, or is about to have, `wanted` replicas.
fn scaler(version: &Version, wanted: u32) -> Option<Scaler> {
    match &version.scale {
        Scale::Fixed(_) => None,
        Scale::Auto(autoscale) => {
            let bounds = bounds(version, autoscale);
            Some(Scaler::new(bounds, Instant::now(), wanted))
        }
    }
}

/// The number nearest to `wanted` that the version may have.
fn within(version: &Version, wanted: u32) -> u32 {
    match &version.scale {
        Scale::Fixed(replicas) => *replicas,
        Scale::Auto(autoscale) => wanted
            .min(autoscale.max_replicas)
            .max(autoscale.min_replicas),
    }
}

/// How many replicas an update has before it takes over from `wanted`.
fn of_update(version: &Version, wanted: u32) -> u32 {
    match &version.scale {
        Scale::Fixed(replicas) => *replicas,
        Scale::Auto(_) => within(version, wanted.max(1)),
    }
}

fn least(version: &Version) -> u32 {
    match &version.scale {
        Scale::Fixed(replicas) => *replicas,
        Scale::Auto(autoscale) => autoscale.min_replicas,
    }
}

/// What is looked for at every refresh is the scaler's; else what is over is let pass.
fn refresh(version: &Version) -> Duration {
    match &version.scale {
        Scale::Auto(autoscale) => autoscale.refresh,
        Scale::Fixed(_) => IDLE_LOOK,
    }
}

impl Control {
    /// Makes a version's fleet and starts its replicas: as few as may be, or,
    /// where it is to take over from one under load, as many as that has, and
    /// one at least: that it comes up is to be seen before.
    pub(super) fn start_version(
        self: &Arc<Self>,
        endpoint: &Name,
        version: &Version,
        before: Option<&RunningVersion>,
    ) -> Arc<RunningVersion> {
        let wanted = match before {
            None => least(version),
            Some(before) => of_update(version, before.state.lock().wanted()),
        };
        let fleet = Fleet::new(settings(endpoint, version), &self.metrics);
        fleet.set_wanted(wanted);
        fleet.set_starting(wanted);
        let spec = Arc::new(version.clone());
        let metrics = ExchangeMetrics::new(&self.metrics, endpoint.as_str(), version.name.as_str());
        let (sender, receiver) = watch::channel(Arc::clone(&spec));
        let (serving, serves) = watch::channel(before.is_none());
        let retire = CancellationToken::new();
        let running = Arc::new(RunningVersion {
            spec: Arc::clone(&spec),
            started: Arc::clone(&spec),
            metrics: Arc::new(metrics),
            state: Arc::new(Mutex::new(VersionState::new(wanted))),
            fleet: Arc::clone(&fleet),
            orders: Arc::new(Orders {
                settings: sender,
                serving,
                wanted: watch::channel(wanted).0,
                retire: retire.clone(),
                entries: Mutex::default(),
            }),
        });
        let conduct = move |id: &ReplicaId| fleet.conduct(id);
        let (replicas, news) = self.machine.start(
            ReplicasSpec {
                endpoint: endpoint.clone(),
                version: Arc::clone(&spec),
                conduct: Arc::new(conduct),
            },
            wanted,
        );
        running.place(replicas.ids());
        let driver = Driver {
            control: Arc::clone(self),
            endpoint: endpoint.clone(),
            object: format!("endpoint/{endpoint}"),
            version: Arc::clone(&running),
            replicas: Arc::new(replicas),
            scaler: before.is_none().then(|| scaler(&spec, wanted)).flatten(),
            settings: receiver,
            serving: serves,
            followed: before.map(|before| before.orders.wanted.subscribe()),
            retire,
            told: running.state.lock().state().0,
            kept: false,
            replica_news: Budget::new(Instant::now()),
            state_news: Budget::new(Instant::now()),
        };
        drop(self.tasks.spawn(driver.run(news)));
        running
    }
}

impl Driver {
    /// Follows the replicas until the version is retired or the gateway stops.
    async fn run(mut self, mut news: mpsc::Receiver<ReplicaEvent>) {
        let mut looks = looks(refresh(&self.version.spec));
        loop {
            tokio::select! {
                event = news.recv() => match event {
                    Some(event) => self.take(&event),
                    None => break,
                },
                _ = looks.tick() => self.look(),
                () = self.version.fleet.woken() => self.look(),
                changed = self.settings.changed() => if changed.is_ok() {
                    looks = self.change();
                },
                served = self.serving.changed() => if served.is_ok() {
                    looks = self.change();
                },
                wanted = followed(&mut self.followed) => self.follow(wanted),
                () = self.retire.cancelled() => break,
                () = self.control.tasks.stopped() => break,
            }
        }
        // News is still taken, or a replica would wait with it.
        let end = self.end();
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                event = news.recv() => match event {
                    Some(event) => drop(self.version.take(&event)),
                    None => {
                        end.as_mut().await;
                        break;
                    }
                },
            }
        }
    }

    /// Waits until those that drain are gone, then stops whatever is left.
    async fn end(&self) {
        let fleet = &self.version.fleet;
        let drained = async {
            self.queue_served().await;
            self.take_out(0);
            for replica in fleet.replicas() {
                fleet.drain(&replica.id).await;
            }
        };
        if self.retire.is_cancelled() {
            tokio::select! {
                drained = timeout(self.control.drain, drained) => drop(drained),
                () = self.control.tasks.stopped() => {}
            }
        }
        self.replicas.stop_all().await;
    }

    /// Ends when nobody may still choose this version, as policies are asked for
    /// those who were routed before it was replaced, and nobody waits who did.
    async fn queue_served(&self) {
        while self.version.orders.is_shown() {
            sleep(QUEUE_LOOK).await;
        }
        sleep(LINGER).await;
        while self.version.fleet.counts().queued > 0 {
            sleep(QUEUE_LOOK).await;
        }
    }

    /// Other settings, of the fleet and of the scaler; or requests come now.
    fn change(&mut self) -> Interval {
        let version = Arc::clone(&self.settings.borrow_and_update());
        self.version
            .fleet
            .update(settings(&self.endpoint, &version));
        let before = self.version.state.lock().wanted();
        let wanted = within(&version, before);
        let serving = *self.serving.borrow_and_update();
        if serving {
            self.followed = None;
        }
        match (&mut self.scaler, &version.scale) {
            (Some(scaler), Scale::Auto(autoscale)) => scaler.update(bounds(&version, autoscale)),
            (old, _) => *old = serving.then(|| scaler(&version, wanted)).flatten(),
        }
        let needed = if serving { least(&version) } else { wanted };
        self.version.state.lock().need(needed);
        self.order(before, wanted);
        self.tell_state();
        looks(refresh(&version))
    }

    /// Those before have another number of replicas now; so has the update.
    fn follow(&mut self, wanted: u32) {
        let version = Arc::clone(&self.settings.borrow());
        let before = self.version.state.lock().wanted();
        let wanted = of_update(&version, wanted);
        self.version.state.lock().need(wanted);
        self.order(before, wanted);
    }

    fn take(&mut self, event: &ReplicaEvent) {
        if let Some(kind) = self.version.take(event) {
            let message = match event {
                ReplicaEvent::Exited { reason, .. } | ReplicaEvent::NotReady { reason, .. } => {
                    format!("{}: {reason}", event.id())
                }
                _ => event.id().to_string(),
            };
            let told = self.replica_news.take(Instant::now(), &message);
            if let Some(message) = told {
                self.control.events.tell(kind, &self.object, &message);
            }
        }
        let failing = self.version.state.lock().failing();
        // No request may start a first replica while its back-off runs.
        self.version.fleet.set_cold(failing == 0);
        self.tell_state();
    }

    /// Tells where the state is another one than before.
    fn tell_state(&mut self) {
        let (state, reason) = self.version.state.lock().state();
        self.control.observe(&self.endpoint);
        self.keep_served(state);
        if std::mem::replace(&mut self.told, state) == state {
            return;
        }
        let name = &self.version.spec.name;
        let (kind, message) = match (state, *self.serving.borrow()) {
            (State::Healthy, true) => ("Healthy", format!("version {name} is healthy")),
            (State::Unhealthy, true) => ("Unhealthy", format!("version {name}: {reason}")),
            (State::Failed, true) => ("Failed", format!("version {name}: {reason}")),
            (State::Failed, false) => (
                "UpdateFailed",
                format!("version {name}: the replicas before it serve; {reason}"),
            ),
            _ => return,
        };
        if let Some(message) = self.state_news.take(Instant::now(), &message) {
            self.control.events.tell(kind, &self.object, &message);
        }
    }

    /// Keeps, once, that these replicas came up and served.
    fn keep_served(&mut self, state: State) {
        let serves = state == State::Healthy && *self.serving.borrow();
        if serves && !self.kept && self.version.fleet.counts().ready > 0 {
            self.kept = self.control.keep_served(&self.endpoint, &self.version);
        }
    }

    /// Looks at the load and orders what it needs.
    fn look(&mut self) {
        if !self.kept {
            let state = self.version.state.lock().state().0;
            self.keep_served(state);
        }
        let counts = self.version.fleet.counts();
        let Some(scaler) = &mut self.scaler else {
            return;
        };
        let failing = self.version.state.lock().failing();
        let before = self.version.state.lock().wanted();
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
        if wanted != before {
            let message = format!(
                "{} from {before} to {wanted} replicas: {} busy, {} queued",
                self.version.spec.name, counts.busy, counts.queued
            );
            self.control.events.tell("Scaled", &self.object, &message);
            self.order(before, wanted);
        }
    }

    fn order(&self, before: u32, wanted: u32) {
        let fleet = &self.version.fleet;
        fleet.set_wanted(wanted);
        self.version.state.lock().want(wanted);
        self.version.orders.wanted.send_replace(wanted);
        if wanted > before {
            self.replicas.want(wanted);
            self.version.place(self.replicas.ids());
        } else if wanted < before {
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
            self.replicas.leave(&id);
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

/// The next number of replicas of those that an update follows. Cancel-safe.
async fn followed(wanted: &mut Option<watch::Receiver<u32>>) -> u32 {
    if let Some(wanted) = wanted
        && wanted.changed().await.is_ok()
    {
        return *wanted.borrow_and_update();
    }
    std::future::pending().await
}

fn looks(every: Duration) -> Interval {
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}
