//! The gate between a plugin that has several targets and each of them: what is asked for a target
//! whose breaker is open is not sent, and the event goes again when the breaker may be probed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::breakers::{Breakers, LOOK, part};
use crate::domain::Permit;
use crate::plugin::{Manifest, Release, TargetGate, TargetPass};
use crate::store::BreakerKey;

/// For the attempts of one release.
struct PluginGate {
    breakers: Arc<Breakers>,
    release: Arc<Release>,
}

/// One more attempt works with a target until this is dropped.
struct Ramping {
    breakers: Arc<Breakers>,
    key: BreakerKey,
}

impl Drop for Ramping {
    fn drop(&mut self) {
        let ramping = &mut self.breakers.known().ramping;
        let left = ramping.get(&self.key).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => ramping.remove(&self.key),
            left => ramping.insert(self.key.clone(), left),
        };
    }
}

/// None where the plugin has one target, or none at all: then its events wait where they are.
pub(super) fn of(breakers: &Arc<Breakers>, release: &Arc<Release>) -> Option<Arc<dyn TargetGate>> {
    let targets = release.targets();
    let has_several = targets.and_others || targets.named.len() > 1;
    has_several.then(|| {
        Arc::new(PluginGate { breakers: Arc::clone(breakers), release: Arc::clone(release) }) as _
    })
}

#[async_trait]
impl TargetGate for PluginGate {
    async fn enter(&self, target: &str) -> Result<TargetPass, Duration> {
        let manifest = self.release.manifest();
        let entered = enter(&self.breakers, manifest, target).await;
        if entered.is_err() {
            let key = BreakerKey { plugin: manifest.name.clone(), target: target.to_owned() };
            self.breakers.metrics.breakers().refused(&key);
        }
        entered
    }
}

async fn enter(
    breakers: &Arc<Breakers>,
    manifest: &Manifest,
    target: &str,
) -> Result<TargetPass, Duration> {
    let policy = &manifest.breaker;
    let key = BreakerKey { plugin: manifest.name.clone(), target: target.to_owned() };
    let permit = breakers.known().state(&key).permit(policy);
    match permit {
        Permit::All => Ok(Box::new(())),
        Permit::Share(share) => {
            let mut known = breakers.known();
            let count = known.ramping.entry(key.clone()).or_default();
            if *count < part(manifest, share) {
                *count += 1;
                drop(known);
                return Ok(Box::new(Ramping { breakers: Arc::clone(breakers), key }));
            }
            // Spread over what is left of the ramp: together they would come together again.
            let left = policy.ramp.mul_f64(f64::from(1_000_u32.saturating_sub(share)) / 1_000.0);
            Err(left.mul_f64(fastrand::f64()))
        }
        Permit::Probe => match breakers.take_probe(&key).await {
            Ok(()) => Ok(Box::new(())),
            Err(wait) => Err(wait.max(LOOK)),
        },
        Permit::Nothing(left) => Err(left.min(policy.open_for_max)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::domain::{HostId, Outcome};
    use crate::plugin::TargetsSeen;
    use crate::store::{BreakerStore, ControlNote, MemoryBreakers};

    fn manifest() -> Manifest {
        let text = "name = \"p\"\nhandles = [\"A\"]\n[limits]\nconcurrency = 2\n\
                    [breaker]\nfailures = 1\nramp = \"1d\"";
        Manifest::parse(text, Path::new("plugin.toml")).unwrap()
    }

    fn breakers() -> (Arc<Breakers>, Arc<MemoryBreakers>) {
        let store = Arc::<MemoryBreakers>::default();
        let host = HostId::generate("test");
        (Breakers::new(Arc::clone(&store) as _, host, Arc::default()), store)
    }

    fn seen(target: &str, answered: bool) -> TargetsSeen {
        TargetsSeen { answered: [(target.to_owned(), answered)].into(), shut: None }
    }

    #[tokio::test]
    async fn what_is_open_is_not_asked_and_what_is_not_goes_on() {
        let ((breakers, store), manifest) = (breakers(), manifest());
        let note = ControlNote { reason: "x", by: "y" };
        let key = BreakerKey { plugin: "p".into(), target: "t:443".into() };
        store.hold_breaker(&key, note).await.unwrap();
        breakers.look().await;
        let wait = enter(&breakers, &manifest, "t:443").await.err();
        assert_eq!(wait, Some(manifest.breaker.open_for_max));
        assert!(enter(&breakers, &manifest, "u:443").await.is_ok());
    }

    #[tokio::test]
    async fn after_it_closed_a_share_goes_and_each_end_lets_another_go() {
        let ((breakers, _), manifest) = (breakers(), manifest());
        let failed = || Outcome::Retry { reason: "503".into(), after: None };
        breakers.learn(&manifest, seen("t:443", false), failed()).await;
        breakers.look().await;
        // In this store it is due at once, and whoever asks has the probe.
        assert!(enter(&breakers, &manifest, "t:443").await.is_ok());
        breakers.learn(&manifest, seen("t:443", true), Outcome::Done(Default::default())).await;
        let first = enter(&breakers, &manifest, "t:443").await;
        assert!(first.is_ok());
        let wait = enter(&breakers, &manifest, "t:443").await.err().unwrap();
        assert!(wait <= manifest.breaker.ramp);
        drop(first);
        assert!(enter(&breakers, &manifest, "t:443").await.is_ok());
    }
}
