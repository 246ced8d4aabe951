//! What a neighbour feels of a plugin that does its worst, in one process: no store, no claims.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::plugin::{Release, Routes, SandboxEngine, Services, build_components};
use tidegate::store::{self, StoreOptions};
use tokio::task::JoinSet;

use crate::fallible::Fallible;
use crate::report::progress;
use crate::sandbox::event_with;
use crate::scene::Scene;
use crate::services::services;

/// Calls of the neighbour a second: far from what the machine can do, and steady.
const CALLS_PER_SECOND: u32 = 1_000;
/// What `limits.concurrency` is by default, and so what one bad plugin has in hand.
const BAD_CALLS: usize = 64;

const MANIFEST: &str = "name = \"hostile\"\nhandles = [\"HOSTILE\"]\n[limits]\ntimeout = \"1s\"\n\
    [grants]\nsecrets = [\"KEY\"]\ntopics = [\"granted\"]\nnetworks = [\"eip155:31337\"]\n";

/// The plugins of this row, and what they are called with.
pub(crate) struct Neighbours {
    engine: SandboxEngine,
    routes: Routes,
    services: Services,
}

impl Neighbours {
    pub(crate) async fn load(scene: &Scene) -> Fallible<Self> {
        let url = format!("sqlite:{}", scene.folder("isolation")?.join("empty.db").display());
        let store = store::open(&url.parse()?, StoreOptions::default()).await?;
        let plugins = scene.folder("neighbours")?;
        let target = scene.options.target_dir.join("components");
        let packages = ["noop", "hostile"];
        let built =
            build_components(&scene.options.workspace, &target, &packages, progress).await?;
        let noop = "name = \"noop\"\nhandles = [\"NOOP\"]\n";
        for (component, (name, manifest)) in
            built.iter().zip([("noop", noop), ("hostile", MANIFEST)])
        {
            install(&plugins.join(name), component, manifest)?;
        }
        let engine = SandboxEngine::start()?;
        let routes = Routes::from_folder(&engine, &plugins, None)?;
        Ok(Self { engine, routes, services: services(&store) })
    }

    fn release(&self, name: &str) -> Fallible<Arc<Release>> {
        let found = self.routes.releases().iter().find(|it| it.manifest().name == name);
        Ok(Arc::clone(found.ok_or("no such plugin")?))
    }

    /// From when each call of the neighbour was due until it was done, while so many calls of the
    /// other do this. None: it does nothing.
    pub(crate) async fn delays(
        &self,
        bad: Option<&str>,
        duration: Duration,
    ) -> Fallible<Vec<Duration>> {
        let mut others = JoinSet::new();
        if let Some(payload) = bad {
            for _ in 0..BAD_CALLS {
                let (engine, services) = (self.engine.clone(), self.services.clone());
                let (release, event) = (self.release("hostile")?, event_with(payload)?);
                others.spawn(async move {
                    loop {
                        let _ = release.attempt(&engine, &event, &services).await;
                    }
                });
            }
        }
        let (good, event) = (self.release("noop")?, Arc::new(event_with("{}")?));
        let mut calls = JoinSet::new();
        let begun = Instant::now();
        let count = CALLS_PER_SECOND * u32::try_from(duration.as_secs().max(1))?;
        for number in 0..count {
            let due = begun + Duration::from_secs(1) / CALLS_PER_SECOND * number;
            tokio::time::sleep_until(due.into()).await;
            let (engine, services) = (self.engine.clone(), self.services.clone());
            let (release, event) = (Arc::clone(&good), Arc::clone(&event));
            calls.spawn(async move {
                let _ = release.attempt(&engine, &event, &services).await;
                due.elapsed()
            });
        }
        let mut delays = Vec::with_capacity(count as usize);
        while let Some(call) = calls.join_next().await {
            delays.push(call?);
        }
        others.shutdown().await;
        Ok(delays)
    }
}

fn install(folder: &Path, component: &Path, manifest: &str) -> Fallible<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::copy(component, folder.join("component.wasm"))?;
    std::fs::write(folder.join("plugin.toml"), manifest)?;
    Ok(())
}
