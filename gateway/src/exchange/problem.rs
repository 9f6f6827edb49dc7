//! The answer to a caller whose exchange ended in a fault: a problem document
//! (RFC 9457), or its detail as plain text where the caller asked for that.
//!
//! Never says more than `Fault::detail` does. Called by `exchange`.

use std::time::Duration;

use http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;
use crate::fault::Fault;

/// What a 405 says is allowed; any other method is forwarded as well.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_code: Option<&'a str>,
}

/// The answer for a fault. The caller of this adds the request's ids.
pub(super) fn answer(fault: &Fault, request_id: &str, plain: bool) -> Response<Body> {
    let row = fault.row();
    let detail = fault.detail();
    let (kind, body) = if plain {
        ("text/plain; charset=utf-8", detail.into_bytes())
    } else {
        let document = Document {
            r#type: format!("urn:tidegate:fault:{}", row.code),
            title: row.title,
            status: row.status,
            detail: &detail,
            code: row.code,
            request_id,
            policy_code: fault.denial().and_then(|denial| denial.code.as_deref()),
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        ("application/problem+json", body)
    };
    let mut response = Response::new(Body::whole(body.into()));
    *response.status_mut() = fault.status();
    let headers = response.headers_mut();
    if let Some(denial) = fault.denial() {
        for (name, value) in &denial.headers {
            if may_pass(name) {
                headers.append(name, value.clone());
            }
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(wait) = fault.retry_after() {
        headers.insert(RETRY_AFTER, seconds_up(wait));
    }
    match fault.status() {
        StatusCode::UNAUTHORIZED if !headers.contains_key(WWW_AUTHENTICATE) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, METHODS);
        }
        _ => {}
    }
    response
}

/// Whether a denial's own header reaches the caller: not the hop-by-hop ones,
/// nor those the gateway sets.
fn may_pass(name: &HeaderName) -> bool {
    use http::header::{
        CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, DATE, PROXY_AUTHENTICATE, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    };
    let ours = [
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        DATE,
        PROXY_AUTHENTICATE,
        RETRY_AFTER,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        AUTHORIZATION,
    ];
    let named = [
        "keep-alive",
        "proxy-connection",
        "x-request-id",
        "x-ms-request-id",
        "x-ms-client-request-id",
        "azureml-model-deployment",
    ];
    !ours.contains(name) && !named.contains(&name.as_str())
}

/// Seconds, rounded up, at least one.
fn seconds_up(wait: Duration) -> HeaderValue {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

/// Whether the caller would rather have plain text than a document: `Accept`
/// names `text/plain` and neither JSON nor everything.
pub(super) fn wants_plain(headers: &HeaderMap) -> bool {
    let mut plain = false;
    for value in headers.get_all(ACCEPT) {
        let Ok(value) = value.to_str() else {
            return false;
        };
        for part in value.split(',') {
            let kind = part.split(';').next().unwrap_or_default().trim();
            if kind.eq_ignore_ascii_case("text/plain") {
                plain = true;
            } else if kind.ends_with("json") || kind == "*/*" || kind == "application/*" {
                return false;
            }
        }
    }
    plain
}
