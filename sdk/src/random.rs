//! Random bytes from the gateway's generator. Roles `auth` and `collect` only: a
//! split policy has its `draw`.

/// `n` random bytes, at most 1024.
#[must_use]
pub fn bytes(n: u32) -> Vec<u8> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::random::bytes(n)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::fake::with(|fake| (0..n.min(1024)).map(|_| fake.next_random()).collect())
    }
}
