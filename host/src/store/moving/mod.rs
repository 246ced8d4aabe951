//! Moving a SQLite store into an empty Postgres, so that several hosts can share it.
//!
//! Two stores that both work would pay everything twice, so at no moment may hosts start on both:
//! first the source is marked, which no host starts on; then everything is copied in one
//! transaction of the target, which leaves the same mark there; then the source's mark is
//! completed. Stopped anywhere, the target is empty or whole, and the same command goes on.

mod columns;
mod source;
mod target;

use sqlx::Connection;
use uuid::Uuid;

use self::source::Source;
use self::target::Target;
use super::migrate;
use super::open::{OpenError, StoreUrl};

/// What is copied now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveProgress<'a> {
    pub table: &'a str,
    pub rows: u64,
}

/// One table that was moved. Both stores were read, and agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTable {
    pub table: String,
    pub rows: u64,
    /// Of all rows, whatever their order; in hexadecimal.
    pub checksum: String,
}

/// How a move ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    Now(Vec<MovedTable>),
    /// An earlier run did all of it, or all but the last mark.
    Before,
}

/// Why nothing was moved. The target is as empty as it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MoveError {
    #[error("a store is moved from sqlite:PATH to postgres://…, and not otherwise")]
    Direction,
    #[error("{0}")]
    Source(OpenError),
    #[error("a host uses the source, or something else has it open: {cause}")]
    SourceInUse { cause: String },
    #[error("the source is being moved to {to}, or was: only that move can go on")]
    MovedElsewhere { to: String },
    #[error("{0}")]
    Target(OpenError),
    #[error("a host uses the target: {cause}")]
    TargetInUse { cause: String },
    #[error("the target is not empty: {table} has rows")]
    TargetNotEmpty { table: String },
    #[error("table {table} cannot be moved: {cause}")]
    Copy { table: String, cause: String },
    #[error("table {table} arrived as another one: {cause}")]
    Differs { table: String, cause: String },
    #[error(
        "whether the target has kept everything is not known: {cause}. The source stays marked; \
         the same command finds out, and goes on"
    )]
    Unknown { cause: String },
    #[error("the target holds what was moved, so hosts may have paid from there")]
    Completed,
    #[error("the source was not moved anywhere")]
    NotMoved,
}

/// Moves everything, or finds that it was moved before.
///
/// # Errors
/// See [`MoveError`].
pub async fn move_store(
    from: &StoreUrl,
    to: &StoreUrl,
    progress: &mut (dyn FnMut(MoveProgress<'_>) + Send),
) -> Result<Moved, MoveError> {
    let (StoreUrl::Sqlite(path), StoreUrl::Postgres(url)) = (from, to) else {
        return Err(MoveError::Direction);
    };
    let mut source = Source::open(path).await?;
    let done = move_from(&mut source, url, &to.to_string(), progress).await;
    source.close().await;
    done
}

async fn move_from(
    source: &mut Source,
    url: &super::PostgresUrl,
    to: &str,
    progress: &mut (dyn FnMut(MoveProgress<'_>) + Send),
) -> Result<Moved, MoveError> {
    let mark = source.mark().await?;
    if let Some(mark) = &mark
        && mark.other != to
    {
        return Err(MoveError::MovedElsewhere { to: mark.other.clone() });
    }
    let mut connection = super::postgres::connect_alone(url).await.map_err(MoveError::Target)?;
    migrate::postgres::run(&mut connection, &migrate::postgres())
        .await
        .map_err(MoveError::Target)?;
    let mut target = Target::begin(&mut connection).await?;
    if let Some(mark) = &mark
        && target.has(mark.id).await?
    {
        source.complete(mark.id).await?;
        return Ok(Moved::Before);
    }
    target.must_be_empty().await?;
    let id = match &mark {
        Some(mark) => mark.id,
        None => source.set_mark(to).await?,
    };
    let copied = copy(source, &mut target, id, progress).await;
    let tables = match copied {
        Ok(tables) => tables,
        Err(error) => {
            // Nothing is there yet, for certain, and a mark of this run's own goes with it.
            if mark.is_none() {
                source.take_mark_back(id).await?;
            }
            return Err(error);
        }
    };
    target.commit().await?;
    source.complete(id).await?;
    target::analyze(&mut connection, &tables).await;
    let _closed = connection.close().await;
    Ok(Moved::Now(tables))
}

async fn copy(
    source: &mut Source,
    target: &mut Target<'_>,
    id: Uuid,
    progress: &mut (dyn FnMut(MoveProgress<'_>) + Send),
) -> Result<Vec<MovedTable>, MoveError> {
    let mut moved = Vec::new();
    for table in migrate::tables() {
        let columns = target.columns(table).await?;
        progress(MoveProgress { table, rows: 0 });
        let sent = target.fill(table, &columns, source, progress).await?;
        let kept = target.digest(table, &columns).await?;
        if sent != kept {
            let cause = format!("{sent:?} were sent, and {kept:?} are there");
            return Err(MoveError::Differs { table: table.to_owned(), cause });
        }
        target.go_on_counting(table, source).await?;
        moved.push(MovedTable {
            table: table.to_owned(),
            rows: sent.rows,
            checksum: sent.checksum(),
        });
    }
    target.set_mark(id, &source.name()).await?;
    Ok(moved)
}

/// Takes a move back that never reached its end, so that hosts start on the source again.
///
/// # Errors
/// See [`MoveError`]; above all [`MoveError::Completed`].
pub async fn undo_move(from: &StoreUrl, to: &StoreUrl) -> Result<(), MoveError> {
    let (StoreUrl::Sqlite(path), StoreUrl::Postgres(url)) = (from, to) else {
        return Err(MoveError::Direction);
    };
    let mut source = Source::open(path).await?;
    let undone = undo(&mut source, url, &to.to_string()).await;
    source.close().await;
    undone
}

async fn undo(source: &mut Source, url: &super::PostgresUrl, to: &str) -> Result<(), MoveError> {
    let Some(mark) = source.mark().await? else { return Err(MoveError::NotMoved) };
    if mark.other != to {
        return Err(MoveError::MovedElsewhere { to: mark.other });
    }
    let mut connection = super::postgres::connect_alone(url).await.map_err(MoveError::Target)?;
    let completed = target::holds(&mut connection, mark.id).await;
    let _closed = connection.close().await;
    if completed? {
        return Err(MoveError::Completed);
    }
    source.take_mark_back(mark.id).await
}
