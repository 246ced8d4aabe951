//! Several hosts on one Postgres: processes that are killed, stopped and started again, each with a
//! clock of its own and a connection to the database of its own.

use std::path::{Path, PathBuf};
use std::sync::Mutex as StdMutex;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::api::Api;
use crate::host::{bare_environment, binary, not_current};
use crate::installation::Installation;
use crate::machine::{repository, target_folder};
use crate::process::{Process, Signal};
use crate::proxy::Proxy;
use crate::skip::skip;

/// The store may be away meanwhile; without the cache, the components are compiled, too.
const READY_WITHIN: Duration = Duration::from_secs(120);
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
/// As a supervisor would.
const RESTART_AFTER: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The shortest that is allowed. Work of a dead host is taken over so late.
pub const LEASE: Duration = Duration::from_secs(2);

/// The binary whose settling is not fenced. None, with a line that says so, where it is not built.
pub fn unfenced_binary() -> Option<PathBuf> {
    let binary = target_folder().join("tidegate-unfenced");
    match not_current(&binary) {
        None => Some(binary),
        Some(why) => {
            skip(
                &why,
                "cargo build --workspace --features tidegate-tests/unfenced --bin tidegate-unfenced",
            );
            None
        }
    }
}

/// The binary that everybody runs.
#[must_use]
pub fn fenced_binary() -> PathBuf {
    binary().to_owned()
}

/// Hosts of one installation, each named.
pub struct Fleet {
    members: Vec<Member>,
}

/// One host of a fleet.
pub struct Member {
    /// What the database calls its connections, before a dot and the number of its start.
    pub name: String,
    /// Its way to the database.
    pub proxy: Proxy,
    /// Whoever does something to the process holds it meanwhile.
    process: Mutex<Option<Process>>,
    api: StdMutex<Option<Api>>,
    starts: StdMutex<u32>,
    launch: Launch,
}

