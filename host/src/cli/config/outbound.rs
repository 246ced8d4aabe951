//! `[secrets]` and `[audit]`: what plugins may be granted, and where their requests are recorded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::redacted::Redacted;
use crate::domain::parse_size;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretConfig {
    /// Of the environment, which does not change.
    Value(Redacted),
    /// Read again when it changes.
    File(PathBuf),
    Command(SecretCommand),
}

/// A command that prints a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCommand {
    /// The program and its arguments. No shell reads them.
    pub arguments: Vec<String>,
    /// How long what it printed is used.
    pub ttl: Duration,
    /// How long it may take.
    pub timeout: Duration,
}

/// Where the audit record goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// None: to the log.
    pub file: Option<PathBuf>,
    pub file_bytes_max: u64,
    /// Full ones that are kept.
    pub files: u32,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { file: None, file_bytes_max: 64 << 20, files: 8 }
    }
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `NAME = { env = "…" }`, `{ file = "…" }` or `{ command = […] }`: never the secret itself.
pub(super) fn read_secrets(root: &mut Section<'_>) -> BTreeMap<String, SecretConfig> {
    let mut secrets = BTreeMap::new();
    for (name, mut section) in root.section("secrets").named_sections() {
        let given = ["env", "file", "command"].into_iter().filter(|key| section.has(key)).count();
        let from_variable = section.secret_variable("env").map(SecretConfig::Value);
        let from_file = section.secret_path("file").map(SecretConfig::File);
        let from_command = read_command(&mut section).map(SecretConfig::Command);
        if given != 1 {
            let one =
                "needs one of env = \"VARIABLE\", file = \"path\" and command = [\"program\"]";
            section.context().error(section.place(), &format!("secrets.{name}"), one);
        }
        section.finish();
        if let Some(secret) = from_variable.or(from_file).or(from_command) {
            secrets.insert(name, secret);
        }
    }
    secrets
}

fn read_command(section: &mut Section<'_>) -> Option<SecretCommand> {
    let is_command = section.has("command");
    let arguments = section.list("command", |text| Ok(text.to_owned()));
    for key in ["ttl", "timeout"] {
        if section.has(key) && !is_command {
            section.error(key, "is of a command: add command = [\"program\"]");
        }
    }
    let ttl = section.duration("ttl", seconds(300), seconds(1)..=seconds(24 * 3_600));
    let timeout = section.duration("timeout", seconds(5), Duration::from_millis(100)..=seconds(60));
    let arguments = arguments?;
    if arguments.first().is_none_or(String::is_empty) {
        section.error("command", "names no program");
        return None;
    }
    Some(SecretCommand { arguments, ttl, timeout })
}

pub(super) fn read_audit(root: &mut Section<'_>) -> AuditConfig {
    let mut section = root.section("audit");
    let default = AuditConfig::default();
    let file = section.path("file");
    for key in ["file_max", "files"] {
        if section.has(key) && file.is_none() {
            section.error(key, "is of a file: add file = \"audit.jsonl\"");
        }
    }
    let file_max = section.parsed("file_max", |text| {
        match parse_size(text).map_err(|error| error.to_string())? {
            bytes if (1 << 20..=1 << 40).contains(&bytes) => Ok(bytes),
            _ => Err("must lie between 1MiB and 1024GiB".to_owned()),
        }
    });
    let files = section.integer("files", u64::from(default.files), 1..=1_000);
    section.finish();
    AuditConfig {
        file,
        file_bytes_max: file_max.unwrap_or(default.file_bytes_max),
        files: u32::try_from(files).unwrap_or(default.files),
    }
}
