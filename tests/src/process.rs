//! A child process that never outlives the test.
//!
//! A small shell keeps it: when the test drops its end of the shell's input, or dies, the shell
//! stops the child. What the child says goes to files, so that no pipe ever blocks it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::eventually::eventually;

const KEEPER: &str = r#"
out=$1 err=$2 signal=$3
shift 3
exec 3<&0
"$@" </dev/null >"$out" 2>"$err" 3<&- &
child=$!
(cat <&3 >/dev/null; kill -s "$signal" "$child") 2>/dev/null &
watcher=$!
exec 3<&-
echo "$child"
wait "$child"
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"#;

/// Enough to see what went wrong.
const TAIL_LINES: usize = 25;
const LINE_CHARS_MAX: usize = 400;

/// What a process can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Int,
    Term,
    Quit,
    Kill,
    /// The process stands still until it is told to go on.
    Stop,
    Continue,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// A running child, or one that ended.
#[derive(Debug)]
pub struct Process {
    keeper: Child,
    /// Open as long as the child may run.
    leash: Option<ChildStdin>,
    pid: u32,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts the command whose program, arguments and environment `describe` adds. `stop`: what
    /// ends it when the test does.
    ///
    /// # Panics
    /// There is no shell.
    pub fn start(
        logs: &Path,
        name: &str,
        stop: Signal,
        describe: impl FnOnce(&mut Command),
    ) -> Self {
        let (out, err) = (logs.join(format!("{name}.out")), logs.join(format!("{name}.err")));
        for file in [&out, &err] {
            // What an earlier process said there must not be taken for this one's.
            std::fs::File::create(file).expect("the folder for logs is there");
        }
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&out).arg(&err).arg(stop.name());
        describe(&mut command);
        // A group of its own: Ctrl-C at the terminal ends the test, and the test ends this.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        // The shell itself only has to say that its child was killed, which is no news.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = command.spawn().expect("sh starts");
        let leash = keeper.stdin.take();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().expect("the keeper says the child's process id");
        Self { keeper, leash, pid, out, err }
    }

    /// What it printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it logged so far: its standard error.
    #[must_use]
    pub fn logged(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap_or_default()).into_owned()
    }

    /// The end of what it printed and logged, long lines cut.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = self.printed() + &self.logged();
        let lines: Vec<String> =
            text.lines().map(|line| line.chars().take(LINE_CHARS_MAX).collect()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Its exit code, once it ended; 128 and the signal's number if one ended it.
    ///
    /// # Panics
    /// The system does not say.
    pub fn ended(&mut self) -> Option<i32> {
        self.keeper.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// As the system counts it.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.pid
    }

    /// # Panics
    /// It ended before.
    pub fn signal(&self, signal: Signal) {
        let kill = format!("kill -s {} {}", signal.name(), self.pid);
        let done = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(done.success(), "{kill}: {done}");
    }

    /// Waits until it ended, and gives its exit code.
    ///
    /// # Panics
    /// It did not end in time.
    pub async fn wait(&mut self, within: Duration) -> i32 {
        eventually("the process ends", within, async || {
            self.ended().ok_or_else(|| format!("it runs, and said:\n{}", self.tail()))
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ended with:\n{}\n---", self.err.display(), self.tail());
        }
        drop(self.leash.take());
        let _ = self.keeper.wait();
    }
}
