use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::domain::{ExternalRule, Flow, PolicyRules, Timestamp, WithdrawalRequest};
use crate::store::{
    AcceptWithdrawal, Answer, IdempotencyClaim, Store, StoreOptions, WithdrawalWait, open,
};

struct Scene {
    policing: Policing,
    store: Arc<dyn Store>,
    id: WithdrawalId,
    asked: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

/// A withdrawal, and a service that says this of whatever it is asked.
async fn scene(decision: &'static str) -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = Vec::new();
            while !request.ends_with(b"\"}") {
                let mut bytes = [0; 4_096];
                let length = stream.read(&mut bytes).await.unwrap();
                request.extend_from_slice(&bytes[..length]);
            }
            let request = String::from_utf8(request).unwrap();
            let body: serde_json::Value =
                serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
            let body = format!("{{\"decision\":\"{decision}\",\"request\":{}}}", body["request"]);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    let rule = ExternalRule { url: url.clone(), holds: Duration::from_secs(60) };
    let policies = Policies::new(PolicyRules { external: Some(rule), ..PolicyRules::default() });
    let folder = tempfile::tempdir().unwrap();
    let path = format!("sqlite:{}", folder.path().join("t.db").display()).parse().unwrap();
    let options = StoreOptions { policies: policies.clone(), ..StoreOptions::default() };
    let store = open(&path, options).await.unwrap();
    let id = accept(&store).await;
    let external = ExternalPolicy::new(
        url.parse().unwrap(),
        "0123456789abcdef".into(),
        Duration::from_secs(5),
    );
    let policing = Policing {
        store: Arc::clone(&store) as _,
        payments: Arc::clone(&store) as _,
        policies: Arc::new(policies),
        external: Some(external.unwrap()),
    };
    Scene { policing, store, id, asked, _folder: folder }
}

async fn accept(store: &Arc<dyn Store>) -> WithdrawalId {
    let request = WithdrawalRequest {
        user_id: "user-1".into(),
        asset: "ETH".into(),
        network: "eip155:1".parse().unwrap(),
        amount: "1.5".parse().unwrap(),
        destination_address: "0x52908400098527886E0F7030069857D2E4169EE7".into(),
    };
    let withdrawal =
        Withdrawal::requested(WithdrawalId::generate(), request, Timestamp::UNIX_EPOCH);
    let id = withdrawal.id;
    let text = || "t".to_owned();
    let idempotency = IdempotencyClaim { scope: text(), key: text(), fingerprint: text() };
    let request = AcceptWithdrawal {
        events: Flow::default().events(&withdrawal, None),
        withdrawal,
        idempotency,
        answer: Answer { status: 201, location: text(), body: text() },
    };
    store.accept_withdrawal(request).await.unwrap();
    id
}

fn wait(rule: &'static str) -> Result<SignedTransaction, SignError> {
    Err(SignError::Wait { rule, reason: format!("for {rule}") })
}

impl Scene {
    /// Signs with these answers, one after another; the last one stays.
    async fn sign(&self, answers: &[&'static str]) -> (String, usize) {
        let tried = AtomicUsize::new(0);
        let sign = || {
            let n = tried.fetch_add(1, Ordering::SeqCst);
            let rule = answers[n.min(answers.len() - 1)];
            async move { wait(rule) }
        };
        let answer = self.policing.around(self.id, sign).await.unwrap_err();
        (answer.to_string(), tried.into_inner())
    }

    async fn noted(&self) -> Option<WithdrawalWait> {
        self.store.waits(&[self.id]).await.unwrap().pop()
    }
}

#[tokio::test]
async fn the_service_is_asked_once_when_only_its_yes_is_missing() {
    let scene = scene("allow").await;
    let (answer, tried) = scene.sign(&["balance"]).await;
    assert!(answer.contains("for balance"), "{answer}");
    assert_eq!((tried, scene.asked.load(Ordering::SeqCst)), (1, 0), "its yes would not help");
    assert_eq!(scene.noted().await.unwrap().rule, "balance");
    let (answer, tried) = scene.sign(&[policy_rule::EXTERNAL, "fee-cap"]).await;
    assert!(answer.contains("for fee-cap"), "{answer}");
    assert_eq!((tried, scene.asked.load(Ordering::SeqCst)), (2, 1));
    assert_eq!(scene.noted().await.unwrap().rule, "fee-cap");
    scene.store.close().await;
}

#[tokio::test]
async fn without_a_clear_answer_nothing_is_tried_again_and_the_wait_says_why() {
    let scene = scene("perhaps").await;
    let (answer, tried) = scene.sign(&[policy_rule::EXTERNAL]).await;
    assert!(answer.contains("no clear answer: its decision is none of"), "{answer}");
    assert_eq!((tried, scene.asked.load(Ordering::SeqCst)), (1, 1));
    let noted = scene.noted().await.unwrap();
    assert_eq!(noted.rule, policy_rule::EXTERNAL);
    assert!(noted.reason.contains("no clear answer"), "{}", noted.reason);
    // A host that does not know the service signs nothing either.
    let unknown = Policing { external: None, ..scene.policing };
    let answer = unknown.around(scene.id, || async { wait(policy_rule::EXTERNAL) }).await;
    assert!(answer.unwrap_err().to_string().contains("does not know the external service"));
    scene.store.close().await;
}
