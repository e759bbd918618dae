//! Embeddings: one target makes all vectors of a request, or none are made.
//!
//! **Who.** Vectors of different models cannot be compared, so nothing is routed and nothing fails over. A named target
//! answers; `auto` is the first permitted target of locality `local`, since no policy is asked that could allow more.
//! Where names are wishes to the router (`named = "route"`), only local targets may be named.
//!
//! **What holds all the same.** Admission, labels with a permit at the send, and a breaker, of embeddings alone.
//! Preprocessors see the
//! texts as one request of a user message each and may change, label or refuse it; where what they leave is not plain
//! texts any more, the request is refused. Guards watch what a model writes, and here it writes nothing.

use std::sync::Arc;

use lockgate_api::{
    AttemptContext, BackendError, ChatRequest, Embed, Embedded, ErrorKind, Labels, Locality, Message, Part,
    PolicyError, Role, Scope, TimeoutKind, permit,
};
use tracing::warn;

use crate::execute::{locality_of, now};
use crate::failure::{FailedAttempt, Failure, GatewayError};
use crate::gateway::{Entry, Gateway, Outcome};
use crate::health::Measurement;
use crate::keys::Key;
use crate::limiter::RETRY_AFTER;
use crate::policies::plugin_failed;
use crate::running::Counted;
use crate::selection::{first_local, unknown};
use crate::settling::settle_refused;
use crate::setup::{AUTO, Named};

/// Texts to embed and who asks.
#[derive(Clone, Debug)]
pub struct EmbedAsk {
    /// For headers, logs and upstreams.
    pub request_id: Arc<str>,
    /// `auto`, or the id of a target.
    pub model: String,
    /// The texts; at most [`lockgate_api::EMBED_INPUTS_MAX`], none empty.
    pub inputs: Vec<String>,
    /// Labels from the request's own header. They add to the key's and the configuration's.
    pub labels: Labels,
    /// The caller, where keys are configured.
    pub key: Option<Arc<Key>>,
}

/// Embedded texts.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// How they came about.
    pub outcome: Outcome,
    /// One vector a text, in their order.
    pub embedded: Embedded,
}

