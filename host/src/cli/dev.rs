//! `tidegate dev`

use super::DevArgs;
use super::error::CliError;

/// # Errors
/// Always, in this build.
pub async fn run(_args: DevArgs) -> Result<(), CliError> {
    Err(CliError::failed("dev is not wired yet", "this build", "use a later build"))
}
