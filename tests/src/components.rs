//! The plugins as components, built once a test process.

use std::path::PathBuf;

use tidegate::plugin::build_components;
use tokio::sync::OnceCell;

use crate::machine::repository;

const PACKAGES: [&str; 6] =
    ["partner-sync", "evm-broadcast", "event-publish", "noop", "hostile", "marker"];

/// The component of one of our plugins.
///
/// # Panics
/// It does not build, or there is no such plugin.
pub async fn component(package: &str) -> PathBuf {
    static BUILT: OnceCell<Vec<PathBuf>> = OnceCell::const_new();
    let built = BUILT
        .get_or_init(async || {
            let progress = |line: &str| eprintln!("{line}");
            build_components(&repository(), &folder(), &PACKAGES, progress).await.unwrap()
        })
        .await;
    let index = PACKAGES.iter().position(|name| *name == package).expect("one of our plugins");
    built[index].clone()
}

/// Where `dev` builds them too.
fn folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), PathBuf::from)
        .join("components")
}
