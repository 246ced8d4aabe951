//! One pass over the open payments of a network: what the chain says about each, and what follows.
//!
//! Of each account the nodes say how many nonces are used, and how many of them finally. Receipts
//! are read of payments that can be final, and bytes are sent again of the lowest that are not
//! mined: the cost grows with what ends, not with what is open.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};

use super::EvmChain;
use super::convert::{parse_address, parse_hash, uint256};
use super::evidence::{
    Effect, Evidence, Expected, Inclusion, Receipt, Sighting, evidence_text, failure_text, judge,
};
use super::nodes::{Tip, UsedNonces};
use crate::chain::ChainError;
use crate::domain::{Payment, SignedTransaction, Timestamp, Transition, WithdrawalState};
use crate::store::{Conclude, Concluded};

/// Payments that are looked at together.
const PAGE: u32 = 100;

/// So many nonces above the lowest that is not mined are sent again. What is behind them waits for
/// them anyway, and nodes keep only some tens that one account sends.
const RESEND_NONCES_MAX: u64 = 256;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConfirmationPass {
    pub looked_at: u64,
    pub confirmed: u64,
    pub failed: u64,
    /// Stored bytes that the host sent again itself.
    pub resent: u64,
    /// Broadcasts that were asked of the plugin anew.
    pub requested: u64,
    /// Transactions that were signed to close a payment that was given up.
    pub closings: u64,
    /// Withdrawals that were CONFIRMED, and are open again after a reorganisation.
    pub reopened: u64,
    /// Payments that a person has to look at: the chain contradicts itself, or moved another
    /// amount.
    pub unclear: u64,
}

/// What a pass knows of the chain from its start on.
struct Sight {
    tip: Tip,
    /// By the account as it is stored.
    used: BTreeMap<String, UsedNonces>,
    /// Accounts of which the user of a nonce was looked up.
    searched: BTreeSet<String>,
}

/// A payment with what is needed to judge it.
pub(super) struct OpenPayment {
    pub(super) payment: Payment,
    pub(super) newest: SignedTransaction,
    pub(super) hashes: Vec<B256>,
    expected: Expected,
}

impl EvmChain {
    /// Looks at every open payment once. It may be cut off anywhere: the next pass does the rest.
    ///
    /// # Errors
    /// A node or the store could not be reached. What was concluded before stands.
    pub async fn confirmation_pass(&self, now: Timestamp) -> Result<ConfirmationPass, ChainError> {
        let mut pass = ConfirmationPass::default();
        let mut missing = Vec::new();
        let mut sight = None;
        let mut walked = self.walk(now, &mut pass, &mut missing, &mut sight).await;
        if walked.is_ok() {
            walked = self.look_back(sight, &mut pass).await;
        }
        // Once a pass, so that a silent node is waited for once; and also when the walk ended
        // early, so that one bad page keeps no payment from being sent.
        pass.resent += missing.len() as u64;
        self.nodes.send_again(&missing).await;
        walked.map(|()| pass)
    }

    async fn walk(
        &self,
        now: Timestamp,
        pass: &mut ConfirmationPass,
        resend: &mut Vec<(B256, Vec<u8>)>,
        sight: &mut Option<Sight>,
    ) -> Result<(), ChainError> {
        let mut after: Option<(String, u64)> = None;
        let mut open = BTreeSet::new();
        loop {
            let page = self.store.0.open_payments(self.chain_id, after.clone(), PAGE).await?;
            let full = page.len() >= PAGE as usize;
            let last = page.last().and_then(|payment| payment.transactions.first());
            let next = last.map(|first| (first.account.clone(), first.nonce));
            open.extend(page.iter().map(|payment| payment.withdrawal.id));
            if !page.is_empty() {
                let known = match sight.take() {
                    Some(sight) => sight,
                    None => Sight {
                        tip: self.nodes.tip().await?,
                        used: BTreeMap::new(),
                        searched: BTreeSet::new(),
                    },
                };
                let sight = sight.insert(known);
                self.see_accounts(&page, sight).await?;
                self.look_at(&page, sight, now, pass, resend).await?;
            }
            // The order is strictly rising, so a page that does not move on ends the pass.
            if !full || next.is_none() || next <= after {
                break;
            }
            after = next;
        }
        self.forget_others(&open);
        Ok(())
    }

    /// What ended may have been taken back, and accounts may have been used elsewhere.
    async fn look_back(
        &self,
        sight: Option<Sight>,
        pass: &mut ConfirmationPass,
    ) -> Result<(), ChainError> {
        if let Some(sight) = &sight {
            self.look_for_a_chain_ahead(&sight.used).await?;
        }
        self.look_at_watches(&mut sight.map(|sight| sight.tip), pass).await
    }

