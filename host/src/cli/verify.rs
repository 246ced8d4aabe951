//! `tidegate verify`: audits a store, which may be in use, and changes nothing.
//!
//! Exit codes: 0 all holds, 1 something does not, 2 it could not be looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::error::CliError;
use super::output::{cell, print, print_json, table};
use super::store_args::StoreArgs;
use crate::domain::{EventType, Flow};
use crate::jobs::Retention;
use crate::plugin::Manifest;
use crate::store::{Audit, AuditProgress, AuditRequest, OrderedType, StoreUrl, audit};

/// How often a long run says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Violations to name, of each check
    #[arg(long, value_name = "N", default_value_t = 5)]
    examples: usize,
    /// With --store: the folder of the plugins, whose manifests say which routes are ordered
    #[arg(long, value_name = "DIR", requires = "store")]
    plugins: Option<PathBuf>,
    /// With --store: the hosts run with the default [flow] and [retention]
    #[arg(long, requires = "store")]
    default_flow: bool,
    /// No host runs: leases that ran out wait for the next one, and are no violation
    #[arg(long)]
    no_hosts: bool,
}

/// # Errors
/// Something does not hold, or it could not be looked at.
pub(super) async fn run(args: VerifyArgs) -> Result<(), CliError> {
    let json = args.json;
    match look(&args).await {
        Ok(audit) => tell(&audit, json),
        Err(error) => {
            if json {
                print_json(&json!({"ok": false, "error": error.to_string()}))?;
            }
            Err(error.into_not_run())
        }
    }
}

async fn look(args: &VerifyArgs) -> Result<Audit, CliError> {
    let (url, config) = args.store.find()?;
    let default = Retention::default();
    let (flow, keep, plugins) = match config {
        Some(config) => {
            let keep = config.retention.finished_events;
            (Some(config.flow), Some(keep), Some(config.plugins.dir))
        }
        None if args.default_flow => {
            (Some(Flow::default()), Some(default.finished_events), args.plugins.clone())
        }
        None => (None, None, args.plugins.clone()),
    };
    let request = AuditRequest {
        flow,
        keep_finished: keep,
        ordered: plugins.as_deref().map(ordered_types).transpose()?,
        hosts_run: !args.no_hosts,
        examples_max: args.examples,
    };
    run_audit(&url, &request).await
}

/// Audits a store, and says on the standard error how far it is.
pub(super) async fn run_audit(url: &StoreUrl, request: &AuditRequest) -> Result<Audit, CliError> {
    let mut told = Instant::now();
    let mut progress = |at: AuditProgress| {
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            eprintln!("reading {}: {} rows", at.table, at.rows);
        }
    };
    audit(url, request, &mut progress).await.map_err(|error| {
        CliError::failed(error.to_string(), url.to_string(), "see the reason above")
    })
}

/// The types whose every route is ordered. Which plugin took an event of the past is not known, so
/// a type that one of its plugins takes in any order is left out.
fn ordered_types(folder: &Path) -> Result<Vec<OrderedType>, CliError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        let remedy = "name the folder of the plugins, or correct the manifest";
        CliError::failed(error.to_string(), folder.display().to_string(), remedy)
    };
    let mut among: BTreeMap<EventType, Option<Vec<EventType>>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(&error))? {
        let file = entry.map_err(|error| unreadable(&error))?.path().join("plugin.toml");
        if !file.is_file() {
            continue;
        }
        let manifest = Manifest::read(&file).map_err(|error| unreadable(&error))?;
        for event_type in &manifest.handles {
            let handles = manifest.ordered.then(|| manifest.handles.clone());
            let both = match among.remove(event_type) {
                None => handles,
                Some(others) => others.zip(handles).map(|(others, mut handles)| {
                    handles.retain(|of| others.contains(of));
                    handles
                }),
            };
            among.insert(event_type.clone(), both);
        }
    }
    let ordered = among.into_iter().filter_map(|(event_type, among)| Some((event_type, among?)));
    Ok(ordered.map(|(event_type, among)| OrderedType { event_type, among }).collect())
}

fn tell(audit: &Audit, json: bool) -> Result<(), CliError> {
    let violations = audit.violations();
    if json {
        print_json(&for_programs(audit))?;
    } else {
        print(&for_people(audit))?;
    }
    if violations == 0 { Ok(()) } else { Err(CliError::Told) }
}

fn for_programs(audit: &Audit) -> Value {
    let checks = audit.checks.iter().map(|check| {
        let examples: Vec<_> =
            check.examples.iter().map(|one| json!({"id": one.id, "what": one.what})).collect();
        json!({
            "name": check.name,
            "sentence": check.sentence,
            "checked": check.checked,
            "violations": check.violations,
            "examples": examples,
            "skipped": check.skipped,
        })
    });
    let violations = audit.violations();
    json!({
        "ok": violations == 0,
        "violations": violations,
        "checks": checks.collect::<Vec<_>>(),
    })
}

fn for_people(audit: &Audit) -> String {
    let rows = audit.checks.iter().map(|check| match check.skipped {
        Some(why) => vec![check.name.into(), "-".into(), "-".into(), format!("not made: {why}")],
        None => vec![
            check.name.into(),
            check.checked.to_string(),
            check.violations.to_string(),
            check.sentence.into(),
        ],
    });
    let mut text = table(&["CHECK", "ROWS", "WRONG", "WHAT HOLDS"], rows);
    for check in audit.checks.iter().filter(|check| check.violations > 0) {
        text.push_str(&format!("\n\n{}: {}, but:", check.name, check.sentence));
        for one in &check.examples {
            let line = format!("\n  {} {}", cell(&json!(one.id)), cell(&json!(one.what)));
            text.push_str(&line);
        }
        let named = u64::try_from(check.examples.len()).unwrap_or(u64::MAX);
        if check.violations > named {
            text.push_str(&format!("\n  and {} more", check.violations - named));
        }
    }
    let violations = audit.violations();
    let verdict = match violations {
        0 => "all holds".to_owned(),
        1 => "1 violation".to_owned(),
        n => format!("{n} violations"),
    };
    format!("{text}\n\n{verdict}")
}
