//! A raw transaction, decoded, with the sender that its signature names.

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Transaction, TxEnvelope, TxType};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, U256, keccak256};

use super::refusal::{Kind, Refusal};

/// What geth takes into its pool at most.
const RAW_BYTES_MAX: usize = 128 * 1024;

const GAS_TRANSACTION: u64 = 21_000;
const GAS_CREATION: u64 = 32_000;

/// A transaction whose signature is valid.
#[derive(Debug, Clone)]
pub(super) struct Decoded {
    pub(super) hash: B256,
    pub(super) sender: Address,
    pub(super) envelope: TxEnvelope,
}

impl Decoded {
    /// Judges the bytes alone, in geth's order.
    pub(super) fn new(raw: &[u8], chain_id: u64) -> Result<Self, Refusal> {
        if raw.len() > RAW_BYTES_MAX {
            let refusal = Refusal::new(Kind::Oversized).with("bytes", raw.len());
            return Err(refusal.with("limit", RAW_BYTES_MAX));
        }
        if matches!(raw.first(), Some(5..=0x7f)) {
            return Err(Refusal::new(Kind::TypeNotSupported));
        }
        let envelope = TxEnvelope::decode_2718_exact(raw)
            .map_err(|error| Refusal::new(Kind::Undecodable).with("reason", error))?;
        match envelope.tx_type() {
            TxType::Legacy | TxType::Eip2930 | TxType::Eip1559 => {}
            TxType::Eip4844 | TxType::Eip7702 => {
                return Err(Refusal::new(Kind::TypeNotSupported));
            }
        }
        // A legacy transaction without a chain id could be replayed anywhere.
        match envelope.chain_id() {
            None => return Err(Refusal::new(Kind::NotReplayProtected)),
            Some(have) if have != chain_id => {
                let refusal = Refusal::new(Kind::WrongChain).with("have", have);
                return Err(refusal.with("want", chain_id));
            }
            Some(_) => {}
        }
        let sender = envelope.recover_signer().map_err(|_| Refusal::new(Kind::InvalidSender))?;
        Ok(Self { hash: keccak256(raw), sender, envelope })
    }

    pub(super) fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }

    pub(super) fn fee_max(&self) -> u128 {
        self.envelope.max_fee_per_gas()
    }

    pub(super) fn tip_max(&self) -> u128 {
        self.envelope.max_priority_fee_per_gas().unwrap_or_else(|| self.fee_max())
    }

    /// What the sender may lose of the chain's own coin.
    pub(super) fn cost_max(&self) -> U256 {
        U256::from(self.envelope.gas_limit())
            .saturating_mul(U256::from(self.fee_max()))
            .saturating_add(self.envelope.value())
    }

    /// What is paid for a unit of gas in a block with this base fee.
    pub(super) fn price(&self, base_fee: u128) -> u128 {
        self.fee_max().min(base_fee.saturating_add(self.tip_max()))
    }
}

/// The gas that a transaction uses before anything runs, and the floor that EIP-7623 sets for it.
pub(super) fn intrinsic_gas(data: &[u8], creates: bool) -> (u64, u64) {
    let zeros = data.iter().filter(|byte| **byte == 0).count() as u64;
    let tokens = zeros + 4 * (data.len() as u64 - zeros);
    let creation = if creates { GAS_CREATION } else { 0 };
    (GAS_TRANSACTION + creation + 4 * tokens, GAS_TRANSACTION + 10 * tokens)
}
