//! Signing one payment: balances first, from a node; then, in the store's transaction, the rules
//! and the key; and bytes that are stored before anyone sees them.

use async_trait::async_trait;

use super::EvmChain;
use super::accounts::PayingAccount;
use super::rpc::RpcError;
use super::rules::{self, Balances, Terms, TransactionRequest, rule};
use super::transaction::{self, SigningFault};
use crate::chain::config::FeeCaps;
use crate::chain::signer::{Signer, SignerError};
use crate::domain::{
    NewSignedTransaction, SignedTransaction, SigningRefusal, SigningSituation, WithdrawalId,
};
use crate::store::{AccountChange, LeaseRef, SignPayment, Signing, SigningRules, StoreError};

/// Why nothing was signed now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A rule forbids this request, whenever it is asked again.
    #[error("refused by rule {rule}: {reason}")]
    Refused { rule: &'static str, reason: String },
    /// Something outside must change first: time, funds, fees, an operator.
    #[error("not now ({rule}): {reason}")]
    Wait { rule: &'static str, reason: String },
    /// A node or the key could not be reached, or the lease was lost. What was signed is kept.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The store could not be used. What was signed is kept.
    #[error("unavailable: {0}")]
    StoreAway(String),
}

impl SignError {
    /// The rule that forbade the request, if one did.
    #[must_use]
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Refused { rule, .. } | Self::Wait { rule, .. } => Some(rule),
            Self::Unavailable(_) | Self::StoreAway(_) => None,
        }
    }
}

impl From<StoreError> for SignError {
    fn from(error: StoreError) -> Self {
        // The plugin reads this text; what the database said is for the operator.
        tracing::warn!(%error, "the store failed while a payment was to be signed");
        let text = "the store cannot be used now".to_owned();
        match error {
            StoreError::Unavailable { .. } => Self::StoreAway(text),
            StoreError::CorruptRow { .. } | StoreError::Conflict { .. } => Self::Unavailable(text),
        }
    }
}

