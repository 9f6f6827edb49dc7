//! A small shared store. Needs the grant `kv`.

pub use crate::bindings::host::tidegate::policy::kv::Error;

/// What is kept under `key`.
///
/// # Errors
///
/// Where the store cannot be asked.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::kv::get(key)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        Ok(crate::fake::with(|fake| fake.kv.get(key).cloned()))
    }
}

/// Keeps `value` under `key`, for `ttl_ms` where given.
///
/// # Errors
///
/// Where it is too large, or the store is full or away.
pub fn set(key: &str, value: &[u8], ttl_ms: Option<u32>) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::kv::set(key, value, ttl_ms)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = ttl_ms;
        crate::fake::with(|fake| fake.kv.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }
}

/// Forgets what is kept under `key`.
///
/// # Errors
///
/// Where the store cannot be asked.
pub fn delete(key: &str) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::kv::delete(key)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::fake::with(|fake| fake.kv.remove(key));
        Ok(())
    }
}
