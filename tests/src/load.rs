//! Callers in a loop, each on a kept-alive connection of its own.
//!
//! Counts what they saw; never retries. A connection that broke is counted and
//! opened again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::client::Client;

/// What callers saw: `200 blue`, `503 overloaded`, `broken` and the like.
pub type Seen = BTreeMap<String, u32>;

/// Callers at work.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts as many callers, each posting to the target until [`Load::stop`].
    #[must_use]
    pub fn start(
        address: SocketAddr,
        callers: u32,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::new()));
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let start = |_| {
            let (over, seen) = (Arc::clone(&over), Arc::clone(&seen));
            let (target, headers) = (target.to_owned(), headers.clone());
            std::thread::spawn(move || caller(address, &target, &headers, &over, &seen))
        };
        let callers = (0..callers).map(start).collect();
        Self {
            over,
            seen,
            callers,
        }
    }

    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> u32 {
        self.seen.lock().unwrap().values().sum()
    }

    /// Lets every caller finish its request; what they saw.
    ///
    /// # Panics
    ///
    /// Where a caller did.
    #[must_use]
    pub fn stop(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().unwrap();
        }
        self.seen.lock().unwrap().clone()
    }
}

/// Between a caller's answer and its next request: without it a quiet machine
/// writes gigabytes of access lines while a plugin compiles.
const PACE: std::time::Duration = std::time::Duration::from_millis(5);

fn caller(
    address: SocketAddr,
    target: &str,
    headers: &[(String, String)],
    over: &AtomicBool,
    seen: &Mutex<Seen>,
) {
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut client = Client::connect(address);
    while !over.load(Ordering::Relaxed) {
        let what = match client.request("POST", target, &headers, b"{\"data\":[1]}") {
            Ok(answer) => {
                let version = answer
                    .header("azureml-model-deployment")
                    .unwrap_or_default();
                let closes = answer
                    .header("connection")
                    .is_some_and(|value| value == "close");
                let what = format!("{} {}{version}", answer.status, answer.code());
                if closes {
                    client = Client::connect(address);
                }
                what
            }
            Err(error) => {
                client = Client::connect(address);
                format!("broken: {error}")
            }
        };
        *seen.lock().unwrap().entry(what).or_default() += 1;
        std::thread::sleep(PACE);
    }
}
