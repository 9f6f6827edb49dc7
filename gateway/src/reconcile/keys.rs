//! The keys of endpoints in `<state>/keys.json` (0600).
//!
//! Makes a pair for an endpoint that has none and never changes one that is
//! there. A file that cannot be read is an error at start, never a reason to
//! make new keys over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::durable;
use crate::identity::{KeyPair, KeySet};
use crate::name::Name;

/// The keys of all endpoints.
#[derive(Debug)]
pub(super) struct Keys {
    path: PathBuf,
    pairs: BTreeMap<Name, KeyPair>,
}

/// Why keys could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file is there but cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not what the gateway wrote.
    #[error("{path}: not a file of keys: {cause}; restore it, or remove it to make new keys")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: serde_json::Error,
    },
    /// No key could be made.
    #[error(transparent)]
    Make(#[from] crate::identity::KeyError),
}

impl Keys {
    /// Reads the file of a state folder; none is no keys yet.
    ///
    /// # Errors
    ///
    /// [`KeysError`] where the file is there but is no good.
    pub(super) fn open(state: &Path) -> Result<Self, KeysError> {
        let path = state.join("keys.json");
        let content = durable::read(&path).map_err(|cause| KeysError::File {
            path: path.clone(),
            cause,
        })?;
        let pairs = match content {
            Some(content) => {
                serde_json::from_slice(&content).map_err(|cause| KeysError::Content {
                    path: path.clone(),
                    cause,
                })?
            }
            None => BTreeMap::new(),
        };
        Ok(Self { path, pairs })
    }

    /// Makes the keys of these endpoints where they have none, and keeps all of
    /// them at once: the file is written whole.
    ///
    /// # Errors
    ///
    /// [`KeysError`] where they could not be made or kept; then none was made.
    pub(super) fn make<'n>(
        &mut self,
        endpoints: impl Iterator<Item = &'n Name>,
    ) -> Result<(), KeysError> {
        let without: Vec<&Name> = endpoints
            .filter(|endpoint| !self.pairs.contains_key(*endpoint))
            .collect();
        if without.is_empty() {
            return Ok(());
        }
        let pairs = without.iter().map(|_| KeyPair::generate());
        let pairs: Vec<KeyPair> = pairs.collect::<Result<_, _>>()?;
        let named = without.iter().map(|endpoint| (*endpoint).clone());
        self.pairs.extend(named.zip(pairs));
        self.save().inspect_err(|_| {
            for endpoint in &without {
                self.pairs.remove(*endpoint);
            }
        })
    }

    /// The set of an endpoint's keys; made and kept where there is none.
    ///
    /// # Errors
    ///
    /// [`KeysError`] where they could not be made or kept.
    pub(super) fn of(&mut self, endpoint: &Name) -> Result<Arc<KeySet>, KeysError> {
        self.make(std::iter::once(endpoint))?;
        Ok(Arc::new(
            self.pair(endpoint.as_str())
                .map(KeySet::of)
                .unwrap_or_default(),
        ))
    }

    /// An endpoint's pair, for an administrator.
    #[must_use]
    pub(super) fn pair(&self, endpoint: &str) -> Option<&KeyPair> {
        self.pairs.get(endpoint)
    }

    fn save(&self) -> Result<(), KeysError> {
        let content =
            serde_json::to_vec_pretty(&self.pairs).map_err(|cause| KeysError::Content {
                path: self.path.clone(),
                cause,
            })?;
        durable::write(&self.path, &content).map_err(|cause| KeysError::File {
            path: self.path.clone(),
            cause,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_survive() {
        let state = tempfile::tempdir().unwrap();
        let iris = Name::parse("iris").unwrap();
        let mut keys = Keys::open(state.path()).unwrap();
        let set = keys.of(&iris).unwrap();
        let mut again = Keys::open(state.path()).unwrap();
        let pair = again.pair("iris").unwrap().clone();
        assert!(
            set.match_key(pair.primary_key.reveal().as_bytes())
                .is_some()
        );
        again.of(&iris).unwrap();
        assert_eq!(again.pair("iris"), Some(&pair));
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("keys.json"), "{").unwrap();
        let error = Keys::open(state.path()).unwrap_err().to_string();
        assert!(error.contains("not a file of keys"), "{error}");
    }
}
