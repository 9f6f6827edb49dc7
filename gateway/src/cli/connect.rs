//! Finds the gateway and speaks with its admin API.
//!
//! By `--admin` and `--token-file`, `TIDEGATE_ADMIN` and `TIDEGATE_ADMIN_TOKEN`,
//! or the state folder. Never sends a token in the clear off loopback. Used by
//! every verb of the client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::row::text;
use super::{Failure, Told};
use crate::fetch::{Call, Client, FetchError, Stream};
use crate::resource;
use crate::state::StateFolder;

/// For an answer that comes whole. A swap compiles a plugin, which takes seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Names that are looked through for a near miss.
const NAMES_MAX: usize = 1_000;

/// Where the gateway is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where the gateway is")]
pub struct To {
    /// The admin API's address; else run.json of the state folder says it.
    #[arg(long, env = "TIDEGATE_ADMIN", value_name = "ADDRESS")]
    admin: Option<String>,
    /// A file with the admin token; else TIDEGATE_ADMIN_TOKEN holds it, else
    /// admin.token of the state folder.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The admin token.
    #[arg(skip = std::env::var("TIDEGATE_ADMIN_TOKEN").ok().filter(|token| !token.is_empty()))]
    token: Option<String>,
    /// Roots in PEM that the admin API's certificate must come from, in place of the machine's.
    #[arg(long, env = "TIDEGATE_ADMIN_CA", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The gateway's state folder; $XDG_STATE_HOME/tidegate where it is left out.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// A gateway that was found; whether it answers shows at the first request.
#[derive(Debug)]
pub(super) struct Gateway {
    url: String,
    token: String,
    client: Client,
    /// Who named the address, and what to do where nobody answers there.
    origin: String,
}

impl Gateway {
    pub(super) fn find(to: &To) -> Result<Self, Failure> {
        let state = StateFolder::locate(to.state.as_deref());
        let (url, origin) = match (&to.admin, &state) {
            (Some(named), _) => {
                let from = if std::env::var("TIDEGATE_ADMIN").as_ref() == Ok(named) {
                    "TIDEGATE_ADMIN"
                } else {
                    "--admin"
                };
                let origin = format!("{from} names it; is a gateway running there?");
                (address(named)?, origin)
            }
            (None, Ok(state)) => found_in(state)?,
            (None, Err(error)) => return Err(Failure::Usage(error.to_string())),
        };
        let token = match (&to.token_file, &to.token, state) {
            (Some(file), ..) => read_token(file).map_err(Failure::Refused)?,
            (None, Some(token), _) => token.clone(),
            (None, None, Ok(state)) => {
                read_token(&state.path().join("admin.token")).map_err(Failure::NotReached)?
            }
            (None, None, Err(error)) => return Err(Failure::Usage(error.to_string())),
        };
        let client = match &to.ca_file {
            None => Client::new(),
            Some(file) => Client::trusting(&read_roots(file)?),
        };
        let client = client.map_err(|error| Failure::Refused(error.to_string()))?;
        Ok(Self {
            url,
            token: token.trim().to_owned(),
            client,
            origin,
        })
    }

    fn call(&self, method: Method, path: &str) -> Call {
        Call {
            method,
            url: format!("{}{path}", self.url),
            token: Some(self.token.clone()),
            content: None,
            only_new: false,
            timeout: Some(TIMEOUT),
        }
    }

    /// The JSON at a path.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(self.call(Method::GET, path), path).await
    }

