//! `checkpoint`: bytes that outlive the call.

use super::super::bindings::imported::checkpoint::{CheckpointError, Host};
use super::super::state::CallState;

impl Host for CallState {
    async fn load(&mut self) -> Result<Option<Vec<u8>>, CheckpointError> {
        let (work, services) = self.facts.working().map_err(CheckpointError::Unavailable)?;
        services
            .checkpoints
            .load(work)
            .await
            .map_err(|error| CheckpointError::Unavailable(error.to_string()))
    }

    async fn save(&mut self, bytes: Vec<u8>) -> Result<(), CheckpointError> {
        let max = self.facts.release.manifest.limits.checkpoint;
        if bytes.len() > max {
            let reason = format!("checkpoint limit of {max} bytes reached: {} given", bytes.len());
            self.facts.note(reason.clone());
            return Err(CheckpointError::TooLarge(reason));
        }
        let (work, services) = self.facts.working().map_err(CheckpointError::Unavailable)?;
        services
            .checkpoints
            .save(work, &bytes)
            .await
            .map_err(|error| CheckpointError::Unavailable(error.to_string()))
    }
}
