//! Where the log goes: the standard error, as text for people or as JSON for programs.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use super::config::{LogConfig, LogFormat};
use super::error::CliError;

/// Starts the log. Once in a process.
///
/// # Errors
/// The filter is none, or there is a log already.
pub fn start_logging(config: &LogConfig) -> Result<(), CliError> {
    let failed = |what: String| {
        CliError::failed(
            what,
            "log.filter",
            "write a level such as \"info\", or \"info,tidegate::jobs=debug\"",
        )
    };
    let filter = EnvFilter::builder()
        .parse(&config.filter)
        .map_err(|error| failed(format!("the log's filter does not hold: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = match config.format {
        LogFormat::Text => {
            let ansi = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(ansi).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| failed(format!("the log cannot be started: {error}")))
}
