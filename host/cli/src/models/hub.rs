//! Fetching from Hugging Face, or a server of its protocol (`HF_ENDPOINT`, `HF_TOKEN`).
//!
//! A file's address answers a HEAD with its size and, for large files, its SHA-256
//! (`X-Linked-Size`, `X-Linked-ETag`), then redirects to the bytes.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, RANGE};
use reqwest::{Client, StatusCode, redirect};

use super::download::{Expected, Part};
use super::pull::PullError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A server of the protocol.
pub(crate) struct Hub {
    endpoint: String,
    token: Option<String>,
}

impl Hub {
    pub(crate) fn from_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: set("HF_TOKEN"),
        }
    }

    /// Fetches a file into a part beside `target`. What `expected` leaves open is filled from what the
    /// server says.
    pub(crate) async fn fetch(
        &self,
        (repository, revision, file): (&str, &str, &str),
        target: &Path,
        what: &str,
        mut expected: Expected,
    ) -> Result<Part, PullError> {
        let address = format!(
            "{}/{repository}/resolve/{revision}/{}",
            self.endpoint.trim_end_matches('/'),
            file.replace(' ', "%20")
        );
        let headers = self.facts(&address).await?;
        let linked = |name: &str| headers.get(name)?.to_str().ok().map(|value| value.trim_matches('"'));
        let length = linked("x-linked-size").or_else(|| linked(CONTENT_LENGTH.as_str()));
        expected.bytes = expected.bytes.or_else(|| length?.parse().ok());
        let hash = linked("x-linked-etag").filter(|hash| hash.len() == 64);
        expected.sha256 = expected.sha256.or_else(|| hash.map(str::to_ascii_lowercase));

        let mut part = Part::open(target, what, expected.clone())?;
        if expected.bytes.is_some_and(|bytes| part.written() == bytes) {
            return Ok(part);
        }
        let client = client(redirect::Policy::limited(5))?;
        let mut request = self.authorised(client.get(&address)).header(ACCEPT_ENCODING, "identity");
        if part.written() > 0 {
            request = request.header(RANGE, format!("bytes={}-", part.written()));
        }
        let mut response = request.send().await.map_err(|error| transport(&address, &error))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK => part.restart()?,
            status => return Err(refused(&address, status, self.token.is_some())),
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| transport(&address, &error))? {
            part.write(&chunk)?;
        }
        Ok(part)
    }

    async fn facts(&self, address: &str) -> Result<HeaderMap, PullError> {
        // The facts are on the first answer, not on the store that it redirects to.
        let client = client(redirect::Policy::none())?;
        let request = self.authorised(client.head(address)).header(ACCEPT_ENCODING, "identity");
        let response = request.send().await.map_err(|error| transport(address, &error))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response.headers().clone());
        }
        Err(refused(address, status, self.token.is_some()))
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }
}

fn client(redirects: redirect::Policy) -> Result<Client, PullError> {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(redirects)
        .user_agent(concat!("lockgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| PullError::Source(format!("no HTTP client: {error}")))
}

fn transport(address: &str, error: &reqwest::Error) -> PullError {
    // The innermost cause says what happened; the outer layers only repeat the address.
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    PullError::Source(format!("{address}: {cause}"))
}

fn refused(address: &str, status: StatusCode, with_token: bool) -> PullError {
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if with_token => {
            "; the token in HF_TOKEN has no access to it"
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; it may be gated: accept its terms on the site and set HF_TOKEN"
        }
        StatusCode::NOT_FOUND => "; check owner, repository, revision and file",
        _ => "",
    };
    PullError::Source(format!("{address}: the server answered {status}{advice}"))
}
