//! `tidegate plugin deploy DIR`: sends a folder's release, and tells how it gets on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::super::folder::read_all;
use super::gate::{Gate, GateAnswer, Scenarios};
use super::{name, plan_for_people};
use crate::cli::client::{Client, ClientArgs};
use crate::cli::error::CliError;
use crate::cli::output::{cell, print, print_json};
use crate::domain::{Share, parse_duration};
use crate::plugin::Candidate;

/// How often the fleet is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(in crate::cli) struct DeployArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// The folder: plugin.toml and component.wasm, and a signature if there is one
    folder: PathBuf,
    /// Try it on this share of the events first, such as 5%
    #[arg(long, value_name = "SHARE")]
    canary: Option<Share>,
    /// Promote the canary after so many events
    #[arg(long, value_name = "N", requires = "canary")]
    canary_events: Option<u64>,
    /// Copy the attempts at this share of the aggregates to it, such as 20%; nothing that it does
    /// leaves the hosts, and the differences are reported
    #[arg(long, value_name = "SHARE", conflicts_with = "canary")]
    shadow: Option<Share>,
    /// Copy so many attempts at most
    #[arg(long, value_name = "N", requires = "shadow")]
    shadow_events: Option<u64>,
    /// Approve it at once if it is held; the token must be an operator's, too
    #[arg(long, value_name = "REASON")]
    approve: Option<String>,
    /// Tell what would happen, and do nothing
    #[arg(long)]
    plan: bool,
    /// The same again makes no second release
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How long to wait for the fleet
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    wait: Duration,
}

/// A folder's files, as they are sent.
struct Folder {
    plugin: String,
    parts: Vec<(&'static str, Vec<u8>)>,
}

pub(super) async fn run(client: &Client, args: DeployArgs, json: bool) -> Result<(), CliError> {
    let folder = Folder::read(&args.folder)?;
    let refused = |what: String| {
        let place = args.folder.display().to_string();
        CliError::failed(what, place, "correct the plugin, and deploy it again")
    };
    match Scenarios.check(&args.folder).map_err(|refusal| refused(refusal.to_string()))? {
        GateAnswer::Nothing => {}
        GateAnswer::NotRun(why) => eprintln!("warning: {why}"),
    }
    let query = [
        ("plan", args.plan.then(|| "true".to_owned())),
        ("canary", args.canary.map(|share| share.to_string())),
        ("canary_events", args.canary_events.map(|events| events.to_string())),
        ("shadow", args.shadow.map(|share| share.to_string())),
        ("shadow_events", args.shadow_events.map(|events| events.to_string())),
    ];
    let answer = folder.send(client, &query, args.idempotency_key.as_deref()).await?;
    if args.plan {
        return if json { print_json(&answer) } else { print(&plan_for_people(&answer)) };
    }
    let mut progress = Progress { json, last: String::new() };
    if let (Some(reason), true) = (&args.approve, answer["state"] == "HELD") {
        progress.tell(&format!("{} is held: {}", name(&answer), cell(&answer["reason"])))?;
        let number = answer["number"].to_string();
        let path = ["plugins", folder.plugin.as_str(), "releases", &number, "approve"];
        super::decide(client, &path, &[], reason).await?;
    }
    let release = follow(client, &folder.plugin, &answer, args.wait, &mut progress).await?;
    if json { print_json(&release) } else { Ok(()) }
}

/// What deploying a folder would do.
pub(super) async fn plan(client: &Client, folder: &Path) -> Result<Value, CliError> {
    Folder::read(folder)?.send(client, &[("plan", Some("true".to_owned()))], None).await
}

struct Progress {
    json: bool,
    last: String,
}

impl Progress {
    /// A line for people, unless it is the same again.
    fn tell(&mut self, line: &str) -> Result<(), CliError> {
        if self.json || line == self.last {
            return Ok(());
        }
        self.last = line.to_owned();
        print(line)
    }
}

/// Waits until the release is live on all hosts, or tried, or goes no further.
async fn follow(
    client: &Client,
    plugin: &str,
    release: &Value,
    wait: Duration,
    progress: &mut Progress,
) -> Result<Value, CliError> {
    let began = Instant::now();
    let number = release["number"].to_string();
    loop {
        let detail = client.get(&["plugins", plugin, "releases", &number], &[]).await?;
        let release = &detail["release"];
        let hosts = detail["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let with = |verdict: &str| hosts.iter().filter(|host| host["verdict"] == verdict).count();
        let name = name(release);
        let all = hosts.len();
        let ended = |what: &str, remedy: String| {
            let why = cell(&release["reason"]);
            Err(CliError::failed(format!("{name} {what}: {why}"), "the fleet", remedy))
        };
        match release["state"].as_str().unwrap_or_default() {
            "LIVE" if with("live") == all => {
                progress.tell(&format!("{name} is live on {all} of {all} hosts"))?;
                return Ok(release.clone());
            }
            "LIVE" => {
                progress.tell(&format!("{name} is live on {} of {all} hosts", with("live")))?;
            }
            "PREPARING" => {
                let ready = with("prepared");
                progress.tell(&format!("{name}: {ready} of {all} hosts are prepared"))?;
            }
            "CANARY" => {
                let share = cell(&release["canary"]["share"]);
                let events = cell(&release["canary"]["events"]);
                progress.tell(&format!(
                    "{name} is tried on {share} of the aggregates, for {events} events"
                ))?;
                return Ok(release.clone());
            }
            "SHADOW" => {
                let share = cell(&release["shadow"]["share"]);
                let events = cell(&release["shadow"]["events"]);
                progress.tell(&format!(
                    "{name} gets copies of {share} of the aggregates, {events} at most; see \
                     `tidegate plugin history {plugin}`"
                ))?;
                return Ok(release.clone());
            }
            "HELD" => {
                let command = format!("tidegate plugin approve {plugin} {number} --reason …");
                let remedy = format!("have an operator look at it: {command}");
                return ended("is held, for it asks for more than the live release", remedy);
            }
            "REJECTED" => {
                return ended("was rejected, and is live nowhere", "correct the plugin".to_owned());
            }
            "RETIRED" | "SUPERSEDED" => {
                return ended("was replaced", "look at the history".to_owned());
            }
            _ => return ended("was rolled back", "look at the history".to_owned()),
        }
        if began.elapsed() > wait {
            let what = format!("{name} is still {}", cell(&release["state"]));
            let remedy = "look at it again with `tidegate plugin history`; it goes on by itself";
            return Err(CliError::failed(what, "the fleet", remedy));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Folder {
    fn read(folder: &Path) -> Result<Self, CliError> {
        let candidate = read_all(folder)?;
        let manifest = candidate.manifest().map_err(|error| {
            let place = folder.display().to_string();
            CliError::failed(error.to_string(), place, "correct the manifest")
        })?;
        let Candidate { manifest_text, component, signature, origin: _ } = candidate;
        let mut parts = vec![("manifest", manifest_text.into_bytes()), ("component", component)];
        parts.extend(signature.map(|signature| ("signature", signature.into_bytes())));
        Ok(Self { plugin: manifest.name, parts })
    }

    async fn send(
        &self,
        client: &Client,
        query: &[(&str, Option<String>)],
        key: Option<&str>,
    ) -> Result<Value, CliError> {
        // Random, so that no component has it inside.
        let boundary = format!("tidegate-{}", uuid::Uuid::now_v7().simple());
        let mut body = Vec::new();
        for (name, bytes) in &self.parts {
            let head =
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let content_type = format!("multipart/form-data; boundary={boundary}");
        client.put(&["plugins", &self.plugin, "releases"], query, &content_type, body, key).await
    }
}
