//! The collect policy `model-data`: bodies of requests and answers, as they came,
//! for the designations that the binding asks for.
//!
//! Keeps the content type and never looks into a body; what came before it in the
//! chain goes on unchanged, in front. Only an answer of the model that succeeded is
//! a prediction.

use serde::Deserialize;
use tidegate_sdk::collect::{Body, Collect, Designation, Entry, Exchange, Outcome};
use tidegate_sdk::{PluginError, Problems, Settings};

/// The type of a body that said none (RFC 9110, 8.3).
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// What marks a body that was cut at the binding's `bodyBytes` or broke off.
const INCOMPLETE: &str = "; incomplete=true";

/// The binding's `config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    designations: Vec<Kept>,
    incomplete: Incomplete,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            designations: vec![Kept::Inputs, Kept::Predictions],
            incomplete: Incomplete::Mark,
        }
    }
}

/// What a body can be kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Inputs,
    Predictions,
    Request,
    Response,
}

/// What becomes of a body that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Incomplete {
    Mark,
    Skip,
}

/// The policy.
#[derive(Debug)]
struct ModelData {
    config: Config,
}

impl Collect for ModelData {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        let config: Config = settings.parse()?;
        let mut problems = Problems::new();
        if config.designations.is_empty() {
            problems.add("designations", "is empty, so nothing would be kept");
        }
        for (at, kept) in config.designations.iter().enumerate() {
            if config
                .designations
                .iter()
                .take(at)
                .any(|earlier| earlier == kept)
            {
                problems.add(format!("designations[{at}]"), "stands there twice");
            }
        }
        problems.or(Self { config })
    }

    fn collect(
        &self,
        batch: Vec<Exchange>,
        mut entries: Vec<Entry>,
    ) -> Result<Vec<Entry>, PluginError> {
        for (index, exchange) in (0_u32..).zip(batch) {
            self.keep(index, exchange, &mut entries);
        }
        Ok(entries)
    }
}

tidegate_sdk::export!(ModelData as collect);

impl ModelData {
    fn keep(&self, index: u32, mut exchange: Exchange, entries: &mut Vec<Entry>) {
        let predicted =
            exchange.outcome == Outcome::Answered && (200..300).contains(&exchange.status);
        let request_type = content_type(exchange.request_header("content-type"));
        let response_type = content_type(exchange.response_header("content-type"));
        let (mut request, mut response) =
            (exchange.request_body.take(), exchange.response_body.take());
        for (at, kept) in self.config.designations.iter().enumerate() {
            let (designation, body, content_type) = match kept {
                Kept::Inputs => (Designation::Inputs, &mut request, &request_type),
                Kept::Request => (Designation::Request, &mut request, &request_type),
                Kept::Predictions if !predicted => continue,
                Kept::Predictions => (Designation::Predictions, &mut response, &response_type),
                Kept::Response => (Designation::Response, &mut response, &response_type),
            };
            let again = self
                .config
                .designations
                .iter()
                .skip(at + 1)
                .any(|later| later.of_request() == kept.of_request());
            let body = if again { body.clone() } else { body.take() };
            entries
                .extend(body.and_then(|body| self.entry(designation, index, content_type, body)));
        }
    }

    /// The entry of one body; none for an empty one, and none for a cut one where
    /// the binding says so.
    fn entry(
        &self,
        designation: Designation,
        index: u32,
        content_type: &str,
        body: Body,
    ) -> Option<Entry> {
        if !body.complete && self.config.incomplete == Incomplete::Skip || body.data.is_empty() {
            return None;
        }
        let mut content_type = content_type.to_owned();
        if !body.complete {
            content_type.push_str(INCOMPLETE);
        }
        Some(Entry {
            designation,
            exchange: Some(index),
            content_type,
            data: body.data,
        })
    }
}

impl Kept {
    fn of_request(self) -> bool {
        matches!(self, Self::Inputs | Self::Request)
    }
}

