//! Asking several nodes: which ones, how many, and what they agree on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinSet;

use super::agreement::Quorum;
use super::endpoint::Endpoint;
use super::rpc::{Answer, BATCH_MAX, Call, RpcError};

/// Requests to one node at once, when there is much to ask.
const BATCHES_AT_ONCE: usize = 4;

/// How long the nodes beyond the quorum are waited for, when all are asked.
const GRACE: Duration = Duration::from_millis(200);

/// Times that a read waits for nodes that ordered a wait, before it gives up.
const LIMIT_WAITS_MAX: u32 = 2;

/// A node this many blocks behind the quorum is asked after the others.
const LAG_TOLERATED: u64 = 1;

/// Contradictions that are remembered, so that each is told once.
const TOLD_MAX: usize = 1_000;

/// The nodes of one network as a body that is asked.
#[derive(Debug)]
pub(super) struct Panel {
    /// Never empty. By preference.
    endpoints: Vec<Arc<Endpoint>>,
    quorum: Quorum,
    /// The longest wait that a read takes upon itself when nodes are at their rate limit.
    limit_wait_max: Duration,
    /// The head that a quorum had reached when it was last asked.
    head: AtomicU64,
    contradictions: AtomicU64,
    told: Mutex<BTreeSet<String>>,
}

/// What a number of nodes answered.
pub(super) struct Collected<T> {
    pub(super) answers: Vec<T>,
    pub(super) failures: Vec<RpcError>,
    /// Nodes that nobody asked, for there were enough before.
    unasked: Vec<usize>,
}

