//! Amazon Bedrock through its Converse API and the AWS SDK.
//!
//! [`Service`] is what the targets of one provider share; [`BedrockBackend`] is one target. Translation is
//! in pure modules: [`request`] and [`output`] to the SDK's types, [`converse`] from them, [`failure`] from its errors,
//! [`model`] from a model's id. [`connections`] carries what the SDK sends.
//!
//! Every answer is streamed, so that the gateway's timers see it move. A model that cannot stream, or
//! credentials that may not, are noticed by the service's refusal; the target then uses Converse.

mod client;
mod connections;
mod converse;
mod document;
mod failure;
mod model;
mod output;
mod request;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_stream::stream;
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamOutput;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, ErrorKind, Events, Label, Locality, Part, Permit,
    Target,
};
use tokio::sync::OnceCell;

use self::converse::{ConverseProblem, ConverseState};
use self::failure::{Attempt, cannot_stream};
use self::request::{Translated, Untranslatable};
use crate::http::Endpoint;
use crate::settings::{ProviderSettings, Secret, SettingsProblem};

/// How long the rest of an answer may take after all that matters was read.
const REST_MAX: Duration = Duration::from_secs(1);

/// Bedrock in one region.
pub(crate) struct Service {
    region: String,
    endpoint: Option<String>,
    token: Option<Secret>,
    /// Built on first use: reading the AWS environment and profiles is asynchronous.
    client: OnceCell<Client>,
}

impl Service {
    /// Checks the settings; contacts nothing and reads nothing.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub(crate) fn new(settings: &ProviderSettings) -> Result<Self, SettingsProblem> {
        let region = settings.region.as_deref().map(str::trim).filter(|region| !region.is_empty());
        let region = region.ok_or(SettingsProblem::Missing {
            setting: "region",
            advice: "the region that serves the models, such as eu-central-1",
        })?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !region.bytes().all(plain) {
            let problem = format!("is `{region}`, which is not the name of a region");
            return Err(SettingsProblem::Invalid { setting: "region", problem });
        }
        let endpoint = settings.endpoint.as_deref().map(|text| {
            Endpoint::parse(text, "", Locality::Cloud)
                .map(|endpoint| endpoint.origin() + &endpoint.path(""))
                .map_err(|problem| SettingsProblem::Invalid { setting: "endpoint", problem })
        });
        Ok(Self {
            region: region.to_owned(),
            endpoint: endpoint.transpose()?,
            token: settings.api_key.clone(),
            client: OnceCell::new(),
        })
    }

    async fn client(&self) -> &Client {
        let build = || client::build(&self.region, self.endpoint.as_deref(), self.token.as_ref());
        self.client.get_or_init(build).await
    }

    fn place(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(&self.region)
    }
}

/// One target.
pub(crate) struct BedrockBackend {
    service: Arc<Service>,
    target: Arc<Target>,
    /// The service has refused to stream for this target.
    document_only: Arc<AtomicBool>,
}

impl BedrockBackend {
    pub(crate) fn new(service: Arc<Service>, target: Arc<Target>) -> Self {
        Self { service, target, document_only: Arc::default() }
    }
}

impl Backend for BedrockBackend {
    fn accepts(&self, request: &ChatRequest) -> Result<(), BackendError> {
        let refuse = |field: &str, why: &str| Err(untranslatable(&self.target.id, field, why, true));
        if !self.target.tools && !request.tools.is_empty() {
            return refuse("tools", "its configuration says that it has no tools");
        }
        let has_image = |message: &lockgate_api::Message| {
            message.content.iter().any(|part| matches!(part, Part::Image(_)))
        };
        if !self.target.images && request.messages.iter().any(has_image) {
            return refuse("messages", "its configuration says that it reads no images");
        }
        request::accepts(request, &self.target.model).map_err(|problem| problem.into_error(&self.target.id))
    }

    fn stream(&self, request: Arc<ChatRequest>, permit: Permit, context: AttemptContext) -> Events {
        let call = Call {
            service: Arc::clone(&self.service),
            target: Arc::clone(&self.target),
            document_only: Arc::clone(&self.document_only),
            request,
            permit,
            context,
        };
        Box::pin(stream! {
            let mut state = ConverseState::new(&call.target.model);
            let mut events = VecDeque::new();
            let mut answer = match call.open().await {
                Ok(answer) => answer,
                Err(error) => {
                    yield Err(error);
                    return;
                }
            };
            loop {
                let result = match &mut answer {
                    Answer::Stream(stream) => match stream.stream.recv().await {
                        Ok(Some(event)) => state.event(event, &mut events).map_err(|problem| call.problem(&problem)),
                        Ok(None) => state.end(&mut events).map_err(|problem| call.problem(&problem)),
                        Err(error) => Err(call.attempt().failed_stream(&error)),
                    },
                    Answer::Document(document) => match document.take() {
                        Some(document) => {
                            state.document(*document, &mut events).map_err(|problem| call.problem(&problem))
                        }
                        None => return,
                    },
                };
                while let Some(event) = events.pop_front() {
                    yield Ok(event);
                }
                if let Err(error) = result {
                    yield Err(error);
                    return;
                }
                if state.is_done() {
                    if let Answer::Stream(stream) = answer {
                        read_rest(stream);
                    }
                    return;
                }
            }
        })
    }
}

