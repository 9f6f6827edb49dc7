//! What a plugin answered, checked against the contract.
//!
//! An answer that the contract forbids is a `lie`; it is never repaired, and
//! nothing of it is used. Every list and text has a maximum. Never reads a
//! clock. Used by `call`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, HeaderValue};

use super::contract::{auth_role, collect_role, split_role, types};
use super::{
    AuthDecision, Candidate, Choice, DenyStatus, Designation, Entry, FaultKind, GRANT_SECONDS_MAX,
    Grant, PolicyFault, Refused,
};
use crate::fault::Denial;
use crate::identity::Caller;
use crate::name::Name;

/// Bytes of a name: subject, tenant, scope, attribute, tag, code.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a value of an attribute or tag, and of a denial's detail.
const TEXT_BYTES_MAX: usize = 1024;
/// Entries of a list: scopes, attributes, tags, headers of a denial.
const LIST_MAX: usize = 64;
/// Entries that a collect policy may make of one exchange, and of what came in.
const ENTRIES_PER_EXCHANGE_MAX: usize = 16;

/// Headers of a denial that end at the gateway or frame its answer.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

fn lie(detail: impl Into<String>) -> PolicyFault {
    PolicyFault {
        kind: FaultKind::Lie,
        detail: detail.into(),
    }
}

/// `credential_left` is the time until the credential's own end, where a key or
/// token with an end matched.
pub(super) fn auth(
    decision: auth_role::Decision,
    credential_left: Option<Duration>,
) -> Result<AuthDecision, PolicyFault> {
    match decision {
        auth_role::Decision::Allow(grant) => {
            let cache = Duration::from_millis(u64::from(grant.cache_ms))
                .min(Duration::from_secs(GRANT_SECONDS_MAX))
                .min(credential_left.unwrap_or(Duration::MAX));
            Ok(AuthDecision::Allow(Grant {
                caller: Arc::new(caller(grant.caller)?),
                cache,
            }))
        }
        auth_role::Decision::Pass => Ok(AuthDecision::Pass),
        auth_role::Decision::Deny(denial) => deny(denial).map(AuthDecision::Deny),
    }
}

fn caller(caller: types::Caller) -> Result<Caller, PolicyFault> {
    text("the caller's subject", &caller.subject, NAME_BYTES_MAX)?;
    text("the caller's tenant", &caller.tenant, NAME_BYTES_MAX)?;
    if caller.scopes.len() > LIST_MAX {
        return Err(lie(format!(
            "{} scopes; at most {LIST_MAX}",
            caller.scopes.len()
        )));
    }
    for scope in &caller.scopes {
        text("a scope", scope, NAME_BYTES_MAX)?;
    }
    pairs("attributes", &caller.attributes)?;
    Ok(Caller {
        subject: caller.subject,
        tenant: caller.tenant,
        scopes: caller.scopes,
        attributes: caller.attributes,
    })
}

