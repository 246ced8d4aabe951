//! A process that the bench started and talks with by lines. It is ended when it is dropped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::fallible::Fallible;

/// Longer than anything that a child does between two of its lines.
const LINE_TIMEOUT: Duration = Duration::from_secs(900);
/// How long a host has to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    /// None once they are followed.
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Process {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Fallible<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("a child without output")?;
        Ok(Self { child, stdin, lines: Some(BufReader::new(stdout).lines()) })
    }

    /// Another start of this program: `host`, `api`.
    pub(crate) fn of_ours(arguments: &[&str]) -> Fallible<Self> {
        Self::start(&std::env::current_exe()?, arguments)
    }

    /// The next line; an error if the process ends first.
    pub(crate) async fn line(&mut self) -> Fallible<String> {
        let lines = self.lines.as_mut().ok_or("the child's lines are followed")?;
        let line = tokio::time::timeout(LINE_TIMEOUT, lines.next_line()).await;
        line.map_err(|_| "a child said nothing for 15 minutes")??
            .ok_or_else(|| "a child ended before its time".into())
    }

    /// The rest of the next line that begins with `word`; others are passed over.
    pub(crate) async fn after(&mut self, word: &str) -> Fallible<String> {
        loop {
            let line = self.line().await?;
            if let Some(rest) = line.strip_prefix(word) {
                return Ok(rest.trim().to_owned());
            }
        }
    }

    /// Hands every further line to `heard`, with this number before it.
    pub(crate) fn follow(&mut self, number: usize, heard: mpsc::UnboundedSender<(usize, String)>) {
        if let Some(mut lines) = self.lines.take() {
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    // Nobody listens any more: the line is still taken, for the pipe must not fill.
                    let _unheard = heard.send((number, line));
                }
            });
        }
    }

    pub(crate) async fn say(&mut self, line: &str) -> Fallible<()> {
        let stdin = self.stdin.as_mut().ok_or("the child's input is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }

    /// Ctrl-C, for a child that does not listen to its input.
    pub(crate) fn interrupt(&self) -> Fallible<()> {
        let pid = self.child.id().ok_or("the child has ended")?;
        std::process::Command::new("kill").args(["-INT", &pid.to_string()]).status()?;
        Ok(())
    }

    /// Closes the child's input, which asks it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> Fallible<()> {
        drop(self.stdin.take());
        let ended = async {
            // What it still says must not fill the pipe.
            if let Some(lines) = &mut self.lines {
                while let Ok(Some(_)) = lines.next_line().await {}
            }
            self.child.wait().await
        };
        tokio::time::timeout(STOP_TIMEOUT, ended).await.map_err(|_| "a child did not stop")??;
        Ok(())
    }

    /// Processor time that the child has used until now.
    pub(crate) fn processor_time(&self) -> Fallible<Duration> {
        crate::cpu::of_process(self.child.id().ok_or("the child has ended")?)
    }

    /// A value of `/proc/PID/status` in kB: `VmRSS`, `VmHWM`.
    pub(crate) fn memory_kb(&self, name: &str) -> Fallible<u64> {
        let pid = self.child.id().ok_or("the child has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such value")?;
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    }
}

/// Waits for the parent's next line; false at the end of its input.
pub(crate) async fn heard() -> bool {
    let heard = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0)
    });
    heard.await.unwrap_or(false)
}
