//! Opening a store: its address, and every reason why it may not be opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use sqlx::error::DatabaseError;

use super::Store;
use super::fault::StoreFault;
use super::postgres::{Pooler, Postgres};
use super::sqlite::Sqlite;
use crate::domain::{Flow, Policies};

/// Where a store lies: `sqlite:PATH` or `postgres://…`. Shown, it never tells a password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

/// A connection URL as libpq has it, kept as it was given: it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    #[error("a store is given as sqlite:PATH or as postgres://user@host/database")]
    Scheme,
    #[error("sqlite: needs the path of a file")]
    NoPath,
    #[error("the postgres URL cannot be read: {0}")]
    Postgres(String),
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path == ":memory:" {
                return Err(StoreUrlError::NoPath);
            }
            return Ok(Self::Sqlite(path.into()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let url = url::Url::parse(text).map_err(|e| StoreUrlError::Postgres(e.to_string()))?;
            sqlx::postgres::PgConnectOptions::from_str(url.as_str()).map_err(|_| {
                // What the parser says may quote the URL, and with it the password.
                StoreUrlError::Postgres("a part of it has no meaning".to_owned())
            })?;
            return Ok(Self::Postgres(PostgresUrl(text.to_owned())));
        }
        Err(StoreUrlError::Scheme)
    }
}

impl StoreUrl {
    /// The same store; a relative path begins at this folder.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Sqlite(path) => Self::Sqlite(folder.join(path)),
            Self::Postgres(url) => Self::Postgres(url),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// User, host, port and database. The query may hold a password too, so it is left out.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(url) = url::Url::parse(&self.0) else { return f.write_str("postgres://…") };
        f.write_str("postgres://")?;
        if !url.username().is_empty() {
            write!(f, "{}@", url.username())?;
        }
        f.write_str(url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Which events a withdrawal's transitions write.
    pub flow: Flow,
    /// What must hold before anything is signed.
    pub policies: Policies,
    /// Connections at most. On SQLite they only read; one more writes.
    pub connections_max: u32,
    /// Whether a connection pooler in transaction mode is between the host and Postgres.
    pub pooler: Pooler,
    /// Whether an older schema is brought up to date, or refused.
    pub migrate: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        // Enough for several lanes of claims and settles beside the API. A Postgres takes a hundred
        // in all by default, and several hosts share them.
        Self {
            flow: Flow::default(),
            policies: Policies::default(),
            connections_max: 16,
            pooler: Pooler::Auto,
            migrate: true,
        }
    }
}

/// Why a store was not opened. Nothing was written, unless a migration before the failed one was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the store cannot be reached: {cause}")]
    Unreachable { cause: String },
    #[error(
        "the store's file cannot be opened: {cause}. Its folder must be there, and this user must \
         be allowed to write in it"
    )]
    Path { cause: String },
    #[error("the store refuses this user, or has no such database: {cause}")]
    Denied { cause: String },
    #[error(
        "the store can only be read: {cause}. It may be a standby, or set to read-only; a host \
         needs to write"
    )]
    ReadOnly { cause: String },
    #[error(
        "statements get lost on the way to the store: {cause}. A connection pooler in transaction \
         mode seems to be in between: set store.pooler = \"transaction\""
    )]
    Pooled { cause: String },
    #[error("the store's disk is full: {cause}. Free some space; nothing was changed")]
    DiskFull { cause: String },
    #[error(
        "the store's file is gone, and {} is left of it: with it belong events that are not lost \
         yet. Put the file back beside it, or restore both from a backup; to begin anew, move it \
         away", .left.display()
    )]
    LeftBehind { left: PathBuf },
    #[error(
        "the store's file is damaged or no SQLite database: {cause}. It was left as it is: \
         restore it from a backup, or move it away to begin anew"
    )]
    Damaged { cause: String },
    #[error(
        "the store's file is locked by another process: {cause}. Stop that process; the file was \
         left as it is"
    )]
    Locked { cause: String },
    #[error(
        "the store's schema is newer than this binary: it holds migration {version}, which this \
         binary does not know. Start the newer version"
    )]
    NewerSchema { version: i64 },
    #[error(
        "migration {version} of the store is not the one that this binary was built with; \
         migrations are never changed after a release"
    )]
    ChangedMigration { version: i64 },
    #[error("the store's schema could not be brought up to date: {cause}")]
    Migration { cause: String },
    #[error(
        "the store's schema is older than this binary: migration {version} is missing. Run \
         `tidegate migrate run`, or start a host that migrates"
    )]
    OlderSchema { version: i64 },
    #[error(
        "this store was moved to {to}: a host on it would pay again what is paid there. Use that \
         one; or, if no host ever ran on it, take the move back with `tidegate import --undo`"
    )]
    Moved { to: String },
}

