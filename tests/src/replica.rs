//! The test replica: a synchronous model server made of std threads.
//!
//! A thread a connection; it computes on when its caller went away, as a
//! synchronous model server does, and knows how many requests it had at once at
//! most. What it does with a request stands in the query, see [`Replica`].
//! Used in a test's own process for `static` versions and as the binary
//! `replica` for `process` ones.

mod answer;
mod request;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub use request::{Digest, Request};

/// A server on a port of its own. By the query of a request it does, in this
/// order: `early=STATUS` answers before the body is read; `vanish` closes
/// without an answer; `garbage` answers nonsense; `hang` never answers; then the
/// body is read; `sleep=MS` computes; and then one of `head` (the head it got),
/// `echo` (the body it got, chunked, with its trailers), `bytes=N`, `sse=N`
/// events `every=MS`, `short` (cut within its length), `cut` (a chunk cut), or
/// by default a line of JSON. `status=N`, `retry=SECONDS` (a `Retry-After`),
/// `close` and `trailers` change the answer. `GET /stats` is answered from the side.
#[derive(Debug)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections of a replica share.
#[derive(Debug, Default)]
struct Shared {
    name: String,
    begun: Option<Instant>,
    manner: Mutex<String>,
    busy: AtomicU32,
    greatest: AtomicU32,
    served: AtomicU32,
    body_bytes: AtomicU64,
    stopped: AtomicBool,
}

impl Replica {
    /// Starts one on a free port of loopback.
    #[must_use]
    pub fn start(name: &str) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").unwrap(), name)
    }

    /// Starts one on a socket that is bound.
    #[must_use]
    pub fn serve(listener: TcpListener, name: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            begun: Some(Instant::now()),
            ..Shared::default()
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &of_thread));
        Self { address, shared }
    }

    /// Treats every later request as if this stood first in its query.
    ///
    /// # Panics
    ///
    /// Where one of its threads did.
    pub fn behave(&self, manner: &str) {
        manner.clone_into(&mut self.shared.manner.lock().unwrap());
    }

    /// The most requests it had at once.
    #[must_use]
    pub fn greatest(&self) -> u32 {
        self.shared.greatest.load(Ordering::SeqCst)
    }

    /// Requests it computes now.
    #[must_use]
    pub fn busy(&self) -> u32 {
        self.shared.busy.load(Ordering::SeqCst)
    }

    /// Requests it got, answered or not.
    #[must_use]
    pub fn served(&self) -> u32 {
        self.shared.served.load(Ordering::SeqCst)
    }

    /// Bytes of bodies it read, also of those that were broken off.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A connection that ends badly is the test's business, not ours.
            let _ = answer::connection(&stream, &shared);
        });
    }
}

/// A request in computation; counted from the end of its body, which the
/// gateway may break off, to just before the end of its answer.
struct Busy<'a>(Option<&'a Shared>);

impl<'a> Busy<'a> {
    fn enter(shared: &'a Shared) -> Self {
        let busy = shared.busy.fetch_add(1, Ordering::SeqCst) + 1;
        shared.greatest.fetch_max(busy, Ordering::SeqCst);
        Self(Some(shared))
    }

    /// Ends the count before the answer's last byte, because with that byte the
    /// gateway may send the next request on another connection.
    fn leave(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
