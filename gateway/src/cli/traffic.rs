//! `tidegate traffic`: shifts traffic between the versions of an endpoint.
//!
//! One change, whole or not at all. Called by `cli`.

use bytes::Bytes;
use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use http::Method;
use serde_json::{Map, Value, json};

use super::connect::Gateway;
use super::kind::{Named, segment};
use super::row::{self, list, percent, text};
use super::wait::{Patience, Wanted};
use super::{Failure, To, complete, say};

/// `tidegate traffic`.
#[derive(Debug, Subcommand)]
pub enum Traffic {
    /// Set the shares of an endpoint's versions, as one change.
    #[command(after_help = "Examples:
  tidegate traffic set iris blue=90 green=10
  tidegate traffic set iris green=100
  tidegate traffic set iris blue=50 green=50 --wait --timeout 5m

With --wait it waits for every version that is to get traffic.")]
    Set {
        /// The endpoint.
        #[arg(add = ArgValueCompleter::new(complete::endpoints))]
        endpoint: String,
        /// VERSION=PERCENT; a version left out gets 0. What is left over goes to the default version.
        #[arg(required = true, value_parser = share, add = ArgValueCompleter::new(complete::shares))]
        shares: Vec<(String, f64)>,
        /// Whether to wait for the versions that are to get traffic.
        #[command(flatten)]
        patience: Patience,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
}

fn share(given: &str) -> Result<(String, f64), String> {
    let wrong = || format!("{given:?} is not VERSION=PERCENT, as in blue=90");
    let (version, percent) = given.split_once('=').ok_or_else(wrong)?;
    let percent: f64 = percent.trim_end_matches('%').parse().map_err(|_| wrong())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(format!("{percent} is not a percentage from 0 to 100"));
    }
    Ok((version.to_owned(), percent))
}

impl Traffic {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let Self::Set {
            endpoint,
            shares,
            patience,
            to,
        } = self;
        let mut body = Map::new();
        for (version, percent) in shares {
            if body.insert(version.clone(), json!(percent)).is_some() {
                return Err(Failure::Usage(format!("version {version} twice")));
            }
        }
        let path = format!("/v1/endpoints/{}/traffic", segment(endpoint)?);
        let content = Bytes::from(Value::Object(body).to_string());
        let gateway = Gateway::find(to)?;
        let shown = gateway
            .send(Method::PUT, &path, "application/json", content)
            .await?;
        for version in list(&shown, "/status/versions") {
            let share = percent(version, "/traffic");
            say(&format!("{endpoint} {} {share}", text(version, "/name")))?;
        }
        let meant = meant(&shown, endpoint, shares);
        patience.until(&gateway, &meant, Wanted::Healthy).await
    }
}

/// The versions that these shares are for: those with one, and the default
/// where something is left over. What they get now may be less, as long as one
/// of them is not ready.
fn meant(shown: &Value, endpoint: &str, shares: &[(String, f64)]) -> Vec<Named> {
    // Shares have decimals, which do not add up as floats.
    let all: f64 = shares.iter().map(|(_, share)| share).sum();
    let rests = all < 100.0 - 1e-6;
    let versions = row::versions(shown);
    let names = versions.iter().filter_map(|version| {
        let name = text(version, "/metadata/name");
        let rest = version.pointer("/spec/default") == Some(&Value::Bool(true)) && rests;
        let own = shares.iter().any(|(of, share)| of == name && *share > 0.0);
        (own || rest).then(|| name.to_owned())
    });
    let named = |name| Named::Version(endpoint.to_owned(), name);
    names.map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_meant(shares: &[(&str, f64)], expected: &[&str]) {
        let shown = json!({ "spec": { "versions": [{ "name": "blue" }, { "name": "green" }] } });
        let shares: Vec<_> = shares
            .iter()
            .map(|(of, share)| ((*of).to_owned(), *share))
            .collect();
        let found: Vec<_> = meant(&shown, "iris", &shares)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, expected, "{shares:?}");
    }

    #[test]
    fn the_default_is_meant_where_something_is_left_over() {
        check_meant(
            &[("green", 10.0)],
            &["version/iris/blue", "version/iris/green"],
        );
        check_meant(&[("green", 100.0)], &["version/iris/green"]);
        check_meant(&[("green", 0.0)], &["version/iris/blue"]);
        check_meant(
            &[("blue", 50.0), ("green", 50.0)],
            &["version/iris/blue", "version/iris/green"],
        );
    }

    #[test]
    fn a_share_is_a_version_and_its_percent() {
        assert_eq!(share("blue=90"), Ok(("blue".to_owned(), 90.0)));
        assert_eq!(share("blue=0.5%"), Ok(("blue".to_owned(), 0.5)));
        for wrong in ["blue", "blue=many", "blue=-1", "blue=101", "blue=NaN"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