impl Panel {
    /// `needed`: how many nodes must say the same; more than half where none is given.
    pub(super) fn new(
        mut endpoints: Vec<Endpoint>,
        needed: Option<usize>,
        limit_wait_max: Duration,
    ) -> Self {
        let labels: Vec<String> = endpoints.iter().map(|node| node.label().to_owned()).collect();
        for (index, endpoint) in endpoints.iter_mut().enumerate() {
            let same_before = labels[..index].iter().filter(|label| **label == labels[index]);
            match same_before.count() {
                0 => {}
                count => endpoint.number(count + 1),
            }
        }
        Self {
            quorum: Quorum::new(endpoints.len(), needed),
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
            limit_wait_max,
            head: AtomicU64::new(0),
            contradictions: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    pub(super) const fn quorum(&self) -> Quorum {
        self.quorum
    }

    /// Nodes that are further behind this are asked last.
    pub(super) fn reached(&self, head: u64) {
        self.head.store(head, Ordering::Relaxed);
    }

    /// Things that nodes said differently, since the start.
    pub(super) fn contradictions(&self) -> u64 {
        self.contradictions.load(Ordering::Relaxed)
    }

    /// What one node answers, for what decides nothing: the first that gives an answer.
    pub(super) async fn first<T>(
        &self,
        what: &'static str,
        call: Call,
        decode: impl Fn(&Endpoint, Answer) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let decode = |endpoint: &Endpoint, mut answers: Vec<Answer>| match answers.pop() {
            Some(answer) => decode(endpoint, answer),
            None => Err(endpoint.unreadable("no answer")),
        };
        let mut got = self.collect(&[call], 1, &self.ranked(), decode).await;
        match (got.answers.pop(), got.failures.pop()) {
            (Some(answer), _) => Ok(answer),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(self.too_few(what, 0, Vec::new())),
        }
    }

    /// One thing that a quorum must say alike, or it is an error.
    pub(super) async fn agree_on_one<T: PartialEq + Clone>(
        &self,
        what: &'static str,
        call: Call,
        said: impl Fn(&Endpoint, Answer) -> Result<Option<T>, RpcError>,
    ) -> Result<T, RpcError> {
        let agreed = self.agree_on_chunk(what, &[()], |()| call.clone(), said).await?;
        let agreed = agreed.into_iter().next().flatten();
        agreed.ok_or_else(|| self.too_few(what, 0, Vec::new()))
    }

    pub(super) async fn agree_on_all<K: std::fmt::Debug, T: PartialEq + Clone>(
        &self,
        what: &'static str,
        keys: &[K],
        call: impl Fn(&K) -> Call + Copy,
        said: impl Fn(&Endpoint, Answer) -> Result<Option<T>, RpcError> + Copy,
    ) -> Result<Vec<Option<T>>, RpcError> {
        let chunks: Vec<&[K]> = keys.chunks(BATCH_MAX).collect();
        let mut agreed = Vec::with_capacity(keys.len());
        for group in chunks.chunks(BATCHES_AT_ONCE) {
            let mut asked = Vec::with_capacity(group.len());
            for keys in group {
                asked.push(self.agree_on_chunk(what, keys, call, said));
            }
            agreed.extend(try_join_all(asked).await?.into_iter().flatten());
        }
        Ok(agreed)
    }

    /// Asks a quorum of nodes about each key, and the others about what they do not agree on.
    /// None where nodes have nothing, or too few the same. At most [`BATCH_MAX`] keys.
    async fn agree_on_chunk<K: std::fmt::Debug, T: PartialEq + Clone>(
        &self,
        what: &'static str,
        keys: &[K],
        call: impl Fn(&K) -> Call,
        said: impl Fn(&Endpoint, Answer) -> Result<Option<T>, RpcError>,
    ) -> Result<Vec<Option<T>>, RpcError> {
        let decode = |endpoint: &Endpoint, answers: Vec<Answer>| {
            Ok(answers.into_iter().map(|answer| said(endpoint, answer)).collect::<Vec<_>>())
        };
        let calls: Vec<Call> = keys.iter().map(&call).collect();
        let got = self.quorum_of(what, &calls, decode).await?;
        let mut by_key: Vec<Said<T>> = keys.iter().map(|_| Said::default()).collect();
        for answers in got.answers {
            for (said, answer) in by_key.iter_mut().zip(answers) {
                said.add(answer);
            }
        }
        let is_open = |said: &Said<T>| {
            self.quorum.is_open(&self.quorum.vote(said.values.iter().cloned()), got.unasked.len())
        };
        let open: Vec<usize> = (0..keys.len()).filter(|index| is_open(&by_key[*index])).collect();
        if !open.is_empty() {
            let calls: Vec<Call> = open.iter().map(|index| calls[*index].clone()).collect();
            let more = self.collect(&calls, got.unasked.len(), &got.unasked, decode).await;
            for answers in more.answers {
                for (index, answer) in open.iter().zip(answers) {
                    by_key[*index].add(answer);
                }
            }
        }
        by_key.into_iter().zip(keys).map(|(said, key)| self.settle(what, key, said)).collect()
    }

    fn settle<T: PartialEq>(
        &self,
        what: &'static str,
        key: &impl std::fmt::Debug,
        said: Said<T>,
    ) -> Result<Option<T>, RpcError> {
        let failed = said.failures.len();
        let vote = self.quorum.vote(said.values);
        if vote.contradicted {
            self.tell(what, key, vote.agreed.is_some());
        }
        // Not agreed, and not because nodes have nothing: they could not say.
        if vote.agreed.is_none() && failed > 0 && vote.largest + failed >= self.quorum.needed() {
            return Err(self.too_few(what, vote.largest, said.failures));
        }
        Ok(vote.agreed)
    }

    /// Each contradiction once: a node that lies does so in every pass.
    fn tell(&self, what: &'static str, key: &impl std::fmt::Debug, outvoted: bool) {
        let name = format!("{what} {key:?}");
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(&name) {
            return;
        }
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(name.clone());
        self.contradictions.fetch_add(1, Ordering::Relaxed);
        let heeded = if outvoted { "the majority is believed" } else { "nothing is concluded" };
        tracing::error!(about = name, "nodes contradict each other: {heeded}");
    }

    /// The answers of a quorum, alike or not.
    pub(super) async fn quorum_of<T>(
        &self,
        what: &'static str,
        calls: &[Call],
        decode: impl Fn(&Endpoint, Vec<Answer>) -> Result<T, RpcError>,
    ) -> Result<Collected<T>, RpcError> {
        let got = self.collect(calls, self.quorum.needed(), &self.ranked(), decode).await;
        if got.answers.len() < self.quorum.needed() {
            return Err(self.too_few(what, got.answers.len(), got.failures));
        }
        Ok(got)
    }

    /// Which nodes to ask, best first: those that answer and keep up, in the configured order.
    fn ranked(&self) -> Vec<usize> {
        let reached = self.head.load(Ordering::Relaxed);
        let rank = |index: &usize| {
            let endpoint = &self.endpoints[*index];
            (endpoint.standing(), endpoint.head() + LAG_TOLERATED < reached)
        };
        let mut ranked: Vec<usize> = (0..self.endpoints.len()).collect();
        ranked.sort_by_key(rank);
        ranked
    }

    /// Asks nodes in this order, `wanted` at once, until so many gave an answer that `decode`
    /// takes. For one that fails, the next one is asked. Nodes at their rate limit are waited for
    /// when nobody else is left.
    async fn collect<T>(
        &self,
        calls: &[Call],
        wanted: usize,
        among: &[usize],
        decode: impl Fn(&Endpoint, Vec<Answer>) -> Result<T, RpcError>,
    ) -> Collected<T> {
        let mut waiting: VecDeque<usize> = among.iter().copied().collect();
        let mut in_flight = FuturesUnordered::new();
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        let mut limited: Vec<(usize, Duration)> = Vec::new();
        let mut waits = 0;
        loop {
            while answers.len() + in_flight.len() < wanted {
                let Some(index) = waiting.pop_front() else { break };
                let endpoint = &self.endpoints[index];
                in_flight.push(async move { (index, endpoint.batch(calls).await) });
            }
            match in_flight.next().await {
                Some((index, answered)) => {
                    let endpoint = &self.endpoints[index];
                    match answered.and_then(|answers| decode(endpoint, answers)) {
                        Ok(answer) => answers.push(answer),
                        Err(error) => {
                            tracing::debug!(%error, "a node was passed over");
                            if let RpcError::RateLimited { wait, .. } = &error
                                && *wait <= self.limit_wait_max
                            {
                                limited.push((index, *wait));
                            }
                            failures.push(error);
                        }
                    }
                }
                None => {
                    let soonest = limited.iter().map(|(_, wait)| *wait).min();
                    let enough = answers.len() >= wanted || waits >= LIMIT_WAITS_MAX;
                    let Some(wait) = soonest.filter(|_| !enough) else { break };
                    waits += 1;
                    tokio::time::sleep(wait).await;
                    waiting.extend(limited.drain(..).map(|(index, _)| index));
                }
            }
        }
        drop(in_flight);
        Collected { answers, failures, unasked: waiting.into() }
    }

    /// Asks every node at once, and goes on when a quorum has answered and the others had their
    /// grace. What comes later still tells of their health.
    pub(super) async fn ask_all<T: Send + 'static>(
        &self,
        calls: Vec<Call>,
        decode: fn(&Endpoint, Vec<Answer>) -> Result<T, RpcError>,
    ) -> (Vec<T>, Vec<RpcError>) {
        let calls: Arc<[Call]> = calls.into();
        let mut asked = JoinSet::new();
        for endpoint in &self.endpoints {
            let (endpoint, calls) = (Arc::clone(endpoint), Arc::clone(&calls));
            asked.spawn(async move {
                endpoint.batch(&calls).await.and_then(|answers| decode(&endpoint, answers))
            });
        }
        let (mut said, mut failures) = (Vec::new(), Vec::new());
        loop {
            let next = if said.len() < self.quorum.needed() {
                asked.join_next().await
            } else {
                tokio::time::timeout(GRACE, asked.join_next()).await.unwrap_or(None)
            };
            match next {
                Some(Ok(Ok(value))) => said.push(value),
                Some(Ok(Err(error))) => failures.push(error),
                // It panicked, or the runtime ends.
                Some(Err(_)) => {}
                None => break,
            }
        }
        asked.detach_all();
        (said, failures)
    }

    /// Why there is no quorum. With one node, or one reason, that reason itself.
    pub(super) fn too_few(
        &self,
        what: &'static str,
        agreed: usize,
        failures: Vec<RpcError>,
    ) -> RpcError {
        let alike = |is: fn(&RpcError) -> bool| agreed == 0 && failures.iter().all(is);
        let one_reason = self.endpoints.len() == 1
            || alike(|error| matches!(error, RpcError::WrongChain { .. }))
            || alike(|error| matches!(error, RpcError::RateLimited { .. }));
        let causes: Vec<String> = failures.iter().map(ToString::to_string).collect();
        match failures.into_iter().next_back() {
            Some(failure) if one_reason => failure,
            Some(_) => self.no_quorum(what, agreed, causes.join("; ")),
            None => self.no_quorum(what, agreed, "the nodes do not agree".into()),
        }
    }

    fn no_quorum(&self, what: &'static str, agreed: usize, causes: String) -> RpcError {
        RpcError::NoQuorum { what, agreed, needed: self.quorum.needed(), causes }
    }
}

/// What was said about one thing: an item a node.
struct Said<T> {
    values: Vec<Option<T>>,
    failures: Vec<RpcError>,
}

impl<T> Default for Said<T> {
    fn default() -> Self {
        Self { values: Vec::new(), failures: Vec::new() }
    }
}

impl<T> Said<T> {
    fn add(&mut self, answer: Result<Option<T>, RpcError>) {
        match answer {
            Ok(value) => self.values.push(value),
            Err(error) => {
                self.values.push(None);
                self.failures.push(error);
            }
        }
    }
}
