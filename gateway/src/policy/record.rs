//! Requests, callers, candidates and exchanges as the contract's records.
//!
//! Shows a plugin only the headers it names, and credentials only in the auth
//! role. Used by `call`.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName};

use super::contract::{collect_role, split_role, types};
use super::{
    Candidate, CollectedBody, CollectedExchange, Designation, Entry, Outcome, RequestFacts,
};
use crate::identity::Caller;
use crate::resource::{Role, VersionType};

/// Headers that only the auth role is shown, whatever a plugin lists.
const CREDENTIALS: [HeaderName; 4] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE];

pub(super) fn request(
    facts: &RequestFacts<'_>,
    names: &[HeaderName],
    role: Role,
) -> types::Request {
    types::Request {
        id: facts.id.to_owned(),
        method: facts.method.as_str().to_owned(),
        path: facts.path.to_owned(),
        query: facts.query.map(str::to_owned),
        authority: facts.authority.to_owned(),
        client_ip: address(facts.client_ip),
        endpoint: facts.endpoint.as_str().to_owned(),
        content_length: facts.content_length,
        headers: headers(facts.headers, names, role),
        attributes: facts
            .attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
    }
}

/// The address as text. Version 4 by hand: through the formatter it costs as
/// much as ten strings of the record.
fn address(ip: IpAddr) -> String {
    let IpAddr::V4(ip) = ip else {
        return ip.to_string();
    };
    let mut text = String::with_capacity("255.255.255.255".len());
    let digit = |number: u8| char::from(b'0' + number % 10);
    for (place, octet) in ip.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        if octet >= 100 {
            text.push(digit(octet / 100));
        }
        if octet >= 10 {
            text.push(digit(octet / 10));
        }
        text.push(digit(octet));
    }
    text
}

fn headers(all: &HeaderMap, names: &[HeaderName], role: Role) -> Vec<types::Header> {
    let mut shown = Vec::with_capacity(names.len());
    for name in names {
        if role != Role::Auth && CREDENTIALS.contains(name) {
            continue;
        }
        for value in all.get_all(name) {
            shown.push(types::Header {
                name: name.as_str().to_owned(),
                value: value.as_bytes().to_vec(),
            });
        }
    }
    shown
}

pub(super) fn caller(caller: &Caller) -> types::Caller {
    types::Caller {
        subject: caller.subject.clone(),
        tenant: caller.tenant.clone(),
        scopes: caller.scopes.clone(),
        attributes: caller.attributes.clone(),
    }
}

pub(super) fn candidate(candidate: &Candidate) -> split_role::Candidate {
    split_role::Candidate {
        version: candidate.version.as_str().to_owned(),
        weight: candidate.weight,
        role: match candidate.kind {
            None => split_role::Role::None,
            Some(VersionType::Control) => split_role::Role::Control,
            Some(VersionType::Treatment) => split_role::Role::Treatment,
        },
        is_default: candidate.is_default,
        replicas_ready: candidate.replicas_ready,
        slots_free: candidate.slots_free,
        queued: candidate.queued,
        latency_ms_p50: candidate.latency_ms_p50,
        errors_per_10k: candidate.errors_per_10k,
    }
}

pub(super) fn exchange(
    exchange: &CollectedExchange,
    names: &[HeaderName],
) -> collect_role::Exchange {
    collect_role::Exchange {
        request: request(&exchange.request.facts(), names, Role::Collect),
        caller: exchange.caller.as_deref().map(caller),
        version: exchange.version.as_str().to_owned(),
        started_ms: exchange.started_ms,
        first_byte_us: exchange.first_byte_us,
        total_us: exchange.total_us,
        status: exchange.status,
        outcome: match exchange.outcome {
            Outcome::Answered => collect_role::Outcome::Answered,
            Outcome::ModelError => collect_role::Outcome::ModelError,
            Outcome::BrokenOff => collect_role::Outcome::BrokenOff,
            Outcome::Fault => collect_role::Outcome::Fault,
        },
        fault_code: exchange.fault_code.map(str::to_owned),
        request_bytes: exchange.request_bytes,
        response_bytes: exchange.response_bytes,
        response_headers: headers(&exchange.response_headers, names, Role::Collect),
        request_body: exchange.request_body.as_ref().map(body),
        response_body: exchange.response_body.as_ref().map(body),
        tags: exchange.tags.clone(),
    }
}

fn body(body: &CollectedBody) -> collect_role::Body {
    collect_role::Body {
        data: body.data.to_vec(),
        complete: body.complete,
    }
}

pub(super) fn entry(entry: &Entry) -> collect_role::Entry {
    use collect_role::Designation as Theirs;
    collect_role::Entry {
        designation: match entry.designation {
            Designation::Inputs => Theirs::Inputs,
            Designation::Predictions => Theirs::Predictions,
            Designation::Labels => Theirs::Labels,
            Designation::Signals => Theirs::Signals,
            Designation::General => Theirs::General,
            Designation::Request => Theirs::Request,
            Designation::Response => Theirs::Response,
        },
        exchange: entry.exchange.and_then(|place| u32::try_from(place).ok()),
        content_type: entry.content_type.clone(),
        data: entry.data.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_everybody_writes_it() {
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "10.99.100.255",
            "255.255.255.255",
            "::1",
            "2001:db8::",
        ] {
            assert_eq!(address(text.parse().unwrap()), text);
        }
    }
}
