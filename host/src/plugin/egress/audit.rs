//! The audit record: one line for each request that a plugin made or was denied. No bodies, no
//! paths, no queries, no headers, so no secrets.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

/// How long the writer gathers lines: waking it for each would cost as much as the request.
const GATHER_FOR: Duration = Duration::from_millis(20);
/// While so much waits to be written, no further request leaves.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// One request, in the words of the record.
#[derive(Debug, Serialize)]
pub(in crate::plugin) struct AuditRecord<'a> {
    /// RFC 3339, when it was asked for.
    pub(in crate::plugin) at: String,
    pub(in crate::plugin) plugin: &'a str,
    /// The release's digest.
    pub(in crate::plugin) release: &'a str,
    /// None while a withdrawal is judged: then all is denied.
    pub(in crate::plugin) event: Option<String>,
    pub(in crate::plugin) method: &'a str,
    pub(in crate::plugin) scheme: &'a str,
    pub(in crate::plugin) host: &'a str,
    pub(in crate::plugin) port: u16,
    pub(in crate::plugin) status: Option<u16>,
    /// Why there is no answer, or not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::plugin) error: Option<&'a str>,
    /// Until the last byte of the answer.
    pub(in crate::plugin) ms: f64,
    /// Of the bodies, as the plugin wrote and read them.
    pub(in crate::plugin) bytes_out: u64,
    pub(in crate::plugin) bytes_in: u64,
}

/// Where the records go.
pub enum AuditLog {
    /// The log, target `tidegate::audit`.
    Log,
    /// A file of their own.
    File(AuditFile),
}

impl AuditLog {
    /// Waits while what is written lags behind: rather than lose a record, requests wait.
    pub(in crate::plugin) async fn room(&self) {
        if let Self::File(file) = self {
            file.shared.room().await;
        }
    }

    pub(in crate::plugin) fn write(&self, record: &AuditRecord<'_>) {
        match self {
            Self::Log => {
                tracing::info!(
                    target: "tidegate::audit",
                    {
                        plugin.name = record.plugin,
                        release.digest = record.release,
                        event.id = record.event,
                        method = record.method,
                        scheme = record.scheme,
                        host = record.host,
                        port = record.port,
                        status = record.status,
                        error = record.error,
                        duration_ms = record.ms,
                        bytes_out = record.bytes_out,
                        bytes_in = record.bytes_in,
                    },
                    "outbound request"
                );
            }
            Self::File(file) => file.shared.push(record),
        }
    }

    /// Records that could not be written.
    pub(in crate::plugin) fn lost(&self) -> u64 {
        match self {
            Self::Log => 0,
            Self::File(file) => file.shared.lost.load(Ordering::Relaxed),
        }
    }
}

/// A file of JSON lines, written by a thread of its own, and begun anew when it is full. Dropping
/// it writes what waits.
pub struct AuditFile {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    written: Condvar,
    room: Notify,
    lost: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn room(&self) {
        loop {
            let freed = self.room.notified();
            tokio::pin!(freed);
            // Before the look, so that what is freed in between is heard.
            freed.as_mut().enable();
            if self.lock().lines.len() < WAITING_BYTES_MAX {
                return;
            }
            freed.await;
        }
    }

    /// Whoever has had room may write: what is under way is bounded by the plugins' own limits.
    fn push(&self, record: &AuditRecord<'_>) {
        let mut line = Vec::with_capacity(320);
        if serde_json::to_writer(&mut line, record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        line.push(b'\n');
        let mut waiting = self.lock();
        let first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(&line);
        drop(waiting);
        if first {
            self.written.notify_one();
        }
    }

    /// What waits to be written, once there is something; none when there will be nothing more.
    fn take(&self, spare: Vec<u8>) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        while waiting.lines.is_empty() && !waiting.stopped {
            waiting = self.written.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.lines.is_empty() {
            return None;
        }
        if !waiting.stopped {
            drop(waiting);
            std::thread::sleep(GATHER_FOR);
            waiting = self.lock();
        }
        Some(std::mem::replace(&mut waiting.lines, spare))
    }
}

impl AuditFile {
    /// `bytes_max`: how long the file grows before it is begun anew; `files` are kept of those that
    /// were full, `file.1` the youngest.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub fn open(path: PathBuf, bytes_max: u64, files: u32) -> io::Result<Self> {
        let (file, length) = append_to(&path)?;
        let shared = Arc::<Shared>::default();
        let mut writer =
            Writer { path, file, length, bytes_max, files, lost: Arc::clone(&shared), told: false };
        let of_writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || {
            let mut spare = Vec::new();
            while let Some(mut lines) = of_writer.take(spare) {
                writer.write(&lines);
                lines.clear();
                spare = lines;
                of_writer.room.notify_waiters();
            }
        })?;
        Ok(Self { shared, writer: Some(thread) })
    }
}

