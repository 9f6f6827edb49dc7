//! The endpoint's keys. Role `auth` only.

pub use crate::bindings::host::tidegate::policy::keys::KeyMatch;

/// Which of the endpoint's keys this is, if any; compared in constant time by
/// the gateway. The keys themselves never enter a plugin.
#[must_use]
pub fn match_key(presented: &[u8]) -> Option<KeyMatch> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::keys::match_key(presented)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::fake::with(|fake| {
            fake.keys
                .iter()
                .find(|(key, _)| key == presented)
                .map(|(_, found)| found.clone())
        })
    }
}
