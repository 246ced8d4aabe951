//! `secrets`: placeholders for values that stay with the host, and what it computes with them.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::super::bindings::imported::secrets::{Host, SecretError};
use super::super::grants::SecretGrant;
use super::super::state::{CallFacts, CallState};

impl Host for CallState {
    async fn get(&mut self, name: String) -> Result<String, SecretError> {
        let facts = &self.facts;
        let grant = granted(facts, &name)?;
        // Asked for even where only the placeholder is given: a missing value shows at once.
        let value = value(facts, &name).await?;
        if grant.expose {
            facts.release.outbound.redactor.learn(&name, &value);
            return Ok(value);
        }
        Ok(facts.release.outbound.placeholders.of(&facts.release.manifest.name, &name))
    }

    async fn hmac_sha256(
        &mut self,
        name: String,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, SecretError> {
        let facts = &self.facts;
        granted(facts, &name)?;
        let (bytes, max) = (message.len() as u64, facts.release.manifest.limits.request_body);
        if bytes > max {
            let reason = format!("a message of {bytes} bytes; limits.request_body allows {max}");
            facts.note(reason.clone());
            return Err(SecretError::Denied(reason));
        }
        let value = value(facts, &name).await?;
        // A key of any length will do.
        let mut hmac = Hmac::<Sha256>::new_from_slice(value.as_bytes())
            .map_err(|error| SecretError::Unavailable(error.to_string()))?;
        hmac.update(&message);
        Ok(hmac.finalize().into_bytes().to_vec())
    }
}

fn granted<'a>(facts: &'a CallFacts, name: &str) -> Result<&'a SecretGrant, SecretError> {
    let manifest = &facts.release.manifest;
    manifest.grants.secret(name).ok_or_else(|| {
        let name: String = name.chars().take(64).collect();
        let reason = format!(
            "the secret {name:?} is not granted: to allow it, put it into grants.secrets of {}",
            manifest.name
        );
        facts.note(reason.clone());
        SecretError::Denied(reason)
    })
}

async fn value(facts: &CallFacts, name: &str) -> Result<String, SecretError> {
    let (_, services) = facts.working().map_err(SecretError::Unavailable)?;
    facts.count_host_call().map_err(SecretError::Unavailable)?;
    let value = services.secrets.value(name).await;
    value.map_err(|error| SecretError::Unavailable(error.to_string()))
}
