//! `deploymentconfig.json` of the original: the checks of its client, and what
//! each setting means for an endpoint and a version.
//!
//! The defaults are those of SEMANTICS §4, so a setting that was left out stays
//! out. Used by `import`.

use crate::name::Name;
use crate::resource::Source;
use crate::units::{Interval, Percent};

use super::compute::{COMPUTES, Compute, TABLE};
use super::source::Settings;
use super::yaml::{Map, Value};

/// A deployment, read and checked.
#[derive(Debug)]
pub(super) struct Deployment {
    /// Where it ran.
    pub(super) compute: Compute,
    /// What the file says.
    pub(super) settings: Settings,
}

impl Deployment {
    /// What a deployment is of which there is no file: all defaults of `aks`.
    pub(super) fn of_no_file() -> Self {
        Self {
            compute: Compute::Aks,
            settings: Settings::none(),
        }
    }

    /// Reads a file; its problems are in the settings.
    pub(super) fn read(source: &Source) -> Self {
        let mut settings = Settings::read(source, TABLE);
        let compute = compute(&mut settings);
        check_scale(&mut settings);
        check_auth(&mut settings);
        check_resources(&mut settings);
        check_names(&mut settings);
        check_tls(&mut settings);
        if let Some(compute) = compute {
            foreign(compute, &mut settings);
        }
        settings.sort();
        Self {
            compute: compute.unwrap_or(Compute::Aks),
            settings,
        }
    }

    /// Whether the original's client would have read the setting; else it is as if left out.
    fn reads(&self, path: &str) -> bool {
        self.settings.has(path) && self.compute.reads(path)
    }

    /// The version's name, where the file has one.
    pub(super) fn version(&self) -> Option<Name> {
        let text = self.settings.text("versionName");
        let text = text.filter(|_| self.reads("versionName"))?;
        Name::parse(text).ok()
    }

    /// `spec.auth`.
    pub(super) fn auth(&self, spec: &mut Map) {
        let flag = |path: &str| self.settings.flag(path).filter(|_| self.reads(path));
        let mut auth = Map::default();
        match (flag("authEnabled"), flag("tokenAuthEnabled")) {
            (_, Some(true)) => {
                auth.note("tokenAuthEnabled: tokens come with a later version (mode: token); until then callers need a key.");
                auth.word("mode", "key");
            }
            (Some(false), _) => {
                auth.note("authEnabled is false: everybody may call.");
                auth.word("mode", "none");
            }
            (None, _) if !self.compute.routed() => {
                auth.note(format!(
                    "{} asks nobody for a key unless told to; leave this out and callers need one.",
                    self.compute.word()
                ));
                auth.word("mode", "none");
            }
            _ => auth.word("mode", "key"),
        }
        spec.map("auth", auth);
    }

    /// `spec.collect`.
    pub(super) fn collect(&self, spec: &mut Map) {
        let path = "dataCollection.storageEnabled";
        if self.settings.flag(path) != Some(true) || !self.reads(path) {
            return;
        }
        let mut config = Map::default();
        let kept = ["inputs", "predictions"].map(str::to_owned).to_vec();
        config.key("designations", Value::Texts(kept));
        let mut binding = Map::default();
        binding.note(
            "dataCollection.storageEnabled: the original kept what score.py gave to its ModelDataCollector; here the \
             gateway keeps requests and answers, and score.py needs no code for it.",
        );
        binding.text("plugin", "model-data");
        binding.map("config", config);
        spec.key("collect", Value::Maps(vec![binding]));
    }

    /// What the version is for people and which share it has.
    pub(super) fn share(&self, version: &mut Map) {
        let percent = self.settings.percent("trafficPercentile");
        let percent = percent.filter(|_| self.reads("trafficPercentile"));
        if self.compute == Compute::AksEndpoint {
            version.note(
                "What the percentages of all versions leave over goes to the default one, on top of its own.",
            );
            version.word("traffic", percent.unwrap_or(Percent::ZERO));
        } else {
            version.word("traffic", 100);
        }
        if self.reads("isDefault") && self.settings.flag("isDefault") == Some(false) {
            version.note(
                "isDefault is false: mark another version as the default as soon as there is one; a single version is it.",
            );
        } else {
            version.word("default", true);
        }
        if let Some(kind) = self.settings.text("type").filter(|_| self.reads("type")) {
            version.text("type", kind.to_ascii_lowercase());
        }
        if let Some(text) = self
            .settings
            .text("description")
            .filter(|_| self.reads("description"))
        {
            version.text("description", text);
        }
        for (key, paths) in [
            ("tags", &["kvTags", "tags"][..]),
            ("properties", &["properties"]),
        ] {
            let mut map = Map::default();
            let given = paths.iter().filter(|path| self.reads(path));
            let all: std::collections::BTreeMap<String, String> =
                given.flat_map(|path| self.settings.texts(path)).collect();
            for (name, value) in all {
                map.text(&name, value);
            }
            version.map(key, map);
        }
    }

