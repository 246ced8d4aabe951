//! The secrets of the configuration, by name: from the environment, files and commands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::{SecretCommand, SecretConfig};
use crate::plugin::{SecretSource, ServiceError};

/// Of one secret: a key in PEM has a few thousand.
const VALUE_BYTES_MAX: u64 = 64 << 10;
/// How often it is looked whether a file changed.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A command that fails is not asked again before.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How many times its time to live a value is used while its command fails.
const STALE_FOR_TTLS: u32 = 10;

pub(super) struct ConfiguredSecrets(BTreeMap<String, Source>);

enum Source {
    Value(String),
    File { path: PathBuf, read: Mutex<Option<FileRead>> },
    Command { command: SecretCommand, printed: Mutex<Option<Printed>> },
}

struct FileRead {
    value: Result<String, String>,
    looked_at: Instant,
    /// Of the file that was read: length and time of its last change, and which file it is.
    mark: Option<Mark>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(u64, Option<SystemTime>, u64);

struct Printed {
    value: Option<String>,
    /// When the value was printed.
    at: Instant,
    asked_at: Instant,
}

impl ConfiguredSecrets {
    pub(super) fn new(secrets: BTreeMap<String, SecretConfig>) -> Self {
        let source = |config| match config {
            SecretConfig::Value(value) => Source::Value(value.reveal().to_owned()),
            SecretConfig::File(path) => Source::File { path, read: Mutex::new(None) },
            SecretConfig::Command(command) => {
                Source::Command { command, printed: Mutex::new(None) }
            }
        };
        Self(secrets.into_iter().map(|(name, config)| (name, source(config))).collect())
    }
}

#[async_trait]
impl SecretSource for ConfiguredSecrets {
    async fn value(&self, name: &str) -> Result<String, ServiceError> {
        let value = match self.0.get(name) {
            Some(Source::Value(value)) => Ok(value.clone()),
            Some(Source::File { path, read }) => from_file(path, read).await,
            Some(Source::Command { command, printed }) => {
                from_command(name, command, printed).await
            }
            None => {
                return Err(ServiceError(format!(
                    "this host has no secret {name:?}: put it under [secrets] of its configuration"
                )));
            }
        };
        value.map_err(|error| ServiceError(format!("the secret {name:?}: {error}")))
    }
}

/// Line ends at its end do not belong to a secret.
fn checked(text: &str) -> Result<String, String> {
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() { Err("is empty".to_owned()) } else { Ok(value.to_owned()) }
}

async fn from_file(path: &Path, read: &Mutex<Option<FileRead>>) -> Result<String, String> {
    let mut read = read.lock().await;
    let now = Instant::now();
    if let Some(last) = read.as_ref().filter(|last| now < last.looked_at + LOOK_AGAIN_AFTER) {
        return last.value.clone();
    }
    let mark = mark(path).await;
    if let Some(last) = read.as_mut().filter(|last| mark.is_some() && last.mark == mark) {
        last.looked_at = now;
        return last.value.clone();
    }
    let value = read_file(path).await;
    *read = Some(FileRead { value: value.clone(), looked_at: now, mark });
    value
}

/// A mounted secret is a link that is switched, so that length and time may stay as they were.
async fn mark(path: &Path) -> Option<Mark> {
    let facts = tokio::fs::metadata(path).await.ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&facts);
    #[cfg(not(unix))]
    let number = 0;
    Some(Mark(facts.len(), facts.modified().ok(), number))
}

async fn read_file(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = String::new();
    file.take(VALUE_BYTES_MAX).read_to_string(&mut text).await.map_err(failed)?;
    checked(&text)
}

/// One asks at a time; the others wait for what it prints.
async fn from_command(
    name: &str,
    command: &SecretCommand,
    printed: &Mutex<Option<Printed>>,
) -> Result<String, String> {
    let mut printed = printed.lock().await;
    let now = Instant::now();
    if let Some(last) = printed.as_ref() {
        let fresh = now < last.at + command.ttl && last.value.is_some();
        let just_failed = now < last.asked_at + ASK_AGAIN_AFTER;
        if fresh || just_failed {
            return last.value.clone().ok_or_else(|| "its command failed just now".to_owned());
        }
    }
    match run(command).await {
        Ok(value) => {
            *printed = Some(Printed { value: Some(value.clone()), at: now, asked_at: now });
            Ok(value)
        }
        Err(error) => {
            let last = printed.take();
            let (value, at) = last.map_or((None, now), |last| (last.value, last.at));
            let value = value.filter(|_| now < at + command.ttl * STALE_FOR_TTLS);
            *printed = Some(Printed { value: value.clone(), at, asked_at: now });
            let Some(value) = value else { return Err(error) };
            tracing::warn!(secret = name, error, "its last value is used for longer than its ttl");
            Ok(value)
        }
    }
}

