//! A release: one loaded version of a plugin, named by the digest of its component.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::artifact;
use super::bindings::{Everything, exported};
use super::census::{self, CensusError};
use super::egress::{self, EgressClient};
use super::engine::SandboxEngine;
use super::functions::bounds;
use super::limits::{Limits, size};
use super::manifest::{Manifest, ManifestError};
use super::state::CallState;
use super::turns::Account;

/// A component larger than this is not read.
pub(super) const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// The contract's package. Its interfaces come on the track 0.1.
const CONTRACT: &str = "tidegate:plugin/";
/// What of WASI 0.2 is linked. Behind files and sockets there is nothing.
const WASI: [&str; 8] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// A loaded release, ready to be called.
pub struct Release {
    slots: Arc<Semaphore>,
    /// One permit for each withdrawal that may be judged at the same time.
    pub(super) judgements: Semaphore,
    /// How many places of the pool an instance takes.
    pub(super) weight: u32,
    /// What its long calls owe to brief ones.
    pub(super) account: Account,
    pub(super) facts: Arc<ReleaseFacts>,
    pub(super) instance: InstancePre<CallState>,
    pub(super) exports: Exports,
}

/// What is known of a release without its code.
pub struct ReleaseFacts {
    pub manifest: Manifest,
    /// SHA-256 of the component, lower-case hexadecimal.
    pub digest: String,
    pub(super) settings_json: String,
    pub(super) egress: EgressClient,
    placeholder_seed: String,
}

impl ReleaseFacts {
    pub(super) const PLACEHOLDER_PREFIX: &str = "tidegate-secret-";

    /// What a guest gets in place of the secret of this name. Random for each load, so that a
    /// placeholder cannot be known beforehand.
    pub(super) fn placeholder(&self, name: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.placeholder_seed.as_bytes());
        hasher.update(name.as_bytes());
        format!("{}{}", Self::PLACEHOLDER_PREFIX, hexadecimal(&hasher.finalize()[..16]))
    }
}

/// The exports that were found. `handler` is the only one that must be there.
pub(super) struct Exports {
    pub(super) handler: exported::handler::GuestIndices,
    pub(super) reconciler: Option<exported::reconciler::GuestIndices>,
    pub(super) chain: Option<exported::chain::GuestIndices>,
}

/// Why a release is not loaded. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{}: cannot be read: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: String },
    #[error("{plugin}: the component has more than {} bytes", COMPONENT_BYTES_MAX)]
    TooLarge { plugin: String },
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
    #[error("{plugin}: the component does not export {CONTRACT}handler@0.1.0")]
    NoHandler { plugin: String },
    #[error("{plugin}: the component cannot be started: {cause}")]
    DoesNotStart { plugin: String, cause: String },
    #[error("{plugin}: the component needs {what}")]
    TooHungry { plugin: String, what: String },
}

