//! Where the bench runs: its folder, its Postgres, and the plugin that its hosts load.

use std::path::{Path, PathBuf};

use tidegate::plugin::build_components;

use crate::cluster::Cluster;
use crate::fallible::Fallible;
use crate::options::Options;
use crate::report::progress;

/// The no-op plugin as an operator would set it up for speed: calls are short, so many may run.
const MANIFEST: &str = "name = \"noop\"\nhandles = [\"NOOP\"]\n\n[limits]\nconcurrency = 1000\n";

pub(crate) struct Scene {
    pub(crate) options: Options,
    /// Dropped first: its data lies in the folder.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) plugins: PathBuf,
    folder: Folder,
}

/// Removed when the bench ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} was not removed: {error}", self.0.display());
        }
    }
}

impl Scene {
    pub(crate) async fn set(options: Options) -> Fallible<Self> {
        let parent = options.data_dir.clone().unwrap_or_else(std::env::temp_dir);
        let folder = Folder(parent.join(format!("tidegate-bench-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0)?;
        let plugins = folder.0.join("plugins");
        install_noop(&options, &plugins).await?;
        let cluster = match Cluster::start(&folder.0) {
            Ok(cluster) => Some(cluster),
            Err(error) => {
                progress(&format!("no Postgres: {error}"));
                None
            }
        };
        Ok(Self { options, cluster, plugins, folder })
    }

    /// An empty folder of this name.
    pub(crate) fn folder(&self, name: &str) -> Fallible<PathBuf> {
        let folder = self.folder.0.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

async fn install_noop(options: &Options, plugins: &Path) -> Fallible<()> {
    let target = options.target_dir.join("components");
    let built = build_components(&options.workspace, &target, &["noop"], progress).await?;
    let component = built.first().ok_or("the component was not built")?;
    let folder = plugins.join("noop");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(component, folder.join("component.wasm"))?;
    std::fs::write(folder.join("plugin.toml"), MANIFEST)?;
    Ok(())
}
