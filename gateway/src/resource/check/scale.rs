//! Checks how many replicas a version has, and how they are probed.
//!
//! Called by `version`.

use std::time::Duration;

use crate::resource::check::{At, Check};
use crate::resource::defaults::{
    COLD_START_WAIT, LIVENESS_DELAY, PROBE, REFRESH, REPLICAS, REPLICAS_MAX, SCALE_DOWN_DELAY,
    SCALE_TO_ZERO_AFTER, THRESHOLDS, TIMEOUT, UTILIZATION, WAIT,
};
use crate::resource::node::shown_text;
use crate::resource::raw::endpoint as raw;
use crate::resource::{Autoscale, Probe, Scale};
use crate::units::Percent;

pub(super) fn scale(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Version) -> Scale {
    let enabled = raw.autoscale.as_ref().map(|autoscale| autoscale.enabled);
    if let Some(fixed) = &raw.fixed {
        let key = match (raw.replicas, enabled) {
            (Some(_), _) => Some("replicas"),
            (_, Some(enabled)) if enabled != Some(false) => Some("autoscale"),
            _ => None,
        };
        if let Some(key) = key {
            let message = format!("static has as many replicas as addresses; leave {key} out");
            check.tell(&at.key(key), message);
        }
        let count = fixed.addresses.as_ref().map_or(1, Vec::len);
        return Scale::Fixed(u32::try_from(count).unwrap_or(u32::MAX));
    }
    match (raw.replicas, enabled) {
        (Some(_), Some(enabled)) if enabled != Some(false) => {
            check.tell(at, "both replicas and autoscale; leave one of the two out");
            Scale::Fixed(1)
        }
        (Some(replicas), _) => {
            let count = check.number(&at.key("replicas"), Some(replicas), 1, 0..=REPLICAS_MAX);
            Scale::Fixed(u32::try_from(count).unwrap_or(u32::MAX))
        }
        (None, Some(Some(false))) => {
            check.missing(
                at,
                &["replicas"],
                "autoscale is off and replicas is missing; write replicas: COUNT",
            );
            Scale::Fixed(1)
        }
        (None, _) => {
            let autoscale_raw = raw.autoscale.clone().unwrap_or_default();
            Scale::Auto(autoscale(check, &at.key("autoscale"), &autoscale_raw))
        }
    }
}

fn autoscale(check: &mut Check<'_>, at: &At<'_>, raw: &raw::Autoscale) -> Autoscale {
    let min_at = at.key("minReplicas");
    let min = check.number(&min_at, raw.min_replicas, REPLICAS.0, 0..=REPLICAS_MAX);
    let max_at = at.key("maxReplicas");
    let max = check.number(&max_at, raw.max_replicas, REPLICAS.1, 1..=REPLICAS_MAX);
    if min > max {
        let said = if raw.max_replicas.is_none() {
            " (the default)"
        } else {
            ""
        };
        check.tell(
            &min_at,
            format!("minReplicas of {min} is above maxReplicas of {max}{said}"),
        );
    }
    if raw.scale_to_zero_after.is_some() && min > 0 {
        let message = format!("minReplicas of {min} keeps replicas; write minReplicas: 0");
        check.tell(&at.key("scaleToZeroAfter"), message);
    }
    if raw.cold_start_comments == Some(true) && min > 0 {
        let message = format!("minReplicas of {min} keeps replicas; write minReplicas: 0");
        check.tell(&at.key("coldStartComments"), message);
    }
    let target = raw
        .target_utilization
        .or(Percent::from_percent(UTILIZATION))
        .unwrap_or(Percent::ALL);
    if target.hundredths() < 100 {
        check.tell(
            &at.key("targetUtilization"),
            format!("{target} is out of bounds; 1 to 100"),
        );
    }
    let refresh = Duration::from_millis(100)..=Duration::from_secs(3_600);
    Autoscale {
        min_replicas: u32::try_from(min).unwrap_or(u32::MAX),
        max_replicas: u32::try_from(max).unwrap_or(u32::MAX),
        target_utilization: target,
        refresh: check.duration(&at.key("refresh"), raw.refresh, REFRESH, &refresh),
        scale_down_delay: check.duration(
            &at.key("scaleDownDelay"),
            raw.scale_down_delay,
            SCALE_DOWN_DELAY,
            &WAIT,
        ),
        scale_to_zero_after: check.duration(
            &at.key("scaleToZeroAfter"),
            raw.scale_to_zero_after,
            SCALE_TO_ZERO_AFTER,
            &TIMEOUT,
        ),
        cold_start_wait: check.duration(
            &at.key("coldStartWait"),
            raw.cold_start_wait,
            COLD_START_WAIT,
            &TIMEOUT,
        ),
        cold_start_comments: raw.cold_start_comments.unwrap_or(false),
    }
}

pub(super) fn probe(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: Option<&raw::Probe>,
    initial_delay: Duration,
) -> Probe {
    let raw = raw.cloned().unwrap_or_default();
    if let Some(path) = &raw.path
        && (!path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()))
    {
        let message = format!(
            "{} is not a path: it starts with / and has visible ASCII only",
            shown_text(path)
        );
        check.tell(&at.key("path"), message);
    }
    let period = Duration::from_millis(100)..=Duration::from_secs(3_600);
    let mut threshold = |key: &str, given, default| {
        let count = check.number(&at.key(key), given, default, 1..=1_000);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let success_threshold = threshold("successThreshold", raw.success_threshold, THRESHOLDS.0);
    let failure_threshold = threshold("failureThreshold", raw.failure_threshold, THRESHOLDS.1);
    Probe {
        path: raw.path,
        period: check.duration(&at.key("period"), raw.period, PROBE.0, &period),
        timeout: check.duration(&at.key("timeout"), raw.timeout, PROBE.1, &TIMEOUT),
        success_threshold,
        failure_threshold,
        initial_delay: check.duration(
            &at.key("initialDelay"),
            raw.initial_delay,
            initial_delay,
            &WAIT,
        ),
    }
}

/// None until a path is given: a replica that listens is not judged further.
pub(super) fn liveness(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: Option<&raw::Probe>,
) -> Option<Probe> {
    let checked = probe(check, at, raw, LIVENESS_DELAY);
    checked.path.is_some().then_some(checked)
}
