//! What the stand-ins' tests share: a door to knock at.

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::net::TcpListener;

/// A listener on a free port.
pub(super) async fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A client of one stand-in.
pub(super) struct Door {
    client: reqwest::Client,
    url: String,
}

pub(super) fn door(url: &str) -> Door {
    // `reqwest` wants a provider even for plain HTTP; a second installation is of no matter.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Door { client: reqwest::Client::builder().no_proxy().build().unwrap(), url: url.to_owned() }
}

impl Door {
    pub(super) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub(super) async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(u16, HeaderMap, Value), reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        Ok((status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.send(self.request("GET", path)).await.unwrap();
        (status, body)
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, _, body) = self.send(self.request("POST", path).json(&body)).await.unwrap();
        (status, body)
    }

    pub(super) async fn delete(&self, path: &str) -> u16 {
        self.send(self.request("DELETE", path)).await.unwrap().0
    }
}
