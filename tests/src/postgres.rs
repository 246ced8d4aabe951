//! A throwaway Postgres cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::Connection;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::eventually::eventually;
use crate::machine::quiet_port;
use crate::process::{Process, Signal};
use crate::skip::skip;

const STARTED_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// A running cluster with one empty database.
#[derive(Debug)]
pub struct Postgres {
    pub url: String,
    // Dropped in this order: the server, and then its files.
    server: Mutex<Server>,
    folder: TempDir,
    programs: PathBuf,
    logs: PathBuf,
    port: u16,
}

#[derive(Debug)]
struct Server {
    process: Process,
    /// Each start has its own log files.
    starts: u32,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Connections are told, and what is open is undone.
    Fast,
    /// As if it had crashed: the next start reads its log.
    Immediate,
}

impl Postgres {
    /// None, with a line that says so, where Postgres is not installed.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(logs: &Path) -> Option<Self> {
        let Some(programs) = binaries() else {
            skip("Postgres is not installed", "apt-get install postgresql");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            // A server does not run as root.
            succeeds(Command::new("chown").arg("postgres:").arg(folder.path()));
        }
        let mut initdb = as_server();
        initdb.arg(programs.join("initdb")).arg("-D").arg(folder.path().join("data"));
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        succeeds(&mut initdb);

        let port = quiet_port();
        let process = spawn(&programs, folder.path(), port, logs, 1);
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let server = Mutex::new(Server { process, starts: 1 });
        let postgres = Self { url, server, folder, programs, logs: logs.to_owned(), port };
        postgres.answers().await;
        Some(postgres)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server, leaves it away for a while, and starts it again.
    ///
    /// # Panics
    /// It does not stop, or does not start again.
    pub async fn restart(&self, shutdown: Shutdown, away_for: Duration) {
        let mut server = self.server.lock().await;
        server.process.signal(match shutdown {
            Shutdown::Fast => Signal::Int,
            Shutdown::Immediate => Signal::Quit,
        });
        server.process.wait(STOPPED_WITHIN).await;
        tokio::time::sleep(away_for).await;
        server.starts += 1;
        server.process =
            spawn(&self.programs, self.folder.path(), self.port, &self.logs, server.starts);
        self.answers().await;
    }

    async fn answers(&self) {
        eventually("Postgres answers", STARTED_WITHIN, async || {
            sqlx::PgConnection::connect(&self.url).await.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }
}

fn spawn(programs: &Path, folder: &Path, port: u16, logs: &Path, start: u32) -> Process {
    // Quit is Postgres's word for: at once, but in order.
    Process::start(logs, &format!("postgres-{start}"), Signal::Quit, |command| {
        let server = as_server();
        if is_root() {
            command.arg(server.get_program()).args(server.get_args());
        }
        command.arg(programs.join("postgres")).arg("-D").arg(folder.join("data"));
        command.arg("-k").arg(folder).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]).current_dir("/");
    })
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
