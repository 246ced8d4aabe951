//! The cache of compiled components: used where it fits, and never trusted where it does not.

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::components::{ENGINE, attempt, manifest};
use super::fakes::services;
use super::wat;
use crate::domain::Outcome;
use crate::plugin::Release;

const CHECKSUM_BYTES: usize = 32;

fn good() -> Vec<u8> {
    wat::plugin("", "i32.const 1024", "")
}

fn bad() -> Vec<u8> {
    wat::plugin("", "unreachable", "")
}

fn load(cache: &Path, wasm: &[u8]) -> Release {
    Release::from_bytes(&ENGINE, manifest(""), wasm, Some(cache))
        .map_err(|e| e.to_string())
        .unwrap()
}

async fn is_done(release: &Release) -> bool {
    matches!(attempt(release, &services(), json!({})).await, Outcome::Done(_))
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn entry_of(cache: &Path, release: &Release) -> PathBuf {
    let named =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(release.digest());
    entries(cache).into_iter().find(named).unwrap()
}

/// Puts an artifact in the place of another, with a checksum as the cache writes it.
fn forge(entry: &Path, artifact: &[u8]) {
    let mut hasher = Sha256::new();
    hasher.update(entry.file_name().unwrap().as_encoded_bytes());
    hasher.update(artifact);
    std::fs::write(entry, [&hasher.finalize()[..], artifact].concat()).unwrap();
}

#[tokio::test]
async fn the_second_load_takes_the_code_of_the_first() {
    let cache = tempfile::tempdir().unwrap();
    let first = load(cache.path(), &good());
    assert_eq!(entries(cache.path()).len(), 1, "no partial file stays");
    // Nobody but this test may do so: with another component's code in the entry, the second load
    // shows which code it takes.
    let other = load(cache.path(), &bad());
    let code = std::fs::read(entry_of(cache.path(), &other)).unwrap();
    forge(&entry_of(cache.path(), &first), &code[CHECKSUM_BYTES..]);
    assert!(is_done(&first).await);
    assert!(!is_done(&load(cache.path(), &good())).await);
}

#[tokio::test]
async fn an_entry_of_another_component_is_not_taken() {
    let cache = tempfile::tempdir().unwrap();
    let (first, other) = (load(cache.path(), &good()), load(cache.path(), &bad()));
    std::fs::copy(entry_of(cache.path(), &other), entry_of(cache.path(), &first)).unwrap();
    assert!(is_done(&load(cache.path(), &good())).await);
}

#[tokio::test]
async fn a_damaged_entry_is_compiled_anew_and_replaced() {
    let cache = tempfile::tempdir().unwrap();
    let entry = entry_of(cache.path(), &load(cache.path(), &good()));
    let whole = std::fs::read(&entry).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in
        [&flipped[..], &whole[..whole.len() - 1], &whole[..CHECKSUM_BYTES], &whole[..3], b""]
    {
        std::fs::write(&entry, damaged).unwrap();
        assert!(is_done(&load(cache.path(), &good())).await);
        assert_ne!(std::fs::read(&entry).unwrap(), damaged, "it was replaced");
    }
}

#[tokio::test]
async fn bytes_that_are_no_artifact_are_compiled_anew() {
    let cache = tempfile::tempdir().unwrap();
    let entry = entry_of(cache.path(), &load(cache.path(), &good()));
    for foreign in [&b"no artifact"[..], b"", &good()] {
        forge(&entry, foreign);
        assert!(is_done(&load(cache.path(), &good())).await);
    }
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_costs_only_time() {
    let cache = tempfile::tempdir().unwrap();
    let file = cache.path().join("a file and no folder");
    std::fs::write(&file, "").unwrap();
    assert!(is_done(&load(&file, &good())).await);
}
