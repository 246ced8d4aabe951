//! `tidegate.toml`: read strictly, checked as a whole, and handed on as plain values.
//!
//! Every key is known, every value in its range, every file and variable that it names is there;
//! all that is not is told at once, with file, line and column. Relative paths begin at the file's
//! folder. Keys and passphrases never stand in the file itself.

mod check;
mod error;
mod networks;
mod outbound;
mod reader;
mod redacted;
mod sections;
mod source;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::api::{Limits, Tokens};
use crate::domain::Flow;
use crate::jobs::Retention;

pub use check::{ConfigArgs, run};
pub use error::{ConfigError, ConfigErrors};
pub use networks::{AccountConfig, AssetConfig, AssetKind, NetworkConfig};
pub use outbound::{AuditConfig, SecretCommand, SecretConfig};
pub use redacted::Redacted;
pub use sections::{
    BrokerConfig, DispatchConfig, LogConfig, LogFormat, PluginsConfig, StoreConfig,
};

use reader::{Context, Section};
use source::Document;

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub listen: SocketAddr,
    pub http: Limits,
    pub store: StoreConfig,
    pub tokens: Tokens,
    pub plugins: PluginsConfig,
    pub dispatch: DispatchConfig,
    pub retention: Retention,
    pub flow: Flow,
    pub networks: Vec<NetworkConfig>,
    pub broker: BrokerConfig,
    /// What plugins may be granted, by name.
    pub secrets: BTreeMap<String, SecretConfig>,
    pub audit: AuditConfig,
    pub log: LogConfig,
}

const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

impl Config {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigErrors(vec![ConfigError {
                source: name.clone(),
                line: None,
                column: None,
                key: String::new(),
                message: format!("the file cannot be read: {error}; name another with --config"),
            }])
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        // A variable that is no UTF-8 was not meant for us.
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::read(name, text, folder, &variables)
    }

    /// Reads a file's text with an environment.
    pub(crate) fn read(
        name: String,
        text: String,
        folder: &Path,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigErrors> {
        let document = Document::new(name, text);
        let mut tree = document.parse().map_err(ConfigErrors)?;
        let errors = source::overlay(&mut tree, variables.clone(), &document);
        let context = Context {
            document: &document,
            folder,
            variable: &|name| variables.get(name).cloned(),
            errors: RefCell::new(errors),
        };
        let config = read_root(Section::root(&context, tree));
        let mut errors = context.errors.into_inner();
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => {
                errors.sort_by_key(|error| (error.line, error.column));
                Err(ConfigErrors(errors))
            }
        }
    }
}

fn read_root(mut root: Section<'_>) -> Option<Config> {
    let listen = root.parsed("listen", |text| {
        let rule = "is no address: write an IP address and a port, such as \"127.0.0.1:8080\"";
        text.parse().map_err(|_| format!("{text:?} {rule}"))
    });
    let http = sections::read_http(&mut root);
    let store = sections::read_store(&mut root);
    let tokens = sections::read_tokens(&mut root);
    let plugins = sections::read_plugins(&mut root);
    let dispatch = sections::read_dispatch(&mut root);
    let retention = sections::read_retention(&mut root);
    let flow = sections::read_flow(&mut root);
    let networks = networks::read_networks(&mut root);
    let broker = sections::read_broker(&mut root);
    let secrets = outbound::read_secrets(&mut root);
    let audit = outbound::read_audit(&mut root);
    let log = sections::read_log(&mut root);
    root.finish();
    Some(Config {
        listen: listen.unwrap_or(LISTEN),
        http,
        store: store?,
        tokens,
        plugins,
        dispatch,
        retention,
        flow,
        networks,
        broker,
        secrets,
        audit,
        log,
    })
}
