//! When a folder has settled, without waiting for it.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::look::Look;
use super::settling::{Next, QUIET, QUIET_UNANNOUNCED, Settling};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn look(folder: &Path) -> Look {
    Look::at(folder).unwrap().unwrap_or_default()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plugin.toml", "component.wasm"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    folder
}

/// Writes on a file in place.
fn append(folder: &Path) -> Look {
    use std::io::Write;
    let file = folder.join("component.wasm");
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(b"x").unwrap();
    look(folder)
}

#[test]
fn what_is_quiet_for_a_moment_is_read() {
    let (folder, now) = (folder(), Instant::now());
    let settling = Settling::new(look(folder.path()), now, true);
    assert_eq!(settling.next(now), Next::Wait(now + QUIET));
    assert_eq!(settling.next(now + QUIET), Next::Read);
    let silent = Settling::new(look(folder.path()), now, false);
    assert_eq!(silent.next(now + QUIET), Next::Wait(now + QUIET_UNANNOUNCED));
}

/// In milliseconds of its own, not in those of the code: a shorter moment would read what a tool is
/// still writing between two of its pieces.
#[test]
fn nothing_is_read_within_twenty_milliseconds_of_a_change() {
    let (folder, now) = (folder(), Instant::now());
    let mut settling = Settling::new(look(folder.path()), now, true);
    assert!(matches!(settling.next(now + ms(20)), Next::Wait(_)));
    settling.see(append(folder.path()), now + ms(100), true, false);
    assert!(matches!(settling.next(now + ms(120)), Next::Wait(_)));
}

#[test]
fn a_change_may_be_seen_before_it_is_announced() {
    let (folder, now) = (folder(), Instant::now());
    let mut settling = Settling::new(look(folder.path()), now, true);
    settling.see(append(folder.path()), now, false, false);
    assert_eq!(settling.next(now + QUIET), Next::Wait(now + QUIET_UNANNOUNCED));
    settling.see(look(folder.path()), now + ms(5), true, false);
    settling.see(look(folder.path()), now + ms(10), false, false);
    assert_eq!(settling.next(now + QUIET), Next::Read);
}

#[test]
fn a_file_that_is_open_for_writing_is_not_read() {
    let (folder, now) = (folder(), Instant::now());
    let mut settling = Settling::new(look(folder.path()), now, true);
    settling.see(look(folder.path()), now, true, true);
    assert!(matches!(settling.next(now + ms(10_000)), Next::Wait(_)));
    settling.see(look(folder.path()), now, true, false);
    assert_eq!(settling.next(now + QUIET), Next::Read);
}

#[test]
fn who_writes_in_pieces_is_waited_for_by_the_rhythm_of_the_pieces() {
    let (folder, now) = (folder(), Instant::now());
    let mut settling = Settling::new(look(folder.path()), now, true);
    assert_eq!(settling.next(now + ms(100)), Next::Read);
    settling.reading();
    let first = settling.look().clone();
    settling.failed(&first);
    let at = now + ms(100);
    settling.see(append(folder.path()), at, true, false);
    assert_eq!(settling.next(at + ms(100)), Next::Wait(at + ms(200)));
    assert_eq!(settling.next(at + ms(200)), Next::Read);
    settling.reading();
    let second = settling.look().clone();
    settling.succeeded(&second);
    // The next change is another story.
    let at = at + ms(1_000);
    settling.see(append(folder.path()), at, true, false);
    assert_eq!(settling.next(at + QUIET), Next::Read);
}

#[test]
fn what_does_not_validate_is_rejected_only_when_it_stays_so() {
    let (folder, now) = (folder(), Instant::now());
    let mut settling = Settling::new(look(folder.path()), now, true);
    settling.reading();
    let read = settling.look().clone();
    assert_eq!(settling.next(now + ms(1_000)), Next::Rest, "it is being read");
    settling.failed(&read);
    assert_eq!(settling.next(now + ms(100)), Next::Wait(now + ms(500)));
    assert_eq!(settling.next(now + ms(500)), Next::Reject);
    settling.rejected();
    assert_eq!(settling.next(now + ms(600)), Next::Rest);
}

#[test]
fn what_changes_while_it_is_read_is_read_again() {
    let (folder, now) = (folder(), Instant::now());
    let mut settling = Settling::new(look(folder.path()), now, true);
    settling.reading();
    let read = settling.look().clone();
    settling.see(append(folder.path()), now + ms(30), true, false);
    settling.succeeded(&read);
    assert_eq!(settling.next(now + ms(1_000)), Next::Read);
}

#[test]
fn a_missing_file_is_waited_for_a_little() {
    let (folder, now) = (folder(), Instant::now());
    std::fs::remove_file(folder.path().join("component.wasm")).unwrap();
    let settling = Settling::new(look(folder.path()), now, true);
    assert_eq!(settling.next(now + QUIET), Next::Wait(now + ms(200)));
    assert_eq!(settling.next(now + ms(200)), Next::Incomplete);
}
