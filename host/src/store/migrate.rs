//! The schema: migrations embedded in the binary, forward only, applied when a store is opened.

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::open::OpenError;

const SQLITE: &[(i64, &str, &str)] = &[
    (1, "outbox", include_str!("../../../migrations/sqlite/0001_outbox.sql")),
    (2, "operators", include_str!("../../../migrations/sqlite/0002_operators.sql")),
    (3, "control", include_str!("../../../migrations/sqlite/0003_control.sql")),
    (10, "limits", include_str!("../../../migrations/sqlite/0010_limits.sql")),
];

const POSTGRES: &[(i64, &str, &str)] = &[
    (1, "outbox", include_str!("../../../migrations/postgres/0001_outbox.sql")),
    (2, "operators", include_str!("../../../migrations/postgres/0002_operators.sql")),
    (3, "control", include_str!("../../../migrations/postgres/0003_control.sql")),
    (10, "limits", include_str!("../../../migrations/postgres/0010_limits.sql")),
];

pub(super) fn sqlite() -> Migrator {
    migrator(SQLITE)
}

/// Runs under Postgres's advisory lock, however many hosts start together.
pub(super) fn postgres() -> Migrator {
    migrator(POSTGRES)
}

fn migrator(list: &'static [(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = list.iter().map(|(version, name, sql)| {
        let sql = SqlStr::from_static(sql);
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
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