impl Drop for AuditFile {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.written.notify_one();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has nothing to tell to whoever drops the file.
            let _ = writer.join();
        }
    }
}

struct Writer {
    path: PathBuf,
    file: File,
    length: u64,
    bytes_max: u64,
    files: u32,
    lost: Arc<Shared>,
    /// Whether the log knows already that the file cannot be written.
    told: bool,
}

impl Writer {
    fn write(&mut self, lines: &[u8]) {
        let written = self.rotate().and_then(|()| self.file.write_all(lines));
        match written {
            Ok(()) => {
                self.length += lines.len() as u64;
                self.told = false;
            }
            Err(error) => {
                let lines = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.lost.lost.fetch_add(lines, Ordering::Relaxed);
                if !self.told {
                    let file = self.path.display();
                    tracing::error!(%error, %file, "the audit file cannot be written: records are lost");
                    self.told = true;
                }
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.length < self.bytes_max {
            return Ok(());
        }
        for number in (1..self.files).rev() {
            let from = numbered(&self.path, number);
            if from.exists() {
                std::fs::rename(from, numbered(&self.path, number + 1))?;
            }
        }
        std::fs::rename(&self.path, numbered(&self.path, 1))?;
        (self.file, self.length) = append_to(&self.path)?;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Only its owner reads it: it says with whom the plugins deal.
fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn record(host: &str) -> AuditRecord<'_> {
        AuditRecord {
            at: "2026-01-31T09:00:00Z".into(),
            plugin: "a",
            release: "ab12",
            event: None,
            method: "PUT",
            scheme: "https",
            host,
            port: 443,
            status: Some(200),
            error: None,
            ms: 1.5,
            bytes_out: 1,
            bytes_in: 2,
        }
    }

    fn hosts(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["host"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_record_is_a_line_and_a_full_file_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        // Each opening writes at its end, so that the moments of writing are the test's own.
        for host in ["one", "two", "three", "four"] {
            let log = AuditLog::File(AuditFile::open(path.clone(), 10, 2).unwrap());
            log.write(&record(host));
            drop(log);
        }
        assert_eq!(hosts(&path), ["four"]);
        assert_eq!(hosts(&numbered(&path, 1)), ["three"]);
        assert_eq!(hosts(&numbered(&path, 2)), ["two"]);
        assert!(!numbered(&path, 3).exists(), "the oldest is gone");
    }

    #[tokio::test]
    async fn what_is_not_written_yet_makes_the_next_wait() {
        let shared = Shared::default();
        shared.lock().lines = vec![b'x'; WAITING_BYTES_MAX];
        let mut waits = std::pin::pin!(shared.room());
        assert!(waits.as_mut().now_or_never().is_none());
        let taken = shared.take(Vec::new()).unwrap();
        assert_eq!(taken.len(), WAITING_BYTES_MAX);
        shared.room.notify_waiters();
        waits.await;
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let file = AuditFile::open("/dev/full".into(), u64::MAX, 1).unwrap();
        let log = AuditLog::File(file);
        log.write(&record("one"));
        log.write(&record("two"));
        let AuditLog::File(file) = &log else { panic!("a file") };
        let shared = Arc::clone(&file.shared);
        drop(log);
        assert_eq!(shared.lost.load(Ordering::Relaxed), 2);
    }
}