/// Control characters would break log lines and headers.
fn text(what: &str, text: &str, bytes_max: usize) -> Result<(), PolicyFault> {
    if text.len() > bytes_max {
        return Err(lie(format!(
            "{what} has {} bytes; at most {bytes_max}",
            text.len()
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(lie(format!("{what} has a control character")));
    }
    Ok(())
}

fn pairs(what: &str, pairs: &[(String, String)]) -> Result<(), PolicyFault> {
    if pairs.len() > LIST_MAX {
        return Err(lie(format!("{} {what}; at most {LIST_MAX}", pairs.len())));
    }
    for (name, value) in pairs {
        text(what, name, NAME_BYTES_MAX)?;
        text(what, value, TEXT_BYTES_MAX)?;
    }
    Ok(())
}

fn deny(denial: auth_role::Denial) -> Result<Refused, PolicyFault> {
    let status = match denial.status {
        401 => DenyStatus::Unauthenticated,
        403 => DenyStatus::Forbidden,
        429 => DenyStatus::RateLimited,
        other => {
            return Err(lie(format!(
                "status {other} as a denial; it is 401, 403 or 429"
            )));
        }
    };
    text("the denial's code", &denial.code, NAME_BYTES_MAX)?;
    text("the denial's detail", &denial.detail, TEXT_BYTES_MAX)?;
    if denial.headers.len() > LIST_MAX {
        return Err(lie(format!(
            "{} headers of a denial; at most {LIST_MAX}",
            denial.headers.len()
        )));
    }
    let mut headers = Vec::with_capacity(denial.headers.len());
    for header in denial.headers {
        if header.name.len() > NAME_BYTES_MAX || header.value.len() > TEXT_BYTES_MAX * 4 {
            return Err(lie("a header of a denial that is too long"));
        }
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| lie("a header of a denial whose name is none"))?;
        let value = HeaderValue::from_bytes(&header.value)
            .map_err(|_| lie(format!("header {name} of a denial with a forbidden byte")))?;
        let dropped = HOP_BY_HOP.contains(&name)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection");
        if !dropped {
            headers.push((name, value));
        }
    }
    let said = |text: String| (!text.is_empty()).then_some(text);
    Ok(Refused {
        status,
        denial: Denial {
            code: said(denial.code),
            detail: said(denial.detail),
            retry_after: denial
                .retry_after_ms
                .map(|ms| Duration::from_millis(u64::from(ms))),
            headers,
        },
    })
}

pub(super) fn choice(
    choice: split_role::Choice,
    candidates: &[Candidate],
) -> Result<Choice, PolicyFault> {
    let find = |name: &str| -> Result<Name, PolicyFault> {
        candidates
            .iter()
            .find(|candidate| candidate.version.as_str() == name)
            .map(|candidate| candidate.version.clone())
            .ok_or_else(|| lie(format!("version {:?} is not a candidate", cut(name))))
    };
    let version = find(&choice.version)?;
    let mut mirrors: Vec<Name> = Vec::new();
    if choice.mirrors.len() > candidates.len() {
        return Err(lie(format!("{} mirrors", choice.mirrors.len())));
    }
    for mirror in &choice.mirrors {
        let mirror = find(mirror)?;
        if mirror == version || mirrors.contains(&mirror) {
            return Err(lie(format!("version {mirror} stands twice in a choice")));
        }
        mirrors.push(mirror);
    }
    pairs("tags", &choice.tags)?;
    Ok(Choice {
        version,
        mirrors,
        tags: choice.tags,
    })
}

pub(super) fn entries(
    entries: Vec<collect_role::Entry>,
    batch: usize,
    given: usize,
) -> Result<Vec<Entry>, PolicyFault> {
    let most = (batch + given) * ENTRIES_PER_EXCHANGE_MAX;
    if entries.len() > most {
        return Err(lie(format!("{} entries; at most {most}", entries.len())));
    }
    entries.into_iter().map(|one| entry(one, batch)).collect()
}

fn entry(entry: collect_role::Entry, batch: usize) -> Result<Entry, PolicyFault> {
    use collect_role::Designation as Theirs;
    let exchange = match entry.exchange {
        None => None,
        Some(place) => Some(
            usize::try_from(place)
                .ok()
                .filter(|place| *place < batch)
                .ok_or_else(|| lie(format!("an entry of exchange {place} of {batch}")))?,
        ),
    };
    text("a content type", &entry.content_type, NAME_BYTES_MAX)?;
    Ok(Entry {
        designation: match entry.designation {
            Theirs::Inputs => Designation::Inputs,
            Theirs::Predictions => Designation::Predictions,
            Theirs::Labels => Designation::Labels,
            Theirs::Signals => Designation::Signals,
            Theirs::General => Designation::General,
            Theirs::Request => Designation::Request,
            Theirs::Response => Designation::Response,
        },
        exchange,
        content_type: entry.content_type,
        data: Bytes::from(entry.data),
    })
}

/// The first characters of a text that may be long.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(TEXT_BYTES_MAX).collect()
}
