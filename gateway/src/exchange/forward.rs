//! Step 5 of an exchange: a slot on a replica, the request to it, the head of
//! its answer; once more elsewhere where that is safe.
//!
//! Never buffers a body, never sends a request twice that a replica may have
//! begun to answer. Called by `exchange` after `choose`.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};
use tokio::time::Instant;

use super::Waiting;
use super::begun::Begun;
use super::choose::Chosen;
use super::flight::{Field, Flight, Late, NoAnswer, Patience, retry_after};
use super::head::{self, Origin, Outgoing};
use super::ledger::Ledger;
use super::mirror;
use super::tunnel::Asked;
use crate::fault::Fault;
use crate::fleet::{Again, Outcome, Replica, Slot};
use crate::id::ReplicaId;
use crate::resource::CallerGone;
use crate::table::VersionEntry;
use crate::upstream::{Link, Peer, Pool, Unsent, UploadFault, Uploading, UpstreamError};

/// Output of this step; input of `relay`.
#[derive(Debug)]
pub(super) struct Answered {
    /// The answer of the replica, its head checked.
    pub(super) response: Response<Begun>,
    /// The connection it comes on.
    pub(super) link: Link,
    /// Where the connection goes when both sides are done.
    pub(super) pool: Rc<Pool>,
    /// The slot.
    pub(super) slot: Slot,
    /// The caller's body; perhaps not at its end.
    pub(super) uploading: Uploading,
    /// The version that answers.
    pub(super) version: Arc<VersionEntry>,
    /// Whether a model's 500 becomes 502.
    pub(super) model_errors_as_502: bool,
    /// The other protocol that was asked for.
    pub(super) upgrade: Option<Asked>,
}

/// A try that failed.
struct Failed {
    fault: Fault,
    /// The head, where the same request may be sent to another replica.
    again: Option<Box<Parts>>,
}

/// A request that waits to be sent.
struct Outbound<'a> {
    field: Field<'a>,
    uploading: &'a Uploading,
    retriable: bool,
    upgrade: Option<&'a Asked>,
}

/// Sends the request to a replica of the version.
///
/// # Errors
///
/// `body-too-large`, `caller-timeout`, `caller-gone`, `malformed` for the
/// caller's body; `overloaded`, `no-replica` for want of a slot;
/// `replica-failed`, `scoring-timeout`.
pub(super) async fn forward(ledger: &mut Ledger, chosen: Chosen) -> Result<Answered, Fault> {
    let slot = seat(ledger, &chosen).await?;
    proceed(ledger, chosen, slot).await
}

/// The first half of [`forward`]: a slot, or a place in the queue for one.
///
/// # Errors
///
/// `body-too-large` where the caller said so; `overloaded`, `no-replica`;
/// `draining` where the gateway ends before there is a slot.
pub(super) async fn seat(ledger: &mut Ledger, chosen: &Chosen) -> Result<Slot, Fault> {
    let limit = chosen.max_request_bytes;
    let length = chosen.admitted.content_length;
    if length.is_some_and(|length| length > limit) {
        return Err(Fault::BodyTooLarge(limit));
    }
    take_slot(ledger, &chosen.version, None).await
}

/// The second half: the request to the slot's replica, and the head of its answer.
///
/// # Errors
///
/// Those of [`forward`] that are not [`seat`]'s.
pub(super) async fn proceed(
    ledger: &mut Ledger,
    mut chosen: Chosen,
    slot: Slot,
) -> Result<Answered, Fault> {
    let worker = ledger.worker();
    let version = Arc::clone(&chosen.version);
    let limit = chosen.max_request_bytes;
    let mut copies = mirror::plan(ledger, &mut chosen);
    let body = ledger
        .unread
        .take()
        .ok_or_else(|| Fault::Internal("the body was taken twice".to_owned()))?;
    let kept = ledger.kept.as_ref().map_or(0, |kept| kept.body_bytes);
    let copy_max = copies
        .as_ref()
        .map_or(kept, |plan| plan.body_bytes.max(kept));
    let uploading = Uploading::new(body, limit, copy_max);
    ledger.uploading = Some(uploading.clone());
    let upgrade = chosen.admitted.upgrade.take();
    let outbound = Outbound {
        field: Field {
            worker: &worker,
            patience: Patience {
                body_idle: worker.shared.limits.body_idle_timeout,
                scoring: version.spec.scoring_timeout,
            },
            finish: version.spec.caller_gone == CallerGone::Finish,
        },
        uploading: &uploading,
        retriable: chosen.admitted.parts.method.is_idempotent(),
        upgrade: upgrade.as_ref(),
    };
    let model_errors_as_502 = chosen.model_errors_as_502;
    let head = outgoing_head(ledger, chosen, &outbound);
    if let Some(plan) = &mut copies {
        plan.keep_head(&head);
    }
    let (first, waited) = (slot.replica().id.clone(), slot.waited());
    let sent = match send(ledger, &outbound, slot, head).await {
        Ok(sent) => sent,
        Err(Failed { fault, again: None }) => return Err(fault),
        Err(Failed {
            fault,
            again: Some(head),
        }) => {
            tracing::debug!(replica = %first, %fault, "once more");
            let again = Again::after(&first, waited);
            let Ok(slot) = take_slot(ledger, &version, Some(again)).await else {
                return Err(fault);
            };
            let last = send(ledger, &outbound, slot, *head).await;
            last.map_err(|failed| failed.fault)?
        }
    };
    let (response, link, slot) = sent;
    if let Some(plan) = copies {
        plan.send(ledger, &uploading, response.status());
    }
    Ok(Answered {
        response,
        link,
        pool: Rc::clone(&worker.pool),
        slot,
        uploading,
        version,
        model_errors_as_502,
        upgrade,
    })
}

