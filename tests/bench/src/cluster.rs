//! A throwaway Postgres cluster: made, configured, stopped and removed by the bench.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sqlx::{Connection, PgConnection, Row};

use crate::fallible::Fallible;

/// The same for all contenders. What is not named has the server's default.
const SETTINGS: [(&str, &str); 8] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "1GB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "30min"),
    ("max_connections", "200"),
    ("autovacuum", "on"),
    ("track_io_timing", "off"),
];

pub(crate) struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// A server does not run as root: then everything runs as this user.
    as_user: Option<&'static str>,
}

impl Cluster {
    /// # Errors
    /// There are no server programs here, or the server does not start.
    pub(crate) fn start(parent: &Path) -> Fallible<Self> {
        let programs = server_programs().ok_or(
            "no PostgreSQL server programs; on Debian: apt-get install postgresql postgresql-contrib",
        )?;
        let folder = parent.join("postgres");
        std::fs::create_dir_all(&folder)?;
        let as_user = runs_as_root().then_some("postgres");
        if as_user.is_some() {
            let owned = Command::new("chown").arg("postgres").arg(&folder).status()?;
            if !owned.success() {
                return Err("the data folder cannot be given to the user postgres".into());
            }
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let cluster = Self { programs, folder, port, as_user };
        cluster.run(
            "initdb",
            &["-D", &cluster.data(), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"],
        )?;
        cluster.start_server()?;
        Ok(cluster)
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn start_server(&self) -> Fallible<()> {
        let mut options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories=''",
            self.port
        );
        for (name, value) in SETTINGS {
            options.push_str(&format!(" -c {name}={value}"));
        }
        let log = self.folder.join("log").display().to_string();
        self.run("pg_ctl", &["-D", &self.data(), "-l", &log, "-w", "-o", &options, "start"])
    }

    /// Stops the server as `mode` says (`fast`, `immediate`) and starts it again.
    pub(crate) fn restart(&self, mode: &str) -> Fallible<()> {
        self.run("pg_ctl", &["-D", &self.data(), "-m", mode, "-w", "stop"])?;
        self.start_server()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Fallible<()> {
        let program = self.programs.join(program);
        let mut command = match self.as_user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        // A pipe would be inherited by the server, and reading it would never end.
        let ended = command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()?;
        if ended.success() { Ok(()) } else { Err(format!("{} failed", program.display()).into()) }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) async fn connect(&self, database: &str) -> Fallible<PgConnection> {
        Ok(PgConnection::connect(&self.url(database)).await?)
    }

    /// An empty database of this name; one that was there is dropped.
    pub(crate) async fn create(&self, database: &str) -> Fallible<String> {
        self.drop(database).await?;
        let mut connection = self.connect("postgres").await?;
        let sql = format!("CREATE DATABASE {database}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
        Ok(self.url(database))
    }

    pub(crate) async fn drop(&self, database: &str) -> Fallible<()> {
        let mut connection = self.connect("postgres").await?;
        let sql = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
        Ok(())
    }

    /// The server's process, whose children do the work.
    pub(crate) fn process_id(&self) -> Fallible<u32> {
        let file = self.folder.join("data/postmaster.pid");
        let text = std::fs::read_to_string(file)?;
        Ok(text.lines().next().ok_or("an empty postmaster.pid")?.trim().parse()?)
    }

    pub(crate) fn pgbench(&self) -> (PathBuf, u16) {
        (self.programs.join("pgbench"), self.port)
    }

    /// The version and every setting that is not the default.
    pub(crate) async fn facts(&self) -> Fallible<Vec<(String, String)>> {
        let mut connection = self.connect("postgres").await?;
        let version: String =
            sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        let settings = sqlx::query(
            "SELECT name || '=' || current_setting(name) AS setting FROM pg_settings \
             WHERE source = 'command line' AND name NOT IN \
             ('listen_addresses', 'port', 'unix_socket_directories') ORDER BY name",
        )
        .fetch_all(&mut connection)
        .await?;
        let settings: Vec<String> =
            settings.iter().map(|row| row.try_get("setting")).collect::<Result<_, _>>()?;
        Ok(vec![("PostgreSQL".into(), version), ("PostgreSQL settings".into(), settings.join(" "))])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its data is thrown away, so nothing is lost by not waiting for a checkpoint.
        let stopped = self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
        if let Err(error) = stopped {
            eprintln!("the server of the bench was not stopped: {error}");
        }
    }
}

fn runs_as_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// The newest version's programs, where Debian puts them; else those on the path.
fn server_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .collect();
    folders.sort();
    let on_path = std::env::var_os("PATH");
    let on_path = on_path.iter().flat_map(std::env::split_paths);
    folders
        .into_iter()
        .rev()
        .map(|(_, folder)| folder)
        .chain(on_path)
        .find(|folder| folder.join("pg_ctl").is_file() && folder.join("initdb").is_file())
}
