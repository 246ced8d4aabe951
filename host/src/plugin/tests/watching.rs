//! The watcher, with real files: what becomes live, when, and what never does.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::components::ENGINE;
use super::wat;
use crate::plugin::{
    Admission, Approvals, KnownManifest, PluginState, PluginStatus, Registry, Routes, ServiceError,
    Watcher,
};

const DEADLINE: Duration = Duration::from_secs(30);
/// Longer than any candidate is waited for.
const LONG: Duration = Duration::from_millis(700);

/// A folder of plugins that is watched, and every component that was ever live.
struct Scene {
    plugins: tempfile::TempDir,
    registry: Arc<Registry>,
    live: Arc<Mutex<BTreeSet<String>>>,
    stop: CancellationToken,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Scene {
    /// With `prepare` done before the start.
    async fn start(prepare: impl FnOnce(&Path)) -> Self {
        Self::start_with(prepare, None).await
    }

    /// The same, where what asks for more must be approved.
    async fn start_holding(prepare: impl FnOnce(&Path), approvals: Arc<Approved>) -> Self {
        Self::start_with(prepare, Some(approvals)).await
    }

    async fn start_with(
        prepare: impl FnOnce(&Path),
        approvals: Option<Arc<dyn Approvals>>,
    ) -> Self {
        let plugins = tempfile::tempdir().unwrap();
        prepare(plugins.path());
        let registry = Arc::new(Registry::new(Routes::default()));
        let live = Arc::new(Mutex::new(BTreeSet::new()));
        let stop = CancellationToken::new();
        let (seen, watched, stopped) = (live.clone(), registry.clone(), stop.clone());
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            let mut changes = watched.changes();
            loop {
                let routes = watched.current();
                let digests = routes.releases().iter().map(|it| it.digest().to_owned());
                seen.lock().unwrap().extend(digests);
                drop(routes);
                changes.changed().await.unwrap();
            }
        }));
        let admission = Arc::new(Admission::new(ENGINE.clone(), None));
        let folder = plugins.path().to_owned();
        let watcher = Watcher::start(folder, admission, registry.clone(), approvals).await.unwrap();
        tokio::spawn(watcher.run(stop.clone()));
        Self { plugins, registry, live, stop }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.plugins.path().join(name)
    }

    fn live_digest(&self, plugin: &str) -> Option<String> {
        Some(self.registry.current().of_plugin(plugin)?.digest().to_owned())
    }

    async fn becomes(&self, what: &str, is: impl Fn() -> bool) {
        let wait = async {
            while !is() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("{what}: {:#?}", self.registry.statuses());
        }
    }

    async fn goes_live(&self, plugin: &str, component: &[u8]) {
        let wanted = Some(digest(component));
        self.becomes("goes live", || self.live_digest(plugin) == wanted).await;
    }

    async fn is_rejected(&self, origin: &str, said: &str) {
        let origin = self.folder(origin).display().to_string();
        let rejected = || {
            self.registry.statuses().iter().any(|status| {
                status.origin == origin
                    && status.state == PluginState::Rejected
                    && status.reason.as_deref().unwrap_or_default().contains(said)
            })
        };
        self.becomes(said, rejected).await;
    }

    /// Nothing but these was ever live.
    #[track_caller]
    fn only_ever_live(&self, components: &[&[u8]]) {
        let expected: BTreeSet<_> = components.iter().map(|it| digest(it)).collect();
        assert_eq!(*self.live.lock().unwrap(), expected);
    }
}

fn digest(component: &[u8]) -> String {
    Sha256::digest(component).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn manifest(name: &str, event_type: &str) -> String {
    format!("name = \"{name}\"\nhandles = [\"{event_type}\"]\n")
}

/// A component of 40 KB, told apart by its mark.
fn component(mark: u8) -> Vec<u8> {
    let data = format!("(data (i32.const 8192) \"{}\")", "x".repeat(40_000));
    marked(&wat::plugin(&data, "i32.const 1024", ""), mark)
}

/// With a custom section at the end, which changes nothing but the digest.
fn marked(component: &[u8], mark: u8) -> Vec<u8> {
    [component, &[0, 6, 4, b'm', b'a', b'r', b'k', mark]].concat()
}

fn install(plugins: &Path, name: &str, event_type: &str, component: &[u8]) {
    let folder = plugins.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("plugin.toml"), manifest(name, event_type)).unwrap();
    fs::write(folder.join("component.wasm"), component).unwrap();
}

async fn one_live() -> (Scene, Vec<u8>) {
    let old = component(1);
    let scene = Scene::start(|plugins| install(plugins, "a", "A", &old)).await;
    assert_eq!(scene.live_digest("a"), Some(digest(&old)), "it is live when the start is over");
    (scene, old)
}