impl Release {
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.facts.manifest
    }

    #[must_use]
    pub fn digest(&self) -> &str {
        &self.facts.digest
    }

    /// One permit for each call that may run at the same time (`limits.concurrency`).
    #[must_use]
    pub fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// Whether the plugin can say what an earlier attempt did.
    #[must_use]
    pub fn reconciles(&self) -> bool {
        self.exports.reconciler.is_some()
    }

    /// Reads `plugin.toml` and `component.wasm` of a folder, checks and compiles them. Blocks for
    /// as long as a compiler needs: call it on a blocking thread.
    ///
    /// # Errors
    /// See [`ReleaseError`].
    pub fn load(
        engine: &SandboxEngine,
        folder: &Path,
        cache: Option<&Path>,
    ) -> Result<Self, ReleaseError> {
        let manifest = Manifest::read(&folder.join("plugin.toml"))?;
        let wasm = read_component(&folder.join("component.wasm"), &manifest.name)?;
        Self::from_bytes(engine, manifest, &wasm, cache)
    }

    /// See [`Release::load`].
    ///
    /// # Errors
    /// See [`ReleaseError`].
    pub fn from_bytes(
        engine: &SandboxEngine,
        manifest: Manifest,
        wasm: &[u8],
        cache: Option<&Path>,
    ) -> Result<Self, ReleaseError> {
        let plugin = manifest.name.clone();
        check_header(&plugin, wasm)?;
        check_census(&plugin, wasm)?;
        let digest = hexadecimal(&Sha256::digest(wasm));
        let component = artifact::load(engine.get(), cache, &digest, wasm)
            .map_err(|cause| ReleaseError::Invalid { plugin: plugin.clone(), cause })?;
        check_imports(engine, &component, &manifest)?;
        let weight = check_resources(&component, &manifest)?;
        let instance = link(engine, &component).map_err(|e| ReleaseError::Invalid {
            plugin: plugin.clone(),
            cause: format!("{e:#}"),
        })?;
        let exports = find_exports(&component, &instance, &plugin)?;
        let facts = ReleaseFacts {
            settings_json: manifest.settings.to_string(),
            egress: egress::client(&manifest.grants),
            placeholder_seed: random_seed()
                .map_err(|cause| ReleaseError::Invalid { plugin, cause })?,
            manifest,
            digest,
        };
        let concurrency = facts.manifest.limits.concurrency;
        let slots = Arc::new(Semaphore::new(concurrency));
        let judgements = Semaphore::new(concurrency);
        let (account, facts) = (Account::default(), Arc::new(facts));
        Ok(Self { slots, judgements, weight, account, facts, instance, exports })
    }
}

/// Reads no more than allowed, whatever the file says of its size: it may be a device.
fn read_component(file: &Path, plugin: &str) -> Result<Vec<u8>, ReleaseError> {
    let unreadable = |error: std::io::Error| ReleaseError::Unreadable {
        file: file.to_owned(),
        cause: error.to_string(),
    };
    let mut wasm = Vec::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut wasm).map_err(unreadable)?;
    if wasm.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(ReleaseError::TooLarge { plugin: plugin.to_owned() });
    }
    Ok(wasm)
}

/// A component's header, before a compiler sees the rest. A core module and a precompiled artifact
/// are told apart, for both are easy mistakes; an artifact is trusted code and is never taken.
fn check_header(plugin: &str, wasm: &[u8]) -> Result<(), ReleaseError> {
    let what = match wasm {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', ..] => "it is a core module; build it for wasm32-wasip2",
        [0x7f, b'E', b'L', b'F', ..] => "it is a native or precompiled file",
        _ => "its first bytes are not those of WebAssembly",
    };
    Err(ReleaseError::NoComponent { plugin: plugin.to_owned(), what })
}

/// Refuses what a compiler would take too long for.
fn check_census(plugin: &str, wasm: &[u8]) -> Result<(), ReleaseError> {
    let plugin = || plugin.to_owned();
    census::check(wasm).map_err(|error| match error {
        CensusError::TooMuch(what) => ReleaseError::TooHungry { plugin: plugin(), what },
        CensusError::Unreadable => ReleaseError::Invalid {
            plugin: plugin(),
            cause: "its sections are torn, or of a kind that this host does not know".into(),
        },
    })
}

fn check_imports(
    engine: &SandboxEngine,
    component: &Component,
    manifest: &Manifest,
) -> Result<(), ReleaseError> {
    let grants = &manifest.grants;
    for (import, _) in component.component_type().imports(engine.get()) {
        let plugin = || manifest.name.clone();
        let missing = match interface(import) {
            Some("signer") if grants.networks.is_empty() => Some("networks"),
            Some("messaging") if grants.topics.is_empty() => Some("topics"),
            Some("secrets") if grants.secrets.is_empty() => Some("secrets"),
            Some(
                "signer" | "messaging" | "secrets" | "types" | "log" | "checkpoint" | "settings",
            ) => None,
            None if is_wasi(import) => None,
            Some(_) | None => {
                let import = import.to_owned();
                return Err(ReleaseError::UnknownImport { plugin: plugin(), import });
            }
        };
        if let Some(grant) = missing {
            let import = import.to_owned();
            return Err(ReleaseError::MissingGrant { plugin: plugin(), import, grant });
        }
    }
    Ok(())
}

