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

#[cfg(unix)]
#[tokio::test]
async fn a_cache_that_others_may_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let outer = tempfile::tempdir().unwrap();
    let cache = outer.path().join("cache");
    let (first, other) = (load(&cache, &good()), load(&cache, &bad()));
    assert_eq!(cache.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let entry = entry_of(&cache, &first);
    assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // The code of the bad one in the place of the good one: whoever loads it shows it.
    let code = std::fs::read(entry_of(&cache, &other)).unwrap();
    forge(&entry, &code[CHECKSUM_BYTES..]);
    allow(&entry, 0o620);
    assert!(is_done(&load(&cache, &good())).await, "an entry that others may write");
    forge(&entry, &code[CHECKSUM_BYTES..]);
    allow(&cache, 0o777);
    assert!(is_done(&load(&cache, &good())).await, "a folder that others may write");
    allow(&cache, 0o700);
    assert!(!is_done(&load(&cache, &good())).await, "and else it is taken");
}

#[tokio::test]
async fn the_cache_keeps_what_was_used_last_and_no_more_than_its_bound() {
    const BOUND: usize = 128;
    let cache = tempfile::tempdir().unwrap();
    let used = entry_of(cache.path(), &load(cache.path(), &good()));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(1_000_000);
    let age = |path: &Path| {
        std::fs::File::open(path).unwrap().set_modified(old).unwrap();
    };
    age(&used);
    for number in 0..BOUND + 10 {
        let path = cache.path().join(format!("{number:04}.cwasm"));
        std::fs::write(&path, "old").unwrap();
        age(&path);
    }
    let left_over = cache.path().join("x.partial-0123");
    std::fs::write(&left_over, "").unwrap();
    age(&left_over);
    load(cache.path(), &good());
    load(cache.path(), &bad());
    assert_eq!(entries(cache.path()).len(), BOUND);
    assert!(used.exists() && !left_over.exists());
}
