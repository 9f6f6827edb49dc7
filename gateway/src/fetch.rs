//! Outgoing HTTP of control work and of the command line.
//!
//! Never on the request path, never through a proxy and never along a redirect:
//! what it sends may hold a token. Whoever runs it has installed rustls's
//! provider before. Used by `cli`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use reqwest::redirect::Policy;

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read whole; metrics of ten thousand endpoints are near 20 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody answers there.
    #[error("{url}: {why}")]
    NotReached {
        /// Where.
        url: String,
        /// What happened, in words.
        why: String,
    },
    /// The answer broke off or was no HTTP.
    #[error("{url}: the answer broke off: {why}")]
    Broken {
        /// Where.
        url: String,
        /// What happened, in words.
        why: String,
    },
    /// The answer is larger than is read.
    #[error("{url}: the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge {
        /// Where.
        url: String,
    },
    /// The client could not be made.
    #[error("no HTTP client: {0}")]
    Setup(String),
}

/// One request.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<String>,
    /// The body with its type.
    pub content: Option<(&'static str, Bytes)>,
    /// Sent as `If-None-Match: *`: only where nothing is there yet.
    pub only_new: bool,
    /// For the whole answer; none: as long as it takes.
    pub timeout: Option<Duration>,
}

/// An answer that was read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer that is read as it comes.
#[derive(Debug)]
pub struct Stream {
    /// Its status.
    pub status: StatusCode,
    response: reqwest::Response,
    url: String,
}

/// Sends requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(reqwest::Client);

impl Client {
    /// A client that trusts the machine's roots.
    ///
    /// # Errors
    ///
    /// [`FetchError::Setup`].
    pub fn new() -> Result<Self, FetchError> {
        Self::built(builder())
    }

    /// A client that trusts these roots in PEM and no others.
    ///
    /// # Errors
    ///
    /// [`FetchError::Setup`], also where there is no certificate in it.
    pub fn trusting(roots: &[u8]) -> Result<Self, FetchError> {
        let bad = |why: String| FetchError::Setup(format!("its roots: {why}"));
        let roots =
            reqwest::Certificate::from_pem_bundle(roots).map_err(|error| bad(words(&error)))?;
        if roots.is_empty() {
            return Err(bad("no certificate in PEM".to_owned()));
        }
        Self::built(builder().tls_certs_only(roots))
    }

    fn built(builder: reqwest::ClientBuilder) -> Result<Self, FetchError> {
        builder
            .build()
            .map(Self)
            .map_err(|error| FetchError::Setup(words(&error)))
    }

    /// Sends and reads the whole answer. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`FetchError`]; a status of refusal is an answer.
    pub async fn send(&self, call: Call) -> Result<Answer, FetchError> {
        let mut stream = self.open(call).await?;
        let mut body = BytesMut::new();
        while let Some(piece) = stream.next().await? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::TooLarge { url: stream.url });
            }
            body.extend_from_slice(&piece);
        }
        let headers = stream.response.headers().clone();
        Ok(Answer {
            status: stream.status,
            headers,
            body: body.freeze(),
        })
    }

    /// Sends and returns once the answer's head is there. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`FetchError`]; a status of refusal is an answer.
    pub async fn open(&self, call: Call) -> Result<Stream, FetchError> {
        let url = call.url;
        let mut request = self.0.request(call.method, &url);
        if let Some(token) = call.token {
            request = request.bearer_auth(token);
        }
        if let Some((kind, content)) = call.content {
            request = request
                .header(http::header::CONTENT_TYPE, kind)
                .body(content);
        }
        if call.only_new {
            request = request.header(http::header::IF_NONE_MATCH, "*");
        }
        if let Some(timeout) = call.timeout {
            request = request.timeout(timeout);
        }
        match request.send().await {
            Ok(response) => Ok(Stream {
                status: response.status(),
                response,
                url,
            }),
            Err(error) => Err(FetchError::NotReached {
                url,
                why: words(&error),
            }),
        }
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
}

impl Stream {
    /// The next piece of the body; none at its end. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`FetchError::Broken`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let broken = |error| FetchError::Broken {
            url: self.url.clone(),
            why: words(&error),
        };
        self.response.chunk().await.map_err(broken)
    }
}

/// The innermost cause, which is the one people understand.
fn words(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string().replace('\n', " ")
}
