//! From what a compiler left to a component.
//!
//! A core module that carries its world in a custom section, as the SDK's
//! plugins do, is wrapped; a component stays as it is. Never runs anything.
//! Called before `inspect` by `reconcile`.

use bytes::Bytes;
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// The first eight bytes of a core module: `\0asm` and version 1.
const CORE_MODULE: [u8; 8] = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];

/// A core module that cannot be wrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a core module that is no plugin: {0}; build it with tidegate-sdk, or wrap it with `wasm-tools component new`"
)]
pub struct NoPlugin(String);

/// The component in `content`, wrapped where it is a core module.
///
/// # Errors
///
/// [`NoPlugin`] where it is a core module without a world, or a broken one.
pub fn component(content: Bytes) -> Result<Bytes, NoPlugin> {
    if !content.starts_with(&CORE_MODULE) {
        return Ok(content);
    }
    if !has_world(&content) {
        return Err(NoPlugin("it carries no world".to_owned()));
    }
    // The encoder is made for trusted input; a panic must stay a refusal.
    let wrapped = std::panic::catch_unwind(|| {
        ComponentEncoder::default()
            .validate(true)
            .module(&content)
            .and_then(|mut encoder| encoder.encode())
            .map_err(|error| format!("{error:#}"))
    });
    wrapped
        .unwrap_or_else(|_| Err("it broke the wrapper".to_owned()))
        .map(Bytes::from)
        .map_err(NoPlugin)
}

/// Whether a core module has the section that wit-bindgen writes; without it
/// the encoder makes an empty component.
fn has_world(module: &[u8]) -> bool {
    Parser::new(0).parse_all(module).any(|payload| {
        matches!(payload, Ok(Payload::CustomSection(section)) if section.name().starts_with("component-type"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_core_module_is_refused_and_what_is_none_stays() {
        let broken = [&CORE_MODULE[..], &[0xff]].concat();
        let error = component(Bytes::from(broken)).unwrap_err().to_string();
        assert!(
            error.starts_with("a core module that is no plugin"),
            "{error}"
        );
        let other = Bytes::from_static(b"not wasm");
        assert_eq!(component(other.clone()), Ok(other));
    }
}
