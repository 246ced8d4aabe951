//! A withdrawal and the steps it may take.

use std::fmt;
use std::str::FromStr;

use super::Timestamp;
use super::amount::Amount;
use super::id::WithdrawalId;
use super::name::Network;

/// What the caller of the API asked for. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawalRequest {
    pub user_id: String,
    pub asset: String,
    pub network: Network,
    pub amount: Amount,
    pub destination_address: String,
}

/// The business record, and the source of truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    pub id: WithdrawalId,
    pub request: WithdrawalRequest,
    pub state: WithdrawalState,
    pub requested_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Where a withdrawal stands, with the facts that make it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithdrawalState {
    Requested,
    /// A signed transaction was handed to the network. `tx_hash` is the latest that was signed.
    Broadcasted {
        tx_hash: String,
        broadcasted_at: Timestamp,
    },
    /// The payment is final on the chain. `tx_hash` is the one that was mined.
    Confirmed {
        tx_hash: String,
        broadcasted_at: Timestamp,
        confirmed_at: Timestamp,
    },
    /// It will never be paid, so the money may be returned. Never said before it is true.
    Failed {
        reason: String,
        /// Set if the chain proved the failure, by the final revert of this transaction.
        broadcast: Option<(String, Timestamp)>,
    },
}

impl WithdrawalState {
    #[must_use]
    pub fn status(&self) -> WithdrawalStatus {
        match self {
            Self::Requested => WithdrawalStatus::Requested,
            Self::Broadcasted { .. } => WithdrawalStatus::Broadcasted,
            Self::Confirmed { .. } => WithdrawalStatus::Confirmed,
            Self::Failed { .. } => WithdrawalStatus::Failed,
        }
    }

    /// Whether it is CONFIRMED or FAILED. A reorganisation may still take the first back.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match self {
            Self::Requested | Self::Broadcasted { .. } => false,
            Self::Confirmed { .. } | Self::Failed { .. } => true,
        }
    }

    #[must_use]
    pub fn tx_hash(&self) -> Option<&str> {
        match self {
            Self::Requested => None,
            Self::Broadcasted { tx_hash, .. } | Self::Confirmed { tx_hash, .. } => Some(tx_hash),
            Self::Failed { broadcast, .. } => broadcast.as_ref().map(|(hash, _)| hash.as_str()),
        }
    }

    #[must_use]
    pub fn broadcasted_at(&self) -> Option<Timestamp> {
        match self {
            Self::Requested => None,
            Self::Broadcasted { broadcasted_at, .. } | Self::Confirmed { broadcasted_at, .. } => {
                Some(*broadcasted_at)
            }
            Self::Failed { broadcast, .. } => broadcast.as_ref().map(|(_, at)| *at),
        }
    }

    #[must_use]
    pub fn confirmed_at(&self) -> Option<Timestamp> {
        match self {
            Self::Confirmed { confirmed_at, .. } => Some(*confirmed_at),
            Self::Requested | Self::Broadcasted { .. } | Self::Failed { .. } => None,
        }
    }

    #[must_use]
    pub fn failure_reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason, .. } => Some(reason),
            Self::Requested | Self::Broadcasted { .. } | Self::Confirmed { .. } => None,
        }
    }
}

/// The status as it is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WithdrawalStatus {
    Requested,
    Broadcasted,
    Confirmed,
    Failed,
}

impl WithdrawalStatus {
    pub const ALL: [Self; 4] = [Self::Requested, Self::Broadcasted, Self::Confirmed, Self::Failed];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Broadcasted => "BROADCASTED",
            Self::Confirmed => "CONFIRMED",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for WithdrawalStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WithdrawalStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// A step that something asks a withdrawal to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// The transaction of this hash was handed to the network.
    Broadcast { tx_hash: String },
    /// The transaction of this hash is final and paid the amount.
    Confirm { tx_hash: String },
    /// It can never be paid, and nothing was signed for it.
    Fail { reason: String },
    /// The transaction of this hash is final and did not pay.
    Revert { tx_hash: String, reason: String },
    /// A reorganisation took the payment back: it is under way again.
    Reopen,
}

/// What a transition does to a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a step is taken apart where it is made and never kept, so a box would only cost"
)]
pub enum Step {
    Changed(Withdrawal),
    /// It is there already, or further on: a repeat, which writes nothing.
    Unchanged,
}

/// The withdrawal's rules forbid the step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a withdrawal in {from} cannot {step}")]
pub struct IllegalTransition {
    pub from: WithdrawalStatus,
    pub step: &'static str,
}

impl Withdrawal {
    #[must_use]
    pub fn requested(id: WithdrawalId, request: WithdrawalRequest, now: Timestamp) -> Self {
        Self {
            id,
            request,
            state: WithdrawalState::Requested,
            requested_at: now,
            created_at: now,
            updated_at: now,
        }
    }

