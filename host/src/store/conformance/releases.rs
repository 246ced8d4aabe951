//! Releases: kept once, live on all hosts or on none, tried, taken back.

use std::time::Duration;

use super::on_both_stores;
use super::world::{MINUTE, World, done, settlement};
use crate::domain::{
    CanaryPlan, CanaryTallies, Decision, DifferenceKind, EventId, EventState, FailureCode,
    FailureReason, HostId, HostVerdict, ReleaseName, ReleaseState, RolloutDecision,
    ShadowDifference, ShadowPlan, ShadowTally, SkipReason, Tally,
};
use crate::store::{
    Approved, Deploy, Deployed, HOST_GONE_AFTER, HistoryKind, PluginRelease, ReleaseNote,
    ReplayFailed, RolledBack,
};

on_both_stores!(
    a_release_is_kept_with_its_bytes_and_read_back,
    the_same_content_or_request_makes_no_second_release,
    a_later_deploy_supersedes_the_candidate,
    a_release_that_was_compared_with_another_one_is_refused,
    a_release_is_live_only_when_all_hosts_that_are_alive_have_it,
    a_host_that_dies_is_waited_for_no_longer,
    a_rejection_leaves_the_old_one_live,
    a_held_release_moves_only_by_an_approval,
    a_canary_keeps_its_figures_over_hosts_and_is_promoted_once,
    a_shadow_keeps_its_figures_over_hosts_and_is_live_only_by_an_approval,
    rolling_back_goes_to_the_one_before_and_takes_a_canary_back_first,
    a_disabled_plugin_is_disabled_for_all_and_twice_is_once,
    two_decisions_at_once_are_one,
    a_change_of_releases_wakes_who_looks_after_them,
    what_failed_on_a_canary_is_told_and_counted_as_nothing,
    failures_are_grouped_by_release_and_replayed_by_it,
    components_that_nobody_goes_back_to_are_deleted_and_nothing_else,
    a_component_that_was_deleted_comes_back_with_a_deploy,
);

pub(super) fn deploy(plugin: &str, content: &str) -> Deploy {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let manifest = format!("name = \"{plugin}\"\nhandles = [\"A\"]\n");
    Deploy {
        plugin: plugin.to_owned(),
        component: content.as_bytes().to_vec(),
        digest: hex(content.as_bytes()),
        manifest_digest: hex(manifest.as_bytes()),
        manifest,
        signature: None,
        canary: None,
        shadow: None,
        compared_with: None,
        hold: None,
        by: "ada".to_owned(),
        key: None,
    }
}

fn note(reason: &str) -> ReleaseNote<'_> {
    ReleaseNote { reason, by: "grace" }
}

fn host(name: &str) -> HostId {
    HostId::from_text(name.to_owned())
}

impl World {
    async fn deployed(&self, request: Deploy) -> PluginRelease {
        match self.store.deploy(request).await.unwrap() {
            Deployed::Now(release) => release,
            other => panic!("{other:?}"),
        }
    }

    async fn prepared(&self, by: &str, release: &ReleaseName) {
        self.store.check_in(&host(by)).await.unwrap();
        self.store.report(&host(by), release, &HostVerdict::Prepared).await.unwrap();
    }

    /// A release that is live on the host `a`.
    pub(super) async fn live(&self, request: Deploy) -> ReleaseName {
        let name = self.deployed(request).await.name;
        self.prepared("a", &name).await;
        assert!(self.store.advance(&name, &RolloutDecision::MakeLive).await.unwrap());
        name
    }

    /// `number STATE` of each release of `p`, oldest first.
    async fn states(&self) -> Vec<String> {
        let (mut releases, _) = self.store.release_history("p", 100).await.unwrap();
        releases.reverse();
        releases.iter().map(|it| format!("{} {}", it.name.number, it.state)).collect()
    }

    /// `number kind` of each line of the history of `p`, oldest first.
    async fn decisions(&self) -> Vec<String> {
        let (_, mut lines) = self.store.release_history("p", 100).await.unwrap();
        lines.reverse();
        let number = |number: Option<u32>| number.map_or("-".to_owned(), |n| n.to_string());
        lines.iter().map(|it| format!("{} {}", number(it.number), it.kind.as_str())).collect()
    }
}

/// After the first one, which is live.
fn next(content: &str, after: &ReleaseName) -> Deploy {
    Deploy { compared_with: Some(after.number), ..deploy("p", content) }
}