    /// How many replicas, how requests wait, how replicas are judged, what they use.
    pub(super) fn scaling(&self, version: &mut Map) {
        self.replicas(version);
        let whole = |path: &str| self.settings.whole(path).filter(|_| self.reads(path));
        if let Some(slots) = whole("maxConcurrentRequestsPerContainer") {
            if slots > 1 {
                version.note(
                    "azmlinfsrv computes one request at a time; with WORKER_COUNT in process.env it has that many workers.",
                );
            }
            version.word("maxConcurrentRequests", slots);
        }
        if let Some(ms) = whole("maxQueueWaitMs") {
            version.word("maxQueueWait", Interval::from_millis(ms));
        } else if !self.compute.routed() {
            version.note(format!(
                "{} has no router that would turn a request away, so they wait in the server.",
                self.compute.word()
            ));
            version.word("maxQueueWait", "60s");
        }
        if let Some(ms) = whole("scoringTimeoutMs") {
            version.word("scoringTimeout", Interval::from_millis(ms));
        }
        self.probes(version);
        self.resources(version);
    }

    fn replicas(&self, version: &mut Map) {
        let whole = |path: &str| self.settings.whole(path).filter(|_| self.reads(path));
        if !self.compute.routed() {
            version.note(format!("{} is one container.", self.compute.word()));
            version.word("replicas", 1);
            return;
        }
        if let Some(count) = whole("numReplicas") {
            version.word("replicas", count);
            return;
        }
        let mut autoscale = Map::default();
        for (key, path) in [
            ("minReplicas", "autoScaler.minReplicas"),
            ("maxReplicas", "autoScaler.maxReplicas"),
        ] {
            if let Some(count) = whole(path) {
                autoscale.word(key, count);
            }
        }
        if let Some(percent) = self.settings.percent("autoScaler.targetUtilization") {
            autoscale.word("targetUtilization", percent);
        }
        if let Some(seconds) = whole("autoScaler.refreshPeriodInSeconds") {
            autoscale.word("refresh", Interval::from_millis(seconds * 1000));
        }
        version.map("autoscale", autoscale);
    }

    fn probes(&self, version: &mut Map) {
        let whole = |name: &str| {
            let path = format!("livenessProbeRequirements.{name}");
            self.settings.whole(&path).filter(|_| self.reads(&path))
        };
        let mut readiness = Map::default();
        readiness.note(
            "azmlinfsrv opens its port before the model is loaded, so a connect says too little.",
        );
        readiness.text("path", "/");
        version.map("readiness", readiness);
        if !self.compute.routed() {
            return;
        }
        let mut liveness = Map::default();
        liveness.note("The original probes GET / always; leave this out and a replica is started again only when it ends.");
        liveness.text("path", "/");
        for (key, name) in [
            ("period", "periodSeconds"),
            ("timeout", "timeoutSeconds"),
            ("initialDelay", "initialDelaySeconds"),
        ] {
            if let Some(seconds) = whole(name) {
                liveness.word(key, Interval::from_millis(seconds * 1000));
            }
        }
        for (key, name) in [
            ("successThreshold", "successThreshold"),
            ("failureThreshold", "failureThreshold"),
        ] {
            if let Some(count) = whole(name) {
                liveness.word(key, count);
            }
        }
        version.map("liveness", liveness);
    }

    fn resources(&self, version: &mut Map) {
        let path = |name: &str| format!("containerResourceRequirements.{name}");
        let amounts = |cpu: &str, memory: &str| {
            let (cpu, memory) = (path(cpu), path(memory));
            let mut map = Map::default();
            if let Some(cpu) = self.settings.cpu(&cpu).filter(|_| self.reads(&cpu)) {
                map.text("cpu", cpu.to_string());
            }
            if let Some(bytes) = self
                .settings
                .memory(&memory)
                .filter(|_| self.reads(&memory))
            {
                map.text("memory", decimal(bytes.bytes()));
            }
            map
        };
        let mut resources = Map::default();
        resources.map("requests", amounts("cpu", "memoryInGB"));
        resources.map("limits", amounts("cpuLimit", "memoryInGBLimit"));
        let count = self
            .settings
            .whole("gpuCores")
            .filter(|_| self.reads("gpuCores"));
        if let Some(count) = count {
            let mut gpu = Map::default();
            gpu.word("count", count);
            resources.map("gpu", gpu);
        }
        if resources.is_empty() {
            return;
        }
        version.note("Kept and shown; a process of this machine is not held to it.");
        version.map("resources", resources);
    }
}

