//! Names: resolved once by the host, every address checked, and the checked one dialled.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;

use super::components::{assert_retry, attempt, detail, hostile_behind};
use super::fakes::services;
use super::server::{Answer, Server, header};
use crate::plugin::{Outbound, Resolver};

/// Answers differently each time, as a name in a stranger's hands may; the last answer stays.
struct Fickle {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Fickle {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|it| it.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parse).collect()),
            asked: AtomicUsize::new(0),
        })
    }

    fn outbound(self: &Arc<Self>) -> Arc<Outbound> {
        Arc::new(Outbound::new().unwrap().with_resolver(Arc::clone(self) as _))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Resolver for Fickle {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        assert!(name.ends_with("target.test"), "{name}");
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

fn grant(origin: &str, private: bool) -> String {
    format!("[grants]\nhttp = [{{ origin = \"{origin}\", private = {private} }}]")
}

#[tokio::test]
async fn the_name_is_asked_once_and_the_answer_is_what_is_dialled() {
    let server = Server::start(Answer::ok()).await;
    // Whoever asked twice, once to check and once to dial, would dial the second.
    let names = Fickle::new(&[&["127.0.0.1"], &["127.0.0.99"]]);
    let origin = format!("http://target.test:{}", server.port());
    let release = hostile_behind(&names.outbound(), &grant(&origin, true)).await;
    let payload = json!({"do": "call", "url": origin, "count": 3});
    detail(attempt(&release, &services(), payload).await);
    assert_eq!((names.asked(), server.connections()), (1, 1));
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "a kept connection leads to what was checked");
    assert_eq!(header(&requests[2], "host"), [format!("target.test:{}", server.port())]);
}

#[tokio::test]
async fn a_new_connection_is_checked_anew() {
    let closing = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    let server = Server::start(Answer::Raw(closing.into())).await;
    let names = Fickle::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let origin = format!("http://*.target.test:{}", server.port());
    let release = hostile_behind(&names.outbound(), &grant(&origin, true)).await;
    let url = format!("http://a.target.test:{}/", server.port());
    let payload = json!({"do": "call", "url": url, "count": 2});
    let outcome = attempt(&release, &services(), payload).await;
    assert_retry(
        &outcome,
        "a.target.test has the address 169.254.169.254 on the machine's own link",
    );
    assert_eq!((names.asked(), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused_in_every_form() {
    let server = Server::start(Answer::ok()).await;
    for address in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
    ] {
        let origin = format!("http://target.test:{}", server.port());
        let names = Fickle::new(&[&[address]]);
        let release = hostile_behind(&names.outbound(), &grant(&origin, false)).await;
        let outcome = attempt(&release, &services(), json!({"do": "call", "url": origin})).await;
        assert_retry(&outcome, "which is not public: to allow it, add private = true");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn of_a_mix_none_is_dialled() {
    let server = Server::start(Answer::ok()).await;
    let port = server.port();
    for (origin, private, mix) in [
        (format!("http://target.test:{port}"), false, ["1.1.1.1", "127.0.0.1"]),
        (format!("http://*.target.test:{port}"), true, ["127.0.0.1", "169.254.169.254"]),
    ] {
        for answer in [mix, [mix[1], mix[0]]] {
            let names = Fickle::new(&[&answer]);
            let release = hostile_behind(&names.outbound(), &grant(&origin, private)).await;
            let url = origin.replace('*', "a");
            let outcome = attempt(&release, &services(), json!({"do": "call", "url": url})).await;
            assert_retry(&outcome, "has the address");
            assert_eq!(names.asked(), 1);
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_metadata_address_needs_a_grant_of_its_own_name() {
    // Nobody answers there, but it is dialled, or its network refuses.
    let origin = "http://target.test:9";
    let names = Fickle::new(&[&["169.254.169.254"]]);
    let extra = format!(
        "[grants]\nhttp = [{{ origin = \"{origin}\", private = true, connect_timeout = \"200ms\" }}]"
    );
    let release = hostile_behind(&names.outbound(), &extra).await;
    let outcome = attempt(&release, &services(), json!({"do": "call", "url": origin})).await;
    let said = format!("{outcome:?}");
    assert!(!said.contains("has the address"), "{said}");
}

#[tokio::test]
async fn the_next_address_is_tried_if_one_refuses() {
    let server = Server::start(Answer::ok()).await;
    let names = Fickle::new(&[&["127.0.0.77", "127.0.0.1"]]);
    let origin = format!("http://target.test:{}", server.port());
    let release = hostile_behind(&names.outbound(), &grant(&origin, true)).await;
    detail(attempt(&release, &services(), json!({"do": "call", "url": origin})).await);
}

#[tokio::test]
async fn two_policies_of_one_plugin_share_no_connection() {
    let server = Server::start(Answer::ok()).await;
    let names = Fickle::new(&[&["127.0.0.1"]]);
    let port = server.port();
    let extra = format!(
        "[grants]\nhttp = [{{ origin = \"http://*.target.test:{port}\", methods = [\"GET\"] }}, \
         {{ origin = \"http://a.target.test:{port}\", methods = [\"PUT\"], private = true }}]"
    );
    let release = hostile_behind(&names.outbound(), &extra).await;
    let url = format!("http://a.target.test:{port}/");
    let call = |method: &str| json!({"do": "call", "url": url, "method": method});
    detail(attempt(&release, &services(), call("PUT")).await);
    // The kept connection would answer; it is another grant's.
    assert_retry(&attempt(&release, &services(), call("GET")).await, "which is not public");
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
}
