//! Besu: `RpcErrorType`. Each refusal has a code of its own, and -32005 is not a rate limit.

use super::{Bump, Funds, Gaps, Profile, Replacement, Text, text};
use crate::sandbox::evm_node::refusal::Kind;

pub(super) const PROFILE: Profile = Profile {
    version: "besu/v25.9.0-stand-in/linux-x86_64/openjdk-java-21",
    replacement: Some(Replacement { bump: Bump::PercentDownAndMore(10), both: true }),
    gaps: Gaps::KeepUpTo(200),
    funds: Funds::Each,
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
    text(Kind::Undecodable, -32602, "Invalid transaction params (missing or incorrect)"),
    text(Kind::TypeNotSupported, -32602, "Invalid transaction type"),
    text(Kind::NotReplayProtected, -32000, "ChainId is required"),
    text(Kind::Oversized, -32602, "Invalid transaction params (missing or incorrect)"),
    text(Kind::WrongChain, -32000, "Wrong chainId"),
    text(Kind::InvalidSender, -32002, "Invalid signature"),
    text(Kind::AlreadyKnown, -32000, "Known transaction"),
    text(Kind::NonceTooLow, -32001, "Nonce too low"),
    text(Kind::NonceTooHigh, -32006, "Nonce too high"),
    text(Kind::NonceTooFar, -32000, "Transaction nonce is too distant from current sender nonce"),
    text(Kind::ReplacementUnderpriced, -32000, "Replacement transaction underpriced"),
    text(Kind::TipAboveFee, -32000, "Max priority fee per gas exceeds max fee per gas"),
    text(Kind::Underpriced, -32009, "Gas price below configured minimum gas price"),
    text(Kind::BelowBaseFee, -32009, "Gas price below current base fee"),
    text(Kind::IntrinsicGas, -32003, "Intrinsic gas exceeds gas limit"),
    text(Kind::FloorGas, -32003, "Intrinsic gas exceeds gas limit"),
    text(Kind::ExceedsBlockGas, -32005, "Transaction gas limit exceeds block gas limit"),
    text(Kind::Funds, -32004, "Upfront cost exceeds account balance"),
    text(Kind::FeeAboveCap, -32000, "Transaction fee cap exceeded"),
    text(Kind::AccountLimit, -32000, "Transaction nonce is too distant from current sender nonce"),
];
