//! Step 2 of an exchange: host and path name the endpoint.
//!
//! A claimed host wins over the path form. Never looks into the model's own
//! part of the path: which of it callers may reach depends on the version, so
//! `choose` knows. Called by `exchange` after `admit`.

use std::sync::Arc;

use http::uri::PathAndQuery;

use super::admit::Admitted;
use super::ledger::{Ledger, Place};
use super::{TlsFacts, target};
use crate::fault::Fault;
use crate::table::Entry;

/// What stands before the endpoint's name in the path form.
const PREFIX: &str = "/api/v1/service/";

/// Output of this step; input of `authenticate`.
#[derive(Debug)]
pub(super) struct Routed {
    /// The request.
    pub(super) admitted: Admitted,
    /// The endpoint, as it was when the request was routed.
    pub(super) entry: Arc<Entry>,
    /// Path and query as the model gets them.
    pub(super) target: PathAndQuery,
}

/// Finds the endpoint. One or two look-ups in the table, no lock.
///
/// # Errors
///
/// `not-found`, `misdirected`, `malformed` (an escaped slash before the model's
/// own part).
pub(super) fn route(ledger: &mut Ledger, admitted: Admitted) -> Result<Routed, Fault> {
    let worker = ledger.worker();
    let table = &worker.shared.table;
    let authority = admitted.authority.to_str().unwrap_or_default();
    let host = host_of(authority);
    if let Some(tls) = &ledger.connection.tls
        && is_misdirected(tls, &host)
    {
        return Err(Fault::Misdirected);
    }
    let whole = admitted.parts.uri.path_and_query();
    let whole = whole.map_or("/", PathAndQuery::as_str);
    let (entry, rest) = if let Some(entry) = table.host(&host) {
        (entry, whole)
    } else {
        let (name, rest) = split(whole)?;
        let entry = table
            .endpoint(name)
            .ok_or_else(|| Fault::NotFound("No such endpoint".to_owned()))?;
        (entry, rest)
    };
    let target = if rest == "/score" {
        PathAndQuery::from_static("/score")
    } else {
        PathAndQuery::try_from(rest).map_err(|_| Fault::Malformed("the path is not a path"))?
    };
    ledger.place = Place::Endpoint(Arc::clone(&entry));
    ledger.client_ip = admitted.client_ip;
    Ok(Routed {
        admitted,
        entry,
        target,
    })
}

/// Host without port, in lower case; borrowed where it is already.
fn host_of(authority: &str) -> std::borrow::Cow<'_, str> {
    let host = target::check_authority(authority).unwrap_or_default();
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

/// The endpoint's name and the model's own part, with the query.
fn split(whole: &str) -> Result<(&str, &str), Fault> {
    let path = whole.split('?').next().unwrap_or_default();
    let no_endpoint = || Fault::NotFound("No such endpoint".to_owned());
    let Some(rest) = whole.strip_prefix(PREFIX) else {
        // The first four segments are ours in the path form.
        let ours: usize = path.split('/').take(5).map(|part| part.len() + 1).sum();
        let ours = path.get(..ours.saturating_sub(1)).unwrap_or(path);
        if target::has_escaped_slash(ours) {
            return Err(Fault::Malformed("an escaped slash before the model's path"));
        }
        return Err(no_endpoint());
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, model) = rest.split_at(end);
    if target::has_escaped_slash(name) {
        return Err(Fault::Malformed("an escaped slash before the model's path"));
    }
    if model.starts_with('/') {
        Ok((name, model))
    } else if name.is_empty() {
        Err(no_endpoint())
    } else {
        Err(Fault::NotFound("No such path of the endpoint".to_owned()))
    }
}

/// Whether the host belongs to a certificate that this connection did not show.
fn is_misdirected(tls: &TlsFacts, host: &str) -> bool {
    let covers = |names: &[String]| names.iter().any(|name| covers(name, host));
    covers(&tls.elsewhere) && !covers(&tls.shown)
}

/// Whether a certificate's name covers the host (RFC 6125: `*` is one label).
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix('*') {
        Some(parent) => host
            .find('.')
            .is_some_and(|dot| dot > 0 && host.get(dot..) == Some(parent)),
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(whole: &str, expected: Result<(&str, &str), u16>) {
        let found = split(whole).map_err(|fault| fault.status().as_u16());
        assert_eq!(found, expected, "{whole}");
    }

    #[test]
    fn a_path_names_an_endpoint_and_the_models_own_part() {
        check("/api/v1/service/iris/score", Ok(("iris", "/score")));
        check("/api/v1/service/iris/v1/a?b=/c", Ok(("iris", "/v1/a?b=/c")));
        check("/api/v1/service/iris/", Ok(("iris", "/")));
        check("/api/v1/service/iris/v1/a%2fb", Ok(("iris", "/v1/a%2fb")));
        check("/api/v1/service/iris;x=/score", Ok(("iris;x=", "/score")));
        check("/api/v1/service/iris", Err(404));
        check("/api/v1/service/iris?x=/score", Err(404));
        check("/api/v1/service/", Err(404));
        check("/score", Err(404));
        check("/api/v1%2fservice/iris/score", Err(400));
        check("/api/v1/service%2Firis/score", Err(400));
        check("/api/v1/service/iris%2fscore", Err(400));
        check("/a/b/c/d/e%2f", Err(404));
    }

    #[track_caller]
    fn misdirected(shown: &[&str], elsewhere: &[&str], host: &str, expected: bool) {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let tls = TlsFacts {
            version: "1.3",
            server_name: None,
            shown: names(shown),
            elsewhere: names(elsewhere),
        };
        assert_eq!(is_misdirected(&tls, host), expected, "{host}");
    }

    #[test]
    fn a_host_of_another_certificate_is_misdirected() {
        misdirected(&["a.example"], &["b.example"], "a.example", false);
        misdirected(&["a.example"], &["b.example"], "b.example", true);
        misdirected(&["a.example"], &["b.example"], "127.0.0.1", false);
        misdirected(&["*.example"], &["b.example"], "b.example", false);
        misdirected(&["a.example"], &["*.example"], "b.example", true);
        misdirected(&["a.example"], &["*.example"], "c.b.example", false);
    }
}
