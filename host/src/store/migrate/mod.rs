//! The schema: migrations embedded in the binary, forward only, applied when a store is opened.
//!
//! What was applied stands in `_sqlx_migrations`, as sqlx has it. On Postgres a migration either is
//! one transaction, or builds indexes beside those who write, one statement after another.

mod locks;
pub(super) mod postgres;

use std::collections::BTreeMap;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, PgConnection, Row, SqlStr, SqliteConnection};

use super::auditing::{AuditError, Snapshot};
use super::checks::Dialect;
use super::open::{OpenError, StoreUrl};

/// Where sqlx keeps what was applied.
const APPLIED: &str = "_sqlx_migrations";

type Listed = (i64, &'static str, &'static str);

const SQLITE: &[Listed] = &[
    (1, "outbox", include_str!("../../../../migrations/sqlite/0001_outbox.sql")),
    (2, "operators", include_str!("../../../../migrations/sqlite/0002_operators.sql")),
    (3, "control", include_str!("../../../../migrations/sqlite/0003_control.sql")),
    (4, "retention", include_str!("../../../../migrations/sqlite/0004_retention.sql")),
    (5, "moves", include_str!("../../../../migrations/sqlite/0005_moves.sql")),
    (10, "limits", include_str!("../../../../migrations/sqlite/0010_limits.sql")),
    (11, "done_at", include_str!("../../../../migrations/sqlite/0011_done_at.sql")),
    (12, "releases", include_str!("../../../../migrations/sqlite/0012_releases.sql")),
    (13, "breakers", include_str!("../../../../migrations/sqlite/0013_breakers.sql")),
    (15, "shadow", include_str!("../../../../migrations/sqlite/0015_shadow.sql")),
    (16, "kept releases", include_str!("../../../../migrations/sqlite/0016_kept_releases.sql")),
    (17, "ends", include_str!("../../../../migrations/sqlite/0017_ends.sql")),
    (18, "policies", include_str!("../../../../migrations/sqlite/0018_policies.sql")),
    (19, "paid", include_str!("../../../../migrations/sqlite/0019_paid.sql")),
];

const POSTGRES: &[Listed] = &[
    (1, "outbox", include_str!("../../../../migrations/postgres/0001_outbox.sql")),
    (2, "operators", include_str!("../../../../migrations/postgres/0002_operators.sql")),
    (3, "control", include_str!("../../../../migrations/postgres/0003_control.sql")),
    (4, "retention", include_str!("../../../../migrations/postgres/0004_retention.sql")),
    (5, "moves", include_str!("../../../../migrations/postgres/0005_moves.sql")),
    (10, "limits", include_str!("../../../../migrations/postgres/0010_limits.sql")),
    (11, "done_at", include_str!("../../../../migrations/postgres/0011_done_at.sql")),
    (12, "releases", include_str!("../../../../migrations/postgres/0012_releases.sql")),
    (13, "breakers", include_str!("../../../../migrations/postgres/0013_breakers.sql")),
    (14, "queue", include_str!("../../../../migrations/postgres/0014_queue.sql")),
    (15, "shadow", include_str!("../../../../migrations/postgres/0015_shadow.sql")),
    (16, "kept releases", include_str!("../../../../migrations/postgres/0016_kept_releases.sql")),
    (17, "ends", include_str!("../../../../migrations/postgres/0017_ends.sql")),
    (18, "policies", include_str!("../../../../migrations/postgres/0018_policies.sql")),
    (19, "paid", include_str!("../../../../migrations/postgres/0019_paid.sql")),
];

/// What is in hand: a table of Postgres's only. A lease that came along in a move is found without it.
const CLAIMS: &str = "outbox_claims";

/// The first line of a migration that must not be one transaction.
const NO_TRANSACTION: &str = "-- no-transaction";

/// A migration, and how it stands in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    pub version: i64,
    pub name: String,
    pub state: MigrationState,
    /// Empty for one that this binary does not know.
    pub sql: &'static str,
    /// What running it locks, and for how long, as sentences.
    pub locks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationState {
    /// When, as the database writes it.
    Applied {
        at: String,
    },
    Pending,
    /// The store has it, and this binary does not know it: a newer one was here.
    Unknown,
    /// The store has another one of this version.
    Changed,
}

