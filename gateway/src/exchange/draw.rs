//! The draw of an exchange: the one number that decides which version answers.
//!
//! A new one for each exchange, or the same for the same header, cookie or
//! caller where the endpoint is sticky. Never looks at more of a request than
//! that. Used by `choose`.

use http::HeaderMap;
use http::header::COOKIE;

use super::Worker;
use crate::identity::Caller;
use crate::resource::{Endpoint, Sticky};
use crate::split;

/// The draw of a request to the endpoint.
pub(super) fn draw(
    worker: &Worker,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    caller: Option<&Caller>,
) -> u64 {
    let sticky = endpoint.split.sticky.as_ref();
    let same = sticky.and_then(|sticky| same(sticky, endpoint.name.as_str(), headers, caller));
    same.unwrap_or_else(|| worker.chance.draw())
}

/// The draw that is always the same; none where the request does not bring what
/// it is made of. About 20 ns, no allocation.
fn same(
    sticky: &Sticky,
    endpoint: &str,
    headers: &HeaderMap,
    caller: Option<&Caller>,
) -> Option<u64> {
    // The endpoint's name first: who is early in one endpoint's draws is not
    // for that early in another's.
    let endpoint = std::iter::once(endpoint.as_bytes());
    match sticky {
        Sticky::Header(name) => {
            let values = || headers.get_all(name).iter().map(|value| value.as_bytes());
            let named = values().any(|value| !value.is_empty());
            named.then(|| split::sticky(endpoint.chain(values())))
        }
        Sticky::Cookie(name) => {
            let value = cookie(headers, name.as_bytes()).filter(|value| !value.is_empty())?;
            Some(split::sticky(endpoint.chain([value])))
        }
        Sticky::Caller => {
            let caller = caller?;
            let name = [caller.tenant.as_bytes(), caller.subject.as_bytes()];
            Some(split::sticky(endpoint.chain(name)))
        }
    }
}

/// The first cookie of that name, as it stands there. HTTP/2 may send cookies
/// in fields of their own.
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let fields = headers.get_all(COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = pair.split_at(at);
        (found.trim_ascii() == name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn by_header(fields: &[(&'static str, &str)]) -> Option<u64> {
        let sticky = Sticky::Header(HeaderName::from_static("x-user"));
        same(&sticky, "iris", &headers(fields), None)
    }

    #[test]
    fn the_same_header_draws_the_same() {
        let ada = by_header(&[("x-user", "ada")]);
        assert!(ada.is_some());
        assert_eq!(by_header(&[("accept", "a"), ("x-user", "ada")]), ada);
        assert_ne!(by_header(&[("x-user", "eve")]), ada);
        assert_ne!(by_header(&[("x-user", "ada"), ("x-user", "eve")]), ada);
        for absent in [
            &[][..],
            &[("x-user", "")],
            &[("x_user", "ada")],
            &[("x-users", "ada")],
        ] {
            assert_eq!(by_header(absent), None, "{absent:?}");
        }
        let other = Sticky::Header(HeaderName::from_static("x-user"));
        let elsewhere = same(&other, "rose", &headers(&[("x-user", "ada")]), None);
        assert_ne!(elsewhere, ada, "endpoints draw apart");
    }

    #[test]
    fn bytes_that_are_no_text_draw_too() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        let sticky = Sticky::Header(HeaderName::from_static("x-user"));
        assert!(same(&sticky, "iris", &headers, None).is_some());
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        #[track_caller]
        fn check(fields: &[&str], expected: Option<&str>) {
            let fields: Vec<_> = fields.iter().map(|value| ("cookie", *value)).collect();
            let headers = headers(&fields);
            let found = cookie(&headers, b"sid").map(|value| std::str::from_utf8(value).unwrap());
            assert_eq!(found, expected, "{fields:?}");
        }
        check(&["sid=a"], Some("a"));
        check(&["other=1; sid=a=b; sid=c"], Some("a=b"));
        check(&["other=1", "sid=a"], Some("a"));
        check(&["xsid=1; SID=2; sid2=3; sid"], None);
        check(&["sid="], Some(""));
        check(&["  sid = a ;"], Some("a"));
        check(&[], None);
        let sticky = Sticky::Cookie("sid".to_owned());
        let draw = |value: &str| same(&sticky, "iris", &headers(&[("cookie", value)]), None);
        assert_eq!(draw("sid=a; b=c"), draw("d=e; sid=a"));
        assert_eq!(draw("sid="), None);
    }

    #[test]
    fn a_caller_is_its_tenant_and_its_subject() {
        let caller = |tenant: &str, subject: &str| Caller {
            subject: subject.to_owned(),
            tenant: tenant.to_owned(),
            scopes: Vec::new(),
            attributes: Vec::new(),
        };
        let draw =
            |caller: Option<&Caller>| same(&Sticky::Caller, "iris", &HeaderMap::new(), caller);
        assert_eq!(draw(None), None);
        let ada = draw(Some(&caller("a", "ada")));
        assert!(ada.is_some());
        assert_eq!(draw(Some(&caller("a", "ada"))), ada);
        assert_ne!(draw(Some(&caller("b", "ada"))), ada);
        assert_ne!(draw(Some(&caller("aa", "da"))), ada);
    }
}
