//! A throwaway Postgres cluster, one a test process, a database a test.
//!
//! A shell owns the server and waits for the end of its input: that comes when this process ends,
//! however it ends, and then the server is stopped and its files are removed.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const SCRIPT: &str = r#"
dir=$(mktemp -d) || exit 1
trap 'pg_ctl -D "$dir/data" -m immediate -w stop >/dev/null 2>&1; rm -rf "$dir"' EXIT
initdb -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
pg_ctl -D "$dir/data" -l "$dir/log" -w start -o "-p $PORT -k $dir -c listen_addresses=127.0.0.1 -c max_connections=200 -c fsync=$FSYNC" >/dev/null 2>&1 || { cat "$dir/log"; exit 1; }
echo ready
cat >/dev/null
"#;

struct Cluster {
    port: u16,
    /// Holds the input open.
    _owner: Child,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database. None, and a line that says so, without Postgres.
pub(super) async fn new_database() -> Option<String> {
    let cluster = CLUSTER.get_or_init(start).as_ref()?;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let server = format!("postgres://postgres@127.0.0.1:{}", cluster.port);
    let mut admin =
        <sqlx::PgConnection as sqlx::Connection>::connect(&format!("{server}/postgres"))
            .await
            .unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut admin).await.unwrap();
    Some(format!("{server}/{name}"))
}

fn start() -> Option<Cluster> {
    let Some(bin) = binaries() else {
        assert!(
            std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none_or(|v| v != "1"),
            "postgres is required and not installed: apt-get install postgresql"
        );
        println!("skipped: postgres is not installed: apt-get install postgresql");
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // A server does not run as root.
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let mut command = if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "sh", "-c", SCRIPT]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]);
        command
    };
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    let fsync = if std::env::var_os("TIDEGATE_SPEED").is_some() { "on" } else { "off" };
    let mut owner = command
        .current_dir("/")
        .env("PATH", path)
        .env("PORT", port.to_string())
        .env("FSYNC", fsync)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    for line in BufReader::new(owner.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "ready" {
            return Some(Cluster { port, _owner: owner });
        }
        said.push_str(&line);
    }
    let ended = owner.wait();
    panic!("postgres did not start: {ended:?} {said}");
}

/// The newest of Debian's folders, or the one on the path.
fn binaries() -> Option<String> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let debian = installed.map(|version| version.path().join("bin")).max();
    let on_path = std::env::var("PATH").unwrap_or_default();
    debian
        .into_iter()
        .chain(std::env::split_paths(&on_path))
        .find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
        .map(|folder| folder.display().to_string())
}
