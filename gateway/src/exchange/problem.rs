//! The answer to a caller whose exchange ended in a fault: a problem document
//! (RFC 9457), or its detail as plain text where the caller asked for that.
//!
//! Never says more than `Fault::detail` does. Called by `exchange`.

use std::time::Duration;

use bytes::Bytes;
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

fn document<'a>(fault: &'a Fault, detail: &'a str, request_id: &'a str) -> Document<'a> {
    let row = fault.row();
    Document {
        r#type: format!("urn:tidegate:fault:{}", row.code),
        title: row.title,
        status: row.status,
        detail,
        code: row.code,
        request_id,
        policy_code: fault.denial().and_then(|denial| denial.code.as_deref()),
    }
}

/// The answer for a fault. The caller of this adds the request's ids.
pub(super) fn answer(fault: &Fault, request_id: &str, plain: bool) -> Response<Body> {
    let detail = fault.detail();
    let (kind, body) = if plain {
        ("text/plain; charset=utf-8", detail.into_bytes())
    } else {
        let body = serde_json::to_vec(&document(fault, &detail, request_id));
        let body = body.unwrap_or_default();
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

/// The last event of a broken event stream. Where the stream stands in the
/// middle of a line, that line is ended first: the fields of a half event and
/// of this one then make one event, of the type `error`.
pub(super) fn event(fault: &Fault, request_id: &str, mid_line: bool) -> Bytes {
    let document = serde_json::to_string(&document(fault, &fault.detail(), request_id));
    let document = document.unwrap_or_default();
    let before = if mid_line { "\n" } else { "" };
    format!("{before}event: error\ndata: {document}\n\n").into()
}

/// The last event of a stream that began before the model answered `status`.
/// No fault of the gateway's: a problem without a type of its own (RFC 9457
/// §4.2.1).
pub(super) fn answer_event(status: StatusCode, detail: &str, request_id: &str) -> Bytes {
    let document = Document {
        r#type: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Unknown"),
        status: status.as_u16(),
        detail,
        code: "model-answer",
        request_id,
        policy_code: None,
    };
    let document = serde_json::to_string(&document).unwrap_or_default();
    format!("event: error\ndata: {document}\n\n").into()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::fault::Denial;
    use crate::name::Name;

    fn iris() -> Name {
        Name::parse("iris").unwrap()
    }

    fn one_of_each() -> Vec<Fault> {
        let second = Duration::from_secs(1);
        vec![
            Fault::Malformed("bad"),
            Fault::Unauthenticated(Box::default()),
            Fault::Forbidden(Box::default()),
            Fault::RateLimited(Box::default()),
            Fault::NotFound("No such endpoint".to_owned()),
            Fault::MethodNotAllowed("TRACE".to_owned()),
            Fault::CallerTimeout(second),
            Fault::BodyTooLarge(9),
            Fault::TargetTooLong(9),
            Fault::Misdirected,
            Fault::HeadTooLarge("big"),
            Fault::Internal("/etc/secret".to_owned()),
            Fault::ReplicaFailed("127.0.0.1:9 refused".to_owned()),
            Fault::Overloaded {
                endpoint: iris(),
                waited: second,
                queued: 3,
                retry_after: Some(Duration::from_millis(2100)),
            },
            Fault::NoReplica {
                endpoint: iris(),
                reason: "exit 1".to_owned(),
                retry_after: None,
            },
            Fault::PolicyFailed("trap at 127.0.0.1".to_owned()),
            Fault::Draining,
            Fault::OutOfMemory,
            Fault::ScoringTimeout(second),
        ]
    }

    async fn text(response: Response<Body>) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_fault_is_a_problem_document_without_inner_matters() {
        for fault in one_of_each() {
            let row = fault.row();
            let response = answer(&fault, "r-1", false);
            assert_eq!(response.status().as_u16(), row.status);
            let headers = response.headers().clone();
            assert_eq!(headers["content-type"], "application/problem+json");
            assert_eq!(
                headers.contains_key("retry-after"),
                matches!(row.status, 503 | 429)
            );
            assert_eq!(headers.contains_key("www-authenticate"), row.status == 401);
            assert_eq!(headers.contains_key("allow"), row.status == 405);
            let text = text(response).await;
            let document: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(document["type"], format!("urn:tidegate:fault:{}", row.code));
            assert_eq!(document["code"], row.code);
            assert_eq!(document["status"], row.status);
            assert_eq!(document["requestId"], "r-1");
            assert_eq!(document["title"], row.title);
            assert!(document.get("policyCode").is_none());
            assert!(!text.contains("127.0.0.1") && !text.contains("/etc"));
        }
    }

    #[tokio::test]
    async fn plain_text_is_the_detail_alone() {
        let fault = Fault::ReplicaFailed("reset".to_owned());
        let response = answer(&fault, "r-1", true);
        assert_eq!(
            response.headers()["content-type"],
            "text/plain; charset=utf-8"
        );
        assert_eq!(
            text(response).await,
            "Replica closed connection before replying"
        );
    }

    #[test]
    fn retry_after_is_in_seconds_rounded_up() {
        #[track_caller]
        fn check(ms: u64, expected: &str) {
            assert_eq!(seconds_up(Duration::from_millis(ms)), expected);
        }
        check(0, "1");
        check(1, "1");
        check(1000, "1");
        check(1001, "2");
    }

    #[test]
    fn a_denials_own_headers_pass_but_for_those_the_gateway_sets() {
        let denial = Denial {
            code: Some("quota".to_owned()),
            headers: vec![
                (
                    HeaderName::from_static("x-quota"),
                    HeaderValue::from_static("0"),
                ),
                (
                    HeaderName::from_static("content-length"),
                    HeaderValue::from_static("9"),
                ),
                (
                    HeaderName::from_static("x-request-id"),
                    HeaderValue::from_static("9"),
                ),
            ],
            ..Denial::default()
        };
        let response = answer(&Fault::RateLimited(Box::new(denial)), "r-1", false);
        assert_eq!(response.headers()["x-quota"], "0");
        assert!(!response.headers().contains_key("content-length"));
        assert!(!response.headers().contains_key("x-request-id"));
    }

    #[test]
    fn a_caller_gets_plain_text_only_where_it_asked_for_nothing_better() {
        #[track_caller]
        fn check(accept: &str, expected: bool) {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_plain(&headers), expected, "{accept}");
        }
        check("text/plain", true);
        check("Text/Plain; q=0.9, text/html", true);
        check("text/plain, */*", false);
        check("application/problem+json, text/plain", false);
        check("*/*", false);
        assert!(!wants_plain(&HeaderMap::new()));
    }

    #[test]
    fn the_last_event_of_a_broken_stream_says_why() {
        let event = event(&Fault::ReplicaFailed("x".to_owned()), "r-1", true);
        let text = std::str::from_utf8(&event).unwrap();
        assert!(text.starts_with("\nevent: error\ndata: {"), "{text}");
        assert!(text.ends_with("}\n\n"), "{text}");
        assert!(text.contains("\"code\":\"replica-failed\""), "{text}");
    }
}
