//! The state folder: where it is, its lock, the admin token, and `run.json`,
//! by which the command line finds a running gateway (SEMANTICS §12).
//!
//! Never holds what `reconcile` keeps in it. Used by `app` and by `cli`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::durable;

/// `run.json`: how a running gateway is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Its process.
    pub pid: u32,
    /// Its build.
    pub version: String,
    /// The admin API's address, as bound: `http://127.0.0.1:9443`.
    pub admin: String,
    /// Where callers connect, by listener name.
    pub listeners: std::collections::BTreeMap<String, String>,
}

/// A state folder. Holding it says nothing about who runs in it; see
/// [`StateFolder::lock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder(PathBuf);

/// The lock of a running gateway; given up when dropped or when the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("{path}: {cause}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another gateway runs in it.
    #[error(
        "{path}: another gateway runs in this state folder; stop it, or name another folder with --state"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// No place for a state folder is known.
    #[error("neither XDG_STATE_HOME nor HOME is set; name a folder with --state")]
    NoPlace,
    /// The token file is there, but is empty or can be read by others.
    #[error("{path}: {what}; remove it to have a new one made, or mend it")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl StateFolder {
    /// The folder that was named, else `$XDG_STATE_HOME/tidegate`, else
    /// `~/.local/state/tidegate`.
    ///
    /// # Errors
    ///
    /// Where none is named and the environment names no place.
    pub fn locate(named: Option<&Path>) -> Result<Self, StateError> {
        if let Some(named) = named {
            let path = std::path::absolute(named).map_err(|cause| StateError::Io {
                path: named.to_owned(),
                cause,
            })?;
            return Ok(Self(path));
        }
        let place = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        place("XDG_STATE_HOME")
            .map(|state| PathBuf::from(state).join("tidegate"))
            .or_else(|| place("HOME").map(|home| PathBuf::from(home).join(".local/state/tidegate")))
            .map(Self)
            .ok_or(StateError::NoPlace)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder (0700) and takes it for this process.
    ///
    /// # Errors
    ///
    /// Where it cannot be made, or another gateway runs in it.
    pub fn lock(&self) -> Result<Lock, StateError> {
        let io = |cause: io::Error| StateError::Io {
            path: self.0.clone(),
            cause,
        };
        durable::private_folder(&self.0).map_err(io)?;
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&self.0, mode).map_err(io)?;
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(durable::SECRET)
            .open(self.0.join("lock"))
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Locked {
                path: self.0.clone(),
            }),
            Err(error) => Err(io(error.into())),
        }
    }

    /// The admin token; made by `make` where there is none.
    ///
    /// # Errors
    ///
    /// Where the file is empty or others can read it, or it cannot be made.
    pub fn token(
        &self,
        make: impl FnOnce() -> Option<String>,
    ) -> Result<Zeroizing<String>, StateError> {
        let path = self.0.join("admin.token");
        let io = |cause: io::Error| StateError::Io {
            path: path.clone(),
            cause,
        };
        let bad = |what: &str| StateError::Token {
            path: path.clone(),
            what: what.to_owned(),
        };
        match durable::read(&path).map_err(io)? {
            Some(content) => {
                let mode = std::fs::metadata(&path).map_err(io)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(bad(&format!("mode {:o} lets others read it", mode & 0o777)));
                }
                let text = String::from_utf8(content).map_err(|_| bad("it is not text"))?;
                let text = Zeroizing::new(text.trim().to_owned());
                if text.is_empty() {
                    Err(bad("it is empty"))
                } else {
                    Ok(text)
                }
            }
            None => {
                let token = Zeroizing::new(make().ok_or_else(|| bad("no random bytes for it"))?);
                durable::write(&path, format!("{}\n", &*token).as_bytes()).map_err(io)?;
                Ok(token)
            }
        }
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub fn write_run(&self, run: &RunFile) -> Result<(), StateError> {
        let path = self.0.join("run.json");
        let content = serde_json::to_vec_pretty(run).unwrap_or_default();
        durable::write(&path, &content).map_err(|cause| StateError::Io { path, cause })
    }

    /// Reads `run.json`; none where no gateway runs here.
    #[must_use]
    pub fn read_run(&self) -> Option<RunFile> {
        let content = durable::read(&self.0.join("run.json")).ok().flatten()?;
        serde_json::from_slice(&content).ok()
    }

    /// Takes `run.json` away.
    pub fn clear_run(&self) {
        // Nothing to do where it is gone already.
        let _ = std::fs::remove_file(self.0.join("run.json"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, StateFolder) {
        let place = tempfile::tempdir().unwrap();
        let state = StateFolder::locate(Some(&place.path().join("state"))).unwrap();
        (place, state)
    }

    #[test]
    fn a_folder_is_for_one_gateway_at_a_time() {
        let (_place, state) = folder();
        let lock = state.lock().unwrap();
        assert!(matches!(state.lock(), Err(StateError::Locked { .. })));
        drop(lock);
        state.lock().unwrap();
        let mode = std::fs::metadata(state.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_missing_token_is_made_and_kept() {
        let (_place, state) = folder();
        let _lock = state.lock().unwrap();
        let token = state.token(|| Some("abc".to_owned())).unwrap();
        assert_eq!(*token, "abc");
        assert_eq!(*state.token(|| None).unwrap(), "abc");
    }

    #[test]
    fn a_token_that_others_read_or_that_is_empty_is_refused() {
        let (_place, state) = folder();
        let _lock = state.lock().unwrap();
        let path = state.path().join("admin.token");
        std::fs::write(&path, "abc").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = state.token(|| None).unwrap_err().to_string();
        assert!(error.contains("mode 644 lets others read it"), "{error}");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = state.token(|| None).unwrap_err().to_string();
        assert!(error.contains("it is empty"), "{error}");
    }

    #[test]
    fn what_is_written_to_run_json_is_read_again() {
        let (_place, state) = folder();
        let _lock = state.lock().unwrap();
        assert_eq!(state.read_run(), None);
        let run = RunFile {
            pid: 1,
            version: "0".to_owned(),
            admin: "http://127.0.0.1:1".to_owned(),
            listeners: std::collections::BTreeMap::new(),
        };
        state.write_run(&run).unwrap();
        assert_eq!(state.read_run(), Some(run));
        state.clear_run();
        assert_eq!(state.read_run(), None);
    }
}