async fn a_release_is_kept_with_its_bytes_and_read_back(world: &World) {
    let plan = CanaryPlan { share: "5%".parse().unwrap(), events: 1_000 };
    let request = Deploy { canary: Some(plan), signature: Some("s".into()), ..deploy("p", "one") };
    let release = world.deployed(request.clone()).await;
    assert_eq!(release.name, ReleaseName { plugin: "p".into(), number: 1 });
    assert_eq!(release.state, ReleaseState::Preparing);
    assert_eq!((&release.digest, &release.manifest), (&request.digest, &request.manifest));
    assert_eq!((release.canary, release.signature.as_deref()), (Some(plan), Some("s")));
    let bytes = world.store.component(&release.digest).await.unwrap();
    assert_eq!(bytes.as_deref(), Some(b"one".as_slice()));
    assert_eq!(world.store.component("0").await.unwrap(), None);
    let read = world.store.plugin_release(&release.name).await.unwrap().unwrap();
    assert_eq!(PluginRelease { state_age: release.state_age, ..read }, release);
    let plugins = world.store.plugins().await.unwrap();
    assert_eq!(plugins.len(), 1);
    assert!(!plugins[0].disabled && plugins[0].live.is_none());
    assert_eq!(plugins[0].candidate.as_ref().map(|it| &it.name), Some(&release.name));
    // As large as allowed, and not a byte more.
    let largest = Deploy { component: vec![7; 64 << 20], ..deploy("large", "largest") };
    world.deployed(largest.clone()).await;
    let read = world.store.component(&largest.digest).await.unwrap().unwrap();
    assert!(read == largest.component);
    let larger = Deploy { component: vec![7; (64 << 20) + 1], ..deploy("larger", "larger") };
    assert!(world.store.deploy(larger).await.is_err());
}

async fn the_same_content_or_request_makes_no_second_release(world: &World) {
    let request = Deploy { key: Some("k".into()), ..deploy("p", "one") };
    let first = world.deployed(request.clone()).await;
    for again in [request.clone(), deploy("p", "one")] {
        let Deployed::Already(found) = world.store.deploy(again).await.unwrap() else { panic!() };
        assert_eq!(found.name, first.name);
    }
    let other = Deploy { key: Some("k".into()), ..deploy("p", "two") };
    assert_eq!(world.store.deploy(other.clone()).await.unwrap(), Deployed::KeyReused);
    // Another caller's key is another key.
    let other = Deploy { by: "grace".into(), ..other };
    assert_eq!(world.deployed(other).await.name.number, 2);
    // The request is known for ever, whatever became of its release.
    let Deployed::Already(found) = world.store.deploy(request).await.unwrap() else { panic!() };
    assert_eq!((found.name.number, found.state), (1, ReleaseState::Superseded));
    assert_eq!(world.count("component_artifacts").await, 2);
}

async fn a_later_deploy_supersedes_the_candidate(world: &World) {
    let first = world.deployed(deploy("p", "one")).await.name;
    world.deployed(deploy("p", "two")).await;
    assert_eq!(world.states().await, ["1 SUPERSEDED", "2 PREPARING"]);
    world.prepared("a", &first).await;
    assert!(!world.store.advance(&first, &RolloutDecision::MakeLive).await.unwrap());
    assert_eq!(world.states().await, ["1 SUPERSEDED", "2 PREPARING"]);
    // The content of an earlier one is a new release.
    world.deployed(deploy("p", "one")).await;
    assert_eq!(world.states().await, ["1 SUPERSEDED", "2 SUPERSEDED", "3 PREPARING"]);
    assert_eq!(world.count("component_artifacts").await, 2);
}

async fn a_release_that_was_compared_with_another_one_is_refused(world: &World) {
    let first = world.live(deploy("p", "one")).await;
    let late = world.store.deploy(deploy("p", "two")).await.unwrap();
    assert_eq!(late, Deployed::LiveChanged);
    world.live(next("two", &first)).await;
    assert_eq!(world.store.deploy(next("three", &first)).await.unwrap(), Deployed::LiveChanged);
    assert_eq!(world.states().await, ["1 RETIRED", "2 LIVE"]);
}