/// What it prints is a secret, so no error repeats any of it.
async fn run(command: &SecretCommand) -> Result<String, String> {
    let Some((program, arguments)) = command.arguments.split_first() else {
        return Err("its command names no program".into());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let out = child.stdout.take().ok_or_else(|| format!("{program} has no output"))?;
    let ended = async {
        let mut text = Vec::new();
        let read = out.take(VALUE_BYTES_MAX + 1).read_to_end(&mut text).await;
        read.map_err(|error| format!("{program}: {error}"))?;
        if text.len() as u64 > VALUE_BYTES_MAX {
            return Err(format!("{program} printed more than {VALUE_BYTES_MAX} bytes"));
        }
        let status = child.wait().await.map_err(|error| format!("{program}: {error}"))?;
        if !status.success() {
            return Err(format!("{program} ended with {status}"));
        }
        let text = String::from_utf8(text).map_err(|_| format!("{program} printed no text"))?;
        checked(&text).map_err(|error| format!("what {program} printed {error}"))
    };
    let late = |_| format!("{program} took longer than {} ms", command.timeout.as_millis());
    tokio::time::timeout(command.timeout, ended).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(config: SecretConfig) -> ConfiguredSecrets {
        ConfiguredSecrets::new(BTreeMap::from([("K".to_owned(), config)]))
    }

    fn shell(script: &str, ttl: Duration) -> ConfiguredSecrets {
        source(SecretConfig::Command(SecretCommand {
            arguments: ["sh", "-c", script].map(str::to_owned).to_vec(),
            ttl,
            timeout: Duration::from_millis(500),
        }))
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (folder.path().join("key"), folder.path().join("next"));
        std::fs::write(&path, "first\n").unwrap();
        let secrets = source(SecretConfig::File(path.clone()));
        assert_eq!(secrets.value("K").await.unwrap(), "first");
        // Of the same length, and switched as a mounted one is.
        std::fs::write(&next, "other\n").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert_eq!(until_changed(&secrets, "first").await.unwrap(), "other");
        std::fs::remove_file(&path).unwrap();
        let gone = until_changed(&secrets, "other").await.unwrap_err();
        assert!(
            gone.0.contains("the secret \"K\": ") && gone.0.contains("cannot be read"),
            "{gone}"
        );
    }

    async fn until_changed(
        secrets: &ConfiguredSecrets,
        from: &str,
    ) -> Result<String, ServiceError> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match secrets.value("K").await {
                Ok(value) if value == from && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => return other,
            }
        }
    }

    #[tokio::test]
    async fn a_command_is_asked_once_in_its_time_to_live() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let script = format!("echo x >> {0}; wc -l < {0}", count.display());
        let kept = shell(&script, Duration::from_secs(60));
        assert_eq!(kept.value("K").await.unwrap().trim(), "1");
        assert_eq!(kept.value("K").await.unwrap().trim(), "1");
        let short = shell(&script, Duration::from_nanos(1));
        assert_eq!(short.value("K").await.unwrap().trim(), "2");
    }

    #[tokio::test]
    async fn a_command_that_misbehaves_is_told_without_what_it_printed() {
        for (script, said) in [
            ("echo s3cret-value; exit 3", "ended with exit status: 3"),
            ("sleep 60", "took longer than 500 ms"),
            ("head -c 100000 /dev/zero", "printed more than 65536 bytes"),
            ("printf '\\377'", "printed no text"),
            ("true", "printed is empty"),
        ] {
            let error = shell(script, Duration::from_secs(60)).value("K").await.unwrap_err();
            assert!(error.0.contains(said), "{script}: {error}");
            assert!(!error.0.contains("s3cret"), "{error}");
        }
        let missing = source(SecretConfig::Command(SecretCommand {
            arguments: vec!["/nonexistent/program".into()],
            ttl: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        }));
        assert!(missing.value("K").await.unwrap_err().0.contains("cannot be started"));
    }

    #[tokio::test]
    async fn a_command_that_fails_later_leaves_the_last_value_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let once = folder.path().join("once");
        let script = format!("test ! -e {0} && touch {0} && echo s3cret-value", once.display());
        let secrets = source(SecretConfig::Command(SecretCommand {
            arguments: vec!["sh".into(), "-c".into(), script],
            ttl: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
        }));
        assert_eq!(secrets.value("K").await.unwrap(), "s3cret-value");
        let Some(Source::Command { printed, .. }) = secrets.0.get("K") else { panic!("a command") };
        let age = async |by: Duration| {
            let mut printed = printed.lock().await;
            let printed = printed.as_mut().unwrap();
            printed.at -= by;
            printed.asked_at -= by;
        };
        age(Duration::from_secs(2)).await;
        assert_eq!(secrets.value("K").await.unwrap(), "s3cret-value");
        age(Duration::from_secs(9)).await;
        assert!(secrets.value("K").await.unwrap_err().0.contains("ended with exit status: 1"));
    }

    #[tokio::test]
    async fn what_is_not_configured_is_said_so() {
        let secrets = ConfiguredSecrets::new(BTreeMap::new());
        assert!(secrets.value("K").await.unwrap_err().0.contains("put it under [secrets]"));
    }
}
