//! `tidegate plan`: how many replicas a load needs (SEMANTICS §6).
//!
//! For numbers that are given, without a gateway; or for the busiest minute of
//! the last hour of a running endpoint. Orders nothing. Called by `cli`.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::Value;

use super::connect::Gateway;
use super::kind::segment;
use super::row::text;
use super::table::Table;
use super::{Failure, To, complete, say};
use crate::scale::planned;
use crate::units::Percent;

/// `tidegate plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate plan --rps 20 --seconds 10
  tidegate plan --endpoint iris")]
pub struct Plan {
    /// Requests per second.
    #[arg(long, required_unless_present = "endpoint", value_parser = positive)]
    rps: Option<f64>,
    /// Seconds a request takes.
    #[arg(long, required_unless_present = "endpoint", value_parser = positive)]
    seconds: Option<f64>,
    /// Percent of slots that should be busy, 1 to 100.
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u32).range(1..=100))]
    utilization: u32,
    /// Requests that one replica runs at once.
    #[arg(long, default_value_t = NonZeroU32::MIN)]
    concurrency: NonZeroU32,
    /// Of a running endpoint: from its last hour.
    #[arg(long, conflicts_with_all = ["rps", "seconds", "utilization", "concurrency"], add = ArgValueCompleter::new(complete::endpoints))]
    endpoint: Option<String>,
    #[command(flatten)]
    to: To,
}

/// Largest rate and duration that are planned for.
const NUMBER_MAX: f64 = 1e9;

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= NUMBER_MAX => Ok(number),
        _ => Err(format!(
            "{text:?} is not a number above 0 and at most {NUMBER_MAX}"
        )),
    }
}

impl Plan {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        match &self.endpoint {
            None => given(self),
            Some(endpoint) => running(&Gateway::find(&self.to)?, endpoint).await,
        }
    }
}

/// Plans for the numbers of the command line.
fn given(plan: &Plan) -> Result<(), Failure> {
    let (Some(rps), Some(seconds)) = (plan.rps, plan.seconds) else {
        return Err(Failure::Usage(
            "--rps and --seconds, or --endpoint".to_owned(),
        ));
    };
    let target = Percent::from_percent(plan.utilization).unwrap_or(Percent::ALL);
    say(&replicas(rps, seconds, target, plan.concurrency).to_string())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and bounded; more than a thousandth is not planned for"
)]
fn replicas(rps: f64, seconds: f64, target: Percent, slots: NonZeroU32) -> u64 {
    planned(
        (rps * 1000.0).ceil() as u64,
        Duration::from_secs_f64(seconds),
        target,
        slots,
    )
}

/// Plans for the busiest minute of each version of a running endpoint.
async fn running(gateway: &Gateway, endpoint: &str) -> Result<(), Failure> {
    let load = gateway
        .get(&format!("/v1/endpoints/{}/load", segment(endpoint)?))
        .await?;
    let mut table = Table::new(&[
        "VERSION",
        "RPS",
        "SECONDS",
        "UTILIZATION",
        "CONCURRENCY",
        "REPLICAS",
        "PLANNED",
    ]);
    let versions = load.get("versions").and_then(Value::as_array);
    for version in versions.into_iter().flatten() {
        table.add(row(version).iter().map(Into::into).collect());
    }
    table.print()
}

fn row(version: &Value) -> Vec<String> {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let whole = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let minutes = version.get("minutes").and_then(Value::as_array);
    let minutes = minutes.map_or(&[][..], Vec::as_slice);
    let requests = |minute: &&Value| whole(minute, "requests");
    let busiest = minutes
        .iter()
        .max_by_key(requests)
        .map_or(0, |minute| requests(&minute));
    let finished: f64 = minutes
        .iter()
        .map(|minute| number(minute, "finished"))
        .sum();
    let held: f64 = minutes
        .iter()
        .map(|minute| number(minute, "heldSeconds"))
        .sum();
    let target = number(version, "targetUtilization");
    let slots = whole(version, "maxConcurrentRequests").max(1);
    let rps = f64::from(u32::try_from(busiest).unwrap_or(u32::MAX)) / 60.0;
    let seconds = if finished > 0.0 { held / finished } else { 0.0 };
    let percent = Percent::from_percent(target_percent(target)).unwrap_or(Percent::ALL);
    let concurrency = u32::try_from(slots).ok().and_then(NonZeroU32::new);
    let needed = if busiest == 0 || seconds <= 0.0 {
        "-".to_owned()
    } else {
        replicas(
            rps,
            seconds,
            percent,
            concurrency.unwrap_or(NonZeroU32::MIN),
        )
        .to_string()
    };
    vec![
        text(version, "/name").to_owned(),
        format!("{rps:.2}"),
        format!("{seconds:.3}"),
        format!("{target}%"),
        slots.to_string(),
        whole(version, "replicas").to_string(),
        needed,
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentage that a gateway checked"
)]
fn target_percent(target: f64) -> u32 {
    target.clamp(1.0, 100.0).round() as u32
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_example_of_the_manual_gives_286() {
        let target = Percent::from_percent(70).unwrap();
        assert_eq!(replicas(20.0, 10.0, target, NonZeroU32::MIN), 286);
    }

    #[test]
    fn a_running_version_is_planned_for_its_busiest_minute() {
        let version = json!({
            "name": "blue", "maxConcurrentRequests": 1, "targetUtilization": 70.0, "replicas": 2,
            "minutes": [
                { "ago": 1, "requests": 1200, "finished": 1200, "heldSeconds": 12000.0, "peak": 9 },
                { "ago": 0, "requests": 10, "finished": 10, "heldSeconds": 100.0, "peak": 1 },
            ],
        });
        assert_eq!(
            row(&version),
            ["blue", "20.00", "10.000", "70%", "1", "2", "286"]
        );
        let idle = json!({ "name": "blue", "minutes": [] });
        assert_eq!(row(&idle)[6], "-");
    }
}