    /// Takes one step.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the caller asked for something that contradicts what is known.
    pub fn step(&self, transition: &Transition, now: Timestamp) -> Result<Step, IllegalTransition> {
        use WithdrawalState::{Broadcasted, Confirmed, Failed, Requested};
        let illegal = |step| Err(IllegalTransition { from: self.state.status(), step });
        let next = match (&self.state, transition) {
            (Requested, Transition::Broadcast { tx_hash }) => {
                Broadcasted { tx_hash: tx_hash.clone(), broadcasted_at: now }
            }
            (Requested, Transition::Fail { reason }) => {
                Failed { reason: reason.clone(), broadcast: None }
            }
            (Broadcasted { broadcasted_at, .. }, Transition::Confirm { tx_hash }) => Confirmed {
                tx_hash: tx_hash.clone(),
                broadcasted_at: *broadcasted_at,
                confirmed_at: now,
            },
            (Broadcasted { broadcasted_at, .. }, Transition::Revert { tx_hash, reason }) => {
                Failed {
                    reason: reason.clone(),
                    broadcast: Some((tx_hash.clone(), *broadcasted_at)),
                }
            }
            (Confirmed { tx_hash, broadcasted_at, .. }, Transition::Reopen) => {
                Broadcasted { tx_hash: tx_hash.clone(), broadcasted_at: *broadcasted_at }
            }
            (Broadcasted { tx_hash: old, broadcasted_at }, Transition::Broadcast { tx_hash })
                if old != tx_hash =>
            {
                // A replacement took the place of the transaction that was sent before.
                Broadcasted { tx_hash: tx_hash.clone(), broadcasted_at: *broadcasted_at }
            }
            (Broadcasted { .. } | Confirmed { .. }, Transition::Broadcast { .. })
            | (Confirmed { .. }, Transition::Confirm { .. })
            | (Failed { .. }, Transition::Fail { .. } | Transition::Revert { .. })
            | (Broadcasted { .. } | Requested, Transition::Reopen) => return Ok(Step::Unchanged),
            (Failed { .. }, Transition::Broadcast { .. }) => return illegal("be broadcast"),
            (Requested | Failed { .. }, Transition::Confirm { .. }) => {
                return illegal("be confirmed");
            }
            (Broadcasted { .. } | Confirmed { .. }, Transition::Fail { .. }) => {
                return illegal("fail without evidence from the chain");
            }
            (Requested | Confirmed { .. }, Transition::Revert { .. }) => {
                return illegal("be reverted");
            }
            (Failed { .. }, Transition::Reopen) => return illegal("be reopened"),
        };
        Ok(Step::Changed(Self { state: next, updated_at: now, ..self.clone() }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn a_withdrawal() -> Withdrawal {
        let request = WithdrawalRequest {
            user_id: "user-1".into(),
            asset: "ETH".into(),
            network: "eip155:1".parse().unwrap(),
            amount: "1.5".parse().unwrap(),
            destination_address: "0x52908400098527886E0F7030069857D2E4169EE7".into(),
        };
        Withdrawal::requested(WithdrawalId::generate(), request, Timestamp::UNIX_EPOCH)
    }

    fn any_transition() -> impl Strategy<Value = Transition> {
        let hash = prop_oneof![Just("0xa".to_owned()), Just("0xb".to_owned())];
        prop_oneof![
            hash.clone().prop_map(|tx_hash| Transition::Broadcast { tx_hash }),
            hash.clone().prop_map(|tx_hash| Transition::Confirm { tx_hash }),
            Just(Transition::Fail { reason: "no".into() }),
            hash.prop_map(|tx_hash| Transition::Revert { tx_hash, reason: "reverted".into() }),
        ]
    }

    #[test]
    fn every_pair_of_status_and_transition_has_one_answer() {
        let hash = || "0xa".to_owned();
        let requested = a_withdrawal();
        let now = Timestamp::UNIX_EPOCH;
        let go = |from: &Withdrawal, t: &Transition| match from.step(t, now) {
            Ok(Step::Changed(next)) => next,
            other => panic!("{other:?}"),
        };
        let broadcasted = go(&requested, &Transition::Broadcast { tx_hash: hash() });
        let confirmed = go(&broadcasted, &Transition::Confirm { tx_hash: hash() });
        let failed = go(&requested, &Transition::Fail { reason: "no".into() });

        let transitions = [
            Transition::Broadcast { tx_hash: hash() },
            Transition::Confirm { tx_hash: hash() },
            Transition::Fail { reason: "no".into() },
            Transition::Revert { tx_hash: hash(), reason: "reverted".into() },
            Transition::Reopen,
        ];
        let table = [requested, broadcasted, confirmed, failed].map(|from| {
            transitions.each_ref().map(|t| match from.step(t, now) {
                Ok(Step::Changed(next)) => next.state.status().as_str(),
                Ok(Step::Unchanged) => "same",
                Err(_) => "illegal",
            })
        });
        assert_eq!(
            table,
            [
                ["BROADCASTED", "illegal", "FAILED", "illegal", "same"],
                ["same", "CONFIRMED", "illegal", "FAILED", "same"],
                ["same", "same", "illegal", "illegal", "BROADCASTED"],
                ["illegal", "illegal", "same", "same", "illegal"],
            ]
        );
    }

    proptest! {
        /// Without a reorganisation nothing leaves CONFIRMED or FAILED, and the request never changes.
        #[test]
        fn final_is_final(transitions in prop::collection::vec(any_transition(), 0..12)) {
            let mut withdrawal = a_withdrawal();
            let request = withdrawal.request.clone();
            let mut ended: Option<WithdrawalState> = None;
            for transition in &transitions {
                if let Ok(Step::Changed(next)) = withdrawal.step(transition, Timestamp::UNIX_EPOCH) {
                    withdrawal = next;
                }
                if let Some(ended) = &ended {
                    prop_assert_eq!(&withdrawal.state, ended);
                }
                if matches!(withdrawal.state.status(), WithdrawalStatus::Confirmed | WithdrawalStatus::Failed) {
                    ended = Some(withdrawal.state.clone());
                }
            }
            prop_assert_eq!(withdrawal.request, request);
        }
    }
}
