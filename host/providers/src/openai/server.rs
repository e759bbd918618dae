//! What the targets of one provider share: the connections, the key, and what is known about forwarding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lockgate_api::{AttemptContext, Locality};
use tokio::time::Instant;

use super::probe::{Meaning, Question, meaning};
use super::request::length_field;
use crate::http::{Answer, Connector, Endpoint, HttpClient, Proxy, SendError, tls_config};
use crate::settings::{ProviderSettings, Secret, SettingsProblem};

/// The path of an endpoint that has none.
const DEFAULT_PATH: &str = "/v1";
/// How long "it forwards nothing" is believed: models can be created under any name at any time.
const CLEAR_FOR: Duration = Duration::from_secs(60);
/// How long all questions together may take.
const QUESTIONS_MAX: Duration = Duration::from_secs(5);
/// The most bytes of an answer to a question.
const QUESTION_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One server.
pub(crate) struct Server {
    client: Arc<HttpClient>,
    headers: HeaderMap,
    origin: String,
    length_field: &'static str,
    locality: Locality,
    air_gapped: bool,
    secret: Option<Secret>,
    /// By model. Holds no more entries than there are models in the configuration.
    known: Mutex<HashMap<String, Known>>,
    /// Held while asking, so that requests that come in together ask once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
enum Known {
    /// It passes requests on, to there. Believed for good.
    Forwards(String),
    /// It revealed nothing, at that time.
    Clear(Instant),
}

/// Why it is not known whether a server passes requests on.
pub(super) enum Unclear {
    /// The question could not be sent.
    Send(SendError),
    /// It was sent, but not answered.
    NoAnswer(String),
}

impl Server {
    /// Builds the client; contacts nothing.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub(crate) fn new(
        settings: &ProviderSettings,
        locality: Locality,
        air_gapped: bool,
    ) -> Result<Self, SettingsProblem> {
        let invalid = |setting| move |problem| SettingsProblem::Invalid { setting, problem };
        let endpoint = settings.endpoint.as_deref().ok_or(SettingsProblem::Missing {
            setting: "endpoint",
            advice: "the server's base URL, such as http://127.0.0.1:11434/v1",
        })?;
        let endpoint = Endpoint::parse(endpoint, DEFAULT_PATH, locality).map_err(invalid("endpoint"))?;
        let origin = endpoint.origin();
        let length_field = length_field(endpoint.authority());
        // Environment proxies are not even looked at for servers on this machine or network.
        let proxy = match locality {
            Locality::Cloud => Proxy::from_environment(&origin).map_err(invalid("endpoint"))?,
            Locality::Local | Locality::Lan => None,
        };
        let tls = if Connector::needs_tls(&endpoint, proxy.as_ref()) {
            Some(tls_config().map_err(|reason| SettingsProblem::Tls { reason })?)
        } else {
            None
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("lockgate/", env!("CARGO_PKG_VERSION"))));
        if let Some(secret) = &settings.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
                .map_err(|_| invalid("api_key")("has characters that no header can carry".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client =
            HttpClient::new(Connector::new(endpoint, locality, tls, proxy)).map_err(invalid("endpoint"))?;
        Ok(Self {
            client: Arc::new(client),
            headers,
            origin,
            length_field,
            locality,
            air_gapped,
            secret: settings.api_key.clone(),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn locality(&self) -> Locality {
        self.locality
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What it calls the longest answer.
    pub(super) fn length_field(&self) -> &'static str {
        self.length_field
    }

    pub(super) fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// A path below the endpoint's.
    pub(super) fn path(&self, below: &str) -> String {
        self.client.endpoint().path(below)
    }

    /// Sends one request with the key. An attempt's has its id, for the server's logs; and, where the server is on
    /// this machine or network, its labels: should it be a Lockgate too, they hold there as well.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        attempt: Option<&AttemptContext>,
        connect_limit: Duration,
    ) -> Result<Answer, SendError> {
        let mut headers = self.headers.clone();
        if let Some(id) = attempt.and_then(|attempt| HeaderValue::from_str(&attempt.request_id).ok()) {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        let labels = attempt.filter(|attempt| self.locality != Locality::Cloud && !attempt.labels.is_empty());
        if let Some(labels) =
            labels.and_then(|attempt| HeaderValue::from_str(&attempt.labels.to_string()).ok())
        {
            headers.insert(HeaderName::from_static("x-lockgate-labels"), labels);
        }
        self.client.send(method, path, headers, body, connect_limit).await
    }

    /// Where requests for `model` are passed on to, if anywhere: as remembered, or by asking.
    pub(super) async fn check_forwarding(
        &self,
        model: &str,
        connect_limit: Duration,
    ) -> Result<Option<String>, Unclear> {
        if let Some(known) = self.remembered(model) {
            return Ok(known);
        }
        let _asking = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(known) = self.remembered(model) {
            return Ok(known);
        }
        self.ask(model, connect_limit).await
    }

    /// Asks a server on this machine or network now, whatever is remembered, and remembers the answer.
    pub(super) async fn reveal(&self, model: &str) {
        if self.locality == Locality::Cloud {
            return;
        }
        let _asking = self.asking.lock().await;
        let reason = match self.ask(model, QUESTIONS_MAX).await {
            Ok(_) => return,
            Err(Unclear::Send(error)) => error.to_string(),
            Err(Unclear::NoAnswer(reason)) => reason,
        };
        tracing::info!(
            server = self.origin,
            model,
            reason,
            "the server does not say yet whether it passes requests on"
        );
    }

    /// Whether requests for `model` are known to be passed on.
    pub(super) fn forwards(&self, model: &str) -> bool {
        self.locality != Locality::Cloud && matches!(self.lock().get(model), Some(Known::Forwards(_)))
    }

    /// Whether nothing may leave this machine, labelled or not.
    pub(super) fn is_air_gapped(&self) -> bool {
        self.air_gapped
    }

    /// Remembers that requests for `model` are passed on.
    pub(super) fn remember_forwarding(&self, model: &str, to: &str) {
        let before = self.lock().insert(model.to_owned(), Known::Forwards(to.to_owned()));
        if !matches!(before, Some(Known::Forwards(_))) {
            tracing::warn!(
                server = self.origin,
                model,
                to,
                "the server passes requests for this model on: its target counts as cloud from now on"
            );
        }
    }

    /// `Some(None)`: known not to forward.
    fn remembered(&self, model: &str) -> Option<Option<String>> {
        match self.lock().get(model)? {
            Known::Forwards(to) => Some(Some(to.clone())),
            Known::Clear(since) => (since.elapsed() < CLEAR_FOR).then_some(None),
        }
    }

    async fn ask(&self, model: &str, connect_limit: Duration) -> Result<Option<String>, Unclear> {
        let asked = tokio::time::timeout(QUESTIONS_MAX, self.ask_all(model, connect_limit)).await;
        let found = asked.unwrap_or_else(|_| {
            Err(Unclear::NoAnswer(format!("no answer within {} s", QUESTIONS_MAX.as_secs())))
        })?;
        match &found {
            Some(to) => self.remember_forwarding(model, to),
            None => {
                let mut known = self.lock();
                // What an answer revealed meanwhile stands.
                if !matches!(known.get(model), Some(Known::Forwards(_))) {
                    known.insert(model.to_owned(), Known::Clear(Instant::now()));
                }
            }
        }
        Ok(found)
    }

    async fn ask_all(&self, model: &str, connect_limit: Duration) -> Result<Option<String>, Unclear> {
        for question in Question::ALL {
            let endpoint = self.client.endpoint();
            let (method, path, body) = match question {
                Question::Show => {
                    let body = serde_json::json!({ "model": model }).to_string();
                    (Method::POST, endpoint.root_path("/api/show"), body)
                }
                Question::Tags => (Method::GET, endpoint.root_path("/api/tags"), String::new()),
                Question::Models => (Method::GET, endpoint.path("/models"), String::new()),
            };
            let mut answer =
                self.send(method, &path, body.into(), None, connect_limit).await.map_err(Unclear::Send)?;
            let body = answer
                .body
                .read_all(QUESTION_BYTES_MAX)
                .await
                .map_err(|error| Unclear::NoAnswer(format!("{path}: {error}")))?;
            match meaning(question, model, answer.head.status, &body) {
                Meaning::Nothing => {}
                Meaning::Forwards(to) => return Ok(Some(to)),
                Meaning::NotNow(status) => return Err(Unclear::NoAnswer(format!("{path}: {status}"))),
            }
        }
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
