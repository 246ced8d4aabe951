//! Compiled components, and the cache that only this host writes.
//!
//! The one file with `unsafe`: wasmtime trusts a precompiled artifact as it trusts its own code, so
//! deserializing one is unsafe by its signature. What makes it sound here: the bytes were written by
//! this function, into a folder that only the host's user can write, and carry a checksum; the name
//! holds the component's digest and the engine's version and settings; whatever does not fit is
//! recompiled.
#![allow(unsafe_code, reason = "Component::deserialize is unsafe, and this file is its one user")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Cache;

const CHECKSUM_BYTES: usize = 32;

/// The component of these bytes: from the cache if it is there, else compiled and put there. A
/// cache that cannot be used costs only time. Blocks for as long as a compiler needs.
pub(super) fn load(
    engine: &Engine,
    cache: Option<&Path>,
    digest: &str,
    wasm: &[u8],
) -> Result<Component, String> {
    let cache = cache.and_then(open);
    let entry = cache.as_ref().map(|cache| cache.entry(&entry_name(engine, digest)));
    if let Some(component) = entry.as_deref().and_then(|path| read(engine, path)) {
        return Ok(component);
    }
    let component = Component::from_binary(engine, wasm).map_err(|e| format!("{e:#}"))?;
    if let (Some(cache), Some(path)) = (cache, entry) {
        if let Err(error) = write(&component, &path) {
            tracing::warn!(path = %path.display(), %error, "cannot write to the cache of components");
        }
        cache.prune();
    }
    Ok(component)
}

fn open(folder: &Path) -> Option<Cache<'_>> {
    match Cache::open(folder) {
        Ok(cache) => Some(cache),
        Err(why) => {
            tracing::warn!(folder = %folder.display(), "the cache of components is not used: {why}");
            None
        }
    }
}

/// The engine's hash holds its settings, and the exact versions of it and of this host.
fn entry_name(engine: &Engine, digest: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}", hasher.finish())
}

fn read(engine: &Engine, path: &Path) -> Option<Component> {
    let bytes = Cache::read(path)?;
    let whole = bytes
        .split_at_checked(CHECKSUM_BYTES)
        .filter(|(checksum, artifact)| checksum_of(path, artifact)[..] == **checksum);
    let Some((_, artifact)) = whole else {
        tracing::warn!(path = %path.display(), "a damaged entry of the cache is compiled anew");
        return None;
    };
    // SAFETY: `write` below made these bytes for this component, and the checksum says that they
    // are whole and in their own place.
    match unsafe { Component::deserialize(engine, artifact) } {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %format!("{error:#}"), "a foreign entry of the cache is compiled anew");
            None
        }
    }
}

/// Over the name too: the code of another component, moved here, is not taken for this one's.
fn checksum_of(path: &Path, artifact: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = Sha256::new();
    hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hasher.update(artifact);
    hasher.finalize().into()
}

fn write(component: &Component, path: &Path) -> std::io::Result<()> {
    let artifact = component.serialize().map_err(std::io::Error::other)?;
    Cache::write(path, &[&checksum_of(path, &artifact), &artifact])
}