/// Bytes as the original counts them.
fn decimal(bytes: u64) -> String {
    for (unit, size) in [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)] {
        if bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

fn compute(settings: &mut Settings) -> Option<Compute> {
    let words = COMPUTES.map(|(word, _)| word).join(", ");
    let Some(text) = settings.text("computeType").map(str::to_ascii_lowercase) else {
        // Where it is no text, or the file none of ours, that has been told.
        if settings.problems.is_empty() {
            settings.tell(
                "computeType",
                format!("computeType is missing; one of {words}"),
            );
        }
        return None;
    };
    let found = COMPUTES.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let why = format!("{text:?} is no type of computing; one of {words}");
        settings.tell("computeType", why);
    }
    found.map(|(_, compute)| *compute)
}

/// What the client of the original refuses, in its words.
fn check_scale(settings: &mut Settings) {
    let enabled = settings.flag("autoScaler.autoscaleEnabled");
    let replicas = settings.has("numReplicas");
    match (enabled, replicas) {
        (Some(true), true) => settings.tell(
            "numReplicas",
            "autoscale enabled and numReplicas provided; leave one of the two out",
        ),
        (Some(false), false) => settings.tell(
            "autoScaler.autoscaleEnabled",
            "autoscale disabled but numReplicas not provided; add numReplicas",
        ),
        _ => {}
    }
    if enabled == Some(false) || (enabled.is_none() && replicas) {
        let others = [
            "minReplicas",
            "maxReplicas",
            "refreshPeriodInSeconds",
            "targetUtilization",
        ];
        for path in others.map(|name| format!("autoScaler.{name}")) {
            if settings.has(&path) {
                settings.tell(&path, "provided without enabling autoscaling; leave it out");
            }
        }
    }
    let least = settings.whole("autoScaler.minReplicas").unwrap_or(1);
    let most = settings.whole("autoScaler.maxReplicas").unwrap_or(10);
    if least > most {
        let why = format!("minReplicas of {least} is above maxReplicas of {most}");
        settings.tell("autoScaler.minReplicas", why);
    }
}

fn check_auth(settings: &mut Settings) {
    if settings.flag("authEnabled") == Some(true) && settings.flag("tokenAuthEnabled") == Some(true)
    {
        settings.tell(
            "tokenAuthEnabled",
            "authEnabled and tokenAuthEnabled cannot both be true; one of the two says how callers are known",
        );
    }
}

fn check_resources(settings: &mut Settings) {
    let path = |name: &str| format!("containerResourceRequirements.{name}");
    let cpu = (settings.cpu(&path("cpu")), settings.cpu(&path("cpuLimit")));
    if let (Some(request), Some(limit)) = cpu
        && limit < request
    {
        let why = format!("a limit of {limit} is below the request of {request}");
        settings.tell(&path("cpuLimit"), why);
    }
    let memory = (
        settings.memory(&path("memoryInGB")),
        settings.memory(&path("memoryInGBLimit")),
    );
    if let (Some(request), Some(limit)) = memory
        && limit < request
    {
        let why = format!("a limit of {limit} is below the request of {request}");
        settings.tell(&path("memoryInGBLimit"), why);
    }
}

fn check_names(settings: &mut Settings) {
    if let Some(Err(error)) = settings.text("versionName").map(Name::parse) {
        settings.tell("versionName", error.to_string());
    }
    let namespace = settings.text("namespace").map(str::to_owned);
    if let Some(namespace) = namespace.filter(|text| !is_label(text)) {
        let why = format!(
            "{namespace:?} is no namespace: 1 to 63 lower-case letters, digits and `-`, none of these first or last"
        );
        settings.tell("namespace", why);
    }
    let kind = settings.text("type").map(str::to_ascii_lowercase);
    if let Some(kind) = kind.filter(|kind| !["control", "treatment"].contains(&kind.as_str())) {
        settings.tell("type", format!("{kind:?} is neither Control nor Treatment"));
    }
}

fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn check_tls(settings: &mut Settings) {
    let enabled = settings.flag("sslEnabled") == Some(true);
    for path in ["sslCertificate", "sslKey"] {
        if enabled && !settings.has(path) {
            settings.tell(path, format!("sslEnabled is true and {path} is missing"));
        }
    }
}

/// Notes what the original's client did not read for this type.
fn foreign(compute: Compute, settings: &mut Settings) {
    for path in settings.paths() {
        if !compute.reads(path) {
            let why = format!(
                "{path}: {} has no such setting, and the original ignored it; left out",
                compute.word()
            );
            // Not told twice where it would have no equal anyway.
            let begins = format!("{path}: ");
            settings.notes.retain(|note| !note.starts_with(&begins));
            settings.notes.push(why);
        }
    }
}
