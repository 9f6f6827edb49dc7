//! Step 1 of an exchange: is this a request that has one meaning?
//!
//! Checks what parsed heads show; what only bytes show, `listen` checks before
//! hyper does. Never repairs a request. Called by `exchange`.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version};

use super::head::{self, Rule};
use super::ledger::Ledger;
use super::tunnel::Asked;
use super::{Connection, Worker, target};
use crate::fault::Fault;
use crate::id::REQUEST_ID_CHARS_MAX;
use crate::resource::Limits;

/// Longest method: the longest registered one has 17 characters.
const METHOD_CHARS_MAX: usize = 32;

/// Output of this step; input of `route`.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The head as it came, without what ends here: policies judge what is sent.
    pub(super) parts: Parts,
    /// Host and port as the caller named them.
    pub(super) authority: HeaderValue,
    /// The caller, after trusted proxies are resolved.
    pub(super) client_ip: IpAddr,
    /// Whether what the peer says of callers is believed.
    pub(super) trusted: bool,
    /// The body's length, where the caller said it.
    pub(super) content_length: Option<u64>,
    /// The other protocol that the caller asks for.
    pub(super) upgrade: Option<Asked>,
}

/// Takes a request in, or says why not. About half a microsecond.
///
/// # Errors
///
/// `malformed`, `method-not-allowed`, `target-too-long`, `head-too-large`,
/// `draining`; `policy-failed` where the connection makes calls and leaves.
pub(super) fn admit(ledger: &mut Ledger, mut parts: Parts) -> Result<Admitted, Fault> {
    let worker = ledger.worker();
    if let Some(id) = request_id(&parts)? {
        ledger.set_id(id);
    }
    // While the gateway drains, callers who could not know of it are served.
    if worker.shared.tasks.stopping() && worker.shared.tasks.is_over() {
        return Err(Fault::Draining);
    }
    if worker.shared.memory.over() {
        return Err(Fault::OutOfMemory);
    }
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Fault::MethodNotAllowed(parts.method.to_string()));
    }
    let limits = &worker.shared.limits;
    if ledger.connection.abandoned.get() >= limits.streams_per_connection {
        let what = "the connection left too many policy calls behind";
        return Err(Fault::PolicyFailed(what.to_owned()));
    }
    check_sizes(&parts, limits)?;
    let fields = read_fields(&parts)?;
    let authority = authority(&parts.uri, &fields).map_err(Fault::Malformed)?;
    target::check_path(parts.uri.path()).map_err(Fault::Malformed)?;
    let (client_ip, trusted) = client(&worker, &ledger.connection, &parts, fields.forwarded);
    let content_length = fields.content_length;
    let bodiless = !fields.encoded && content_length.is_none_or(|length| length == 0);
    let upgrade = Asked::take(&mut parts, bodiless);
    strip(&mut parts.headers, &fields, trusted);
    Ok(Admitted {
        parts,
        authority,
        client_ip,
        trusted,
        content_length,
        upgrade,
    })
}

/// The caller's own id, checked (SEMANTICS §2).
fn request_id(parts: &Parts) -> Result<Option<HeaderValue>, Fault> {
    let mut ids = parts.headers.get_all(head::X_REQUEST_ID).iter();
    let Some(id) = ids.next() else {
        return Ok(None);
    };
    if ids.next().is_some() {
        return Err(Fault::Malformed("more than one x-request-id"));
    }
    if id.len() > REQUEST_ID_CHARS_MAX {
        return Err(Fault::HeadTooLarge("x-request-id is over 100 characters"));
    }
    if id.is_empty() || !id.as_bytes().iter().all(u8::is_ascii_graphic) {
        return Err(Fault::Malformed("x-request-id is not visible ASCII"));
    }
    Ok(Some(id.clone()))
}

/// The limits that count decoded items (an HTTP/2 head can be small on the
/// wire and large here).
fn check_sizes(parts: &Parts, limits: &Limits) -> Result<(), Fault> {
    let target = parts
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes {
        return Err(Fault::TargetTooLong(limits.target_bytes as u64));
    }
    if parts.method.as_str().len() > METHOD_CHARS_MAX {
        return Err(Fault::Malformed("the method is over 32 characters"));
    }
    if parts.headers.len() > limits.head_fields {
        return Err(Fault::HeadTooLarge("the head has too many fields"));
    }
    let mut bytes = target;
    for (name, value) in &parts.headers {
        bytes += name.as_str().len() + value.len() + 4;
    }
    if bytes > limits.head_bytes {
        return Err(Fault::HeadTooLarge("the head has too many bytes"));
    }
    Ok(())
}