async fn a_release_is_live_only_when_all_hosts_that_are_alive_have_it(world: &World) {
    let name = world.deployed(deploy("p", "one")).await.name;
    let live = RolloutDecision::MakeLive;
    assert!(!world.store.advance(&name, &live).await.unwrap(), "there is no host");
    world.prepared("a", &name).await;
    world.store.check_in(&host("b")).await.unwrap();
    assert!(!world.store.advance(&name, &live).await.unwrap(), "b has not said anything");
    let standings = world.store.standings(&name).await.unwrap();
    let said: Vec<_> = standings.iter().map(|it| (it.host.as_str(), it.verdict.clone())).collect();
    assert_eq!(said, [("a", Some(HostVerdict::Prepared)), ("b", None)]);
    let no = HostVerdict::Rejected { reason: "no room".into() };
    world.store.report(&host("b"), &name, &no).await.unwrap();
    assert!(!world.store.advance(&name, &live).await.unwrap(), "b cannot");
    world.prepared("b", &name).await;
    assert!(world.store.advance(&name, &live).await.unwrap());
    assert!(!world.store.advance(&name, &live).await.unwrap(), "once");
    assert_eq!(world.decisions().await, ["1 deployed", "1 live"]);
    let plugins = world.store.plugins().await.unwrap();
    assert_eq!(plugins[0].live.as_ref().map(|it| it.name.number), Some(1));
    assert!(plugins[0].candidate.is_none());
    assert!(plugins[0].live.as_ref().is_some_and(|it| it.live_at.is_some()));
}

async fn a_host_that_dies_is_waited_for_no_longer(world: &World) {
    let name = world.deployed(deploy("p", "one")).await.name;
    world.store.check_in(&host("dead")).await.unwrap();
    world.store.check_in(&host("stopped")).await.unwrap();
    world.age(HOST_GONE_AFTER + Duration::from_secs(1)).await;
    world.store.check_in(&host("stopped")).await.unwrap();
    world.prepared("a", &name).await;
    assert!(!world.store.advance(&name, &RolloutDecision::MakeLive).await.unwrap());
    world.store.check_out(&host("stopped")).await.unwrap();
    assert!(world.store.advance(&name, &RolloutDecision::MakeLive).await.unwrap());
    // After a day nobody remembers it.
    assert_eq!(world.count("hosts").await, 2);
    world.age(24 * 60 * MINUTE).await;
    world.store.check_in(&host("a")).await.unwrap();
    assert_eq!(world.count("hosts").await, 1);
}

async fn a_rejection_leaves_the_old_one_live(world: &World) {
    let first = world.live(deploy("p", "one")).await;
    let second = world.deployed(next("two", &first)).await.name;
    let reject = RolloutDecision::Reject { reason: "b: no handler".into() };
    assert!(world.store.advance(&second, &reject).await.unwrap());
    assert!(!world.store.advance(&second, &reject).await.unwrap());
    assert_eq!(world.states().await, ["1 LIVE", "2 REJECTED"]);
    let rejected = world.store.plugin_release(&second).await.unwrap().unwrap();
    assert_eq!(rejected.reason.as_deref(), Some("b: no handler"));
    world.prepared("a", &second).await;
    assert!(!world.store.advance(&second, &RolloutDecision::MakeLive).await.unwrap());
    assert_eq!(world.decisions().await, ["1 deployed", "1 live", "2 deployed", "2 rejected"]);
}

async fn a_held_release_moves_only_by_an_approval(world: &World) {
    let held = Deploy { hold: Some("it may call evil.example".into()), ..deploy("p", "one") };
    let name = world.deployed(held).await.name;
    world.prepared("a", &name).await;
    assert!(!world.store.advance(&name, &RolloutDecision::MakeLive).await.unwrap());
    let held = world.store.plugin_release(&name).await.unwrap().unwrap();
    assert_eq!(held.state, ReleaseState::Held);
    assert_eq!(held.reason.as_deref(), Some("it may call evil.example"));
    assert_eq!(world.store.approve(&name, note("looked at")).await.unwrap(), Approved::Now);
    let again = world.store.approve(&name, note("twice")).await.unwrap();
    assert_eq!(again, Approved::NotHeld(ReleaseState::Preparing));
    let none = ReleaseName { number: 9, ..name.clone() };
    assert_eq!(world.store.approve(&none, note("x")).await.unwrap(), Approved::NotFound);
    assert!(world.store.advance(&name, &RolloutDecision::MakeLive).await.unwrap());
    assert_eq!(world.decisions().await, ["1 deployed", "1 held", "1 approved", "1 live"]);
}

