//! `tidegate config check`: says whether the configuration holds, or all that is wrong with it.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::error::CliError;
use super::super::output::print;
use super::{BrokerConfig, Config, LogFormat};

#[derive(Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read the configuration as `serve` would, and say all that is wrong with it
    Check {
        #[arg(long, value_name = "FILE", default_value = "tidegate.toml", env = "TIDEGATE_CONFIG")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// # Errors
/// The configuration does not hold.
pub fn run(args: &ConfigArgs) -> Result<(), CliError> {
    let ConfigCommand::Check { config: path, json } = &args.command;
    match (Config::load(path), json) {
        (Ok(config), true) => {
            print(&json!({"ok": true, "errors": [], "summary": summary(&config)}).to_string())
        }
        (Ok(config), false) => print(&for_people(&path.display().to_string(), &config)),
        (Err(errors), true) => {
            print(&json!({"ok": false, "errors": errors.0}).to_string())?;
            Err(CliError::Told)
        }
        (Err(errors), false) => Err(CliError::Config(errors)),
    }
}

fn summary(config: &Config) -> Value {
    let names = |secrets: Vec<&String>| secrets.into_iter().cloned().collect::<Vec<_>>();
    let scheme = config.store.url.reveal().split(':').next().unwrap_or_default();
    json!({
        "listen": config.listen.to_string(),
        "store": scheme,
        "tokens": config.tokens.as_slice().iter().map(|token| &token.name).collect::<Vec<_>>(),
        "plugins": config.plugins.dir.display().to_string(),
        "networks": config.networks.iter().map(|network| {
            json!({
                "id": network.id.as_str(),
                "assets": network.assets.keys().collect::<Vec<_>>(),
            })
        }).collect::<Vec<_>>(),
        "broker": match &config.broker {
            BrokerConfig::None => "none",
            BrokerConfig::Nats { .. } => "nats",
        },
        "secrets": names(config.secrets.keys().collect()),
        "audit": config.audit.file.as_ref().map_or_else(
            || "log".to_owned(),
            |file| file.display().to_string(),
        ),
        "log": match config.log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
    })
}

fn for_people(file: &str, config: &Config) -> String {
    let mut out = format!("ok: {file}");
    if let Value::Object(entries) = summary(config) {
        for (key, value) in entries {
            let text = match (&value, key.as_str()) {
                (Value::String(text), _) => text.clone(),
                (Value::Array(items), "networks") => {
                    items.iter().map(network_for_people).collect::<Vec<_>>().join(", ")
                }
                (Value::Array(items), _) => {
                    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
                }
                (other, _) => other.to_string(),
            };
            let text = if text.is_empty() { "none".to_owned() } else { text };
            let _ = write!(out, "\n  {key:<9} {text}");
        }
    }
    out
}

fn network_for_people(network: &Value) -> String {
    let assets = network["assets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let assets: Vec<_> = assets.iter().filter_map(Value::as_str).collect();
    format!("{} ({})", network["id"].as_str().unwrap_or_default(), assets.join(", "))
}
