//! `tidegate wait`: until a resource is healthy, or gone with its replicas.
//!
//! Tells on standard error what it waits for whenever that changes, and ends
//! early where waiting longer is of no use. Called by `cli`, and by the verbs that
//! take `--wait`.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use futures_util::future::try_join_all;
use serde_json::Value;

use super::connect::Gateway;
use super::kind::{Named, one};
use super::row::{self, list, text};
use super::sample::replicas;
use super::{Failure, To, complete, say};
use crate::units::Interval;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(300);
/// Lines of a failed version's log that are shown.
const LOG_LINES: usize = 10;

/// `tidegate wait`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate wait endpoint iris --timeout 2m
  tidegate wait version/iris/green
  tidegate wait endpoint/iris --for=deleted

Exit codes: 1 where it failed, 4 where the time was over.")]
pub struct Wait {
    /// The state to wait for.
    #[arg(
        id = "for",
        long = "for",
        value_name = "STATE",
        default_value = "healthy"
    )]
    state: Wanted,
    /// Then exit code 4.
    #[arg(long, default_value = "60s", value_parser = Interval::parse)]
    timeout: Interval,
    /// endpoint or version; or KIND/NAME, as endpoint/iris and version/iris/blue.
    #[arg(value_name = "KIND", add = ArgValueCompleter::new(complete::kinds))]
    kind: String,
    /// Its name; of a version ENDPOINT/VERSION.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::named))]
    name: Option<String>,
    #[command(flatten)]
    to: To,
}

/// What `wait` can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// Every version answers.
    Healthy,
    /// It is gone, and its replicas have stopped.
    Deleted,
}

/// What a look showed.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It is what was wanted.
    Done,
    /// It will not be: why, and the versions that failed.
    Failed(String, Vec<String>),
    /// Not yet: the state and why.
    NotYet(String),
}

impl Wait {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let named = one(&self.kind, self.name.as_deref())?;
        let gateway = Gateway::find(&self.to)?;
        until(&gateway, &named, self.state, self.timeout).await?;
        say(&format!("{named} is {}", self.state.word()))
    }
}

impl Wanted {
    const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Deleted => "gone",
        }
    }
}

/// Whether and how long a verb that changes something waits for it. Where the
/// verb has `--dry-run`, that conflicts with `wait`.
#[derive(Debug, Clone, Args)]
pub struct Patience {
    /// Then wait until it is healthy, or gone with its replicas where it was
    /// deleted; end early where it fails.
    #[arg(long)]
    wait: bool,
    /// How long to wait; then exit code 4.
    #[arg(long, default_value = "60s", requires = "wait", value_parser = Interval::parse)]
    timeout: Interval,
}

impl Patience {
    /// Whether to wait at all.
    pub(super) const fn waits(&self) -> bool {
        self.wait
    }

    /// Waits where that is wanted, for all of these at once, and says of each what
    /// it is then; the first that fails ends it. A plugin has nothing to wait for.
    pub(super) async fn until(
        &self,
        gateway: &Gateway,
        all: &[Named],
        wanted: Wanted,
    ) -> Result<(), Failure> {
        self.quietly(gateway, all, wanted).await?;
        for named in all
            .iter()
            .filter(|one| self.wait && one.endpoint().is_some())
        {
            say(&format!("{named} is {}", wanted.word()))?;
        }
        Ok(())
    }

    /// The same, without a word on standard output.
    pub(super) async fn quietly(
        &self,
        gateway: &Gateway,
        all: &[Named],
        wanted: Wanted,
    ) -> Result<(), Failure> {
        let waited = all
            .iter()
            .filter(|one| self.wait && one.endpoint().is_some());
        let each = |named| until(gateway, named, wanted, self.timeout);
        try_join_all(waited.map(each)).await.map(drop)
    }
}

