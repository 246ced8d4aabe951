//! `signer`: signatures over the payment of the event's withdrawal. The grant is checked here, and
//! everything else by the chain.

use super::super::bindings::imported::signer::{
    Host, PaymentTerms, SignError, SignedTransaction, Transaction,
};
use super::super::services::{self, SignRequest};
use super::super::state::CallState;
use crate::domain::{self, Network};

/// Calldata of a transfer has 68 bytes; nothing that may be signed has more than a few hundred.
const DATA_BYTES_MAX: usize = 16 << 10;
const TEXT_BYTES_MAX: usize = 256;

/// The rules that are kept here; all others are the chain's.
mod rule {
    pub(super) const GRANT: &str = "grants.networks";
    pub(super) const SIZE: &str = "transaction.size";
}

impl Host for CallState {
    async fn terms(&mut self, network: String, asset: String) -> Result<PaymentTerms, SignError> {
        let network = self.granted_network(&network)?;
        let (work, services) = self.facts.working().map_err(SignError::Unavailable)?;
        self.facts.count_host_call().map_err(SignError::Unavailable)?;
        let asset: String = asset.chars().take(TEXT_BYTES_MAX).collect();
        self.facts.store_begins();
        let terms = services.signer.terms(work, &network, &asset).await;
        self.facts.store_answered(!is_away(&terms));
        let terms = terms.map_err(refusal)?;
        Ok(PaymentTerms {
            chain_id: terms.chain_id,
            account: terms.account,
            contract: terms.contract,
            decimals: terms.decimals,
        })
    }

    async fn signed(&mut self) -> Result<Option<SignedTransaction>, SignError> {
        if self.facts.release.manifest.grants.networks.is_empty() {
            return Err(self.not_granted("any network"));
        }
        let (work, services) = self.facts.working().map_err(SignError::Unavailable)?;
        self.facts.count_host_call().map_err(SignError::Unavailable)?;
        self.facts.store_begins();
        let signed = services.signer.signed(work).await;
        self.facts.store_answered(!is_away(&signed));
        Ok(signed.map_err(refusal)?.map(shown))
    }

    async fn sign(&mut self, transaction: Transaction) -> Result<SignedTransaction, SignError> {
        self.sign_with(transaction, false).await
    }

    async fn sign_replacement(
        &mut self,
        transaction: Transaction,
    ) -> Result<SignedTransaction, SignError> {
        self.sign_with(transaction, true).await
    }
}

impl CallState {
    async fn sign_with(
        &mut self,
        transaction: Transaction,
        replace: bool,
    ) -> Result<SignedTransaction, SignError> {
        let network = match self.granted_network(&format!("eip155:{}", transaction.chain_id)) {
            Ok(network) => network,
            Err(error) => {
                // The plugin's own number: it names no network, and must not name a metric.
                self.count_refusal("not granted", rule::GRANT);
                return Err(error);
            }
        };
        let texts = [
            &transaction.to,
            &transaction.value,
            &transaction.max_fee_per_gas,
            &transaction.max_priority_fee_per_gas,
        ];
        if transaction.data.len() > DATA_BYTES_MAX
            || texts.iter().any(|text| text.len() > TEXT_BYTES_MAX)
        {
            self.count_refusal(network.as_str(), rule::SIZE);
            let reason = format!("refused by rule {}: a field is too long", rule::SIZE);
            return Err(SignError::Refused(reason));
        }
        let (work, services) = self.facts.working().map_err(SignError::Unavailable)?;
        self.facts.count_host_call().map_err(SignError::Unavailable)?;
        let request = SignRequest {
            chain_id: transaction.chain_id,
            to: transaction.to,
            value: transaction.value,
            data: transaction.data,
            gas_limit: transaction.gas_limit,
            max_fee_per_gas: transaction.max_fee_per_gas,
            max_priority_fee_per_gas: transaction.max_priority_fee_per_gas,
            replace,
        };
        let signed = services.signer.sign(work, &network, request).await;
        if is_away(&signed) {
            // Only now: it asks nodes too, and theirs is another matter.
            self.facts.store_begins();
        }
        signed.map(shown).map_err(refusal)
    }

    fn count_refusal(&self, network: &str, rule: &'static str) {
        if let Ok((_, services)) = self.facts.working() {
            services.signer.refused(network, rule);
        }
    }

    fn granted_network(&self, text: &str) -> Result<Network, SignError> {
        let text: String = text.chars().take(64).collect();
        let network: Network =
            text.parse().map_err(|e: domain::NameError| SignError::Refused(e.to_string()))?;
        if self.facts.release.manifest.grants.network(&network) {
            Ok(network)
        } else {
            Err(self.not_granted(&format!("the network {network}")))
        }
    }

    fn not_granted(&self, what: &str) -> SignError {
        let reason = format!(
            "signing for {what} is not granted: to allow it, put it into grants.networks of {}",
            self.facts.release.manifest.name
        );
        self.facts.note(reason.clone());
        SignError::Denied(reason)
    }
}

fn refusal(error: services::SignError) -> SignError {
    match error {
        services::SignError::Refused(reason) => SignError::Refused(reason),
        services::SignError::Wait(reason) => SignError::Wait(reason),
        services::SignError::Unavailable(reason) | services::SignError::StoreAway(reason) => {
            SignError::Unavailable(reason)
        }
    }
}

const fn is_away<T>(answer: &Result<T, services::SignError>) -> bool {
    matches!(answer, Err(services::SignError::StoreAway(_)))
}

fn shown(transaction: domain::SignedTransaction) -> SignedTransaction {
    let signed = transaction.signed;
    SignedTransaction {
        raw: signed.raw,
        hash: signed.hash,
        nonce: transaction.nonce,
        gas_limit: signed.gas_limit,
        max_fee_per_gas: signed.fee_max_per_gas.to_string(),
        max_priority_fee_per_gas: signed.priority_fee_max_per_gas.to_string(),
    }
}
