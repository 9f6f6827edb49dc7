//! A static replica: a fixed address that is probed, its name looked up again
//! from time to time.
//!
//! Never starts or stops what answers there. One task per address, spawned by
//! `runtime`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::watch::{ReadySince, watch};
use super::{Place, ReplicaEvent};
use crate::resource::UpstreamTls;
use crate::upstream::Secure;

/// Between look-ups of a name: as long as common name servers keep an answer.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);
/// A look-up that takes longer has failed.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Watches the replica at `name` (`host:port`) until it is to end.
pub(super) async fn run(place: Arc<Place>, name: String, tls: Option<UpstreamTls>) {
    let mut backoff = Backoff::default();
    loop {
        let found = tokio::select! {
            biased;
            () = place.ending.asked.cancelled() => return,
            found = look_up(&name) => found,
        };
        let address = match found.map(|addresses| addresses.first().copied()) {
            Ok(Some(address)) => address,
            Ok(None) => {
                let reason = format!("{name:?} has no address");
                if place.back_off(reason, backoff.next(Duration::ZERO)).await {
                    continue;
                }
                return;
            }
            Err(reason) => {
                if place.back_off(reason, backoff.next(Duration::ZERO)).await {
                    continue;
                }
                return;
            }
        };
        let tls = match secure(&place, &name, tls.as_ref()).await {
            Ok(tls) => tls,
            Err(reason) => {
                if place.back_off(reason, backoff.next(Duration::ZERO)).await {
                    continue;
                }
                return;
            }
        };
        backoff = Backoff::default();
        let id = place.id.clone();
        let starting = ReplicaEvent::Starting {
            id,
            address,
            tls: tls.clone(),
        };
        place.tell(starting).await;
        tokio::select! {
            biased;
            () = place.ending.asked.cancelled() => return,
            () = moved(&name, address) => {}
            () = watch_at(&place, address, tls.as_ref()) => {}
        }
        let id = place.id.clone();
        let reason = format!("{name:?} has another address now");
        place.tell(ReplicaEvent::Exited { id, reason }).await;
    }
}

async fn watch_at(place: &Place, address: SocketAddr, tls: Option<&Secure>) {
    watch(place, address, tls, &mut ReadySince::default()).await;
}

/// TLS to the replica, where its version has it: its roots are read now.
async fn secure(
    place: &Place,
    name: &str,
    tls: Option<&UpstreamTls>,
) -> Result<Option<Secure>, String> {
    let Some(tls) = tls.cloned() else {
        return Ok(None);
    };
    let name = name.to_owned();
    let made = place
        .machine
        .0
        .tasks
        .blocking(move || Secure::new(&tls, &name));
    match made.await {
        Ok(Ok(secure)) => Ok(Some(secure)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("TLS could not be set up: {error}")),
    }
}

async fn look_up(name: &str) -> Result<Vec<SocketAddr>, String> {
    match tokio::time::timeout(LOOK_UP_TIMEOUT, tokio::net::lookup_host(name)).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(format!("{name:?} was not found: {error}")),
        Err(_) => Err(format!("{name:?} was not found within {LOOK_UP_TIMEOUT:?}")),
    }
}

/// Ends when `name` no longer has `address`. A look-up that fails changes
/// nothing: what was found stays, and its probes judge it. Cancel-safe.
async fn moved(name: &str, address: SocketAddr) {
    if name.parse::<SocketAddr>().is_ok() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(LOOK_UP_EVERY).await;
        if let Ok(addresses) = look_up(name).await
            && !addresses.is_empty()
            && !addresses.contains(&address)
        {
            return;
        }
    }
}
