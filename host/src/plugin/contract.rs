//! The contract between host and component: what a component may import, what it must export, and
//! what it may need. Any version of the contract's track 0.1 fits.

use wasmtime::component::{Component, InstancePre};

use super::bindings::exported;
use super::census::{self, CensusError};
use super::engine::SandboxEngine;
use super::limits::{Limits, size};
use super::manifest::Manifest;
use super::release::ReleaseError;
use super::state::CallState;

/// The contract's package. Its interfaces come on the track 0.1.
pub(super) const PACKAGE: &str = "tidegate:plugin/";
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

/// The exports that were found. `handler` is the only one that must be there.
pub(super) struct Exports {
    pub(super) handler: exported::handler::GuestIndices,
    pub(super) reconciler: Option<exported::reconciler::GuestIndices>,
    pub(super) chain: Option<exported::chain::GuestIndices>,
}

/// A component's header, before a compiler sees the rest. A core module and a precompiled artifact
/// are told apart, for both are easy mistakes; an artifact is trusted code and is never taken.
pub(super) fn check_header(plugin: &str, wasm: &[u8]) -> Result<(), ReleaseError> {
    let what = match wasm {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', ..] => "it is a core module; build it for wasm32-wasip2",
        [0x7f, b'E', b'L', b'F', ..] => "it is a native or precompiled file",
        _ => "its first bytes are not those of WebAssembly",
    };
    Err(ReleaseError::NoComponent { plugin: plugin.to_owned(), what })
}

/// Refuses what a compiler would take too long for.
pub(super) fn check_census(plugin: &str, wasm: &[u8]) -> Result<(), ReleaseError> {
    let plugin = || plugin.to_owned();
    census::check(wasm).map_err(|error| match error {
        CensusError::TooMuch(what) => ReleaseError::TooHungry { plugin: plugin(), what },
        CensusError::Unreadable => ReleaseError::Invalid {
            plugin: plugin(),
            cause: "its sections are torn, or of a kind that this host does not know".into(),
        },
    })
}

pub(super) fn check_imports(
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
fn interface(named: &str) -> Option<&str> {
    let (name, version) = named.strip_prefix(PACKAGE)?.split_once('@')?;
    version.starts_with("0.1.").then_some(name)
}

fn is_wasi(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else { return false };
    // A package, or one interface.
    let linked = |known: &str| name == known || known.ends_with('/') && name.starts_with(known);
    version.starts_with("0.2.") && WASI.into_iter().any(linked)
}

/// Refuses what could never run, and says how many places of the pool an instance takes.
pub(super) fn check_resources(
    component: &Component,
    manifest: &Manifest,
) -> Result<u32, ReleaseError> {
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

pub(super) fn find_exports(
    engine: &SandboxEngine,
    component: &Component,
    instance: &InstancePre<CallState>,
    plugin: &str,
) -> Result<Exports, ReleaseError> {
    // An optional export is found by looking, not by failing: one that is there and does not fit
    // must be an error, and not an absence.
    let ty = component.component_type();
    let names: Vec<_> =
        ty.exports(engine.get()).filter_map(|(export, _)| interface(export)).collect();
    let has = |name: &str| names.contains(&name);
    let invalid = |error: wasmtime::Error| ReleaseError::Invalid {
        plugin: plugin.to_owned(),
        cause: format!("{error:#}"),
    };
    if !has("handler") {
        return Err(ReleaseError::NoHandler { plugin: plugin.to_owned() });
    }
    let reconciler = match has("reconciler") {
        true => Some(exported::reconciler::GuestIndices::new(instance).map_err(invalid)?),
        false => None,
    };
    let chain = match has("chain") {
        true => Some(exported::chain::GuestIndices::new(instance).map_err(invalid)?),
        false => None,
    };
    let handler = exported::handler::GuestIndices::new(instance).map_err(invalid)?;
    Ok(Exports { handler, reconciler, chain })
}
