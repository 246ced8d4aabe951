use std::time::Duration;

use super::on_both_stores;
use super::world::World;
use crate::domain::BreakerState;
use crate::store::{BreakerKey, ControlChange, ControlNote, StoreOptions, open};

on_both_stores!(
    a_breaker_opens_once_however_many_hosts_say_so,
    a_probe_is_one_hosts_at_a_time,
    a_probe_that_fails_counts_and_one_that_succeeds_closes,
    what_an_operator_holds_no_host_changes,
    breakers_are_kept_and_seen_by_every_host,
    closing_a_breaker_wakes_the_lanes,
);

const MINUTE: Duration = Duration::from_secs(60);

fn key() -> BreakerKey {
    BreakerKey { plugin: "partner-sync".into(), target: "api.partner.example:443".into() }
}

fn note(reason: &str) -> ControlNote<'_> {
    ControlNote { reason, by: "host-a" }
}

async fn state(world: &World) -> BreakerState {
    let breakers = world.store.breakers().await.unwrap();
    assert_eq!(breakers.len(), 1, "{breakers:?}");
    assert_eq!(breakers[0].key, key());
    breakers[0].state
}

async fn open_for_a_minute(world: &World) -> ControlChange {
    world.store.open_breaker(&key(), MINUTE, note("503")).await.unwrap()
}

async fn a_breaker_opens_once_however_many_hosts_say_so(world: &World) {
    assert_eq!(world.store.breakers().await.unwrap(), []);
    assert_eq!(open_for_a_minute(world).await, ControlChange::Changed);
    assert_eq!(open_for_a_minute(world).await, ControlChange::Already);
    let BreakerState::Open { left, trips: 1 } = state(world).await else { panic!("not open") };
    assert!(left <= MINUTE && left > MINUTE / 2, "{left:?}");
}

async fn a_probe_is_one_hosts_at_a_time(world: &World) {
    let probe = async || world.store.take_probe(&key(), MINUTE).await.unwrap();
    assert!(!probe().await, "there is no such breaker");
    open_for_a_minute(world).await;
    assert!(!probe().await, "it is not due");
    world.age(MINUTE).await;
    assert!(probe().await);
    assert!(!probe().await, "another host has it");
    world.age(MINUTE).await;
    assert!(probe().await, "that host is gone");
}

async fn a_probe_that_fails_counts_and_one_that_succeeds_closes(world: &World) {
    open_for_a_minute(world).await;
    let close = async || world.store.close_breaker(&key(), note("it answers")).await.unwrap();
    assert_eq!(close().await, ControlChange::Already, "nobody has tried yet");
    world.age(MINUTE).await;
    assert!(world.store.take_probe(&key(), MINUTE).await.unwrap());
    assert_eq!(open_for_a_minute(world).await, ControlChange::Changed);
    assert!(matches!(state(world).await, BreakerState::Open { trips: 2, .. }));
    world.age(MINUTE).await;
    assert!(world.store.take_probe(&key(), MINUTE).await.unwrap(), "the old probe is forgotten");
    assert_eq!(close().await, ControlChange::Changed);
    assert_eq!(close().await, ControlChange::Already);
    assert!(matches!(state(world).await, BreakerState::Closed { ago: Some(_) }));
    open_for_a_minute(world).await;
    assert!(matches!(state(world).await, BreakerState::Open { trips: 1, .. }), "it began anew");
}

async fn what_an_operator_holds_no_host_changes(world: &World) {
    let hold = async || world.store.hold_breaker(&key(), note("by hand")).await.unwrap();
    assert_eq!(hold().await, ControlChange::Changed);
    assert_eq!(hold().await, ControlChange::Already);
    assert_eq!(open_for_a_minute(world).await, ControlChange::Already);
    world.age(MINUTE).await;
    assert!(!world.store.take_probe(&key(), MINUTE).await.unwrap());
    let closed = world.store.close_breaker(&key(), note("it answers")).await.unwrap();
    assert_eq!(closed, ControlChange::Already);
    assert_eq!(state(world).await, BreakerState::Held);
    let gone = async || world.store.let_breaker_go(&key(), note("done")).await.unwrap();
    assert_eq!(gone().await, ControlChange::Changed);
    assert_eq!(gone().await, ControlChange::Already);
    assert!(matches!(state(world).await, BreakerState::Closed { .. }));
}

async fn breakers_are_kept_and_seen_by_every_host(world: &World) {
    open_for_a_minute(world).await;
    let other = open(&world.url, StoreOptions::default()).await.unwrap();
    let seen = other.breakers().await.unwrap();
    other.close().await;
    assert_eq!((seen[0].reason.as_str(), seen[0].changed_by.as_str()), ("503", "host-a"));
    assert!(matches!(seen[0].state, BreakerState::Open { .. }));
}

async fn closing_a_breaker_wakes_the_lanes(world: &World) {
    open_for_a_minute(world).await;
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    world.store.let_breaker_go(&key(), note("go")).await.unwrap();
    assert!(wakeups.has_changed().unwrap());
}