async fn take_slot(
    ledger: &mut Ledger,
    version: &VersionEntry,
    again: Option<Again<&ReplicaId>>,
) -> Result<Slot, Fault> {
    // Kept there while it waits: the caller may go away.
    let asked = Instant::now();
    ledger.asking = Some(asked);
    let waiting = Waiting::begin(&ledger.connection);
    let worker = ledger.worker();
    let result = tokio::select! {
        biased;
        result = version.fleet.slot(again) => result,
        () = worker.shared.tasks.over() => Err(Fault::Draining),
    };
    drop(waiting);
    ledger.asking = None;
    ledger.queued += match &result {
        Ok(slot) => slot.waited(),
        Err(_) => asked.elapsed(),
    };
    let slot = result?;
    ledger.replica = Some(slot.replica().id.clone());
    Ok(slot)
}

fn outgoing_head(ledger: &mut Ledger, chosen: Chosen, outbound: &Outbound<'_>) -> Parts {
    let admitted = chosen.admitted;
    let mut parts = admitted.parts;
    let connection = Rc::clone(&ledger.connection);
    let origin = Origin {
        peer: connection.peer.ip().to_canonical(),
        tls: connection.tls.is_some(),
        trusted: admitted.trusted,
        authority: &admitted.authority,
    };
    let out = Outgoing {
        target: chosen.target,
        forward_credential: chosen.forward_credential,
        id: ledger.id(),
        origin,
        unknown_length: admitted.content_length.is_none() && outbound.uploading.ended().is_none(),
        upgrade: outbound.upgrade.map(Asked::protocol),
    };
    head::outgoing(&mut parts, &connection.forwarded, out);
    parts
}

/// A replica, as the pool of connections knows it.
pub(super) fn peer(replica: &Replica) -> Peer {
    Peer {
        address: replica.address,
        tls: replica.tls.clone(),
        idle: Arc::clone(&replica.idle),
        idle_max: replica.slots,
    }
}

type Sent = (Response<Begun>, Link, Slot);

/// Sends the request to the slot's replica: on an unused connection where there
/// is one, else (or where that turns out to be closed) on a new one.
async fn send(
    ledger: &mut Ledger,
    outbound: &Outbound<'_>,
    slot: Slot,
    head: Parts,
) -> Result<Sent, Failed> {
    let peer = peer(slot.replica());
    let (mut slot, mut head) = (slot, head);
    if let Some(link) = outbound.field.worker.pool.take(&peer) {
        match fly(ledger, outbound, link, slot, head).await {
            Flown::Unsent(back) => (slot, head) = *back,
            Flown::Ended(result) => return result,
        }
    }
    let link = match outbound.field.worker.pool.connect(&peer).await {
        Ok(link) => link,
        Err(error) => {
            let fault = if let UpstreamError::Ours(_) = error {
                Fault::Internal(error.to_string())
            } else {
                slot.outcome(Outcome::TransportError);
                Fault::ReplicaFailed(error.to_string())
            };
            return Err(Failed {
                fault,
                again: Some(Box::new(head)),
            });
        }
    };
    match fly(ledger, outbound, link, slot, head).await {
        Flown::Ended(result) => result,
        Flown::Unsent(back) => {
            let (slot, head) = *back;
            slot.outcome(Outcome::TransportError);
            Err(Failed {
                fault: Fault::ReplicaFailed("closed before the request".to_owned()),
                again: Some(Box::new(head)),
            })
        }
    }
}

/// How one try on one connection went.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would cost each exchange an allocation"
)]
enum Flown {
    /// None of it was sent.
    Unsent(Box<(Slot, Parts)>),
    /// There is an answer, or a fault.
    Ended(Result<Sent, Failed>),
}