/// A row of [`APPLIED`].
pub(super) struct Applied {
    version: i64,
    name: String,
    checksum: Vec<u8>,
    at: String,
}

pub(super) fn sqlite() -> Vec<Migration> {
    migrations(SQLITE)
}

pub(super) fn postgres() -> Vec<Migration> {
    migrations(POSTGRES)
}

fn migrations(list: &'static [Listed]) -> Vec<Migration> {
    let migrations = list.iter().map(|(version, name, sql)| {
        let no_tx = sql.starts_with(NO_TRANSACTION);
        let sql = SqlStr::from_static(sql);
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql, no_tx)
    });
    migrations.collect()
}

/// Every table that both databases have, those that others point to before them; but for the one
/// that says what was moved.
pub(super) fn tables() -> Vec<&'static str> {
    let made = POSTGRES.iter().flat_map(|(_, _, sql)| sql.split("CREATE TABLE ").skip(1));
    let names = made.filter_map(|after| after.split_whitespace().next());
    names.filter(|name| !["store_moves", CLAIMS].contains(name)).collect()
}

/// Says what a failed migration means for whoever starts the host.
pub(super) fn explain(error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(version) => OpenError::NewerSchema { version },
        MigrateError::VersionMismatch(version) => OpenError::ChangedMigration { version },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            OpenError::from_sqlx(&error)
        }
        other => OpenError::Migration { cause: other.to_string() },
    }
}

/// Brings a file up to date. Two processes that start together migrate one after the other; a file
/// that another process writes to without an end is refused, whether anything is to be done or not.
pub(super) async fn run_sqlite(
    connection: &mut SqliteConnection,
    list: Vec<Migration>,
) -> Result<Vec<i64>, OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    // (`Migrator::run` would do, but makes a future that cannot be spawned.)
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let pending = pending(&list, &applied_sqlite(&mut tx).await?)?;
    let migrator = Migrator::with_migrations(list);
    migrator.run_direct(None, &mut *tx, false).await.map_err(explain)?;
    tx.commit().await.map_err(failed)?;
    Ok(pending)
}

/// The versions that are missing.
///
/// # Errors
/// The store has migrations that are not this binary's.
pub(super) fn pending(list: &[Migration], applied: &[Applied]) -> Result<Vec<i64>, OpenError> {
    for found in applied {
        match list.iter().find(|known| known.version == found.version) {
            None => return Err(OpenError::NewerSchema { version: found.version }),
            Some(known) if *known.checksum != *found.checksum => {
                return Err(OpenError::ChangedMigration { version: found.version });
            }
            Some(_) => {}
        }
    }
    let missing = list.iter().map(|known| known.version);
    Ok(missing.filter(|version| applied.iter().all(|found| found.version != *version)).collect())
}

/// # Errors
/// The schema is older: see [`OpenError::OlderSchema`]. Or newer, or changed.
pub(super) async fn require_current_sqlite(
    connection: &mut SqliteConnection,
) -> Result<(), OpenError> {
    current(&pending(&sqlite(), &applied_sqlite(connection).await?)?)
}

/// As [`require_current_sqlite`].
pub(super) async fn require_current_postgres(
    connection: &mut PgConnection,
) -> Result<(), OpenError> {
    current(&pending(&postgres(), &postgres::applied(connection).await?)?)
}

pub(super) fn current(pending: &[i64]) -> Result<(), OpenError> {
    match pending.first() {
        None => Ok(()),
        Some(version) => Err(OpenError::OlderSchema { version: *version }),
    }
}

