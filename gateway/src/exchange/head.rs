//! Which header fields end at the gateway, which are refused, and what the
//! gateway sets, on requests and on answers (SEMANTICS §2).
//!
//! Pure but for the connection's own cache of forwarded headers. Used by
//! `admit`, `forward` and `relay`.

use std::cell::{OnceCell, RefCell};
use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{
    self, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap,
    HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version};

/// `x-request-id`.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `x-ms-request-id`: the same id, under the original's name.
pub(super) const X_MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
/// `x-ms-client-request-id`: echoed.
pub(super) const X_MS_CLIENT_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-ms-client-request-id");
/// The version that answers, or is asked for.
pub(super) const DEPLOYMENT: HeaderName = HeaderName::from_static("azureml-model-deployment");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What a proxy says of the caller.
pub(super) const FORWARDED_NAMES: [HeaderName; 4] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

/// What becomes of one field of a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// It reaches the model.
    Pass,
    /// It ends here.
    Drop,
    /// It ends here, and so do those it names.
    Connection,
    /// `Host`.
    Host,
    /// `Authorization`.
    Authorization,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// What a proxy says of the caller.
    Forwarded,
    /// The request is refused.
    Refuse,
}

/// The rule for a field of a request's head.
pub(super) fn rule(name: &str) -> Rule {
    match name {
        "host" => Rule::Host,
        "authorization" => Rule::Authorization,
        "content-length" => Rule::ContentLength,
        "transfer-encoding" => Rule::TransferEncoding,
        "connection" => Rule::Connection,
        "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => {
            Rule::Forwarded
        }
        "keep-alive"
        | "proxy-connection"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "te"
        | "upgrade"
        | "expect"
        | "http2-settings" => Rule::Drop,
        _ if name.starts_with("x-tidegate-") => Rule::Drop,
        _ if name.contains('_') => twin(name),
        _ => Rule::Pass,
    }
}

/// A name with `_`: servers that fold it to `-` (WSGI does) would read it as
/// one of ours.
fn twin(name: &str) -> Rule {
    let folded = name.replace('_', "-");
    match folded.as_str() {
        "content-length" | "transfer-encoding" | "keep-alive" | "proxy-connection" => Rule::Refuse,
        "x-forwarded-for"
        | "x-forwarded-host"
        | "x-forwarded-proto"
        | "x-request-id"
        | "x-ms-request-id"
        | "x-ms-client-request-id"
        | "azureml-model-deployment"
        | "http2-settings"
        | "proxy-authorization" => Rule::Drop,
        _ if folded.starts_with("x-tidegate-") => Rule::Drop,
        _ => Rule::Pass,
    }
}

/// Whether `Connection` may name the field: what routes, frames, proves or
/// identifies a request is not for the caller to take away.
fn may_be_named(name: &str) -> bool {
    !matches!(
        name,
        "host"
            | "authorization"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "transfer-encoding"
            | "trailer"
            | "cookie"
            | "expect"
            | "traceparent"
            | "tracestate"
            | "azureml-model-deployment"
            | "forwarded"
            | "x-request-id"
            | "x-ms-request-id"
            | "x-ms-client-request-id"
    ) && !name.starts_with("x-forwarded-")
        && !name.starts_with("x-tidegate-")
}

/// Adds the fields that a `Connection` value names.
///
/// # Errors
///
/// What is wrong with it, for the caller.
pub(super) fn named_by_connection(
    value: &HeaderValue,
    names: &mut Vec<HeaderName>,
) -> Result<(), &'static str> {
    let value = value.as_bytes();
    if value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close") {
        return Ok(());
    }
    for token in value.split(|byte| *byte == b',') {
        let token = token.trim_ascii();
        if token.is_empty() {
            continue;
        }
        let name = HeaderName::from_bytes(token)
            .map_err(|_not_a_token| "Connection names what is no field")?;
        if !may_be_named(name.as_str()) {
            return Err("Connection names a field that it may not take away");
        }
        if !matches!(name.as_str(), "close" | "keep-alive" | "te" | "upgrade") {
            names.push(name);
        }
    }
    Ok(())
}

/// What the gateway says to models of a caller's connection, made once a
/// connection and not once a request.
#[derive(Debug, Default)]
pub(super) struct ForwardedCache {
    x_for: OnceCell<HeaderValue>,
    forwarded: RefCell<Option<(HeaderValue, HeaderValue)>>,
}

/// Who a request came from, for the forwarded headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    /// The other side of the socket.
    pub(super) peer: IpAddr,
    /// Whether it came over TLS.
    pub(super) tls: bool,
    /// Whether `trustedProxies` covers the peer.
    pub(super) trusted: bool,
    /// Host and port as the caller named them.
    pub(super) authority: &'a HeaderValue,
}

impl ForwardedCache {
    /// Sets `x-forwarded-*` and `forwarded`; keeps what a trusted proxy said.
    pub(super) fn set(&self, headers: &mut HeaderMap, origin: &Origin<'_>) {
        let x_for = self.x_for.get_or_init(|| value(&origin.peer.to_string()));
        let forwarded = self.forwarded(origin);
        let proto = HeaderValue::from_static(if origin.tls { "https" } else { "http" });
        if origin.trusted {
            extend(headers, X_FORWARDED_FOR, x_for);
            extend(headers, FORWARDED, &forwarded);
            headers.entry(X_FORWARDED_PROTO).or_insert(proto);
            headers
                .entry(X_FORWARDED_HOST)
                .or_insert_with(|| origin.authority.clone());
        } else {
            headers.insert(X_FORWARDED_FOR, x_for.clone());
            headers.insert(FORWARDED, forwarded);
            headers.insert(X_FORWARDED_PROTO, proto);
            headers.insert(X_FORWARDED_HOST, origin.authority.clone());
        }
    }

