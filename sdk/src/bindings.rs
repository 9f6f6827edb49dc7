//! What `wit-bindgen` makes of `wit/policy.wit`, one world a module.
//!
//! The worlds here are slices of the contract's: `host` has the types and every
//! interface that a host may lend (what a plugin does not call is not imported),
//! `lifecycle` what every plugin exports, and then one for each role. The
//! sections that describe them are joined when a module becomes a component.
//! Nothing here is public under its own name: the rest of the SDK re-exports it.
#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code; its unsafe is the canonical ABI's, and its lints are wit-bindgen's"
)]

/// Imports of all worlds.
pub mod host {
    wit_bindgen::generate!({
        inline: r"
            package tidegate:sdk;
            world host {
                import tidegate:policy/types@0.1.0;
                import tidegate:policy/log@0.1.0;
                import tidegate:policy/metrics@0.1.0;
                import tidegate:policy/clock@0.1.0;
                import tidegate:policy/random@0.1.0;
                import tidegate:policy/keys@0.1.0;
                import tidegate:policy/tokens@0.1.0;
                import tidegate:policy/crypto@0.1.0;
                import tidegate:policy/counters@0.1.0;
                import tidegate:policy/kv@0.1.0;
                import tidegate:policy/http@0.1.0;
            }
        ",
        path: "../wit/policy.wit",
        world: "tidegate:sdk/host",
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq],
    });
}

/// What every plugin exports.
pub mod lifecycle {
    wit_bindgen::generate!({
        inline: r"
            package tidegate:sdk;
            world lifecycle-plugin {
                export tidegate:policy/lifecycle@0.1.0;
            }
        ",
        path: "../wit/policy.wit",
        world: "tidegate:sdk/lifecycle-plugin",
        pub_export_macro: true,
        export_macro_name: "__export_lifecycle",
        additional_derives: [PartialEq],
        with: {
            "tidegate:policy/types@0.1.0": crate::bindings::host::tidegate::policy::types,
        },
    });
}

/// What auth policies export.
pub mod auth {
    wit_bindgen::generate!({
        inline: r"
            package tidegate:sdk;
            world auth-plugin {
                export tidegate:policy/auth@0.1.0;
            }
        ",
        path: "../wit/policy.wit",
        world: "tidegate:sdk/auth-plugin",
        pub_export_macro: true,
        export_macro_name: "__export_auth",
        additional_derives: [PartialEq],
        with: {
            "tidegate:policy/types@0.1.0": crate::bindings::host::tidegate::policy::types,
        },
    });
}

/// What split policies export.
pub mod split {
    wit_bindgen::generate!({
        inline: r"
            package tidegate:sdk;
            world split-plugin {
                export tidegate:policy/split@0.1.0;
            }
        ",
        path: "../wit/policy.wit",
        world: "tidegate:sdk/split-plugin",
        pub_export_macro: true,
        export_macro_name: "__export_split",
        additional_derives: [PartialEq],
        with: {
            "tidegate:policy/types@0.1.0": crate::bindings::host::tidegate::policy::types,
        },
    });
}

/// What collect policies export.
pub mod collect {
    wit_bindgen::generate!({
        inline: r"
            package tidegate:sdk;
            world collect-plugin {
                export tidegate:policy/collect@0.1.0;
            }
        ",
        path: "../wit/policy.wit",
        world: "tidegate:sdk/collect-plugin",
        pub_export_macro: true,
        export_macro_name: "__export_collect",
        additional_derives: [PartialEq],
        with: {
            "tidegate:policy/types@0.1.0": crate::bindings::host::tidegate::policy::types,
        },
    });
}
