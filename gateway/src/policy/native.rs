//! Compiled plugins: made here, kept in a folder that is this gateway's alone,
//! and turned into code. The one place with `unsafe` that is written by hand.
//!
//! Never takes compiled code from anywhere else: [`Native`] has no constructor
//! but the compiler and the folder. Used by `compile`.
//!
//! # Why the `unsafe` is sound
//!
//! `Component::deserialize` runs what it is given as machine code, so its bytes
//! must be the unchanged output of `Engine::precompile_component`. Bytes get
//! into a [`Native`] in two ways. [`Native::compile`] is that very output.
//! [`Native::read`] takes a file of a [`Folder`] only if all of these hold:
//! - the folder was opened without following a link, belongs to our user, and
//!   nobody else may read or write it; it is held open, so that no renaming
//!   above it can put another in its place;
//! - the file is a regular one that was opened without following a link,
//!   belongs to our user, and nobody else may write it; only
//!   [`Native::write`] makes files of that name, from the output of the
//!   compiler, under another name first, so that it is never half there;
//! - the file ends in the SHA-256 of the rest, so that a torn or rotten one is
//!   compiled again.
//!
//! wasmtime itself refuses what another version or other settings made. Whoever
//! can still put code there is our own user, who could as well replace the
//! gateway's binary; models that must not be trusted run as another user
//! (`process.user`), which status recommends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::{AtFlags, Mode, OFlags};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::HostError;
use crate::identity::sha256;

/// Bytes of the hash at the end of a file.
const HASH_BYTES: usize = 32;

/// Largest compiled plugin that is read back: 32 MiB of component make some
/// 100 MB of code.
const NATIVE_BYTES_MAX: u64 = 256 << 20;

/// A folder that is ours alone.
#[derive(Debug)]
pub(super) struct Folder(File);

impl Folder {
    /// Opens it, making it where it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, HostError> {
        let refused = |what: String| HostError::Cache {
            path: PathBuf::from(path),
            what,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| refused(error.to_string()))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| refused(error.to_string()))?;
        let folder = File::from(folder);
        let found = folder
            .metadata()
            .map_err(|error| refused(error.to_string()))?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(refused("it belongs to another user".to_owned()));
        }
        if found.mode() & 0o077 != 0 {
            return Err(refused(
                "others may use it; it holds machine code, so make it 0700 and empty".to_owned(),
            ));
        }
        Ok(Self(folder))
    }

    /// Removes what another version of the gateway made, or left half made.
    pub(super) fn keep_only(&self, ending: &str) {
        let Ok(files) = rustix::fs::Dir::read_from(&self.0) else {
            return;
        };
        for name in files.flatten() {
            let name = name.file_name();
            let bytes = name.to_bytes();
            let stale = bytes.ends_with(b".cwasm") || bytes.ends_with(b".part");
            if stale && !bytes.ends_with(ending.as_bytes()) {
                // It is only room on the disk.
                let _ = rustix::fs::unlinkat(&self.0, name, AtFlags::empty());
            }
        }
    }

    fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file))
    }
}

/// Machine code of a component that this gateway compiled itself.
pub(super) struct Native(Vec<u8>);

impl Native {
    /// Compiles. Takes milliseconds to seconds of one core.
    pub(super) fn compile(engine: &Engine, component: &[u8]) -> wasmtime::Result<Self> {
        engine.precompile_component(component).map(Self)
    }

    /// What an earlier [`Native::write`] of this name left; none where there is
    /// none that may be believed.
    pub(super) fn read(folder: &Folder, name: &str) -> Option<Self> {
        let file = folder.file(name, OFlags::RDONLY).ok()?;
        let found = file.metadata().ok()?;
        let ours = found.is_file()
            && found.uid() == rustix::process::geteuid().as_raw()
            && found.mode() & 0o022 == 0
            && found.len() <= NATIVE_BYTES_MAX;
        if !ours {
            tracing::warn!(
                name,
                "a file of the plugin cache is not ours alone; it is not used"
            );
            return None;
        }
        let mut bytes = Vec::new();
        file.take(NATIVE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let length = bytes.len().checked_sub(HASH_BYTES)?;
        let (code, hash) = bytes.split_at_checked(length)?;
        if sha256(code) != *hash {
            return None;
        }
        bytes.truncate(length);
        Some(Self(bytes))
    }

    /// Keeps it for the next start.
    pub(super) fn write(&self, folder: &Folder, name: &str) -> io::Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let temporary = format!("{}-{number}.part", std::process::id());
        let written = self.write_as(folder, &temporary).and_then(|()| {
            rustix::fs::renameat(&folder.0, temporary.as_str(), &folder.0, name)?;
            folder.0.sync_all()
        });
        if written.is_err() {
            // Nothing more can be done where even that fails.
            let _ = rustix::fs::unlinkat(&folder.0, temporary.as_str(), AtFlags::empty());
        }
        written
    }

    fn write_as(&self, folder: &Folder, name: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = folder.file(name, flags)?;
        file.write_all(&self.0)?;
        file.write_all(&sha256(&self.0))?;
        file.sync_all()
    }

    /// Makes it callable.
    #[expect(
        unsafe_code,
        reason = "the bytes are our own compiler's; the module says why"
    )]
    pub(super) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `self.0` is the unchanged output of `precompile_component`,
        // by the two constructors above; the proof is in the module's header.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
