//! Write a Tidegate policy in Rust.
//!
//! A policy is a type with one of the three role traits, [`auth::Auth`],
//! [`split::Split`] or [`collect::Collect`], and one line, [`export!`]. What a
//! gateway lends it are plain modules: [`log`], [`metrics`], [`clock`],
//! [`random`], [`keys`], [`tokens`], [`crypto`], [`counters`], [`kv`], [`http`].
//! Built for `wasm32-unknown-unknown` the crate is what `tidegate plugin push`
//! takes; built for the machine at hand it is an ordinary library, and the
//! modules are stand-ins that [`fake`] sets, so that `cargo test` is enough.
//!
//! ```
//! use tidegate_sdk::auth::{Auth, Decision, Grant};
//! use tidegate_sdk::{Caller, PluginError, Problems, Request, Settings};
//!
//! /// Lets everybody in who says who they are.
//! struct Trusting;
//!
//! impl Auth for Trusting {
//!     fn new(settings: Settings<'_>) -> Result<Self, Problems> {
//!         settings.none()?;
//!         Ok(Self)
//!     }
//!
//!     fn authenticate(&self, request: Request, _: Option<Caller>) -> Result<Decision, PluginError> {
//!         Ok(match request.header_str("x-user") {
//!             Some(user) => Grant::of(Caller::named(user)).into(),
//!             None => Decision::Pass,
//!         })
//!     }
//! }
//!
//! tidegate_sdk::export!(Trusting as auth);
//! # fn main() {}
//! ```
//!
//! Two things to know. Nothing may be kept from one call for the next but what
//! `new` made: a call goes to any instance, and instances come and go. And a
//! `HashMap` has a fixed seed where there is no operating system, so a caller can
//! choose keys that collide: use `BTreeMap`.

mod bindings;

pub mod auth;
pub mod clock;
pub mod collect;
pub mod counters;
pub mod crypto;
mod export;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
pub mod http;
pub mod keys;
pub mod kv;
pub mod log;
pub mod metrics;
pub mod random;
mod settings;
pub mod split;
pub mod tokens;
mod types;

pub use settings::{Problems, Settings};
pub use types::{Caller, Header, PluginError, Request};

/// What [`export!`] needs to see; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{auth, collect, lifecycle, split};
    pub use crate::export::{Exported, Policy, Slot, copy_tag};
}