/// The content type that a message said.
fn content_type(value: Option<&[u8]>) -> String {
    let said = value
        .and_then(|value| core::str::from_utf8(value).ok())
        .map(str::trim);
    said.filter(|said| !said.is_empty())
        .unwrap_or(UNKNOWN_TYPE)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_sdk::Request;

    fn policy(config: &str) -> ModelData {
        ModelData::new(Settings::from_json(config)).unwrap()
    }

    fn scored() -> Exchange {
        let request = Request::to("/score").with_header("content-type", "application/json");
        Exchange::answered(request, "blue")
            .with_request_body(r#"{"x":1}"#)
            .with_response_body("text/csv", "0.5\n")
    }

    #[track_caller]
    fn check(config: &str, exchange: Exchange, expected: &[(Designation, &str, &[u8])]) {
        let entries = policy(config).collect(vec![exchange], Vec::new()).unwrap();
        let found: Vec<_> = entries
            .iter()
            .map(|entry| {
                (
                    entry.designation,
                    entry.content_type.as_str(),
                    entry.data.as_slice(),
                )
            })
            .collect();
        assert_eq!(found, expected);
        assert!(entries.iter().all(|entry| entry.exchange == Some(0)));
    }

    const INPUT: (Designation, &str, &[u8]) =
        (Designation::Inputs, "application/json", br#"{"x":1}"#);
    const PREDICTION: (Designation, &str, &[u8]) = (Designation::Predictions, "text/csv", b"0.5\n");

    #[test]
    fn both_bodies_are_kept_with_their_types() {
        check("{}", scored(), &[INPUT, PREDICTION]);
    }

    #[test]
    fn only_what_is_asked_for_is_kept() {
        check(
            r#"{"designations":["predictions"]}"#,
            scored(),
            &[PREDICTION],
        );
        check(
            r#"{"designations":["request","inputs","response"]}"#,
            scored(),
            &[
                (Designation::Request, INPUT.1, INPUT.2),
                INPUT,
                (Designation::Response, PREDICTION.1, PREDICTION.2),
            ],
        );
    }

    #[test]
    fn an_error_of_the_model_is_no_prediction_but_a_response() {
        let failed = |status, outcome| Exchange {
            status,
            outcome,
            ..scored()
        };
        check("{}", failed(500, Outcome::ModelError), &[INPUT]);
        check("{}", failed(422, Outcome::Answered), &[INPUT]);
        check("{}", failed(200, Outcome::BrokenOff), &[INPUT]);
        check(
            r#"{"designations":["response"]}"#,
            failed(500, Outcome::ModelError),
            &[(Designation::Response, "text/csv", b"0.5\n")],
        );
    }

    #[test]
    fn a_cut_body_is_marked_or_skipped() {
        let mut cut = scored();
        cut.request_body = Some(Body {
            data: b"{\"x\"".to_vec(),
            complete: false,
        });
        let marked = (
            Designation::Inputs,
            "application/json; incomplete=true",
            b"{\"x\"".as_slice(),
        );
        check("{}", cut.clone(), &[marked, PREDICTION]);
        check(r#"{"incomplete":"skip"}"#, cut, &[PREDICTION]);
    }

    #[test]
    fn bytes_of_any_kind_pass_as_they_are() {
        let image = Exchange::answered(Request::to("/score"), "blue")
            .with_request_body([0xff, 0x00, 0x0d, 0x0a]);
        check(
            "{}",
            image,
            &[(Designation::Inputs, UNKNOWN_TYPE, &[0xff, 0x00, 0x0d, 0x0a])],
        );
    }

    #[test]
    fn no_body_is_no_entry() {
        check("{}", Exchange::answered(Request::to("/score"), "blue"), &[]);
        check(
            "{}",
            Exchange::answered(Request::to("/"), "blue").with_request_body(""),
            &[],
        );
    }

    #[test]
    fn what_came_before_goes_on_in_front_and_indices_follow_the_batch() {
        let label = Entry {
            designation: Designation::Labels,
            exchange: None,
            content_type: "application/json".to_owned(),
            data: b"1".to_vec(),
        };
        let entries = policy("{}")
            .collect(vec![scored(), scored()], vec![label.clone()])
            .unwrap();
        assert_eq!(entries[0], label);
        let indices: Vec<_> = entries.iter().map(|entry| entry.exchange).collect();
        assert_eq!(indices, [None, Some(0), Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn problems_of_the_settings_are_told_by_key() {
        let text = |config: &str| {
            ModelData::new(Settings::from_json(config))
                .unwrap_err()
                .text()
        };
        assert!(text(r#"{"designations":[]}"#).starts_with("designations: is empty"));
        let twice = text(r#"{"designations":["inputs","inputs"]}"#);
        assert_eq!(twice, "designations[1]: stands there twice");
        assert!(text(r#"{"designations":["labels"]}"#).starts_with("designations[0]: "));
        assert!(text(r#"{"designation":["inputs"]}"#).contains("unknown field `designation`"));
    }
}
