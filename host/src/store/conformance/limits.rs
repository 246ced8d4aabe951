use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::on_both_stores;
use super::world::{MINUTE, World, done, lease, retry_after};
use crate::domain::{EventId, EventState, EventType, HostId, OutboxEvent, Rate, RateKey};
use crate::store::{
    Bucket, Cancelled, Claim, ControlNote, Count, FleetLimit, LimitedClaim, RouteLimits, Store,
};

on_both_stores!(
    a_rate_lets_its_burst_go_and_puts_the_rest_aside,
    one_saturated_key_blocks_no_other,
    what_waits_goes_before_what_came_later,
    what_is_tried_again_is_counted_again,
    hosts_that_claim_at_once_keep_one_rate,
    a_fleet_has_no_more_in_hand_than_its_limit,
    a_dead_hosts_share_of_the_fleet_comes_back,
    what_an_order_holds_takes_no_rate,
    a_paused_route_is_not_claimed_within_limits_either,
    what_waits_is_in_the_backlog_and_says_for_what,
    what_was_cancelled_or_expired_blocks_nobody,
    when_the_rate_is_gone_what_waited_is_due_again,
    what_lost_its_place_comes_back_by_itself,
    another_rate_holds_at_once,
    a_long_queue_of_keys_is_served_without_looking_at_it_again,
    quiet_keys_are_forgotten_after_a_day,
    an_unlimited_route_writes_nothing_for_limits,
);

/// Of one plugin for all.
#[derive(Default)]
struct Limits {
    rate: Option<Rate>,
    key: Option<RateKey>,
    fleets: Vec<FleetLimit>,
}

impl RouteLimits for Limits {
    fn rate(&self, plugin: &str) -> Option<Rate> {
        self.rate.filter(|_| plugin == "p")
    }

    fn bucket(&self, payload: &str) -> Option<Bucket> {
        self.rate?;
        let key = self.key.as_ref().map(|key| key.value(payload)).unwrap_or_default();
        Some(Bucket { plugin: "p".into(), key })
    }

    fn fleets(&self) -> &[FleetLimit] {
        &self.fleets
    }

    fn plugins(&self) -> Vec<String> {
        vec!["p".into()]
    }
}

fn rate(text: &str, burst: u32) -> Arc<Limits> {
    let rate = text.parse::<Rate>().unwrap().with_burst(burst).unwrap();
    Arc::new(Limits { rate: Some(rate), ..Limits::default() })
}

fn keyed(text: &str, burst: u32) -> Arc<Limits> {
    let rate = text.parse::<Rate>().unwrap().with_burst(burst).unwrap();
    let key = Some("key".parse().unwrap());
    Arc::new(Limits { rate: Some(rate), key, ..Limits::default() })
}

fn fleet(max: u32) -> Arc<Limits> {
    let among = types(&["A", "B"]);
    Arc::new(Limits { fleets: vec![FleetLimit { max, among }], ..Limits::default() })
}

fn types(names: &[&str]) -> Vec<EventType> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

async fn claim(store: &dyn Store, limits: &Arc<Limits>, limit: u32) -> LimitedClaim {
    claim_type(store, limits, "A", limit, &[]).await
}

async fn claim_type(
    store: &dyn Store,
    limits: &Arc<Limits>,
    event_type: &str,
    limit: u32,
    ordered_among: &[EventType],
) -> LimitedClaim {
    let request = Claim {
        host: &HostId::from_text("host-a".into()),
        event_type: &event_type.parse().unwrap(),
        limit,
        lease_for: MINUTE,
        ordered_among,
    };
    store.claim_limited(request, Arc::clone(limits) as _).await.unwrap()
}

fn ids(claimed: &LimitedClaim) -> Vec<EventId> {
    claimed.events.iter().map(|event| event.id).collect()
}

/// Claims until nothing more is to be looked at, as a lane does.
async fn claim_all(store: &dyn Store, limits: &Arc<Limits>, limit: u32) -> Vec<OutboxEvent> {
    let mut all = Vec::new();
    loop {
        let claimed = claim(store, limits, limit).await;
        let full = claimed.events.len() >= limit as usize;
        all.extend(claimed.events);
        if !full && !claimed.more {
            return all;
        }
    }
}

