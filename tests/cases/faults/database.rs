//! A throwaway Postgres that can be made to fail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;
use tidegate_tests::eventually::eventually;
use tidegate_tests::postgres::{as_server, binaries, is_root, succeeds};
use tidegate_tests::process::{Process, Signal};
use tidegate_tests::skip::skip;

use super::scene::quiet_port;

const STARTED_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// What nobody may ever be told.
pub(super) const PASSWORD: &str = "hunter2";

/// The host's role and database are `tidegate`; the test itself is a superuser, for whom a server
/// keeps connections.
pub(super) struct Database {
    port: u16,
    process: Option<Process>,
    starts: u32,
    options: Options,
    logs: PathBuf,
    // Removed at the end.
    folder: TempDir,
}

/// How it is made.
#[derive(Default)]
pub(super) struct Options {
    /// `-c` settings of the server.
    pub(super) settings: Vec<&'static str>,
    /// Variables of the server's environment.
    pub(super) environment: Vec<(String, String)>,
    /// Another place for the data, or for the log alone.
    pub(super) data: Option<PathBuf>,
    pub(super) wal: Option<PathBuf>,
}

impl Database {
    /// None, with a line that says so, where Postgres is not installed.
    pub(super) async fn start(logs: &Path, options: Options) -> Option<Self> {
        let Some(programs) = binaries() else {
            skip("Postgres is not installed", "apt-get install postgresql");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        for place in [Some(folder.path()), options.data.as_deref(), options.wal.as_deref()] {
            if let (Some(place), true) = (place, is_root()) {
                // A server does not run as root.
                succeeds(Command::new("chown").arg("postgres:").arg(place));
            }
        }
        let logs = logs.to_owned();
        let mut database =
            Self { port: quiet_port(), process: None, starts: 0, options, logs, folder };
        let mut initdb = as_server();
        initdb.arg(programs.join("initdb")).arg("-D").arg(database.data());
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        // Small pieces of log, for small disks.
        initdb.arg("--wal-segsize=1");
        if let Some(wal) = &database.options.wal {
            initdb.arg("--waldir").arg(wal.join("wal"));
        }
        succeeds(&mut initdb);
        database.start_again().await;
        let mut admin = database.admin("postgres").await;
        let role = format!("CREATE ROLE tidegate LOGIN PASSWORD '{PASSWORD}'");
        for sql in [role.as_str(), "CREATE DATABASE tidegate OWNER tidegate"] {
            admin.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
        }
        Some(database)
    }

    fn data(&self) -> PathBuf {
        self.options.data.as_deref().unwrap_or(self.folder.path()).join("data")
    }

    /// Starts the server, and waits until it answers.
    pub(super) async fn start_again(&mut self) {
        self.launch();
        let url = self.url_of("postgres", "postgres");
        eventually("Postgres answers", STARTED_WITHIN, async || {
            PgConnection::connect(&url).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Starts the server, and waits for nothing.
    pub(super) fn launch(&mut self) {
        self.starts += 1;
        let (programs, data) = (binaries().unwrap(), self.data());
        let name = format!("postgres-{}", self.starts);
        let process = Process::start(&self.logs, &name, Signal::Quit, |command| {
            let server = as_server();
            command.arg(server.get_program()).args(server.get_args());
            command.arg("env");
            for (name, value) in &self.options.environment {
                command.arg(format!("{name}={value}"));
            }
            command.arg(programs.join("postgres")).arg("-D").arg(&data);
            command.arg("-k").arg(self.folder.path());
            command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
            command.args(["-c", "fsync=off"]).current_dir("/");
            for setting in &self.options.settings {
                command.args(["-c", setting]);
            }
        });
        self.process = Some(process);
    }

    /// Stops the server: `Int` in order, `Quit` as a crash would.
    pub(super) async fn stop(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("it runs");
        if process.ended().is_none() {
            process.signal(signal);
        }
        process.wait(STOPPED_WITHIN).await;
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// As the host is given it.
    pub(super) fn url(&self) -> String {
        self.url_of(&format!("tidegate:{PASSWORD}"), "tidegate")
    }

    /// The section for the host's configuration; `more` are further keys of it.
    pub(super) fn store(&self, more: &str) -> String {
        format!("[store]\nurl = \"{}\"\n{more}\n", self.url())
    }

    fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// A superuser's connection.
    pub(super) async fn admin(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.url_of("postgres", database)).await.unwrap()
    }

    /// An ordinary connection, as the host has them.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect(&self.url()).await
    }

    /// Statements of the superuser in the host's database, each a transaction of its own.
    pub(super) async fn execute(&self, statements: &[&str]) {
        let mut admin = self.admin("tidegate").await;
        for sql in statements {
            admin.execute(AssertSqlSafe((*sql).to_owned())).await.unwrap();
        }
    }

    /// Writes until the server's log has no more room, and the server is gone.
    pub(super) async fn use_up_the_log(&self) {
        let mut admin = self.admin("postgres").await;
        for _ in 0..200 {
            // Each goes on in a new file.
            for sql in
                ["SELECT pg_logical_emit_message(true, 'test', '')", "SELECT pg_switch_wal()"]
            {
                if admin.execute(sql).await.is_err() {
                    return;
                }
            }
        }
        panic!("the log has room for 200 more files");
    }

    /// Cuts all connections of the host, so that the next ones have new settings.
    pub(super) async fn terminate_host(&self) {
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE application_name = 'tidegate'";
        self.execute(&[terminate]).await;
    }
}
