//! The time of day. It stands still during a call.

/// Milliseconds since 1970-01-01 UTC, as of the call's beginning.
#[must_use]
pub fn now_ms() -> u64 {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::clock::now_ms()
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::fake::with(|fake| fake.now_ms)
    }
}
