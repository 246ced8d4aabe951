//! `tidegate plugin deploy|history|rollback|diff|disable|enable|approve`: releases of the whole fleet.

mod deploy;
mod gate;
mod shadow;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::client::{Client, ClientArgs};
use crate::cli::error::CliError;
use crate::cli::output::{cell, print, print_json, table};
use deploy::DeployArgs;

#[derive(Subcommand)]
pub(in crate::cli) enum ReleasesCommand {
    /// Deploy a plugin's folder to all hosts: it becomes live on all of them, or on none
    Deploy(DeployArgs),
    /// Show a plugin's releases, what was decided about them, and in what shadows differed
    History(HistoryArgs),
    /// Go back to the release before, or take a canary or a shadow back
    Rollback(RollbackArgs),
    /// Tell in words what one release may do and another may not
    Diff(DiffArgs),
    /// Stop a plugin on all hosts; its events wait
    Disable(SwitchArgs),
    /// Let hosts take a plugin's events again
    Enable(SwitchArgs),
    /// Let a HELD release go on, or a SHADOW become live
    Approve(ApproveArgs),
}

#[derive(Args)]
pub(in crate::cli) struct HistoryArgs {
    #[command(flatten)]
    client: ClientArgs,
    plugin: String,
    /// 1 to 500
    #[arg(long)]
    limit: Option<u32>,
}

#[derive(Args)]
pub(in crate::cli) struct RollbackArgs {
    #[command(flatten)]
    client: ClientArgs,
    plugin: String,
    /// The number of a release that was live before
    #[arg(long, value_name = "N")]
    to: Option<u32>,
    /// Why; kept in the history
    #[arg(long, default_value = "rolled back by hand")]
    reason: String,
    /// Tell what would happen, and do nothing
    #[arg(long)]
    plan: bool,
}

#[derive(Args)]
pub(in crate::cli) struct DiffArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// A plugin's name; or a folder, which is compared with what is live
    plugin: String,
    /// The number of a release; the live one if left out
    #[arg(long, value_name = "N")]
    from: Option<u32>,
    /// The number of a release; the newest if left out
    #[arg(long, value_name = "N")]
    to: Option<u32>,
}

#[derive(Args)]
pub(in crate::cli) struct SwitchArgs {
    #[command(flatten)]
    client: ClientArgs,
    plugin: String,
    /// Why, for those who come later
    #[arg(long)]
    reason: String,
    /// Tell what would happen, and do nothing
    #[arg(long)]
    plan: bool,
}

#[derive(Args)]
pub(in crate::cli) struct ApproveArgs {
    #[command(flatten)]
    client: ClientArgs,
    plugin: String,
    /// The number of the release that was looked at; none for what a host holds of its folder
    number: Option<u32>,
    /// Why; kept in the history
    #[arg(long)]
    reason: String,
    /// Tell what would happen, and do nothing
    #[arg(long)]
    plan: bool,
}

