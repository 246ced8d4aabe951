//! Why a node does not take a transaction, before any client says it in its own words.

use std::fmt::Display;

/// What is wrong, whatever the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `{reason}`
    Undecodable,
    TypeNotSupported,
    NotReplayProtected,
    /// `{bytes}`, `{limit}`
    Oversized,
    /// `{have}`, `{want}`
    WrongChain,
    InvalidSender,
    AlreadyKnown,
    /// `{next}`, `{given}`
    NonceTooLow,
    /// Only where the client keeps nothing for later. `{next}`, `{given}`
    NonceTooHigh,
    /// Further above the account's nonce than the client keeps. `{next}`, `{given}`
    NonceTooFar,
    NonceMax,
    /// `{nonce}`, and the `{field}` that is short with the `{least}` that would do.
    ReplacementUnderpriced,
    /// `{tip}`, `{fee}`
    TipAboveFee,
    /// The tip is below what the node asks. `{tip}`, `{needed}`
    Underpriced,
    /// Only where the client keeps nothing that the next block cannot take. `{fee}`, `{base_fee}`
    BelowBaseFee,
    /// `{gas}`, `{needed}`
    IntrinsicGas,
    /// EIP-7623. `{gas}`, `{needed}`
    FloorGas,
    /// `{gas}`, `{limit}`
    ExceedsBlockGas,
    /// `{balance}`, `{cost}`, `{overshot}`
    Funds,
    /// The sum with what is queued is too much. `{balance}`, `{queued}`, `{cost}`, `{overshot}`
    FundsQueued,
    /// `{fee_ether}`, `{cap_ether}`
    FeeAboveCap,
    PoolFull,
    /// `{limit}`
    AccountLimit,
}

/// A refusal, with what its text may quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    values: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, values: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.values.push((name, value.to_string()));
        self
    }

    /// A client's words, with what they quote.
    pub(super) fn fill(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    }
}
