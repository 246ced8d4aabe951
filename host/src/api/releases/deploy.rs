//! `PUT /v1/plugins/{name}/releases`: keeps a release, which then becomes live on all hosts or on none.
//!
//! The same content again changes nothing, so a key is welcome and not needed.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use sha2::{Digest, Sha256};

use crate::domain::{CanaryPlan, ShadowPlan, Share};
use crate::plugin::{Difference, Manifest, Release};
use crate::store::{Deploy, Deployed, PluginRelease};

use super::super::auth::Caller;
use super::super::body::read_bytes;
use super::super::idempotency::{HEADER, REPLAYED_HEADER, key_of};
use super::super::problem::{FieldError, Problem, ProblemKind};
use super::super::query::Query;
use super::super::state::{Limits, Shared};
use super::multipart::parts;
use super::plan::{PlanView, SideView, compare, read_manifest};
use super::view::ReleaseView;
use super::{PluginPath, plugin_of, require_store};

/// A component, and what is around it.
const BODY_BYTES_MAX: usize = Release::COMPONENT_BYTES_MAX + (1 << 20);
const MANIFEST_BYTES_MAX: usize = 256 << 10;
/// Of a trial.
const EVENTS: u64 = 1_000;
const EVENTS_MAX: u64 = 1_000_000_000;
/// Another release became live meanwhile, again and again: then it is the caller's turn.
const TRIES: usize = 3;

pub(in crate::api) async fn deploy_release(
    State(shared): State<Shared>,
    caller: Caller,
    path: PluginPath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let plugin = plugin_of(path)?;
    require_store(&shared)?;
    let (plan, trial) = read_query(&uri)?;
    let key = headers.contains_key(HEADER).then(|| key_of(&headers)).transpose()?;
    let upload = Upload::read(&plugin, &headers, body, &shared.api.limits).await?;
    for _ in 0..TRIES {
        let live = live_release(&shared, &plugin).await?;
        trial.require(&plugin, live.as_ref())?;
        let found = compare(live.as_ref(), &upload.checked)?;
        let hold = reason_to_hold(&found).filter(|_| shared.api.releases_rule.hold_widening);
        if plan {
            let view = upload.plan(live.as_ref(), found, hold.is_some(), trial);
            return Ok(Json(view).into_response());
        }
        let request = Deploy {
            compared_with: live.map(|live| live.name.number),
            hold,
            by: caller.name.clone(),
            key: key.clone(),
            ..upload.request(trial)
        };
        match shared.api.releases.deploy(request).await? {
            Deployed::Now(release) => {
                return Ok((StatusCode::ACCEPTED, Json(ReleaseView::from(release))).into_response());
            }
            Deployed::Already(release) => {
                let mut response = Json(ReleaseView::from(release)).into_response();
                response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
                return Ok(response);
            }
            Deployed::KeyReused => {
                let detail = "Use a new key for a new request.";
                return Err(Problem::new(ProblemKind::IdempotencyKeyReused, detail));
            }
            Deployed::LiveChanged => {}
        }
    }
    let detail = "Other releases become live all the time. Send the request again.";
    Err(Problem::new(ProblemKind::ReleaseConflict, detail))
}

/// What is more than the live release may do. None: nothing is.
fn reason_to_hold(found: &[Difference]) -> Option<String> {
    let more: Vec<_> = found.iter().filter(|it| it.widens).map(|it| it.text.as_str()).collect();
    (!more.is_empty()).then(|| more.join("; "))
}

/// What a release is tried by before it is live: by one of them, or by nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Trial {
    canary: Option<CanaryPlan>,
    shadow: Option<ShadowPlan>,
}

impl Trial {
    /// Without a live release there is nothing to copy, and the new one must not do it instead.
    fn require(&self, plugin: &str, live: Option<&PluginRelease>) -> Result<(), Problem> {
        if self.shadow.is_none() || live.is_some() {
            return Ok(());
        }
        let detail =
            format!("{plugin} has no live release that another one could be the shadow of.");
        Err(Problem::new(ProblemKind::ReleaseConflict, detail))
    }

    /// What follows when all hosts have it.
    fn step(&self, has_live: bool) -> String {
        match (self.canary.filter(|_| has_live), self.shadow) {
            (_, Some(ShadowPlan { share, events })) => format!(
                "{share} of the aggregates are copied to it, {events} attempts at most, and nothing \
                 of what it does leaves the hosts; then it waits until an operator approves it"
            ),
            (Some(CanaryPlan { share, events }), None) => format!(
                "{share} of the aggregates go to it; after {events} events it gets all, or it is \
                 rolled back if it does worse"
            ),
            (None, None) => "it becomes live on all hosts, or on none".to_owned(),
        }
    }
}

fn read_query(uri: &Uri) -> Result<(bool, Trial), Problem> {
    let mut query = Query::new(uri);
    let plan = query.parsed("plan", "needs true or false").unwrap_or(false);
    let canary = read_trial(&mut query, ["canary", "canary_events"]);
    let shadow = read_trial(&mut query, ["shadow", "shadow_events"]);
    if canary.is_some() && shadow.is_some() {
        query.error("shadow", "invalid", "cannot be given beside canary");
    }
    query.finish()?;
    let canary = canary.map(|(share, events)| CanaryPlan { share, events });
    let shadow = shadow.map(|(share, events)| ShadowPlan { share, events });
    Ok((plan, Trial { canary, shadow }))
}

