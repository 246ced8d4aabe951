//! From what an attempt came to, to what becomes of the event. One pure function decides.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::event::NewEvent;
use super::name::{Aggregate, EventType, event_types};
use super::retry::RetryPolicy;

/// What one attempt came to, as the host understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done(Receipt),
    /// It did not happen, or doing it again is harmless.
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    /// It may have happened.
    Unknown {
        reason: String,
    },
    /// Not ready yet.
    Defer {
        after: Duration,
    },
    /// It will never work.
    Reject {
        reason: String,
    },
    /// The host could not give the attempt its due (a full pool, a shutdown): not the event's doing.
    Interrupted {
        reason: String,
        after: Duration,
        outcome_unknown: bool,
    },
}

/// What a handler left behind when it was done, checked against its grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// JSON text, shown to operators.
    pub detail: Option<String>,
    pub standing: Option<Standing>,
    pub follow_ups: Vec<NewEvent>,
}

/// What a handler says has become of the withdrawal. The hash is not its to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Broadcasted,
    Failed { reason: String },
}

/// What the event went through before this attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub attempts: u32,
    pub deferrals: u32,
}

/// What becomes of the event. The store carries it out, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// PROCESSING → DONE.
    Done(Receipt),
    /// PROCESSING → RETRYING, due again after `after`; one attempt is counted.
    Retry { after: Duration, reason: String, outcome_unknown: bool },
    /// PROCESSING → RETRYING; one deferral is counted, and no attempt.
    Defer { after: Duration },
    /// PROCESSING → RETRYING; nothing is counted.
    Postpone { after: Duration, reason: String, outcome_unknown: bool },
    /// PROCESSING → RETRYING, due at once and on the old release: it failed on a canary. Nothing is
    /// counted.
    BackToLive { reason: String, outcome_unknown: bool },
    /// PROCESSING → FAILED; one attempt is counted.
    Fail(FailureReason),
}

/// Why an event is FAILED: a stable code for programs, a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureReason {
    pub code: FailureCode,
    pub text: String,
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.text)
    }
}

/// The ways in which an event ends as FAILED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCode {
    /// The handler said that it will never work.
    Rejected,
    /// The retry limit was reached.
    AttemptsExhausted,
    /// The handler said "not ready yet" too often.
    DeferralsExhausted,
    /// Hosts were lost again and again while they worked on it.
    Poison,
    /// `valid_until` passed before it began.
    Expired,
    /// The row does not keep the contract of the outbox.
    Malformed,
    /// An operator cancelled it before it began.
    Cancelled,
}

impl FailureCode {
    pub const ALL: [Self; 7] = [
        Self::Rejected,
        Self::AttemptsExhausted,
        Self::DeferralsExhausted,
        Self::Poison,
        Self::Expired,
        Self::Malformed,
        Self::Cancelled,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::AttemptsExhausted => "attempts exhausted",
            Self::DeferralsExhausted => "deferrals exhausted",
            Self::Poison => "poison",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for FailureCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|code| code.as_str() == text).ok_or(())
    }
}

/// Decides what becomes of an event after an attempt. `roll` is a random number, all of whose
/// values are equally likely: it spreads the retries.
#[must_use]
pub fn decide(outcome: Outcome, counters: Counters, policy: &RetryPolicy, roll: u32) -> Decision {
    let failed = counters.attempts.saturating_add(1);
    let retry = |reason: String, after: Option<Duration>, outcome_unknown: bool| {
        if failed >= policy.attempts_max {
            return Decision::Fail(FailureReason {
                code: FailureCode::AttemptsExhausted,
                text: format!("attempt {failed} of {}: {reason}", policy.attempts_max),
            });
        }
        let after = after.unwrap_or_else(|| policy.backoff(failed, roll));
        Decision::Retry { after: after.min(RetryPolicy::WAIT_MAX), reason, outcome_unknown }
    };
    match outcome {
        Outcome::Done(receipt) => Decision::Done(receipt),
        Outcome::Retry { reason, after } => retry(reason, after, false),
        Outcome::Unknown { reason } => retry(reason, None, true),
        Outcome::Defer { after } => {
            if counters.deferrals.saturating_add(1) > policy.deferrals_max {
                return Decision::Fail(FailureReason {
                    code: FailureCode::DeferralsExhausted,
                    text: format!("deferred {} times", counters.deferrals),
                });
            }
            Decision::Defer { after: after.min(RetryPolicy::WAIT_MAX) }
        }
        Outcome::Reject { reason } => {
            Decision::Fail(FailureReason { code: FailureCode::Rejected, text: reason })
        }
        Outcome::Interrupted { reason, after, outcome_unknown } => {
            Decision::Postpone { after: after.min(RetryPolicy::WAIT_MAX), reason, outcome_unknown }
        }
    }
}

/// The same for an attempt on a canary: what fails there is the old release's to do, and costs the
/// event nothing.
#[must_use]
pub fn decide_on_canary(outcome: Outcome, counters: Counters, policy: &RetryPolicy) -> Decision {
    let back = |reason, outcome_unknown| Decision::BackToLive { reason, outcome_unknown };
    match outcome {
        Outcome::Retry { reason, after: _ } | Outcome::Reject { reason } => back(reason, false),
        Outcome::Unknown { reason } => back(reason, true),
        Outcome::Defer { .. } if counters.deferrals >= policy.deferrals_max => {
            back(format!("deferred {} times", counters.deferrals), false)
        }
        Outcome::Done(_) | Outcome::Defer { .. } | Outcome::Interrupted { .. } => {
            decide(outcome, counters, policy, 0)
        }
    }
}