/// `signer` of `tidegate:plugin/signer@0.1.3`, for the contract's track 0.1 only.
fn interface(import: &str) -> Option<&str> {
    let (name, version) = import.strip_prefix(CONTRACT)?.split_once('@')?;
    version.starts_with("0.1.").then_some(name)
}

fn is_wasi(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else { return false };
    // A package, or one interface.
    let linked = |known: &str| name == known || known.ends_with('/') && name.starts_with(known);
    version.starts_with("0.2.") && WASI.into_iter().any(linked)
}

/// Refuses what could never run, and says how many places of the pool an instance takes.
fn check_resources(component: &Component, manifest: &Manifest) -> Result<u32, ReleaseError> {
    let hungry = |what: String| ReleaseError::TooHungry { plugin: manifest.name.clone(), what };
    let Some(needed) = component.resources_required() else {
        return Err(hungry("core modules of the host, which none offers".into()));
    };
    for (what, count, max) in [
        ("memories", needed.num_memories, Limits::MEMORIES_PER_COMPONENT),
        ("tables", needed.num_tables, Limits::TABLES_PER_COMPONENT),
    ] {
        if count > max {
            return Err(hungry(format!("{count} {what}; a component may have {max}")));
        }
    }
    let elements = needed.max_initial_table_size.unwrap_or(0);
    let max = manifest.limits.table_elements;
    if elements > max as u64 {
        return Err(hungry(format!(
            "a table of {elements} elements; limits.table_elements of its manifest allows {max}"
        )));
    }
    let memory = needed.max_initial_memory_size.unwrap_or(0).saturating_mul(64 << 10);
    if memory > manifest.limits.memory as u64 {
        return Err(hungry(format!(
            "{} of memory at once; limits.memory of its manifest allows {}",
            size(memory),
            size(manifest.limits.memory as u64)
        )));
    }
    Ok(SandboxEngine::weight(needed.num_memories, needed.num_tables))
}

fn link(engine: &SandboxEngine, component: &Component) -> wasmtime::Result<InstancePre<CallState>> {
    let mut linker = Linker::new(engine.get());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    bounds::add_to_linker(&mut linker)?;
    Everything::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    linker.instantiate_pre(component)
}

fn find_exports(
    component: &Component,
    instance: &InstancePre<CallState>,
    plugin: &str,
) -> Result<Exports, ReleaseError> {
    // An optional export is found by looking, not by failing: one that is there and does not fit
    // must be an error, and not an absence.
    let has = |name: &str| component.get_export_index(None, format!("{CONTRACT}{name}@0.1.0"));
    let invalid = |error: wasmtime::Error| ReleaseError::Invalid {
        plugin: plugin.to_owned(),
        cause: format!("{error:#}"),
    };
    if has("handler").is_none() {
        return Err(ReleaseError::NoHandler { plugin: plugin.to_owned() });
    }
    let reconciler = match has("reconciler") {
        Some(_) => Some(exported::reconciler::GuestIndices::new(instance).map_err(invalid)?),
        None => None,
    };
    let chain = match has("chain") {
        Some(_) => Some(exported::chain::GuestIndices::new(instance).map_err(invalid)?),
        None => None,
    };
    let handler = exported::handler::GuestIndices::new(instance).map_err(invalid)?;
    Ok(Exports { handler, reconciler, chain })
}

fn random_seed() -> Result<String, String> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| format!("no randomness: {error}"))?;
    Ok(hexadecimal(&seed))
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
