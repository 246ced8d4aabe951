//! SQLite's columns: UUIDs are text, times are microseconds since 1970, flags are 0 and 1.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::store::row::{ColumnError, Columns};

impl Columns for SqliteRow {
    fn text_or_null(&self, column: &str) -> Result<Option<String>, ColumnError> {
        self.try_get(column).map_err(|e| e.to_string())
    }

    fn integer_or_null(&self, column: &str) -> Result<Option<i64>, ColumnError> {
        self.try_get(column).map_err(|e| e.to_string())
    }

    fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, ColumnError> {
        let Some(micros) = self.integer_or_null(column)? else { return Ok(None) };
        chrono::DateTime::from_timestamp_micros(micros)
            .map(Some)
            .ok_or_else(|| format!("{column} cannot be {micros}"))
    }

    fn uuid(&self, column: &str) -> Result<Uuid, ColumnError> {
        let text = self.text(column)?;
        Uuid::try_parse(&text).map_err(|_| format!("{column} cannot be {text:?}"))
    }

    fn flag(&self, column: &str) -> Result<bool, ColumnError> {
        match self.integer(column)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{column} cannot be {other}")),
        }
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>, ColumnError> {
        self.try_get(column).map_err(|e| e.to_string())
    }
}