/// A share and a number of events.
fn read_trial(query: &mut Query, [share, events]: [&'static str; 2]) -> Option<(Share, u64)> {
    let rule = "needs a percentage from 0.01% to 100%, such as 5% (write % as %25)";
    let found: Option<Share> = query.parsed(share, rule);
    let rule = "needs a whole number from 1 to 1000000000, and the share beside it";
    let count: Option<u64> = query.parsed(events, rule);
    if count.is_some_and(|count| !(1..=EVENTS_MAX).contains(&count) || found.is_none()) {
        query.error(events, "invalid", rule);
    }
    found.map(|share| (share, count.unwrap_or(EVENTS)))
}

async fn live_release(shared: &Shared, plugin: &str) -> Result<Option<PluginRelease>, Problem> {
    let plugins = shared.api.releases.plugins().await?;
    Ok(plugins.into_iter().find(|it| it.plugin == plugin).and_then(|it| it.live))
}

/// What was sent.
struct Upload {
    plugin: String,
    component: Vec<u8>,
    manifest: String,
    signature: Option<String>,
    checked: Manifest,
}

impl Upload {
    async fn read(
        plugin: &str,
        headers: &HeaderMap,
        body: Body,
        limits: &Limits,
    ) -> Result<Self, Problem> {
        let limits = Limits {
            body_bytes_max: BODY_BYTES_MAX,
            body_timeout: limits.request_timeout,
            ..*limits
        };
        let bytes = read_bytes(headers, body, &limits).await?;
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let parts = parts(content_type.unwrap_or_default(), &bytes).map_err(|rule| {
            Problem::new(ProblemKind::UnsupportedMediaType, format!("The body: {rule}."))
        })?;
        let mut errors = Vec::new();
        let mut take = |name: &str, required: bool, max: usize| {
            let mut found = parts.iter().filter(|(part, _)| part == name).map(|(_, bytes)| *bytes);
            let (first, second) = (found.next(), found.next());
            let error = match first {
                None if required => ("required", "is missing".to_owned()),
                _ if second.is_some() => ("duplicate", "is given more than once".to_owned()),
                Some(bytes) if bytes.is_empty() || bytes.len() > max => {
                    ("invalid", format!("needs 1 to {max} bytes"))
                }
                _ => return first,
            };
            errors.push(FieldError::new(name, error.0, error.1));
            None
        };
        let component = take("component", true, Release::COMPONENT_BYTES_MAX);
        let manifest = take("manifest", true, MANIFEST_BYTES_MAX);
        let signature = take("signature", false, 4 << 10);
        let known = ["component", "manifest", "signature"];
        for (part, _) in parts.iter().filter(|(part, _)| !known.contains(&part.as_str())) {
            let detail = format!("is unknown; the parts are: {}", known.join(", "));
            errors.push(FieldError::new(part, "unknown", detail));
        }
        let manifest = text_of("manifest", manifest, &mut errors);
        let signature = text_of("signature", signature, &mut errors);
        let (Some(component), Some(manifest), true) = (component, manifest, errors.is_empty())
        else {
            return Err(Problem::with_errors(ProblemKind::InvalidFields, errors));
        };
        let checked = read_manifest(&manifest)?;
        if checked.name != plugin {
            let detail = format!("names {:?}; the path names {plugin:?}", checked.name);
            let error = FieldError::new("manifest", "invalid", detail);
            return Err(Problem::with_errors(ProblemKind::InvalidFields, vec![error]));
        }
        let (plugin, component) = (plugin.to_owned(), component.to_vec());
        Ok(Self { plugin, component, manifest, signature, checked })
    }

    fn digests(&self) -> (String, String) {
        (digest_of(&self.component), digest_of(self.manifest.as_bytes()))
    }

    fn request(&self, Trial { canary, shadow }: Trial) -> Deploy {
        let (digest, manifest_digest) = self.digests();
        Deploy {
            plugin: self.plugin.clone(),
            component: self.component.clone(),
            digest,
            manifest: self.manifest.clone(),
            manifest_digest,
            signature: self.signature.clone(),
            canary,
            shadow,
            compared_with: None,
            hold: None,
            by: String::new(),
            key: None,
        }
    }

    fn plan(
        &self,
        live: Option<&PluginRelease>,
        found: Vec<Difference>,
        held: bool,
        trial: Trial,
    ) -> PlanView {
        let (digest, manifest_digest) = self.digests();
        let same =
            live.is_some_and(|it| it.digest == digest && it.manifest_digest == manifest_digest);
        let mut steps = Vec::new();
        if same {
            steps.push("nothing: it is live already".to_owned());
        } else {
            if held {
                steps.push("it is held until an operator approves it".to_owned());
            }
            steps.push("every host fetches, verifies and compiles it".to_owned());
            steps.push(trial.step(live.is_some()));
        }
        let to = SideView::new(digest, manifest_digest);
        PlanView::new(&self.plugin, live, to, found, held && !same, steps)
    }
}

fn text_of(name: &str, bytes: Option<&[u8]>, errors: &mut Vec<FieldError>) -> Option<String> {
    let text = String::from_utf8(bytes?.to_vec()).ok().filter(|text| !text.contains('\0'));
    if text.is_none() {
        errors.push(FieldError::new(name, "invalid", "needs UTF-8 without NUL"));
    }
    text
}

fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
