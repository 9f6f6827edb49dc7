//! Checks what an endpoint says of who goes where: its sticky callers and its
//! mirror.
//!
//! Shares, default and control are `endpoint`'s. Called by it.

use http::HeaderName;
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, EXPECT, HOST, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE,
};

use crate::name::Name;
use crate::resource::check::{At, Check};
use crate::resource::node::shown_text;
use crate::resource::raw::endpoint as raw;
use crate::resource::suggest::suggestion;
use crate::resource::{Mirror, Sticky};

/// Longest name of a cookie; browsers take some thousand, nobody needs them.
const COOKIE_NAME_MAX: usize = 256;

/// Whose draw is always the same; none where a problem was told. `open`: nobody
/// is asked who calls.
pub(super) fn sticky(
    check: &mut Check<'_>,
    at: &At<'_>,
    raw: &raw::Sticky,
    open: bool,
) -> Option<Sticky> {
    let name_at = at.key("name");
    match check.required(raw.by, at, "by")? {
        raw::StickyBy::Header => {
            let text = check.required(raw.name.as_ref(), at, "name")?;
            header(check, &name_at, text).map(Sticky::Header)
        }
        raw::StickyBy::Cookie => {
            let text = check.required(raw.name.as_ref(), at, "name")?;
            // A cookie's name is a token, as a header's is (RFC 6265 §4.1.1), but
            // upper and lower case differ.
            let token = HeaderName::from_bytes(text.as_bytes()).is_ok();
            if token && text.len() <= COOKIE_NAME_MAX {
                return Some(Sticky::Cookie(text.clone()));
            }
            check.tell(
                &name_at,
                format!("{} is not a cookie's name", shown_text(text)),
            );
            None
        }
        raw::StickyBy::Caller => {
            if raw.name.is_some() {
                let message =
                    "a caller has no name here; leave it out, or write by: header or by: cookie";
                check.tell(&name_at, message);
            }
            if open {
                let message =
                    "auth.mode is none, so that no caller is known; write by: header or by: cookie";
                check.tell(&at.key("by"), message);
            }
            Some(Sticky::Caller)
        }
    }
}

/// Which version gets copies; none where none is wanted or a problem was told.
pub(super) fn mirror(
    check: &mut Check<'_>,
    at: &At<'_>,
    spec: &raw::EndpointSpec,
) -> Option<Mirror> {
    let raw = spec.mirror.as_ref()?;
    let percent = check.required(raw.percent, at, "percent");
    let text = check.required(raw.version.as_ref(), at, "version")?;
    let versions = spec.versions.as_deref().unwrap_or_default();
    let known: Vec<&str> = versions
        .iter()
        .filter_map(|one| one.name.as_deref())
        .collect();
    let at = at.key("version");
    if !known.contains(&text.as_str()) {
        let message = format!("no version is named {}", shown_text(text));
        check.tell_with(&at, message, suggestion(text, &known));
    } else if versions.len() < 2 {
        let message =
            format!("{text} is the only version; a copy goes to one that does not answer");
        check.tell(&at, message);
    }
    Some(Mirror {
        // A name that is none is told where the version has it.
        version: Name::parse(text).ok()?,
        percent: percent?,
        compare_body: raw.compare_body.unwrap_or(false),
    })
}

/// The header that names a caller: one that is still there when a version is
/// chosen, and no secret, since a split policy sees what the draw is made of it.
fn header(check: &mut Check<'_>, at: &At<'_>, text: &str) -> Option<HeaderName> {
    const ENDS_HERE: [HeaderName; 6] = [CONNECTION, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE];
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        check.tell(at, format!("{} is not a header's name", shown_text(text)));
        return None;
    };
    if name == COOKIE {
        check.tell(
            at,
            "cookie holds all cookies; write by: cookie with the name of one",
        );
    } else if [AUTHORIZATION, PROXY_AUTHORIZATION].contains(&name) {
        check.tell(
            at,
            format!("{name} is a credential; write by: caller instead"),
        );
    } else if ENDS_HERE.contains(&name) || name.as_str().starts_with("x-tidegate-") {
        check.tell(at, format!("{name} ends at the gateway and names nobody"));
    } else if name.as_str().contains('_') {
        let hint = name.as_str().replace('_', "-");
        let message = format!("{name} has a `_`, which many servers take for a `-`");
        check.tell_with(at, message, Some(format!("write {hint}")));
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::resource::{Source, VersionType, check};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn an_endpoint_has_one_default_at_most_one_control_and_no_more_than_all_the_traffic(
            marks in prop::collection::vec((0_u32..50, prop::option::of(any::<bool>()), 0_u32..5), 1..=6),
        ) {
            let mut versions = String::new();
            for (i, (traffic, default, kind)) in marks.iter().enumerate() {
                let default = default.map_or(String::new(), |is| format!("default: {is}, "));
                let kind = ["", "", "", "type: control, ", "type: treatment, "][*kind as usize];
                versions += &format!("{{name: ver-{i}, traffic: {traffic}, {default}{kind}static: {{addresses: ['127.0.0.1:1']}}}}, ");
            }
            let text = format!("apiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: {{name: iris}}\nspec: {{versions: [{versions}]}}\n");
            let defaults = marks.iter().filter(|mark| mark.1 == Some(true)).count();
            let none_may_be = marks.iter().all(|mark| mark.1 == Some(false));
            let controls = marks.iter().filter(|mark| mark.2 == 3).count();
            let traffic: u32 = marks.iter().map(|mark| mark.0).sum();
            let source = Source { name: "f.yaml".to_owned(), text, base: None };
            match check(&[source]) {
                Ok(set) => {
                    let versions = &set.endpoints[0].versions;
                    prop_assert_eq!(versions.iter().filter(|version| version.default).count(), 1);
                    prop_assert!(versions.iter().filter(|version| version.kind == Some(VersionType::Control)).count() <= 1);
                    prop_assert!(versions.iter().map(|version| version.traffic.hundredths()).sum::<u64>() <= 10_000);
                }
                Err(_) => prop_assert!(defaults > 1 || none_may_be || controls > 1 || traffic > 100),
            }
        }
    }
}
