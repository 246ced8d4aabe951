//! A release: one loaded version of a plugin, named by the digest of its component.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::admission::Candidate;
use super::artifact;
use super::bindings::Everything;
use super::contract::{self, Exports};
use super::egress::{Egress, Outbound};
use super::engine::SandboxEngine;
use super::functions::bounds;
use super::manifest::{Manifest, ManifestError};
use super::signature::SignatureError;
use super::slots::Slots;
use super::state::CallState;
use super::targets::Targets;
use super::turns::Account;

/// A loaded release, ready to be called.
pub struct Release {
    /// Its plugin's, from when it becomes live.
    slots: OnceLock<Arc<Slots>>,
    calls: AtomicUsize,
    /// When what it has in hand is interrupted, once it is replaced.
    ends_at: watch::Sender<Option<Instant>>,
    /// One permit for each withdrawal that may be judged at the same time.
    pub(super) judgements: Semaphore,
    /// How many places of the pool an instance takes.
    pub(super) weight: u32,
    /// What its long calls owe to brief ones.
    pub(super) account: Account,
    pub(super) facts: Arc<ReleaseFacts>,
    /// Its way out. Its calls are given one, or none.
    pub(super) connections: Arc<Egress>,
    pub(super) instance: InstancePre<CallState>,
    pub(super) exports: Exports,
}

/// What is known of a release without its code.
pub struct ReleaseFacts {
    pub manifest: Manifest,
    /// SHA-256 of the component, lower-case hexadecimal.
    pub digest: String,
    /// Where it comes from, such as its folder.
    pub origin: String,
    /// What it may ask for something, by its grants.
    pub targets: Targets,
    pub(super) settings_json: String,
    pub(super) outbound: Arc<Outbound>,
    /// Of the secrets that stay with the host: name, and what the guest gets in its place.
    pub(super) placeholders: Vec<(String, String)>,
}

/// Why a release is not loaded. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{}: cannot be read: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: String },
    #[error("{}: it has more than {bytes_max} bytes", file.display())]
    TooLarge { file: PathBuf, bytes_max: u64 },
    #[error(
        "{}: it leads to {}, outside of the folder of plugins: put the file itself there",
        file.display(), place.display()
    )]
    Outside { file: PathBuf, place: PathBuf },
    #[error("{plugin}: {cause}")]
    Signature { plugin: String, cause: SignatureError },
    #[error("{plugin}: component.wasm is no WebAssembly component: {what}")]
    NoComponent { plugin: String, what: &'static str },
    #[error("{plugin}: the component does not validate: {cause}")]
    Invalid { plugin: String, cause: String },
    #[error(
        "{plugin}: the component imports {import}, which this host does not offer; build it against \
         a contract version of this host"
    )]
    UnknownImport { plugin: String, import: String },
    #[error("{plugin}: the component imports {import}: add {grant} to [grants] of its manifest")]
    MissingGrant { plugin: String, import: String, grant: &'static str },
    #[error("{plugin}: the component does not export {}handler@0.1.0", contract::PACKAGE)]
    NoHandler { plugin: String },
    #[error("{plugin}: the component cannot be started: {cause}")]
    DoesNotStart { plugin: String, cause: String },
    #[error("{plugin}: {cause}")]
    Certificates { plugin: String, cause: String },
    #[error("{plugin}: the component needs {what}")]
    TooHungry { plugin: String, what: String },
}

