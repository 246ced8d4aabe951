//! A fault as it comes over HTTP or JSON-RPC: `{"mode": "lag", "blocks": 3}`. Faults of answers
//! take a `count` of requests too; without one they last until they are cleared.

use std::str::FromStr;

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::erc20::TokenBehaviour;
use super::fault::{ChainFault, NodeFault, NodeTrouble, ReceiptLie};
use super::network::Fate;
use super::profile::ClientProfile;

#[derive(Debug, Clone, Copy)]
pub(super) struct FaultRequest {
    pub(super) fault: Fault,
    pub(super) count: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Node(NodeFault),
    Trouble(NodeTrouble),
    Chain(ChainFault),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
enum Mode {
    Down {},
    RefuseConnections {},
    DropAnswerAfterAccept {},
    AcceptAndForget {},
    SlowMs {
        ms: u64,
    },
    RateLimit {
        retry_after_s: Option<u64>,
    },
    Garbage {},
    Lag {
        blocks: u64,
    },
    Stall {},
    Silent {},
    Isolated {},
    Receipts {
        lie: ReceiptLie,
    },
    WrongChain {
        chain_id: u64,
    },
    Client {
        client: ClientProfile,
    },
    /// All, where there is no hash.
    Evict {
        hash: Option<Text<B256>>,
    },
    PauseMining {},
    ResumeMining {},
    /// For good, where there is no number of blocks.
    BaseFee {
        wei: u64,
        blocks: Option<u64>,
    },
    Tip {
        wei: u64,
    },
    Reorganise {
        blocks: u64,
        keep_transactions: Option<bool>,
        swap: Option<bool>,
    },
    MineFirstAttempts {},
    Include {
        hash: Text<B256>,
    },
    Finality {
        safe_depth: Option<u64>,
        finalized_depth: Option<u64>,
    },
    Token {
        contract: Text<Address>,
        behaviour: TokenBehaviour,
    },
}

/// What stands in a string.
#[derive(Debug, Clone, Copy)]
struct Text<T>(T);

impl<'de, T: FromStr> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = text.parse().map_err(|_| de::Error::custom(format!("{text:?} is malformed")));
        parsed.map(Self)
    }
}

impl FaultRequest {
    pub(super) fn parse(mut request: Value) -> Result<Self, String> {
        let count = request.as_object_mut().and_then(|fields| fields.remove("count"));
        let count = serde_json::from_value(count.unwrap_or_default());
        let mode: Mode = serde_json::from_value(request).map_err(|error| error.to_string())?;
        Ok(Self { fault: mode.into(), count: count.map_err(|error| error.to_string())? })
    }
}

impl From<Mode> for Fault {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Down {} => Self::Node(NodeFault::Down),
            Mode::RefuseConnections {} => Self::Node(NodeFault::RefuseConnections),
            Mode::DropAnswerAfterAccept {} => Self::Node(NodeFault::DropAnswerAfterAccept),
            Mode::AcceptAndForget {} => Self::Node(NodeFault::AcceptAndForget),
            Mode::SlowMs { ms } => Self::Node(NodeFault::SlowMs(ms)),
            Mode::RateLimit { retry_after_s } => Self::Node(NodeFault::RateLimit { retry_after_s }),
            Mode::Garbage {} => Self::Node(NodeFault::Garbage),
            Mode::Lag { blocks } => Self::Trouble(NodeTrouble::Lag { blocks }),
            Mode::Stall {} => Self::Trouble(NodeTrouble::Stall),
            Mode::Silent {} => Self::Trouble(NodeTrouble::Silent),
            Mode::Isolated {} => Self::Trouble(NodeTrouble::Isolated),
            Mode::Receipts { lie } => Self::Trouble(NodeTrouble::Receipts(lie)),
            Mode::WrongChain { chain_id } => Self::Trouble(NodeTrouble::WrongChain { chain_id }),
            Mode::Client { client } => Self::Trouble(NodeTrouble::Client(client)),
            Mode::Evict { hash } => {
                Self::Trouble(NodeTrouble::Evict { hash: hash.map(|hash| hash.0) })
            }
            Mode::PauseMining {} => Self::Chain(ChainFault::PauseMining),
            Mode::ResumeMining {} => Self::Chain(ChainFault::ResumeMining),
            Mode::BaseFee { wei, blocks } => Self::Chain(ChainFault::BaseFee { wei, blocks }),
            Mode::Tip { wei } => Self::Chain(ChainFault::Tip { wei }),
            Mode::Reorganise { blocks, keep_transactions, swap } => {
                let fate = match (swap, keep_transactions) {
                    (Some(true), _) => Fate::Swapped,
                    (_, Some(false)) => Fate::Dropped,
                    (_, Some(true) | None) => Fate::Wait,
                };
                Self::Chain(ChainFault::Reorganise { blocks, fate })
            }
            Mode::MineFirstAttempts {} => Self::Chain(ChainFault::MineFirstAttempts(true)),
            Mode::Include { hash } => Self::Chain(ChainFault::Include { hash: hash.0 }),
            Mode::Finality { safe_depth, finalized_depth } => {
                Self::Chain(ChainFault::Finality { safe_depth, finalized_depth })
            }
            Mode::Token { contract, behaviour } => {
                Self::Chain(ChainFault::Token { contract: contract.0, behaviour })
            }
        }
    }
}
