//! The commands' way to a running host: its HTTP API.

use std::time::Duration;

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use url::Url;

use super::error::CliError;

#[derive(Args)]
pub(super) struct ClientArgs {
    /// Where the host listens
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "TIDEGATE_URL", global = true)]
    url: Url,
    /// A token of the host
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// Longer than the host's own limit for a request, so that its answer is seen.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    token: String,
}

impl Client {
    pub(super) fn new(args: &ClientArgs) -> Result<Self, CliError> {
        let Some(token) = args.token.clone() else {
            return Err(CliError::failed(
                "no token was given",
                "--token or TIDEGATE_TOKEN",
                "give a token; `tidegate token new` makes one",
            ));
        };
        let url = args.url.clone();
        if url.cannot_be_a_base() {
            let remedy = "write for example --url http://127.0.0.1:8080";
            return Err(CliError::failed("the URL is none of a host", url.as_str(), remedy));
        }
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|error| {
            let what = format!("no HTTP client can be made: {error}");
            CliError::failed(what, "this machine", "look at its certificates")
        })?;
        Ok(Self { http, url, token })
    }

    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, Option<String>)],
    ) -> Result<Value, CliError> {
        self.send(self.request(Method::GET, path, query)).await
    }

    pub(super) async fn post(&self, path: &[&str]) -> Result<Value, CliError> {
        self.send(self.request(Method::POST, path, &[])).await
    }

    /// A body that is JSON already, sent to the letter.
    pub(super) async fn post_json(
        &self,
        path: &[&str],
        json: String,
        idempotency_key: Option<&str>,
    ) -> Result<Value, CliError> {
        let mut request = self
            .request(Method::POST, path, &[])
            .header(CONTENT_TYPE, "application/json")
            .body(json);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        self.send(request).await
    }

    /// The same with parameters.
    pub(super) async fn post_with(
        &self,
        path: &[&str],
        query: &[(&str, Option<String>)],
        json: String,
    ) -> Result<Value, CliError> {
        let request = self.request(Method::POST, path, query);
        self.send(request.header(CONTENT_TYPE, "application/json").body(json)).await
    }

    /// A body of whatever type.
    pub(super) async fn put(
        &self,
        path: &[&str],
        query: &[(&str, Option<String>)],
        content_type: &str,
        body: Vec<u8>,
        idempotency_key: Option<&str>,
    ) -> Result<Value, CliError> {
        let request = self.request(Method::PUT, path, query);
        let mut request = request.header(CONTENT_TYPE, content_type).body(body);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        self.send(request).await
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, Option<String>)],
    ) -> RequestBuilder {
        self.http.request(method, self.address(path, query)).bearer_auth(&self.token)
    }

    /// Each part is escaped, so that an id from the command line stays an id.
    fn address(&self, path: &[&str], query: &[(&str, Option<String>)]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let request = request.build().map_err(|error| {
            let what = format!("the request cannot be made: {error}");
            CliError::failed(what, "the command line", "use plain ASCII in --token and in keys")
        })?;
        let place = format!("{} {}", request.method(), request.url());
        let sent = self.http.execute(request).await;
        let response = sent.map_err(|error| unreachable(&error, &place))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| unreachable(&error, &place))?;
        let body = serde_json::from_str::<Value>(&text).ok();
        match body {
            Some(body) if status.is_success() => Ok(body),
            Some(body) => Err(refused(status, &body, place)),
            None => Err(CliError::failed(
                format!("the answer {status} is not Tidegate's"),
                place,
                "give the address of a Tidegate host with --url",
            )),
        }
    }
}

fn unreachable(error: &reqwest::Error, place: &str) -> CliError {
    // The error's own text is "error sending request": why is in its causes.
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        why = next.to_string();
        cause = next.source();
    }
    CliError::failed(
        format!("the host cannot be reached: {why}"),
        place,
        "start it with `tidegate serve` or `tidegate dev`, or give its address with --url",
    )
}

/// A problem document, told as what, where, and what to do.
fn refused(status: StatusCode, problem: &Value, place: String) -> CliError {
    let text = |key: &str| problem[key].as_str().unwrap_or_default();
    let mut what = format!("{} ({})", text("title"), status.as_u16());
    for error in problem["errors"].as_array().into_iter().flatten() {
        let part = |key: &str| error[key].as_str().unwrap_or_default();
        what.push_str(&format!("\n  {} {}", part("field"), part("detail")));
    }
    CliError::failed(what, place, text("detail"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn client(url: &str) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (url, token) = (url.parse().unwrap(), Some("t".to_owned()));
        Client::new(&ClientArgs { url, token, json: false }).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn an_id_from_the_command_line_stays_an_id() {
        let client = client("http://host:1/base/");
        let url = client.address(&["events", "../x?y"], &[("limit", Some("1".into()))]);
        assert_eq!(url.as_str(), "http://host:1/base/v1/events/..%2Fx%3Fy?limit=1");
    }

    /// Answers one request with these bytes, and gives what was asked.
    async fn answering(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8_192];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (url, asked)
    }

    #[tokio::test]
    async fn a_host_is_asked_with_the_token() {
        let (url, asked) =
            answering("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"items\":1}").await;
        let body = client(&url).get(&["events"], &[("status", None)]).await.unwrap();
        assert_eq!(body, json!({"items": 1}));
        let asked = asked.await.unwrap().to_lowercase();
        assert!(asked.starts_with("get /v1/events http/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: bearer t\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn what_is_no_host_is_told_so() {
        let (url, _) = answering("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\n<>").await;
        let error = client(&url).post(&["events", "1", "replay"]).await.unwrap_err().to_string();
        assert!(error.starts_with("the answer 502 Bad Gateway is not Tidegate's"), "{error}");
        let error = client(&url).get(&["events"], &[]).await.unwrap_err().to_string();
        assert!(error.starts_with("the host cannot be reached: "), "{error}");
        assert!(error.contains("what to do: start it with"), "{error}");
    }

    #[test]
    fn a_problem_is_told_as_what_where_and_what_to_do() {
        let problem = json!({
            "title": "The query has parameters that are not valid",
            "detail": "Correct limit and send the request again.",
            "errors": [{"field": "limit", "detail": "needs a whole number from 1 to 200"}],
        });
        let error = refused(StatusCode::BAD_REQUEST, &problem, "GET http://host/".into());
        assert_eq!(
            error.to_string(),
            "The query has parameters that are not valid (400)\n  \
             limit needs a whole number from 1 to 200\n  \
             where:      GET http://host/\n  \
             what to do: Correct limit and send the request again."
        );
    }
}
