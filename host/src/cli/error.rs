//! How a command ends when it does not succeed.
//!
//! Exit codes: 0 done; 1 refused or failed; 2 the command line itself is wrong (clap's answer), or,
//! where 1 is an answer, there is none.

use std::process::ExitCode;

use super::config::ConfigErrors;

/// What went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{what}\n  where:      {place}\n  what to do: {remedy}")]
    Failed { what: String, place: String, remedy: String },
    #[error("the configuration does not hold:\n{0}")]
    Config(ConfigErrors),
    /// There is no answer, where 1 would be one.
    #[error("{0}")]
    NotRun(Box<CliError>),
    /// It was said on the standard output already, in the form that was asked for.
    #[error("failed")]
    Told,
}

impl CliError {
    #[must_use]
    pub fn failed(
        what: impl Into<String>,
        place: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Failed { what: what.into(), place: place.into(), remedy: remedy.into() }
    }

    /// The same, for a command whose exit code 1 is an answer.
    #[must_use]
    pub fn into_not_run(self) -> Self {
        match self {
            Self::NotRun(_) => self,
            Self::Failed { .. } | Self::Config(_) | Self::Told => Self::NotRun(Box::new(self)),
        }
    }

    /// Says it on the standard error, and gives the process's exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Failed { .. } | Self::Config(_) | Self::NotRun(_) => eprintln!("error: {self}"),
            Self::Told => {}
        }
        ExitCode::from(match self {
            Self::Failed { .. } | Self::Config(_) | Self::Told => 1,
            Self::NotRun(_) => 2,
        })
    }
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}
