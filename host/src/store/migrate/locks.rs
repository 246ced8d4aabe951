//! What a migration locks, for whoever decides when to run it. Read from its text: good enough for
//! our own migrations, whose statements have few forms.

use super::postgres::{index_of, statements};

/// A sentence for each lock that others may notice.
pub(super) fn of(sql: &str, on_postgres: bool) -> Vec<String> {
    if !on_postgres {
        let builds = statements(sql).iter().any(|statement| is_index(statement));
        let long = "SQLite has one writer: others wait until it has ended, as long as building the \
                    indexes takes";
        return if builds { vec![long.to_owned()] } else { Vec::new() };
    }
    let statements = statements(sql);
    let created: Vec<_> = statements.iter().filter_map(|it| after(it, "CREATE TABLE ")).collect();
    let mut sentences = Vec::new();
    for statement in &statements {
        let sentence = if let Some(name) = index_of(statement) {
            format!("builds {name} beside those who write: nobody waits, however long it takes")
        } else if is_index(statement) {
            let Some(table) = after(statement, " ON ") else { continue };
            if created.contains(&table) {
                continue;
            }
            format!("locks {table} against writing for as long as building an index on it takes")
        } else if let Some(table) = after(statement, "ALTER TABLE ") {
            format!(
                "locks {table} against everybody for a moment: it waits for the table for 300 ms at \
                 most, and tries again"
            )
        } else {
            continue;
        };
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    sentences
}

fn is_index(statement: &str) -> bool {
    statement.starts_with("CREATE INDEX") || statement.starts_with("CREATE UNIQUE INDEX")
}

/// The word that follows a phrase.
fn after<'s>(statement: &'s str, phrase: &str) -> Option<&'s str> {
    statement.split_once(phrase)?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_locks_for_long_is_told_and_what_does_not_is_told_too() {
        let told = of(
            "-- Why.\nCREATE TABLE a (n int);\nCREATE INDEX a_n ON a (n);\n\
             CREATE INDEX b_n ON b (n);\nALTER TABLE b ADD COLUMN m int;\nALTER TABLE b DROP n;",
            true,
        );
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("locks b against writing"), "{told:?}");
        assert!(told[1].contains("for a moment"), "{told:?}");
        let told = of("CREATE INDEX CONCURRENTLY IF NOT EXISTS b_n ON b (n);", true);
        assert_eq!(
            told,
            ["builds b_n beside those who write: nobody waits, however long it takes"]
        );
        assert_eq!(of("CREATE INDEX b_n ON b (n);", false).len(), 1);
        assert_eq!(of("CREATE TABLE a (n int);", false), [""; 0]);
    }

    #[test]
    fn migrations_without_a_transaction_only_take_steps_that_can_be_taken_again() {
        for migration in super::super::postgres().into_iter().filter(|it| it.no_tx) {
            let statements = statements(migration.sql.as_str());
            assert!(!statements.is_empty());
            for statement in statements {
                let again = index_of(&statement).is_some()
                    || statement.starts_with("DROP INDEX CONCURRENTLY IF EXISTS ")
                    // It corrects rows that it finds wrong, and finds them right the second time.
                    || statement.starts_with("DO $$");
                assert!(again, "{}: {statement}", migration.version);
            }
        }
    }

    #[test]
    fn a_block_is_one_statement() {
        let sql = "-- a; b\nDO $$\nBEGIN\n  x;\n  y;\nEND\n$$;\nCREATE TABLE a (n int);\n";
        let block = "DO $$\nBEGIN\n  x;\n  y;\nEND\n$$";
        assert_eq!(statements(sql), [block, "CREATE TABLE a (n int)"]);
    }

    /// The first one makes the tables. Of releases there are as many as people made.
    #[test]
    fn no_migration_locks_a_table_for_as_long_as_an_index_takes() {
        for migration in super::super::postgres().into_iter().filter(|it| it.version > 1) {
            for told in of(migration.sql.as_str(), true) {
                let is_long = told.contains("against writing") && !told.contains("plugin_releases");
                assert!(!is_long, "{}: {told}", migration.version);
            }
        }
    }
}
