//! The admin API (SEMANTICS §13): a listener of its own on the control runtime.
//!
//! Every request passes `gate` (host, origin, token) before any routing; the
//! rows are in `routes`, and each calls `reconcile::Control`. Never serves
//! callers and never changes anything by itself. Started by `app`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::id::new_request_id;
use crate::listen::Reload;
use crate::reconcile::Control;
use crate::resource;
use crate::shutdown::Tasks;

mod answer;
mod body;
mod changes;
mod gate;
mod handlers;
mod openapi;
mod page;
mod query;
mod routes;
mod row;
mod schemas;
mod streams;

use answer::{Refusal, finish};
use body::Body;
use gate::Gate;
use routes::Routes;

/// Connections at once: people, their browsers, a scraper. Past it accepting waits.
const CONNECTIONS_MAX: usize = 64;
/// Followed logs and events at once, so that some connections stay free for others.
const STREAMS_MAX: usize = 32;
/// From the first byte of a head to its end, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a head; the token is the longest thing in it.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Fields of a head.
const HEAD_FIELDS_MAX: usize = 100;
/// What requests under way get when the gateway stops.
const DRAIN: Duration = Duration::from_secs(2);
/// After accepting failed: without it, a full table of files spins.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the admin API could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("admin: {address} cannot be bound: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The certificate cannot be used.
    #[error("admin: {0}")]
    Certificate(String),
}

/// A started admin API.
#[derive(Debug)]
pub struct Running {
    url: String,
    warnings: Vec<String>,
    tasks: Tasks,
}

impl Running {
    /// Where it is, as bound: `http://127.0.0.1:9443`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What an operator should know of its certificate.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Stops accepting, and ends what is under way within 2 s.
    pub async fn stop(&self) {
        self.tasks.stop();
        // What does not end by itself ends with the runtime.
        let _ = tokio::time::timeout(DRAIN, self.tasks.finish()).await;
    }
}

/// The API of one gateway: what its connections share.
struct Api {
    control: Arc<Control>,
    /// Whether resources may name commands and files of the machine.
    local: bool,
    gate: Gate,
    routes: Routes,
    streams: Arc<Semaphore>,
    tasks: Tasks,
}

/// Binds and serves, with a certificate that `reload` reads again when its files
/// change. On the control runtime.
///
/// # Errors
///
/// Where the address cannot be bound or the certificate cannot be used.
pub async fn start(
    config: &resource::Admin,
    token: Zeroizing<String>,
    control: Arc<Control>,
    reload: &Reload,
) -> Result<Running, AdminError> {
    let address = config.address;
    let bind = |cause| AdminError::Bind { address, cause };
    let tls = tls::Acceptor::load(config.certificate.as_ref()).map_err(AdminError::Certificate)?;
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let bound = listener.local_addr().map_err(bind)?;
    let tasks = Tasks::new();
    let api = Arc::new(Api {
        control,
        local: bound.ip().is_loopback() || config.allow_local,
        gate: Gate::new(&token, tls.is_some()),
        routes: Routes::new(),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        tasks: tasks.clone(),
    });
    let warnings = tls.as_ref().map(tls::Acceptor::warnings);
    if let Some(tls) = &tls {
        tls.watch(reload, tasks.clone());
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    tasks.spawn(accept(listener, tls.map(Arc::new), api));
    Ok(Running {
        url: format!("{scheme}://{bound}"),
        warnings: warnings.unwrap_or_default(),
        tasks,
    })
}

async fn accept(listener: TcpListener, tls: Option<Arc<tls::Acceptor>>, api: Arc<Api>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = api.tasks.clone();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = tasks.stopped() => return,
            accepted = next => accepted,
        };
        match accepted {
            None => return,
            Some((place, Ok((socket, _)))) => {
                let (api, tls) = (Arc::clone(&api), tls.clone());
                tasks.spawn(async move {
                    let _place = place;
                    connection(socket, tls, api).await;
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!(%error, "admin: accepting failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, tls: Option<Arc<tls::Acceptor>>, api: Arc<Api>) {
    // Answers are small and written whole; an error here costs latency only.
    let _ = socket.set_nodelay(true);
    match tls {
        None => serve(socket, api).await,
        Some(tls) => {
            if let Ok(Some(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(socket)).await {
                serve(stream, api).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, api: Arc<Api>) {
    let tasks = api.tasks.clone();
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A broken connection is its caller's matter.
        _ = connection.as_mut() => {}
        () = tasks.stopped() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(DRAIN, connection).await;
        }
    }
}

impl Api {
    /// One request to its answer; a panic ends this request only.
    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let id = new_request_id();
        let handled = AssertUnwindSafe(self.handle(request)).catch_unwind().await;
        let result = handled.unwrap_or_else(|_| Err(Refusal::internal()));
        finish(result, &id)
    }

    async fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let (head, incoming) = request.into_parts();
        self.gate.check_place(&head)?;
        if !routes::is_open(&head) {
            self.gate.check_token(&head.headers)?;
        }
        let found = self.routes.find(&head)?;
        let query = query::Query::parse(head.uri.query(), found.route.query)?;
        let content = body::read(&head.headers, incoming, found.route.body).await?;
        let call = handlers::Call {
            head,
            name: found.name,
            version: found.version,
            query,
            content,
        };
        // A change that was begun is made whole, whether or not its caller waits.
        let acting = self
            .control
            .tasks()
            .spawn(self.act(found.route.action, call));
        acting.await.unwrap_or_else(|_| Err(Refusal::internal()))
    }

    fn act(
        self: &Arc<Self>,
        action: routes::Action,
        call: handlers::Call,
    ) -> impl Future<Output = Result<Response<Body>, Refusal>> + Send + use<> {
        let api = Arc::clone(self);
        async move { handlers::act(&api, action, call).await }
    }
}

mod tls;

#[cfg(test)]
mod tests;
