//! The glue between a policy type and the exports of its component.
//!
//! Called by what [`crate::export!`] expands to; a plugin author sees none of it.

use core::cell::OnceCell;
use core::marker::PhantomData;

use crate::auth::Auth;
use crate::bindings::auth::exports::tidegate::policy::auth as auth_export;
use crate::bindings::collect::exports::tidegate::policy::collect as collect_export;
use crate::bindings::lifecycle::exports::tidegate::policy::lifecycle as lifecycle_export;
use crate::bindings::split::exports::tidegate::policy::split as split_export;
use crate::collect::Collect;
use crate::split::Split;
use crate::{Caller, PluginError, Problems, Request, Settings, log};

/// Makes a policy the one that this component exports.
///
/// `export!(MyPolicy as auth);`, `as split` or `as collect`; once per crate, of
/// crate type `cdylib`. On other machines than `wasm32` it only checks the trait.
#[macro_export]
macro_rules! export {
    ($policy:ty as auth) => {
        $crate::export!(@ $policy, __export_auth, auth, $crate::auth::Auth);
    };
    ($policy:ty as split) => {
        $crate::export!(@ $policy, __export_split, split, $crate::split::Split);
    };
    ($policy:ty as collect) => {
        $crate::export!(@ $policy, __export_collect, collect, $crate::collect::Collect);
    };
    (@ $policy:ty, $export:ident, $module:ident, $role:path) => {
        const _: () = {
            ::std::thread_local! {
                static POLICY: $crate::__private::Slot<$policy> =
                    const { $crate::__private::Slot::new() };
            }
            impl $crate::__private::Policy for $policy {
                fn start(
                    settings: $crate::Settings<'_>,
                ) -> ::core::result::Result<Self, $crate::Problems> {
                    <Self as $role>::new(settings)
                }
                fn test(&self) -> ::core::result::Result<(), $crate::PluginError> {
                    <Self as $role>::self_test(self)
                }
                fn with_slot<R>(act: impl FnOnce(&$crate::__private::Slot<Self>) -> R) -> R {
                    POLICY.with(act)
                }
            }
        };
        // Native builds export nothing, yet nothing of the policy is unused.
        const _: fn($crate::Settings<'_>) -> ::core::result::Result<$policy, $crate::Problems> =
            <$policy as $crate::__private::Policy>::start;
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::__private::Exported<$policy>;
            $crate::__private::lifecycle::__export_lifecycle!(Exported with_types_in $crate::__private::lifecycle);
            $crate::__private::$module::$export!(Exported with_types_in $crate::__private::$module);
            const TAG: &str = match ::core::option_env!("TIDEGATE_BUILD_TAG") {
                ::core::option::Option::Some(tag) => tag,
                ::core::option::Option::None => "",
            };
            #[used]
            #[unsafe(link_section = "tidegate-build-tag")]
            static BUILD_TAG: [u8; TAG.len()] = $crate::__private::copy_tag(TAG);
        };
    };
}

/// A policy type that `export!` named.
pub trait Policy: Sized + 'static {
    /// The role's `new`.
    ///
    /// # Errors
    ///
    /// As the role's `new`.
    fn start(settings: Settings<'_>) -> Result<Self, Problems>;

    /// The role's `self_test`.
    ///
    /// # Errors
    ///
    /// As the role's `self_test`.
    fn test(&self) -> Result<(), PluginError>;

    /// Lends the one place of this component where the policy is kept.
    fn with_slot<R>(act: impl FnOnce(&Slot<Self>) -> R) -> R;
}

/// Where the configured policy is kept.
#[derive(Debug)]
pub struct Slot<P>(OnceCell<P>);

impl<P> Slot<P> {
    /// Nothing configured yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceCell::new())
    }
}

impl<P> Default for Slot<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// The type that carries the exports of `P`.
#[derive(Debug)]
pub struct Exported<P>(PhantomData<P>);

/// Calls the configured policy.
fn ask<P: Policy, R>(act: impl FnOnce(&P) -> Result<R, PluginError>) -> Result<R, PluginError> {
    P::with_slot(|slot| match slot.0.get() {
        Some(policy) => act(policy),
        None => Err(PluginError::Internal("called before configure".to_owned())),
    })
}

impl<P: Policy> lifecycle_export::Guest for Exported<P> {
    fn configure(settings: String) -> Result<(), PluginError> {
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(log_panic));
        let policy = P::start(Settings::from_json(&settings))
            .map_err(|problems| PluginError::Misconfigured(problems.text()))?;
        P::with_slot(|slot| slot.0.set(policy))
            .map_err(|_| PluginError::Internal("configured twice".to_owned()))
    }

    fn self_test() -> Result<(), PluginError> {
        ask(P::test)
    }
}

impl<P: Policy + Auth> auth_export::Guest for Exported<P> {
    fn authenticate(
        request: Request,
        so_far: Option<Caller>,
    ) -> Result<auth_export::Decision, PluginError> {
        ask(|policy: &P| policy.authenticate(request, so_far))
    }
}

impl<P: Policy + Split> split_export::Guest for Exported<P> {
    fn choose(
        request: Request,
        caller: Option<Caller>,
        draw: u64,
        candidates: Vec<split_export::Candidate>,
    ) -> Result<split_export::Choice, PluginError> {
        ask(|policy: &P| policy.choose(request, caller, draw, candidates))
    }
}

impl<P: Policy + Collect> collect_export::Guest for Exported<P> {
    fn collect(
        batch: Vec<collect_export::Exchange>,
        entries: Vec<collect_export::Entry>,
    ) -> Result<Vec<collect_export::Entry>, PluginError> {
        ask(|policy: &P| policy.collect(batch, entries))
    }
}

/// The panic's message and place reach the gateway's log; the trap that follows
/// says only `unreachable`.
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(dead_code, reason = "tests panic natively")
)]
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("a value that is not text");
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    log::emit(
        log::Level::Error,
        &format!("panicked: {message}"),
        &[("at", &place)],
    );
}

/// The bytes of the build's tag, for the custom section that carries it.
#[must_use]
pub const fn copy_tag<const N: usize>(tag: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut left = tag.as_bytes();
    let mut at = 0;
    while let [first, rest @ ..] = left {
        if at < N {
            #[expect(
                clippy::indexing_slicing,
                reason = "checked one line up; const has no get_mut"
            )]
            {
                bytes[at] = *first;
            }
        }
        left = rest;
        at += 1;
    }
    bytes
}
