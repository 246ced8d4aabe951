//! Finding out whether a connection pooler stands between this host and the database.
//!
//! A setting of our own that is given with the connection is there afterwards on a connection of
//! Postgres itself. A pooler refuses it, or drops it, for its connections to the database were made
//! before ours.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Error};

/// What the operator said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooler {
    /// Look at the start.
    #[default]
    Auto,
    /// None, or one that leaves each of our connections a server connection of its own.
    None,
    /// One that gives each transaction another server connection.
    Transaction,
}

/// Whether to take care of one. Connects, so it also finds out whether that can be done at all.
pub(super) async fn is_between(options: &PgConnectOptions, said: Pooler) -> Result<bool, Error> {
    let mark = uuid::Uuid::now_v7().to_string();
    let marked = options.clone().options([("tidegate.connection", mark.as_str())]);
    let mut connection = match said {
        Pooler::None => options.connect().await?,
        Pooler::Transaction => for_pooler(options.clone()).connect().await?,
        Pooler::Auto => match marked.connect().await {
            Ok(connection) => connection,
            Err(error) if refuses_settings(&error) => {
                for_pooler(options.clone()).connect().await?.close().await?;
                return Ok(true);
            }
            Err(error) => return Err(error),
        },
    };
    let found = match said {
        Pooler::None => false,
        Pooler::Transaction => true,
        Pooler::Auto => {
            let read = "SELECT coalesce(current_setting('tidegate.connection', true), '')";
            // Simple, so that nothing is prepared on a connection that may be another's next.
            let row = sqlx::raw_sql(read).fetch_one(&mut connection).await?;
            sqlx::Row::try_get::<String, _>(&row, 0)? != mark
        }
    };
    connection.close().await?;
    Ok(found)
}

/// What a connection through a pooler may not ask for, and must not keep.
pub(super) fn for_pooler(options: PgConnectOptions) -> PgConnectOptions {
    options.extra_float_digits(None).statement_cache_capacity(0)
}

/// What poolers answer to a setting that they do not know: "protocol violation", or "not supported".
fn refuses_settings(error: &Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    let is_refusal = matches!(error.code().as_deref(), Some("08P01" | "0A000"));
    is_refusal && ["startup parameter", "options"].iter().any(|it| error.message().contains(it))
}
