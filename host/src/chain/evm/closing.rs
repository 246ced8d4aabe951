//! Closing a payment that was given up: a transaction at its nonce that pays nobody. The host builds
//! it itself, for no plugin has to be there for it. Which of the two is mined, the chain decides.

use alloy_primitives::{B256, U256};
use async_trait::async_trait;

use super::EvmChain;
use super::accounts::PayingAccount;
use super::closing_rules::{ClosingFees, check_closing};
use super::convert::parse_hash;
use super::lookups::FeeHistory;
use super::rpc::RpcError;
use super::rules::{self, Balances, Terms};
use super::signing::{SignError, refused_by_signer};
use super::transaction;
use crate::chain::config::FeeCaps;
use crate::chain::signer::Signer;
use crate::domain::{
    NewSignedTransaction, Payment, SigningRefusal, SigningSituation, Timestamp, TransactionKind,
};
use crate::store::{SignClosing, Signing, SigningRules};

impl EvmChain {
    /// Whether a closing transaction is to be signed now: the first at once, a dearer one where the
    /// last was not mined for as long as a payment would wait.
    pub(super) fn closing_is_due(&self, payment: &Payment, now: Timestamp) -> bool {
        let Some(newest) = payment.transactions.last() else { return false };
        match newest.signed.kind {
            TransactionKind::Payment => true,
            TransactionKind::Closing => {
                let waited = now.signed_duration_since(newest.signed_at).to_std();
                waited.is_ok_and(|waited| waited >= self.config.rebroadcast_after)
            }
        }
    }

    /// Signs a closing transaction, and answers what is to be sent. None: another host did.
    pub(super) async fn sign_closing(
        &self,
        payment: &Payment,
    ) -> Result<Option<(B256, Vec<u8>)>, SignError> {
        let Some(first) = payment.transactions.first() else { return Ok(None) };
        let account = self.bound_account(&first.account)?;
        let terms = self.inner_terms(&payment.withdrawal.request.asset, account)?;
        let fees = self.nodes.fee_history().await?;
        let gas_limit = self.closing_gas(account).await?;
        let balances = self.nodes.balances(terms.account, None).await?;
        let caps = &self.config.fees;
        let rules =
            Closing { terms, caps, balances, gas_limit, fees, signer: account.signer.as_ref() };
        let request = SignClosing {
            withdrawal: payment.withdrawal.id,
            chain_id: self.chain_id,
            not_within: self.config.rebroadcast_after,
        };
        match self.store.0.sign_closing(request, &rules).await? {
            Signing::Signed(signed) => {
                tracing::warn!(
                    withdrawal.id = %payment.withdrawal.id,
                    tx.hash = signed.signed.hash,
                    tx.nonce = signed.nonce,
                    "a payment was given up: a transaction that pays nobody competes with it"
                );
                Ok(parse_hash(&signed.signed.hash).map(|hash| (hash, signed.signed.raw)))
            }
            Signing::Refused(refusal) => Err(refusal.into()),
            // Another host was first, or it has ended.
            Signing::Stored(_) | Signing::LeaseLost | Signing::NotLive(_) => Ok(None),
        }
    }

    /// What a transfer of nothing to oneself takes here, with a fifth on top where it is more than the
    /// protocol's least.
    async fn closing_gas(&self, account: &PayingAccount) -> Result<u64, SignError> {
        let own = account.address();
        match self.nodes.estimate_gas(own, own, U256::ZERO, &[]).await {
            Ok(gas) if gas > rules::GAS_LIMIT_MIN => Ok(gas.saturating_add(gas / 5)),
            // A node that refuses to estimate has said nothing of what it takes.
            Ok(_) | Err(RpcError::Refused { .. }) => Ok(rules::GAS_LIMIT_MIN),
            Err(error) => Err(error.into()),
        }
    }
}

/// The rules for closing, with all that they look at.
struct Closing<'a> {
    terms: Terms<'a>,
    caps: &'a FeeCaps,
    balances: Balances,
    gas_limit: u64,
    fees: FeeHistory,
    signer: &'a dyn Signer,
}

#[async_trait]
impl SigningRules for Closing<'_> {
    async fn sign(
        &self,
        situation: &SigningSituation,
    ) -> Result<NewSignedTransaction, SigningRefusal> {
        let proposed = ClosingFees {
            gas_limit: self.gas_limit,
            // Twice the base fee holds for six full blocks (EIP-1559: an eighth each).
            per_gas: self
                .fees
                .base_fee_next
                .saturating_mul(2)
                .saturating_add(self.fees.priority_fee),
            priority_per_gas: self.fees.priority_fee,
        };
        let approved = check_closing(&self.terms, self.caps, &self.balances, situation, &proposed)?;
        transaction::sign(&approved, self.signer).await.map_err(|fault| refused_by_signer(&fault))
    }
}

#[cfg(test)]
#[path = "closing_test.rs"]
mod tests;
