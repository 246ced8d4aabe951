//! What the database itself saw of leases: triggers that note who took each one, and who ended it.
//!
//! Who is who is told by the name of a connection, which each start of a host has to itself. So
//! that a host settled what another one held is a fact, and not an inference from its log.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};

use crate::eventually::eventually;

const INSTALL: &str = r"
CREATE TABLE witness_leases (
    event_id uuid   NOT NULL,
    token    bigint NOT NULL,
    holder   text   NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (event_id, token)
);
CREATE TABLE witness_faults (
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    what        text NOT NULL,
    event_id    uuid NOT NULL,
    event_type  text NOT NULL,
    token       bigint NOT NULL,
    holder      text,
    done_by     text NOT NULL,
    from_status text NOT NULL,
    to_status   text NOT NULL
);
CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    me     text := current_setting('application_name');
    holder text;
    what   text;
BEGIN
    IF OLD.status = 'PENDING' AND NEW.status = 'PROCESSING' THEN
        IF NEW.lease_token <= OLD.lease_token THEN
            what := 'a claim did not raise the token';
        ELSE
            INSERT INTO witness_leases (event_id, token, holder)
                VALUES (NEW.id, NEW.lease_token, me) ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                what := 'a token was given out twice';
            END IF;
        END IF;
    ELSIF OLD.status = 'PROCESSING' THEN
        SELECT l.holder INTO holder FROM witness_leases AS l
            WHERE l.event_id = OLD.id AND l.token = OLD.lease_token;
        IF holder IS DISTINCT FROM me AND NOT (NEW.status = 'RETRYING'
            AND NEW.last_error = 'lease lost' AND OLD.locked_until <= now()) THEN
            what := 'a lease was ended or prolonged by another than its holder';
        ELSIF NEW.lease_token <> OLD.lease_token THEN
            what := 'a token changed without a claim';
        END IF;
    ELSIF OLD.status <> 'RETRYING' OR NEW.status <> 'PENDING' THEN
        what := 'a step that nothing here takes';
    END IF;
    IF what IS NOT NULL THEN
        INSERT INTO witness_faults
            (what, event_id, event_type, token, holder, done_by, from_status, to_status)
            VALUES (what, OLD.id, OLD.event_type, OLD.lease_token, holder, me, OLD.status, NEW.status);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER witness AFTER UPDATE ON outbox_events FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status
        OR OLD.locked_until IS DISTINCT FROM NEW.locked_until)
    EXECUTE FUNCTION witness();
";

/// The witness in one database.
#[derive(Debug, Clone)]
pub struct Witness {
    url: String,
}

/// What it counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub leases: i64,
    /// Leases that ran out and were taken over.
    pub lost: i64,
    /// Events that were taken more than once.
    pub taken_again: i64,
}

impl Witness {
    /// Begins to look, before there is any event. The schema must be there.
    ///
    /// # Panics
    /// The database refuses.
    pub async fn install(url: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(INSTALL).execute(&mut connection).await.unwrap();
        Self { url: url.to_owned() }
    }

    /// The first things that it saw and that must never happen.
    ///
    /// # Errors
    /// The database is away.
    pub async fn faults(&self) -> Result<Vec<String>, sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let rows = sqlx::query(
            "SELECT format('%s: %s %s, token %s, held by %s, %s → %s by %s at %s', what, event_type, \
             event_id, token, coalesce(holder, 'nobody'), from_status, to_status, done_by, at) \
             AS line FROM witness_faults ORDER BY at LIMIT 20",
        )
        .fetch_all(&mut connection)
        .await?;
        rows.iter().map(|row| row.try_get("line")).collect()
    }

    /// Waits until so many hosts have taken an event from now on: none of them stands idle while
    /// there is work.
    ///
    /// # Panics
    /// They did not in time, or the database is away.
    pub async fn all_take_part(&self, hosts: usize, within: Duration) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let now: String = sqlx::query_scalar("SELECT clock_timestamp()::text")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        eventually("every host takes events", within, async || {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let taking: Vec<String> = sqlx::query_scalar(
                "SELECT DISTINCT split_part(holder, '.', 1) FROM witness_leases \
                 WHERE at > $1::text::timestamptz ORDER BY 1",
            )
            .bind(&now)
            .fetch_all(&mut connection)
            .await
            .unwrap();
            if taking.len() == hosts { Ok(()) } else { Err(format!("{taking:?} do")) }
        })
        .await;
    }

    /// # Panics
    /// The database is away, or connections have no names of hosts.
    pub async fn seen(&self) -> Seen {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM witness_leases) AS leases, \
             (SELECT count(*) FROM outbox_attempts WHERE kind = 'lease lost') AS lost, \
             (SELECT count(DISTINCT event_id) FROM witness_leases WHERE token > 1) AS taken_again, \
             (SELECT count(*) FROM witness_leases WHERE holder NOT LIKE 'host-_.%') AS unnamed",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(row.get::<i64, _>("unnamed"), 0, "each start of a host has a name of its own");
        Seen {
            leases: row.get("leases"),
            lost: row.get("lost"),
            taken_again: row.get("taken_again"),
        }
    }
}
