//! What an auditor asks of a live store. It reads one snapshot and writes nothing.
//!
//! A [`Check`] is a sentence and the SELECT that finds the rows that break it. Large tables are read
//! in stretches of their key, so memory is bounded however many rows there are.

use std::time::Duration;

use async_trait::async_trait;

use super::checks::{self, Check, Dialect, Subject, Times};
use super::open::{OpenError, StoreUrl};
use super::postgres::PostgresSnapshot;
use super::sqlite::SqliteSnapshot;
use super::{StoreError, migrate};
use crate::domain::{EventType, Flow};

/// Rows in one stretch. What a check finds in it is held at once.
const STRETCH: u32 = 10_000;

/// How much later than its end a lease may still be there: takeovers are looked for several times a
/// second, and a database that was away may have had all of them wait.
const LEASE_OVERDUE: Duration = Duration::from_secs(10);

/// The longest lease that a configuration may ask for.
const LEASE_MAX: Duration = Duration::from_secs(60 * 60);

/// What the auditor is told. What it is not told it does not check, and says so.
#[derive(Debug, Clone)]
pub struct AuditRequest {
    /// Which events each step of a withdrawal writes.
    pub flow: Option<Flow>,
    /// How long finished events are kept; `Some(None)` is for ever. What is older may be gone.
    pub keep_finished: Option<Option<Duration>>,
    pub ordered: Option<Vec<OrderedType>>,
    /// Whether hosts are running. If none is, leases that ran out wait for the next one.
    pub hosts_run: bool,
    /// Violations to name, of each check.
    pub examples_max: usize,
}

/// An event type whose route keeps the order of an aggregate's events, among these types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderedType {
    pub event_type: EventType,
    pub among: Vec<EventType>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub checks: Vec<CheckReport>,
}

impl Audit {
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.checks.iter().map(|check| check.violations).sum()
    }
}

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Stable, for programs.
    pub name: &'static str,
    /// What holds, if nothing is violated.
    pub sentence: &'static str,
    /// Rows that were looked at.
    pub checked: u64,
    pub violations: u64,
    pub examples: Vec<Violation>,
    /// Why it was not made.
    pub skipped: Option<&'static str>,
}

