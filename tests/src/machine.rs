//! The machine that all tests of this process share.

use std::net::TcpListener;
use std::path::PathBuf;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// For a test that measures time: nobody else of this process works meanwhile.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

/// For all others.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// A port that was free a moment ago, for servers that cannot say which one they took.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Below what systems give to outgoing connections.
const QUIET_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A free port for a server that will be away for a while and come back to it: no outgoing
/// connection, not even one that knocks there meanwhile, is ever given it.
///
/// # Panics
/// There is none.
#[must_use]
pub fn quiet_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut drawn = std::iter::repeat_with(|| fastrand::u16(QUIET_PORTS)).take(1_000);
    drawn.find(is_free).expect("one of a thousand ports is free")
}

/// The top folder of the checkout.
///
/// # Panics
/// This crate lies elsewhere.
#[must_use]
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Cargo's folder for what it builds, which holds this test.
///
/// # Panics
/// The test was moved.
#[must_use]
pub fn target_folder() -> PathBuf {
    // target/debug/deps/e2e-0123456789abcdef
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}
