//! What stands around each signature of a host, from its configuration.

use std::sync::Arc;

use super::config::PoliciesConfig;
use super::error::CliError;
use crate::jobs::{ExternalPolicy, Policing};
use crate::store::Store;

/// # Errors
/// The external service cannot be asked from this machine.
pub(super) fn policing(
    store: &Arc<dyn Store>,
    config: PoliciesConfig,
) -> Result<Policing, CliError> {
    let external = config.external.map(|external| {
        let secret = external.secret.reveal().to_owned();
        ExternalPolicy::new(external.url, secret, external.timeout).map_err(|reason| {
            let remedy = "install the system's root certificates";
            CliError::failed(reason, "policies.external", remedy)
        })
    });
    Ok(Policing {
        store: Arc::clone(store) as _,
        payments: Arc::clone(store) as _,
        policies: Arc::new(config.policies),
        external: external.transpose()?,
    })
}
