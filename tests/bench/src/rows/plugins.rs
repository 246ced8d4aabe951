//! Many plugins on one host, and plugins that come from the store: the memory of a host that does
//! nothing, the calls of a plugin that is replaced all the time, and the way back to the release
//! before.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tidegate::domain::HostId;
use tidegate::jobs::ReleasesJob;
use tidegate::plugin::{Admission, Registry, Routes, SandboxEngine, Watcher, build_components};
use tidegate::store::{self, Deploy, Deployed, ReleaseNote, RolledBack, StoreOptions};
use tokio_util::sync::CancellationToken;

use crate::fallible::{Fallible, float};
use crate::process::Process;
use crate::report::{Report, progress};
use crate::sandbox::event_with;
use crate::scene::Scene;
use crate::services::services;

use super::single::percentile_ms;
use super::swap::variant;

/// A component of about 200 KB.
const PLUGIN: &str = "partner-sync";
const PLUGINS: u32 = 20;
/// For so long a host has nothing to do before its memory is read.
const IDLE: Duration = Duration::from_secs(5);

async fn component(scene: &Scene, package: &str) -> Fallible<Vec<u8>> {
    let target = scene.options.target_dir.join("components");
    let built = build_components(&scene.options.workspace, &target, &[package], progress).await?;
    Ok(std::fs::read(built.first().ok_or("the component was not built")?)?)
}

fn install(folder: &Path, manifest: &str, wasm: &[u8]) -> Fallible<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("component.wasm"), wasm)?;
    std::fs::write(folder.join("plugin.toml"), manifest)?;
    Ok(())
}

/// The resident memory of a whole host (API, store, jobs) that has twenty plugins and no work.
pub(crate) async fn idle_memory(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let wasm = component(scene, PLUGIN).await?;
    let folder = scene.folder("idle")?;
    let plugins = folder.join("plugins");
    for number in 0..PLUGINS {
        let manifest = format!(
            "name = \"plugin-{number}\"\nhandles = [\"TYPE_{number}\"]\n[grants]\n\
             http = [\"https://api.partner.example\"]\nsecrets = [\"PARTNER_API_KEY\"]\n\
             [settings]\nbase_url = \"https://api.partner.example\"\n"
        );
        let variant = variant(&wasm, number);
        install(&plugins.join(format!("plugin-{number}")), &manifest, &variant)?;
    }
    let config = folder.join("tidegate.toml");
    let store = format!("sqlite:{}", folder.join("idle.db").display());
    std::fs::write(
        &config,
        format!(
            "listen = \"127.0.0.1:0\"\n[store]\nurl = \"{store}\"\n[log]\nfilter = \"error\"\n"
        ),
    )?;
    let program = scene.options.target_dir.join("release/tidegate");
    let config = config.display().to_string();
    // Once to compile, and once to be looked at: a host that has compiled keeps what that took.
    for (row, note) in [("idle/20 plugins, compiled", ""), ("idle/20 plugins", "aim: at most 120")]
    {
        let mut host = Process::start(&program, &["serve", "--config", &config])?;
        host.after("ready http://").await?;
        tokio::time::sleep(IDLE).await;
        let memory = float(host.memory_kb("VmRSS")?) / 1024.0;
        host.interrupt()?;
        host.stop().await?;
        let command = format!("{PLUGINS} components of {} bytes, SQLite, no events", wasm.len());
        report.add_noted(row, memory, "MiB", &command, note.to_owned());
    }
    Ok(())
}