/// What one pass over the fields finds.
#[derive(Debug, Default)]
struct Fields {
    host: Option<HeaderValue>,
    content_length: Option<u64>,
    encoded: bool,
    forwarded: bool,
    dropped: Vec<HeaderName>,
}

fn read_fields(parts: &Parts) -> Result<Fields, Fault> {
    let bad = |what| Err(Fault::Malformed(what));
    let mut fields = Fields::default();
    let (mut authorizations, mut encodings) = (0_u8, 0_u8);
    for (name, value) in &parts.headers {
        match head::rule(name.as_str()) {
            Rule::Pass => {}
            Rule::Drop => fields.dropped.push(name.clone()),
            Rule::Connection => {
                head::named_by_connection(value, &mut fields.dropped).map_err(Fault::Malformed)?;
                fields.dropped.push(name.clone());
            }
            Rule::Host => {
                if fields.host.replace(value.clone()).is_some() {
                    return bad("more than one Host");
                }
            }
            Rule::Authorization => {
                authorizations += 1;
                if authorizations > 1 {
                    return bad("more than one Authorization");
                }
            }
            Rule::ContentLength => {
                let length = value.to_str().ok().and_then(|text| text.parse().ok());
                if !head::is_length(value) || fields.content_length.is_some() || length.is_none() {
                    return bad("Content-Length is not one number");
                }
                fields.content_length = length;
            }
            Rule::TransferEncoding => {
                encodings += 1;
                let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                if encodings > 1 || !chunked || parts.version == Version::HTTP_10 {
                    return bad("a Transfer-Encoding other than chunked");
                }
                fields.dropped.push(name.clone());
            }
            Rule::Forwarded => fields.forwarded = true,
            Rule::Refuse => return bad("a field that imitates the framing of HTTP"),
        }
    }
    fields.encoded = encodings > 0;
    if fields.encoded && fields.content_length.is_some() {
        return bad("both Content-Length and Transfer-Encoding");
    }
    Ok(fields)
}

/// Takes off what ends here, before anybody judges the head: also what a peer
/// says of the caller that is not believed.
fn strip(headers: &mut HeaderMap, fields: &Fields, trusted: bool) {
    for name in &fields.dropped {
        headers.remove(name);
    }
    if fields.forwarded && !trusted {
        for name in head::FORWARDED_NAMES {
            headers.remove(name);
        }
    }
}

/// The one host that the request names: in `Host`, in the target (absolute
/// form, HTTP/2), or the same in both.
fn authority(uri: &Uri, fields: &Fields) -> Result<HeaderValue, &'static str> {
    if let Some(scheme) = uri.scheme_str()
        && !matches!(scheme, "http" | "https")
    {
        return Err("the target's scheme is neither http nor https");
    }
    let named = match (uri.authority(), &fields.host) {
        (None, None) => return Err("no host"),
        (None, Some(host)) => host.clone(),
        (Some(authority), host) => {
            let authority = authority.as_str();
            let same =
                |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
            if !host.as_ref().is_none_or(same) {
                return Err("Host and the target name different hosts");
            }
            HeaderValue::from_str(authority).map_err(|_not_a_value| "the host is not a host")?
        }
    };
    let text = named
        .to_str()
        .map_err(|_not_visible| "the host is not a host")?;
    target::check_authority(text)?;
    Ok(named)
}

