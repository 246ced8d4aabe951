//! Where the profiles of anvil and hardhat differ from the real nodes, as seen in anvil 1.7.1 and
//! hardhat 2.29.0, and why that is left so. `real_node` fails on any other difference, and on one of
//! these that is no more.

use super::ClientProfile;

pub(super) struct Difference {
    pub(super) profile: ClientProfile,
    /// What is asked, as the conversation names it.
    pub(super) step: &'static str,
    pub(super) real: &'static str,
    pub(super) stand_in: &'static str,
    #[allow(dead_code, reason = "for readers")]
    pub(super) why: &'static str,
}

const fn difference(
    profile: ClientProfile,
    step: &'static str,
    real: &'static str,
    stand_in: &'static str,
    why: &'static str,
) -> Difference {
    Difference { profile, step, real, stand_in, why }
}

const NO_FUNDS: &str = "-32000 insufficient funds for transfer";
const UNKNOWN: &str = "-32601 the method eth_nonsense does not exist/is not available";
const BAD_ADDRESS: &str = "-32602 \"0x12\" is not an address";

const DOES_NOT_LOOK: &str = "it does not look at the balance; geth and the stand-in do";
const NOT_MONEY: &str = "a text that no payment depends on; the stand-in has geth's for all";

pub(super) const DIFFERENCES: &[Difference] = &[
    difference(
        ClientProfile::Anvil,
        "the gas of what cannot be paid",
        "\"0x5208\"",
        NO_FUNDS,
        DOES_NOT_LOOK,
    ),
    difference(
        ClientProfile::Anvil,
        "an unknown method",
        "-32601 Method not found",
        UNKNOWN,
        NOT_MONEY,
    ),
    difference(
        ClientProfile::Anvil,
        "a malformed address",
        "-32602 invalid string length",
        BAD_ADDRESS,
        NOT_MONEY,
    ),
    difference(
        ClientProfile::Hardhat,
        "the gas of a transfer",
        "\"0x5209\"",
        "\"0x5208\"",
        "it estimates one more than a transfer uses",
    ),
    difference(
        ClientProfile::Hardhat,
        "the gas of what cannot be paid",
        "\"0x5209\"",
        NO_FUNDS,
        DOES_NOT_LOOK,
    ),
    difference(
        ClientProfile::Hardhat,
        "an unknown method",
        "-32004 Method eth_nonsense is not supported",
        UNKNOWN,
        NOT_MONEY,
    ),
    difference(
        ClientProfile::Hardhat,
        "a malformed address",
        "-32602 invalid value \"0x12\" supplied to : ADDRESS at line 1 column 44",
        BAD_ADDRESS,
        NOT_MONEY,
    ),
];
