//! The three components of `dev`: built from their sources, and installed with manifests that name
//! the stand-ins.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::super::error::CliError;
use super::PARTNER_SECRET;
use crate::plugin::build_components;
use crate::sandbox::{self, StandIns};

const PACKAGES: [&str; 3] = ["partner-sync", "evm-broadcast", "event-publish"];

/// The built components, with the folders that hold their manifests.
pub(super) struct Components(Vec<Component>);

struct Component {
    wasm: PathBuf,
    manifest: PathBuf,
}

/// Builds what has changed since the last start.
pub(super) async fn build() -> Result<Components, CliError> {
    let workspace = workspace()?;
    let target_dir = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), PathBuf::from)
        .join("components");
    let progress = |line: &str| eprintln!("{line}");
    let files =
        build_components(&workspace, &target_dir, &PACKAGES, progress).await.map_err(|error| {
            CliError::failed(
                error.to_string(),
                workspace.display().to_string(),
                "see the text above",
            )
        })?;
    let component = |(wasm, package): (PathBuf, &str)| Component {
        wasm,
        manifest: workspace.join("plugins").join(package).join("plugin.toml"),
    };
    Ok(Components(files.into_iter().zip(PACKAGES).map(component).collect()))
}

/// The checkout that this binary was built from: that of `cargo run`, or this folder.
fn workspace() -> Result<PathBuf, CliError> {
    let host = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let of_cargo = host.as_deref().and_then(Path::parent).map(Path::to_owned);
    let here = std::env::current_dir().ok();
    let holds_plugins =
        |folder: &PathBuf| folder.join("plugins/partner-sync/plugin.toml").is_file();
    of_cargo.into_iter().chain(here).find(holds_plugins).ok_or_else(|| {
        CliError::failed(
            "the sources of the plugins are not here",
            "this folder",
            "run `cargo run --release -- dev` in a checkout of Tidegate",
        )
    })
}

/// Puts each component with its manifest into a folder of its own below `folder`.
pub(super) fn install(
    folder: &Path,
    components: &Components,
    stand_ins: &StandIns,
) -> Result<(), CliError> {
    for component in &components.0 {
        let failed = |error: std::io::Error| {
            let place = component.manifest.display().to_string();
            CliError::failed(error.to_string(), place, "check the data directory")
        };
        let text = std::fs::read_to_string(&component.manifest).map_err(failed)?;
        let mut manifest: Table = toml::from_str(&text).map_err(|error| {
            let place = component.manifest.display().to_string();
            CliError::failed(error.to_string(), place, "correct the manifest")
        })?;
        point_at_stand_ins(&mut manifest, stand_ins);
        let name = manifest.get("name").and_then(Value::as_str).unwrap_or_default();
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        std::fs::copy(&component.wasm, folder.join("component.wasm")).map_err(failed)?;
        std::fs::write(folder.join("plugin.toml"), manifest.to_string()).map_err(failed)?;
    }
    Ok(())
}

/// What `dev` changes of a shipped manifest: addresses, and how patient it is.
fn point_at_stand_ins(manifest: &mut Table, stand_ins: &StandIns) {
    let name = manifest.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    match name.as_str() {
        "partner-sync" => {
            set(manifest, &["grants", "http"], private_origin(&stand_ins.partner_url));
            set(manifest, &["grants", "secrets"], Value::Array(vec![PARTNER_SECRET.into()]));
            set(manifest, &["settings", "base_url"], stand_ins.partner_url.clone().into());
            set(manifest, &["settings", "api_key_secret"], PARTNER_SECRET.into());
        }
        "evm-broadcast" => {
            set(manifest, &["grants", "http"], private_origin(&stand_ins.node_url));
            let urls = Value::Array(vec![stand_ins.node_url.clone().into()]);
            let by_network = Table::from_iter([(sandbox::NETWORK.to_owned(), urls)]);
            set(manifest, &["settings", "rpc_urls"], Value::Table(by_network));
        }
        _ => {}
    }
    set(manifest, &["retry", "base"], "200ms".into());
    set(manifest, &["retry", "cap"], "2s".into());
}

/// The grant for one address on this machine, which is private and must be named as such.
fn private_origin(url: &str) -> Value {
    let grant = Table::from_iter([
        ("origin".to_owned(), Value::from(url)),
        ("private".to_owned(), Value::from(true)),
    ]);
    Value::Array(vec![Value::Table(grant)])
}

fn set(table: &mut Table, path: &[&str], value: Value) {
    let Some((last, tables)) = path.split_last() else { return };
    let mut table = table;
    for name in tables {
        let inner = table.entry(*name).or_insert_with(|| Value::Table(Table::new()));
        match inner {
            Value::Table(inner) => table = inner,
            _ => return,
        }
    }
    table.insert((*last).to_owned(), value);
}