async fn insert_keyed(world: &World, key: &str) -> EventId {
    let id = world.insert("A", key).await;
    let sql =
        format!("UPDATE outbox_events SET payload = '{{\"key\": \"{key}\"}}' WHERE id = '{id}'");
    world.execute(&sql).await.unwrap();
    id
}

async fn a_rate_lets_its_burst_go_and_puts_the_rest_aside(world: &World) {
    let limits = rate("10/m", 2);
    let mut expected = Vec::new();
    for n in 0..5 {
        expected.push(world.insert("A", &n.to_string()).await);
    }
    let other = world.insert("B", "1").await;
    let first = claim(&*world.store, &limits, 10).await;
    assert_eq!((first.events.len(), first.put_aside, first.more), (2, 3, false));
    let wait = first.next_in.unwrap();
    assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(6), "{wait:?}");
    let taken = ids(&first);
    for event in &expected {
        let row = world.row(*event).await;
        if taken.contains(event) {
            assert!(row.available_at <= row.updated_at, "{row:?}");
            continue;
        }
        // It waits, and nothing was counted.
        assert_eq!(row.state, EventState::Pending);
        assert!(row.available_at > row.updated_at, "{row:?}");
        assert_eq!((row.attempt_count, row.interruption_count, row.deferral_count), (0, 0, 0));
        assert_eq!(world.store.event(*event).await.unwrap().unwrap().entries, []);
    }
    assert_eq!(world.row(other).await.state, EventState::Pending);
    assert_eq!(ids(&claim(&*world.store, &limits, 10).await), []);
    // One for six seconds, and no more saved up than the burst.
    let mut all: Vec<_> = taken;
    world.age(Duration::from_secs(6)).await;
    let second = claim(&*world.store, &limits, 10).await;
    assert_eq!(second.events.len(), 1);
    all.extend(ids(&second));
    assert_eq!(lease(&second.events[0]).token.0, 1);
    // Given back, it would be due at once.
    assert!(second.events[0].available_at <= second.events[0].updated_at);
    world.age(MINUTE).await;
    let third = claim(&*world.store, &limits, 10).await;
    assert_eq!((third.events.len(), third.next_in), (2, None));
    all.extend(ids(&third));
    assert_eq!(all.iter().collect::<HashSet<_>>(), expected.iter().collect());
    assert_eq!(world.count("rate_waiting").await, 0);
    assert_eq!(world.texts("SELECT CAST(waiting AS text) FROM rate_buckets").await, ["0"]);
}

async fn one_saturated_key_blocks_no_other(world: &World) {
    let limits = keyed("1/h", 3);
    for _ in 0..120 {
        insert_keyed(world, "p7").await;
    }
    world.age(MINUTE).await;
    let late = insert_keyed(world, "p8").await;
    let unkeyed = world.insert("A", "1").await;
    let taken = claim_all(&*world.store, &limits, 5).await;
    let taken: Vec<_> = taken.iter().map(|event| event.id).collect();
    assert_eq!(taken.len(), 5, "three of p7, and one each of the others");
    assert!(taken.contains(&late) && taken.contains(&unkeyed));
    assert_eq!(world.count("rate_waiting").await, 117);
    // What waits is not looked at again.
    let again = claim(&*world.store, &limits, 5).await;
    assert_eq!((again.events.len(), again.put_aside, again.more), (0, 0, false));
}

async fn what_waits_goes_before_what_came_later(world: &World) {
    let limits = rate("1/s", 1);
    let mut expected = Vec::new();
    for n in 0..4 {
        expected.push(world.insert("A", &n.to_string()).await);
        world.age(Duration::from_millis(10)).await;
    }
    let mut taken = ids(&claim(&*world.store, &limits, 10).await);
    for n in 4..8 {
        expected.push(world.insert("A", &n.to_string()).await);
        world.age(Duration::from_secs(2)).await;
        taken.extend(ids(&claim(&*world.store, &limits, 10).await));
    }
    for _ in 0..3 {
        world.age(Duration::from_secs(2)).await;
        taken.extend(ids(&claim(&*world.store, &limits, 10).await));
    }
    assert_eq!(taken, expected);
}

