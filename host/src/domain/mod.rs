//! What Tidegate is about: withdrawals, outbox events, and the rules that move them.
//!
//! Pure: no I/O, no clock, no async. Time and randomness are arguments. Nothing here knows how a
//! value is stored or shown; those shapes live beside their boundary and convert.

mod amount;
mod breaker;
mod canary;
mod event;
mod flow;
mod id;
mod name;
mod outcome;
mod payment;
mod policy;
mod quantity;
mod rate;
mod retry;
mod rollout;
mod shadow;
mod withdrawal;

pub use amount::{Amount, AmountError};
pub use bigdecimal::num_bigint::BigUint;
pub use breaker::{BreakerPolicy, BreakerState, BreakerStep, Permit, TargetAnswer};
pub use canary::{
    CanaryTallies, CanaryVerdict, Share, ShareError, Tally, is_untroubled, judge_canary,
};
pub use event::{EventState, EventStatus, Lease, NewEvent, OutboxEvent};
pub use flow::{Flow, FlowError, withdrawal_payload};
pub use id::{EventId, HostId, LeaseToken, WithdrawalId};
pub use name::{Aggregate, EventType, NameError, Network, NetworkPattern, WITHDRAWAL, event_types};
pub use outcome::{
    Consequence, Counters, Decision, FailureCode, FailureReason, Outcome, Receipt, Standing,
    consequence_of_failure, decide, decide_on_canary,
};
pub use payment::{
    Closing, NewSignedTransaction, Payment, PaymentWatch, SignedTransaction, SigningRefusal,
    SigningSituation, TransactionKind,
};
pub use policy::{
    AmountRule, ApprovalRule, AssetScope, DestinationRule, ExternalAnswer, ExternalRule, Freeze,
    FreezeScope, FreezeSubject, Policies, PolicyFacts, PolicyOutcome, PolicyRules, PolicyRuling,
    WindowRule, WindowScope, decide_policy, facts_digest, policy_rule, replacement_ruling,
};
pub use quantity::{QuantityError, parse_duration, parse_size};
pub use rate::{Granted, Rate, RateError, RateKey, RateKeyError};
pub use retry::RetryPolicy;
pub use rollout::{
    CanaryPlan, HostStanding, HostVerdict, ReleaseName, ReleaseState, RolloutDecision,
    RolloutFacts, decide_rollout,
};
pub use shadow::{
    DifferenceKind, ShadowDifference, ShadowExample, ShadowPlan, ShadowTally, SkipReason,
};
pub use withdrawal::{
    IllegalTransition, Step, Transition, Withdrawal, WithdrawalRequest, WithdrawalState,
    WithdrawalStatus,
};

/// A point in time, always UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
