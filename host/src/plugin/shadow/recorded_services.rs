//! The services of an attempt that is recorded: they do what they always do, and note it.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::services::{
    CheckpointError, Checkpoints, Messaging, OutgoingMessage, PaymentTerms, PublishError,
    SignError, SignRequest, Signer, Work,
};
use super::super::state::Services;
use super::recorder::Recorder;
use super::recording::Signature;
use crate::domain::{Network, SignedTransaction};

impl Recorder {
    /// The same services, recorded. Secrets are not: a shadow has the same.
    pub(in crate::plugin) fn services(self: &Arc<Self>, services: &Services) -> Services {
        let recorder = || Arc::clone(self);
        let Services { checkpoints, signer, messaging, secrets } = services.clone();
        Services {
            checkpoints: Arc::new(Recorded { inner: checkpoints, recorder: recorder() }),
            signer: Arc::new(Recorded { inner: signer, recorder: recorder() }),
            messaging: Arc::new(Recorded { inner: messaging, recorder: recorder() }),
            secrets,
        }
    }
}

struct Recorded<T: ?Sized> {
    recorder: Arc<Recorder>,
    inner: Arc<T>,
}

#[async_trait]
impl Checkpoints for Recorded<dyn Checkpoints> {
    async fn load(&self, work: &Work) -> Result<Option<Vec<u8>>, CheckpointError> {
        // What it was at the beginning is known, and what was saved since, too.
        self.inner.load(work).await
    }

    async fn save(&self, work: &Work, bytes: &[u8]) -> Result<(), CheckpointError> {
        let saved = self.inner.save(work, bytes).await;
        if saved.is_ok() {
            self.recorder.write(bytes.len(), |recording| recording.saved = Some(bytes.to_vec()));
        }
        saved
    }
}

#[async_trait]
impl Messaging for Recorded<dyn Messaging> {
    async fn publish(&self, message: OutgoingMessage) -> Result<(), PublishError> {
        let published = self.inner.publish(message.clone()).await;
        let bytes = message.topic.len() + message.id.len() + message.body.len();
        let noted = (message, published.clone());
        self.recorder.write(bytes, |recording| recording.messages.push(noted));
        published
    }
}

#[async_trait]
impl Signer for Recorded<dyn Signer> {
    async fn terms(
        &self,
        work: &Work,
        network: &Network,
        asset: &str,
    ) -> Result<PaymentTerms, SignError> {
        let terms = self.inner.terms(work, network, asset).await;
        let noted = (network.clone(), asset.to_owned(), terms.clone());
        self.recorder.write(asset.len(), |recording| recording.terms.push(noted));
        terms
    }

    async fn signed(&self, work: &Work) -> Result<Option<SignedTransaction>, SignError> {
        let signed = self.inner.signed(work).await;
        let bytes = if let Ok(Some(signed)) = &signed { signed.signed.raw.len() } else { 0 };
        self.recorder.write(bytes, |recording| recording.signed.push(signed.clone()));
        signed
    }

    async fn sign(
        &self,
        work: &Work,
        network: &Network,
        request: SignRequest,
    ) -> Result<SignedTransaction, SignError> {
        let signed = self.inner.sign(work, network, request.clone()).await;
        let raw = signed.as_ref().map_or(0, |signed| signed.signed.raw.len());
        let bytes = request.data.len() + raw;
        let noted = (Signature { network: network.clone(), request }, signed.clone());
        self.recorder.write(bytes, |recording| recording.signatures.push(noted));
        signed
    }
}
