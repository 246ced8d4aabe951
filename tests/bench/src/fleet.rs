//! Hosts on one store, each a process, and what they say of their progress.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::fallible::Fallible;
use crate::process::Process;
use crate::scene::Scene;

/// Without any progress for so long, a run is given up.
const STALLED_AFTER: Duration = Duration::from_secs(120);

pub(crate) struct Fleet {
    processes: Vec<Process>,
    heard: mpsc::UnboundedReceiver<(usize, String)>,
    done: Vec<u64>,
}

/// A handler's start, as a host tells it.
pub(crate) struct Start {
    pub(crate) event: String,
    pub(crate) at_micros: i64,
}

impl Fleet {
    /// Starts hosts and waits until each is ready; none claims yet.
    pub(crate) async fn start(
        scene: &Scene,
        url: &str,
        hosts: usize,
        with_starts: bool,
    ) -> Fallible<Self> {
        let plugins = scene.plugins.display().to_string();
        let mut arguments = vec!["host", "--store", url, "--plugins", &plugins];
        if with_starts {
            arguments.push("--starts");
        }
        let (say, heard) = mpsc::unbounded_channel();
        let mut processes = Vec::with_capacity(hosts);
        for number in 0..hosts {
            let mut process = Process::of_ours(&arguments)?;
            process.after("ready").await?;
            process.follow(number, say.clone());
            processes.push(process);
        }
        Ok(Self { processes, heard, done: vec![0; hosts] })
    }

    pub(crate) async fn go(&mut self) -> Fallible<Instant> {
        for process in &mut self.processes {
            process.say("go").await?;
        }
        Ok(Instant::now())
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.iter().sum()
    }

    /// Waits for the hosts' next word; a start is answered, a count is noted.
    pub(crate) async fn listen(&mut self) -> Fallible<Option<Start>> {
        let heard = tokio::time::timeout(STALLED_AFTER, self.heard.recv()).await;
        let (number, line) =
            heard.map_err(|_| "the hosts make no progress")?.ok_or("the hosts ended")?;
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("done"), Some(count), None) => {
                if let Some(done) = self.done.get_mut(number) {
                    *done = count.parse()?;
                }
                Ok(None)
            }
            (Some("start"), Some(event), Some(at)) => {
                Ok(Some(Start { event: event.to_owned(), at_micros: at.parse()? }))
            }
            _ => Err(format!("a host said {line:?}").into()),
        }
    }

    /// Waits until so many events are done, by all together.
    pub(crate) async fn until(&mut self, events: u64) -> Fallible<()> {
        while self.done() < events {
            self.listen().await?;
        }
        Ok(())
    }

    /// Processor time of all hosts until now.
    pub(crate) fn processor_time(&self) -> Fallible<Duration> {
        self.processes.iter().map(Process::processor_time).sum()
    }

    /// Peak resident memory of the first host.
    pub(crate) fn peak_memory_kb(&self) -> Fallible<u64> {
        self.processes.first().ok_or("no host")?.memory_kb("VmHWM")
    }

    pub(crate) async fn stop(self) -> Fallible<()> {
        for process in self.processes {
            process.stop().await?;
        }
        Ok(())
    }
}
