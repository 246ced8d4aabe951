//! `checkpoint`: bytes that outlive the call.

use super::super::bindings::imported::checkpoint::{CheckpointError, Host};
use super::super::limits::size;
use super::super::services;
use super::super::state::CallState;

impl Host for CallState {
    async fn load(&mut self) -> Result<Option<Vec<u8>>, CheckpointError> {
        let (work, services) = self.facts.working().map_err(CheckpointError::Unavailable)?;
        self.facts.count_host_call().map_err(CheckpointError::Unavailable)?;
        self.facts.store_begins();
        let loaded = services.checkpoints.load(work).await;
        self.facts.store_answered(!is_away(&loaded));
        loaded.map_err(|error| CheckpointError::Unavailable(error.to_string()))
    }

    async fn save(&mut self, bytes: Vec<u8>) -> Result<(), CheckpointError> {
        let max = self.facts.release.manifest.limits.checkpoint;
        if bytes.len() > max {
            let (max, given) = (size(max as u64), bytes.len());
            let reason = format!("checkpoint limit {max} reached: {given} bytes given");
            self.facts.note(reason.clone());
            return Err(CheckpointError::TooLarge(reason));
        }
        let (work, services) = self.facts.working().map_err(CheckpointError::Unavailable)?;
        self.facts.count_save().map_err(CheckpointError::Unavailable)?;
        self.facts.store_begins();
        let saved = services.checkpoints.save(work, &bytes).await;
        self.facts.store_answered(!is_away(&saved));
        saved.map_err(|error| CheckpointError::Unavailable(error.to_string()))
    }
}

const fn is_away<T>(answer: &Result<T, services::CheckpointError>) -> bool {
    matches!(answer, Err(services::CheckpointError::StoreAway(_)))
}
