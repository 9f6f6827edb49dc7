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

/// Between look-ups of a name: as long as common name servers keep an answer.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);
/// A look-up that takes longer has failed.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Watches the replica at `name` (`host:port`) until it is to end.
pub(super) async fn run(place: Arc<Place>, name: String) {
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
        backoff = Backoff::default();
        let id = place.id.clone();
        place.tell(ReplicaEvent::Starting { id, address }).await;
        tokio::select! {
            biased;
            () = place.ending.asked.cancelled() => return,
            () = moved(&name, address) => {}
            () = watch_at(&place, address) => {}
        }
        let id = place.id.clone();
        let reason = format!("{name:?} has another address now");
        place.tell(ReplicaEvent::Exited { id, reason }).await;
    }
}

async fn watch_at(place: &Place, address: SocketAddr) {
    watch(place, address, &mut ReadySince::default()).await;
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
