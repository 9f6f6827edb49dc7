//! A guest of the tests: an auth policy whose answer has 128 MiB: as many strings of
//! 1 MiB that all lie on the same memory, so that its own memory stays small.
//!
//! A request with the query `calm` is let in, so that a test sees that the plugin
//! itself lives on.

use tidegate_sdk::auth::{Auth, Decision, Grant};
use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};

/// One string.
const LENGTH: usize = 1 << 20;
/// How often it is there.
const COUNT: usize = 128;

/// Answers with 128 MiB out of 1 MiB.
struct HugeAuth;

impl Auth for HugeAuth {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
        if request.query.as_deref() == Some("calm") {
            return Ok(Grant::of(Caller::named("calm")).into());
        }
        let text = vec![b'x'; LENGTH].leak();
        #[expect(
            unsafe_code,
            reason = "what this guest is for: no safe string lies upon another"
        )]
        // SAFETY: none in Rust's sense, strings own their memory alone. It holds
        // because nothing writes to them, their lowering only reads address and
        // length, and the host never lets the answer's clean-up run.
        let aliases = (0..COUNT).map(|_| unsafe {
            (
                String::new(),
                String::from_raw_parts(text.as_mut_ptr(), LENGTH, LENGTH),
            )
        });
        let attributes = aliases.collect();
        Ok(Grant::of(Caller {
            attributes,
            ..Caller::named("huge")
        })
        .into())
    }
}

tidegate_sdk::export!(HugeAuth as auth);