fn tally(handled: u64, failed: u64) -> Tally {
    let mut tally = Tally::default();
    (0..handled).for_each(|i| tally.count(i >= failed, Duration::from_millis(1 + i)));
    tally
}

async fn a_canary_keeps_its_figures_over_hosts_and_is_promoted_once(world: &World) {
    let plan = CanaryPlan { share: "5%".parse().unwrap(), events: 100 };
    let first = world.live(deploy("p", "one")).await;
    let second = Deploy { canary: Some(plan), ..next("two", &first) };
    let second = world.deployed(second).await.name;
    world.prepared("a", &second).await;
    assert!(world.store.advance(&second, &RolloutDecision::BeginCanary).await.unwrap());
    assert_eq!(world.states().await, ["1 LIVE", "2 CANARY"]);
    let of_a = CanaryTallies { live: tally(50, 1), canary: tally(3, 0) };
    world.store.keep_tallies(&host("a"), &second, &of_a).await.unwrap();
    let of_a = CanaryTallies { live: tally(60, 2), canary: tally(4, 1) };
    // Sums, not additions: written again they count nothing twice.
    for _ in 0..2 {
        world.store.keep_tallies(&host("a"), &second, &of_a).await.unwrap();
    }
    let of_b = CanaryTallies { live: tally(10, 0), canary: tally(1, 0) };
    world.store.keep_tallies(&host("b"), &second, &of_b).await.unwrap();
    let mut expected = of_a;
    expected.live.add(&of_b.live);
    expected.canary.add(&of_b.canary);
    assert_eq!(world.store.tallies(&second).await.unwrap(), expected);
    assert_eq!(world.store.tallies(&first).await.unwrap(), CanaryTallies::default());
    let promote = RolloutDecision::Promote { reason: "1 of 5 failed".into() };
    assert!(world.store.advance(&second, &promote).await.unwrap());
    assert!(!world.store.advance(&second, &promote).await.unwrap());
    assert_eq!(world.states().await, ["1 RETIRED", "2 LIVE"]);
    let (_, lines) = world.store.release_history("p", 1).await.unwrap();
    assert_eq!((lines[0].reason.as_str(), lines[0].by.as_str()), ("1 of 5 failed", "tidegate"));
}

fn shadow_tally(same: u64, differences: &[DifferenceKind]) -> ShadowTally {
    let mut tally = ShadowTally::default();
    (0..same).for_each(|_| tally.count(EventId::generate(), Vec::new()));
    for kind in differences {
        let text = format!("\"{}\" → other\n'x'", kind.as_str());
        tally.count(EventId::generate(), vec![ShadowDifference { kind: *kind, text }]);
    }
    for reason in SkipReason::ALL {
        tally.skip(reason);
    }
    tally
}