/// One row that breaks a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub id: String,
    pub what: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditProgress {
    /// What is read now.
    pub table: &'static str,
    /// Rows of it that were read.
    pub rows: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One unchanging view of a store. Every query answers two texts a row.
#[async_trait]
pub(super) trait Snapshot: Send {
    fn dialect(&self) -> Dialect;

    async fn pairs(
        &mut self,
        sql: &str,
        keys: Option<(&str, &str)>,
    ) -> Result<Vec<(String, String)>, StoreError>;

    async fn end(self: Box<Self>);
}

/// Audits a store that may be in use. Nothing is written, and the schema must be this binary's.
///
/// # Errors
/// The store cannot be opened or read; nothing is known then.
pub async fn audit(
    url: &StoreUrl,
    request: &AuditRequest,
    progress: &mut (dyn FnMut(AuditProgress) + Send),
) -> Result<Audit, AuditError> {
    let mut snapshot: Box<dyn Snapshot> = match url {
        StoreUrl::Sqlite(path) => Box::new(SqliteSnapshot::open(path).await?),
        StoreUrl::Postgres(url) => Box::new(PostgresSnapshot::open(url).await?),
    };
    let audited = look(&mut *snapshot, request, progress).await;
    snapshot.end().await;
    audited
}

async fn look(
    snapshot: &mut dyn Snapshot,
    request: &AuditRequest,
    progress: &mut (dyn FnMut(AuditProgress) + Send),
) -> Result<Audit, AuditError> {
    migrate::require_current(snapshot).await?;
    let dialect = snapshot.dialect();
    let times = Times {
        lease_overdue: LEASE_OVERDUE,
        lease_max: LEASE_MAX + LEASE_OVERDUE,
        keep_finished: request.keep_finished.flatten(),
    };
    let mut reports = Vec::new();
    for subject in Subject::ALL {
        let (made, skipped): (Vec<_>, Vec<_>) = checks::of(subject)
            .into_iter()
            .map(|check| (check, check.not_made(request)))
            .partition(|(_, why)| why.is_none());
        reports.extend(skipped.into_iter().map(|(check, why)| check.report(why)));
        let mut going: Vec<Going> = made
            .into_iter()
            .map(|(check, _)| Going {
                sql: dialect.render(check.sql(dialect), &times, request),
                report: check.report(None),
            })
            .collect();
        match subject.key() {
            Some(key) => {
                let end =
                    dialect.render(&checks::end_of_stretch(subject, key, STRETCH), &times, request);
                stretches(snapshot, subject, &end, &mut going, request, progress).await?;
            }
            None => wholes(snapshot, &mut going, request, progress).await?,
        }
        reports.extend(going.into_iter().map(|going| going.report));
    }
    reports.sort_by_key(|report| checks::position(report.name));
    Ok(Audit { checks: reports })
}

/// A check that is being made.
struct Going {
    sql: String,
    report: CheckReport,
}

/// Reads a table stretch by stretch, and makes all its checks on each.
async fn stretches(
    snapshot: &mut dyn Snapshot,
    subject: Subject,
    end: &str,
    going: &mut [Going],
    request: &AuditRequest,
    progress: &mut (dyn FnMut(AuditProgress) + Send),
) -> Result<(), StoreError> {
    let mut from = subject.before_first(snapshot.dialect()).to_owned();
    let mut rows = 0;
    while let Some((to, counted)) = snapshot.pairs(end, Some((&from, ""))).await?.pop() {
        for going in &mut *going {
            let found = snapshot.pairs(&going.sql, Some((&from, &to))).await?;
            going.report.checked += counted.parse::<u64>().unwrap_or_default();
            going.report.violations += found.len() as u64;
            going.report.keep(found, request.examples_max);
        }
        rows += counted.parse::<u64>().unwrap_or_default();
        progress(AuditProgress { table: subject.table(), rows });
        from = to;
    }
    Ok(())
}

/// Makes checks that look at a table as a whole: the database sorts, on its disk if need be.
async fn wholes(
    snapshot: &mut dyn Snapshot,
    going: &mut [Going],
    request: &AuditRequest,
    progress: &mut (dyn FnMut(AuditProgress) + Send),
) -> Result<(), StoreError> {
    for Going { sql, report } in going {
        let table = checks::table_of(report.name);
        let count = |of: &str| format!("SELECT CAST(count(*) AS text), '' FROM {of}");
        let checked = snapshot.pairs(&count(table), None).await?;
        let found = snapshot.pairs(&count(&format!("({sql}) AS found")), None).await?;
        let first = |rows: Vec<(String, String)>| {
            rows.first().and_then(|(n, _)| n.parse::<u64>().ok()).unwrap_or_default()
        };
        report.checked = first(checked);
        report.violations = first(found);
        if report.violations > 0 {
            let some = format!("{sql} LIMIT {}", request.examples_max);
            report.keep(snapshot.pairs(&some, None).await?, request.examples_max);
        }
        progress(AuditProgress { table, rows: report.checked });
    }
    Ok(())
}

impl CheckReport {
    fn keep(&mut self, found: Vec<(String, String)>, examples_max: usize) {
        let room = examples_max.saturating_sub(self.examples.len());
        let found = found.into_iter().take(room);
        self.examples.extend(found.map(|(id, what)| Violation { id, what }));
    }
}

impl Check {
    fn report(&self, skipped: Option<&'static str>) -> CheckReport {
        CheckReport {
            name: self.name,
            sentence: self.sentence,
            checked: 0,
            violations: 0,
            examples: Vec::new(),
            skipped,
        }
    }

    /// Why it cannot be made with what is known.
    fn not_made(&self, request: &AuditRequest) -> Option<&'static str> {
        match self.needs {
            checks::Needs::Nothing => None,
            checks::Needs::Flow => match (&request.flow, request.keep_finished) {
                (Some(_), Some(_)) => None,
                (Some(_), None) | (None, _) => Some("[flow] and [retention] are not known"),
            },
            checks::Needs::Order => match &request.ordered {
                None => Some("the plugins' manifests are not known"),
                Some(ordered) if ordered.is_empty() => Some("no route is ordered"),
                Some(_) => None,
            },
            checks::Needs::Hosts if request.hosts_run => None,
            checks::Needs::Hosts => Some("no host runs"),
        }
    }
}
