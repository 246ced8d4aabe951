//! Nethermind: `AcceptTxResult` and, since 2026, `TxPoolErrorMessages`. Bytes that it saw are
//! called known for a while, also after they were evicted.

use super::{Bump, Funds, Gaps, Profile, Replacement, Text, text};
use crate::sandbox::evm_node::refusal::Kind;

/// Geth's words since 2026, and a few of its own.
pub(super) const PROFILE: Profile = Profile {
    version: "Nethermind/v1.36.0-stand-in/linux-x64/dotnet10.0",
    replacement: Some(Replacement { bump: Bump::PercentDownAndMore(10), both: true }),
    gaps: Gaps::KeepUpTo(2_048),
    funds: Funds::Sum,
    pool_max: 20_000,
    account_max: 5_000,
    tip_min: 1,
    refuses_below_base_fee: false,
    fee_cap_wei: None,
    knows_floor_gas: true,
    remembers_blocks: 2,
    texts: TEXTS,
};

/// The names of its results, as it said them before.
pub(super) const OLD: Profile = Profile {
    version: "Nethermind/v1.25.0-stand-in/linux-x64/dotnet8.0",
    knows_floor_gas: false,
    texts: OLD_TEXTS,
    ..PROFILE
};

const TEXTS: &[Text] = &[
    text(Kind::Undecodable, -32602, "Invalid RLP."),
    text(Kind::TypeNotSupported, -32010, "unsupported transaction type"),
    text(Kind::Oversized, -32010, "transaction too large, limit {limit}"),
    text(
        Kind::WrongChain,
        -32010,
        "transaction invalid, InvalidTxChainId: Expected {want}, got {have}",
    ),
    text(Kind::InvalidSender, -32010, "failed to recover sender"),
    text(Kind::AlreadyKnown, -32010, "already known"),
    text(
        Kind::NonceTooLow,
        -32010,
        "nonce too low, Current nonce: {next}, nonce of rejected tx: {given}",
    ),
    text(Kind::NonceTooHigh, -32010, "nonce too high"),
    text(Kind::NonceTooFar, -32010, "nonce too far in future"),
    text(Kind::ReplacementUnderpriced, -32010, "replacement transaction underpriced"),
    text(
        Kind::Underpriced,
        -32010,
        "transaction underpriced, EffectivePriorityFeePerGas too low {tip} < {needed}",
    ),
    text(Kind::IntrinsicGas, -32010, "transaction invalid, intrinsic gas too low"),
    text(Kind::FloorGas, -32010, "transaction invalid, intrinsic gas too low"),
    text(
        Kind::ExceedsBlockGas,
        -32010,
        "gas limit reached, Gas limit: {limit}, gas limit of rejected tx: {gas}",
    ),
    text(
        Kind::Funds,
        -32010,
        "insufficient funds for gas * price + value, Account balance: {balance}, cumulative cost: {cost}",
    ),
    text(
        Kind::FundsQueued,
        -32010,
        "insufficient funds for gas * price + value, Account balance: {balance}, cumulative cost: {sum}",
    ),
    text(Kind::PoolFull, -32010, "transaction underpriced"),
    text(Kind::AccountLimit, -32010, "nonce too far in future"),
];

const OLD_TEXTS: &[Text] = &[
    text(Kind::Undecodable, -32602, "Invalid RLP."),
    text(Kind::TypeNotSupported, -32010, "NotSupportedTxType"),
    text(Kind::Oversized, -32010, "MaxTxSizeExceeded"),
    text(Kind::WrongChain, -32010, "Invalid, InvalidTxChainId: Expected {want}, got {have}"),
    text(Kind::InvalidSender, -32010, "FailedToResolveSender"),
    text(Kind::AlreadyKnown, -32010, "AlreadyKnown"),
    text(
        Kind::NonceTooLow,
        -32010,
        "OldNonce, Current nonce: {next}, nonce of rejected tx: {given}",
    ),
    text(Kind::NonceTooHigh, -32010, "NonceGap, Future nonce. Expected nonce: {next}"),
    text(Kind::NonceTooFar, -32010, "NonceTooFarInFuture"),
    text(Kind::ReplacementUnderpriced, -32010, "ReplacementNotAllowed"),
    text(
        Kind::Underpriced,
        -32010,
        "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: {tip}, BaseFee: {needed}",
    ),
    text(Kind::IntrinsicGas, -32010, "Invalid, intrinsic gas too low"),
    text(
        Kind::ExceedsBlockGas,
        -32010,
        "GasLimitExceeded, Gas limit: {limit}, gas limit of rejected tx: {gas}",
    ),
    text(
        Kind::Funds,
        -32010,
        "InsufficientFunds, Account balance: {balance}, cumulative cost: {cost}",
    ),
    text(
        Kind::FundsQueued,
        -32010,
        "InsufficientFunds, Account balance: {balance}, cumulative cost: {sum}",
    ),
    text(Kind::PoolFull, -32010, "FeeTooLowToCompete"),
    text(Kind::AccountLimit, -32010, "NonceTooFarInFuture"),
];
