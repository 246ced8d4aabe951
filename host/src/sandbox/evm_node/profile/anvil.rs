//! anvil, of foundry. Anything above the old fee replaces, so it proves nothing about bumps.

use super::{Bump, Funds, Gaps, Profile, Replacement, Text, text};
use crate::sandbox::evm_node::refusal::Kind;

pub(super) const PROFILE: Profile = Profile {
    version: "anvil/v1.7.1-stand-in",
    replacement: Some(Replacement { bump: Bump::More, both: false }),
    gaps: Gaps::Keep,
    funds: Funds::Each,
    pool_max: 20_000,
    account_max: 20_000,
    tip_min: 0,
    refuses_below_base_fee: true,
    fee_cap_wei: None,
    knows_floor_gas: false,
    remembers_blocks: 0,
    texts: TEXTS,
};

const TEXTS: &[Text] = &[
    text(Kind::Undecodable, -32602, "Failed to decode transaction"),
    text(Kind::WrongChain, -32003, "invalid chain id for signer"),
    text(Kind::AlreadyKnown, -32003, "transaction already imported"),
    text(Kind::NonceTooLow, -32003, "nonce too low"),
    text(Kind::TipAboveFee, -32003, "max priority fee per gas higher than max fee per gas"),
    text(Kind::BelowBaseFee, -32003, "max fee per gas less than block base fee"),
    text(Kind::ReplacementUnderpriced, -32003, "replacement transaction underpriced"),
    text(Kind::IntrinsicGas, -32000, "intrinsic gas too low"),
    text(
        Kind::ExceedsBlockGas,
        -32000,
        "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit",
    ),
    text(Kind::Funds, -32003, "Insufficient funds for gas * price + value"),
];
