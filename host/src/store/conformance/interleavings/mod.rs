//! Every order in which a few hosts can claim, settle, lose, take over, promote, give up and replay
//! a few events. That is proof for these few, where other tests sample.

mod explore;
mod outbox;

use std::time::Instant;

use self::explore::{Explored, NO_END, explore};
use self::outbox::{ASKED, ATTEMPTS, DONE, Ended, Fault, LOST, ORDER, Outbox};

const ALL: &[Ended] = &[
    Ended::Done,
    Ended::Retry,
    Ended::Unknown,
    Ended::Defer,
    Ended::Reject,
    Ended::Interrupted,
    Ended::NotBegun,
];

/// One event, and all that an attempt can come to.
fn one_event(hosts: usize, leases: usize, fault: Fault) -> Outbox {
    let (events, interruptions_max) = (1, 2);
    Outbox { events, hosts, leases, ordered: false, interruptions_max, outcomes: ALL, fault }
}

/// Two events of one aggregate on an ordered route.
fn in_order(fault: Fault) -> Outbox {
    let outcomes = &[Ended::Done, Ended::Retry];
    let (events, hosts, leases, interruptions_max) = (2, 2, 1, 1);
    Outbox { events, hosts, leases, ordered: true, interruptions_max, outcomes, fault }
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let systems = [
        ("one event, two hosts", one_event(2, 1, Fault::None)),
        ("one event, three hosts", one_event(3, 1, Fault::None)),
        // A host that claims again what it lost, before it notices.
        ("one event, two hosts, two leases each", one_event(2, 2, Fault::None)),
        ("two events in order, two hosts", in_order(Fault::None)),
    ];
    for (name, system) in systems {
        let begun = Instant::now();
        match explore(&system) {
            Ok(Explored { states, steps, depth }) => {
                let took = begun.elapsed();
                println!("{name}: {states} states, {steps} steps, depth {depth}, {took:?}");
            }
            Err(found) => panic!("{name}: {found:#?}"),
        }
    }
}

#[test]
fn what_is_switched_off_is_found() {
    let faults = [
        (Fault::SettleIgnoresTheToken, LOST),
        (Fault::SettleIgnoresTheStatus, LOST),
        (Fault::ReleaseIgnoresTheToken, LOST),
        (Fault::ExtendIgnoresTheToken, LOST),
        (Fault::ClaimKeepsTheToken, LOST),
        (Fault::TakeOverCountsAnAttempt, ATTEMPTS),
        (Fault::TakeOverForgetsThatItMayHaveHappened, ASKED),
        (Fault::NobodyTakesOver, NO_END),
        (Fault::ReplayTakesDone, DONE),
        (Fault::RetryingHoldsNobody, ORDER),
    ];
    for (fault, property) in faults {
        let system = match fault {
            Fault::RetryingHoldsNobody => in_order(fault),
            _ => one_event(2, 1, fault),
        };
        let found = explore(&system).expect_err("the fault is found");
        println!("{fault:?}: {}", found.way.join(", "));
        assert_eq!(found.property, property, "{fault:?}: {:?}", found.way);
    }
}
