//! `tidegate traffic`: shifts traffic between the versions of an endpoint.
//!
//! One change, whole or not at all. Called by `cli`.

use bytes::Bytes;
use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use http::Method;
use serde_json::{Map, Value, json};

use super::connect::Gateway;
use super::kind::segment;
use super::row::{list, percent, text};
use super::{Failure, To, complete, say};

/// `tidegate traffic`.
#[derive(Debug, Subcommand)]
pub enum Traffic {
    /// Set the shares of an endpoint's versions, as one change.
    #[command(after_help = "Examples:
  tidegate traffic set iris blue=90 green=10
  tidegate traffic set iris green=100")]
    Set {
        /// The endpoint.
        #[arg(add = ArgValueCompleter::new(complete::endpoints))]
        endpoint: String,
        /// VERSION=PERCENT; a version left out gets 0. What is left over goes to the default version.
        #[arg(required = true, value_parser = share, add = ArgValueCompleter::new(complete::shares))]
        shares: Vec<(String, f64)>,
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
        let shown = Gateway::find(to)?
            .send(Method::PUT, &path, "application/json", content)
            .await?;
        for version in list(&shown, "/status/versions") {
            let share = percent(version, "/traffic");
            say(&format!("{endpoint} {} {share}", text(version, "/name")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_version_and_its_percent() {
        assert_eq!(share("blue=90"), Ok(("blue".to_owned(), 90.0)));
        assert_eq!(share("blue=0.5%"), Ok(("blue".to_owned(), 0.5)));
        for wrong in ["blue", "blue=many", "blue=-1", "blue=101", "blue=NaN"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
