//! What the system announces of changes in a folder. Announcements may be lost, and some mounts
//! have none: they are hints, and never the only way to learn of a change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::look::Look;

/// More files than are ever written at the same time; beyond it, the oldest hint is as good as lost.
const WRITERS_MAX: usize = 1_024;
/// Between two tries to watch a folder that cannot be watched.
const RETRY: Duration = Duration::from_secs(60);

pub(super) struct Announcements {
    inbox: Arc<Inbox>,
    watched: Option<Watched>,
    failed_at: Option<Instant>,
}

/// Where the folder really lies, which one lies there, and what watches it.
struct Watched {
    place: PathBuf,
    identity: u64,
    _by: RecommendedWatcher,
}

#[derive(Default)]
struct Inbox {
    arrived: Notify,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    any: bool,
    /// Files that were written and not closed since.
    writers: HashMap<PathBuf, Instant>,
}

impl Announcements {
    pub(super) fn of(folder: &Path) -> Self {
        let mut announcements = Self { inbox: Arc::default(), watched: None, failed_at: None };
        announcements.follow(folder);
        announcements
    }

    /// Watches the folder where it lies now: a link to it may have been switched.
    pub(super) fn follow(&mut self, folder: &Path) {
        let found = folder.canonicalize().and_then(|place| Ok((identity(&place)?, place)));
        let Ok((identity, place)) = found else {
            self.watched = None;
            return;
        };
        let same = |it: &Watched| it.place == place && it.identity == identity;
        if self.watched.as_ref().is_some_and(same) {
            return;
        }
        if self.failed_at.is_some_and(|at| at.elapsed() < RETRY) {
            return;
        }
        match watch(&place, Arc::clone(&self.inbox)) {
            Ok(by) => {
                self.watched = Some(Watched { place, identity, _by: by });
                self.failed_at = None;
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "changes are not announced here; looking several times a second");
                (self.watched, self.failed_at) = (None, Some(Instant::now()));
            }
        }
    }

    /// Whether changes are announced here at all.
    pub(super) fn work(&self) -> bool {
        self.watched.is_some()
    }

    /// Whether anything was announced since the last time.
    pub(super) fn take(&self) -> bool {
        std::mem::take(&mut self.inbox.heard().any)
    }

    /// Waits until something is announced. Cancel-safe.
    pub(super) async fn wait(&self) {
        self.inbox.arrived.notified().await;
    }

    /// Whether a file of this plugin is open for writing, as far as is known.
    pub(super) fn writing(&self, folder: &Path, look: &Look) -> bool {
        let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        self.inbox.heard().writers.keys().any(|path| look.concerns(&place, path))
    }
}

/// Another folder at the same place is watched anew.
#[cfg(unix)]
fn identity(place: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(place.metadata()?.ino())
}

#[cfg(not(unix))]
fn identity(place: &Path) -> std::io::Result<u64> {
    place.metadata().map(|_| 0)
}

fn watch(place: &Path, inbox: Arc<Inbox>) -> notify::Result<RecommendedWatcher> {
    let hear = move |event: notify::Result<Event>| match event {
        Ok(event) => inbox.take_in(event),
        Err(error) => {
            tracing::warn!(%error, "announcements of changes were lost");
            inbox.lost();
        }
    };
    // A link is not followed: one to the root would have the whole machine watched.
    let config = Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(hear, config)?;
    watcher.watch(place, RecursiveMode::Recursive)?;
    Ok(watcher)
}

impl Inbox {
    fn take_in(&self, event: Event) {
        if event.need_rescan() {
            return self.lost();
        }
        let mut heard = self.heard();
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => heard.closed(&event.paths),
            // Of our own reading, too: it would never end.
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_)) => heard.written(event.paths),
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                heard.closed(&event.paths);
            }
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {}
        }
        heard.any = true;
        drop(heard);
        self.arrived.notify_one();
    }

    /// Who writes is not known any more.
    fn lost(&self) {
        let mut heard = self.heard();
        heard.writers.clear();
        heard.any = true;
        drop(heard);
        self.arrived.notify_one();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn written(&mut self, paths: Vec<PathBuf>) {
        let now = Instant::now();
        self.writers.extend(paths.into_iter().map(|path| (path, now)));
        if self.writers.len() > WRITERS_MAX
            && let Some(oldest) = self.oldest()
        {
            self.writers.remove(&oldest);
        }
    }

    fn closed(&mut self, paths: &[PathBuf]) {
        for path in paths {
            self.writers.remove(path);
        }
    }

    fn oldest(&self) -> Option<PathBuf> {
        self.writers.iter().min_by_key(|(_, at)| **at).map(|(path, _)| path.clone())
    }
}