async fn a_shadow_keeps_its_figures_over_hosts_and_is_live_only_by_an_approval(world: &World) {
    let plan = ShadowPlan { share: "20%".parse().unwrap(), events: 100 };
    let first = world.live(deploy("p", "one")).await;
    let shadow = |content| Deploy { shadow: Some(plan), ..next(content, &first) };
    let second = world.deployed(shadow("two")).await;
    assert_eq!((second.shadow, second.canary), (Some(plan), None));
    let Deployed::Already(_) = world.store.deploy(shadow("two")).await.unwrap() else { panic!() };
    let second = second.name;
    let begin = RolloutDecision::BeginShadow;
    assert!(!world.store.advance(&second, &begin).await.unwrap(), "no host has it");
    world.prepared("a", &second).await;
    assert!(world.store.advance(&second, &begin).await.unwrap());
    assert!(!world.store.advance(&second, &begin).await.unwrap());
    assert!(!world.store.advance(&second, &RolloutDecision::MakeLive).await.unwrap());
    assert_eq!(world.states().await, ["1 LIVE", "2 SHADOW"]);
    let plugins = world.store.plugins().await.unwrap();
    assert_eq!(plugins[0].candidate.as_ref().map(|it| &it.name), Some(&second));

    assert!(world.store.shadow_tallies("p").await.unwrap().is_empty());
    let of_a = shadow_tally(1, &[DifferenceKind::Verdict]);
    world.store.keep_shadow_tally(&host("a"), &second, &of_a).await.unwrap();
    // Sums, not additions: written again they count nothing twice.
    let of_a = shadow_tally(4, &DifferenceKind::ALL);
    for _ in 0..2 {
        world.store.keep_shadow_tally(&host("a"), &second, &of_a).await.unwrap();
    }
    let of_b = shadow_tally(2, &[]);
    world.store.keep_shadow_tally(&host("b"), &second, &of_b).await.unwrap();
    let mut expected = of_a;
    expected.add(&of_b);
    let sums = world.store.shadow_tallies("p").await.unwrap();
    assert_eq!(sums.into_iter().collect::<Vec<_>>(), [(2, expected)]);
    assert!(world.store.shadow_tallies("q").await.unwrap().is_empty());

    // A host that has just come must have it, too.
    world.store.check_in(&host("b")).await.unwrap();
    let approved = world.store.approve(&second, note("looks well")).await.unwrap();
    assert_eq!(approved, Approved::NotPrepared(vec!["b".into()]));
    world.prepared("b", &second).await;
    assert_eq!(world.store.approve(&second, note("looks well")).await.unwrap(), Approved::Now);
    assert_eq!(world.states().await, ["1 RETIRED", "2 LIVE"]);
    let decisions = world.decisions().await;
    assert_eq!(decisions[2..], ["2 deployed", "2 shadow", "2 promoted"]);
    // Its report stays; and a later one is taken back, or gives way.
    assert_eq!(world.store.shadow_tallies("p").await.unwrap().len(), 1);
    let shadow = |content| Deploy { shadow: Some(plan), ..next(content, &second) };
    let third = world.deployed(shadow("three")).await.name;
    for by in ["a", "b"] {
        world.prepared(by, &third).await;
    }
    assert!(world.store.advance(&third, &begin).await.unwrap());
    let back = world.store.roll_back("p", None, note("no")).await.unwrap();
    assert_eq!(back, RolledBack::CandidateTakenBack(3));
    let fourth = world.deployed(shadow("four")).await.name;
    for by in ["a", "b"] {
        world.prepared(by, &fourth).await;
    }
    assert!(world.store.advance(&fourth, &begin).await.unwrap());
    world.deployed(next("five", &second)).await;
    let states = world.states().await;
    assert_eq!(states[1..], ["2 LIVE", "3 ROLLED_BACK", "4 SUPERSEDED", "5 PREPARING"]);
}

async fn rolling_back_goes_to_the_one_before_and_takes_a_canary_back_first(world: &World) {
    let back = async |to| world.store.roll_back("p", to, note("it is wrong")).await.unwrap();
    assert_eq!(back(None).await, RolledBack::NothingBefore);
    let first = world.live(deploy("p", "one")).await;
    assert_eq!(back(None).await, RolledBack::NothingBefore);
    let second = world.live(next("two", &first)).await;
    let third = world.live(next("three", &second)).await;
    let plan = CanaryPlan { share: "5%".parse().unwrap(), events: 100 };
    let fourth = Deploy { canary: Some(plan), ..next("four", &third) };
    let fourth = world.deployed(fourth).await.name;
    world.prepared("a", &fourth).await;
    assert!(world.store.advance(&fourth, &RolloutDecision::BeginCanary).await.unwrap());
    assert_eq!(back(None).await, RolledBack::CandidateTakenBack(4));
    assert_eq!(world.states().await[2..], ["3 LIVE", "4 ROLLED_BACK"]);
    assert_eq!(back(Some(4)).await, RolledBack::NeverLive(4));
    assert_eq!(back(Some(3)).await, RolledBack::Already(3));
    assert_eq!(back(Some(9)).await, RolledBack::NothingBefore);
    assert_eq!(back(None).await, RolledBack::To(2));
    assert_eq!(world.states().await[..3], ["1 RETIRED", "2 LIVE", "3 ROLLED_BACK"]);
    // What was rolled back is not gone back to by itself, but by its number.
    assert_eq!(back(None).await, RolledBack::To(1));
    assert_eq!(back(Some(3)).await, RolledBack::To(3));
    assert_eq!(world.states().await[..3], ["1 ROLLED_BACK", "2 ROLLED_BACK", "3 LIVE"]);
}

