//! A throwaway Postgres cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::Connection;
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::machine::free_port;
use crate::process::{Process, Signal};
use crate::skip::skip;

const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// A running cluster with one empty database.
#[derive(Debug)]
pub struct Postgres {
    pub url: String,
    // Dropped in this order: the server, and then its files.
    _process: Process,
    _folder: TempDir,
}

impl Postgres {
    /// None, with a line that says so, where Postgres is not installed.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(logs: &Path) -> Option<Self> {
        let Some(binaries) = binaries() else {
            skip("Postgres is not installed", "apt-get install postgresql");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            // A server does not run as root.
            succeeds(Command::new("chown").arg("postgres:").arg(folder.path()));
        }
        let data = folder.path().join("data");
        let mut initdb = as_server();
        initdb.arg(binaries.join("initdb")).arg("-D").arg(&data);
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        succeeds(&mut initdb);

        let port = free_port();
        // Quit is Postgres's word for: at once, but in order.
        let process = Process::start(logs, "postgres", Signal::Quit, |command| {
            let server = as_server();
            if is_root() {
                command.arg(server.get_program()).args(server.get_args());
            }
            command
                .arg(binaries.join("postgres"))
                .arg("-D")
                .arg(&data)
                .arg("-k")
                .arg(folder.path());
            command.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
            command.args(["-c", "fsync=off"]).current_dir("/");
        });
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        eventually("Postgres answers", STARTED_WITHIN, async || {
            sqlx::PgConnection::connect(&url).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Some(Self { url, _process: process, _folder: folder })
    }
}

/// The beginning of a command that runs as the server's user.
#[must_use]
pub fn as_server() -> Command {
    let mut command = Command::new(if is_root() { "setpriv" } else { "env" });
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.current_dir("/");
    command
}

/// Whether this test may do what only root may.
#[must_use]
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

/// Runs a command that must succeed.
///
/// # Panics
/// It does not.
pub fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// The newest of Debian's folders, or the one on the path.
#[must_use]
pub fn binaries() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let debian = installed.map(|version| version.path().join("bin")).max();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = debian.into_iter().chain(std::env::split_paths(&on_path));
    folders.find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}