/// Waits until one is what is wanted. Says on standard error what it is
/// meanwhile, whenever that changes.
async fn until(
    gateway: &Gateway,
    named: &Named,
    wanted: Wanted,
    timeout: Interval,
) -> Result<(), Failure> {
    let Some(endpoint) = named.endpoint() else {
        return Err(Failure::Usage(
            "a plugin is never on its way: a swap has happened when it ends".to_owned(),
        ));
    };
    let path = format!("/v1/endpoints/{endpoint}");
    let until = Instant::now() + timeout.duration();
    let mut told = String::new();
    loop {
        let found = match wanted {
            Wanted::Deleted => gateway.get_if_there(&path).await?,
            Wanted::Healthy => Some(gateway.get(&path).await?),
        };
        let seen = match look(named, found.as_ref(), wanted)? {
            Seen::Done if wanted == Wanted::Deleted => left(gateway, named).await?,
            seen => seen,
        };
        match seen {
            Seen::Done => return Ok(()),
            Seen::Failed(why, versions) => {
                for version in versions {
                    last_lines(gateway, endpoint, &version).await;
                }
                return Err(Failure::Refused(format!("{named} failed: {why}")));
            }
            Seen::NotYet(now) if now != told => {
                super::complain(&format!("{named} is {now}"));
                told = now;
            }
            Seen::NotYet(_) => {}
        }
        if Instant::now() >= until {
            return Err(Failure::TimedOut(format!(
                "{named} is not {} after {timeout}: it is {told}",
                wanted.word()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether replicas of what is gone are left. The gateway has no status of them
/// any more, but their numbers stay among its metrics until the last has ended.
async fn left(gateway: &Gateway, named: &Named) -> Result<Seen, Failure> {
    let (endpoint, version) = match named {
        Named::Version(endpoint, version) => (endpoint, Some(version.as_str())),
        Named::Endpoint(endpoint) | Named::Plugin(endpoint) => (endpoint, None),
    };
    let metrics = gateway.text("/metrics").await?;
    Ok(if replicas(&metrics, endpoint, version) {
        Seen::NotYet("gone, but its replicas are not: they finish what they have".to_owned())
    } else {
        Seen::Done
    })
}

/// Judges the endpoint that was found, or that there is none.
fn look(named: &Named, found: Option<&Value>, wanted: Wanted) -> Result<Seen, Failure> {
    let Some(endpoint) = found else {
        return Ok(Seen::Done);
    };
    let versions = row::versions(endpoint);
    let (state, reason) = match named {
        Named::Version(of, name) => {
            let version = versions
                .iter()
                .find(|one| text(one, "/metadata/name") == name);
            match (version, wanted) {
                (Some(version), _) => (
                    text(version, "/status/state"),
                    text(version, "/status/reason"),
                ),
                (None, Wanted::Deleted) => return Ok(Seen::Done),
                (None, Wanted::Healthy) => return Err(super::get::no_version(of, name, endpoint)),
            }
        }
        _ => (
            text(endpoint, "/status/state"),
            text(endpoint, "/status/reason"),
        ),
    };
    let now = if reason.is_empty() {
        state.to_owned()
    } else {
        format!("{state}: {reason}")
    };
    if wanted == Wanted::Deleted {
        return Ok(Seen::NotYet(format!("still there, {now}")));
    }
    // An update that failed leaves the endpoint answering with the replicas before it.
    let failed: Vec<&Value> = list(endpoint, "/status/versions")
        .iter()
        .filter(|version| text(version, "/state") == "Failed")
        .filter(|version| match named {
            Named::Version(_, name) => text(version, "/name") == name,
            _ => true,
        })
        .collect();
    if let Some(first) = failed.first() {
        let names = failed.iter().map(|one| text(one, "/name").to_owned());
        let why = match text(first, "/reason") {
            "" => reason,
            why => why,
        };
        let why = format!("version {}: {why}", text(first, "/name"));
        return Ok(Seen::Failed(why, names.collect()));
    }
    Ok(match state {
        "Healthy" => Seen::Done,
        "Failed" => Seen::Failed(reason.to_owned(), Vec::new()),
        _ => Seen::NotYet(now),
    })
}

/// Shows the last lines of a failed version on standard error.
async fn last_lines(gateway: &Gateway, endpoint: &str, version: &str) {
    let lines = super::logs::tail(gateway, endpoint, version, LOG_LINES).await;
    // Without a log the reason alone has to do.
    let Ok(lines) = lines else { return };
    if !lines.is_empty() {
        super::complain(&format!("the last lines of version {version}:"));
        for line in lines {
            super::complain(&format!("  {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoint(state: &str, blue: &str, green: &str) -> Value {
        json!({
            "metadata": { "name": "iris" },
            "spec": { "versions": [{ "name": "blue" }, { "name": "green" }] },
            "status": { "state": state, "reason": "as it is", "versions": [
                { "name": "blue", "state": blue, "reason": "b" },
                { "name": "green", "state": green, "reason": "g" },
            ] },
        })
    }

    fn not_yet(text: &str) -> Seen {
        Seen::NotYet(text.to_owned())
    }

    #[track_caller]
    fn check(name: &str, shown: Option<&Value>, wanted: Wanted, expected: &Seen) {
        let named = match name.split_once('/') {
            Some((endpoint, version)) => Named::Version(endpoint.to_owned(), version.to_owned()),
            None => Named::Endpoint(name.to_owned()),
        };
        assert_eq!(look(&named, shown, wanted).unwrap(), *expected, "{name}");
    }

    #[test]
    fn only_healthy_and_failed_end_a_wait() {
        use Wanted::{Deleted, Healthy};
        let on_its_way = endpoint("Transitioning", "Healthy", "Transitioning");
        check(
            "iris",
            Some(&on_its_way),
            Healthy,
            &not_yet("Transitioning: as it is"),
        );
        check("iris/blue", Some(&on_its_way), Healthy, &Seen::Done);
        check(
            "iris/green",
            Some(&on_its_way),
            Healthy,
            &not_yet("Transitioning: g"),
        );
        let no_room = endpoint("Unschedulable", "Healthy", "Unschedulable");
        check(
            "iris",
            Some(&no_room),
            Healthy,
            &not_yet("Unschedulable: as it is"),
        );
        let done = endpoint("Healthy", "Healthy", "Healthy");
        check("iris", Some(&done), Healthy, &Seen::Done);
        let failed = Seen::Failed("version green: g".to_owned(), vec!["green".to_owned()]);
        let serving = endpoint("Unhealthy", "Healthy", "Failed");
        check("iris", Some(&serving), Healthy, &failed);
        check("iris/green", Some(&serving), Healthy, &failed);
        check("iris/blue", Some(&serving), Healthy, &Seen::Done);
        let policies = endpoint("Failed", "Healthy", "Healthy");
        let failed = Seen::Failed("as it is".to_owned(), Vec::new());
        check("iris", Some(&policies), Healthy, &failed);
        check(
            "iris",
            Some(&done),
            Deleted,
            &not_yet("still there, Healthy: as it is"),
        );
        check("iris", None, Deleted, &Seen::Done);
        check("iris/gray", Some(&done), Deleted, &Seen::Done);
    }
}
