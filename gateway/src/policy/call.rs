//! The calls of a policy: who is calling, which version answers, what is kept.
//!
//! A call's records are built before its future is returned, so that the future
//! may outlive the request. Every call is counted once, with its kind of fault
//! where it failed. Never decides what a failure means. Called by `exchange`
//! and `collector`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::instance::Exports;
use super::pool::Lease;
use super::{
    AuthDecision, Candidate, Choice, CollectedExchange, Entry, FaultKind, Policy, PolicyFault,
    RequestFacts, answer, record,
};
use crate::id;
use crate::identity::Caller;
use crate::metrics::Counter;
use crate::resource::Role;

/// Asks one export of a leased instance, with its limits, and puts the instance
/// back; `$more` is taken of the guest before that.
macro_rules! ask {
    ($lease:ident, $role:ident, |$exports:ident, $store:ident| $call:expr, $more:expr) => {{
        let Some(instance) = $lease.begin() else {
            return Err(misused());
        };
        let Exports::$role($exports) = &instance.exports else {
            return Err(misused());
        };
        let $store = &mut instance.store;
        let called = $call.await;
        let lost = called.is_err();
        let answer = instance.settle(called);
        let more = $more(instance.store.data());
        $lease.end(lost);
        (answer?, more)
    }};
}

impl Policy {
    /// Asks who is calling. The record is built before this returns; the
    /// future may outlive its caller. About 2 µs.
    pub fn authenticate(
        self: &Arc<Self>,
        facts: &RequestFacts<'_>,
        so_far: Option<&Caller>,
    ) -> impl Future<Output = Result<AuthDecision, PolicyFault>> + Send + use<> {
        let request = record::request(facts, self.headers(), Role::Auth);
        let so_far = so_far.map(record::caller);
        let policy = Arc::clone(self);
        async move {
            let answer = async {
                let mut lease = Lease::take(Arc::clone(&policy)).await?;
                let (decision, ends_ms) = ask!(
                    lease,
                    Auth,
                    |exports, store| exports.tidegate_policy_auth().call_authenticate(
                        store,
                        &request,
                        so_far.as_ref()
                    ),
                    |guest: &super::guest::Guest| guest.credential_ends_ms
                );
                answer::auth(decision, ends_ms.map(until))
            }
            .await;
            let counted = &policy.loaded.counted;
            let decision = match &answer {
                Ok(AuthDecision::Allow(_)) => &counted.allow,
                Ok(AuthDecision::Pass) => &counted.pass,
                _ => &counted.deny,
            };
            policy.count(&answer, decision);
            answer
        }
    }

    /// Asks which version answers; the answer is checked to be one of the
    /// candidates. About 3 µs.
    pub fn choose(
        self: &Arc<Self>,
        facts: &RequestFacts<'_>,
        caller: Option<&Caller>,
        draw: u64,
        candidates: Vec<Candidate>,
    ) -> impl Future<Output = Result<Choice, PolicyFault>> + Send + use<> {
        let request = record::request(facts, self.headers(), Role::Split);
        let caller = caller.map(record::caller);
        let records: Vec<_> = candidates.iter().map(record::candidate).collect();
        let policy = Arc::clone(self);
        async move {
            let answer = async {
                let mut lease = Lease::take(Arc::clone(&policy)).await?;
                let (choice, ()) = ask!(
                    lease,
                    Split,
                    |exports, store| exports.tidegate_policy_split().call_choose(
                        store,
                        &request,
                        caller.as_ref(),
                        draw,
                        &records
                    ),
                    |_| ()
                );
                answer::choice(choice, &candidates)
            }
            .await;
            policy.count(&answer, &policy.loaded.counted.chosen);
            answer
        }
    }

    /// Asks what is kept of a batch. Bodies are copied; called on the control
    /// runtime.
    pub fn collect(
        self: &Arc<Self>,
        batch: &[CollectedExchange],
        entries: Vec<Entry>,
    ) -> impl Future<Output = Result<Vec<Entry>, PolicyFault>> + Send + use<> {
        let names = self.headers();
        let (batch_len, given) = (batch.len(), entries.len());
        let batch: Vec<_> = batch
            .iter()
            .map(|exchange| record::exchange(exchange, names))
            .collect();
        let entries: Vec<_> = entries.iter().map(record::entry).collect();
        let policy = Arc::clone(self);
        async move {
            let answer = async {
                let mut lease = Lease::take(Arc::clone(&policy)).await?;
                let (kept, ()) = ask!(
                    lease,
                    Collect,
                    |exports, store| exports
                        .tidegate_policy_collect()
                        .call_collect(store, &batch, &entries),
                    |_| ()
                );
                answer::entries(kept, batch_len, given)
            }
            .await;
            policy.count(&answer, &policy.loaded.counted.collected);
            answer
        }
    }

    fn count<T>(&self, answer: &Result<T, PolicyFault>, decision: &Counter) {
        let counted = &self.loaded.counted;
        match answer {
            Ok(_) => decision.inc(),
            Err(fault) => counted.fault(fault.kind),
        }
    }
}

/// How long a credential that ends at `ms` of the wall clock still holds.
fn until(ms: u64) -> Duration {
    Duration::from_millis(ms.saturating_sub(id::wall_ms()))
}

/// A policy was asked what is not its role.
fn misused() -> PolicyFault {
    PolicyFault {
        kind: FaultKind::Error,
        detail: "the policy has another role".to_owned(),
    }
}