#[tokio::test]
async fn a_new_component_becomes_live_however_it_is_written() {
    let (scene, old) = one_live().await;
    let file = scene.folder("a").join("component.wasm");
    let (copied, renamed, linked) = (component(2), component(3), component(4));
    fs::write(&file, &copied).unwrap();
    scene.goes_live("a", &copied).await;
    // As rsync and careful editors do.
    let partial = scene.folder("a").join(".component.wasm.Xq31");
    fs::write(&partial, &renamed).unwrap();
    fs::rename(&partial, &file).unwrap();
    scene.goes_live("a", &renamed).await;
    // As editors do that keep a backup.
    fs::rename(&file, scene.folder("a").join("component.wasm~")).unwrap();
    fs::write(&file, &linked).unwrap();
    scene.goes_live("a", &linked).await;
    scene.only_ever_live(&[&old, &copied, &renamed, &linked]);
}

#[tokio::test]
async fn a_component_written_in_pieces_is_live_only_when_it_is_whole() {
    for (pieces, reopened) in [(1, false), (10, false), (100, false), (10, true), (100, true)] {
        let (scene, old) = one_live().await;
        let file = scene.folder("a").join("component.wasm");
        let new = component(2);
        let mut open = File::create(&file).unwrap();
        for piece in new.chunks(new.len().div_ceil(pieces)) {
            open.write_all(piece).unwrap();
            if reopened {
                drop(open);
                open = OpenOptions::new().append(true).open(&file).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(if pieces > 10 { 20 } else { 60 })).await;
        }
        drop(open);
        scene.goes_live("a", &new).await;
        scene.only_ever_live(&[&old, &new]);
    }
}

