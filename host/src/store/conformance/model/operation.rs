//! What is done to a store, drawn at random. An operation names events and leases by how far back
//! they came into the world, so that it means something in any sequence, also in a shrunk one.

use proptest::prelude::*;

use crate::domain::{FailureCode, WithdrawalStatus};

/// One of the events, leases or withdrawals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pick {
    /// Whether only those count that the operation is meant for, if there are any.
    pub(super) fitting: bool,
    /// How far back: 0 is the newest.
    pub(super) back: u8,
}

/// A time to wait: nothing, or so many hours less a half.
pub(super) type Wait = u8;

#[derive(Debug, Clone)]
pub(super) enum Operation {
    AcceptWithdrawal {
        key: u8,
        fingerprint: u8,
    },
    AcceptEvents {
        key: u8,
        fingerprint: u8,
        events: Vec<NewOne>,
    },
    /// More events of the first type than a large claim takes.
    Flood,
    FindAnswer {
        key: u8,
        fingerprint: u8,
    },
    Claim {
        host: u8,
        event_type: u8,
        limit: u32,
        lease: Wait,
        order: Order,
    },
    Extend {
        leases: Vec<Pick>,
        lease: Wait,
    },
    Settle(Vec<(Pick, Verdict)>),
    SettleAll(Verdict),
    Release(Vec<Pick>),
    SaveCheckpoint(Pick),
    Age(u8),
    Promote {
        limit: u32,
    },
    TakeOver {
        limit: u32,
    },
    FailHopeless {
        interruptions_max: u32,
        limit: u32,
    },
    Replay(Pick),
    Skip(Pick),
    Cancel(Pick),
    HeldBy(Pick, Order),
    Pause(u8),
    Resume(Pick),
    DeleteFinished {
        age: Wait,
        limit: u32,
    },
    DeleteAnswers {
        age: Wait,
        limit: u32,
    },
    Sign {
        lease: Pick,
        replace: bool,
    },
    Conclude {
        withdrawal: Pick,
        to: Vec<WithdrawalStatus>,
    },
    RequestBroadcast {
        withdrawal: Pick,
        not_within: Wait,
    },
}

#[derive(Debug, Clone)]
pub(super) struct NewOne {
    pub(super) event_type: u8,
    pub(super) about: About,
    /// One of a few keys that repeat; a key of its own if none.
    pub(super) key: Option<u8>,
    pub(super) available: Available,
    pub(super) valid_for: Option<Wait>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    Order(u8),
    Withdrawal(Pick),
    /// A withdrawal that there is not.
    Nobody,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Available {
    Now,
    /// As if it were written a while ago.
    Earlier,
    In(Wait),
}

/// Whether a route is ordered, and among which types.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    None,
    OfItsType,
    OfAllTypes,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Done { detail: bool, standing: Option<Stands>, follow_ups: u8, misfit: bool },
    Retry { after: Wait, unknown: bool },
    Defer { after: Wait },
    Postpone { after: Wait, unknown: bool },
    Fail(FailureCode),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Stands {
    Broadcasted,
    Failed,
}

pub(super) const TYPES: [&str; 4] =
    ["A", "B", super::super::world::SYNC, super::super::world::BROADCAST];

fn pick() -> impl Strategy<Value = Pick> {
    let fitting = prop_oneof![3 => Just(true), 1 => Just(false)];
    let back = prop_oneof![3 => 0_u8..3, 1 => 0_u8..40];
    (fitting, back).prop_map(|(fitting, back)| Pick { fitting, back })
}

fn key() -> impl Strategy<Value = u8> {
    prop_oneof![1 => 0_u8..3, 3 => any::<u8>()]
}

fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![2 => Just(0_u8), 3 => 1_u8..4]
}

fn a_type() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0_u8), 1 => Just(1_u8), 1 => Just(2_u8), 3 => Just(3_u8)]
}

fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![Just(100_u32), 0_u32..4]
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::None), Just(Order::OfItsType), Just(Order::OfAllTypes)]
}

