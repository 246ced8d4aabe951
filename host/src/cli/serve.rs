//! `tidegate serve`

use super::ServeArgs;
use super::config::Config;
use super::error::CliError;
use super::logging::start_logging;

/// # Errors
/// The configuration does not hold.
pub async fn run(args: ServeArgs) -> Result<(), CliError> {
    let config = Config::load(&args.config)?;
    start_logging(&config.log)?;
    Err(CliError::failed("serve is not wired yet", "this build", "use a later build"))
}
