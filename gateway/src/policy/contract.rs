//! The contract with plugins (`wit/policy.wit`) as Rust types and calls.
//!
//! Generated; nothing is written here by hand but which world shares what. The
//! three worlds share the types and the interfaces the host lends, so that each
//! is implemented once (`lend`). Used inside `policy` only.

/// The world `auth-policy`.
pub(super) mod auth {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tidegate:policy/auth-policy",
        imports: { "tidegate:policy/random.bytes": trappable },
        exports: { default: async },
    });
}

/// The world `split-policy`.
pub(super) mod split {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tidegate:policy/split-policy",
        exports: { default: async },
        with: {
            "tidegate:policy/types": super::auth::tidegate::policy::types,
            "tidegate:policy/log": super::auth::tidegate::policy::log,
            "tidegate:policy/metrics": super::auth::tidegate::policy::metrics,
            "tidegate:policy/clock": super::auth::tidegate::policy::clock,
            "tidegate:policy/crypto": super::auth::tidegate::policy::crypto,
            "tidegate:policy/counters": super::auth::tidegate::policy::counters,
        },
    });
}

/// The world `collect-policy`.
pub(super) mod collect {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tidegate:policy/collect-policy",
        exports: { default: async },
        with: {
            "tidegate:policy/types": super::auth::tidegate::policy::types,
            "tidegate:policy/log": super::auth::tidegate::policy::log,
            "tidegate:policy/metrics": super::auth::tidegate::policy::metrics,
            "tidegate:policy/clock": super::auth::tidegate::policy::clock,
            "tidegate:policy/crypto": super::auth::tidegate::policy::crypto,
            "tidegate:policy/random": super::auth::tidegate::policy::random,
        },
    });
}

pub(super) use auth::exports::tidegate::policy::auth as auth_role;
pub(super) use auth::tidegate::policy as lent;
pub(super) use auth::tidegate::policy::types;
pub(super) use collect::exports::tidegate::policy::collect as collect_role;
pub(super) use split::exports::tidegate::policy::split as split_role;