impl ReleasesCommand {
    const fn client(&self) -> &ClientArgs {
        match self {
            Self::Deploy(args) => &args.client,
            Self::History(args) => &args.client,
            Self::Rollback(args) => &args.client,
            Self::Diff(args) => &args.client,
            Self::Disable(args) | Self::Enable(args) => &args.client,
            Self::Approve(args) => &args.client,
        }
    }
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(command: ReleasesCommand) -> Result<(), CliError> {
    let client = &Client::new(command.client())?;
    let json = command.client().json;
    match command {
        ReleasesCommand::Deploy(args) => deploy::run(client, args, json).await,
        ReleasesCommand::History(args) => {
            let query = [("limit", args.limit.map(|limit| limit.to_string()))];
            let history = client.get(&["plugins", &args.plugin, "releases"], &query).await?;
            if json { print_json(&history) } else { print(&history_for_people(&history)) }
        }
        ReleasesCommand::Rollback(args) => {
            let query = [plan_query(args.plan), ("to", args.to.map(|to| to.to_string()))];
            let path = ["plugins", args.plugin.as_str(), "rollback"];
            let done = decide(client, &path, &query, &args.reason).await?;
            show(&done, json, args.plan, rolled_back_for_people)
        }
        ReleasesCommand::Diff(args) => diff(client, &args, json).await,
        ReleasesCommand::Disable(args) => switch(client, &args, "disable", json).await,
        ReleasesCommand::Enable(args) => switch(client, &args, "enable", json).await,
        ReleasesCommand::Approve(args) => {
            let Some(number) = args.number else {
                return approve_held(client, &args, json).await;
            };
            let number = number.to_string();
            let path = ["plugins", args.plugin.as_str(), "releases", &number, "approve"];
            let done = decide(client, &path, &[plan_query(args.plan)], &args.reason).await?;
            show(&done, json, args.plan, |release| {
                format!("{} is {}", name(release), cell(&release["state"]))
            })
        }
    }
}

/// What a host holds of its folder: the manifest that is shown is the one that is approved.
async fn approve_held(client: &Client, args: &ApproveArgs, json: bool) -> Result<(), CliError> {
    let plugins = client.get(&["plugins"], &[]).await?;
    let mut items = plugins["items"].as_array().into_iter().flatten();
    let held = items.find(|it| it["state"] == "held" && it["plugin"] == args.plugin.as_str());
    let digest = held.and_then(|held| held["manifest"]["digest"].as_str());
    if let (Some(held), true) = (held, args.plan) {
        return if json { print_json(held) } else { print(&cell(&held["reason"])) };
    }
    let path = ["plugins", args.plugin.as_str(), "approve"];
    let query = [("manifest_digest", digest.map(str::to_owned))];
    let done = decide(client, &path, &query, &args.reason).await?;
    if json {
        return print_json(&done);
    }
    let already = if done["changed"] == true { "" } else { " already" };
    print(&format!("what {} asks for is approved{already}", cell(&done["plugin"])))
}

fn plan_query(plan: bool) -> (&'static str, Option<String>) {
    ("plan", plan.then(|| "true".to_owned()))
}

async fn decide(
    client: &Client,
    path: &[&str],
    query: &[(&str, Option<String>)],
    reason: &str,
) -> Result<Value, CliError> {
    client.post_with(path, query, json!({ "reason": reason }).to_string()).await
}

fn show(
    done: &Value,
    json: bool,
    plan: bool,
    for_people: impl Fn(&Value) -> String,
) -> Result<(), CliError> {
    if json {
        print_json(done)
    } else if plan {
        print(&plan_for_people(done))
    } else {
        print(&for_people(done))
    }
}

async fn switch(
    client: &Client,
    args: &SwitchArgs,
    verb: &str,
    json: bool,
) -> Result<(), CliError> {
    let path = ["plugins", args.plugin.as_str(), verb];
    let done = decide(client, &path, &[plan_query(args.plan)], &args.reason).await?;
    show(&done, json, args.plan, |done| {
        let state = if done["disabled"] == true { "disabled" } else { "enabled" };
        let already = if done["changed"] == true { "" } else { " already" };
        format!("{} is {state}{already}", cell(&done["plugin"]))
    })
}

async fn diff(client: &Client, args: &DiffArgs, json: bool) -> Result<(), CliError> {
    let folder = PathBuf::from(&args.plugin);
    let plan = if folder.join("plugin.toml").is_file() {
        deploy::plan(client, &folder).await?
    } else {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let query = [("from", number(args.from)), ("to", number(args.to))];
        client.get(&["plugins", &args.plugin, "difference"], &query).await?
    };
    if json { print_json(&plan) } else { print(&plan_for_people(&plan)) }
}

/// `partner-sync #7`
pub(super) fn name(release: &Value) -> String {
    format!("{} #{}", cell(&release["plugin"]), cell(&release["number"]))
}

fn short(digest: &Value) -> String {
    cell(digest).chars().take(12).collect()
}

/// What would be different, and what would happen.
pub(super) fn plan_for_people(plan: &Value) -> String {
    let side = |side: &Value| match side {
        Value::Null => "nothing".to_owned(),
        release => {
            let number = match &release["number"] {
                Value::Null => String::new(),
                number => format!("#{} ", cell(number)),
            };
            format!("{number}{}", short(&release["digest"]))
        }
    };
    let mut lines =
        vec![format!("{}: {} → {}", cell(&plan["plugin"]), side(&plan["from"]), side(&plan["to"]))];
    let list = |key: &str| plan[key].as_array().cloned().unwrap_or_default();
    for difference in list("differences") {
        // What an operator must look at stands out without a colour.
        let sign = if difference["widens"] == true { "+" } else { " " };
        lines.push(format!("  {sign} {}", cell(&difference["text"])));
    }
    if list("differences").is_empty() {
        lines.push("    the manifests ask for the same".to_owned());
    }
    lines.extend(list("steps").iter().map(|step| format!("  → {}", cell(step))));
    lines.join("\n")
}

fn rolled_back_for_people(done: &Value) -> String {
    let plugin = cell(&done["plugin"]);
    let live = match &done["live"] {
        Value::Null => "nothing is live".to_owned(),
        number => format!("#{} is live", cell(number)),
    };
    match &done["taken_back"] {
        Value::Null if done["changed"] == true => format!("{plugin}: {live}"),
        Value::Null => format!("{plugin}: {live} already"),
        number => format!("{plugin}: #{} was taken back, {live}", cell(number)),
    }
}

fn history_for_people(history: &Value) -> String {
    let list = |key: &str| history[key].as_array().cloned().unwrap_or_default();
    let releases = list("releases").into_iter().map(|release| {
        vec![
            format!("#{}", cell(&release["number"])),
            cell(&release["state"]),
            short(&release["digest"]),
            cell(&release["created_by"]),
            cell(&release["created_at"]),
            cell(&release["live_at"]),
            cell(&release["reason"]),
        ]
    });
    let heads = ["RELEASE", "STATE", "DIGEST", "BY", "CREATED_AT", "LIVE_AT", "REASON"];
    let releases = table(&heads, releases);
    let decisions = list("decisions").into_iter().map(|decision| {
        let number = match &decision["number"] {
            Value::Null => "-".to_owned(),
            number => format!("#{}", cell(number)),
        };
        let texts = ["kind", "by", "reason"].map(|key| cell(&decision[key]));
        [vec![cell(&decision["at"]), number], texts.to_vec()].concat()
    });
    let decisions = table(&["AT", "RELEASE", "WHAT", "BY", "REASON"], decisions);
    let disabled = if history["disabled"] == true { " (disabled)" } else { "" };
    let shadows = list("shadow_reports");
    let shadows: String =
        shadows.iter().map(|report| format!("\n\n{}", shadow::for_people(report))).collect();
    format!("{}{disabled}\n\n{releases}\n\n{decisions}{shadows}", cell(&history["plugin"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_marks_what_an_operator_must_look_at() {
        let plan = json!({
            "plugin": "p",
            "from": {"number": 3, "digest": "0123456789abcdef", "manifest_digest": "m"},
            "to": {"number": null, "digest": "fedcba9876543210", "manifest_digest": "m"},
            "differences": [
                {"text": "may also call https://evil.example", "widens": true},
                {"text": "limits.memory 32MiB → 16MiB", "widens": false},
            ],
            "held": true,
            "steps": ["it is held until an operator approves it"],
        });
        assert_eq!(
            plan_for_people(&plan),
            "p: #3 0123456789ab → fedcba987654\n  \
             + may also call https://evil.example\n    \
             limits.memory 32MiB → 16MiB\n  \
             → it is held until an operator approves it"
        );
    }

    #[test]
    fn a_history_shows_releases_and_decisions() {
        let text = history_for_people(&json!({
            "plugin": "p", "disabled": true, "live": 1, "candidate": null,
            "releases": [{"number": 1, "state": "LIVE", "digest": "0123456789abcdef"}],
            "decisions": [{"at": "t", "number": null, "kind": "disabled", "by": "ada", "reason": "x"}],
        }));
        assert!(text.starts_with("p (disabled)\n"), "{text}");
        assert!(text.contains("#1") && text.contains("0123456789ab "), "{text}");
        assert!(text.ends_with("disabled  ada  x"), "{text}");
    }
}
