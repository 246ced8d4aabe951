//! Follows the folder of plugins: what changes there is settled, admitted, and made live.
//!
//! The system's announcements only wake it up, and say which files are open for writing; what holds
//! is what it sees when it looks. So a lost announcement, or a mount that has none, costs time and
//! nothing else.

mod admitting;
mod announcements;
mod holding;
mod look;
mod settling;
#[cfg(test)]
mod settling_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admission::Admission;
use super::approvals::Approvals;
use super::folder::{FolderError, plugin_folders};
use super::registry::Registry;
use super::release::Release;
use super::status::Refusal;
use admitting::{CameTo, admit, incomplete, origin};
use announcements::Announcements;
use holding::{Held, clashes};
use look::Look;
use settling::{Next, Settling};

/// How often it looks where nothing was announced; and where nothing is ever announced.
const RESCAN: Duration = Duration::from_secs(2);
const RESCAN_UNANNOUNCED: Duration = Duration::from_millis(250);
/// Between two looks, however much is announced.
const PAUSE: Duration = Duration::from_millis(5);
/// How often it looks whether what is held was approved.
const HELD_RESCAN: Duration = Duration::from_millis(500);
/// At the start, files that are younger may still be written.
const YOUNG: Duration = Duration::from_millis(200);
/// How long a folder must be gone before its plugin retires.
const GONE: Duration = Duration::from_millis(200);

/// The watcher of one folder of plugins.
pub struct Watcher {
    plugins: PathBuf,
    admission: Arc<Admission>,
    registry: Arc<Registry>,
    /// What operators approved; none where nothing is held.
    approvals: Option<Arc<dyn Approvals>>,
    announcements: Announcements,
    entries: BTreeMap<PathBuf, Entry>,
    tries: JoinSet<Tried>,
    /// Said once, until it is there again.
    unreadable: bool,
}

/// One plugin's folder.
struct Entry {
    settling: Settling,
    gone_at: Option<Instant>,
    /// A try of it is running.
    busy: bool,
    /// Why the last try failed.
    refusal: Option<Refusal>,
    /// A release that clashes with another plugin. It becomes live when that one goes.
    blocked: Option<Arc<Release>>,
    /// A release that waits for an approval.
    held: Option<Held>,
}

/// What became of reading a folder.
struct Tried {
    folder: PathBuf,
    look: Look,
    came_to: CameTo,
}

