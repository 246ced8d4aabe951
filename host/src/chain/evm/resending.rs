//! What is not mined goes out again: the same bytes to all nodes, the payment to its plugin, and what
//! closes a payment that was given up.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use alloy_primitives::B256;

use super::EvmChain;
use super::confirmation::{ConfirmationPass, OpenPayment};
use crate::chain::ChainError;
use crate::domain::{Timestamp, WithdrawalId};

/// Payments whose last resend is remembered. Of one that is forgotten, the same bytes go out once
/// more, which is harmless.
const RESENDS_REMEMBERED_MAX: usize = 100_000;

/// When stored bytes were last sent again, and when a broadcast was last asked for.
#[derive(Debug, Default)]
pub(super) struct Resends {
    by_withdrawal: HashMap<WithdrawalId, LastTried>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LastTried {
    resent_at: Option<Timestamp>,
    requested_at: Option<Timestamp>,
}

impl EvmChain {
    pub(super) async fn send_missing(
        &self,
        missing: &[&OpenPayment],
        now: Timestamp,
        pass: &mut ConfirmationPass,
        resend: &mut Vec<(B256, Vec<u8>)>,
    ) -> Result<(), ChainError> {
        let due = |since: Timestamp, wait: Duration| {
            now.signed_duration_since(since).to_std().is_ok_and(|waited| waited >= wait)
        };
        for open in missing {
            let (id, signed_at) = (open.payment.withdrawal.id, open.newest.signed_at);
            let given_up = open.payment.closing.is_some();
            if given_up && self.closing_is_due(&open.payment, now) {
                match self.sign_closing(&open.payment).await {
                    Ok(Some(closing)) => {
                        pass.closings += 1;
                        resend.push(closing);
                        continue;
                    }
                    Ok(None) => {}
                    // The next pass tries again; what was signed before is sent meanwhile.
                    Err(error) => {
                        tracing::warn!(withdrawal.id = %id, %error, "a payment is not closed yet");
                    }
                }
            }
            let tried = self.last_tried(id);
            let since = tried.resent_at.map_or(signed_at, |at| at.max(signed_at));
            if let Some(hash) = open.hashes.last().filter(|_| due(since, self.config.resend_after))
            {
                // The newest: all have one nonce, and it has the highest fees.
                resend.push((*hash, open.newest.signed.raw.clone()));
                self.remember(id, LastTried { resent_at: Some(now), ..tried });
            }
            let tried = self.last_tried(id);
            let since = tried.requested_at.map_or(signed_at, |at| at.max(signed_at));
            let wait = self.config.rebroadcast_after;
            if !given_up && due(since, wait) {
                if self.store.0.request_broadcast(id, wait).await? {
                    pass.requested += 1;
                    tracing::info!(withdrawal.id = %id, "a payment is not mined; the plugin is asked");
                }
                self.remember(id, LastTried { requested_at: Some(now), ..tried });
            }
        }
        Ok(())
    }

    fn last_tried(&self, id: WithdrawalId) -> LastTried {
        let resends = self.resends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        resends.by_withdrawal.get(&id).copied().unwrap_or_default()
    }

    fn remember(&self, id: WithdrawalId, tried: LastTried) {
        let mut resends = self.resends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = resends.by_withdrawal.contains_key(&id);
        if known || resends.by_withdrawal.len() < RESENDS_REMEMBERED_MAX {
            resends.by_withdrawal.insert(id, tried);
        }
    }

    pub(super) fn forget_others(&self, open: &BTreeSet<WithdrawalId>) {
        let mut resends = self.resends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        resends.by_withdrawal.retain(|id, _| open.contains(id));
    }
}
