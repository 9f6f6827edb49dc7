//! From a component to code, off the path of every exchange.
//!
//! Compiles on a thread of the lowest priority, one at a time, and survives a
//! compiler that panics; never compiles the same content twice. Used by `host`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::inspect::inspect;
use super::native::{Folder, Native};
use super::{HostError, Inspection, Refusal};

/// How much the compiling thread steps back for exchanges: all there is.
const NICE: i32 = 19;

/// Stack of the compiling thread: Cranelift recurses on deep code.
const STACK_BYTES: usize = 16 << 20;

/// The compiler and what it made before.
#[derive(Debug)]
pub(super) struct Compiler {
    engine: Engine,
    folder: Folder,
    /// Ends every name here: of the engine's version and settings, so that what
    /// another one made has another name.
    settings: String,
    /// One compilation at a time.
    turn: Mutex<()>,
}

impl Compiler {
    pub(super) fn new(engine: &Engine, cache: &Path) -> Result<Arc<Self>, HostError> {
        let mut settings = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut settings);
        let compiler = Self {
            engine: engine.clone(),
            folder: Folder::open(cache)?,
            settings: format!("-{:016x}.cwasm", settings.finish()),
            turn: Mutex::new(()),
        };
        compiler.folder.keep_only(&compiler.settings);
        Ok(Arc::new(compiler))
    }

    /// What is in a component, and its code, ready to be linked; refused before
    /// it is compiled where `fits` says so. Cancel-safe: the thread goes on and
    /// what it makes is kept for the next time.
    pub(super) async fn compile(
        self: &Arc<Self>,
        component: Bytes,
        fits: impl FnOnce(&Inspection) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<(Inspection, Component), Refusal> {
        let (done, answer) = oneshot::channel();
        let this = Arc::clone(self);
        let work = move || {
            let inspection = inspect(&component)?;
            fits(&inspection)?;
            let compiled = this.make(&component, &inspection)?;
            Ok((inspection, compiled))
        };
        let this = Arc::clone(self);
        std::thread::Builder::new()
            .name("policy-compile".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                if let Err(error) = rustix::process::nice(NICE) {
                    tracing::debug!(%error, "the compiling thread keeps its priority");
                }
                let _turn = this.turn.lock();
                let made = catch_unwind(AssertUnwindSafe(work))
                    .unwrap_or_else(|_| Err(Refusal::Compile("the compiler panicked".to_owned())));
                // Nobody may be waiting any more.
                let _ = done.send(made);
            })
            .map_err(|error| Refusal::Gateway(format!("no thread to compile on: {error}")))?;
        answer
            .await
            .unwrap_or_else(|_| Err(Refusal::Gateway("the compiling thread ended".to_owned())))
    }

    fn make(&self, component: &[u8], inspection: &Inspection) -> Result<Component, Refusal> {
        let digest = &inspection.digest;
        let refused = |error: wasmtime::Error| Refusal::Compile(format!("{error:#}"));
        let name = format!("{}{}", digest.hex(), self.settings);
        let kept = Native::read(&self.folder, &name);
        let kept = kept.and_then(|native| native.component(&self.engine).ok());
        let compiled = if let Some(compiled) = kept {
            compiled
        } else {
            let native = Native::compile(&self.engine, component).map_err(refused)?;
            if let Err(error) = native.write(&self.folder, &name) {
                tracing::warn!(%digest, %error, "the compiled plugin could not be kept");
            }
            native.component(&self.engine).map_err(refused)?
        };
        // Now, so that the first call does not pay for it.
        compiled.initialize_copy_on_write_image().map_err(refused)?;
        Ok(compiled)
    }
}