impl Watcher {
    /// Loads what is there, and follows it from then on. A plugin that is not fit is told and left
    /// out: its events wait.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub async fn start(
        plugins: PathBuf,
        admission: Arc<Admission>,
        registry: Arc<Registry>,
        approvals: Option<Arc<dyn Approvals>>,
    ) -> Result<Self, FolderError> {
        let announcements = Announcements::of(&plugins);
        let mut watcher = Self {
            plugins,
            admission,
            registry,
            approvals,
            announcements,
            entries: BTreeMap::new(),
            tries: JoinSet::new(),
            unreadable: false,
        };
        watcher.load().await.map_err(|error| FolderError::Unreadable {
            folder: watcher.plugins.display().to_string(),
            cause: error.to_string(),
        })?;
        Ok(watcher)
    }

    /// The first pass: all that is there becomes live in the order of the names, so that of two
    /// that clash it is always the same one.
    async fn load(&mut self) -> std::io::Result<()> {
        let mut looks = scan(&self.plugins).await?;
        let ages = looks.iter().filter_map(|(_, look)| Some(look.as_ref()?.age(SystemTime::now())));
        let age = ages.min();
        if let Some(age) = age.filter(|age| *age < YOUNG) {
            tokio::time::sleep(YOUNG - age).await;
            looks = scan(&self.plugins).await?;
        }
        let now = Instant::now();
        for (folder, look) in looks {
            // What cannot be looked at is told by the next pass.
            let Some(look) = look else { continue };
            self.entries.insert(folder.clone(), Entry::new(Settling::tried(look.clone(), now)));
            self.start_try(folder, look);
        }
        let mut tried = BTreeMap::new();
        while let Some(ended) = self.tries.join_next().await {
            if let Ok(ended) = ended {
                tried.insert(ended.folder.clone(), ended);
            }
        }
        for (_, ended) in tried {
            self.finish(ended);
        }
        for (folder, entry) in &mut self.entries {
            entry.tell_refusal(&self.registry, folder);
        }
        Ok(())
    }

    /// Follows the folder until the stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.registry.changes();
        loop {
            let announced = self.announcements.take();
            changes.borrow_and_update();
            self.retry_blocked();
            self.retry_held().await;
            self.look(announced).await;
            let wait = self.act().saturating_duration_since(Instant::now()).max(PAUSE);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.announcements.wait() => tokio::time::sleep(PAUSE).await,
                () = tokio::time::sleep(wait) => {}
                _ = changes.changed() => {}
                Some(ended) = self.tries.join_next() => match ended {
                    Ok(ended) => self.finish(ended),
                    Err(error) => self.lost_try(&error),
                },
            }
        }
    }

    /// Takes in what is there now.
    async fn look(&mut self, announced: bool) {
        self.announcements.follow(&self.plugins);
        let looks = match scan(&self.plugins).await {
            Ok(looks) => looks,
            Err(error) => {
                // What is live stays live: a mount may be away for a moment.
                if !std::mem::replace(&mut self.unreadable, true) {
                    tracing::error!(folder = %self.plugins.display(), %error, "the folder of plugins cannot be read; what is live stays so");
                }
                return;
            }
        };
        self.unreadable = false;
        let now = Instant::now();
        let there: BTreeSet<_> = looks.iter().map(|(folder, _)| folder.clone()).collect();
        for (folder, look) in looks {
            let known = self.entries.get_mut(&folder);
            let look = match (look, &known) {
                (Some(look), _) => look,
                // It is left as it was seen last.
                (None, Some(_)) => continue,
                // Operators are told that nothing is found there.
                (None, None) => Look::default(),
            };
            let writing = self.announcements.writing(&folder, &look);
            match known {
                Some(entry) => {
                    entry.gone_at = None;
                    entry.settling.see(look, now, announced, writing);
                }
                None => {
                    let settling = Settling::new(look, now, announced);
                    self.entries.insert(folder, Entry::new(settling));
                }
            }
        }
        for (folder, entry) in &mut self.entries {
            if !there.contains(folder) {
                entry.gone_at.get_or_insert(now);
            }
        }
    }

    /// Does what is to be done now; answers when to look again at the latest.
    fn act(&mut self) -> Instant {
        let now = Instant::now();
        let rescan = if self.announcements.work() { RESCAN } else { RESCAN_UNANNOUNCED };
        let holds = self.entries.values().any(|entry| entry.held.is_some());
        let mut wake_at = now + if holds { rescan.min(HELD_RESCAN) } else { rescan };
        let (mut read, mut gone) = (Vec::new(), Vec::new());
        for (folder, entry) in &mut self.entries {
            if let Some(since) = entry.gone_at {
                match now >= since + GONE {
                    true => gone.push(folder.clone()),
                    false => wake_at = wake_at.min(since + GONE),
                }
                continue;
            }
            match entry.settling.next(now) {
                Next::Rest => {}
                Next::Wait(at) => wake_at = wake_at.min(at),
                // The end of the running try wakes the loop.
                Next::Read if entry.busy => {}
                Next::Read => read.push((folder.clone(), entry.settling.look().clone())),
                Next::Incomplete => {
                    let missing = entry.settling.look().missing().join(" and ");
                    retire(&self.registry, folder, &format!("{missing} is missing"));
                    entry.refusal = Some(incomplete(folder, &missing));
                    (entry.blocked, entry.held) = (None, None);
                    entry.settling.rejected();
                    entry.tell_refusal(&self.registry, folder);
                }
                Next::Reject => {
                    entry.settling.rejected();
                    entry.tell_refusal(&self.registry, folder);
                }
            }
        }
        for (folder, look) in read {
            self.start_try(folder, look);
        }
        for folder in gone {
            self.entries.remove(&folder);
            self.registry.forget(&origin(&folder));
            retire(&self.registry, &folder, "its folder is gone");
        }
        wake_at
    }

    fn start_try(&mut self, folder: PathBuf, look: Look) {
        let Some(entry) = self.entries.get_mut(&folder) else { return };
        entry.busy = true;
        entry.settling.reading();
        let admission = Arc::clone(&self.admission);
        let live = live_of(&self.registry, &folder);
        let (plugins, approvals) = (self.plugins.clone(), self.approvals.clone());
        self.tries.spawn(async move {
            let came_to =
                admit(&admission, &plugins, &folder, &look, live, approvals.as_deref()).await;
            Tried { folder, look, came_to }
        });
    }

    fn finish(&mut self, ended: Tried) {
        let Tried { folder, look, came_to } = ended;
        let Some(entry) = self.entries.get_mut(&folder) else { return };
        entry.busy = false;
        match came_to {
            CameTo::Unsettled => entry.settling.unsettled(),
            CameTo::Same => {
                entry.settling.succeeded(&look);
                (entry.refusal, entry.blocked, entry.held) = (None, None, None);
                self.registry.forget(&origin(&folder));
            }
            CameTo::Refused(refusal) => {
                entry.settling.failed(&look);
                (entry.refusal, entry.blocked, entry.held) = (Some(*refusal), None, None);
            }
            CameTo::Held(release, refusal) => {
                entry.settling.failed(&look);
                let held = Held { release, refusal: *refusal };
                (entry.refusal, entry.blocked) = (Some(held.refusal(&self.registry)), None);
                entry.held = Some(held);
            }
            CameTo::Admitted(release) => {
                entry.held = None;
                entry.put(&self.registry, release, &look);
            }
        }
        self.keep_live(&folder);
    }

    /// A try that panicked: the folder is looked at anew when it changes.
    fn lost_try(&mut self, error: &tokio::task::JoinError) {
        tracing::error!(%error, "a plugin could not be looked at");
        // Which one it was is unknown. What still runs is only read twice.
        for entry in self.entries.values_mut() {
            entry.busy = false;
        }
    }

    /// Another plugin may have gone, with whose name or route a release clashes.
    fn retry_blocked(&mut self) {
        for entry in self.entries.values_mut() {
            if let Some(release) = entry.blocked.take() {
                let look = entry.settling.look().clone();
                entry.put(&self.registry, release, &look);
            }
        }
    }
}

