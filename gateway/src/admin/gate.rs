//! Who may use the admin API: by host, origin and token, before any routing.
//!
//! A page in a browser on this machine must not reach it through a name it
//! made point here (DNS rebinding) nor by a form; both are told apart by `Host`
//! and `Origin`. Called by `admin` for every request.

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};

use super::answer::Refusal;
use crate::identity::{constant_time_equal, sha256};

/// The gate of one listener.
pub(super) struct Gate {
    token: [u8; 32],
    tls: bool,
}

impl Gate {
    pub(super) fn new(token: &str, tls: bool) -> Self {
        Self {
            token: sha256(token.as_bytes()),
            tls,
        }
    }

    /// Whether a request says that it comes to this place from this place.
    pub(super) fn check_place(&self, head: &Parts) -> Result<(), Refusal> {
        let authority = self.authority(head)?;
        let Some(origin) = single(&head.headers, &ORIGIN)? else {
            return Ok(());
        };
        let scheme = if self.tls { "https" } else { "http" };
        if origin.eq_ignore_ascii_case(&format!("{scheme}://{authority}")) {
            Ok(())
        } else {
            Err(forbidden(format!(
                "the origin {origin} is not this API's own page"
            )))
        }
    }

    /// The host and port that a request names.
    fn authority<'h>(&self, head: &'h Parts) -> Result<&'h str, Refusal> {
        let Some(host) = single(&head.headers, &HOST)? else {
            return Err(Refusal::malformed("no Host header"));
        };
        let of_target = head.uri.authority();
        if of_target.is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
            return Err(Refusal::malformed(
                "the target and the Host header name different hosts",
            ));
        }
        let name =
            host_name(host).ok_or_else(|| Refusal::malformed("the Host header is no host"))?;
        // With TLS the certificate settles it: a foreign name does not fit it.
        let ours = self.tls || name.eq_ignore_ascii_case("localhost") || is_loopback(name);
        if ours {
            Ok(host)
        } else {
            Err(forbidden(format!(
                "the host {name} is not this API's; use its address, or localhost"
            )))
        }
    }

    /// Whether a request has the token, exactly once.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let value = single(headers, &AUTHORIZATION)?;
        let token = value.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        // Compared by hash, so that neither a prefix nor a length shows.
        if token.is_some_and(|token| constant_time_equal(&sha256(token.as_bytes()), &self.token)) {
            return Ok(());
        }
        let detail = if value.is_none() {
            "no token; send `Authorization: Bearer` with that of the state folder's admin.token"
        } else {
            "not this gateway's token; it is in the state folder's admin.token"
        };
        Err(
            Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
                .with("www-authenticate", "Bearer"),
        )
    }
}

fn forbidden(detail: String) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// The one value of a header; two, or one that is no text, are refused.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::malformed(format!("{name} is there twice")));
    }
    first
        .map(|value| {
            value
                .to_str()
                .map_err(|_| Refusal::malformed(format!("{name} is not text")))
        })
        .transpose()
}

/// The host of `host:port`.
fn host_name(authority: &str) -> Option<&str> {
    let parsed: http::uri::Authority = authority.parse().ok()?;
    let plain = !authority.contains('@') && !authority.is_empty();
    let name = plain.then(|| parsed.host().len())?;
    authority.get(..name)
}

fn is_loopback(name: &str) -> bool {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    bare.parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tls: bool, host: &str, origin: Option<&str>, expected: u16) {
        let mut request = http::Request::builder()
            .uri("/v1/status")
            .header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let result = Gate::new("t", tls).check_place(&head);
        let response = super::super::answer::finish(
            result.map(|()| {
                http::Response::new(super::super::body::Body::whole(bytes::Bytes::new()))
            }),
            "id",
        );
        assert_eq!(response.status().as_u16(), expected, "{host} {origin:?}");
    }

    #[test]
    fn only_names_of_this_machine_reach_a_plain_listener() {
        check(false, "127.0.0.1:9443", None, 200);
        check(false, "localhost", None, 200);
        check(false, "[::1]:9443", None, 200);
        check(false, "LOCALHOST:1", None, 200);
        check(false, "evil.example:9443", None, 403);
        check(false, "localhost.evil.example", None, 403);
        check(false, "10.0.0.1:9443", None, 403);
        check(false, "user@localhost", None, 400);
        check(true, "gateway.example", None, 200);
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        check(false, "localhost:9443", Some("http://localhost:9443"), 200);
        check(false, "localhost:9443", Some("http://localhost:8080"), 403);
        check(false, "localhost:9443", Some("https://localhost:9443"), 403);
        check(false, "localhost:9443", Some("null"), 403);
        check(false, "localhost:9443", Some("http://evil.example"), 403);
        check(
            true,
            "gateway.example",
            Some("https://gateway.example"),
            200,
        );
    }
}