/// One attempt, with everything that it needs.
struct Call {
    service: Arc<Service>,
    target: Arc<Target>,
    document_only: Arc<AtomicBool>,
    request: Arc<ChatRequest>,
    permit: Permit,
    context: AttemptContext,
}

enum Answer {
    Stream(Box<ConverseStreamOutput>),
    Document(Option<Box<ConverseOutput>>),
}

/// Reads what follows the last event that matters, so that the connection serves another request; gives up
/// after a second.
fn read_rest(mut answer: Box<ConverseStreamOutput>) {
    tokio::spawn(async move {
        let rest = async { while let Ok(Some(_)) = answer.stream.recv().await {} };
        let kept = tokio::time::timeout(REST_MAX, rest).await.is_ok();
        tracing::trace!(kept, "rest of an answer");
    });
}

impl Call {
    async fn open(&self) -> Result<Answer, BackendError> {
        self.check_permit()?;
        let translated = request::translate(&self.request, &self.target.model)
            .map_err(|problem| problem.into_error(&self.target.id))?;
        let client = self.service.client().await;
        if self.document_only.load(Ordering::Relaxed) {
            return self.converse(client, translated).await;
        }
        let Translated { system, turns, inference, tools, output, additional } = translated;
        let sent = client
            .converse_stream()
            .model_id(&self.target.model)
            .set_system((!system.is_empty()).then_some(system))
            .set_messages(Some(turns))
            .set_inference_config(inference)
            .set_tool_config(tools)
            .set_output_config(output)
            .set_additional_model_request_fields(additional)
            .customize()
            .config_override(client::attempt_config(self.context.timeouts.connect))
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(Answer::Stream(Box::new(answer))),
            Err(error) if cannot_stream(&error) => {
                tracing::info!(
                    target = self.target.id,
                    "the target cannot stream: using Converse from now on"
                );
                let translated = request::translate(&self.request, &self.target.model)
                    .map_err(|problem| problem.into_error(&self.target.id))?;
                let answer = self.converse(client, translated).await?;
                self.document_only.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) => Err(self.attempt().failed_call(&error)),
        }
    }

    async fn converse(&self, client: &Client, translated: Translated) -> Result<Answer, BackendError> {
        let Translated { system, turns, inference, tools, output, additional } = translated;
        let sent = client
            .converse()
            .model_id(&self.target.model)
            .set_system((!system.is_empty()).then_some(system))
            .set_messages(Some(turns))
            .set_inference_config(inference)
            .set_tool_config(tools)
            .set_output_config(output)
            .set_additional_model_request_fields(additional)
            .customize()
            .config_override(client::attempt_config(self.context.timeouts.connect))
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(Answer::Document(Some(Box::new(answer)))),
            Err(error) => Err(self.attempt().failed_call(&error)),
        }
    }

    fn check_permit(&self) -> Result<(), BackendError> {
        if self.permit.target() != self.target.id {
            let what = format!("the permit is for target `{}`", self.permit.target());
            return Err(self.attempt().error(ErrorKind::Internal, false, what));
        }
        if self.permit.locality() < Locality::Cloud {
            let what =
                format!("the permit is for locality `{}`, but Bedrock is a cloud", self.permit.locality());
            return Err(self.attempt().error(ErrorKind::Locality, false, what));
        }
        let region = self.context.labels.iter().find(|label| matches!(label, Label::Region(_)));
        if let Some(label) = region
            && !model::stays_in_region(&self.target.model, &self.service.region)
        {
            let what = format!(
                "`{}` may be answered outside of {}, which the request's label `{label}` forbids: use the model's own id \
                 in place of an inference profile",
                self.target.model, self.service.region
            );
            return Err(self.attempt().error(ErrorKind::Locality, false, what));
        }
        Ok(())
    }

    fn attempt(&self) -> Attempt<'_> {
        Attempt {
            target: &self.target.id,
            place: self.service.place(),
            request: &self.request,
            labels: &self.context.labels,
            secret: self.service.token.as_ref(),
        }
    }

    fn problem(&self, problem: &ConverseProblem) -> BackendError {
        let (kind, what) = match problem {
            ConverseProblem::Protocol(what) => (ErrorKind::Upstream, what),
            ConverseProblem::Cut(what) => (ErrorKind::Cut, what),
        };
        self.attempt().error(kind, true, format_args!("Bedrock ({}): {what}", self.service.place()))
    }
}

impl Untranslatable {
    fn into_error(self, target: &str) -> BackendError {
        match self {
            Self::Unsupported { field, why } => untranslatable(target, &field, &why, true),
            Self::Invalid { field, why } => untranslatable(target, &field, &why, false),
            Self::Internal(why) => BackendError::new(
                ErrorKind::Internal,
                format!("target `{target}`: the request cannot be built: {why}"),
            ),
        }
    }
}

fn untranslatable(target: &str, field: &str, why: &str, is_unsupported: bool) -> BackendError {
    if is_unsupported {
        let message = format!("target `{target}` cannot honour `{field}`: {why}");
        BackendError::new(ErrorKind::Unsupported { field: field.to_owned() }, message)
    } else {
        BackendError::new(ErrorKind::InvalidRequest, format!("target `{target}`: `{field}` {why}"))
            .about(field)
    }
}
