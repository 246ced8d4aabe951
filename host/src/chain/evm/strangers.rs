//! Nonces that somebody else used: the key is used elsewhere, or the store was restored from a backup.
//! Then the host signs nothing more for the account, says why, and waits for a person.

use std::collections::BTreeMap;

use super::EvmChain;
use super::confirmation::{ConfirmationPass, OpenPayment};
use super::nodes::{Tip, UsedNonces};
use crate::chain::ChainError;

impl EvmChain {
    /// Accounts of which the chain has seen more transactions than the store allotted nonces.
    pub(super) async fn look_for_a_chain_ahead(
        &self,
        used: &BTreeMap<String, UsedNonces>,
    ) -> Result<(), ChainError> {
        // After the chain: what is signed meanwhile raises the store's number only.
        let known = self.store.0.accounts(self.chain_id).await?;
        for account in self.accounts.iter() {
            let stored = account.stored();
            let Some(mined) = used.get(&stored).map(|used| used.mined) else { continue };
            let of_store = known.iter().find(|it| it.address == stored);
            let Some(of_store) = of_store.filter(|it| it.frozen_reason.is_none()) else { continue };
            if mined > of_store.next_nonce {
                let reason = super::signing::chain_ahead(mined, &stored, of_store.next_nonce);
                self.freeze(account, &reason).await?;
            }
        }
        Ok(())
    }

    /// Payments whose nonce the chain has used, and of whose transactions no receipt is there: either
    /// the nodes lag, or somebody else used it. The lowest of each account is looked up; only the
    /// transaction that was found, and is final, freezes.
    pub(super) async fn look_for_strangers(
        &self,
        suspects: &[&OpenPayment],
        tip: Tip,
        pass: &mut ConfirmationPass,
    ) -> Result<(), ChainError> {
        let mut lowest: BTreeMap<&str, &OpenPayment> = BTreeMap::new();
        for suspect in suspects {
            let entry = lowest.entry(&suspect.newest.account).or_insert(suspect);
            if suspect.newest.nonce < entry.newest.nonce {
                *entry = suspect;
            }
        }
        for suspect in lowest.into_values() {
            let nonce = suspect.newest.nonce;
            let Some(account) = self.accounts.get(&suspect.newest.account) else { continue };
            let found = self.nodes.find_nonce(account.address(), nonce, 0).await?;
            let Some(found) = found.filter(|found| !suspect.hashes.contains(&found.hash)) else {
                continue;
            };
            if tip.final_up_to.is_none_or(|up_to| found.block_number > up_to) {
                continue;
            }
            pass.unclear += 1;
            let reason = format!(
                "nonce {nonce}, which is withdrawal {}'s, was used by {:#x} in block {}, which is none \
                 of ours: the key is used elsewhere, or the store was restored from a backup",
                suspect.payment.withdrawal.id, found.hash, found.block_number
            );
            self.freeze(account, &reason).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "strangers_test.rs"]
mod tests;