impl Entry {
    fn new(settling: Settling) -> Self {
        Self { settling, gone_at: None, busy: false, refusal: None, blocked: None, held: None }
    }

    fn put(&mut self, registry: &Registry, release: Arc<Release>, look: &Look) {
        match registry.put(Arc::clone(&release)) {
            Ok(()) => {
                let manifest = release.manifest();
                tracing::info!(plugin.name = %manifest.name, digest = release.digest(), origin = release.origin(), "live");
                self.settling.succeeded(look);
                self.refusal = None;
            }
            Err(clash) => {
                self.settling.failed(look);
                self.refusal = Some(clashes(&release, &clash));
                self.blocked = Some(release);
            }
        }
    }

    fn tell_refusal(&self, registry: &Registry, folder: &Path) {
        let Some(refusal) = &self.refusal else { return };
        let goes_on = if live_of(registry, folder).is_some() {
            "what was live before stays so"
        } else {
            "its events wait"
        };
        tracing::error!(
            plugin.name = refusal.plugin,
            origin = refusal.origin,
            reason = refusal.reason,
            "a plugin is {}; {goes_on}",
            refusal.state.as_str()
        );
        registry.refuse(refusal.clone());
    }
}

fn live_of(registry: &Registry, folder: &Path) -> Option<Arc<Release>> {
    let origin = origin(folder);
    registry.current().releases().iter().find(|release| release.origin() == origin).cloned()
}

fn retire(registry: &Registry, folder: &Path, why: &str) {
    let Some(release) = live_of(registry, folder) else { return };
    let name = &release.manifest().name;
    if registry.retire(name) {
        tracing::warn!(plugin.name = %name, origin = release.origin(), "retired, for {why}; its events wait");
    }
}

/// Looks at every plugin's folder; none for one that cannot be looked at.
async fn scan(plugins: &Path) -> std::io::Result<Vec<(PathBuf, Option<Look>)>> {
    let plugins = plugins.to_owned();
    // A network mount may take its time.
    let looked = tokio::task::spawn_blocking(move || {
        let mut looks = Vec::new();
        for folder in plugin_folders(&plugins)? {
            match Look::at(&folder) {
                Ok(Some(look)) => looks.push((folder, Some(look))),
                // Gone since.
                Ok(None) => {}
                Err(_) => looks.push((folder, None)),
            }
        }
        Ok(looks)
    });
    looked.await.map_err(std::io::Error::other)?
}
