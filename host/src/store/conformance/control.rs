use super::on_both_stores;
use super::world::{World, done};
use crate::domain::EventType;
use crate::store::{ControlChange, ControlNote, StoreOptions, open};

on_both_stores!(
    a_paused_route_is_not_claimed_and_no_other_waits,
    a_pause_is_kept_and_seen_by_every_host,
    pausing_and_resuming_twice_changes_nothing,
    resuming_wakes_the_lanes,
);

fn note(reason: &str) -> ControlNote<'_> {
    ControlNote { reason, by: "ada" }
}

fn a() -> EventType {
    "A".parse().unwrap()
}

async fn a_paused_route_is_not_claimed_and_no_other_waits(world: &World) {
    world.insert("A", "1").await;
    let held = world.claim_one("A").await;
    world.insert("A", "2").await;
    world.insert("B", "1").await;
    let change = world.store.pause_route(&a(), note("the partner is away")).await.unwrap();
    assert_eq!(change, ControlChange::Changed);
    assert_eq!(world.claim("A", 10).await, []);
    assert_eq!(world.claim_ordered("A", 10, &[a()]).await, []);
    assert_eq!(world.claim("B", 10).await.len(), 1);
    // What was in hand ends as it would have.
    world.settle_one(&held, done()).await;
    assert_eq!(world.row(held.id).await.state, crate::domain::EventState::Done);
    world.store.resume_route(&a(), note("it is back")).await.unwrap();
    assert_eq!(world.claim("A", 10).await.len(), 1);
}

async fn a_pause_is_kept_and_seen_by_every_host(world: &World) {
    world.store.pause_route(&a(), note("away")).await.unwrap();
    let other = open(&world.url, StoreOptions::default()).await.unwrap();
    let controls = other.route_controls().await.unwrap();
    other.close().await;
    assert_eq!(controls.len(), 1);
    assert!(controls[0].paused);
    assert_eq!((controls[0].event_type.as_str(), controls[0].reason.as_str()), ("A", "away"));
    assert_eq!(controls[0].changed_by, "ada");
}

async fn pausing_and_resuming_twice_changes_nothing(world: &World) {
    let resumed = world.store.resume_route(&a(), note("why not")).await.unwrap();
    assert_eq!(resumed, ControlChange::Already);
    assert_eq!(world.store.route_controls().await.unwrap(), []);
    world.store.pause_route(&a(), note("first")).await.unwrap();
    let before = world.store.route_controls().await.unwrap();
    let again = world.store.pause_route(&a(), note("second")).await.unwrap();
    assert_eq!(again, ControlChange::Already);
    assert_eq!(world.store.route_controls().await.unwrap(), before);
    let resumed = world.store.resume_route(&a(), note("third")).await.unwrap();
    assert_eq!(resumed, ControlChange::Changed);
    let after = world.store.route_controls().await.unwrap();
    assert_eq!((after[0].paused, after[0].reason.as_str()), (false, "third"));
    let again = world.store.resume_route(&a(), note("fourth")).await.unwrap();
    assert_eq!(again, ControlChange::Already);
}

async fn resuming_wakes_the_lanes(world: &World) {
    world.store.pause_route(&a(), note("away")).await.unwrap();
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    world.store.resume_route(&a(), note("back")).await.unwrap();
    assert!(wakeups.has_changed().unwrap());
}
