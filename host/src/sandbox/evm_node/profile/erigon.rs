//! Erigon: `txnprovider/txpool/txpoolcfg`, whose reasons are single words and short sentences.

use super::{Bump, Funds, Gaps, Profile, Replacement, Text, text};
use crate::sandbox::evm_node::refusal::Kind;

pub(super) const PROFILE: Profile = Profile {
    version: "erigon/3.2.0-stand-in/linux-amd64/go1.24",
    replacement: Some(Replacement { bump: Bump::PercentDownAndMore(10), both: true }),
    gaps: Gaps::Keep,
    funds: Funds::Each,
    pool_max: 10_000,
    account_max: 5_000,
    tip_min: 1,
    refuses_below_base_fee: false,
    fee_cap_wei: Some(1_000_000_000_000_000_000),
    knows_floor_gas: true,
    remembers_blocks: 0,
    texts: TEXTS,
};

const TEXTS: &[Text] = &[
    text(Kind::Undecodable, -32000, "rlp parse transaction: {reason}"),
    text(
        Kind::TypeNotSupported,
        -32000,
        "fork supporting this transaction type is not activated yet",
    ),
    text(Kind::Oversized, -32000, "RLPTooLong"),
    text(Kind::WrongChain, -32000, "invalid chain id, expected: {want} got: {have}"),
    text(Kind::InvalidSender, -32000, "invalid sender"),
    text(Kind::AlreadyKnown, -32000, "already known"),
    text(Kind::NonceTooLow, -32000, "nonce too low"),
    text(Kind::ReplacementUnderpriced, -32000, "could not replace existing tx"),
    text(Kind::TipAboveFee, -32000, "tip higher than fee cap"),
    text(Kind::Underpriced, -32000, "underpriced"),
    text(Kind::IntrinsicGas, -32000, "IntrinsicGas"),
    text(Kind::FloorGas, -32000, "IntrinsicGas"),
    text(Kind::ExceedsBlockGas, -32000, "gas limit is too high"),
    text(Kind::Funds, -32000, "insufficient funds"),
    text(Kind::PoolFull, -32000, "queued sub-pool is full"),
    text(Kind::AccountLimit, -32000, "spammer"),
];
