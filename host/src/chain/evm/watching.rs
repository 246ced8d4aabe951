//! Ends that the chain may still take back. A reorganisation deeper than what counts as final is rare,
//! and then nobody else tells: so each end is watched for some blocks more.

use std::collections::BTreeSet;

use serde_json::json;

use super::EvmChain;
use super::confirmation::{ConfirmationPass, OpenPayment};
use super::convert::parse_hash;
use super::evidence::{CanonicalView, Effect, Evidence, Inclusion};
use super::nodes::Tip;
use crate::chain::ChainError;
use crate::domain::{PaymentWatch, Transition, WithdrawalId, WithdrawalStatus};
use crate::store::{Conclude, Concluded};

/// Watches that are looked at together.
const PAGE: u32 = 500;

impl EvmChain {
    /// The watch that begins with an end; none, if the network watches nothing.
    pub(super) fn watch_of(
        &self,
        withdrawal: WithdrawalId,
        inclusion: &Inclusion,
    ) -> Option<PaymentWatch> {
        (self.config.watch_blocks > 0).then(|| PaymentWatch {
            withdrawal,
            chain_id: self.chain_id,
            tx_hash: format!("{:#x}", inclusion.tx_hash),
            block_number: inclusion.block_number,
            block_hash: format!("{:#x}", inclusion.block_hash),
            until_block: inclusion.block_number.saturating_add(self.config.watch_blocks),
        })
    }

    /// Looks at all that is watched: the cost is a block's hash for each height.
    pub(super) async fn look_at_watches(
        &self,
        tip: &mut Option<Tip>,
        pass: &mut ConfirmationPass,
    ) -> Result<(), ChainError> {
        let mut after = None;
        loop {
            let page = self.store.0.watches(self.chain_id, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.withdrawal);
            let tip = match tip {
                Some(tip) => *tip,
                None => *tip.insert(self.nodes.tip().await?),
            };
            let heights: BTreeSet<u64> = page.iter().map(|watch| watch.block_number).collect();
            let heights: Vec<u64> = heights.into_iter().collect();
            let view = self.nodes.canonical(tip, &heights).await?;
            let mut over = Vec::new();
            for watch in &page {
                match standing(watch, &view) {
                    Standing::AsItWas => {}
                    Standing::Over => over.push(watch.withdrawal),
                    Standing::TakenBack => self.taken_back(watch, tip, pass).await?,
                }
            }
            if !over.is_empty() {
                self.store.0.end_watches(&over).await?;
            }
            if page.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    /// The block of an end is not the canonical one of its height any more.
    async fn taken_back(
        &self,
        watch: &PaymentWatch,
        tip: Tip,
        pass: &mut ConfirmationPass,
    ) -> Result<(), ChainError> {
        let Some(payment) = self.store.0.payment(watch.withdrawal).await? else { return Ok(()) };
        let status = payment.withdrawal.state.status();
        let Some(ended) = self.prepare(&payment, pass) else { return Ok(()) };
        match self.judge_one(&ended, tip).await? {
            // The same end in another block.
            Evidence::Final(inclusion, effect) if is_same_end(status, effect) => {
                match self.watch_of(watch.withdrawal, &inclusion) {
                    Some(moved) => self.store.0.move_watch(&moved).await?,
                    None => self.store.0.end_watches(&[watch.withdrawal]).await?,
                }
                Ok(())
            }
            Evidence::Contradictory => {
                pass.unclear += 1;
                Ok(())
            }
            Evidence::NotMined
            | Evidence::Reorged { .. }
            | Evidence::Mined(_)
            | Evidence::Final(..) => self.undo_end(watch, status, &ended, pass).await,
        }
    }

    async fn undo_end(
        &self,
        watch: &PaymentWatch,
        status: WithdrawalStatus,
        ended: &OpenPayment,
        pass: &mut ConfirmationPass,
    ) -> Result<(), ChainError> {
        let withdrawal = watch.withdrawal;
        if status != WithdrawalStatus::Confirmed {
            // FAILED was said, and money may have been returned since: only a person can say more.
            let reason = format!(
                "a reorganisation took back the end of the FAILED withdrawal {withdrawal} in block \
                 {}: it may yet be paid",
                watch.block_number
            );
            if let Some(account) = self.accounts.get(&ended.newest.account) {
                self.freeze(account, &reason).await?;
            }
            tracing::error!(withdrawal.id = %withdrawal, reason, "an end that was final is taken back");
            pass.unclear += 1;
            self.store.0.end_watches(&[withdrawal]).await?;
            return Ok(());
        }
        tracing::error!(
            withdrawal.id = %withdrawal,
            tx.hash = watch.tx_hash,
            block.number = watch.block_number,
            "a reorganisation took back a payment that was final; it is open again"
        );
        let evidence = json!({
            "chain_id": self.chain_id,
            "tx_hash": watch.tx_hash,
            "block_number": watch.block_number,
            "block_hash": watch.block_hash,
            "effect": "taken back",
        });
        let request = Conclude {
            withdrawal,
            transitions: vec![Transition::Reopen],
            evidence: evidence.to_string(),
            watch: None,
        };
        match self.store.0.conclude(request).await? {
            Concluded::Now { changed: true, .. } => pass.reopened += 1,
            Concluded::Now { changed: false, .. } | Concluded::NotFound => {}
            Concluded::Refused(reason) => {
                pass.unclear += 1;
                tracing::error!(withdrawal.id = %withdrawal, reason, "a withdrawal is not reopened");
            }
        }
        Ok(())
    }
}

enum Standing {
    AsItWas,
    Over,
    TakenBack,
}

/// What the canonical chain says of a watched block. A height of which nothing is agreed, such as one
/// above a node that lags, says nothing.
fn standing(watch: &PaymentWatch, view: &CanonicalView) -> Standing {
    match view.hashes.get(&watch.block_number) {
        None => Standing::AsItWas,
        Some(hash) if parse_hash(&watch.block_hash) != Some(*hash) => Standing::TakenBack,
        Some(_) if view.final_up_to.is_some_and(|upto| upto >= watch.until_block) => Standing::Over,
        Some(_) => Standing::AsItWas,
    }
}

fn is_same_end(status: WithdrawalStatus, effect: Effect) -> bool {
    match effect {
        Effect::Paid => status == WithdrawalStatus::Confirmed,
        Effect::Reverted | Effect::NotPaid | Effect::Closed => status == WithdrawalStatus::Failed,
        Effect::PaidOther { .. } => false,
    }
}

#[cfg(test)]
#[path = "watching_test.rs"]
mod tests;
