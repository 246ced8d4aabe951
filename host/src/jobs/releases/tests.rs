use sha2::{Digest, Sha256};

use super::load::hexadecimal;
use super::*;
use crate::domain::{CanaryPlan, ShadowPlan};
use crate::plugin::tests::wat;
use crate::plugin::{Routes, SandboxEngine};
use crate::store::{Deploy, Deployed, ReleaseNote, Store, StoreOptions, open};

const MANIFEST: &str = "name = \"p\"\nhandles = [\"A\"]\n";

/// A file that several hosts share, as only tests may.
struct Fleet {
    store: Arc<dyn Store>,
    engine: SandboxEngine,
    _folder: tempfile::TempDir,
}

impl Fleet {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("tide.db").display());
        let store = open(&url.parse().unwrap(), StoreOptions::default()).await.unwrap();
        Self { store, engine: SandboxEngine::start().unwrap(), _folder: folder }
    }

    /// A host that is alive and has looked once.
    async fn host(&self, name: &str) -> ReleasesJob {
        let job = ReleasesJob {
            store: Arc::clone(&self.store) as _,
            registry: Arc::new(Registry::new(Routes::default())),
            admission: Arc::new(Admission::new(self.engine.clone(), None)),
            host: HostId::from_text(name.to_owned()),
            poll: Duration::from_millis(10),
            prepare_within: Duration::from_secs(60),
            memory: Mutex::default(),
        };
        job.begin().await.unwrap();
        job
    }

    async fn deploy(&self, change: impl FnOnce(&mut Deploy)) -> ReleaseName {
        let plugins = self.store.plugins().await.unwrap();
        let live = plugins.first().and_then(|plugin| plugin.live.as_ref());
        let mut request = Deploy {
            plugin: "p".into(),
            component: component("one"),
            digest: String::new(),
            manifest: MANIFEST.into(),
            manifest_digest: "m".into(),
            signature: None,
            canary: None,
            shadow: None,
            compared_with: live.map(|live| live.name.number),
            hold: None,
            by: "ada".into(),
            key: None,
        };
        change(&mut request);
        if request.digest.is_empty() {
            request.digest = hexadecimal(&Sha256::digest(&request.component));
        }
        match self.store.deploy(request).await.unwrap() {
            Deployed::Now(release) => release.name,
            other => panic!("{other:?}"),
        }
    }

    async fn state(&self, name: &ReleaseName) -> (ReleaseState, String) {
        let release = self.store.plugin_release(name).await.unwrap().unwrap();
        (release.state, release.reason.unwrap_or_default())
    }
}

/// A component of its own for each text.
fn component(text: &str) -> Vec<u8> {
    let global = format!("(global (export \"{text}\") i32 (i32.const 0))");
    wat::plugin(&global, "i32.const 1024", "")
}

fn live_digest(job: &ReleasesJob) -> Option<String> {
    let current = job.registry.current();
    current.of_plugin("p").map(|release| release.digest().to_owned())
}

