//! From the last write of a component of 200 KB to its release being live: compiled, and from the
//! cache.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::plugin::{Admission, Registry, Routes, SandboxEngine, Watcher, build_components};
use tokio_util::sync::CancellationToken;

use crate::fallible::Fallible;
use crate::report::{Report, progress};
use crate::scene::Scene;

use super::single::percentile_ms;

const PLUGIN: &str = "partner-sync";

pub(crate) async fn measure(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let (workspace, target) =
        (&scene.options.workspace, scene.options.target_dir.join("components"));
    let built = build_components(workspace, &target, &[PLUGIN], progress).await?;
    let wasm = std::fs::read(built.first().ok_or("the component was not built")?)?;
    let plugins = scene.folder("swap")?;
    let folder = plugins.join(PLUGIN);
    std::fs::create_dir_all(&folder)?;
    let manifest = workspace.join("plugins").join(PLUGIN).join("plugin.toml");
    std::fs::copy(manifest, folder.join("plugin.toml"))?;
    let file = folder.join("component.wasm");
    std::fs::write(&file, variant(&wasm, 0))?;
    let registry = Arc::new(Registry::new(Routes::default()));
    let admission = Admission::new(SandboxEngine::start()?, Some(scene.folder("swap-cache")?));
    let watcher = Watcher::start(plugins, Arc::new(admission), Arc::clone(&registry), None).await?;
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watcher.run(stop.clone()));

    let swaps = u32::try_from(scene.options.scaled(20))?.max(2);
    let (mut cold, mut cached) = (Vec::new(), Vec::new());
    for number in 1..=swaps {
        cold.push(swap(&registry, &file, &variant(&wasm, number)).await?);
    }
    for number in 1..=swaps {
        cached.push(swap(&registry, &file, &variant(&wasm, number)).await?);
    }
    stop.cancel();
    watching.await?;
    let command = format!("{swaps} writes of {} bytes, one after another", wasm.len());
    for (name, mut times) in [("cold", cold), ("cached", cached)] {
        for percent in [50, 99] {
            let row = format!("swap/{name} p{percent}");
            report.add(&row, percentile_ms(&mut times, percent), "ms", &command);
        }
    }
    Ok(())
}

/// The component with a custom section at its end, which changes nothing but its digest.
pub(super) fn variant(wasm: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = wasm.to_vec();
    bytes.extend([0, 9, 4, b'm', b'a', b'r', b'k']);
    bytes.extend(number.to_le_bytes());
    bytes
}

async fn swap(registry: &Registry, file: &Path, bytes: &[u8]) -> Fallible<Duration> {
    let mut changes = registry.changes();
    std::fs::write(file, bytes)?;
    let written = Instant::now();
    tokio::time::timeout(Duration::from_secs(30), changes.changed()).await??;
    Ok(written.elapsed())
}