#[tokio::test]
async fn a_beginning_that_is_valid_by_itself_is_not_taken_for_the_whole() {
    let (scene, old) = one_live().await;
    let file = scene.folder("a").join("component.wasm");
    let whole = component(2);
    let (beginning, end) = whole.split_at(whole.len() - 8);
    // One writer that holds the file open and pauses.
    let mut open = File::create(&file).unwrap();
    open.write_all(beginning).unwrap();
    tokio::time::sleep(2 * LONG).await;
    open.write_all(end).unwrap();
    drop(open);
    scene.goes_live("a", &whole).await;
    // One that opens it anew for each piece.
    let next = component(3);
    let (beginning, end) = next.split_at(next.len() - 8);
    fs::write(&file, b"").unwrap();
    for piece in beginning.chunks(4_000).chain([end]) {
        let mut open = OpenOptions::new().append(true).open(&file).unwrap();
        open.write_all(piece).unwrap();
        drop(open);
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    scene.goes_live("a", &next).await;
    scene.only_ever_live(&[&old, &whole, &next]);
}

#[tokio::test]
async fn what_is_no_fit_component_is_rejected_with_its_reason_and_the_old_one_stays() {
    let (scene, old) = one_live().await;
    let file = scene.folder("a").join("component.wasm");
    let new = component(2);
    let mut flipped = new.clone();
    flipped[new.len() / 3] ^= 0x80;
    flipped[20] ^= 0xff;
    let foreign = wat::importing("other:world/thing@1.0.0");
    let cases: [(&[u8], &str); 6] = [
        (&new[..new.len() / 2], "does not validate"),
        (&flipped, "does not validate"),
        (b"", "its first bytes are not those of WebAssembly"),
        (&wat::binary("(module)"), "it is a core module"),
        (&foreign, "imports other:world/thing@1.0.0, which this host does not offer"),
        (&wat::binary("(component)"), "does not export tidegate:plugin/handler"),
    ];
    for (bytes, said) in cases {
        fs::write(&file, bytes).unwrap();
        scene.is_rejected("a", said).await;
    }
    let sparse = File::create(&file).unwrap();
    sparse.set_len(200 << 20).unwrap();
    drop(sparse);
    scene.is_rejected("a", "it has more than 67108864 bytes").await;
    assert_eq!(scene.live_digest("a"), Some(digest(&old)));
    scene.only_ever_live(&[&old]);
    fs::write(&file, &new).unwrap();
    scene.goes_live("a", &new).await;
    assert_eq!(scene.registry.statuses().len(), 1, "and the rejection is forgotten");
}

#[tokio::test]
async fn a_link_out_of_the_folder_is_rejected() {
    let (scene, old) = one_live().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("component.wasm");
    fs::write(&outside, component(2)).unwrap();
    let file = scene.folder("a").join("component.wasm");
    fs::remove_file(&file).unwrap();
    symlink(&outside, &file).unwrap();
    scene.is_rejected("a", "outside of the folder of plugins").await;
    assert_eq!(scene.live_digest("a"), Some(digest(&old)));
}

#[tokio::test]
async fn a_switched_link_changes_manifest_and_component_together() {
    let scene = Scene::start(|plugins| {
        let folder = plugins.join("a");
        fs::create_dir(&folder).unwrap();
        install(&folder, "..1", "ONE", &component(1));
        install(&folder, "..2", "TWO", &component(2));
        for of in ["..1", "..2"] {
            let text = fs::read_to_string(folder.join(of).join("plugin.toml")).unwrap();
            fs::write(folder.join(of).join("plugin.toml"), text.replace(of, "a")).unwrap();
        }
        symlink("..1", folder.join("..data")).unwrap();
        for name in ["plugin.toml", "component.wasm"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    })
    .await;
    assert_eq!(scene.live_digest("a"), Some(digest(&component(1))));
    let folder = scene.folder("a");
    symlink("..2", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    scene.goes_live("a", &component(2)).await;
    let routes = scene.registry.current();
    let types: Vec<_> = routes.event_types().map(|it| it.as_str().to_owned()).collect();
    assert_eq!(types, ["TWO"]);
}

#[tokio::test]
async fn another_manifest_beside_the_same_component_is_another_release() {
    let (scene, _) = one_live().await;
    let file = scene.folder("a").join("plugin.toml");
    let text = format!("{}[limits]\nconcurrency = 3\n", manifest("a", "A"));
    fs::write(&file, &text).unwrap();
    let has = |concurrency| {
        let routes = scene.registry.current();
        routes.of_plugin("a").is_some_and(|it| it.manifest().limits.concurrency == concurrency)
    };
    scene.becomes("has three places", || has(3)).await;
    fs::write(&file, "name = \"a\"\n").unwrap();
    scene.is_rejected("a", "missing field `handles`").await;
    assert!(has(3));
}

#[tokio::test]
async fn anothers_name_or_route_is_rejected_until_the_other_goes() {
    let (scene, old) = one_live().await;
    install(scene.plugins.path(), "b", "A", &component(2));
    scene.is_rejected("b", "both a and b handle A").await;
    fs::write(scene.folder("b").join("plugin.toml"), manifest("a", "B")).unwrap();
    scene.is_rejected("b", "both hold a plugin of the name a").await;
    assert_eq!(scene.live_digest("a"), Some(digest(&old)));
    fs::remove_dir_all(scene.folder("a")).unwrap();
    scene.goes_live("a", &component(2)).await;
}

#[tokio::test]
async fn a_plugin_whose_files_go_retires_and_comes_back() {
    let (scene, old) = one_live().await;
    let file = scene.folder("a").join("component.wasm");
    fs::remove_file(&file).unwrap();
    scene.becomes("retires", || scene.live_digest("a").is_none()).await;
    scene.is_rejected("a", "component.wasm is missing").await;
    fs::write(&file, &old).unwrap();
    scene.goes_live("a", &old).await;
    fs::remove_dir_all(scene.folder("a")).unwrap();
    scene.becomes("retires", || scene.live_digest("a").is_none()).await;
    scene.becomes("is forgotten", || scene.registry.statuses().is_empty()).await;
    install(scene.plugins.path(), "a", "A", &component(2));
    scene.goes_live("a", &component(2)).await;
}

#[tokio::test]
async fn a_folder_that_is_renamed_goes_on() {
    let (scene, old) = one_live().await;
    fs::rename(scene.folder("a"), scene.folder("b")).unwrap();
    let origin = scene.folder("b").display().to_string();
    let moved = || scene.registry.statuses().iter().any(|it| it.origin == origin);
    scene.becomes("is known by its new folder", moved).await;
    scene.goes_live("a", &old).await;
}

#[tokio::test]
async fn a_folder_of_plugins_that_goes_leaves_what_is_live() {
    let (scene, old) = one_live().await;
    let away = scene.plugins.path().with_extension("away");
    fs::rename(scene.plugins.path(), &away).unwrap();
    tokio::time::sleep(LONG).await;
    assert_eq!(scene.live_digest("a"), Some(digest(&old)));
    fs::rename(&away, scene.plugins.path()).unwrap();
    install(scene.plugins.path(), "a", "A", &component(2));
    scene.goes_live("a", &component(2)).await;
}

#[tokio::test]
async fn a_bad_plugin_at_the_start_is_shown_and_stops_nobody() {
    let good = component(1);
    let scene = Scene::start(|plugins| {
        install(plugins, "good", "A", &good);
        install(plugins, "bad", "B", b"\0asm\x0d\0\x01\0garbage");
        install(plugins, "late", "A", &component(2));
        fs::create_dir(plugins.join("no-plugin")).unwrap();
    })
    .await;
    assert_eq!(scene.live_digest("good"), Some(digest(&good)));
    let rejected: Vec<_> = scene.registry.statuses().into_iter().collect();
    let rejected = rejected.iter().filter(|it| it.state == PluginState::Rejected);
    assert_eq!(rejected.map(|it| it.plugin.as_str()).collect::<Vec<_>>(), ["bad", "late"]);
    let nowhere = scene.plugins.path().join("nowhere");
    let admission = Arc::new(Admission::new(ENGINE.clone(), None));
    let error =
        Watcher::start(nowhere, admission, scene.registry.clone(), None).await.err().unwrap();
    assert!(error.to_string().contains("nowhere: cannot be read"), "{error}");
}

/// Approvals that a test gives, and what was live.
#[derive(Default)]
struct Approved(Mutex<Vec<KnownManifest>>);

#[async_trait::async_trait]
impl Approvals for Approved {
    async fn manifests(&self, _: &str) -> Result<Vec<KnownManifest>, ServiceError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn keep_live(&self, _: &str, digest: &str, text: &str) -> Result<(), ServiceError> {
        let known = KnownManifest { digest: digest.to_owned(), text: Some(text.to_owned()) };
        let mut all = self.0.lock().unwrap();
        all.retain(|it| it.digest != digest);
        all.insert(0, known);
        Ok(())
    }
}

impl Scene {
    async fn is_held(&self, said: &str) -> PluginStatus {
        let held = || {
            let statuses = self.registry.statuses();
            statuses.into_iter().find(|status| {
                status.state == PluginState::Held
                    && status.reason.as_deref().unwrap_or_default().contains(said)
            })
        };
        self.becomes(said, || held().is_some()).await;
        held().unwrap()
    }
}

const WIDER: &str = "name = \"a\"\nhandles = [\"A\"]\n[grants]\nhttp = [\"https://b.example\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_asks_for_more_is_held_until_it_is_approved_and_the_old_one_stays_live() {
    let approved = Arc::new(Approved::default());
    let (old, new) = (component(1), component(2));
    let scene =
        Scene::start_holding(|plugins| install(plugins, "a", "A", &old), approved.clone()).await;
    scene.goes_live("a", &old).await;
    fs::write(scene.folder("a").join("plugin.toml"), WIDER).unwrap();
    let held = scene.is_held("may also call https://b.example").await;
    assert!(held.reason.unwrap().contains("tidegate plugin approve a"));
    let live = scene.registry.current();
    assert!(live.of_plugin("a").unwrap().manifest().grants.http.is_empty());
    // Another component changes nothing about what it asks for.
    fs::write(scene.folder("a").join("component.wasm"), &new).unwrap();
    scene
        .becomes("the new one is held", || {
            let held =
                scene.registry.statuses().into_iter().find(|it| it.state == PluginState::Held);
            held.is_some_and(|held| held.digest == Some(digest(&new)))
        })
        .await;
    let digest = held.manifest.unwrap().digest;
    approved.0.lock().unwrap().push(KnownManifest { digest, text: None });
    scene.goes_live("a", &new).await;
    scene
        .becomes("nothing is held", || {
            scene.registry.statuses().iter().all(|status| status.state != PluginState::Held)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_stays_so_over_a_start_and_what_was_live_needs_no_approval() {
    let narrow = KnownManifest { digest: "0".repeat(64), text: Some(manifest("a", "A")) };
    let approved = Arc::new(Approved(Mutex::new(vec![narrow])));
    let wider = |plugins: &Path| {
        install(plugins, "a", "A", &component(1));
        fs::write(plugins.join("a").join("plugin.toml"), WIDER).unwrap();
    };
    let scene = Scene::start_holding(wider, approved.clone()).await;
    scene.is_held("may also call https://b.example").await;
    assert_eq!(scene.live_digest("a"), None);
    // One that was live before may be live again.
    let text = manifest("a", "A");
    fs::write(scene.folder("a").join("plugin.toml"), &text).unwrap();
    scene.goes_live("a", &component(1)).await;
    scene.becomes("it is remembered", || approved.0.lock().unwrap().len() == 2).await;
    let again =
        Scene::start_holding(|plugins| install(plugins, "a", "A", &component(1)), approved.clone());
    assert_eq!(again.await.live_digest("a"), Some(digest(&component(1))));
}
