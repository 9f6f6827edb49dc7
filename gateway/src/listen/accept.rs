//! Listening sockets: bound all at once, accepted from within the limit.
//!
//! At `limits.connections` nobody is accepted until somebody leaves: callers
//! wait in the kernel's backlog. Without file descriptors accepting pauses
//! instead of spinning. Never reads a byte. Called by `start`.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::metrics::Gauge;
use crate::shutdown::Tasks;

use super::tls::Tls;

/// Connections the kernel keeps for us; more are refused by it.
const BACKLOG: i32 = 1024;
/// Pause after a failed accept, without descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One listener, as its connections know it.
#[derive(Debug)]
pub(super) struct Door {
    /// Its name.
    pub(super) name: String,
    /// Where it is bound.
    pub(super) address: SocketAddr,
    /// None: plain HTTP.
    pub(super) tls: Option<Arc<Tls>>,
    /// Its connections, counted.
    pub(super) connections: Arc<Gauge>,
    /// Whether the socket was handed over and stays open when we close it: whoever
    /// connects then is the next gateway's caller.
    pub(super) inherited: bool,
}

/// A place among `limits.connections`, counted on its worker; a drain waits for
/// it.
#[derive(Debug)]
pub(super) struct Seat {
    load: Arc<AtomicUsize>,
    gauge: Arc<Gauge>,
    _permit: OwnedSemaphorePermit,
    _task: TaskTrackerToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Relaxed);
        self.gauge.add(-1);
    }
}

/// An accepted connection on its way to its worker.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The socket; no runtime knows it yet.
    pub(super) socket: TcpStream,
    /// The caller.
    pub(super) peer: SocketAddr,
    /// Where it came in.
    pub(super) door: Arc<Door>,
    /// Held until it is closed.
    pub(super) seat: Seat,
}

/// One worker, as acceptors know it. Its queue is bounded by the seats.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    /// Connections it has.
    pub(super) load: Arc<AtomicUsize>,
    /// Where it takes new ones from.
    pub(super) arrivals: UnboundedSender<Arrival>,
}

/// Binds one address. Port 0 takes a free one.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Where connections go: to whom, how many, and what a drain waits for.
#[derive(Debug, Clone)]
pub(super) struct House {
    /// Room for connections.
    pub(super) seats: Arc<Semaphore>,
    /// The workers.
    pub(super) hands: Vec<Hand>,
    /// Stopping means draining.
    pub(super) tasks: Tasks,
    /// Cancelled once sockets that were handed over are accepted from.
    pub(super) opened: CancellationToken,
}

/// Accepts until shutdown begins, then closes the listener. Who had connected by
/// then is served, unless the next gateway has the socket. Must be run on a
/// runtime with I/O.
pub(super) async fn accept(listener: TcpListener, door: Arc<Door>, house: House) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = %door.name, "cannot accept: {error}");
            return;
        }
    };
    let accepting = async {
        if door.inherited {
            house.opened.cancelled().await;
        }
        let mut failing = false;
        while let Ok(permit) = Arc::clone(&house.seats).acquire_owned().await {
            match next(&listener).await {
                Ok((socket, peer)) => {
                    failing = false;
                    house.seat(socket, peer, &door, permit);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !failing {
                        tracing::warn!(listener = %door.name, "accepting pauses: {error}");
                    }
                    failing = true;
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = house.tasks.stopped() => {}
    }
    if let Ok(listener) = listener.into_std()
        && !door.inherited
    {
        take_backlog(&listener, &door, &house);
    }
}

/// Takes those who are connected and not accepted: to close the socket would
/// reset them.
fn take_backlog(listener: &TcpListener, door: &Arc<Door>, house: &House) {
    for _ in 0..BACKLOG {
        let Ok(permit) = Arc::clone(&house.seats).try_acquire_owned() else {
            return;
        };
        match listener.accept() {
            Ok((socket, peer)) if socket.set_nonblocking(true).is_ok() => {
                house.seat(fit(socket), canonical(peer), door, permit);
            }
            Ok(_) => {}
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

/// Accepts one, and takes it off this runtime: its worker's will know it.
async fn next(listener: &tokio::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = listener.accept().await?;
    Ok((fit(socket.into_std()?), canonical(peer)))
}

fn fit(socket: TcpStream) -> TcpStream {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!("no TCP_NODELAY: {error}");
    }
    socket
}

/// An IPv4 caller of an IPv6 socket is an IPv4 caller.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Whether an accept failed for what one caller did.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

impl House {
    /// Gives a connection to the worker with the fewest.
    fn seat(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        door: &Arc<Door>,
        permit: OwnedSemaphorePermit,
    ) {
        let Some(hand) = self.hands.iter().min_by_key(|hand| hand.load.load(Relaxed)) else {
            return;
        };
        hand.load.fetch_add(1, Relaxed);
        door.connections.add(1);
        let arrival = Arrival {
            socket,
            peer,
            door: Arc::clone(door),
            seat: Seat {
                load: Arc::clone(&hand.load),
                gauge: Arc::clone(&door.connections),
                _permit: permit,
                _task: self.tasks.hold(),
            },
        };
        // Where the worker has ended, the connection is closed by its drop.
        drop(hand.arrivals.send(arrival));
    }
}