impl From<RpcError> for SignError {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::WrongChain { .. } => {
                Self::Wait { rule: rule::NODE_CHAIN, reason: error.to_string() }
            }
            RpcError::RateLimited { .. } => {
                Self::Wait { rule: rule::NODE_RATE_LIMIT, reason: error.to_string() }
            }
            RpcError::Transport { .. } | RpcError::Refused { .. } | RpcError::NoQuorum { .. } => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<SigningRefusal> for SignError {
    fn from(refusal: SigningRefusal) -> Self {
        match refusal {
            SigningRefusal::Refused { rule, reason } => Self::Refused { rule, reason },
            SigningRefusal::Wait { rule, reason } => Self::Wait { rule, reason },
            SigningRefusal::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl EvmChain {
    /// Signs the withdrawal's transaction, or with `replace` another one at the same nonce. Asked
    /// again without `replace`, it answers what was signed first, whatever is asked now and
    /// whether or not a node can be reached.
    ///
    /// # Errors
    /// [`SignError`]; nothing was signed then, and no nonce used up.
    pub async fn sign(
        &self,
        lease: LeaseRef,
        withdrawal: WithdrawalId,
        request: TransactionRequest,
        replace: bool,
    ) -> Result<SignedTransaction, SignError> {
        let ask = Ask { lease, withdrawal, request, replace };
        let signed = self.sign_inner(&ask).await;
        match &signed {
            Ok(signed) => tracing::info!(
                withdrawal.id = %withdrawal,
                tx.hash = signed.signed.hash,
                tx.nonce = signed.nonce,
                "a payment's transaction is signed and stored"
            ),
            Err(error) => {
                tracing::warn!(withdrawal.id = %withdrawal, %error, "a payment was not signed");
            }
        }
        signed
    }

    async fn sign_inner(&self, ask: &Ask) -> Result<SignedTransaction, SignError> {
        let payment = self.store.0.payment(ask.withdrawal).await?;
        let payment = payment.ok_or_else(|| SignError::Refused {
            rule: rule::EVENT,
            reason: "there is no such withdrawal".into(),
        })?;
        if payment.withdrawal.request.network != self.config.network {
            let reason = "the withdrawal is on another network".into();
            return Err(SignError::Refused { rule: rule::NETWORK, reason });
        }
        let asset = &payment.withdrawal.request.asset;
        let Some(first) = payment.transactions.first() else {
            return self.sign_first(ask, asset).await;
        };
        let account = self.bound_account(&first.account)?;
        // Stored bytes are handed out even while every node is away.
        let look = ask.replace;
        self.sign_from(account, ask, asset, look).await
    }

    /// Binds the withdrawal to the first account that can pay it now.
    async fn sign_first(&self, ask: &Ask, asset: &str) -> Result<SignedTransaction, SignError> {
        let mut first_wait = None;
        for account in self.accounts.order(ask.withdrawal) {
            match self.sign_first_from(account, ask, asset).await {
                Err(SignError::Wait { rule, reason }) if rules::is_of_the_account(rule) => {
                    let reason = format!("{}: {reason}", account.address());
                    first_wait.get_or_insert(SignError::Wait { rule, reason });
                }
                signed => return signed,
            }
        }
        Err(first_wait.unwrap_or_else(|| SignError::Unavailable("no account is configured".into())))
    }

    async fn sign_first_from(
        &self,
        account: &PayingAccount,
        ask: &Ask,
        asset: &str,
    ) -> Result<SignedTransaction, SignError> {
        self.check_account(account).await?;
        account.saw_mined(self.nodes.mined_count(account.address()).await?);
        let signed = self.sign_from(account, ask, asset, true).await;
        if let Err(SignError::Wait { rule: rule::STRANGER, reason }) = &signed {
            self.freeze(account, reason).await?;
        }
        signed
    }

    async fn sign_from(
        &self,
        account: &PayingAccount,
        ask: &Ask,
        asset: &str,
        look: bool,
    ) -> Result<SignedTransaction, SignError> {
        if look {
            self.check_account(account).await?;
        }
        let terms = self.inner_terms(asset, account)?;
        let balances = match look {
            false => None,
            // Before the store's transaction, which waits for no network. A payment that becomes
            // final in between was still counted as in flight or is missing in this balance, and
            // either way the node's own check of the sum stands behind ours.
            true => Some(self.nodes.balances(terms.account, terms.contract).await?),
        };
        let rules = Rules {
            terms,
            caps: &self.config.fees,
            balances,
            request: &ask.request,
            replace: ask.replace,
            signer: account.signer.as_ref(),
        };
        let sign = SignPayment {
            lease: ask.lease,
            withdrawal: ask.withdrawal,
            chain_id: self.chain_id,
            account: account.stored(),
            replace: ask.replace,
        };
        match self.store.0.sign_payment(sign, &rules).await? {
            Signing::Signed(signed) | Signing::Stored(signed) => Ok(signed),
            Signing::Refused(refusal) => Err(refusal.into()),
            Signing::LeaseLost => {
                Err(SignError::Unavailable("this host lost the event's lease".into()))
            }
            Signing::NotLive(reason) => Err(SignError::Refused { rule: rule::EVENT, reason }),
        }
    }

    /// Makes the account known before its first signature, and compares its nonce with the
    /// chain's: a chain that is ahead of the store saw transactions that this store never signed.
    pub(super) async fn check_account(&self, account: &PayingAccount) -> Result<(), SignError> {
        account.checked.get_or_try_init(|| self.register_account(account)).await.copied()
    }

    async fn register_account(&self, account: &PayingAccount) -> Result<(), SignError> {
        let address = account.stored();
        // The chain first, then the store: what another host signs and sends in between raises
        // the store's number, and never makes the chain look ahead.
        let chain_nonce = self.nodes.transaction_count(account.address()).await?;
        account.saw_mined(chain_nonce);
        let known = self.store.0.register_account(self.chain_id, &address, chain_nonce).await?;
        if let Some(reason) = known.frozen_reason {
            return Err(SignError::Wait { rule: rule::FROZEN, reason });
        }
        if chain_nonce > known.next_nonce {
            let reason = chain_ahead(chain_nonce, &address, known.next_nonce);
            self.freeze(account, &reason).await?;
            return Err(SignError::Wait { rule: rule::FROZEN, reason });
        }
        Ok(())
    }

    /// Signs nothing more for the account until an operator has looked.
    pub(super) async fn freeze(
        &self,
        account: &PayingAccount,
        reason: &str,
    ) -> Result<(), StoreError> {
        let address = account.stored();
        let change =
            AccountChange { chain_id: self.chain_id, address: &address, reason, by: "the host" };
        if self.store.0.freeze_account(change).await? != Some(true) {
            return Ok(());
        }
        tracing::error!(
            network = %self.config.network,
            account = address,
            reason,
            "the account is frozen: nothing is signed for it until an operator has looked"
        );
        Ok(())
    }
}

pub(super) fn chain_ahead(mined: u64, address: &str, next_nonce: u64) -> String {
    format!(
        "the chain has seen {mined} transactions of {address}, this store allotted {next_nonce} \
         nonces: the key is used elsewhere, or the store was restored from a backup"
    )
}

/// What a plugin asks for, under which lease.
struct Ask {
    lease: LeaseRef,
    withdrawal: WithdrawalId,
    request: TransactionRequest,
    replace: bool,
}

/// The rules with all that they look at, as the store calls them.
struct Rules<'a> {
    terms: Terms<'a>,
    caps: &'a FeeCaps,
    /// None only where something is signed already, and then nobody asks.
    balances: Option<Balances>,
    request: &'a TransactionRequest,
    replace: bool,
    signer: &'a dyn Signer,
}

#[async_trait]
impl SigningRules for Rules<'_> {
    async fn sign(
        &self,
        situation: &SigningSituation,
    ) -> Result<NewSignedTransaction, SigningRefusal> {
        let Some(balances) = &self.balances else {
            return Err(SigningRefusal::Unavailable("the balance was not read".into()));
        };
        let approved =
            rules::check(&self.terms, self.caps, balances, situation, self.request, self.replace)?;
        transaction::sign(&approved, self.signer).await.map_err(|fault| refused_by_signer(&fault))
    }
}

/// A signer that is away, or answers what cannot be used, is the operator's to repair: the payment
/// waits, and uses up none of its attempts.
fn refused_by_signer(fault: &SigningFault) -> SigningRefusal {
    let reason = fault.to_string();
    match fault {
        SigningFault::Signer(SignerError::Away { .. }) => rules::wait(rule::SIGNER, reason),
        SigningFault::Signer(SignerError::NoSignature) => SigningRefusal::Unavailable(reason),
        SigningFault::Signer(SignerError::Refused { .. } | SignerError::Unreadable { .. })
        | SigningFault::NoAccount
        | SigningFault::OtherAccount
        | SigningFault::NotCanonical => {
            tracing::error!(reason, "a signer's answer is not used");
            rules::wait(rule::SIGNATURE, reason)
        }
    }
}

#[cfg(test)]
#[path = "signing_test.rs"]
mod tests;
