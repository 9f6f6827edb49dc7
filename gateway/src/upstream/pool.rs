//! The connections to replicas that one worker keeps.
//!
//! An unused one lives `limits.upstreamIdle`; there are at most as many as the
//! replica has slots, over all workers. Never shares a connection between
//! exchanges and never keeps one that anything came on while it was unused.
//! Used by `exchange::forward`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::wire::{Stream, Wire};
use super::{CONNECT_TIMEOUT, HEAD_BYTES_MAX, Raw, Secure, Upload, UpstreamError, is_ours};
use crate::shutdown::Tasks;

/// A replica, as far as connections to it go.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// TLS to it; none: plain.
    pub tls: Option<Secure>,
    /// Its unused connections over all workers. The same object for as long
    /// as the replica lives, and so the replica's name in the pool: another
    /// replica at the same address never gets its connections.
    pub idle: Arc<AtomicU32>,
    /// At most so many.
    pub idle_max: u32,
}

/// The answer of a replica.
pub type Response = http::Response<Incoming>;

/// A request that failed, with itself where hyper sent none of it.
#[derive(Debug)]
pub struct Unsent {
    /// Why.
    pub error: UpstreamError,
    /// The request, to be sent elsewhere.
    pub request: Option<Box<Request<Upload>>>,
}

/// A request on its way; ends with the head of the answer.
pub type Sending = Pin<Box<dyn Future<Output = Result<Response, Unsent>>>>;

/// A connection to a replica, for one exchange at a time. Closed when it is
/// dropped, whatever is under way on it; [`Pool::put`] keeps it instead.
#[derive(Debug)]
pub struct Link {
    sender: SendRequest<Upload>,
    /// Ends with what was read and is no HTTP.
    driver: JoinHandle<Bytes>,
    wire: Wire,
    idle: Arc<AtomicU32>,
    idle_max: u32,
}

impl Link {
    /// Sends a request. The future is `'static`, so that it can outlive the
    /// exchange (`callerGone: finish`); dropping it closes the connection.
    pub fn send(&mut self, request: Request<Upload>) -> Sending {
        self.wire.expect_head();
        let sent = self.sender.try_send_request(request);
        Box::pin(async move {
            sent.await.map_err(|mut failed| Unsent {
                request: failed.take_message().map(Box::new),
                error: UpstreamError::Answer(describe(&failed.into_error())),
            })
        })
    }
}

impl Link {
    /// The connection as bytes, after an answer of 101; none where it broke.
    /// Not before that answer: it waits until hyper lets go. Cancel-safe:
    /// dropped, the connection is closed.
    pub async fn into_raw(mut self) -> Option<Raw> {
        let ahead = (&mut self.driver).await.ok()?;
        Some(Raw::new(self.wire.clone(), ahead))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // hyper would close it as well, but only once its task is polled; a
        // slot must not be free before.
        if !self.sender.is_closed() {
            self.wire.close();
        }
        // Its task may wait for the rest of a request that will never come, or
        // to write where nothing can be written: nothing would wake it.
        self.driver.abort();
    }
}

/// What hyper and the wire say, with the causes.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

fn connect_error(error: &std::io::Error) -> UpstreamError {
    if is_ours(error) {
        UpstreamError::Ours(error.to_string())
    } else {
        UpstreamError::Connect(error.to_string())
    }
}

