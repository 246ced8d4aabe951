//! What PENDING events wait for: an earlier one of an ordered route, their rate, or a plugin.

use std::collections::{BTreeMap, HashMap};

use crate::domain::{EventId, EventStatus, EventType, OutboxEvent};
use crate::store::Bucket;

use super::super::problem::Problem;
use super::super::state::Inner;
use super::super::view::Waits;

/// By event, for those that wait. Two queries for what is ordered alike, however many events.
pub(super) async fn waits(
    shared: &Inner,
    events: &[OutboxEvent],
) -> Result<HashMap<EventId, Waits>, Problem> {
    let mut waits: HashMap<EventId, Waits> = HashMap::new();
    let mut ordered: BTreeMap<Vec<EventType>, Vec<EventId>> = BTreeMap::new();
    let mut types = HashMap::new();
    for event in events.iter().filter(|event| event.state.status() == EventStatus::Pending) {
        types.insert(event.id, &event.event_type);
        let among = shared.api.ordered.ordered_among(&event.event_type, &event.payload);
        if !among.is_empty() {
            ordered.entry(among).or_default().push(event.id);
        }
    }
    if types.is_empty() {
        return Ok(waits);
    }
    for (among, ids) in ordered {
        for (event, by) in shared.api.repair.holders(&ids, &among).await? {
            waits.entry(event).or_default().held_by = Some(by);
        }
    }
    let ids: Vec<_> = types.keys().copied().collect();
    for (event, bucket) in shared.api.rates.rate_waits(&ids).await? {
        if let Some(event_type) = types.get(&event) {
            waits.entry(event).or_default().waits_for = Some(rate(shared, event_type, &bucket));
        }
    }
    Ok(waits)
}

/// The rate in the operator's own words, as far as this host has them.
fn rate(shared: &Inner, event_type: &EventType, bucket: &Bucket) -> String {
    if bucket.is_nobody() {
        return "no route: a plugin that selects it".to_owned();
    }
    let routes = shared.api.registry.current();
    let release = routes.of_type(event_type).find(|one| one.manifest().name == bucket.plugin);
    let limits = release.map(|release| &release.manifest().limits);
    let Some((limits, rate)) = limits.and_then(|limits| Some((limits, limits.rate?))) else {
        return format!("rate limit of {}", bucket.plugin);
    };
    match &limits.rate_key {
        Some(path) => format!("rate limit {rate} of {path}={}", bucket.key),
        None => format!("rate limit {rate}"),
    }
}
