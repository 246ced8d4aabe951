//! How the node can misbehave: in what it answers, and in what happens on its chain.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::record::Record;

/// What goes wrong with answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeFault {
    /// 503, without effect.
    Down,
    /// The connection is cut without effect.
    RefuseConnections,
    /// `eth_sendRawTransaction` does its work; the connection is cut instead of the answer.
    DropAnswerAfterAccept,
    /// The answer comes so much later.
    SlowMs(u64),
}

/// What goes wrong on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainFault {
    /// Blocks are empty from now on.
    PauseMining,
    ResumeMining,
    /// Readers see the chain as it was so many blocks ago; 0 ends it.
    Lag {
        blocks: u64,
    },
    /// The pool loses this transaction, or all.
    Evict {
        hash: Option<B256>,
    },
    /// In wei, from the next block on.
    BaseFee {
        wei: u64,
    },
    /// The last blocks are replaced by empty ones. Their transactions wait again, or are gone.
    Reorganise {
        blocks: u64,
        keep_transactions: bool,
    },
}

impl ChainFault {
    pub(super) fn carry_out(self, chain: &mut Chain) -> Vec<Record> {
        match self {
            Self::PauseMining => chain.mining_paused = true,
            Self::ResumeMining => chain.mining_paused = false,
            Self::Lag { blocks } => chain.lag = blocks,
            Self::Evict { hash } => {
                let hashes = hash.map_or_else(|| chain.pool.hashes(), |hash| vec![hash]);
                return hashes
                    .into_iter()
                    .filter(|hash| chain.pool.remove(hash).is_some())
                    .map(|hash| Record::Evicted { hash: hash.to_string() })
                    .collect();
            }
            Self::BaseFee { wei } => return vec![chain.set_base_fee(wei)],
            Self::Reorganise { blocks, keep_transactions } => {
                return vec![chain.reorganise(blocks, keep_transactions)];
            }
        }
        Vec::new()
    }
}

/// A fault as it comes over HTTP or JSON-RPC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultRequest {
    mode: ModeName,
    /// For how many requests; null or absent means until it is cleared.
    pub(super) count: Option<u32>,
    /// With `slow_ms`.
    ms: Option<u64>,
    /// With `lag` and `reorganise`.
    blocks: Option<u64>,
    /// With `evict`; all where it is absent.
    hash: Option<String>,
    /// With `base_fee`.
    wei: Option<u64>,
    /// With `reorganise`; true where it is absent.
    keep_transactions: Option<bool>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeName {
    Down,
    RefuseConnections,
    DropAnswerAfterAccept,
    SlowMs,
    PauseMining,
    ResumeMining,
    Lag,
    Evict,
    BaseFee,
    Reorganise,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Node(NodeFault),
    Chain(ChainFault),
}

impl FaultRequest {
    pub(super) fn fault(&self) -> Result<Fault, String> {
        let needs = |field: &str| format!("this mode needs {field}");
        Ok(match self.mode {
            ModeName::Down => Fault::Node(NodeFault::Down),
            ModeName::RefuseConnections => Fault::Node(NodeFault::RefuseConnections),
            ModeName::DropAnswerAfterAccept => Fault::Node(NodeFault::DropAnswerAfterAccept),
            ModeName::SlowMs => Fault::Node(NodeFault::SlowMs(self.ms.ok_or_else(|| needs("ms"))?)),
            ModeName::PauseMining => Fault::Chain(ChainFault::PauseMining),
            ModeName::ResumeMining => Fault::Chain(ChainFault::ResumeMining),
            ModeName::Lag => Fault::Chain(ChainFault::Lag {
                blocks: self.blocks.ok_or_else(|| needs("blocks"))?,
            }),
            ModeName::Evict => {
                let hash = self.hash.as_ref().map(|hash| hash.parse()).transpose();
                Fault::Chain(ChainFault::Evict { hash: hash.map_err(|_| needs("a valid hash"))? })
            }
            ModeName::BaseFee => {
                Fault::Chain(ChainFault::BaseFee { wei: self.wei.ok_or_else(|| needs("wei"))? })
            }
            ModeName::Reorganise => Fault::Chain(ChainFault::Reorganise {
                blocks: self.blocks.ok_or_else(|| needs("blocks"))?,
                keep_transactions: self.keep_transactions.unwrap_or(true),
            }),
        })
    }
}