/// What a component wants of a host, and offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Release {
    /// A component larger than this is not read.
    pub const COMPONENT_BYTES_MAX: usize = 64 << 20;

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.facts.manifest
    }

    #[must_use]
    pub fn digest(&self) -> &str {
        &self.facts.digest
    }

    #[must_use]
    pub fn targets(&self) -> &Targets {
        &self.facts.targets
    }

    /// Where it comes from, such as its folder.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.facts.origin
    }

    /// One for each call of the plugin that may run at the same time (`limits.concurrency`).
    #[must_use]
    pub fn slots(&self) -> &Arc<Slots> {
        self.slots.get_or_init(|| Slots::new(self.manifest().limits.concurrency))
    }

    /// Takes the places that its plugin has, if it has some; else they are its own.
    pub(super) fn share_slots(&self, kept: Option<Arc<Slots>>) -> Arc<Slots> {
        let own = || Slots::new(self.manifest().limits.concurrency);
        Arc::clone(self.slots.get_or_init(|| kept.unwrap_or_else(own)))
    }

    /// Attempts that run now.
    #[must_use]
    pub fn calls_in_hand(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn call_begins(&self) -> CallInHand<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        CallInHand(self)
    }

    /// It was replaced: what it has in hand is interrupted after so long.
    pub(super) fn end_after(&self, drain: Duration) {
        self.ends_at.send_replace(Instant::now().checked_add(drain));
    }

    /// It is live (again).
    pub(super) fn go_on(&self) {
        self.ends_at.send_replace(None);
    }

    /// Returns when an attempt with it must be interrupted: it was replaced, and its time is over.
    /// Cancel-safe.
    pub async fn drained(&self) {
        let mut ends_at = self.ends_at.subscribe();
        loop {
            let at = *ends_at.borrow_and_update();
            tokio::select! {
                () = async { match at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                } } => return,
                // The sender lives as long as the release.
                _ = ends_at.changed() => {}
            }
        }
    }

    /// The names of the component's imports and exports.
    #[must_use]
    pub fn interfaces(&self, engine: &SandboxEngine) -> Interfaces {
        let component = self.instance.component().component_type();
        Interfaces {
            imports: component.imports(engine.get()).map(|(name, _)| name.to_owned()).collect(),
            exports: component.exports(engine.get()).map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// Whether the plugin can say what an earlier attempt did.
    #[must_use]
    pub fn reconciles(&self) -> bool {
        self.exports.reconciler.is_some()
    }

    /// Checks and compiles a component that comes from nowhere in particular. Blocks for as long as
    /// a compiler needs: call it on a blocking thread.
    ///
    /// # Errors
    /// See [`ReleaseError`].
    pub fn from_bytes(
        engine: &SandboxEngine,
        manifest: Manifest,
        wasm: &[u8],
        cache: Option<&Path>,
    ) -> Result<Self, ReleaseError> {
        let origin = manifest.name.clone();
        Self::build(engine, manifest, wasm, origin, cache)
    }

    /// The release of a candidate, whose manifest this is. Blocks as [`Release::from_bytes`] does.
    pub(super) fn of(
        engine: &SandboxEngine,
        manifest: Manifest,
        candidate: Candidate,
        cache: Option<&Path>,
    ) -> Result<Self, ReleaseError> {
        Self::build(engine, manifest, &candidate.component, candidate.origin, cache)
    }

    fn build(
        engine: &SandboxEngine,
        manifest: Manifest,
        wasm: &[u8],
        origin: String,
        cache: Option<&Path>,
    ) -> Result<Self, ReleaseError> {
        let plugin = manifest.name.clone();
        contract::check_header(&plugin, wasm)?;
        contract::check_census(&plugin, wasm)?;
        let digest = hexadecimal(&Sha256::digest(wasm));
        let component = artifact::load(engine.get(), cache, &digest, wasm)
            .map_err(|cause| ReleaseError::Invalid { plugin: plugin.clone(), cause })?;
        contract::check_imports(engine, &component, &manifest)?;
        let weight = contract::check_resources(&component, &manifest)?;
        let instance = link(engine, &component).map_err(|e| ReleaseError::Invalid {
            plugin: plugin.clone(),
            cause: format!("{e:#}"),
        })?;
        let exports = contract::find_exports(engine, &component, &instance, &plugin)?;
        let outbound = Arc::clone(engine.outbound());
        let connections = Egress::new(&manifest, &outbound)
            .map_err(|cause| ReleaseError::Certificates { plugin, cause })?;
        let facts = ReleaseFacts {
            targets: Targets::of(&manifest.grants),
            settings_json: manifest.settings.to_string(),
            placeholders: placeholders(&manifest, &outbound),
            outbound,
            manifest,
            digest,
            origin,
        };
        Ok(Self {
            slots: OnceLock::new(),
            calls: AtomicUsize::new(0),
            ends_at: watch::Sender::new(None),
            judgements: Semaphore::new(facts.manifest.limits.concurrency),
            weight,
            account: Account::default(),
            facts: Arc::new(facts),
            connections: Arc::new(connections),
            instance,
            exports,
        })
    }
}

/// A call that is counted for as long as this is held.
pub(super) struct CallInHand<'a>(&'a Release);

impl Drop for CallInHand<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

fn link(engine: &SandboxEngine, component: &Component) -> wasmtime::Result<InstancePre<CallState>> {
    let mut linker = Linker::new(engine.get());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    bounds::add_to_linker(&mut linker)?;
    Everything::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    linker.instantiate_pre(component)
}

fn placeholders(manifest: &Manifest, outbound: &Outbound) -> Vec<(String, String)> {
    let kept = manifest.grants.secrets.iter().filter(|grant| !grant.expose);
    kept.map(|grant| (grant.name.clone(), outbound.placeholders.of(&manifest.name, &grant.name)))
        .collect()
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
