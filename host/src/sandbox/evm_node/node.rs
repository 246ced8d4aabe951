//! One node of a network: its pool, whose words it speaks, and what is wrong with it.

use std::collections::HashMap;

use alloy_consensus::Transaction;
use alloy_primitives::{B256, U256};

use super::chain::Chain;
use super::fault::ReceiptLie;
use super::pool::Pool;
use super::profile::{ClientProfile, Profile};
use super::refusal::{Kind, Refusal};
use super::transaction::{Decoded, intrinsic_gas};

#[derive(Debug)]
pub(super) struct Node {
    pub(super) profile: ClientProfile,
    pub(super) pool: Pool,
    /// Bytes that were evicted and are called known up to this block.
    remembered: HashMap<B256, u64>,
    pub(super) troubles: Troubles,
}

/// What is wrong with a node, until it is cleared.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles {
    /// How many blocks its readers are behind.
    pub(super) lag: u64,
    /// The block at which it stopped to follow the chain.
    pub(super) stalled_at: Option<u64>,
    /// What it takes goes no further.
    pub(super) silent: bool,
    /// Nothing comes to it from other nodes, nor goes from it to them.
    pub(super) isolated: bool,
    /// It says that it is on this chain, and knows nothing of ours.
    pub(super) chain_id: Option<u64>,
    pub(super) receipts: Option<ReceiptLie>,
}

impl Node {
    pub(super) fn new(profile: ClientProfile) -> Self {
        Self {
            profile,
            pool: Pool::default(),
            remembered: HashMap::new(),
            troubles: Troubles::default(),
        }
    }

    /// Whether what it holds can reach those who build blocks.
    pub(super) fn is_connected(&self) -> bool {
        !self.troubles.silent && !self.troubles.isolated
    }

    /// The block that readers take for the newest.
    pub(super) fn head(&self, chain: &Chain) -> u64 {
        let followed = self.troubles.stalled_at.map_or(chain.height(), |at| at.min(chain.height()));
        followed.saturating_sub(self.troubles.lag)
    }

    /// Forgets the bytes; some clients go on to call them known for a while.
    pub(super) fn evict(&mut self, hash: &B256, height: u64) -> bool {
        let evicted = self.pool.remove(hash).is_some();
        if evicted && self.profile.data().remembers_blocks > 0 {
            self.remembered.insert(*hash, height + self.profile.data().remembers_blocks);
        }
        evicted
    }

    /// The bytes alone, for the chain that the node says it is on.
    pub(super) fn decode(&self, raw: &[u8], chain: &Chain) -> Result<Decoded, Refusal> {
        Decoded::new(raw, self.troubles.chain_id.unwrap_or(chain.config.chain_id))
    }

    /// Whether the node takes the transaction: the whole of geth's rules, in its order, as far as
    /// the node's client has them.
    pub(super) fn judge(&self, new: &Decoded, chain: &Chain) -> Result<(), Refusal> {
        let profile = self.profile.data();
        if let Some(cap) = profile.fee_cap_wei {
            judge_fee_cap(new, cap)?;
        }
        let known = self.pool.get(&new.hash).is_some()
            || self.remembered.get(&new.hash).is_some_and(|until| *until >= chain.height());
        if known {
            let next = self.pool.next_nonce(new.sender, &chain.ledger);
            let refusal = Refusal::new(Kind::AlreadyKnown).with("hash", new.hash);
            let refusal = refusal.with("next", next).with("given", new.nonce());
            return Err(refusal.with("sender", new.sender));
        }
        judge_alone(new, chain, profile)?;
        if chain.is_full() {
            return Err(Refusal::new(Kind::PoolFull));
        }
        self.pool.judge(new, &chain.ledger, profile)
    }
}

fn judge_fee_cap(new: &Decoded, cap: u128) -> Result<(), Refusal> {
    let fee = U256::from(new.envelope.gas_limit()).saturating_mul(U256::from(new.fee_max()));
    if fee > U256::from(cap) {
        let refusal = Refusal::new(Kind::FeeAboveCap).with("fee_ether", ether(fee));
        return Err(refusal.with("cap_ether", ether(U256::from(cap))));
    }
    Ok(())
}

fn judge_alone(new: &Decoded, chain: &Chain, profile: &Profile) -> Result<(), Refusal> {
    let envelope = &new.envelope;
    let (gas, sender) = (envelope.gas_limit(), new.sender);
    let (fee, tip) = (new.fee_max(), new.tip_max());
    let limit = chain.config.block_gas_max;
    if gas > limit {
        return Err(Refusal::new(Kind::ExceedsBlockGas).with("gas", gas).with("limit", limit));
    }
    if tip > fee {
        let refusal = Refusal::new(Kind::TipAboveFee).with("sender", sender);
        return Err(refusal.with("tip", tip).with("fee", fee));
    }
    if new.nonce() == u64::MAX {
        let refusal = Refusal::new(Kind::NonceMax).with("sender", sender);
        return Err(refusal.with("given", new.nonce()));
    }
    let (needed, floor) = intrinsic_gas(envelope.input(), envelope.is_create());
    let needed = needed + chain.config.gas_extra;
    if gas < needed {
        return Err(Refusal::new(Kind::IntrinsicGas).with("gas", gas).with("needed", needed));
    }
    if profile.knows_floor_gas && gas < floor {
        return Err(Refusal::new(Kind::FloorGas).with("gas", gas).with("needed", floor));
    }
    if tip < profile.tip_min {
        let refusal = Refusal::new(Kind::Underpriced).with("tip", tip);
        return Err(refusal.with("needed", profile.tip_min));
    }
    let base_fee = chain.base_fee(chain.height() + 1);
    if profile.refuses_below_base_fee && fee < u128::from(base_fee) {
        let refusal = Refusal::new(Kind::BelowBaseFee).with("sender", sender);
        return Err(refusal.with("fee", fee).with("base_fee", base_fee));
    }
    Ok(())
}

/// With two places, as geth prints it.
fn ether(wei: U256) -> String {
    let hundredths = wei / U256::from(10_000_000_000_000_000_u64);
    let hundred = U256::from(100);
    format!("{}.{:0>2}", hundredths / hundred, hundredths % hundred)
}
