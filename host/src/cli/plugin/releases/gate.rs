//! What must pass before a folder is deployed. A plugin's scenarios are the only gate there is to
//! be; this build cannot run them yet, and says so where there are some.

use std::path::Path;

/// What a gate came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GateAnswer {
    /// There is nothing to run.
    Nothing,
    /// What was not looked at, and why.
    NotRun(String),
}

/// Why a deploy goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct GateRefusal(pub(super) String);

/// Looks at a plugin's folder before it is deployed.
pub(super) trait Gate {
    /// # Errors
    /// Something in it failed: nothing is deployed.
    fn check(&self, folder: &Path) -> Result<GateAnswer, GateRefusal>;
}

/// The scenarios beside a plugin.
pub(super) struct Scenarios;

impl Gate for Scenarios {
    fn check(&self, folder: &Path) -> Result<GateAnswer, GateRefusal> {
        let scenarios = folder.join("scenarios");
        match scenarios.try_exists() {
            Ok(false) => Ok(GateAnswer::Nothing),
            Ok(true) => Ok(GateAnswer::NotRun(format!(
                "{}: this build cannot run scenarios yet, so they were not run",
                scenarios.display()
            ))),
            Err(error) => Err(GateRefusal(format!("{}: {error}", scenarios.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_that_are_not_run_are_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Scenarios.check(folder.path()), Ok(GateAnswer::Nothing));
        std::fs::create_dir(folder.path().join("scenarios")).unwrap();
        let answer = Scenarios.check(folder.path()).unwrap();
        let GateAnswer::NotRun(why) = answer else { panic!("{answer:?}") };
        assert!(why.ends_with("cannot run scenarios yet, so they were not run"), "{why}");
    }
}
