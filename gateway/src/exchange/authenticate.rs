//! Step 3 of an exchange: who is calling?
//!
//! Asks the endpoint's auth policies in their order, or reuses a grant. A
//! policy that fails closes the endpoint to this request (503): never 401,
//! never open. Called by `exchange` after `route`.

use std::sync::Arc;

use tokio::time::Instant;

use super::ledger::Ledger;
use super::outlive::outlive;
use super::route::Routed;
use crate::fault::{Denial, Fault};
use crate::id::Digest;
use crate::identity::Caller;
use crate::policy::{AuthDecision, DenyStatus, GrantKey, Policy, Refused, RequestFacts};
use crate::resource::Role;
use crate::table::AuthPolicies;

/// Output of this step; input of `choose`.
#[derive(Debug)]
pub(super) struct Identified {
    /// The request and its endpoint.
    pub(super) routed: Routed,
}

/// Asks who is calling. A remembered grant costs about 0.5 µs, a call about 2.
///
/// # Errors
///
/// `unauthenticated`, `forbidden`, `rate-limited`; `policy-failed` where a
/// policy fails or is missing.
pub(super) async fn authenticate(ledger: &mut Ledger, routed: Routed) -> Result<Identified, Fault> {
    let entry = Arc::clone(&routed.entry);
    match &entry.auth {
        AuthPolicies::Open => {}
        AuthPolicies::Closed(reason) => return Err(Fault::PolicyFailed(reason.clone())),
        AuthPolicies::Ask(policies) => {
            let began = Instant::now();
            let result = ask_all(ledger, &routed, policies).await;
            ledger.deciding += began.elapsed();
            ledger.caller = Some(result?);
        }
    }
    Ok(Identified { routed })
}

/// The first denial ends it; the last grant names the caller; where all pass,
/// nobody knows the caller (SEMANTICS §8).
async fn ask_all(
    ledger: &mut Ledger,
    routed: &Routed,
    policies: &[Arc<Policy>],
) -> Result<Arc<Caller>, Fault> {
    let mut caller: Option<Arc<Caller>> = None;
    ledger.id();
    for policy in policies {
        ledger.decided(Role::Auth, policy);
        if let Some(named) = ask(ledger, routed, policy, caller.as_deref()).await? {
            caller = Some(named);
        }
    }
    caller.ok_or_else(|| Fault::Unauthenticated(Box::default()))
}

/// Asks one policy; none where it passes.
async fn ask(
    ledger: &Ledger,
    routed: &Routed,
    policy: &Arc<Policy>,
    so_far: Option<&Caller>,
) -> Result<Option<Arc<Caller>>, Fault> {
    let worker = ledger.worker();
    let facts = facts(ledger, routed);
    let key = GrantKey::of(policy, &facts, so_far);
    let now = Instant::now().into_std();
    if let Some(caller) = worker.grants.get(policy, &key, now) {
        return Ok(Some(caller));
    }
    let call = policy.authenticate(&facts, so_far);
    match outlive(&worker, &ledger.connection, call).await {
        Ok(AuthDecision::Allow(grant)) => {
            worker.grants.put(key, &grant, now);
            Ok(Some(grant.caller))
        }
        Ok(AuthDecision::Pass) => Ok(None),
        Ok(AuthDecision::Deny(refused)) => Err(denied(refused)),
        Err(fault) => {
            let (plugin, digest) = (policy.plugin(), policy.digest());
            Err(failed(plugin.as_str(), digest, &fault.to_string()))
        }
    }
}

/// The fault of a policy that failed, for the log.
pub(super) fn failed(plugin: &str, digest: &Digest, what: &str) -> Fault {
    Fault::PolicyFailed(format!("{plugin} ({digest}): {what}"))
}

fn denied(refused: Refused) -> Fault {
    let denial: Box<Denial> = Box::new(refused.denial);
    match refused.status {
        DenyStatus::Unauthenticated => Fault::Unauthenticated(denial),
        DenyStatus::Forbidden => Fault::Forbidden(denial),
        DenyStatus::RateLimited => Fault::RateLimited(denial),
    }
}

/// What policies may know of the request: the path is the one that is sent.
pub(super) fn facts<'a>(ledger: &'a Ledger, routed: &'a Routed) -> RequestFacts<'a> {
    let admitted = &routed.admitted;
    RequestFacts {
        id: ledger.id_text(),
        method: &admitted.parts.method,
        path: routed.target.path(),
        query: routed.target.query(),
        authority: admitted.authority.to_str().unwrap_or_default(),
        client_ip: admitted.client_ip,
        endpoint: &routed.entry.spec.name,
        content_length: admitted.content_length,
        headers: &admitted.parts.headers,
        attributes: ledger.connection.attributes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_is_its_fault() {
        #[track_caller]
        fn check(status: DenyStatus, expected: u16) {
            let denial = Denial::default();
            let fault = denied(Refused { status, denial });
            assert_eq!(fault.status().as_u16(), expected);
        }
        check(DenyStatus::Unauthenticated, 401);
        check(DenyStatus::Forbidden, 403);
        check(DenyStatus::RateLimited, 429);
    }
}
