//! A static replica: a fixed address that is probed, its name looked up again
//! from time to time.
//!
//! Never starts or stops what answers there. One task per address, spawned by
//! `runtime`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::backoff::Backoff;
use super::watch::{ReadySince, watch};
use super::{Place, ReplicaEvent};
use crate::resource::UpstreamTls;
use crate::upstream::Secure;

/// Between look-ups of a name: as long as common name servers keep an answer.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);
/// What does not take a connection in that time does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A look-up that takes longer has failed.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Watches the replica at `name` (`host:port`) until it is to end.
pub(super) async fn run(place: Arc<Place>, name: String, tls: Option<UpstreamTls>) {
    let mut backoff = Backoff::default();
    loop {
        let found = tokio::select! {
            biased;
            () = place.ending.asked.cancelled() => return,
            found = find(&name) => found,
        };
        let address = match found {
            Ok(address) => address,
            Err(reason) => {
                // Nothing tells when it begins to answer but asking again.
                let period = place.spec.version.readiness.period;
                let wait = backoff.next(Duration::ZERO).min(period);
                if place.back_off(reason, wait, false).await {
                    continue;
                }
                return;
            }
        };
        let tls = match secure(&place, &name, tls.as_ref()).await {
            Ok(tls) => tls,
            Err(reason) => {
                if place
                    .back_off(reason, backoff.next(Duration::ZERO), false)
                    .await
                {
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

/// The address that is watched: of several that a name has the first that
/// answers, since not all may be the replica's (`localhost` is `::1` and
/// `127.0.0.1`). Cancel-safe.
async fn find(name: &str) -> Result<SocketAddr, String> {
    let addresses = look_up(name).await?;
    match addresses.as_slice() {
        [] => Err(format!("{name:?} has no address")),
        [only] => Ok(*only),
        several => first_that_answers(several)
            .await
            .ok_or_else(|| format!("none of the addresses of {name:?} answers")),
    }
}

async fn first_that_answers(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    for address in addresses {
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        // It must not be itself that it met, on a free port of loopback.
        if let Ok(Ok(stream)) = connect.await
            && stream.local_addr().is_ok_and(|own| own != *address)
        {
            return Some(*address);
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_several_addresses_one_that_answers_is_watched() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        // Nothing else can listen there for as long as this is bound.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let not_there = silent.local_addr().unwrap();
        assert_eq!(first_that_answers(&[not_there, there]).await, Some(there));
        assert_eq!(first_that_answers(&[not_there]).await, None);
    }
}