async fn settle(jobs: &[&ReleasesJob]) {
    for _ in 0..4 {
        for job in jobs {
            job.run_once().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_live_on_both_hosts_or_on_none_and_a_later_host_has_it_at_once() {
    let fleet = Fleet::new().await;
    let (a, b) = (fleet.host("a").await, fleet.host("b").await);
    let first = fleet.deploy(|_| {}).await;
    let pass = a.run_once().await.unwrap();
    assert_eq!(pass, ReleasesPass { loaded: 1, steps: 0 });
    assert_eq!(live_digest(&a), None, "b has not seen it yet");
    settle(&[&b, &a]).await;
    assert_eq!(fleet.state(&first).await.0, ReleaseState::Live);
    assert!(live_digest(&a).is_some());
    assert_eq!(live_digest(&a), live_digest(&b));
    // Nothing is left to do, and nothing is done twice.
    assert_eq!(a.run_once().await.unwrap(), ReleasesPass::default());

    let broken = fleet.deploy(|it| it.component = b"\0asm\x0d\0\x01\0broken".to_vec()).await;
    settle(&[&a, &b]).await;
    let (state, reason) = fleet.state(&broken).await;
    assert_eq!(state, ReleaseState::Rejected);
    assert!(reason.starts_with("a: p: the component does not validate"), "{reason}");
    assert_eq!(fleet.state(&first).await.0, ReleaseState::Live);
    let old = live_digest(&b);
    assert!(old.is_some());
    let late = fleet.host("late").await;
    assert_eq!(live_digest(&late), old, "before it claims");
    fleet.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_those_of_the_digest_are_not_loaded() {
    let fleet = Fleet::new().await;
    let a = fleet.host("a").await;
    let other = "0".repeat(64);
    let release = fleet.deploy(|it| it.digest = other).await;
    settle(&[&a]).await;
    let (state, reason) = fleet.state(&release).await;
    assert_eq!(state, ReleaseState::Rejected);
    assert_eq!(reason, "a: the stored component is another one than its digest says");
    fleet.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_plugins_that_claim_one_route_are_told_before_the_second_is_live() {
    let fleet = Fleet::new().await;
    let a = fleet.host("a").await;
    fleet.deploy(|_| {}).await;
    settle(&[&a]).await;
    let second = fleet
        .deploy(|it| {
            it.plugin = "q".into();
            it.manifest = MANIFEST.replace("\"p\"", "\"q\"");
            it.compared_with = None;
        })
        .await;
    settle(&[&a]).await;
    let (state, reason) = fleet.state(&second).await;
    assert_eq!(state, ReleaseState::Rejected);
    assert!(reason.starts_with("a: both p and q handle A"), "{reason}");
    fleet.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_begins_is_counted_and_is_promoted_or_taken_back_on_every_host() {
    let fleet = Fleet::new().await;
    let (a, b) = (fleet.host("a").await, fleet.host("b").await);
    fleet.deploy(|_| {}).await;
    settle(&[&a, &b]).await;
    let old = live_digest(&a);
    let plan = CanaryPlan { share: "50%".parse().unwrap(), events: 30 };
    let tried = async |text: &str, failed: bool| {
        let name = fleet
            .deploy(|it| {
                it.component = component(text);
                it.canary = Some(plan);
            })
            .await;
        settle(&[&a, &b]).await;
        assert_eq!(fleet.state(&name).await.0, ReleaseState::Canary);
        assert_eq!(live_digest(&b), old, "most events stay where they are");
        for job in [&a, &b] {
            let canaries = job.registry.canaries().current();
            let canary = canaries.of_plugin("p").unwrap();
            let digest = canary.release.digest().to_owned();
            (0..20).for_each(|_| canary.count(true, &digest, !failed, Duration::from_millis(1)));
            canary.count(true, "of another", false, Duration::from_millis(1));
            canary.count(false, "old", true, Duration::from_millis(1));
        }
        settle(&[&a, &b]).await;
        name
    };
    let bad = tried("bad", true).await;
    let (state, reason) = fleet.state(&bad).await;
    assert_eq!(state, ReleaseState::RolledBack);
    assert!(reason.contains("canary: 20 of 20 failed (100.0 %)"), "{reason}");
    for job in [&a, &b] {
        assert!(job.registry.canaries().current().is_empty());
        assert_eq!(live_digest(job), old);
    }
    let good = tried("good", false).await;
    let (state, _) = fleet.state(&good).await;
    assert_eq!(state, ReleaseState::Live);
    assert_ne!(live_digest(&a), old);
    assert_eq!(live_digest(&a), live_digest(&b));
    assert!(a.registry.canaries().current().is_empty());
    fleet.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_begins_on_every_host_and_is_live_or_ended_by_a_person() {
    let fleet = Fleet::new().await;
    let (a, b) = (fleet.host("a").await, fleet.host("b").await);
    let note = ReleaseNote { reason: "why", by: "ada" };
    fleet.deploy(|_| {}).await;
    settle(&[&a, &b]).await;
    let old = live_digest(&a);
    let plan = ShadowPlan { share: "50%".parse().unwrap(), events: 10 };
    let begun = async |text: &str| {
        let name = fleet
            .deploy(|it| {
                it.component = component(text);
                it.shadow = Some(plan);
            })
            .await;
        settle(&[&a, &b]).await;
        assert_eq!(fleet.state(&name).await.0, ReleaseState::Shadow);
        for job in [&a, &b] {
            assert_eq!(live_digest(job), old, "all events stay where they are");
            assert!(job.registry.canaries().current().is_empty());
            let shadow = job.registry.shadows().of_plugin("p").unwrap();
            assert_eq!(shadow.name, name);
        }
        name
    };
    begun("taken back").await;
    fleet.store.roll_back("p", None, note).await.unwrap();
    settle(&[&a, &b]).await;
    assert!([&a, &b].iter().all(|job| job.registry.shadows().of_plugin("p").is_none()));

    let name = begun("approved").await;
    // However long it takes, it is not live by itself.
    settle(&[&a, &b]).await;
    assert_eq!(fleet.state(&name).await.0, ReleaseState::Shadow);
    let tallies = fleet.store.shadow_tallies("p").await.unwrap();
    assert_eq!(tallies[&name.number].copies(), 0, "and its report is there");
    fleet.store.approve(&name, note).await.unwrap();
    settle(&[&a, &b]).await;
    assert_eq!(fleet.state(&name).await.0, ReleaseState::Live);
    for job in [&a, &b] {
        assert_ne!(live_digest(job), old);
        assert!(job.registry.shadows().of_plugin("p").is_none());
    }
    fleet.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_and_a_switch_reach_every_host_and_a_held_release_none() {
    let fleet = Fleet::new().await;
    let (a, b) = (fleet.host("a").await, fleet.host("b").await);
    let note = ReleaseNote { reason: "why", by: "ada" };
    fleet.deploy(|_| {}).await;
    settle(&[&a, &b]).await;
    let old = live_digest(&a);
    fleet.deploy(|it| it.component = component("two")).await;
    settle(&[&a, &b]).await;
    assert_ne!(live_digest(&a), old);
    let held = fleet
        .deploy(|it| {
            it.component = component("three");
            it.hold = Some("handles B".into());
        })
        .await;
    settle(&[&a, &b]).await;
    assert_eq!(fleet.state(&held).await.0, ReleaseState::Held);
    let shown = a.registry.statuses();
    let held = shown.iter().find(|status| status.state == PluginState::Held).unwrap();
    assert_eq!(held.reason.as_deref(), Some("p #3 is held: handles B"));
    fleet.store.roll_back("p", None, note).await.unwrap();
    fleet.store.roll_back("p", None, note).await.unwrap();
    settle(&[&a, &b]).await;
    assert_eq!((live_digest(&a), live_digest(&b)), (old.clone(), old.clone()));

    fleet.store.set_disabled("p", true, note).await.unwrap();
    settle(&[&a, &b]).await;
    assert_eq!((live_digest(&a), live_digest(&b)), (None, None));
    fleet.store.set_disabled("p", false, note).await.unwrap();
    settle(&[&a, &b]).await;
    assert_eq!((live_digest(&a), live_digest(&b)), (old.clone(), old));
    fleet.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_hears_of_a_deploy_and_stops_at_once() {
    let fleet = Fleet::new().await;
    let job = ReleasesJob { poll: Duration::from_secs(3_600), ..fleet.host("a").await };
    let registry = Arc::clone(&job.registry);
    let mut changes = registry.changes();
    let stop = CancellationToken::new();
    let running = tokio::spawn(job.run(Arc::default(), stop.clone()));
    fleet.deploy(|_| {}).await;
    let within = Duration::from_secs(30);
    tokio::time::timeout(within, changes.changed()).await.unwrap().unwrap();
    assert!(registry.current().of_plugin("p").is_some());
    stop.cancel();
    tokio::time::timeout(within, running).await.unwrap().unwrap();
    let name = ReleaseName { plugin: "p".into(), number: 1 };
    assert_eq!(fleet.store.standings(&name).await.unwrap(), [], "nobody waits for it");
    fleet.store.close().await;
}