/// What follows for its withdrawal when an event is FAILED. The one place that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// It stays as it is: the failed event is visible and can be replayed.
    None,
    /// It is FAILED too, unless something was signed for it: then only the chain can say.
    FailWithdrawalUnlessSigned,
}

/// See [`Consequence`].
#[must_use]
pub fn consequence_of_failure(aggregate: &Aggregate, event_type: &EventType) -> Consequence {
    let broadcast = event_type.as_str() == event_types::BLOCKCHAIN_BROADCAST_REQUESTED;
    if broadcast && aggregate.as_withdrawal().is_some() {
        Consequence::FailWithdrawalUnlessSigned
    } else {
        Consequence::None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { attempts_max: 3, deferrals_max: 2, ..RetryPolicy::default() }
    }

    fn retry(after: Option<Duration>) -> Outcome {
        Outcome::Retry { reason: "503".into(), after }
    }

    #[test]
    fn the_last_attempt_fails_and_names_the_reason() {
        let counters = |attempts| Counters { attempts, deferrals: 0 };
        assert!(matches!(
            decide(retry(None), counters(1), &policy(), 0),
            Decision::Retry { outcome_unknown: false, .. }
        ));
        assert_eq!(
            decide(retry(None), counters(2), &policy(), 0),
            Decision::Fail(FailureReason {
                code: FailureCode::AttemptsExhausted,
                text: "attempt 3 of 3: 503".into()
            })
        );
    }

    #[test]
    fn a_handlers_wait_wins_over_the_backoff_but_not_over_a_day() {
        for (asked, given) in [(Some(7), 7), (Some(u64::MAX / 1000), 86_400)] {
            let outcome = retry(asked.map(Duration::from_secs));
            let Decision::Retry { after, .. } = decide(outcome, Counters::default(), &policy(), 0)
            else {
                panic!("not a retry")
            };
            assert_eq!(after, Duration::from_secs(given));
        }
    }

    #[test]
    fn an_unknown_outcome_is_remembered() {
        let outcome = Outcome::Unknown { reason: "time-out".into() };
        assert!(matches!(
            decide(outcome, Counters::default(), &policy(), 0),
            Decision::Retry { outcome_unknown: true, .. }
        ));
    }

    #[test]
    fn deferrals_are_bounded_apart_from_attempts() {
        let defer = || Outcome::Defer { after: Duration::from_secs(1) };
        let counters = |deferrals| Counters { attempts: 2, deferrals };
        assert!(matches!(decide(defer(), counters(1), &policy(), 0), Decision::Defer { .. }));
        let Decision::Fail(reason) = decide(defer(), counters(2), &policy(), 0) else {
            panic!("not failed")
        };
        assert_eq!(reason.code, FailureCode::DeferralsExhausted);
    }

    #[test]
    fn only_a_failed_broadcast_can_fail_a_withdrawal() {
        let withdrawal = Aggregate::withdrawal(super::super::WithdrawalId::generate());
        let order = Aggregate::new("ORDER", "1").unwrap();
        let of = |aggregate, text: &str| consequence_of_failure(aggregate, &text.parse().unwrap());
        let broadcast = event_types::BLOCKCHAIN_BROADCAST_REQUESTED;
        assert_eq!(of(&withdrawal, broadcast), Consequence::FailWithdrawalUnlessSigned);
        assert_eq!(of(&order, broadcast), Consequence::None);
        assert_eq!(of(&withdrawal, event_types::PARTNER_SYNC_REQUESTED), Consequence::None);
    }

    #[test]
    fn what_fails_on_a_canary_costs_no_attempt_and_is_never_final() {
        let counters = Counters { attempts: 2, deferrals: 2 };
        let decided = |outcome| decide_on_canary(outcome, counters, &policy());
        for outcome in [
            retry(None),
            Outcome::Reject { reason: "503".into() },
            Outcome::Unknown { reason: "503".into() },
        ] {
            let outcome_unknown = matches!(outcome, Outcome::Unknown { .. });
            let back = Decision::BackToLive { reason: "503".into(), outcome_unknown };
            assert_eq!(decided(outcome), back);
        }
        let deferred = decided(Outcome::Defer { after: Duration::ZERO });
        assert!(matches!(deferred, Decision::BackToLive { .. }), "{deferred:?}");
        assert!(matches!(decided(Outcome::Done(Receipt::default())), Decision::Done(_)));
    }

    proptest! {
        /// Promise 8: what the event did not cause never uses up its attempts.
        #[test]
        fn an_interruption_never_fails_an_event(attempts: u32, deferrals: u32, roll: u32) {
            let outcome = Outcome::Interrupted {
                reason: "shutdown".into(), after: Duration::ZERO, outcome_unknown: true,
            };
            let decision = decide(outcome, Counters { attempts, deferrals }, &policy(), roll);
            let postponed = matches!(decision, Decision::Postpone { .. });
            prop_assert!(postponed);
        }
    }
}
