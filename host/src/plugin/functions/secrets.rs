//! `secrets`: placeholders for values that stay with the host.

use super::super::bindings::imported::secrets::{Host, SecretError};
use super::super::state::CallState;

impl Host for CallState {
    async fn get(&mut self, name: String) -> Result<String, SecretError> {
        let facts = &self.facts;
        let Some(grant) = facts.release.manifest.grants.secret(&name) else {
            let name: String = name.chars().take(64).collect();
            let reason = format!(
                "the secret {name:?} is not granted: to allow it, put it into grants.secrets of {}",
                facts.release.manifest.name
            );
            facts.note(reason.clone());
            return Err(SecretError::Denied(reason));
        };
        let (_, services) = facts.working().map_err(SecretError::Unavailable)?;
        // Asked for even where only the placeholder is given: a missing value shows at once.
        let value = services.secrets.value(&name).await;
        let value = value.map_err(|error| SecretError::Unavailable(error.to_string()))?;
        if grant.expose {
            facts.release.outbound.redactor.learn(&name, &value);
            return Ok(value);
        }
        Ok(facts.release.outbound.placeholders.of(&facts.release.manifest.name, &name))
    }
}
