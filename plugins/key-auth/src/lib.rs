//! The auth policy `key-auth`: `Authorization: Bearer KEY`, with a key of the
//! endpoint.
//!
//! Asks the gateway which key it is; never sees the stored keys, and never denies:
//! where there is no key, or none that matches, the next policy decides.

#![forbid(unsafe_code)]

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings, clock, keys};

/// How long a grant may be remembered: the longest that the contract allows. A
/// change of the keys ends it at once, because the gateway's memory goes by key set.
const REMEMBERED_MS: u32 = 60_000;

/// The policy; it has no settings.
struct KeyAuth;

impl Auth for KeyAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        let Some(key) = request.header("authorization").and_then(bearer) else {
            return Ok(Decision::Pass);
        };
        let Some(found) = keys::match_key(key) else {
            return Ok(Decision::Pass);
        };
        let left_ms = match found.expires_ms {
            None => REMEMBERED_MS,
            Some(end) => match end.saturating_sub(clock::now_ms()) {
                0 => return Ok(Decision::Pass),
                left => u32::try_from(left)
                    .unwrap_or(REMEMBERED_MS)
                    .min(REMEMBERED_MS),
            },
        };
        let caller = Caller {
            scopes: found.scopes,
            ..Caller::named(found.name)
        };
        Ok(Grant::of(caller).remembered(left_ms).into())
    }
}

tidegate_sdk::export!(KeyAuth as auth);

/// The credential of `Bearer CREDENTIAL` (RFC 6750, 2.1): the scheme in any case,
/// spaces, and then every byte to the end as it is.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    let start = rest.iter().position(|byte| *byte != b' ')?;
    rest.get(start..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_sdk::{fake, keys::KeyMatch};

    #[track_caller]
    fn ask(authorization: &[u8]) -> Decision {
        let request = Request::to("/score").with_header("authorization", authorization);
        KeyAuth.authenticate(request, None).unwrap()
    }

    #[track_caller]
    fn check(authorization: &[u8], caller: Option<&str>) {
        fake::reset();
        fake::key("primary", b"s3cret");
        fake::key("secondary", b"s3cret+");
        match (ask(authorization), caller) {
            (Decision::Allow(grant), Some(caller)) => {
                assert_eq!(grant.caller.subject, caller);
                assert_eq!(grant.cache_ms, 60_000);
            }
            (Decision::Pass, None) => {}
            (other, _) => panic!("{:?}: {other:?}", String::from_utf8_lossy(authorization)),
        }
    }

    #[test]
    fn either_key_is_accepted_and_names_the_caller() {
        check(b"Bearer s3cret", Some("primary"));
        check(b"Bearer s3cret+", Some("secondary"));
    }

    #[test]
    fn the_scheme_may_be_in_any_case() {
        check(b"bearer s3cret", Some("primary"));
        check(b"BEARER  s3cret", Some("primary"));
    }

    #[test]
    fn the_credential_is_compared_byte_by_byte() {
        check(b"Bearer S3CRET", None);
        check(b"Bearer s3cre", None);
        check(b"Bearer s3cret ", None);
        check(b"Bearer s3cret,s3cret", None);
        check(b"Bearer \xff\xfe", None);
    }

    #[test]
    fn what_is_no_bearer_credential_passes() {
        for value in [
            &b""[..],
            b"Bearer",
            b"Bearer ",
            b"Bearer   ",
            b"Bearers3cret",
            b"s3cret",
        ] {
            check(value, None);
        }
        check(b"Basic s3cret", None);
        check(b"Bearer\ts3cret", None);
    }

    #[test]
    fn a_request_without_a_credential_passes() {
        fake::key("primary", b"");
        let decision = KeyAuth.authenticate(Request::to("/score"), None).unwrap();
        assert_eq!(decision, Decision::Pass);
        assert_eq!(ask(b"Bearer "), Decision::Pass);
    }

    #[test]
    fn a_grant_is_never_remembered_past_the_keys_end() {
        let found = KeyMatch {
            name: "guest".to_owned(),
            scopes: vec!["score".to_owned()],
            expires_ms: Some(10_000),
        };
        fake::key_with(b"k", found);
        fake::now_ms(9_000);
        let Decision::Allow(grant) = ask(b"Bearer k") else {
            panic!("not allowed")
        };
        assert_eq!(
            (grant.cache_ms, grant.caller.scopes),
            (1_000, vec!["score".to_owned()])
        );
        fake::now_ms(10_000);
        assert_eq!(ask(b"Bearer k"), Decision::Pass);
    }

    #[test]
    fn settings_are_an_error() {
        assert!(KeyAuth::new(Settings::from_json("{}")).is_ok());
        assert!(KeyAuth::new(Settings::from_json(r#"{"keys":["a"]}"#)).is_err());
    }
}