async fn a_disabled_plugin_is_disabled_for_all_and_twice_is_once(world: &World) {
    let set = async |disabled| world.store.set_disabled("p", disabled, note("why")).await.unwrap();
    assert_eq!(set(true).await, None);
    world.live(deploy("p", "one")).await;
    assert_eq!((set(true).await, set(true).await), (Some(true), Some(false)));
    let plugins = world.store.plugins().await.unwrap();
    assert!(plugins[0].disabled && plugins[0].live.is_some());
    assert_eq!((plugins[0].reason.as_str(), plugins[0].changed_by.as_str()), ("why", "grace"));
    assert_eq!((set(false).await, set(false).await), (Some(true), Some(false)));
    let decisions = world.decisions().await;
    assert_eq!(decisions, ["1 deployed", "1 live", "- disabled", "- enabled"]);
}

async fn two_decisions_at_once_are_one(world: &World) {
    let first = world.live(deploy("p", "one")).await;
    let second = world.deployed(next("two", &first)).await.name;
    world.prepared("a", &second).await;
    let reject = RolloutDecision::Reject { reason: "late".into() };
    let (live, rejected, by_hand) = tokio::join!(
        world.store.advance(&second, &RolloutDecision::MakeLive),
        world.store.advance(&second, &reject),
        world.store.deploy(next("three", &first)),
    );
    let superseded = matches!(by_hand.unwrap(), Deployed::Now(_));
    let (live, rejected) = (live.unwrap(), rejected.unwrap());
    assert!(live || rejected || superseded);
    assert!(!(live && rejected), "one of them decides");
    let states = world.states().await;
    assert_eq!(states.iter().filter(|state| state.ends_with(" LIVE")).count(), 1, "{states:?}");
}

async fn a_change_of_releases_wakes_who_looks_after_them(world: &World) {
    let mut wakeups = world.store.release_wakeups();
    let other =
        crate::store::open(&world.url, crate::store::StoreOptions::default()).await.unwrap();
    wakeups.mark_unchanged();
    let name = world.deployed(deploy("p", "one")).await.name;
    assert!(wakeups.has_changed().unwrap());
    if let super::world::Db::Postgres(_) = world.db {
        // Another host hears of it, too; and it is no work for the dispatchers.
        let wait = Duration::from_secs(10);
        tokio::time::timeout(wait, wakeups.changed()).await.unwrap().unwrap();
        other.check_in(&host("b")).await.unwrap();
        wakeups.mark_unchanged();
        other.report(&host("b"), &name, &HostVerdict::Prepared).await.unwrap();
        tokio::time::timeout(wait, wakeups.changed()).await.unwrap().unwrap();
    }
    other.close().await;
}

async fn what_failed_on_a_canary_is_told_and_counted_as_nothing(world: &World) {
    let id = world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    let back = Decision::BackToLive { reason: "503".into(), outcome_unknown: true };
    let mut settled = settlement(&event, back);
    settled.attempt.on_canary = true;
    world.store.settle(vec![settled]).await.unwrap();
    let history = world.store.event(id).await.unwrap().unwrap();
    let EventState::Retrying { .. } = history.event.state else { panic!("{history:?}") };
    assert_eq!((history.event.attempt_count, history.event.deferral_count), (0, 0));
    assert!(history.event.outcome_unknown);
    assert!(!crate::domain::is_untroubled(&history.event));
    assert_eq!(history.entries.len(), 1);
    assert_eq!(
        (history.entries[0].kind, history.entries[0].reason.as_str()),
        (HistoryKind::Canary, "503")
    );
    assert_eq!(world.store.promote_due(10).await.unwrap(), 1);
    let again = world.claim_one("A").await;
    assert_eq!(again.last_error.as_deref(), Some("503"));
    world.settle_one(&again, done()).await;
    assert_eq!(world.row(id).await.attempt_count, 1);
}

