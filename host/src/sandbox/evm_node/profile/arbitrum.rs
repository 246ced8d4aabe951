//! A sequencer such as Arbitrum's: geth's words, and no pool. A transaction is in the next block
//! or refused: nothing waits for a lower nonce or a lower base fee, and nothing is replaced.

use super::{Funds, Gaps, Profile, Text, geth, text};
use crate::sandbox::evm_node::refusal::Kind;

pub(super) const PROFILE: Profile = Profile {
    version: "nitro/v3.7.0-stand-in/linux-amd64/go1.24",
    replacement: None,
    gaps: Gaps::Refuse,
    funds: Funds::Each,
    pool_max: 1_024,
    tip_min: 0,
    refuses_below_base_fee: true,
    fee_cap_wei: None,
    texts: TEXTS,
    ..geth::PROFILE
};

const TEXTS: &[Text] = &[
    text(Kind::AlreadyKnown, -32000, "nonce too low: address {sender}, tx: {given} state: {next}"),
    text(Kind::NonceTooLow, -32000, "nonce too low: address {sender}, tx: {given} state: {next}"),
    text(Kind::IntrinsicGas, -32000, "intrinsic gas too low"),
    text(
        Kind::Funds,
        -32000,
        "insufficient funds for gas * price + value: address {sender} have {balance} want {cost}",
    ),
    text(Kind::PoolFull, -32000, "sequencer pending tx pool full, please try again"),
];
