//! The services of a shadow's call: all that stands behind them is a recording.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::services::{
    CheckpointError, Checkpoints, Messaging, OutgoingMessage, PaymentTerms, PublishError,
    SecretSource, SignError, SignRequest, Signer, Work,
};
use super::super::state::Services;
use super::compare::{body_difference, signature_changes};
use super::recording::Signature;
use super::replay::Replay;
use crate::domain::{DifferenceKind, Network, SignedTransaction};

/// What a shadow is told that asks the signer for what the live release did not ask for.
const NOT_ASKED: &str = "the live release did not ask for it, and a shadow gets what was recorded";

impl Replay {
    /// Services that reach nothing. Secrets are read as always: what a shadow may know its manifest
    /// says, and it can tell nobody.
    pub(in crate::plugin) fn services(
        self: &Arc<Self>,
        secrets: Arc<dyn SecretSource>,
    ) -> Services {
        Services {
            checkpoints: Arc::clone(self) as _,
            signer: Arc::clone(self) as _,
            messaging: Arc::clone(self) as _,
            secrets,
        }
    }
}

#[async_trait]
impl Checkpoints for Replay {
    async fn load(&self, _: &Work) -> Result<Option<Vec<u8>>, CheckpointError> {
        let saved = self.progress().saved.clone();
        Ok(saved.or_else(|| self.recording.checkpoint.clone()))
    }

    async fn save(&self, _: &Work, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.progress().saved = Some(bytes.to_vec());
        Ok(())
    }
}

#[async_trait]
impl Messaging for Replay {
    async fn publish(&self, message: OutgoingMessage) -> Result<(), PublishError> {
        let recorded = &self.recording.messages;
        let mut progress = self.progress();
        let free = |is: &dyn Fn(&OutgoingMessage) -> bool| {
            (0..recorded.len()).find(|at| !progress.messages[*at] && is(&recorded[*at].0))
        };
        let at =
            free(&|live| *live == message).or_else(|| free(&|live| live.topic == message.topic));
        let topic = &message.topic;
        let Some(at) = at else {
            let text = format!("a message to {topic}: the live release did not publish it");
            progress.differs(DifferenceKind::Message, text);
            return Ok(());
        };
        progress.messages[at] = true;
        let (live, published) = &recorded[at];
        let mut changes = Vec::new();
        if live.id != message.id {
            changes.push("its id differs".to_owned());
        }
        if live.content_type != message.content_type {
            changes.push("its content type differs".to_owned());
        }
        changes
            .extend(body_difference(&live.body, &message.body).map(|it| format!("its body {it}")));
        if !changes.is_empty() {
            let text = format!("a message to {topic}: {}", changes.join("; "));
            progress.differs(DifferenceKind::Message, text);
        }
        published.clone()
    }
}

#[async_trait]
impl Signer for Replay {
    async fn terms(
        &self,
        _: &Work,
        network: &Network,
        asset: &str,
    ) -> Result<PaymentTerms, SignError> {
        let mut recorded = self.recording.terms.iter();
        let found = recorded.find(|(of, what, _)| of == network && what == asset);
        match found {
            Some((_, _, terms)) => terms.clone(),
            None => {
                // It only asks: no difference, but nothing to be compared by, either.
                self.starve();
                Err(SignError::Unavailable(NOT_ASKED.into()))
            }
        }
    }

    async fn signed(&self, _: &Work) -> Result<Option<SignedTransaction>, SignError> {
        let at = {
            let mut progress = self.progress();
            progress.signed_asked += 1;
            progress.signed_asked - 1
        };
        // Asked once more, it gets the last answer again.
        let recorded = &self.recording.signed;
        match recorded.get(at).or(recorded.last()) {
            Some(signed) => signed.clone(),
            None => {
                self.starve();
                Err(SignError::Unavailable(NOT_ASKED.into()))
            }
        }
    }

    async fn sign(
        &self,
        _: &Work,
        network: &Network,
        request: SignRequest,
    ) -> Result<SignedTransaction, SignError> {
        let wanted = Signature { network: network.clone(), request };
        let recorded = &self.recording.signatures;
        let mut progress = self.progress();
        let free = |is: &dyn Fn(&Signature) -> bool| {
            (0..recorded.len()).find(|at| !progress.signatures[*at] && is(&recorded[*at].0))
        };
        let at = free(&|live| *live == wanted).or_else(|| free(&|live| live.network == *network));
        let Some(at) = at else {
            let text = format!("a signature for {network}: the live release did not ask for it");
            progress.differs(DifferenceKind::Signature, text);
            return Err(SignError::Unavailable(NOT_ASKED.into()));
        };
        progress.signatures[at] = true;
        let (live, signed) = &recorded[at];
        let changes = signature_changes(live, &wanted);
        if !changes.is_empty() {
            let text = format!("a signature for {network}: another {}", changes.join(", "));
            progress.differs(DifferenceKind::Signature, text);
        }
        signed.clone()
    }
}
