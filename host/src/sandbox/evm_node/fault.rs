//! How nodes can misbehave: in what they answer, in what they know, and in what happens on the
//! chain.

use alloy_primitives::{Address, B256};
use serde::Deserialize;

use super::erc20::TokenBehaviour;
use super::network::{Fate, Network};
use super::profile::ClientProfile;
use super::record::Record;

/// What goes wrong with a node's answers, for a number of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeFault {
    /// 503, without effect.
    Down,
    /// The connection is cut without effect.
    RefuseConnections,
    /// `eth_sendRawTransaction` does its work; the connection is cut instead of the answer.
    DropAnswerAfterAccept,
    /// `eth_sendRawTransaction` answers the hash, and nothing is kept.
    AcceptAndForget,
    /// The answer comes so much later.
    SlowMs(u64),
    /// 429, without effect; with `Retry-After` if there is a number of seconds.
    RateLimit { retry_after_s: Option<u64> },
    /// An answer that is none, another kind each time; `eth_sendRawTransaction` does its work.
    Garbage,
}

/// What a node says about receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptLie {
    /// There is none.
    None,
    /// What succeeded failed, and the other way round.
    WrongStatus,
    /// It is in a block that is on no chain.
    WrongBlockHash,
    /// What waits is in the newest block.
    Invented,
}

/// What is wrong with a node until it is cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeTrouble {
    /// Readers see the chain as it was so many blocks ago, so the height goes back; 0 ends it.
    Lag {
        blocks: u64,
    },
    /// It follows the chain no further.
    Stall,
    /// What it takes goes no further, and no block is built from it.
    Silent,
    /// Nothing goes between it and other nodes.
    Isolated,
    /// Its pool loses this transaction, or all.
    Evict {
        hash: Option<B256>,
    },
    Receipts(ReceiptLie),
    /// It is on this chain, where nobody knows of ours.
    WrongChain {
        chain_id: u64,
    },
    /// It is another client from now on. Not ended by clearing.
    Client(ClientProfile),
}

/// What goes wrong on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainFault {
    /// Blocks are empty from now on.
    PauseMining,
    ResumeMining,
    /// Every pool loses this transaction, or all.
    Evict {
        hash: Option<B256>,
    },
    /// In wei, from the next block on; for so many blocks, or for good.
    BaseFee {
        wei: u64,
        blocks: Option<u64>,
    },
    /// What `eth_feeHistory` says that was paid above the base fee, in wei.
    Tip {
        wei: u64,
    },
    /// The last blocks are replaced by empty ones.
    Reorganise {
        blocks: u64,
        fate: Fate,
    },
    /// Whether blocks hold the first attempt of a nonce that anyone took, not the last.
    MineFirstAttempts(bool),
    /// As soon as it is its turn, a block holds this transaction, of which some node has heard.
    Include {
        hash: B256,
    },
    /// How far the tags are behind the head; none: there is no such block.
    Finality {
        safe_depth: Option<u64>,
        finalized_depth: Option<u64>,
    },
    /// How a token behaves from now on.
    Token {
        contract: Address,
        behaviour: TokenBehaviour,
    },
}

impl NodeTrouble {
    pub(super) fn carry_out(self, network: &mut Network, index: usize) -> Vec<Record> {
        let height = network.chain.height();
        let Some(node) = network.nodes.get_mut(index) else { return Vec::new() };
        let troubles = &mut node.troubles;
        match self {
            Self::Lag { blocks } => troubles.lag = blocks,
            Self::Stall => troubles.stalled_at = Some(height),
            Self::Silent => troubles.silent = true,
            Self::Isolated => troubles.isolated = true,
            Self::Receipts(lie) => troubles.receipts = Some(lie),
            Self::WrongChain { chain_id } => troubles.chain_id = Some(chain_id),
            Self::Client(profile) => node.profile = profile,
            Self::Evict { hash } => return network.evict(Some(index), hash),
        }
        Vec::new()
    }
}

impl ChainFault {
    pub(super) fn carry_out(self, network: &mut Network) -> Vec<Record> {
        let chain = &mut network.chain;
        match self {
            Self::PauseMining => network.mining_paused = true,
            Self::ResumeMining => network.mining_paused = false,
            Self::Evict { hash } => return network.evict(None, hash),
            Self::BaseFee { wei, blocks } => {
                let from = chain.height() + 1;
                let before = chain.base_fee(from);
                let mut records = vec![chain.set_base_fee(from, wei)];
                if let Some(blocks) = blocks {
                    records.push(chain.set_base_fee(from.saturating_add(blocks), before));
                }
                return records;
            }
            Self::Tip { wei } => chain.tip_wei = wei,
            Self::Reorganise { blocks, fate } => return vec![network.reorganise(blocks, fate)],
            Self::MineFirstAttempts(wanted) => network.mines_first_attempts = wanted,
            Self::Include { hash } => network.included_next.push(hash),
            Self::Finality { safe_depth, finalized_depth } => {
                chain.finality = super::chain::Finality { safe_depth, finalized_depth };
            }
            Self::Token { contract, behaviour } => {
                return vec![chain.set_token(contract, behaviour)];
            }
        }
        Vec::new()
    }
}

/// One node is well again.
pub(super) fn heal_node(network: &mut Network, index: usize) -> Vec<Record> {
    if let Some(node) = network.nodes.get_mut(index) {
        node.troubles = super::node::Troubles::default();
    }
    network.share_pools()
}

/// All nodes are well again, and blocks are built as they should be. Fees, tokens and the distance
/// of the tags stay.
pub(super) fn heal(network: &mut Network) -> Vec<Record> {
    for node in &mut network.nodes {
        node.troubles = super::node::Troubles::default();
    }
    network.mining_paused = false;
    network.mines_first_attempts = false;
    network.share_pools()
}