async fn failures_are_grouped_by_release_and_replayed_by_it(world: &World) {
    let release = world.live(deploy("p", "one")).await;
    let digest = world.store.plugin_release(&release).await.unwrap().unwrap().digest;
    for aggregate in ["1", "2", "3", "4", "5"] {
        world.insert("A", aggregate).await;
    }
    let events = world.claim("A", 10).await;
    for (at, event) in events.iter().enumerate() {
        let text = if at < 3 { "no such user" } else { "no such asset" };
        let reason = FailureReason { code: FailureCode::Rejected, text: text.into() };
        let mut settled = settlement(event, Decision::Fail(reason));
        settled.attempt.release_digest = if at < 4 { digest.clone() } else { "f".repeat(64) };
        world.store.settle(vec![settled]).await.unwrap();
    }
    let groups = world.store.failures().await.unwrap();
    let seen: Vec<_> = groups
        .iter()
        .map(|it| (it.count, it.reason.as_str(), it.release.as_ref().map(|(_, state)| *state)))
        .collect();
    let live = Some(ReleaseState::Live);
    assert_eq!(seen[0], (3, "no such user", live));
    assert!(
        seen.contains(&(1, "no such asset", live)) && seen.contains(&(1, "no such asset", None))
    );
    let replay = async |reason, limit| {
        let release_digest = digest.as_str();
        let request = ReplayFailed { release_digest, reason, limit, asked_by: "ada" };
        world.store.replay_failed(request).await.unwrap()
    };
    assert_eq!(replay(Some("no such us"), 10).await, 0);
    assert_eq!(replay(Some("no such user"), 2).await, 2);
    assert_eq!(replay(None, 10).await, 2);
    assert_eq!(replay(None, 10).await, 0);
    assert_eq!(world.store.failures().await.unwrap().len(), 1);
    let history = world.store.event(events[0].id).await.unwrap().unwrap();
    assert_eq!(history.event.state, EventState::Pending);
    let last = history.entries.last().unwrap();
    assert_eq!((last.kind, last.reason.as_str()), (HistoryKind::Replayed, "ada"));
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Five releases, live one after another.
async fn five_releases(world: &World) -> Vec<PluginRelease> {
    let host = host("a");
    world.store.check_in(&host).await.unwrap();
    let mut releases = Vec::new();
    for number in 1..=5_u32 {
        let compared_with = (number > 1).then(|| number - 1);
        let request = Deploy { compared_with, ..deploy("p", &format!("component {number}")) };
        let Deployed::Now(release) = world.store.deploy(request).await.unwrap() else { panic!() };
        world.store.report(&host, &release.name, &HostVerdict::Prepared).await.unwrap();
        assert!(world.store.advance(&release.name, &RolloutDecision::MakeLive).await.unwrap());
        world.age(MINUTE).await;
        world.store.check_in(&host).await.unwrap();
        releases.push(release);
    }
    releases
}

async fn components_that_nobody_goes_back_to_are_deleted_and_nothing_else(world: &World) {
    let releases = five_releases(world).await;
    // Another plugin has the component of the first, and may need it.
    let held = Deploy { hold: Some("more".into()), ..deploy("other", "component 1") };
    world.store.deploy(held).await.unwrap();
    let kept = async || {
        let mut kept = Vec::new();
        for release in &releases {
            if world.store.component(&release.digest).await.unwrap().is_some() {
                kept.push(release.name.number);
            }
        }
        kept
    };
    assert_eq!(world.store.delete_old_components(2).await.unwrap(), 0, "they are young");
    world.age(DAY).await;
    assert_eq!(world.store.delete_old_components(4).await.unwrap(), 0);
    assert_eq!(world.store.delete_old_components(2).await.unwrap(), 1);
    assert_eq!(kept().await, [1, 3, 4, 5]);
    assert_eq!(world.store.delete_old_components(2).await.unwrap(), 0);
    // What it was can still be read, and there is no way back to it.
    let gone = world.store.plugin_release(&releases[1].name).await.unwrap().unwrap();
    assert_eq!(gone.digest, releases[1].digest);
    let back = async |to| world.store.roll_back("p", to, note("back")).await.unwrap();
    assert_eq!(back(Some(2)).await, RolledBack::ComponentGone(2));
    assert_eq!(back(None).await, RolledBack::To(4));
}

async fn a_component_that_was_deleted_comes_back_with_a_deploy(world: &World) {
    let releases = five_releases(world).await;
    world.age(DAY).await;
    assert_eq!(world.store.delete_old_components(1).await.unwrap(), 3);
    let again = Deploy { compared_with: Some(5), ..deploy("p", "component 1") };
    let Deployed::Now(again) = world.store.deploy(again).await.unwrap() else { panic!() };
    assert_eq!(again.digest, releases[0].digest);
    let bytes = world.store.component(&again.digest).await.unwrap();
    assert_eq!(bytes.as_deref(), Some(&b"component 1"[..]));
    assert_eq!(world.store.delete_old_components(1).await.unwrap(), 0, "it is the candidate's");
}
