//! `tidegate` as a command that ends.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::api::Api;
use crate::host::{bare_environment, binary};
use crate::machine::repository;

/// What a command said, and how it ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// What was printed, as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `tidegate` with these arguments.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn tidegate(arguments: &[&str]) -> Ended {
    run(bare_environment(&mut Command::new(binary())).args(arguments))
}

/// Runs a command that asks a running host.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn ask(api: &Api, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary());
    // In the environment, as people give it: a command line is seen by everybody on the machine.
    bare_environment(&mut command).env("TIDEGATE_TOKEN", api.token());
    run(command.args(arguments).args(["--url", api.url()]))
}

fn run(command: &mut Command) -> Ended {
    let output = command.current_dir(repository()).stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
