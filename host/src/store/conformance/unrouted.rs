use std::time::Duration;

use super::on_both_stores;
use super::world::{MINUTE, World, lease, older};
use crate::domain::EventStatus;
use crate::store::{Count, LeaseRef};

on_both_stores!(
    what_nobody_takes_waits_as_pending_and_is_counted_apart,
    what_nobody_takes_goes_when_the_routes_are_others,
    what_nobody_takes_comes_back_by_itself_the_seldomer_the_older_it_is,
    a_lost_lease_puts_nothing_aside,
);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn aside(world: &World) -> LeaseRef {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    world.store.put_aside(&[lease(&event)]).await.unwrap();
    lease(&event)
}

fn count(number: u64) -> Count {
    Count { number, at_least: false }
}

async fn what_nobody_takes_waits_as_pending_and_is_counted_apart(world: &World) {
    let event = aside(world).await.event;
    let row = world.row(event).await;
    assert_eq!(row.state.status(), EventStatus::Pending);
    let counters = (row.attempt_count, row.deferral_count, row.interruption_count);
    assert_eq!((counters, row.outcome_unknown), ((0, 0, 0), false));
    let history = world.store.event(event).await.unwrap().unwrap();
    assert_eq!(history.entries, []);
    assert_eq!(world.claim("A", 10).await, []);
    let backlog = world.store.backlog().await.unwrap().remove(0);
    assert_eq!((backlog.unrouted, backlog.pending), (count(1), count(0)));
    assert_eq!((backlog.rate_limited, backlog.retrying), (count(0), count(0)));
    assert!(backlog.oldest_age.is_some(), "it has an age");
    let waits = world.store.rate_waits(&[event]).await.unwrap();
    assert_eq!(waits.len(), 1);
    assert!(waits[0].1.is_nobody());
}

async fn what_nobody_takes_goes_when_the_routes_are_others(world: &World) {
    let before = aside(world).await.event;
    world.insert("B", "1").await;
    let other = world.claim_one("B").await;
    world.store.put_aside(&[lease(&other)]).await.unwrap();
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    let a = "A".parse().unwrap();
    assert_eq!(world.store.let_unrouted_go(&a, 10).await.unwrap(), 1);
    assert!(wakeups.has_changed().unwrap());
    assert_eq!(world.store.let_unrouted_go(&a, 10).await.unwrap(), 0);
    assert_eq!(world.claim_one("A").await.id, before);
    assert_eq!(world.claim("B", 10).await, [], "another type's stays where it is");
}

async fn what_nobody_takes_comes_back_by_itself_the_seldomer_the_older_it_is(world: &World) {
    world.insert("A", "1").await;
    let then = Duration::from_secs(270);
    for (old, wait) in [(Duration::ZERO, MINUTE), (then, 6 * MINUTE), (DAY, 15 * MINUTE)] {
        world.age(old).await;
        let event = world.claim_one("A").await;
        world.store.put_aside(&[lease(&event)]).await.unwrap();
        world.age(wait - MINUTE / 2).await;
        assert_eq!(world.claim("A", 10).await, [], "after {wait:?}");
        world.age(MINUTE).await;
    }
    world.claim_one("A").await;
}

async fn a_lost_lease_puts_nothing_aside(world: &World) {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    world.store.put_aside(&[older(lease(&event))]).await.unwrap();
    assert_eq!(world.row(event.id).await.state.status(), EventStatus::Processing);
    assert_eq!(world.count("rate_waiting").await, 0);
}