/// What a member is started with.
struct Launch {
    binary: PathBuf,
    config: PathBuf,
    logs: PathBuf,
    token: String,
    /// By how much its clock differs, as faketime has it.
    clock: Option<(PathBuf, &'static str)>,
}

impl Fleet {
    /// Starts as many hosts as there are clocks (`+1h`; empty for the true one) on the Postgres at
    /// this port of loopback. `installation` is complete but for the store.
    ///
    /// # Panics
    /// One does not start.
    pub async fn start(
        installation: &Installation,
        binary: &Path,
        postgres_port: u16,
        clocks: &[&'static str],
    ) -> Self {
        let config = installation.write();
        let logs = installation.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let library = clock_library();
        let mut members = Vec::new();
        for (letter, clock) in ('a'..).zip(clocks) {
            let launch = Launch {
                binary: binary.to_owned(),
                config: config.clone(),
                logs: logs.clone(),
                token: installation.token().to_owned(),
                clock: library.clone().filter(|_| !clock.is_empty()).map(|it| (it, *clock)),
            };
            let member = Member {
                name: format!("host-{letter}"),
                proxy: Proxy::start(postgres_port).await,
                process: Mutex::new(None),
                api: StdMutex::new(None),
                starts: StdMutex::new(0),
                launch,
            };
            member.hold_process().await.start().await;
            members.push(member);
        }
        Self { members }
    }

    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A caller of one of the hosts, which may be down.
    ///
    /// # Panics
    /// It never ran.
    #[must_use]
    pub fn any_api(&self, random: &mut fastrand::Rng) -> Api {
        self.members[random.usize(..self.members.len())].api()
    }

    /// What hosts logged that none should log.
    ///
    /// # Panics
    /// The logs cannot be read.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        let logs = self.members.first().map(|member| member.launch.logs.clone());
        let entries = logs.into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let texts = entries.flatten().map(|entry| std::fs::read(entry.path()).unwrap());
        texts
            .flat_map(|bytes| {
                let text = String::from_utf8_lossy(&bytes);
                let bad = text.lines().filter(|line| line.contains("panicked"));
                bad.map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Member {
    /// The host's process, for whoever has to do with it.
    pub async fn hold_process(&self) -> Held<'_> {
        Held { member: self, process: self.process.lock().await }
    }

    /// # Panics
    /// It never ran.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api.lock().unwrap().clone().expect("the host was started")
    }

    fn spawn(&self) -> Process {
        let Self { name, launch, .. } = self;
        let start = {
            let mut starts = self.starts.lock().unwrap();
            *starts += 1;
            *starts
        };
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?application_name={name}.{start}",
            self.proxy.port()
        );
        Process::start(&launch.logs, &format!("{name}-{start}"), Signal::Kill, |command| {
            command.arg("env");
            if let Some((library, offset)) = &launch.clock {
                // Only what the wall shows: a host's own stopwatch is right.
                command.args(["FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DISABLE_SHM=1"]);
                command.arg(format!("LD_PRELOAD={}", library.display()));
                command.arg(format!("FAKETIME={offset}"));
            }
            command.arg(&launch.binary).args(["serve", "--config"]).arg(&launch.config);
            bare_environment(command).current_dir(repository());
            command.env("TIDEGATE_STORE_URL", url);
            command.env("TIDEGATE_DISPATCH_LEASE", format!("{}ms", LEASE.as_millis()));
            // Callers ask another host instead of waiting for one that cannot answer.
            command.env("TIDEGATE_HTTP_REQUEST_TIMEOUT", "5s");
        })
    }
}

/// A member's process, with which nobody else does anything meanwhile.
pub struct Held<'m> {
    member: &'m Member,
    process: MutexGuard<'m, Option<Process>>,
}

impl Held<'_> {
    /// Starts the host and, as long as its store is away, starts it again. Gives the number of
    /// starts that it took.
    ///
    /// # Panics
    /// It is not ready in time.
    pub async fn start(&mut self) -> u32 {
        let begun = Instant::now();
        for tries in 1.. {
            let mut process = self.member.spawn();
            let ready = loop {
                assert!(
                    begun.elapsed() < READY_WITHIN,
                    "{} is not ready within {READY_WITHIN:?}:\n{}",
                    self.member.name,
                    process.tail()
                );
                if let Some(url) = ready_url(&process.printed()) {
                    break Some(url);
                }
                if process.ended().is_some() {
                    break None;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            *self.process = Some(process);
            if let Some(url) = ready {
                let api = Api::new(&url, &self.member.launch.token);
                *self.member.api.lock().unwrap() = Some(api);
                return tries;
            }
            tokio::time::sleep(RESTART_AFTER).await;
        }
        unreachable!("the loop ends by itself")
    }

    /// Sends a signal that does not end it.
    pub fn signal(&mut self, signal: Signal) {
        self.running().signal(signal);
    }

    /// Ends it, and gives its exit code.
    pub async fn end(&mut self, signal: Signal) -> i32 {
        let process = self.running();
        process.signal(signal);
        process.wait(STOPPED_WITHIN).await
    }

    /// The process.
    ///
    /// # Panics
    /// It ended by itself, which no fault is a reason for.
    pub fn running(&mut self) -> &mut Process {
        let name = &self.member.name;
        let process = self.process.as_mut().expect("the host was started");
        if let Some(code) = process.ended() {
            panic!("{name} ended by itself with {code}:\n{}", process.tail());
        }
        process
    }
}

fn ready_url(printed: &str) -> Option<String> {
    let line = printed.split_inclusive('\n').find(|line| line.starts_with("ready "))?;
    // Only a whole line.
    Some(line.strip_suffix('\n')?.split_whitespace().nth(1)?.to_owned())
}

/// What sets a process's clock. None, with a line that says so, where it is not installed.
fn clock_library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let library = folders
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file());
    if library.is_none() {
        skip("hosts whose clocks differ: libfaketime is not installed", "apt-get install faketime");
    }
    library
}
