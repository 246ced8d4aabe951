//! hardhat 2, whose node is Nomic's EDR, with automatic mining off.

use super::{Bump, Funds, Gaps, Profile, Replacement, Text, text};
use crate::sandbox::evm_node::refusal::Kind;

pub(super) const PROFILE: Profile = Profile {
    version: "HardhatNetwork/2.29.0/stand-in",
    replacement: Some(Replacement { bump: Bump::PercentUp(10), both: true }),
    gaps: Gaps::Keep,
    funds: Funds::Each,
    pool_max: 20_000,
    account_max: 20_000,
    tip_min: 0,
    refuses_below_base_fee: false,
    fee_cap_wei: None,
    knows_floor_gas: true,
    remembers_blocks: 0,
    texts: TEXTS,
};

const TEXTS: &[Text] = &[
    text(Kind::Undecodable, -32602, "{reason}"),
    text(
        Kind::WrongChain,
        -32602,
        "Trying to send a raw transaction with an invalid chainId. The expected chainId is {want}",
    ),
    text(Kind::AlreadyKnown, -32000, "Known transaction: {hash}"),
    text(
        Kind::NonceTooLow,
        -32000,
        "Transaction nonce too low. Expected nonce to be at least {next} but got {given}.",
    ),
    text(
        Kind::ReplacementUnderpriced,
        -32000,
        "Replacement transaction underpriced. A gasPrice/{field} of at least {least} is necessary to replace the existing transaction with nonce {nonce}.",
    ),
    text(
        Kind::TipAboveFee,
        -32000,
        "maxPriorityFeePerGas ({tip}) is bigger than maxFeePerGas ({fee})",
    ),
    text(Kind::IntrinsicGas, -32000, "Transaction requires at least {needed} gas but got {gas}"),
    text(
        Kind::FloorGas,
        -32000,
        "Transaction requires gas floor of {needed} but got limit of {gas}",
    ),
    text(
        Kind::ExceedsBlockGas,
        -32000,
        "Transaction gas limit is {gas} and exceeds transaction gas cap of 16777216",
    ),
    text(
        Kind::Funds,
        -32000,
        "Sender doesn't have enough funds to send tx. The max upfront cost is: {cost} and the sender's balance is: {balance}.",
    ),
];