async fn fly(
    ledger: &mut Ledger,
    outbound: &Outbound<'_>,
    link: Link,
    slot: Slot,
    head: Parts,
) -> Flown {
    let spare = outbound.retriable.then(|| Box::new(head.clone()));
    let request = Request::from_parts(head, outbound.uploading.body());
    ledger.sends();
    let mut flight = Flight::begin(&outbound.field, request, outbound.uploading, link, slot);
    let answer = match flight.answer().await {
        Ok(response) => look(response).await,
        Err(why) => Err(why),
    };
    let ended = Flown::Ended;
    let no_again = |fault| Failed { fault, again: None };
    let lost = || no_again(Fault::Internal("a flight without its slot".to_owned()));
    match answer {
        Ok(response) => match flight.land() {
            Some((link, slot)) => ended(landed(ledger, outbound, (response, link, slot))),
            None => ended(Err(lost())),
        },
        Err(why) => {
            let Some(slot) = flight.abort() else {
                return ended(Err(lost()));
            };
            if let Some(fault) = outbound.uploading.failed() {
                return ended(Err(no_again(blame_caller(
                    fault,
                    outbound.uploading.limit(),
                ))));
            }
            match why {
                NoAnswer::Late(late) => ended(Err(no_again(too_late(
                    late,
                    &slot,
                    outbound.field.patience,
                )))),
                NoAnswer::Failed(unsent) => {
                    if let Some(request) = unsent.request {
                        let head = request.into_parts().0;
                        return Flown::Unsent(Box::new((slot, head)));
                    }
                    slot.outcome(Outcome::TransportError);
                    ended(Err(Failed {
                        fault: Fault::ReplicaFailed(unsent.error.to_string()),
                        again: spare.filter(|_| !outbound.uploading.touched()),
                    }))
                }
            }
        }
    }
}

/// Looks at the body: one that is known to be broken before its head is passed
/// on is no answer, and the caller is told so.
async fn look(response: crate::upstream::Response) -> Result<Response<Begun>, NoAnswer> {
    let (head, body) = response.into_parts();
    match Begun::look(body).await {
        Ok(body) => Ok(Response::from_parts(head, body)),
        Err(error) => Err(NoAnswer::Failed(Unsent {
            error: UpstreamError::Answer(error.to_string()),
            request: None,
        })),
    }
}

/// The head of the answer is there: is it one that can be passed on?
fn landed(ledger: &mut Ledger, outbound: &Outbound<'_>, sent: Sent) -> Result<Sent, Failed> {
    let (response, link, slot) = sent;
    let now = Instant::now();
    ledger.answered = Some(now);
    let status = response.status();
    let asked = outbound.upgrade.map(Asked::protocol);
    if let Err(what) = head::check_answer(status, response.headers(), asked) {
        drop(response);
        drop(link);
        slot.outcome(Outcome::TransportError);
        return Err(Failed {
            fault: Fault::ReplicaFailed(what.to_owned()),
            again: None,
        });
    }
    slot.answered(now.into_std(), status.as_u16(), retry_after(&response));
    // An answer that is not to what is still being sent: the rest of it will
    // not change it. A 2xx may be a stream in both directions.
    if outbound.uploading.ended().is_none() && !status.is_success() {
        outbound.uploading.stop();
    }
    Ok((response, link, slot))
}

/// The fault of a caller's body that cannot be sent on.
pub(super) fn blame_caller(fault: UploadFault, limit: u64) -> Fault {
    match fault {
        UploadFault::TooLarge => Fault::BodyTooLarge(limit),
        UploadFault::Gone => Fault::CallerGone,
        UploadFault::Malformed(what) => Fault::Malformed(what),
    }
}

fn too_late(late: Late, slot: &Slot, patience: Patience) -> Fault {
    match late {
        Late::Caller => Fault::CallerTimeout(patience.body_idle),
        Late::Replica => {
            slot.outcome(Outcome::Timeout);
            Fault::ScoringTimeout(patience.scoring)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn a_post_is_never_repeated() {
        assert!(!Method::POST.is_idempotent());
        assert!(Method::GET.is_idempotent());
        assert!(!Method::PATCH.is_idempotent());
    }

    #[test]
    fn what_the_caller_did_to_its_body_is_told_apart() {
        #[track_caller]
        fn check(fault: UploadFault, status: u16) {
            assert_eq!(blame_caller(fault, 1).row().status, status);
        }
        check(UploadFault::TooLarge, 413);
        check(UploadFault::Gone, 499);
        check(UploadFault::Malformed("x"), 400);
    }
}
