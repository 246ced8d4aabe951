//! `pgbouncer` in transaction mode between hosts and Postgres: each transaction on another server
//! connection, and far fewer of those than the hosts have.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tidegate_tests::eventually::eventually;
use tidegate_tests::host::Host;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::postgres::{as_server, is_root, succeeds};
use tidegate_tests::process::{Process, Signal};
use tidegate_tests::skip::skip;

use super::database::{Database, Options, PASSWORD};
use super::scene::{Scene, quiet_port};

const STARTED_WITHIN: Duration = Duration::from_secs(20);
const DONE_WITHIN: Duration = Duration::from_secs(60);

struct Pooler {
    port: u16,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// None, with a line that says so, where it is not installed.
    async fn start(logs: &Path, database: &Database, more: &str) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "pgbouncer"]
            .into_iter()
            .find(|program| Command::new(program).arg("--version").output().is_ok());
        let Some(program) = program else {
            skip("pgbouncer is not installed", "apt-get install pgbouncer");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = quiet_port();
        let (users, config) =
            (folder.path().join("users.txt"), folder.path().join("pgbouncer.ini"));
        std::fs::write(&users, format!("\"tidegate\" \"{PASSWORD}\"\n")).unwrap();
        let mut text = String::new();
        let _ = write!(
            text,
            "[databases]\n* = host=127.0.0.1 port={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 3\nserver_round_robin = 1\nmax_client_conn = 200\n{more}\n",
            database.port(),
            users.display(),
        );
        std::fs::write(&config, text).unwrap();
        if is_root() {
            succeeds(Command::new("chown").args(["-R", "postgres:"]).arg(folder.path()));
        }
        let process = Process::start(logs, "pgbouncer", Signal::Int, |command| {
            let server = as_server();
            command.arg(server.get_program()).args(server.get_args());
            command.arg(program).arg(&config).current_dir("/");
        });
        let pooler = Self { port, _process: process, _folder: folder };
        let url = format!("{}?statement-cache-capacity=0", pooler.url());
        let url = url.parse::<sqlx::postgres::PgConnectOptions>().unwrap();
        eventually("pgbouncer answers", STARTED_WITHIN, async || {
            let options = url.clone().extra_float_digits(None);
            PgConnection::connect_with(&options).await.map(drop).map_err(|e| e.to_string())
        })
        .await;
        Some(pooler)
    }

    fn url(&self) -> String {
        format!("postgres://tidegate:{PASSWORD}@127.0.0.1:{}/tidegate", self.port)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_behind_a_pooler_in_transaction_mode_do_everything_and_say_that_they_poll() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let Some(database) = Database::start(installation.path(), Options::default()).await else {
        return;
    };
    let Some(pooler) = Pooler::start(installation.path(), &database, "").await else { return };
    let store = format!("[store]\nurl = \"{}\"\nconnections_max = 8\n", pooler.url());
    // It finds out by itself, on a database that is still empty.
    let mut scene = Scene::start(installation.with(&store)).await;
    let second = scene.bench.installation.path().join("second");
    std::fs::create_dir(&second).unwrap();
    let config = scene.bench.installation.write();
    for entry in ["passphrase", "partner-key", "keystore.json"] {
        std::fs::copy(config.with_file_name(entry), second.join(entry)).unwrap();
    }
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("connections_max = 8", "connections_max = 8\npooler = \"transaction\"");
    let plugins = config.with_file_name("plugins");
    let text = format!("{text}\n[plugins]\ndir = \"{}\"\n", plugins.display());
    std::fs::write(second.join("tidegate.toml"), text).unwrap();
    let mut host = Host::serve(&second).await;

    for log in [scene.host.log(), host.log()] {
        assert_eq!(log.matches("a connection pooler in transaction mode").count(), 1, "{log}");
    }
    assert_eq!(scene.is_ready().await.json()["wakeups"], "polling");
    let first = scene.api.clone();
    for _ in 0..10 {
        scene.submit().await;
        // In turns: what the other host took is seen by the poll.
        scene.api = if scene.api.url() == first.url() {
            scene.bench.installation.api(&host)
        } else {
            first.clone()
        };
    }
    scene.api = first;
    // Lists, single events, timelines, pauses, replays: each way of asking the store.
    for event in scene.api.all("/v1/events").await {
        scene.api.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
    }
    for withdrawal in scene.api.all("/v1/withdrawals").await {
        let id = withdrawal["id"].as_str().unwrap();
        scene.api.get(&format!("/v1/withdrawals/{id}/timeline")).await;
    }
    let routes = scene.api.get("/v1/routes").await;
    assert!(routes["routes"].as_array().or(routes["items"].as_array()).is_some(), "{routes}");
    scene.api.all_done(10, DONE_WITHIN).await;
    assert_eq!(host.stop(Signal::Term).await, 0);
    let log = scene.host.log();
    assert!(!log.contains("prepared statement"), "{log}");
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_comes_and_goes_is_a_store_that_is_away_for_a_while() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let Some(database) = Database::start(installation.path(), Options::default()).await else {
        return;
    };
    // One that drops what it does not know, where the other refuses it.
    let lenient = "ignore_startup_parameters = extra_float_digits, options";
    let pooler = Pooler::start(installation.path(), &database, lenient).await;
    let Some(pooler) = pooler else { return };
    let store = format!("[store]\nurl = \"{}\"\n", pooler.url());
    let mut scene = Scene::start(installation.with(&store)).await;
    assert_eq!(scene.is_ready().await.json()["wakeups"], "polling");
    scene.submit().await;
    // Behind the pooler, every server connection at once.
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tidegate'";
    for _ in 0..3 {
        database.execute(&[cut]).await;
        scene.submit_through().await;
    }
    scene.is_ready().await;
    scene.ends_well().await;
}