impl Gateway {
    /// Embeds texts, or says why not. Dropping the future abandons the request.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub async fn embed(&self, ask: EmbedAsk) -> Result<Vectors, Box<Failure>> {
        let EmbedAsk { request_id, model, inputs, labels, key } = ask;
        let mut outcome = Outcome {
            policy: Arc::clone(&self.direct_id),
            target: None,
            attempts: 0,
            labels: Arc::new(self.in_force(&labels, key.as_deref())),
            request_id,
        };
        let scope = self.scope(&outcome, None);
        let embedded = self.embed_as(&model, inputs, key.as_deref(), &scope, &mut outcome).await;
        let end = embedded.as_ref().map_or_else(GatewayError::kind, |_| "answered");
        self.options.metrics.request(&outcome.policy, end);
        match embedded {
            Ok(embedded) => Ok(Vectors { outcome, embedded }),
            Err(error) => {
                settle_refused(&scope, &error);
                Err(Box::new(Failure { outcome, error }))
            }
        }
    }

    async fn embed_as(
        &self,
        model: &str,
        inputs: Vec<String>,
        key: Option<&Key>,
        scope: &Arc<Scope>,
        outcome: &mut Outcome,
    ) -> Result<Embedded, GatewayError> {
        let entry = self.embedding_target(model, &outcome.labels)?;
        let overloaded = |_| GatewayError::Overloaded { retry_after: RETRY_AFTER };
        let _slot = self.limiter.enter().await.map_err(overloaded)?;
        let inputs = self.prepared(model, inputs, key, scope, outcome).await?;
        // No plan is to come, and so no label.
        scope.settle();
        self.send(entry, inputs, outcome).await
    }

    /// The one target that is asked.
    fn embedding_target(&self, model: &str, labels: &Labels) -> Result<&Entry, GatewayError> {
        if self.entries.is_empty() {
            return Err(GatewayError::NoTarget);
        }
        if model == AUTO {
            let local = first_local(labels, self.targets()).and_then(|step| self.entries.get(step.target));
            return local.ok_or_else(|| GatewayError::Locality {
                message: "`auto` embeds on this machine alone, and no target here is local: name a target"
                    .to_owned(),
            });
        }
        let named = self.entries.iter().find(|entry| entry.target().id == model);
        let entry = named.ok_or_else(|| unknown(model, self.targets()))?;
        let may_be_named = match self.options.named {
            Named::Direct => true,
            Named::Route => entry.target().locality == Locality::Local,
            Named::Refuse => false,
        };
        if !may_be_named {
            return Err(GatewayError::NamedRefused { model: model.to_owned() });
        }
        permit(labels, entry.target())
            .map_err(|forbidden| GatewayError::Locality { message: forbidden.to_string() })?;
        Ok(entry)
    }

    /// The texts as the preprocessors leave them.
    async fn prepared(
        &self,
        model: &str,
        inputs: Vec<String>,
        key: Option<&Key>,
        scope: &Arc<Scope>,
        outcome: &mut Outcome,
    ) -> Result<Vec<String>, GatewayError> {
        if self.policies.preprocessors.is_empty() {
            return Ok(inputs);
        }
        let count = inputs.len();
        let messages = inputs.into_iter().map(|text| Message::text(Role::User, text)).collect();
        let request = Arc::new(ChatRequest { stream: false, ..ChatRequest::new(model, messages) });
        let passed = self.prepare(&request, key, scope, outcome).await?;
        texts_of(&passed.request, count).ok_or_else(|| {
            let problem =
                "what the preprocessors left of the texts to embed is not as many plain texts".to_owned();
            let error = PolicyError::InvalidAnswer { problem };
            plugin_failed(Arc::from("preprocessors"), error, &outcome.request_id, &outcome.labels)
        })
    }

    async fn send(
        &self,
        entry: &Entry,
        inputs: Vec<String>,
        outcome: &mut Outcome,
    ) -> Result<Embedded, GatewayError> {
        let (target, backend, monitor) = (entry.target(), &entry.backend, &entry.monitor);
        // The check at the send: preprocessors may have added labels.
        let permit = permit(&outcome.labels, target)
            .map_err(|forbidden| GatewayError::Locality { message: forbidden.to_string() })?;
        let failed = |error: BackendError, tried: bool| {
            GatewayError::NotEmbedded(Box::new(FailedAttempt { target: Arc::clone(target), error, tried }))
        };
        let flight = monitor.begin_embedding(now()).map_err(|wait| {
            let message = format!("target `{}` failed repeatedly and is left alone for a while", target.id);
            failed(BackendError::new(ErrorKind::Unavailable, message).retry_after(Some(wait)), false)
        })?;
        outcome.attempts = 1;
        outcome.target = Some(Arc::clone(target));
        let timeouts = self.options.timeouts;
        let context = AttemptContext {
            request_id: Arc::clone(&outcome.request_id),
            labels: Arc::clone(&outcome.labels),
            timeouts,
        };
        // Elsewhere silence may mean that nobody is there; here it is work.
        let (limit, timer) = match target.locality {
            Locality::Local => (timeouts.total, TimeoutKind::Total),
            Locality::Lan | Locality::Cloud => {
                (timeouts.connect + timeouts.first_event, TimeoutKind::FirstEvent)
            }
        };
        let mut counted = Counted::new(Arc::clone(target), self.options.metrics.clone());
        let count = inputs.len();
        let asked = tokio::time::timeout(limit, backend.embed(Embed { inputs }, permit, context)).await;
        let result = match asked {
            Ok(Ok(embedded)) if embedded.vectors.len() != count => {
                let found = embedded.vectors.len();
                let what = format!("target `{}` made {found} vectors of {count} texts", target.id);
                Err(BackendError::new(ErrorKind::Upstream, what).dispatched())
            }
            Ok(result) => result,
            Err(_) => {
                let (seconds, name) = (limit.as_secs_f64(), timer.name());
                let what = format!(
                    "target `{}` sent no embeddings within {seconds:.1} s ({name} timeout)",
                    target.id
                );
                Err(BackendError::new(ErrorKind::Timeout(timer), what).dispatched())
            }
        };
        let usage = result.as_ref().ok().map(|embedded| &embedded.usage);
        counted.end_with(result.as_ref().map_or_else(BackendError::word, |_| "ok"), usage);
        match result {
            Ok(embedded) => {
                flight.succeeded(now(), Measurement::default());
                Ok(embedded)
            }
            Err(error) => {
                warn!(request = %outcome.request_id, target = %target.id, kind = ?error.kind, %error, "embedding failed");
                flight.failed(now(), &error, Measurement::default());
                if error.kind == ErrorKind::Locality {
                    return Err(locality_of(&[FailedAttempt {
                        target: Arc::clone(target),
                        error,
                        tried: true,
                    }]));
                }
                Err(failed(error, true))
            }
        }
    }
}

/// The texts of a request that has one user message of plain text for each, and nothing else.
fn texts_of(request: &ChatRequest, count: usize) -> Option<Vec<String>> {
    if request.messages.len() != count || !request.tools.is_empty() {
        return None;
    }
    let text_of = |message: &Message| {
        let plain = message.role == Role::User
            && message.tool_calls.is_empty()
            && message.content.iter().all(|part| matches!(part, Part::Text(_)));
        plain.then(|| message.joined_text()).filter(|text| !text.is_empty())
    };
    request.messages.iter().map(text_of).collect()
}
