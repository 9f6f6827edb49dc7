//! Answers of the admin API: JSON, text, and refusals as problem documents
//! (RFC 9457).
//!
//! Never says more of the machine than an administrator may know, which is all
//! but secrets. Used by the whole of `admin`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::body::Body;
use crate::reconcile::ControlError;
use crate::resource::Problem;

/// Why a request was not done.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: String,
    problems: Vec<Problem>,
    headers: Vec<(&'static str, String)>,
}

/// A refusal as it is sent (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Refusal")]
pub(super) struct Document {
    /// `urn:tidegate:fault:CODE`.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// What kind of refusal it is.
    code: String,
    /// Of this request; also in `x-request-id`.
    request_id: String,
    /// Everything that is wrong with a resource; left out where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Problem>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            problems: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// With a header of its own.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// With everything that is wrong.
    pub(super) fn of(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// With its problems changed, as to where they stand.
    pub(super) fn each(mut self, change: impl FnMut(Problem) -> Problem) -> Self {
        self.problems = self.problems.into_iter().map(change).collect();
        self
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the gateway's own fault; its log says more",
        )
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let detail = error.to_string();
        match error {
            ControlError::NotFound(_) => Self::not_found(detail),
            ControlError::Conflict(_) => Self::new(StatusCode::CONFLICT, "conflict", detail),
            ControlError::Stale(_) => Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail),
            ControlError::Problems(problems) => {
                let count = problems.len();
                let word = if count == 1 { "problem" } else { "problems" };
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid",
                    format!("{count} {word}"),
                )
                .of(problems)
            }
            ControlError::Refused(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", detail)
            }
            ControlError::OnlyLocal => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            ControlError::Store(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-failed", detail)
                    .with("retry-after", "1")
            }
        }
    }
}

/// Completes an answer with what all have.
pub(super) fn finish(result: Result<Response<Body>, Refusal>, request_id: &str) -> Response<Body> {
    let mut response = result.unwrap_or_else(|refusal| problem(refusal, request_id));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    response
}

fn problem(refusal: Refusal, request_id: &str) -> Response<Body> {
    let document = Document {
        r#type: format!("urn:tidegate:fault:{}", refusal.code),
        title: refusal
            .status
            .canonical_reason()
            .unwrap_or("Refused")
            .to_owned(),
        status: refusal.status.as_u16(),
        detail: refusal.detail,
        code: refusal.code.to_owned(),
        request_id: request_id.to_owned(),
        problems: refusal.problems,
    };
    let content = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = whole(refusal.status, "application/problem+json", content);
    for (name, value) in refusal.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// An answer of one piece.
pub(super) fn whole(
    status: StatusCode,
    content_type: &'static str,
    content: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::whole(content.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer in JSON; a resource's revision is its `ETag`.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let value = serde_json::to_value(value).map_err(|_| Refusal::internal())?;
    let content = serde_json::to_vec(&value).map_err(|_| Refusal::internal())?;
    let mut response = whole(status, "application/json", content);
    let revision = value.pointer("/metadata/revision").and_then(Value::as_u64);
    if let Some(Ok(tag)) =
        revision.map(|revision| HeaderValue::from_str(&format!("\"{revision}\"")))
    {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// An answer that goes on.
pub(super) fn stream(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
