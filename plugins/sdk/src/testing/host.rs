//! The test's side of the fake host. Its state belongs to the thread, as each test has its own.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    marker::PhantomData,
    rc::Rc,
    time::SystemTime,
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    reply::{Reply, SentRequest},
    signer::{FakeSigner, SignRequest},
};
use crate::{
    Event,
    checkpoint::CheckpointError,
    log::Level,
    messaging::{Message, PublishError},
    signer::{PaymentTerms, SignError, SignedTransaction},
};

/// A rule that signs messages with a named secret.
pub(super) type HmacRule = Rc<dyn Fn(&str, &[u8]) -> Vec<u8>>;
/// A rule that answers requests.
pub(super) type Responder = Box<dyn FnMut(&SentRequest) -> Option<Reply>>;

#[derive(Default)]
pub(super) struct State {
    pub(super) settings: Option<Value>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) hmac: Option<HmacRule>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) responder: Option<Responder>,
    pub(super) requests: Vec<SentRequest>,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) checkpoint_error: Option<CheckpointError>,
    pub(super) lines: Vec<(Level, String)>,
    pub(super) publish_errors: VecDeque<PublishError>,
    pub(super) published: Vec<Message>,
    pub(super) now: Option<SystemTime>,
    pub(super) signer: FakeSigner,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

pub(super) fn with<T>(act: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(act)
}

/// The host of one test. Made with [`FakeHost::new`], which forgets what was before; its methods
/// can be chained. It grants what the test gives it, and nothing else.
#[derive(Debug)]
pub struct FakeHost {
    // The state is the thread's, so a handle must not leave it.
    not_send: PhantomData<*const ()>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A host that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        with(|state| *state = State::default());
        Self { not_send: PhantomData }
    }

    /// The manifest's `[settings]`; an empty table where a test sets none.
    pub fn settings(&self, settings: Value) -> &Self {
        with(|state| state.settings = Some(settings));
        self
    }

    /// Grants a secret. The handler sees `placeholder`.
    pub fn secret(&self, name: &str, placeholder: &str) -> &Self {
        with(|state| state.secrets.insert(name.into(), placeholder.into()));
        self
    }

    /// Answers [`hmac_sha256`](crate::secrets::hmac_sha256) of every granted secret by a rule: a
    /// stand-in, as recognisable as a placeholder, for what only the host can compute.
    pub fn hmac_sha256(&self, rule: impl Fn(&str, &[u8]) -> Vec<u8> + 'static) -> &Self {
        with(|state| state.hmac = Some(Rc::new(rule)));
        self
    }

    /// Answers the next request that has no answer yet.
    pub fn reply(&self, reply: Reply) -> &Self {
        with(|state| state.replies.push_back(reply));
        self
    }

    /// Answers requests by a rule; where it says `None`, the answers of [`FakeHost::reply`] are
    /// used.
    pub fn respond(&self, rule: impl FnMut(&SentRequest) -> Option<Reply> + 'static) -> &Self {
        with(|state| state.responder = Some(Box::new(rule)));
        self
    }

    /// Stops the clock.
    pub fn now(&self, now: SystemTime) -> &Self {
        with(|state| state.now = Some(now));
        self
    }

    /// Lets the next use of the checkpoint fail.
    pub fn fail_checkpoint(&self, error: CheckpointError) -> &Self {
        with(|state| state.checkpoint_error = Some(error));
        self
    }

    /// Lets the next message fail.
    pub fn fail_publish(&self, error: PublishError) -> &Self {
        with(|state| state.publish_errors.push_back(error));
        self
    }

    /// Grants a network, and says how an asset is paid there.
    pub fn terms(&self, network: &str, asset: &str, terms: PaymentTerms) -> &Self {
        with(|state| state.signer.terms.insert((network.into(), asset.into()), terms));
        self
    }

    /// As if an earlier attempt had signed this.
    pub fn signed(&self, signed: SignedTransaction) -> &Self {
        with(|state| state.signer.signed = Some(signed));
        self
    }

    /// Lets the next signature fail.
    pub fn fail_sign(&self, error: SignError) -> &Self {
        with(|state| state.signer.errors.push_back(error));
        self
    }

    /// All requests that went out, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<SentRequest> {
        with(|state| state.requests.clone())
    }

    /// All messages that the broker took, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Message> {
        with(|state| state.published.clone())
    }

    /// All lines that were written, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<(Level, String)> {
        with(|state| state.lines.clone())
    }

    /// What was asked of the signer, in order.
    #[must_use]
    pub fn sign_requests(&self) -> Vec<SignRequest> {
        with(|state| state.signer.requests.clone())
    }

    /// What was signed last.
    #[must_use]
    pub fn last_signed(&self) -> Option<SignedTransaction> {
        with(|state| state.signer.signed.clone())
    }

    /// The checkpoint as a type of yours.
    ///
    /// # Panics
    /// Where it does not fit, for that is what the test wants to know.
    #[must_use]
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        with(|state| state.checkpoint.clone()).map(|bytes| match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(error) => panic!("the checkpoint does not fit: {error}"),
        })
    }
}

/// An event as the host would hand it over, on its first attempt. Change its fields at will.
///
/// ```
/// # use tidegate_plugin::testing;
/// let mut event = testing::event("PARTNER_SYNC_REQUESTED", serde_json::json!({}));
/// event.attempt = 3;
/// ```
#[must_use]
pub fn event(event_type: &str, payload: impl Into<Value>) -> Event {
    let payload = payload.into();
    Event {
        id: "01949dc5-84a0-7cc2-9e0d-6a9f4a3b2c1d".into(),
        aggregate_type: "WITHDRAWAL".into(),
        aggregate_id: payload
            .get("withdrawal_id")
            .unwrap_or(&json!("01949dc5-8000-7000-8000-000000000001"))
            .as_str()
            .unwrap_or_default()
            .into(),
        event_type: event_type.into(),
        raw_payload: payload.to_string(),
        idempotency_key: format!("{event_type}:01949dc5"),
        attempt: 1,
        created_at_ms: 1_767_225_600_000,
        traceparent: None,
    }
}
