//! The one writer. Jobs that wait together share a commit: commits are what a disk is slow at.
//!
//! A job runs inside a savepoint, so that one that fails takes nothing of the others with it, and
//! is answered only after the commit. A caller that goes away meanwhile loses the answer, never
//! half of a job: what was begun is committed or undone as a whole.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::file::Identity;
use crate::store::StoreError;
use crate::store::error::Doing;
use crate::store::fault::{FaultMemory, StoreFault};

/// Jobs that may wait. Whoever comes when it is full waits outside, in its own task.
const QUEUE_MAX: usize = 1_024;

/// Jobs of one commit. At some 50 µs each, the last one waits 13 ms.
const BATCH_MAX: usize = 256;

/// What a job came to.
pub(super) enum Outcome<T> {
    Keep(T),
    /// The answer stands, and what the job wrote is undone.
    Undo(T),
}

type Ran<T> = Result<Outcome<T>, StoreError>;

pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
    health: Arc<Health>,
}

/// Whether writing works.
#[derive(Default)]
struct Health {
    /// What the last transaction met.
    last: Mutex<Option<StoreFault>>,
    /// A full disk is met only by what needs space, and most transactions of an idle host do not.
    memory: FaultMemory,
}

impl Health {
    fn note(&self, fault: Option<StoreFault>) {
        if let Some(fault) = fault {
            self.memory.note(fault);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn fault(&self) -> Option<StoreFault> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.or_else(|| self.memory.recent())
    }
}

impl Writer {
    /// `options` open the connection again if it is lost.
    pub(super) fn start(
        options: SqliteConnectOptions,
        connection: SqliteConnection,
        file: Identity,
    ) -> Self {
        let (sender, jobs) = mpsc::channel(QUEUE_MAX);
        let stop = CancellationToken::new();
        let health = Arc::<Health>::default();
        let worker = Worker {
            options,
            connection: Some(connection),
            jobs,
            stop: stop.clone(),
            file,
            health: Arc::clone(&health),
        };
        let task = tokio::spawn(worker.run());
        Self { jobs: sender, stop, task: Mutex::new(Some(task)), health }
    }

    /// What keeps it from writing, if anything does.
    pub(super) fn fault(&self) -> Option<StoreFault> {
        self.health.fault()
    }

    /// Runs `work` in a transaction and answers after its commit.
    pub(super) async fn write<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Ran<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Call { doing, work: Some(work), ran: None, reply };
        let closed = |_| StoreError::away(doing, StoreFault::Closed, "the store is closed");
        self.jobs.send(Box::new(job)).await.map_err(|_| closed(()))?;
        answer.await.map_err(|_| closed(()))?
    }

    /// Finishes what waits, takes nothing more, and closes the file. A repeat does nothing.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        if let Some(task) = task {
            // A writer that panicked has nothing left to close.
            let _ended = task.await;
        }
    }
}

/// A job without its types.
#[async_trait]
trait Job: Send {
    /// Whether anyone still waits for the answer.
    fn is_wanted(&self) -> bool;
    /// Runs the job; answers whether its writes are to be kept.
    async fn run(&mut self, connection: &mut SqliteConnection) -> bool;
    /// What the store let it fail of.
    fn fault(&self) -> Option<StoreFault>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Call<F, T> {
    doing: &'static str,
    work: Option<F>,
    ran: Option<Ran<T>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

#[async_trait]
impl<F, T> Job for Call<F, T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Ran<T>> + Send + 'static,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    async fn run(&mut self, connection: &mut SqliteConnection) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A job that panics is a failed job; the writer goes on.
        let ran = AssertUnwindSafe(work(connection)).catch_unwind().await;
        let ran = ran.unwrap_or_else(|_| Err(StoreError::unavailable(self.doing, "it panicked")));
        let keep = matches!(ran, Ok(Outcome::Keep(_)));
        self.ran = Some(ran);
        keep
    }

    fn fault(&self) -> Option<StoreFault> {
        self.ran.as_ref().and_then(|ran| ran.as_ref().err()).and_then(StoreError::fault)
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.ran, committed) {
            (Some(Ok(Outcome::Undo(answer))), _) => Ok(answer),
            (Some(Ok(Outcome::Keep(answer))), Ok(())) => Ok(answer),
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::unavailable(self.doing, "it was not begun")),
        };
        // Nobody waits any more: the job stands as it is.
        let _unread = self.reply.send(answer);
    }
}

struct Worker {
    options: SqliteConnectOptions,
    /// None after a failure: what state the connection is in is not worth guessing.
    connection: Option<SqliteConnection>,
    jobs: mpsc::Receiver<Box<dyn Job>>,
    stop: CancellationToken,
    file: Identity,
    health: Arc<Health>,
}

impl Worker {
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let taken = tokio::select! {
                taken = self.jobs.recv_many(&mut batch, BATCH_MAX) => taken,
                () = self.stop.cancelled(), if !self.jobs.is_closed() => {
                    self.jobs.close();
                    continue;
                }
            };
            if taken == 0 {
                break;
            }
            batch.retain(|job| job.is_wanted());
            if batch.is_empty() {
                continue;
            }
            let committed = self.commit_together(&mut batch).await;
            let of_jobs = || batch.iter().find_map(|job| job.fault());
            self.health.note(committed.as_ref().err().and_then(StoreError::fault).or_else(of_jobs));
            for job in batch.drain(..) {
                job.answer(committed.clone());
            }
        }
        if let Some(connection) = self.connection.take() {
            // Closing writes the log back into the file; if it cannot, the next start does.
            let _closed = sqlx::Connection::close(connection).await;
        }
    }

    async fn commit_together(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        if !self.file.is_there() {
            // The connection stays: should the file be put back, it is still the one.
            return Err(StoreError::away("write", StoreFault::Gone, "the path names no such file"));
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await.doing("open the file again")?,
        };
        let committed = transaction(&mut connection, batch).await;
        // After a failure the connection is dropped, which undoes whatever was open on it.
        self.connection = committed.is_ok().then_some(connection);
        committed
    }
}

async fn transaction(
    connection: &mut SqliteConnection,
    batch: &mut [Box<dyn Job>],
) -> Result<(), StoreError> {
    const DOING: &str = "write";
    let alone = batch.len() == 1;
    let mut kept = false;
    execute(connection, "BEGIN IMMEDIATE").await.doing(DOING)?;
    for job in batch {
        if !alone {
            execute(connection, "SAVEPOINT job").await.doing(DOING)?;
        }
        let keep = job.run(connection).await;
        kept |= keep;
        if !alone {
            if !keep {
                // Fails if the database has undone the whole transaction, as it does on a full
                // disk: then nobody of the batch is told that it was written.
                execute(connection, "ROLLBACK TO job").await.doing(DOING)?;
            }
            execute(connection, "RELEASE job").await.doing(DOING)?;
        }
    }
    execute(connection, if kept { "COMMIT" } else { "ROLLBACK" }).await.doing(DOING)
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await.map(|_| ())
}