/// From when a call was due until it was done, 500 a second, alone and while the plugin's component
/// is replaced three times a second, each time by one that was never compiled.
pub(crate) async fn calls_during_swaps(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let wasm = component(scene, PLUGIN).await?;
    let noop = component(scene, "noop").await?;
    let folder = scene.folder("swap-load")?;
    let url = format!("sqlite:{}", folder.join("empty.db").display());
    let services = services(&store::open(&url.parse()?, StoreOptions::default()).await?);
    let plugins = folder.join("plugins");
    install(&plugins.join("noop"), "name = \"noop\"\nhandles = [\"NOOP\"]\n", &noop)?;
    let manifest = scene.options.workspace.join("plugins").join(PLUGIN).join("plugin.toml");
    let other = plugins.join(PLUGIN);
    install(&other, &std::fs::read_to_string(manifest)?, &variant(&wasm, 0))?;
    let engine = SandboxEngine::start()?;
    let registry = Arc::new(Registry::new(Routes::default()));
    let admission = Arc::new(Admission::new(engine.clone(), Some(folder.join("cache"))));
    let stop = CancellationToken::new();
    let watcher = Watcher::start(plugins.clone(), admission, Arc::clone(&registry), None).await?;
    let watching = tokio::spawn(watcher.run(stop.clone()));
    for (name, swaps) in [("without", false), ("during", true)] {
        let swapping = CancellationToken::new();
        let swapper = swaps.then(|| {
            let (ended, wasm, noop) = (swapping.clone(), wasm.clone(), noop.clone());
            let (other, plugins) = (other.clone(), plugins.clone());
            tokio::spawn(ended.run_until_cancelled_owned(async move {
                for number in 1_u32.. {
                    // The plugin that is called, and a large one beside it.
                    let small = plugins.join("noop").join("component.wasm");
                    let large = other.join("component.wasm");
                    let written = std::fs::write(small, variant(&noop, number))
                        .and_then(|()| std::fs::write(large, variant(&wasm, number)));
                    if let Err(error) = written {
                        progress(&format!("a component was not written: {error}"));
                    }
                    tokio::time::sleep(Duration::from_millis(333)).await;
                }
            }))
        });
        let mut delays = Vec::new();
        let began = Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        while began.elapsed() < scene.options.seconds() {
            let due = ticks.tick().await;
            let event = event_with("{}")?;
            let (registry, engine, services) =
                (Arc::clone(&registry), engine.clone(), services.clone());
            calls.spawn(async move {
                let release = registry.current().of_plugin("noop").cloned();
                if let Some(release) = release {
                    release.attempt(&engine, &event, &services).await;
                }
                due.elapsed()
            });
        }
        while let Some(ended) = calls.join_next().await {
            delays.push(ended?);
        }
        swapping.cancel();
        if let Some(swapper) = swapper {
            swapper.await?;
        }
        let row = format!("swap/calls {name} p99");
        let command = "500 calls/s of a no-op; both components replaced 3 times a second";
        report.add(&row, percentile_ms(&mut delays, 99), "ms", command);
    }
    stop.cancel();
    watching.await?;
    Ok(())
}

/// From the wish to go back until the release before is live on the host.
pub(crate) async fn rollback(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let wasm = component(scene, PLUGIN).await?;
    let folder = scene.folder("rollback")?;
    let url = format!("sqlite:{}", folder.join("releases.db").display());
    let store = store::open(&url.parse()?, StoreOptions::default()).await?;
    let registry = Arc::new(Registry::new(Routes::default()));
    let job = ReleasesJob {
        store: Arc::clone(&store) as _,
        registry: Arc::clone(&registry),
        admission: Arc::new(Admission::new(SandboxEngine::start()?, Some(folder.join("cache")))),
        host: HostId::generate("bench"),
        poll: Duration::from_secs(1),
        prepare_within: Duration::from_secs(60),
        memory: Mutex::default(),
    };
    job.begin().await?;
    let stop = CancellationToken::new();
    let running = tokio::spawn(job.run(Arc::default(), stop.clone()));
    let manifest = scene.options.workspace.join("plugins").join(PLUGIN).join("plugin.toml");
    let manifest = std::fs::read_to_string(manifest)?;
    let mut digests = Vec::new();
    for number in 1..=2_u32 {
        let component = variant(&wasm, number);
        let digest = hexadecimal(&component);
        let deployed = store.deploy(Deploy {
            plugin: PLUGIN.to_owned(),
            digest: digest.clone(),
            component,
            manifest_digest: hexadecimal(manifest.as_bytes()),
            manifest: manifest.clone(),
            signature: None,
            canary: None,
            shadow: None,
            compared_with: number.checked_sub(1).filter(|before| *before > 0),
            hold: None,
            by: "bench".to_owned(),
            key: None,
        });
        let Deployed::Now(_) = deployed.await? else { return Err("it was not deployed".into()) };
        until_live(&registry, &digest).await?;
        digests.push(digest);
    }
    let mut times = Vec::new();
    for turn in 0..20 {
        let to = if turn % 2 == 0 { 1 } else { 2 };
        let clock = Instant::now();
        let note = ReleaseNote { reason: "bench", by: "bench" };
        let RolledBack::To(_) = store.roll_back(PLUGIN, Some(to), note).await? else {
            return Err("it was not rolled back".into());
        };
        let digest = if to == 1 { &digests[0] } else { &digests[1] };
        until_live(&registry, digest).await?;
        times.push(clock.elapsed());
    }
    stop.cancel();
    running.await?;
    let command = "20 times to the release before and back, SQLite, one host";
    for percent in [50, 99] {
        let row = format!("rollback/live p{percent}");
        report.add(&row, percentile_ms(&mut times, percent), "ms", command);
    }
    Ok(())
}

async fn until_live(registry: &Registry, digest: &str) -> Fallible<()> {
    let mut changes = registry.changes();
    let live = async {
        loop {
            changes.borrow_and_update();
            let routes = registry.current();
            if routes.of_plugin(PLUGIN).is_some_and(|live| live.digest() == digest) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), live).await?;
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
