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