    fn forwarded(&self, origin: &Origin<'_>) -> HeaderValue {
        let mut cache = self.forwarded.borrow_mut();
        if let Some((authority, forwarded)) = &*cache
            && authority == origin.authority
        {
            return forwarded.clone();
        }
        let mut text = String::new();
        let proto = if origin.tls { "https" } else { "http" };
        let host = origin.authority.to_str().unwrap_or_default();
        // Writing to a String cannot fail.
        let _infallible = match origin.peer {
            IpAddr::V4(ip) => write!(text, "for={ip}"),
            IpAddr::V6(ip) => write!(text, "for=\"[{ip}]\""),
        };
        let _infallible = write!(text, ";host=\"{host}\";proto={proto}");
        let forwarded = value(&text);
        *cache = Some((origin.authority.clone(), forwarded.clone()));
        forwarded
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Adds an element to a list header.
fn extend(headers: &mut HeaderMap, name: HeaderName, element: &HeaderValue) {
    let mut list = Vec::new();
    for one in headers.get_all(&name) {
        list.extend_from_slice(one.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    let list = HeaderValue::from_bytes(&list).unwrap_or_else(|_| element.clone());
    headers.insert(name, list);
}

/// The caller's address after trusted proxies: the last address of
/// `x-forwarded-for` that is none of theirs.
pub(super) fn client_ip(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    for list in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for one in list.as_bytes().rsplit(|byte| *byte == b',') {
            let text = std::str::from_utf8(one.trim_ascii()).unwrap_or_default();
            let Some(ip) = address(text) else {
                return client;
            };
            client = ip;
            if !trusted(ip) {
                return client;
            }
        }
    }
    client
}

fn address(text: &str) -> Option<IpAddr> {
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().map(|at| at.ip()).ok();
    plain.or_else(with_port).map(|ip| ip.to_canonical())
}

/// Whether the head of an answer can be passed on; `asked` is the protocol that
/// the request asks for.
///
/// # Errors
///
/// What is wrong with it, for the log: two lengths, an encoding we cannot
/// frame, a status that is none, an unasked switch of protocols
/// (facts/bad-inputs.md rows 69 to 71).
pub(super) fn check_answer(
    status: StatusCode,
    headers: &HeaderMap,
    asked: Option<&HeaderValue>,
) -> Result<(), &'static str> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(asked) = asked else {
            return Err("101 was not asked for");
        };
        let mut told = headers.get_all(header::UPGRADE).iter();
        let same = |told: &HeaderValue| told.as_bytes().eq_ignore_ascii_case(asked.as_bytes());
        if !told.next().is_some_and(same) || told.next().is_some() {
            return Err("101 to a protocol that was not asked for");
        }
        return Ok(());
    }
    if !(200..=599).contains(&status.as_u16()) {
        return Err("the status is none of HTTP's");
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err("more than one Content-Length");
    }
    if length.is_some_and(|length| !is_length(length)) {
        return Err("Content-Length is no number");
    }
    if let Some(encoding) = encodings.next() {
        if length.is_some() {
            return Err("both Content-Length and Transfer-Encoding");
        }
        if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("a Transfer-Encoding other than chunked");
        }
    }
    Ok(())
}

/// Whether a Content-Length is digits alone.
pub(super) fn is_length(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=19).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit)
}

/// Takes the hop-by-hop fields off an answer.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    const HOP: [HeaderName; 6] = [
        header::PROXY_AUTHENTICATE,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    let mut named = Vec::new();
    if headers.contains_key(CONNECTION) {
        for value in headers.get_all(CONNECTION) {
            for token in value.as_bytes().split(|byte| *byte == b',') {
                if let Ok(name) = HeaderName::from_bytes(token.trim_ascii())
                    && may_be_named(name.as_str())
                {
                    named.push(name);
                }
            }
        }
        headers.remove(CONNECTION);
    }
    for name in HOP.iter().chain(&named) {
        if headers.contains_key(name) {
            headers.remove(name);
        }
    }
}

/// What becomes of a request's head on its way to a replica.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    /// Path and query as the model gets them.
    pub(super) target: PathAndQuery,
    /// Whether `Authorization` reaches the model.
    pub(super) forward_credential: bool,
    /// The request id.
    pub(super) id: &'a HeaderValue,
    /// Who the request came from.
    pub(super) origin: Origin<'a>,
    /// Whether there is a body whose length nobody said.
    pub(super) unknown_length: bool,
    /// The other protocol that it asks for.
    pub(super) upgrade: Option<&'a HeaderValue>,
}

/// Makes the head for the replica of the head that was parsed: HTTP/1.1,
/// origin form, the caller's authority as `Host`.
pub(super) fn outgoing(parts: &mut Parts, cache: &ForwardedCache, out: Outgoing<'_>) {
    let headers = &mut parts.headers;
    if !out.forward_credential {
        headers.remove(AUTHORIZATION);
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    headers.insert(HOST, out.origin.authority.clone());
    headers.insert(X_REQUEST_ID, out.id.clone());
    if let Some(protocol) = out.upgrade {
        // Alone: not every server that switches reads a list.
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    } else {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    cache.set(headers, &out.origin);
    if out.unknown_length && matches!(parts.method, Method::GET | Method::HEAD) {
        // hyper sends no body with these unless it is told to.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    parts.uri = Uri::from(out.target);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
}

/// HTTP/2 may send cookies in crumbs; HTTP/1.1 has one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for cookie in headers.get_all(COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
