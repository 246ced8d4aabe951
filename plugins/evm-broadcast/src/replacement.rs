//! Another transaction at the same nonce: with higher fees, or with gas that is enough.

use serde_json::json;
use tidegate_plugin::{
    Event, Failure, Withdrawal, defer, info,
    log::notice,
    retry,
    signer::{self, SignError, SignedTransaction},
};

use crate::{
    WAIT,
    delivery::node_with_receipt,
    fees::Fees,
    payment::Payment,
    rpc::{Nodes, quantity},
    settings::{AtFeeCap, Profile, Settings},
};

/// What is sent, by what rules, and for which payment.
pub(crate) struct Job<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) nodes: &'a Nodes,
    pub(crate) withdrawal: &'a Withdrawal,
}

/// Whether a payment that was sent before has waited too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Or it is not this one's turn, or it cannot be told.
    No,
    NotYet,
    Yes,
}

impl Job<'_> {
    /// The same payment with both fees raised. Its gas is the old one's, for that was enough.
    pub(crate) fn raised(
        &self,
        old: &SignedTransaction,
        why: &str,
    ) -> Result<SignedTransaction, Failure> {
        self.replace(old, old.gas_limit, why)
    }

    /// The same payment with the gas that nodes want now. None where that would change nothing.
    pub(crate) fn with_more_gas(
        &self,
        old: &SignedTransaction,
        why: &str,
    ) -> Result<Option<SignedTransaction>, Failure> {
        let payment = self.payment()?;
        let gas_limit = payment.gas_limit(self.nodes, self.settings.gas_margin_percent)?;
        if gas_limit == old.gas_limit {
            return Ok(None);
        }
        self.replace(old, gas_limit, why).map(Some)
    }

    fn payment(&self) -> Result<Payment, Failure> {
        let terms = signer::terms(&self.withdrawal.network, &self.withdrawal.asset)?;
        Payment::new(self.withdrawal, terms)
    }

    fn replace(
        &self,
        old: &SignedTransaction,
        gas_limit: u64,
        why: &str,
    ) -> Result<SignedTransaction, Failure> {
        let payment = self.payment()?;
        let market = Fees::suggested(self.nodes, self.settings.priority_fee_min_wei).ok();
        let fees = Fees::of(old)
            .and_then(|old| old.raised(market))
            .ok_or_else(|| retry("the fees of what was signed cannot be raised"))?;
        info!("replacing {}, with a fee of {}: {why}", old.hash, fees.max_fee);
        let replacement = payment.transaction(gas_limit, fees);
        signer::sign_replacement(&replacement).map_err(|error| match error {
            // What was signed before may still be mined, so this is no end.
            SignError::Refused(_) | SignError::Denied(_) => retry(error.to_string()),
            SignError::Wait(reason) => self.not_now(&reason),
            SignError::Unavailable(_) => error.into(),
        })
    }

    /// The host does not sign now.
    pub(crate) fn not_now(&self, reason: &str) -> Failure {
        // The host names the rule; its caps are those on fees.
        if reason.contains("fee-cap") {
            match self.settings.at_fee_cap {
                AtFeeCap::Wait => {}
                AtFeeCap::Tell => notice("fee-cap", reason),
            }
        }
        info!("waiting: {reason}");
        defer(WAIT)
    }

    /// Whether it is time to raise the fees of what was handed to the network before: it is the
    /// account's next transaction, and so many blocks came since the host asked for it again.
    pub(crate) fn overdue(&self, event: &Event, signed: &SignedTransaction) -> Overdue {
        let blocks = self.settings.bump_after_blocks;
        let network = &self.withdrawal.network;
        if self.withdrawal.status != "BROADCASTED"
            || blocks == 0
            || self.settings.profile(network) == Profile::NoPool
            || !self.is_next(signed)
            || node_with_receipt(self.nodes, &signed.hash).is_some()
        {
            return Overdue::No;
        }
        match self.head_time_s(blocks) {
            Some(time_s) if time_s.saturating_mul(1000) >= event.created_at_ms => Overdue::Yes,
            Some(_) => Overdue::NotYet,
            None => Overdue::No,
        }
    }

    /// What waits for a lower nonce is not mined sooner for any fee.
    fn is_next(&self, signed: &SignedTransaction) -> bool {
        let account = self.payment().map(|payment| payment.account);
        let Ok(account) = account else { return false };
        let count = self.nodes.ask("eth_getTransactionCount", &json!([account, "latest"]));
        count.ok().as_ref().and_then(quantity).is_some_and(|next| next == signed.nonce)
    }

    /// When the block came that is so many below the newest.
    fn head_time_s(&self, blocks_below: u64) -> Option<u64> {
        let head = self.nodes.ask("eth_blockNumber", &json!([])).ok()?;
        let number = u64::try_from(quantity(&head)?).ok()?.checked_sub(blocks_below)?;
        let params = json!([format!("{number:#x}"), false]);
        let block = self.nodes.ask("eth_getBlockByNumber", &params).ok()?;
        u64::try_from(quantity(&block["timestamp"])?).ok()
    }
}
