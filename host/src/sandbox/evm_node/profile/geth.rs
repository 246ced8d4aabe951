//! go-ethereum: `core/txpool/errors.go`, `core/txpool/validation.go`, `core/error.go`.

use super::{Bump, Funds, Gaps, Profile, Replacement, Text, text};
use crate::sandbox::evm_node::refusal::Kind;

pub(super) const PROFILE: Profile = Profile {
    version: "Geth/v1.16.0-stand-in/linux-amd64/go1.24",
    replacement: Some(Replacement { bump: Bump::PercentDownAndMore(10), both: true }),
    gaps: Gaps::Keep,
    funds: Funds::Sum,
    // More than geth keeps (5,120 and 1,024), so that a test of many payments is not about this.
    pool_max: 20_000,
    account_max: 5_000,
    tip_min: 1,
    refuses_below_base_fee: false,
    fee_cap_wei: Some(1_000_000_000_000_000_000),
    knows_floor_gas: true,
    remembers_blocks: 0,
    texts: TEXTS,
};

const TEXTS: &[Text] = &[
    text(Kind::Undecodable, -32000, "rlp: {reason}"),
    text(Kind::TypeNotSupported, -32000, "transaction type not supported"),
    text(
        Kind::NotReplayProtected,
        -32000,
        "only replay-protected (EIP-155) transactions allowed over RPC",
    ),
    text(Kind::Oversized, -32000, "oversized data: transaction size {bytes}, limit {limit}"),
    text(
        Kind::WrongChain,
        -32000,
        "invalid sender: invalid chain id for signer: have {have} want {want}",
    ),
    text(Kind::InvalidSender, -32000, "invalid sender: invalid transaction v, r, s values"),
    text(Kind::AlreadyKnown, -32000, "already known"),
    text(Kind::NonceTooLow, -32000, "nonce too low: next nonce {next}, tx nonce {given}"),
    text(Kind::NonceTooHigh, -32000, "nonce too high: address {sender}, tx: {given} state: {next}"),
    text(Kind::NonceTooFar, -32000, "nonce too high: address {sender}, tx: {given} state: {next}"),
    text(Kind::NonceMax, -32000, "nonce has max value: address {sender}, nonce: {given}"),
    text(Kind::ReplacementUnderpriced, -32000, "replacement transaction underpriced"),
    text(
        Kind::TipAboveFee,
        -32000,
        "max priority fee per gas higher than max fee per gas: address {sender}, maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee}",
    ),
    text(
        Kind::Underpriced,
        -32000,
        "transaction underpriced: gas tip cap {tip}, minimum needed {needed}",
    ),
    text(
        Kind::BelowBaseFee,
        -32000,
        "max fee per gas less than block base fee: address {sender}, maxFeePerGas: {fee}, baseFee: {base_fee}",
    ),
    text(Kind::IntrinsicGas, -32000, "intrinsic gas too low: gas {gas}, minimum needed {needed}"),
    text(
        Kind::FloorGas,
        -32000,
        "insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}",
    ),
    text(Kind::ExceedsBlockGas, -32000, "exceeds block gas limit"),
    text(
        Kind::Funds,
        -32000,
        "insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, overshot {overshot}",
    ),
    text(
        Kind::FundsQueued,
        -32000,
        "insufficient funds for gas * price + value: balance {balance}, queued cost {queued}, tx cost {cost}, overshot {overshot}",
    ),
    text(
        Kind::FeeAboveCap,
        -32000,
        "tx fee ({fee_ether} ether) exceeds the configured cap ({cap_ether} ether)",
    ),
    text(Kind::PoolFull, -32000, "txpool is full"),
    text(Kind::AccountLimit, -32000, "account limit exceeded: pooled {limit} txs"),
];
