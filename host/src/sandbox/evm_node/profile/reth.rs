//! reth: `crates/rpc/rpc-eth-types/src/error/mod.rs` and the transaction pool. It says less than
//! geth, asks for 10 % rounded up, judges each transaction's cost by itself, and keeps 16 of an
//! account.

use super::{Bump, Funds, Gaps, Profile, Replacement, Text, text};
use crate::sandbox::evm_node::refusal::Kind;

pub(super) const PROFILE: Profile = Profile {
    version: "reth/v1.9.0-stand-in/x86_64-unknown-linux-gnu",
    replacement: Some(Replacement { bump: Bump::PercentUp(10), both: true }),
    gaps: Gaps::Keep,
    funds: Funds::Each,
    pool_max: 10_000,
    account_max: 16,
    tip_min: 0,
    refuses_below_base_fee: false,
    fee_cap_wei: Some(1_000_000_000_000_000_000),
    knows_floor_gas: true,
    remembers_blocks: 0,
    texts: TEXTS,
};

const TEXTS: &[Text] = &[
    text(Kind::Undecodable, -32602, "failed to decode signed transaction"),
    text(Kind::Oversized, -32000, "oversized data"),
    text(Kind::WrongChain, -32000, "invalid chain ID"),
    text(Kind::InvalidSender, -32602, "invalid transaction signature"),
    text(Kind::NonceTooLow, -32000, "nonce too low: next nonce {next}, tx nonce {given}"),
    text(Kind::NonceTooHigh, -32000, "nonce too high"),
    text(Kind::NonceMax, -32003, "nonce has max value"),
    text(Kind::TipAboveFee, -32003, "max priority fee per gas higher than max fee per gas"),
    text(
        Kind::Underpriced,
        -32003,
        "transaction priority fee below minimum required priority fee {needed}",
    ),
    text(Kind::BelowBaseFee, -32000, "max fee per gas less than block base fee"),
    text(Kind::IntrinsicGas, -32000, "intrinsic gas too low"),
    text(Kind::FloorGas, -32000, "intrinsic gas too low"),
    text(
        Kind::Funds,
        -32003,
        "insufficient funds for gas * price + value: have {balance} want {cost}",
    ),
    text(
        Kind::FeeAboveCap,
        -32000,
        "tx fee ({fee_ether} ether) exceeds the configured cap ({cap_ether} ether)",
    ),
    text(Kind::AccountLimit, -32000, "txpool is full"),
];