fn new_one() -> impl Strategy<Value = NewOne> {
    let about = prop_oneof![
        6 => (0_u8..2).prop_map(About::Order),
        3 => pick().prop_map(About::Withdrawal),
        1 => Just(About::Nobody),
    ];
    let key = prop_oneof![4 => Just(None), 1 => (0_u8..3).prop_map(Some)];
    let available = prop_oneof![
        6 => Just(Available::Now),
        1 => Just(Available::Earlier),
        1 => (1_u8..4).prop_map(Available::In),
    ];
    let valid_for = prop_oneof![6 => Just(None), 1 => (0_u8..4).prop_map(Some)];
    (a_type(), about, key, available, valid_for).prop_map(
        |(event_type, about, key, available, valid_for)| NewOne {
            event_type,
            about,
            key,
            available,
            valid_for,
        },
    )
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let standing = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Stands::Broadcasted)),
        1 => Just(Some(Stands::Failed)),
    ];
    let misfit = prop_oneof![9 => Just(false), 1 => Just(true)];
    let code = prop_oneof![
        Just(FailureCode::Rejected),
        Just(FailureCode::AttemptsExhausted),
        Just(FailureCode::DeferralsExhausted),
    ];
    prop_oneof![
        4 => (any::<bool>(), standing, 0_u8..3, misfit).prop_map(
            |(detail, standing, follow_ups, misfit)| Verdict::Done {
                detail, standing, follow_ups, misfit,
            }
        ),
        4 => (wait(), any::<bool>()).prop_map(|(after, unknown)| Verdict::Retry { after, unknown }),
        1 => wait().prop_map(|after| Verdict::Defer { after }),
        1 => (wait(), any::<bool>())
            .prop_map(|(after, unknown)| Verdict::Postpone { after, unknown }),
        3 => code.prop_map(Verdict::Fail),
    ]
}

/// Leases, each once.
fn leases() -> impl Strategy<Value = Vec<Pick>> {
    prop::collection::vec(pick(), 1..4).prop_map(|mut leases| {
        leases.sort_unstable();
        leases.dedup();
        leases
    })
}

fn dispatching() -> impl Strategy<Value = Operation> {
    prop_oneof![
        14 => (0_u8..3, a_type(), limit(), 1_u8..4, order()).prop_map(
            |(host, event_type, limit, lease, order)| Operation::Claim {
                host, event_type, limit, lease, order,
            }
        ),
        10 => prop::collection::vec((pick(), verdict()), 1..4).prop_map(Operation::Settle),
        1 => verdict().prop_map(Operation::SettleAll),
        2 => (leases(), 1_u8..4).prop_map(|(leases, lease)| Operation::Extend { leases, lease }),
        2 => leases().prop_map(Operation::Release),
        1 => pick().prop_map(Operation::SaveCheckpoint),
        4 => (pick(), any::<bool>())
            .prop_map(|(lease, replace)| Operation::Sign { lease, replace }),
        5 => (1_u8..4).prop_map(Operation::Age),
        5 => limit().prop_map(|limit| Operation::Promote { limit }),
        4 => limit().prop_map(|limit| Operation::TakeOver { limit }),
        3 => (1_u32..3, limit()).prop_map(
            |(interruptions_max, limit)| Operation::FailHopeless { interruptions_max, limit }
        ),
    ]
}

fn operating() -> impl Strategy<Value = Operation> {
    let claim = || (key(), 0_u8..2);
    let status = prop::sample::select(WithdrawalStatus::ALL.to_vec());
    prop_oneof![
        4 => claim().prop_map(|(key, fingerprint)| Operation::AcceptWithdrawal { key, fingerprint }),
        8 => (claim(), prop::collection::vec(new_one(), 1..5)).prop_map(
            |((key, fingerprint), events)| Operation::AcceptEvents { key, fingerprint, events }
        ),
        1 => claim().prop_map(|(key, fingerprint)| Operation::FindAnswer { key, fingerprint }),
        3 => pick().prop_map(Operation::Replay),
        2 => pick().prop_map(Operation::Skip),
        2 => pick().prop_map(Operation::Cancel),
        1 => (pick(), order()).prop_map(|(event, order)| Operation::HeldBy(event, order)),
        1 => a_type().prop_map(Operation::Pause),
        2 => pick().prop_map(Operation::Resume),
        2 => (wait(), limit()).prop_map(|(age, limit)| Operation::DeleteFinished { age, limit }),
        3 => (wait(), limit()).prop_map(|(age, limit)| Operation::DeleteAnswers { age, limit }),
        2 => (pick(), prop::collection::vec(status, 1..3))
            .prop_map(|(withdrawal, to)| Operation::Conclude { withdrawal, to }),
        2 => (pick(), wait()).prop_map(
            |(withdrawal, not_within)| Operation::RequestBroadcast { withdrawal, not_within }
        ),
    ]
}

pub(super) fn operations(longest: usize) -> impl Strategy<Value = Vec<Operation>> {
    let one = prop_oneof![600 => dispatching().boxed(), 400 => operating().boxed(), 3 => Just(Operation::Flood).boxed()];
    // Most operations mean little in an empty world.
    let first = prop::collection::vec(new_one(), 0..6);
    (first, prop::collection::vec(one, 1..=longest)).prop_map(|(events, mut operations)| {
        if !events.is_empty() {
            let first = Operation::AcceptEvents { key: 0, fingerprint: 0, events };
            operations.insert(0, first);
        }
        operations
    })
}