fn client(
    worker: &Worker,
    connection: &Connection,
    parts: &Parts,
    forwarded: bool,
) -> (IpAddr, bool) {
    let peer = connection.peer.ip().to_canonical();
    let proxies = &worker.shared.trusted_proxies;
    if proxies.is_empty() {
        return (peer, false);
    }
    let covers = |ip: IpAddr| proxies.iter().any(|network| network.contains(&ip));
    let trusted = covers(peer);
    if trusted && forwarded {
        (head::client_ip(peer, &parts.headers, covers), true)
    } else {
        (peer, trusted)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: 1,
            tls_handshake_timeout: Duration::ZERO,
            head_timeout: Duration::ZERO,
            head_bytes: 1000,
            head_fields: 8,
            target_bytes: 100,
            body_idle_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            streams_per_connection: 1,
            upstream_idle: Duration::ZERO,
            memory: None,
            drain: Duration::ZERO,
        }
    }

    fn parts(uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn verdict(parts: &Parts) -> Result<Fields, Fault> {
        request_id(parts)?;
        check_sizes(parts, &limits())?;
        let fields = read_fields(parts)?;
        authority(&parts.uri, &fields).map_err(Fault::Malformed)?;
        target::check_path(parts.uri.path()).map_err(Fault::Malformed)?;
        Ok(fields)
    }

    #[track_caller]
    fn check(uri: &str, fields: &[(&str, &str)], status: u16) {
        let result = verdict(&parts(uri, fields));
        let found = result.map_or_else(|fault| fault.status().as_u16(), |_| 200);
        assert_eq!(found, status, "{uri} {fields:?}");
    }

    const HOST: (&str, &str) = ("host", "iris.example");

    #[test]
    fn a_usual_request_is_admitted() {
        check("/score", &[HOST, ("content-length", "5")], 200);
        check("/score", &[HOST, ("transfer-encoding", "chunked")], 200);
        check("http://iris.example/score", &[HOST], 200);
        check("https://IRIS.example/score", &[], 200);
        check("/score", &[HOST, ("x-request-id", &"a".repeat(100))], 200);
    }

    #[test]
    fn a_request_that_could_mean_two_things_is_malformed() {
        let authorization = ("authorization", "Bearer a");
        check("/score", &[], 400);
        check("/score", &[HOST, HOST], 400);
        check("/score", &[("host", "a b")], 400);
        check("/score", &[("host", "u@x")], 400);
        check("/score", &[("host", "a/../b")], 400);
        check("http://other/score", &[HOST], 400);
        check("file://iris.example/score", &[HOST], 400);
        check("*", &[HOST], 400);
        check("/a/%2e%2e/b", &[HOST], 400);
        check("/score", &[HOST, authorization, authorization], 400);
        check("/score", &[HOST, ("content-length", "+5")], 400);
        check("/score", &[HOST, ("content-length", "5, 5")], 400);
        check(
            "/score",
            &[HOST, ("content-length", "18446744073709551616")],
            400,
        );
        let length = ("content-length", "5");
        check("/score", &[HOST, length, length], 400);
        let chunked = ("transfer-encoding", "chunked");
        check("/score", &[HOST, length, chunked], 400);
        check("/score", &[HOST, chunked, chunked], 400);
        for encoding in ["chunked, chunked", "gzip, chunked", ",chunked", "cow", ""] {
            check("/score", &[HOST, ("transfer-encoding", encoding)], 400);
        }
        check("/score", &[HOST, ("transfer_encoding", "chunked")], 400);
        check("/score", &[HOST, ("content_length", "5")], 400);
        check(
            "/score",
            &[HOST, ("connection", "close, authorization")],
            400,
        );
        check("/score", &[HOST, ("connection", "host")], 400);
        check("/score", &[HOST, ("x-request-id", "a b")], 400);
        check("/score", &[HOST, ("x-request-id", "")], 400);
        let id = ("x-request-id", "a");
        check("/score", &[HOST, id, id], 400);
    }

    #[test]
    fn what_is_too_large_is_told_apart() {
        check("/score", &[HOST, ("x-request-id", &"a".repeat(101))], 431);
        check(&format!("/{}", "a".repeat(100)), &[HOST], 414);
        check("/score", &[HOST, ("x-big", &"a".repeat(1000))], 431);
        let many = [("x-a", "b"); 9];
        check("/score", &many, 431);
    }

    #[test]
    fn a_transfer_encoding_of_http_1_0_is_malformed() {
        let mut parts = parts("/score", &[HOST, ("transfer-encoding", "chunked")]);
        parts.version = Version::HTTP_10;
        assert!(verdict(&parts).is_err());
    }

    #[test]
    fn what_ends_here_is_listed() {
        let fields = [
            HOST,
            ("connection", "x-hop"),
            ("te", "trailers"),
            ("x-tidegate-a", "1"),
            ("content-type", "a/b"),
        ];
        let fields = verdict(&parts("/score", &fields)).unwrap();
        let names: Vec<&str> = fields.dropped.iter().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-hop", "connection", "te", "x-tidegate-a"]);
    }

    #[test]
    fn nobody_judges_what_is_not_sent() {
        let fields = [
            HOST,
            ("connection", "x-team"),
            ("x-team", "admin"),
            ("x_request_id", "1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("content-type", "a/b"),
        ];
        #[track_caller]
        fn check(parts: &Parts, trusted: bool, expected: &[&str]) {
            let mut headers = parts.headers.clone();
            strip(&mut headers, &read_fields(parts).unwrap(), trusted);
            let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, expected);
        }
        let parts = parts("/score", &fields);
        check(&parts, false, &["content-type", "host"]);
        let kept = ["content-type", "forwarded", "host", "x-forwarded-for"];
        check(&parts, true, &kept);
    }
}
