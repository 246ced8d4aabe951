//! `tidegate dev` and `tidegate serve` as child processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use crate::api::Api;
use crate::broker::Broker;
use crate::eventually::eventually;
use crate::machine::{repository, target_folder};
use crate::node::Node;
use crate::partner::Partner;
use crate::process::{Process, Signal};

/// The first start of all builds the components, with the standard library if need be.
const READY_WITHIN: Duration = Duration::from_secs(600);
/// More than the grace time of a stop, and of each stand-in.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// A running host.
#[derive(Debug)]
pub struct Host {
    process: Process,
    folder: PathBuf,
    arguments: Vec<String>,
    /// What is in its environment beside the usual.
    environment: Vec<(String, String)>,
    /// How often it was started: each start has its own log files.
    starts: u32,
    /// What it printed until it was ready.
    greeting: String,
}

/// What `dev` runs beside the host.
#[derive(Debug, Clone)]
pub struct Targets {
    pub partner: Partner,
    pub node: Node,
    pub broker: Broker,
}

impl Host {
    /// `tidegate dev` on a free port, with its data below `folder`.
    pub async fn dev(folder: &Path) -> Self {
        let data_dir = folder.join("data").display().to_string();
        let arguments = ["dev", "--listen", "127.0.0.1:0", "--data-dir", &data_dir];
        Self::start(folder, &arguments, &[]).await
    }

    /// `tidegate serve` as `folder/tidegate.toml` says.
    pub async fn serve(folder: &Path) -> Self {
        Self::serve_with(folder, &[]).await
    }

    /// The same, with variables in its environment.
    pub async fn serve_with(folder: &Path, environment: &[(String, String)]) -> Self {
        let config = folder.join("tidegate.toml").display().to_string();
        Self::start(folder, &["serve", "--config", &config], environment).await
    }

    async fn start(folder: &Path, arguments: &[&str], environment: &[(String, String)]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let environment = environment.to_vec();
        let process = spawn(folder, &arguments, &environment, 1);
        let (folder, greeting) = (folder.to_owned(), String::new());
        let mut host = Self { process, folder, arguments, environment, starts: 1, greeting };
        host.wait_until_ready().await;
        host
    }

    async fn wait_until_ready(&mut self) {
        let process = &mut self.process;
        self.greeting = eventually("the host is ready", READY_WITHIN, async || {
            if let Some(code) = process.ended() {
                panic!("the host ended with {code} before it was ready:\n{}", process.tail());
            }
            let printed = process.printed();
            match printed
                .split_inclusive('\n')
                .any(|l| l.starts_with("ready ") && l.ends_with('\n'))
            {
                true => Ok(printed),
                false => Err(process.tail()),
            }
        })
        .await;
    }

    /// `kill -9`, and the process is gone.
    pub async fn kill(&mut self) {
        self.process.signal(Signal::Kill);
        assert_eq!(self.process.wait(STOPPED_WITHIN).await, 128 + 9, "killed");
    }

    /// Starts it again after it ended, with the same arguments.
    pub async fn start_again(&mut self) {
        self.starts += 1;
        self.process = spawn(&self.folder, &self.arguments, &self.environment, self.starts);
        self.wait_until_ready().await;
    }

    /// Sends it a signal, waits for its end, and gives its exit code.
    pub async fn stop(&mut self, signal: Signal) -> i32 {
        self.process.signal(signal);
        self.process.wait(STOPPED_WITHIN).await
    }

    /// The process, as the system counts it.
    #[must_use]
    pub const fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// What it logged since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.logged()
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.word_after("ready")
    }

    /// A caller with the token that `dev` printed.
    #[must_use]
    pub fn dev_api(&self) -> Api {
        Api::new(&self.url(), &self.word_after("token"))
    }

    /// The stand-ins of `dev`.
    ///
    /// # Panics
    /// This is no `dev`.
    #[must_use]
    pub fn targets(&self) -> Targets {
        let key = self.folder.join("data/identity/partner-api-key");
        let key = std::fs::read_to_string(key).expect("dev keeps the partner's key there");
        let place = |label: &str, path: &str| {
            let url = self.word(label, |word| word.starts_with("http://"));
            url.strip_suffix(path).map_or(url.clone(), str::to_owned)
        };
        Targets {
            partner: Partner::new(&place("partner", "/withdrawals"), Some(key.trim())),
            node: Node::new(&place("node", "/")),
            broker: Broker::new(&place("broker", "/messages")),
        }
    }

    fn word_after(&self, label: &str) -> String {
        self.word(label, |_| true)
    }

    /// The first such word behind a label that begins a line.
    fn word(&self, label: &str, is_meant: impl Fn(&str) -> bool) -> String {
        let mut lines = self.greeting.lines().map(str::split_whitespace);
        lines
            .find_map(|mut words| (words.next() == Some(label)).then_some(words))
            .and_then(|mut words| words.find(|word| is_meant(word)))
            .unwrap_or_else(|| panic!("no {label} in:\n{}", self.greeting))
            .to_owned()
    }
}

fn spawn(
    folder: &Path,
    arguments: &[String],
    environment: &[(String, String)],
    start: u32,
) -> Process {
    Process::start(folder, &format!("host-{start}"), Signal::Kill, |command| {
        // Not in the keeper's own: only the host is meant.
        command.arg("env").args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(binary()).args(arguments);
        bare_environment(command).current_dir(repository());
    })
}

/// Takes away what is about this test run, and would be read as the host's own configuration.
pub(crate) fn bare_environment(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|it| it.starts_with("TIDEGATE_") || it == "CARGO_MANIFEST_DIR")
        {
            command.env_remove(name);
        }
    }
    command
}

/// The binary under test.
///
/// # Panics
/// It was not built, or not since the sources changed.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let binary = target_folder().join("tidegate");
        let why = not_current(&binary);
        let how = "run tests/run, or `cargo build` before this test";
        assert!(why.is_none(), "{}: {how}", why.unwrap_or_default());
        binary
    })
}

/// Why this is not what the sources build, if it is not. Beside a binary lies what cargo built it
/// from: sources of tests alone are not in it.
pub(crate) fn not_current(binary: &Path) -> Option<String> {
    let Some(built_at) = modified_at(binary) else {
        return Some(format!("{} is not there", binary.display()));
    };
    let sources = std::fs::read_to_string(binary.with_extension("d")).unwrap_or_default();
    let sources = sources.lines().find_map(|line| line.split_once(": ")).map(|(_, all)| all);
    let mut sources = sources.unwrap_or_default().split(' ').map(Path::new).peekable();
    if !sources.peek().is_some_and(|first| first.starts_with(repository())) {
        return Some(format!("{} was built from other sources", binary.display()));
    }
    let newer = sources.find(|source| modified_at(source).is_none_or(|at| at > built_at))?;
    Some(format!("{} is older than {}", binary.display(), newer.display()))
}

fn modified_at(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}
