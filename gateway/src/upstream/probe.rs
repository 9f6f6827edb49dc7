//! One probe of a replica: a connect (with TLS its handshake too), or a `GET`
//! that must answer 2xx or 3xx.
//!
//! Never reuses a connection and never reads a body. Called by `runtime`, which
//! judges what a row of probes means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Secure, is_ours};
use crate::resource::Probe;

/// Bytes of an answer's head: a probe's answer has a handful of fields.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nothing listens there, or the connect failed.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// No connection, for want of descriptors, ports or memory of our own: it
    /// says nothing of the replica.
    #[error("the gateway cannot open a connection: {0}")]
    Ours(io::Error),
    /// No handshake: most often a certificate that is not believed.
    #[error("no TLS: {0}")]
    Tls(io::Error),
    /// The path is not one that can be sent.
    #[error("{path:?} is not a path that can be probed")]
    Path {
        /// The path.
        path: String,
    },
    /// The connection broke off, or the answer was no HTTP.
    #[error("no answer: {0}")]
    Http(hyper::Error),
    /// It answered that it is not well.
    #[error("answered {0}")]
    Status(StatusCode),
    /// No answer within the probe's timeout.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Asks the replica at `address` once. Cancel-safe: dropped, the connection is closed.
///
/// # Errors
///
/// [`ProbeError`] with what went wrong.
pub async fn probe(
    address: SocketAddr,
    tls: Option<&Secure>,
    probe: &Probe,
) -> Result<(), ProbeError> {
    let asked = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| match is_ours(&error) {
                true => ProbeError::Ours(error),
                false => ProbeError::Connect(error),
            })?;
        // On loopback a connect to a free port can get that very port and meet
        // itself; it must not count, and must not keep the port.
        if stream.local_addr().is_ok_and(|own| own == address) {
            return Err(ProbeError::Connect(io::ErrorKind::ConnectionRefused.into()));
        }
        match (tls, &probe.path) {
            (None, None) => Ok(()),
            (None, Some(path)) => get(stream, address, path).await,
            (Some(tls), path) => {
                let stream = tls.connect(stream).await.map_err(ProbeError::Tls)?;
                match path {
                    None => Ok(()),
                    Some(path) => get(stream, address, path).await,
                }
            }
        }
    };
    // On the heap: a replica's task would hold its 5 KB between probes too.
    tokio::time::timeout(probe.timeout, Box::pin(asked))
        .await
        .unwrap_or(Err(ProbeError::Timeout(probe.timeout)))
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    path: &str,
) -> Result<(), ProbeError> {
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, "tidegate-probe")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| ProbeError::Path {
            path: path.to_owned(),
        })?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ProbeError::Http)?;
    // The connection is driven here, not by a task: it ends with this probe.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection's own end tells the answer why, which is judged then.
        _ = &mut connection => answer.await,
    };
    let status = answer.map_err(ProbeError::Http)?.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(ProbeError::Status(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one connection with `answer` (none: never) and probes it.
    async fn check(path: Option<&str>, answer: Option<&'static str>) -> Result<(), ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Probe {
            path: path.map(str::to_owned),
            period: Duration::from_secs(10),
            timeout: Duration::from_millis(if answer.is_some() { 20_000 } else { 50 }),
            success_threshold: 1,
            failure_threshold: 3,
            initial_delay: Duration::ZERO,
        };
        let replica = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let _ = stream.read(&mut head).await;
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        };
        let probed = probe(address, None, &settings);
        let mut probed = std::pin::pin!(probed);
        tokio::select! {
            result = &mut probed => result,
            () = replica => probed.await,
        }
    }

    #[tokio::test]
    async fn a_connect_is_enough_without_a_path() {
        assert!(check(None, None).await.is_ok());
    }

    #[tokio::test]
    async fn two_and_three_hundreds_are_well() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert!(check(Some("/"), Some(ok)).await.is_ok());
        let moved = "HTTP/1.0 302 Found\r\nlocation: /x\r\n\r\n";
        assert!(check(Some("/"), Some(moved)).await.is_ok());
    }

    #[tokio::test]
    async fn everything_else_is_not() {
        let busy = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
        let error = check(Some("/"), Some(busy)).await.unwrap_err();
        assert!(matches!(error, ProbeError::Status(status) if status == 503));
        let error = check(Some("/"), Some("hello\r\n\r\n")).await.unwrap_err();
        assert!(matches!(error, ProbeError::Http(_)), "{error}");
        let error = check(Some("/"), Some("")).await.unwrap_err();
        assert!(matches!(error, ProbeError::Http(_)), "{error}");
        let error = check(Some("/ x"), Some(ok_never())).await.unwrap_err();
        assert!(matches!(error, ProbeError::Path { .. }), "{error}");
        let error = check(Some("/"), None).await.unwrap_err();
        assert!(matches!(error, ProbeError::Timeout(_)), "{error}");
    }

    fn ok_never() -> &'static str {
        "HTTP/1.1 200 OK\r\n\r\n"
    }

    #[tokio::test]
    async fn a_closed_port_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let settings = Probe {
            path: None,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            success_threshold: 1,
            failure_threshold: 3,
            initial_delay: Duration::ZERO,
        };
        let error = probe(address, None, &settings).await.unwrap_err();
        assert!(matches!(error, ProbeError::Connect(_)), "{error}");
    }
}
