//! Which store a command works on: that of the configuration, or one that is named.

use std::path::{Path, PathBuf};

use clap::Args;

use super::config::Config;
use super::error::CliError;
use crate::store::{StoreUrl, StoreUrlError};

#[derive(Args, Debug, Clone)]
pub(super) struct StoreArgs {
    /// The configuration; variables such as TIDEGATE_STORE_URL win over it
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml", env = "TIDEGATE_CONFIG")]
    config: PathBuf,
    /// A store, instead of a configuration: sqlite:PATH or postgres://user@host/database
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl StoreArgs {
    /// The store, and the configuration if it comes from one.
    ///
    /// # Errors
    /// The configuration does not hold, or the URL is none.
    pub(super) fn find(&self) -> Result<(StoreUrl, Option<Config>), CliError> {
        if let Some(url) = &self.store {
            return Ok((parse(url, "--store")?, None));
        }
        let config = Config::load(&self.config)?;
        Ok((store_of(&config, &self.config)?, Some(config)))
    }
}

/// The store of a configuration. A relative path begins at the file's folder, like every other.
pub(super) fn store_of(config: &Config, file: &Path) -> Result<StoreUrl, CliError> {
    let url = parse(config.store.url.reveal(), "store.url")?;
    Ok(url.relative_to(file.parent().unwrap_or(Path::new(""))))
}

/// A store's address.
pub(super) fn parse(url: &str, place: &str) -> Result<StoreUrl, CliError> {
    // The text is not repeated: it may hold a password.
    url.parse()
        .map_err(|error: StoreUrlError| CliError::failed(error.to_string(), place, "correct it"))
}