async fn what_is_tried_again_is_counted_again(world: &World) {
    let limits = rate("1/h", 2);
    world.insert("A", "1").await;
    for _ in 0..2 {
        let claimed = claim(&*world.store, &limits, 10).await;
        world.settle_one(&claimed.events[0], retry_after(Duration::ZERO)).await;
        world.store.promote_due(10).await.unwrap();
    }
    assert_eq!(ids(&claim(&*world.store, &limits, 10).await), []);
    world.age(61 * MINUTE).await;
    let claimed = claim(&*world.store, &limits, 10).await;
    assert_eq!(claimed.events[0].attempt_count, 2, "waiting was no attempt");
}

/// What hosts that claim at the same moment take together.
async fn at_once(world: &World, limits: &Arc<Limits>, types: [&'static str; 2]) -> Vec<EventId> {
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (store, limits) = (Arc::clone(&world.store), Arc::clone(limits));
            tokio::spawn(async move {
                let mut all = Vec::new();
                for _ in 0..6 {
                    all.extend(ids(&claim_type(&*store, &limits, types[n % 2], 4, &[]).await));
                }
                all
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

async fn hosts_that_claim_at_once_keep_one_rate(world: &World) {
    for n in 0..60 {
        world.insert("A", &n.to_string()).await;
    }
    let all = at_once(world, &rate("1/h", 7), ["A", "A"]).await;
    assert_eq!(all.len(), 7);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 7);
}

async fn a_fleet_has_no_more_in_hand_than_its_limit(world: &World) {
    let limits = fleet(5);
    for n in 0..20 {
        world.insert("A", &n.to_string()).await;
        world.insert("B", &n.to_string()).await;
    }
    let all = at_once(world, &limits, ["A", "B"]).await;
    assert_eq!(all.len(), 5, "both types together");
    assert_eq!(world.count("outbox_events WHERE status = 'PROCESSING'").await, 5);
    let event = world.row(all[0]).await;
    world.settle_one(&event, done()).await;
    assert_eq!(claim(&*world.store, &limits, 10).await.events.len(), 1);
    assert_eq!(ids(&claim_type(&*world.store, &limits, "B", 10, &[]).await), []);
}

async fn a_dead_hosts_share_of_the_fleet_comes_back(world: &World) {
    let limits = fleet(2);
    for n in 0..4 {
        world.insert("A", &n.to_string()).await;
    }
    assert_eq!(claim(&*world.store, &limits, 10).await.events.len(), 2);
    world.age(2 * MINUTE).await;
    assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 2);
    assert_eq!(claim(&*world.store, &limits, 10).await.events.len(), 2);
    assert_eq!(claim(&*world.store, &limits, 10).await.events.len(), 0);
}

async fn what_an_order_holds_takes_no_rate(world: &World) {
    let limits = rate("1/h", 2);
    let among = types(&["A"]);
    let first = world.insert("A", "1").await;
    let second = world.insert("A", "1").await;
    let other = world.insert("A", "2").await;
    let third = world.insert("A", "1").await;
    let claim = async || claim_type(&*world.store, &limits, "A", 10, &among).await;
    let claimed = claim().await;
    assert_eq!(ids(&claimed).into_iter().collect::<HashSet<_>>(), [first, other].into());
    assert_eq!(claimed.put_aside, 0, "what is held does not stand in line");
    for (event, next) in [(first, second), (second, third)] {
        let row = world.row(event).await;
        world.settle_one(&row, done()).await;
        assert_eq!(ids(&claim().await), []);
        world.age(61 * MINUTE).await;
        assert_eq!(ids(&claim().await), [next]);
    }
}

async fn a_paused_route_is_not_claimed_within_limits_either(world: &World) {
    let limits = rate("1/s", 1);
    for n in 0..3 {
        world.insert("A", &n.to_string()).await;
    }
    assert_eq!(claim(&*world.store, &limits, 10).await.events.len(), 1);
    let a: EventType = "A".parse().unwrap();
    let note = ControlNote { reason: "the partner is away", by: "ada" };
    world.store.pause_route(&a, note).await.unwrap();
    world.age(61 * MINUTE).await;
    let claimed = claim(&*world.store, &limits, 10).await;
    assert_eq!((claimed.events.len(), claimed.put_aside, claimed.more), (0, 0, false));
    world.store.resume_route(&a, note).await.unwrap();
    // The hour has saved nothing up.
    assert_eq!(claim(&*world.store, &limits, 10).await.events.len(), 1);
}

async fn what_waits_is_in_the_backlog_and_says_for_what(world: &World) {
    let limits = keyed("1/h", 1);
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(insert_keyed(world, "p7").await);
    }
    world.age(5 * MINUTE).await;
    let taken = ids(&claim(&*world.store, &limits, 10).await);
    let waiting: HashSet<_> = events.into_iter().filter(|id| !taken.contains(id)).collect();
    let all: Vec<_> = waiting.iter().copied().chain(taken.iter().copied()).collect();
    let waits = world.store.rate_waits(&all).await.unwrap();
    assert_eq!(waits.iter().map(|(id, _)| *id).collect::<HashSet<_>>(), waiting);
    assert!(waits.iter().all(|(_, bucket)| bucket.key == "p7" && bucket.plugin == "p"));
    let event = world.row(taken[0]).await;
    world.settle_one(&event, done()).await;
    let backlog = world.store.backlog().await.unwrap();
    assert_eq!(backlog.len(), 1);
    assert_eq!(backlog[0].rate_limited, Count { number: 2, at_least: false });
    assert_eq!((backlog[0].pending.number, backlog[0].unclaimed_for), (0, None));
    let age = backlog[0].oldest_age.unwrap();
    assert!(age >= 5 * MINUTE && age < 6 * MINUTE, "{age:?}");
    assert!(!backlog[0].is_untaken(Duration::ZERO));
}

async fn what_was_cancelled_or_expired_blocks_nobody(world: &World) {
    let limits = rate("1/m", 1);
    let mut events = Vec::new();
    for n in 0..5 {
        events.push(world.insert("A", &n.to_string()).await);
        world.age(Duration::from_millis(10)).await;
    }
    assert_eq!(ids(&claim(&*world.store, &limits, 10).await), [events[0]]);
    assert_eq!(world.store.cancel(events[1], "me").await.unwrap(), Cancelled::Now);
    let soon = match &world.db {
        super::world::Db::Sqlite(_) => "(strftime('%s', 'now') + 30) * 1000000",
        super::world::Db::Postgres(_) => "now() + interval '30 seconds'",
    };
    let expires =
        format!("UPDATE outbox_events SET valid_until = {soon} WHERE id = '{}'", events[2]);
    world.execute(&expires).await.unwrap();
    world.age(MINUTE).await;
    assert_eq!(ids(&claim(&*world.store, &limits, 10).await), [events[3]]);
    let failed = world.store.fail_hopeless(20, 10).await.unwrap();
    assert_eq!(failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [events[2]]);
    assert_eq!(world.store.backlog().await.unwrap()[0].rate_limited.number, 1);
    assert_eq!(world.store.delete_idle_rates(10).await.unwrap(), 2, "the places of both");
    world.age(MINUTE).await;
    assert_eq!(ids(&claim(&*world.store, &limits, 10).await), [events[4]]);
    // Nobody is left, whatever was counted: nobody is waited for.
    world.age(MINUTE).await;
    claim(&*world.store, &limits, 10).await;
    let after = claim(&*world.store, &limits, 10).await;
    assert_eq!((after.events.len(), after.next_in), (0, None));
    // A replayed one stands in line again, as the last.
    world.store.replay(events[1], "me").await.unwrap();
    assert_eq!(ids(&claim(&*world.store, &limits, 10).await), [events[1]]);
}

async fn when_the_rate_is_gone_what_waited_is_due_again(world: &World) {
    let limits = rate("1/h", 1);
    let mut events = Vec::new();
    for n in 0..4 {
        events.push(world.insert("A", &n.to_string()).await);
        world.age(Duration::from_millis(10)).await;
    }
    assert_eq!(claim(&*world.store, &limits, 10).await.put_aside, 3);
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    let a: EventType = "A".parse().unwrap();
    assert_eq!(world.store.end_rate_waits(&"B".parse().unwrap(), 10).await.unwrap(), 0);
    assert_eq!(world.store.end_rate_waits(&a, 2).await.unwrap(), 2);
    assert!(wakeups.has_changed().unwrap());
    assert_eq!(world.store.end_rate_waits(&a, 2).await.unwrap(), 1);
    assert_eq!(world.store.end_rate_waits(&a, 2).await.unwrap(), 0);
    let taken: Vec<_> = world.claim("A", 10).await.iter().map(|event| event.id).collect();
    assert_eq!(taken, events[1..]);
    for table in ["rate_waiting", "rate_buckets"] {
        assert_eq!(world.count(table).await, 0, "{table}");
    }
}

async fn what_lost_its_place_comes_back_by_itself(world: &World) {
    let limits = rate("1/m", 1);
    for n in 0..3 {
        world.insert("A", &n.to_string()).await;
    }
    claim(&*world.store, &limits, 10).await;
    world.execute("DELETE FROM rate_waiting").await.unwrap();
    world.execute("DELETE FROM rate_buckets").await.unwrap();
    world.age(61 * MINUTE).await;
    let claimed = claim(&*world.store, &limits, 10).await;
    assert_eq!((claimed.events.len(), claimed.put_aside), (1, 1));
    // And with its place, it does not stand in line twice.
    world.age(Duration::from_secs(10)).await;
    world.execute("UPDATE outbox_events SET available_at = created_at").await.unwrap();
    let claimed = claim(&*world.store, &limits, 10).await;
    assert_eq!((claimed.events.len(), claimed.put_aside), (0, 0));
    assert_eq!(world.texts("SELECT CAST(waiting AS text) FROM rate_buckets").await, ["1"]);
    world.execute("UPDATE outbox_events SET available_at = created_at").await.unwrap();
    world.age(MINUTE).await;
    assert_eq!(claim(&*world.store, &limits, 10).await.events.len(), 1);
    assert_eq!(world.count("rate_waiting").await, 0);
}

async fn another_rate_holds_at_once(world: &World) {
    let slow = rate("1/h", 1);
    for n in 0..10 {
        world.insert("A", &n.to_string()).await;
    }
    assert_eq!(claim(&*world.store, &slow, 20).await.events.len(), 1);
    world.age(Duration::from_secs(2)).await;
    let quick = rate("2/s", 1);
    // The first time is at most one interval away, and then comes one after another.
    claim(&*world.store, &quick, 20).await;
    let mut taken = 0;
    for _ in 0..20 {
        world.age(Duration::from_secs(1)).await;
        taken += claim(&*world.store, &quick, 20).await.events.len();
    }
    assert_eq!(taken, 9);
}

async fn a_long_queue_of_keys_is_served_without_looking_at_it_again(world: &World) {
    let limits = keyed("1/m", 1);
    for n in 0..300 {
        insert_keyed(world, &format!("p{}", n % 30)).await;
    }
    assert_eq!(claim_all(&*world.store, &limits, 100).await.len(), 30);
    for _ in 0..9 {
        world.age(MINUTE).await;
        let mut round = HashSet::new();
        for event in claim_all(&*world.store, &limits, 7).await {
            assert!(round.insert(event.payload), "one of a key a minute");
        }
        assert_eq!(round.len(), 30, "every key has its turn");
    }
    assert_eq!(world.count("rate_waiting").await, 0);
}

async fn quiet_keys_are_forgotten_after_a_day(world: &World) {
    let limits = keyed("1/h", 1);
    insert_keyed(world, "once").await;
    assert_eq!(claim(&*world.store, &limits, 10).await.events.len(), 1);
    for _ in 0..30 {
        insert_keyed(world, "often").await;
    }
    claim_all(&*world.store, &limits, 10).await;
    world.age(23 * 60 * MINUTE).await;
    assert_eq!(world.store.delete_idle_rates(10).await.unwrap(), 0);
    world.age(3 * 60 * MINUTE).await;
    assert_eq!(world.store.delete_idle_rates(10).await.unwrap(), 1);
    assert_eq!(world.texts("SELECT rate_key FROM rate_buckets").await, ["often"]);
}

async fn an_unlimited_route_writes_nothing_for_limits(world: &World) {
    for n in 0..3 {
        world.insert("A", &n.to_string()).await;
    }
    assert_eq!(world.claim("A", 10).await.len(), 3);
    assert_eq!(world.count("rate_buckets").await + world.count("rate_waiting").await, 0);
}