    /// Asks for the used nonces of the accounts that this page brings.
    async fn see_accounts(&self, page: &[Payment], sight: &mut Sight) -> Result<(), ChainError> {
        let of_page = page.iter().filter_map(|payment| payment.transactions.first());
        let new: BTreeSet<&String> = of_page
            .map(|first| &first.account)
            .filter(|account| !sight.used.contains_key(*account))
            .collect();
        // An account that is no address makes its payments impossible to judge; that is told there.
        let new: Vec<(&String, Address)> = new
            .into_iter()
            .filter_map(|account| Some((account, parse_address(account)?)))
            .collect();
        let addresses: Vec<Address> = new.iter().map(|(_, address)| *address).collect();
        let used = self.nodes.used_nonces(&addresses, sight.tip.final_up_to).await?;
        sight.used.extend(new.into_iter().map(|(account, _)| account.clone()).zip(used));
        Ok(())
    }

    async fn look_at(
        &self,
        page: &[Payment],
        sight: &mut Sight,
        now: Timestamp,
        pass: &mut ConfirmationPass,
        resend: &mut Vec<(B256, Vec<u8>)>,
    ) -> Result<(), ChainError> {
        let page: Vec<OpenPayment> = page.iter().filter_map(|p| self.prepare(p, pass)).collect();
        if page.is_empty() {
            return Ok(());
        }
        pass.looked_at += page.len() as u64;
        let (page, not_final): (Vec<_>, Vec<_>) =
            page.into_iter().partition(|open| sight.can_be_final(open));
        let mut missing: Vec<&OpenPayment> =
            not_final.iter().filter(|open| sight.is_next_to_mine(open)).collect();
        let hashes: Vec<B256> = page.iter().flat_map(|open| open.hashes.iter().copied()).collect();
        let mut receipts = self.nodes.receipts(&hashes).await?.into_iter();
        let sightings: Vec<Vec<Sighting>> =
            page.iter().map(|open| open.sightings(&mut receipts)).collect();
        let found = sightings.iter().flatten().filter_map(|sighting| sighting.receipt.as_ref());
        let heights: BTreeSet<u64> = found.map(|receipt| receipt.block_number).collect();
        let heights: Vec<u64> = heights.into_iter().collect();
        let view = self.nodes.canonical(sight.tip, &heights).await?;
        let mut suspects = Vec::new();
        for (open, sightings) in page.iter().zip(&sightings) {
            match judge(sightings, &open.expected, &view) {
                Evidence::NotMined => {
                    if sight.is_used(open) {
                        suspects.push(open);
                    }
                    missing.push(open);
                }
                Evidence::Reorged { tx_hash } => {
                    tracing::warn!(
                        withdrawal.id = %open.payment.withdrawal.id,
                        tx.hash = %tx_hash,
                        "the payment's block is not on the canonical chain"
                    );
                    missing.push(open);
                }
                Evidence::Mined(_) => {}
                Evidence::Contradictory => {
                    pass.unclear += 1;
                    tracing::error!(
                        withdrawal.id = %open.payment.withdrawal.id,
                        "the nodes contradict themselves about a payment; nothing is concluded"
                    );
                }
                Evidence::Final(inclusion, effect) => {
                    let finality = self.config.finality.name();
                    let evidence = evidence_text(
                        self.chain_id,
                        finality,
                        &view,
                        &inclusion,
                        effect,
                        &open.expected,
                    );
                    self.conclude(open, &inclusion, effect, evidence, pass).await?;
                }
            }
        }
        suspects.retain(|open| sight.searched.insert(open.newest.account.clone()));
        self.look_for_strangers(&suspects, sight.tip, pass).await?;
        self.send_missing(&missing, now, pass, resend).await
    }

    /// What the chain says of one payment.
    pub(super) async fn judge_one(
        &self,
        open: &OpenPayment,
        tip: Tip,
    ) -> Result<Evidence, ChainError> {
        let mut receipts = self.nodes.receipts(&open.hashes).await?.into_iter();
        let sightings = open.sightings(&mut receipts);
        let found = sightings.iter().filter_map(|sighting| sighting.receipt.as_ref());
        let heights: BTreeSet<u64> = found.map(|receipt| receipt.block_number).collect();
        let view = self.nodes.canonical(tip, &heights.into_iter().collect::<Vec<_>>()).await?;
        Ok(judge(&sightings, &open.expected, &view))
    }

    /// None for a row that cannot be judged. It is counted and told, and holds up no other.
    pub(super) fn prepare(
        &self,
        payment: &Payment,
        pass: &mut ConfirmationPass,
    ) -> Option<OpenPayment> {
        let open = self.try_prepare(payment);
        if open.is_none() {
            pass.looked_at += 1;
            pass.unclear += 1;
            tracing::error!(
                withdrawal.id = %payment.withdrawal.id,
                "a payment cannot be judged: its asset is not configured any more, or it is corrupt"
            );
        }
        open
    }