    /// The text at a path.
    pub(super) async fn text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.whole(self.call(Method::GET, path)).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The JSON at a path; none where there is nothing.
    pub(super) async fn get_if_there(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.plain(self.call(Method::GET, path)).await {
            Ok(found) => Ok(Some(found)),
            Err(Failure::NotFound(_)) => Ok(None),
            Err(other) => Err(other),
        }
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
                Some(more) if more != next => next = more.to_owned(),
                _ => return Ok(all),
            }
        }
    }

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
        self.json(call, path).await
    }

    /// Puts what must not be there yet.
    pub(super) async fn create(&self, path: &str, content: Bytes) -> Result<Value, Failure> {
        let call = Call {
            content: Some(("application/json", content)),
            only_new: true,
            ..self.call(Method::PUT, path)
        };
        self.json(call, path).await
    }

    /// Posts and returns the JSON of the answer.
    pub(super) async fn post(
        &self,
        path: &str,
        kind: &'static str,
        content: Bytes,
    ) -> Result<Value, Failure> {
        self.send(Method::POST, path, kind, content).await
    }

    /// The answer's JSON; what is not there is told with a near miss.
    async fn json(&self, call: Call, path: &str) -> Result<Value, Failure> {
        match self.plain(call).await {
            Err(Failure::NotFound(why)) => Err(self.near(path, why).await),
            other => other,
        }
    }

    async fn whole(&self, call: Call) -> Result<Bytes, Failure> {
        let answer = self
            .client
            .send(call)
            .await
            .map_err(|error| self.failed(error))?;
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(self.refusal(answer.status, &answer.body))
        }
    }

    async fn plain(&self, call: Call) -> Result<Value, Failure> {
        let body = self.whole(call).await?;
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

    /// Why something was not found, with the name that was probably meant.
    async fn near(&self, path: &str, why: String) -> Failure {
        let hint = self.hint(path).await.unwrap_or_default();
        Failure::NotFound(format!("{why}{hint}"))
    }

    async fn hint(&self, path: &str) -> Option<String> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parts = path.strip_prefix("/v1/")?.split('/');
        let (list, name) = (parts.next()?, parts.next()?);
        let version = match (parts.next(), parts.next()) {
            (Some("versions"), version) => version,
            _ => query
                .split('&')
                .find_map(|one| one.strip_prefix("version=")),
        };
        let all = format!("/v1/{list}?limit={NAMES_MAX}");
        let all = self.plain(self.call(Method::GET, &all)).await.ok()?;
        let items = all.get("items")?.as_array()?;
        let found = items
            .iter()
            .find(|item| text(item, "/metadata/name") == name);
        let names: Vec<&str> = match (found, version) {
            (None, _) => items
                .iter()
                .map(|item| text(item, "/metadata/name"))
                .collect(),
            (Some(_), None) => return None,
            (Some(endpoint), Some(_)) => endpoint
                .pointer("/spec/versions")?
                .as_array()?
                .iter()
                .map(|version| text(version, "/name"))
                .collect(),
        };
        let word = if found.is_some() { version? } else { name };
        if names.contains(&word) {
            return None;
        }
        resource::suggestion(word, &names).map(|hint| format!("; {hint}"))
    }

    /// An answer that is read as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<Stream, Failure> {
        let call = Call {
            timeout: None,
            ..self.call(Method::GET, path)
        };
        let mut stream = self
            .client
            .open(call)
            .await
            .map_err(|error| self.failed(error))?;
        if stream.status.is_success() {
            return Ok(stream);
        }
        let mut body = Vec::new();
        while let Some(piece) = stream.next().await.map_err(|error| self.failed(error))? {
            body.extend_from_slice(piece.get(..4096).unwrap_or(&piece));
            if body.len() > 64 << 10 {
                break;
            }
        }
        match self.refusal(stream.status, &body) {
            Failure::NotFound(why) => Err(self.near(path, why).await),
            other => Err(other),
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
        let Ok(document) = serde_json::from_slice::<Document>(body) else {
            let why = format!(
                "{} answered {status} without a reason; is it a gateway?",
                self.url
            );
            return Failure::Refused(why);
        };
        if !document.problems.is_empty() {
            return Failure::Invalid(document.problems);
        }
        if status == StatusCode::NOT_FOUND {
            Failure::NotFound(document.detail)
        } else {
            Failure::Refused(document.detail)
        }
    }

    /// Why a stream that goes on ended; none: without a word.
    pub(super) fn ended(&self, error: Option<FetchError>) -> Failure {
        let why = match error {
            Some(FetchError::Broken { why, .. }) => format!("the connection broke: {why}"),
            Some(other) => return self.failed(other),
            None => "it has ended what was followed; it is stopping".to_owned(),
        };
        Failure::NotReached(format!("{}: {why}; {}", self.url, self.origin))
    }

    /// Why there is no whole answer.
    pub(super) fn failed(&self, error: FetchError) -> Failure {
        match error {
            FetchError::NotReached { url: _, why } => {
                Failure::NotReached(format!("{}: {why}; {}", self.url, self.origin))
            }
            other => Failure::Refused(other.to_string()),
        }
    }
}

/// The address in a state folder's `run.json`.
fn found_in(state: &StateFolder) -> Result<(String, String), Failure> {
    let folder = state.path().display();
    let Some(run) = state.read_run() else {
        return Err(Failure::NotReached(format!(
            "no gateway runs in {folder}; name its state folder with --state, or its address with \
             --admin, or start one with `tidegate run -f PATH`"
        )));
    };
    let origin = format!(
        "{folder}/run.json names it, of process {}; where that is gone, start it again with \
         `tidegate run`",
        run.pid
    );
    Ok((address(&run.admin)?, origin))
}

fn read_roots(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        Failure::Refused(format!(
            "{}: {error}; it holds the roots of the admin API's certificate",
            file.display()
        ))
    })
}

/// The token; else why there is none.
fn read_token(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| {
        format!(
            "{}: {error}; it holds the admin token, which --token-file or TIDEGATE_ADMIN_TOKEN name",
            file.display()
        )
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