impl OpenError {
    pub(super) fn from_sqlx(error: &sqlx::Error) -> Self {
        let cause = error.to_string();
        let is_file = error
            .as_database_error()
            .is_some_and(|e| e.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some());
        match StoreFault::of(error) {
            StoreFault::Locked if is_file => Self::Locked { cause },
            StoreFault::Damaged if is_file => Self::Damaged { cause },
            StoreFault::Unreachable if is_file => Self::Path { cause },
            StoreFault::ReadOnly => Self::ReadOnly { cause },
            StoreFault::DiskFull => Self::DiskFull { cause },
            StoreFault::Pooled => Self::Pooled { cause },
            fault => match error.as_database_error().and_then(DatabaseError::code) {
                // Syntax errors and missing rights: the schema is what cannot be made.
                Some(code) if code.starts_with("42") => Self::Migration { cause },
                _ if fault == StoreFault::Denied => Self::Denied { cause },
                _ => Self::Unreachable { cause },
            },
        }
    }

    /// Whether to wait may help: the database is just starting, or another process just ending.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Locked { .. } => true,
            Self::Path { .. }
            | Self::Denied { .. }
            | Self::ReadOnly { .. }
            | Self::DiskFull { .. }
            | Self::Pooled { .. }
            | Self::LeftBehind { .. }
            | Self::Damaged { .. }
            | Self::NewerSchema { .. }
            | Self::OlderSchema { .. }
            | Self::Moved { .. }
            | Self::ChangedMigration { .. }
            | Self::Migration { .. } => false,
        }
    }
}

/// Opens the store and brings its schema up to date. A SQLite file is made if there is none, and
/// nothing that is left of one; its folder must exist. An existing file that is damaged, locked or
/// newer is never touched.
///
/// # Errors
/// See [`OpenError`].
pub async fn open(url: &StoreUrl, options: StoreOptions) -> Result<Arc<dyn Store>, OpenError> {
    match url {
        StoreUrl::Sqlite(path) => Ok(Arc::new(Sqlite::open(path, options).await?)),
        StoreUrl::Postgres(url) => Ok(Arc::new(Postgres::open(url, options).await?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_sqlite_or_postgres_and_nothing_else() {
        assert_eq!("sqlite:a/b.db".parse(), Ok(StoreUrl::Sqlite("a/b.db".into())));
        assert_eq!("sqlite:///a/b.db".parse(), Ok(StoreUrl::Sqlite("/a/b.db".into())));
        assert_eq!("sqlite:".parse::<StoreUrl>(), Err(StoreUrlError::NoPath));
        assert_eq!("sqlite::memory:".parse::<StoreUrl>(), Err(StoreUrlError::NoPath));
        assert_eq!("mysql://x".parse::<StoreUrl>(), Err(StoreUrlError::Scheme));
        assert!("postgres://user@host/db".parse::<StoreUrl>().is_ok());
        assert!("postgres://host:notaport/db".parse::<StoreUrl>().is_err());
    }

    #[test]
    fn a_relative_path_begins_at_the_folder_and_an_absolute_one_stays() {
        let in_folder = |text: &str| {
            text.parse()
                .map(|url: StoreUrl| url.relative_to(Path::new("/etc/tidegate")).to_string())
        };
        assert_eq!(in_folder("sqlite:a/b.db"), Ok("sqlite:/etc/tidegate/a/b.db".into()));
        assert_eq!(in_folder("sqlite:/a/b.db"), Ok("sqlite:/a/b.db".into()));
        assert_eq!(in_folder("postgres://u@h/d"), Ok("postgres://u@h/d".into()));
    }

    #[test]
    fn an_address_never_shows_its_password() {
        let text = "postgres://me:s3cret@db.example:5433/tide?password=s3cret&sslmode=disable";
        let url: StoreUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), "postgres://me@db.example:5433/tide");
        assert!(!format!("{url:?}").contains("s3cret"));
        let error = "postgres://me:s3cret@h/d?sslmode=s3cret".parse::<StoreUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}