    fn try_prepare(&self, payment: &Payment) -> Option<OpenPayment> {
        let request = &payment.withdrawal.request;
        let known = self.assets.get(&request.asset)?;
        let newest = payment.transactions.last()?.clone();
        let parsed = payment.transactions.iter().map(|signed| parse_hash(&signed.signed.hash));
        let expected = Expected {
            account: parse_address(&newest.account)?,
            destination: parse_address(&request.destination_address)?,
            contract: known.contract,
            units: uint256(&request.amount.base_units(known.decimals).ok()?)?,
        };
        let hashes = parsed.collect::<Option<Vec<B256>>>()?;
        Some(OpenPayment { payment: payment.clone(), newest, hashes, expected })
    }

    async fn conclude(
        &self,
        open: &OpenPayment,
        inclusion: &Inclusion,
        effect: Effect,
        evidence: String,
        pass: &mut ConfirmationPass,
    ) -> Result<(), ChainError> {
        let withdrawal = open.payment.withdrawal.id;
        let tx_hash = format!("{:#x}", inclusion.tx_hash);
        let end = match (effect, failure_text(effect)) {
            (Effect::Paid, _) => Transition::Confirm { tx_hash: tx_hash.clone() },
            (_, Some(text)) => {
                let closing = open.payment.closing.as_ref().filter(|_| effect == Effect::Closed);
                let reason = closing.map_or_else(
                    || text.to_owned(),
                    |closing| format!("{text} ({}: {})", closing.asked_by, closing.reason),
                );
                Transition::Revert { tx_hash: tx_hash.clone(), reason }
            }
            (_, None) => {
                pass.unclear += 1;
                tracing::error!(
                    withdrawal.id = %withdrawal,
                    evidence,
                    "a final transfer moved another amount; the withdrawal is left as it is"
                );
                return Ok(());
            }
        };
        let confirms = matches!(end, Transition::Confirm { .. });
        let mut transitions = Vec::with_capacity(2);
        match open.payment.withdrawal.state {
            // The host died between signing and settling, or the plugin never said that it sent.
            WithdrawalState::Requested => transitions.push(Transition::Broadcast { tx_hash }),
            WithdrawalState::Broadcasted { .. }
            | WithdrawalState::Confirmed { .. }
            | WithdrawalState::Failed { .. } => {}
        }
        transitions.push(end);
        let watch = self.watch_of(withdrawal, inclusion);
        let concluded =
            self.store.0.conclude(Conclude { withdrawal, transitions, evidence, watch }).await?;
        match concluded {
            Concluded::Now { changed: true, status } => {
                let count = if confirms { &mut pass.confirmed } else { &mut pass.failed };
                *count += 1;
                tracing::info!(withdrawal.id = %withdrawal, status = %status, "a payment is final");
            }
            // Another host was first.
            Concluded::Now { changed: false, .. } => {}
            Concluded::NotFound => {
                tracing::error!(withdrawal.id = %withdrawal, "a paid withdrawal is not there");
            }
            Concluded::Refused(reason) => {
                pass.unclear += 1;
                tracing::error!(withdrawal.id = %withdrawal, reason, "evidence was refused");
            }
        }
        Ok(())
    }
}

impl Sight {
    /// Below the highest number of finally used nonces that any node reports: a payment above it
    /// cannot be final, whatever else is true.
    fn can_be_final(&self, open: &OpenPayment) -> bool {
        let used = self.used.get(&open.newest.account);
        used.is_none_or(|used| open.newest.nonce < used.final_at_most)
    }

    /// Whether the chain has used its nonce.
    fn is_used(&self, open: &OpenPayment) -> bool {
        self.used.get(&open.newest.account).is_some_and(|used| open.newest.nonce < used.mined)
    }

    /// Not mined, and near enough to the account's next nonce that sending it again could help.
    fn is_next_to_mine(&self, open: &OpenPayment) -> bool {
        let used = self.used.get(&open.newest.account);
        let next = used.map_or(0, |used| used.mined);
        (next..next.saturating_add(RESEND_NONCES_MAX)).contains(&open.newest.nonce)
    }
}

impl OpenPayment {
    fn sightings(&self, receipts: &mut impl Iterator<Item = Option<Receipt>>) -> Vec<Sighting> {
        let signed = self.payment.transactions.iter().zip(&self.hashes);
        signed
            .map(|(signed, tx_hash)| Sighting {
                tx_hash: *tx_hash,
                kind: signed.signed.kind,
                receipt: receipts.next().flatten(),
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "confirmation_test.rs"]
pub(super) mod tests;