/// An unused connection; counted at its replica while it is one.
#[derive(Debug)]
struct Idle {
    link: Option<Link>,
    since: Instant,
    count: Arc<AtomicU32>,
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

/// The unused connections of one worker.
#[derive(Debug)]
pub struct Pool {
    // By the address of the replica's counter, which each `Idle` keeps alive.
    idle: RefCell<HashMap<usize, Vec<Idle>>>,
    lifetime: Duration,
    sweeping: Cell<bool>,
    tasks: Tasks,
}

impl Pool {
    /// An empty pool, whose connections are driven by `tasks`.
    #[must_use]
    pub fn new(lifetime: Duration, tasks: Tasks) -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::default(),
            lifetime,
            sweeping: Cell::new(false),
            tasks,
        })
    }

    /// An unused connection to the replica, the one used last first.
    #[must_use]
    pub fn take(&self, peer: &Peer) -> Option<Link> {
        let key = Arc::as_ptr(&peer.idle) as usize;
        let mut idle = self.idle.borrow_mut();
        let links = idle.get_mut(&key)?;
        while let Some(mut one) = links.pop() {
            let fresh = one.since.elapsed() < self.lifetime;
            let Some(link) = one.link.take() else {
                continue;
            };
            if fresh && link.sender.is_ready() && link.wire.silent() {
                return Some(link);
            }
        }
        None
    }

    /// A new connection to the replica.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Connect`] or [`UpstreamError::Ours`]; nothing was sent.
    /// Cancel-safe.
    pub async fn connect(&self, peer: &Peer) -> Result<Link, UpstreamError> {
        let connect = async {
            let stream = TcpStream::connect(peer.address).await?;
            // On loopback a connect to a free port can get that very port and
            // meet itself.
            if stream.local_addr()? == peer.address {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            // Without it the last part of a body waits for an acknowledgement;
            // an answer that is late is no reason to refuse the connection.
            let _nodelay = stream.set_nodelay(true);
            Ok(match &peer.tls {
                None => Stream::Plain(stream),
                Some(tls) => Stream::Tls(Box::new(tls.connect(stream).await?)),
            })
        };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(connect_error(&error)),
            Err(_) => {
                let text = format!("no connection within {CONNECT_TIMEOUT:?}");
                return Err(UpstreamError::Connect(text));
            }
        };
        let wire = Wire::new(stream);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX + (16 << 10))
            .handshake(TokioIo::new(wire.clone()))
            .await
            .map_err(|error| UpstreamError::Connect(describe(&error)))?;
        let driver = self.tasks.spawn_local(async move {
            let mut connection = connection;
            if let Err(error) = (&mut connection).await {
                tracing::debug!(error = %describe(&error), "a connection to a replica ended");
            }
            connection.into_parts().read_buf
        });
        Ok(Link {
            sender,
            driver,
            wire,
            idle: Arc::clone(&peer.idle),
            idle_max: peer.idle_max,
        })
    }

    /// Keeps a connection on which both sides ended their message for certain;
    /// closes it where the replica has its share of unused ones.
    pub fn put(self: &Rc<Self>, link: Link) {
        if link.sender.is_closed() || self.tasks.stopping() {
            return;
        }
        let room = link
            .idle
            .fetch_update(Relaxed, Relaxed, |n| (n < link.idle_max).then_some(n + 1));
        if room.is_err() {
            return;
        }
        let count = Arc::clone(&link.idle);
        let key = Arc::as_ptr(&count) as usize;
        let one = Idle {
            link: Some(link),
            since: Instant::now(),
            count,
        };
        self.idle.borrow_mut().entry(key).or_default().push(one);
        if !self.sweeping.replace(true) {
            let sweep = sweep(Rc::downgrade(self), self.tasks.clone());
            self.tasks.spawn_local(sweep);
        }
    }

    /// Unused connections of this worker, for tests.
    #[must_use]
    pub fn unused(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum()
    }

    /// Closes what is too old; says when the next one will be.
    fn close_old(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        self.idle.borrow_mut().retain(|_, links| {
            links.retain(|one| {
                let closed = one.link.as_ref().is_none_or(|link| link.sender.is_closed());
                !closed && now < one.since + self.lifetime
            });
            if let Some(oldest) = links.first() {
                let end = oldest.since + self.lifetime;
                next = Some(next.map_or(end, |next| next.min(end)));
            }
            !links.is_empty()
        });
        // Not more than ten times in a lifetime, however many come and go.
        next.map(|next| next.max(now + self.lifetime / 10))
    }
}

/// Closes unused connections at the end of their life, as long as there are any;
/// all of them once the gateway stops, which waits for this.
async fn sweep(pool: Weak<Pool>, tasks: Tasks) {
    loop {
        let next = match pool.upgrade() {
            None => return,
            Some(pool) => match pool.close_old() {
                Some(next) => next,
                None => {
                    pool.sweeping.set(false);
                    return;
                }
            },
        };
        tokio::select! {
            biased;
            () = tasks.stopped() => {
                if let Some(pool) = pool.upgrade() {
                    drop(pool.idle.take());
                }
                return;
            }
            () = tokio::time::sleep_until(next) => {}
        }
    }
}
