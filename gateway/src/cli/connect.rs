//! Finds the gateway and speaks with its admin API.
//!
//! By `--admin` and `--token-file`, `TIDEGATE_ADMIN` and `TIDEGATE_ADMIN_TOKEN`,
//! or the state folder. Never sends a token in the clear off loopback. Used by
//! every verb of the client.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{Failure, To};
use crate::fetch::{Answer, Call, Client, FetchError, Stream};
use crate::state::StateFolder;

/// For an answer that comes whole. A swap compiles a plugin, which takes seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A gateway that was found; whether it answers shows at the first request.
#[derive(Debug)]
pub(super) struct Gateway {
    url: String,
    token: String,
    client: Client,
}

impl Gateway {
    pub(super) fn find(to: &To) -> Result<Self, Failure> {
        let state = StateFolder::locate(to.state.as_deref());
        let url = match (&to.admin, &state) {
            (Some(named), _) => address(named)?,
            (None, Ok(state)) => match state.read_run() {
                Some(run) => address(&run.admin)?,
                None => {
                    let folder = state.path().display();
                    let why = format!(
                        "no gateway runs in {folder}; name its state folder with --state, or its address with --admin"
                    );
                    return Err(Failure::NotReached(why));
                }
            },
            (None, Err(error)) => return Err(Failure::Usage(error.to_string())),
        };
        let token = match (&to.token_file, &to.token, state) {
            (Some(file), ..) => read_token(file)?,
            (None, Some(token), _) => token.clone(),
            (None, None, Ok(state)) => read_token(&state.path().join("admin.token"))?,
            (None, None, Err(error)) => return Err(Failure::Usage(error.to_string())),
        };
        let client = Client::new().map_err(|error| Failure::Refused(error.to_string()))?;
        Ok(Self {
            url,
            token: token.trim().to_owned(),
            client,
        })
    }

    fn call(&self, method: Method, path: &str) -> Call {
        Call {
            method,
            url: format!("{}{path}", self.url),
            token: Some(self.token.clone()),
            content: None,
            timeout: Some(TIMEOUT),
        }
    }

    /// The JSON at a path.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(self.call(Method::GET, path)).await
    }

    /// All items of a list, part by part.
    pub(super) async fn items(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let from = if next.is_empty() {
                String::new()
            } else {
                format!("?continue={next}")
            };
            let mut part = self.get(&format!("{path}{from}")).await?;
            if let Some(Value::Array(items)) = part.get_mut("items").map(Value::take) {
                all.extend(items);
            }
            match part.get("continue").and_then(Value::as_str) {
                Some(more) if more > next.as_str() => next = more.to_owned(),
                _ => return Ok(all),
            }
        }
    }

    /// Posts and returns the JSON of the answer.
    /// A change; an answer without a body is null.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        content: Bytes,
    ) -> Result<Value, Failure> {
        let content = (!kind.is_empty()).then_some((kind, content));
        let call = Call {
            content,
            ..self.call(method, path)
        };
        self.json(call).await
    }

    pub(super) async fn post(
        &self,
        path: &str,
        kind: &'static str,
        content: Bytes,
    ) -> Result<Value, Failure> {
        self.send(Method::POST, path, kind, content).await
    }

    async fn json(&self, call: Call) -> Result<Value, Failure> {
        let answer = self.client.send(call).await.map_err(failed)?;
        let body = self.accepted(answer)?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| {
            Failure::Refused(format!(
                "{}: the answer is not JSON ({error}); is it a gateway?",
                self.url
            ))
        })
    }

    /// An answer that is read as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<Stream, Failure> {
        let call = Call {
            timeout: None,
            ..self.call(Method::GET, path)
        };
        let mut stream = self.client.open(call).await.map_err(failed)?;
        if stream.status.is_success() {
            return Ok(stream);
        }
        let mut body = Vec::new();
        while let Some(piece) = stream.next().await.map_err(failed)? {
            body.extend_from_slice(piece.get(..4096).unwrap_or(&piece));
            if body.len() > 64 << 10 {
                break;
            }
        }
        Err(self.refusal(stream.status, &body))
    }

    fn accepted(&self, answer: Answer) -> Result<Bytes, Failure> {
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(self.refusal(answer.status, &answer.body))
        }
    }

    /// A problem document in words.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        #[derive(Deserialize)]
        struct Document {
            detail: String,
            #[serde(default)]
            problems: Vec<Told>,
        }
        #[derive(Deserialize)]
        struct Told {
            path: String,
            message: String,
        }
        let Ok(document) = serde_json::from_slice::<Document>(body) else {
            let why = format!(
                "{} answered {status} without a reason; is it a gateway?",
                self.url
            );
            return Failure::Refused(why);
        };
        let mut why = document.detail;
        for told in document.problems {
            why.push_str(&format!("\n  {}: {}", told.path, told.message));
        }
        Failure::Refused(why)
    }
}

pub(super) fn failed(error: FetchError) -> Failure {
    match error {
        FetchError::NotReached { url, why } => Failure::NotReached(format!("{url}: {why}")),
        other => Failure::Refused(other.to_string()),
    }
}

fn read_token(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::NotReached(format!(
            "{}: {error}; it holds the admin token",
            file.display()
        ))
    })
}

/// `127.0.0.1:9443` or a URL, as a URL without a slash at its end.
pub(super) fn address(text: &str) -> Result<String, Failure> {
    let usage = |why: &str| Failure::Usage(format!("the admin address {text:?}: {why}"));
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let uri: http::Uri = url
        .parse()
        .map_err(|_| usage("not ADDRESS:PORT or a URL"))?;
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if local => {}
        Some("http") => {
            return Err(usage(
                "off loopback it is https://, else the token could be read on its way",
            ));
        }
        _ => return Err(usage("neither http nor https")),
    }
    if host.is_empty() || uri.query().is_some() || uri.path() != "/" {
        return Err(usage("a host and a port, no path"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}