/// As [`require_current_sqlite`], within a snapshot.
pub(super) async fn require_current(snapshot: &mut dyn Snapshot) -> Result<(), AuditError> {
    let (list, exists) = match snapshot.dialect() {
        Dialect::Postgres => {
            (POSTGRES, "SELECT 'yes', '' WHERE to_regclass('_sqlx_migrations') IS NOT NULL")
        }
        Dialect::Sqlite { .. } => {
            (SQLITE, "SELECT 'yes', '' FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        }
    };
    let known: Vec<i64> = list.iter().map(|(version, ..)| *version).collect();
    let versions = "SELECT CAST(version AS text), '' FROM _sqlx_migrations ORDER BY version";
    let mut applied = Vec::new();
    if !snapshot.pairs(exists, None).await?.is_empty() {
        let rows = snapshot.pairs(versions, None).await?;
        applied = rows.iter().filter_map(|(version, _)| version.parse().ok()).collect();
    }
    if let Some(version) = applied.iter().find(|version| !known.contains(version)) {
        return Err(OpenError::NewerSchema { version: *version }.into());
    }
    let missing: Vec<_> = known.into_iter().filter(|version| !applied.contains(version)).collect();
    Ok(current(&missing)?)
}

async fn applied_sqlite(connection: &mut SqliteConnection) -> Result<Vec<Applied>, OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    let exists = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let exists: i64 =
        sqlx::query_scalar(exists).fetch_one(&mut *connection).await.map_err(failed)?;
    if exists == 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT version, description, checksum, CAST(installed_on AS text) AS at \
         FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: row.try_get("version").map_err(failed)?,
                name: row.try_get("description").map_err(failed)?,
                // A text, where somebody wrote one.
                checksum: row.try_get_unchecked("checksum").map_err(failed)?,
                at: row.try_get("at").map_err(failed)?,
            })
        })
        .collect()
}

/// Every migration that this binary or the store knows. Nothing is written.
///
/// # Errors
/// The store cannot be read.
pub async fn migration_status(url: &StoreUrl) -> Result<Vec<MigrationStatus>, OpenError> {
    let (list, applied) = match url {
        StoreUrl::Sqlite(path) => {
            let mut connection = super::sqlite::connect_to_read(path).await?;
            let applied = applied_sqlite(&mut connection).await;
            // It was only read: what it leaves behind is nobody's loss.
            let _closed = connection.close().await;
            (SQLITE, applied?)
        }
        StoreUrl::Postgres(url) => {
            let mut connection = super::postgres::connect_alone(url).await?;
            let applied = postgres::applied(&mut connection).await;
            let _closed = connection.close().await;
            (POSTGRES, applied?)
        }
    };
    Ok(status(list, applied))
}

fn status(list: &'static [Listed], applied: Vec<Applied>) -> Vec<MigrationStatus> {
    let mut found: BTreeMap<i64, Applied> =
        applied.into_iter().map(|applied| (applied.version, applied)).collect();
    let on_postgres = std::ptr::eq(list, POSTGRES);
    let known = migrations(list);
    let mut all: Vec<_> = list
        .iter()
        .zip(&known)
        .map(|((version, name, sql), known)| MigrationStatus {
            version: *version,
            name: (*name).to_owned(),
            state: match found.remove(version) {
                None => MigrationState::Pending,
                Some(applied) if *applied.checksum != *known.checksum => MigrationState::Changed,
                Some(applied) => MigrationState::Applied { at: applied.at },
            },
            sql,
            locks: locks::of(sql, on_postgres),
        })
        .collect();
    all.extend(found.into_values().map(|applied| MigrationStatus {
        version: applied.version,
        name: applied.name,
        state: MigrationState::Unknown,
        sql: "",
        locks: Vec::new(),
    }));
    all
}

/// Brings a store's schema up to date, as a host does when it starts; answers what was applied.
///
/// # Errors
/// See [`OpenError`].
pub async fn migrate(url: &StoreUrl) -> Result<Vec<i64>, OpenError> {
    match url {
        StoreUrl::Sqlite(path) => {
            let mut connection = super::sqlite::connect_to_write(path).await?;
            let done = run_sqlite(&mut connection, sqlite()).await;
            let _closed = connection.close().await;
            done
        }
        StoreUrl::Postgres(url) => {
            let mut connection = super::postgres::connect_alone(url).await?;
            let done = postgres::run(&mut connection, &postgres()).await;
            let _closed = connection.close().await;
            done
        }
    }
}

/// Notes that a migration was applied.
async fn record<C: Migrate>(connection: &mut C, migration: &Migration) -> Result<(), OpenError> {
    connection.skip(APPLIED, migration).await.map_err(explain)
}
