//! What is the matter with a store that does not do what it is asked, in plain words for operators
//! and callers. A fault never holds a text of the database: that may name hosts and users.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;

/// Why a store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Nobody answers at its address, or the connection broke.
    Unreachable,
    /// It is just starting, stopping or recovering.
    Starting,
    /// The database has as many connections as it takes, and none is this host's.
    TooManyConnections,
    /// All connections that this host may have are at work.
    Busy,
    /// No connection came in time. Whether it is one of those above, [`super::OperateStore::ping`]
    /// finds out.
    NoConnection,
    /// A standby, a database set to read-only, or a file without the right to write.
    ReadOnly,
    DiskFull,
    /// Another process holds a lock for longer than is waited for.
    Locked,
    /// It did not answer in time, or its own time limit ended what was asked.
    TimedOut,
    /// It refuses this user, or has no such database.
    Denied,
    /// Its files are damaged, or the disk under them fails.
    Damaged,
    /// The file was removed or replaced while it was in use.
    Gone,
    /// Prepared statements vanish: the mark of a pooler in transaction mode that nobody told us of.
    Pooled,
    /// The host is stopping.
    Closed,
    /// Something else that passes, such as a deadlock with another program.
    Other,
}

impl StoreFault {
    /// Sorts what sqlx reports.
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_database(&**error),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => {
                Self::Unreachable
            }
            sqlx::Error::PoolTimedOut => Self::NoConnection,
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Closed,
            _ => Self::Other,
        }
    }

    fn of_database(error: &dyn DatabaseError) -> Self {
        let Some(code) = error.code() else { return Self::Other };
        if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return code.parse().map_or(Self::Other, Self::of_sqlite);
        }
        Self::of_sqlstate(&code)
    }

    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
    fn of_sqlstate(code: &str) -> Self {
        match code {
            "53300" => Self::TooManyConnections,
            // Shut down by an operator, after a crash, or not up yet.
            "57P01" | "57P02" | "57P03" => Self::Starting,
            "25006" => Self::ReadOnly,
            "53100" => Self::DiskFull,
            "55P03" => Self::Locked,
            "57014" => Self::TimedOut,
            "42501" | "3D000" => Self::Denied,
            "58030" | "XX001" | "XX002" => Self::Damaged,
            // A statement that was prepared is unknown, or one of its name is there already.
            "26000" | "42P05" => Self::Pooled,
            code if code.starts_with("28") => Self::Denied,
            code if code.starts_with("08") => Self::Unreachable,
            _ => Self::Other,
        }
    }

    /// <https://sqlite.org/rescode.html>
    fn of_sqlite(code: i32) -> Self {
        // No room for the shared memory's file, which reports it as an I/O error.
        const IOERR_SHMSIZE: i32 = 10 | (19 << 8);
        if code == IOERR_SHMSIZE {
            return Self::DiskFull;
        }
        match code & 0xff {
            // BUSY, LOCKED.
            5 | 6 => Self::Locked,
            8 => Self::ReadOnly,
            // FULL.
            13 => Self::DiskFull,
            // IOERR, CORRUPT, NOTADB.
            10 | 11 | 26 => Self::Damaged,
            // CANTOPEN.
            14 => Self::Unreachable,
            _ => Self::Other,
        }
    }

    /// Whether it stays until somebody does something, and is met again only by what needs it: a
    /// look at a store with a full disk finds nothing.
    const fn is_lasting(self) -> bool {
        matches!(self, Self::ReadOnly | Self::DiskFull | Self::Damaged)
    }
}

/// A sentence, for whoever asks the host.
impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "The store cannot be reached.",
            Self::Starting => "The store is starting or stopping.",
            Self::TooManyConnections => "The store takes no more connections.",
            Self::Busy => "All of this host's connections to the store are in use.",
            Self::NoConnection => "No connection to the store could be had in time.",
            Self::ReadOnly => "The store can only be read.",
            Self::DiskFull => "The store's disk is full.",
            Self::Locked => "The store is locked by another process.",
            Self::TimedOut => "The store does not answer in time.",
            Self::Denied => "The store refuses this host's user or database.",
            Self::Damaged => "The store's files are damaged, or its disk fails.",
            Self::Gone => "The store's file was removed or replaced while the host used it.",
            Self::Pooled => {
                "Statements get lost on the way to the store: a connection pooler in transaction \
                 mode seems to be in between (see store.pooler)."
            }
            Self::Closed => "The host is stopping.",
            Self::Other => "The store could not do it just now.",
        })
    }
}

/// For so long a lasting fault is believed after it was met.
const LASTS: Duration = Duration::from_secs(10);

/// The last fault that stays, for those who ask whether the store works.
#[derive(Debug, Default)]
pub(super) struct FaultMemory(Mutex<Option<(StoreFault, Instant)>>);

impl FaultMemory {
    /// Notes a fault, if it is one that stays.
    pub(super) fn note(&self, fault: StoreFault) {
        if fault.is_lasting() {
            *self.lock() = Some((fault, Instant::now()));
        }
    }

    /// What was met a short time ago.
    pub(super) fn recent(&self) -> Option<StoreFault> {
        self.lock().filter(|(_, met_at)| met_at.elapsed() < LASTS).map(|(fault, _)| fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(StoreFault, Instant)>> {
        // Two plain values are whole whatever panicked while they were held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_become_faults() {
        for (code, fault) in [
            ("53300", StoreFault::TooManyConnections),
            ("57P01", StoreFault::Starting),
            ("25006", StoreFault::ReadOnly),
            ("53100", StoreFault::DiskFull),
            ("57014", StoreFault::TimedOut),
            ("28P01", StoreFault::Denied),
            ("08006", StoreFault::Unreachable),
            ("26000", StoreFault::Pooled),
            ("40P01", StoreFault::Other),
        ] {
            assert_eq!(StoreFault::of_sqlstate(code), fault, "{code}");
        }
        for (code, fault) in [
            (5, StoreFault::Locked),
            (517, StoreFault::Locked),
            (13, StoreFault::DiskFull),
            (4874, StoreFault::DiskFull),
            (778, StoreFault::Damaged),
            (1032, StoreFault::ReadOnly),
            (1, StoreFault::Other),
        ] {
            assert_eq!(StoreFault::of_sqlite(code), fault, "{code}");
        }
    }

    #[test]
    fn only_what_stays_is_remembered() {
        let memory = FaultMemory::default();
        memory.note(StoreFault::Locked);
        assert_eq!(memory.recent(), None);
        memory.note(StoreFault::DiskFull);
        memory.note(StoreFault::Unreachable);
        assert_eq!(memory.recent(), Some(StoreFault::DiskFull));
    }
}
