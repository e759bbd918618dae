//! What every test needs: targets, permits, requests, and answers collected to their end.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, Event, Events, FinishReason, Label, Labels, Locality,
    Message, Permit, Role, Target, Timeouts, Usage, permit,
};
use lockgate_providers::{Provider, ProviderKind, ProviderSettings, Secret};

/// Longer than any answer here takes, so that a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn target(model: &str, locality: Locality) -> Arc<Target> {
    Arc::new(Target {
        id: "box".to_owned(),
        model: model.to_owned(),
        locality,
        region: (locality == Locality::Cloud).then(|| "eu-central-1".to_owned()),
        context_tokens: None,
        price: None,
        tools: true,
        images: true,
    })
}

pub(crate) fn openai_settings(endpoint: &str, locality: Locality) -> ProviderSettings {
    ProviderSettings {
        id: "server".to_owned(),
        kind: ProviderKind::OpenAiCompatible,
        region: None,
        endpoint: Some(endpoint.to_owned()),
        locality: Some(locality),
        api_key: None,
    }
}

pub(crate) fn bedrock_settings(endpoint: &str) -> ProviderSettings {
    ProviderSettings {
        id: "bedrock".to_owned(),
        kind: ProviderKind::Bedrock,
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        locality: None,
        api_key: Some(Secret::new("bedrock-token")),
    }
}

pub(crate) fn provider(settings: ProviderSettings) -> Provider {
    Provider::new(settings, false).unwrap()
}

pub(crate) fn hello(text: &str) -> ChatRequest {
    ChatRequest::new("auto", vec![Message::text(Role::User, text)])
}

pub(crate) fn local_only() -> Labels {
    Labels::none().with([Label::LocalOnly])
}

/// One target and the way to ask it.
pub(crate) struct Asked {
    pub(crate) target: Arc<Target>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) timeouts: Timeouts,
}

impl Asked {
    pub(crate) fn new(provider: &Provider, model: &str) -> Self {
        let target = target(model, provider.locality());
        let backend = provider.backend(Arc::clone(&target)).unwrap();
        Self { target, backend, timeouts: Timeouts::default() }
    }

    pub(crate) fn connect_within(mut self, limit: Duration) -> Self {
        self.timeouts.connect = limit;
        self
    }

    pub(crate) fn permit(&self, labels: &Labels) -> Permit {
        permit(labels, &self.target).unwrap()
    }

    pub(crate) fn stream(&self, request: &ChatRequest, labels: &Labels) -> Events {
        self.stream_with(request, labels, self.permit(labels))
    }

    pub(crate) fn stream_with(&self, request: &ChatRequest, labels: &Labels, permit: Permit) -> Events {
        let context = AttemptContext {
            request_id: "req-1".into(),
            labels: Arc::new(labels.clone()),
            timeouts: self.timeouts,
        };
        self.backend.stream(Arc::new(request.clone()), permit, context)
    }

    /// Every event, and the error that ended the answer.
    pub(crate) async fn ask(
        &self,
        request: &ChatRequest,
        labels: &Labels,
    ) -> (Vec<Event>, Option<BackendError>) {
        collect(self.stream(request, labels)).await
    }

    /// Every event of an answer that must be whole.
    pub(crate) async fn whole(&self, request: &ChatRequest) -> Vec<Event> {
        let (events, error) = self.ask(request, &Labels::none()).await;
        assert_eq!(error, None, "{events:?}");
        events
    }

    /// The error of an answer that must fail.
    pub(crate) async fn failure(&self, request: &ChatRequest, labels: &Labels) -> BackendError {
        let (events, error) = self.ask(request, labels).await;
        error.unwrap_or_else(|| panic!("an error was expected after {events:?}"))
    }
}

pub(crate) async fn collect(mut stream: Events) -> (Vec<Event>, Option<BackendError>) {
    let all = async {
        let mut events = Vec::new();
        while let Some(item) = stream.next().await {
            match item {
                Ok(event) => events.push(event),
                Err(error) => {
                    assert!(stream.next().await.is_none(), "something follows an error");
                    return (events, Some(error));
                }
            }
        }
        (events, None)
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the answer hangs")
}

pub(crate) fn start(model: &str) -> Event {
    Event::Start { model: model.to_owned() }
}

pub(crate) fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.to_owned(), logprobs: Vec::new() }
}

pub(crate) fn reasoning(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.to_owned() }
}

pub(crate) fn finish(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason }
}

pub(crate) fn usage(input: u64, output: u64) -> Event {
    Event::Usage(Usage { input, output, ..Usage::default() })
}

/// The text of an answer.
pub(crate) fn joined(events: &[Event]) -> String {
    let text = |event: &Event| match event {
        Event::Text { text, .. } => text.clone(),
        _ => String::new(),
    };
    events.iter().map(text).collect()
}

/// Each tool call's id, name and arguments.
pub(crate) fn calls(events: &[Event]) -> Vec<(String, String, String)> {
    let mut calls: Vec<(String, String, String)> = Vec::new();
    for event in events {
        let Event::ToolCall { index, id, name, arguments, .. } = event else { continue };
        if let Some(id) = id {
            assert_eq!(*index as usize, calls.len());
            calls.push((id.clone(), name.clone().unwrap(), String::new()));
        }
        calls[*index as usize].2.push_str(arguments);
    }
    calls
}

/// Runs one test of this program again in a process of its own, with another environment: a process may
/// not change its own safely. `LOCKGATE_TEST_CHILD` tells the child that it is one.
pub(crate) async fn run_child(test: &str, set: &[(&str, String)], unset: &[&str]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env("LOCKGATE_TEST_CHILD", "1");
    unset.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.envs(set.iter().map(|(name, value)| (name, value)));
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

/// A variable that the parent has set for this child; `None` in the parent.
pub(crate) fn in_child(name: &str) -> Option<String> {
    std::env::var("LOCKGATE_TEST_CHILD").ok()?;
    Some(std::env::var(name).unwrap_or_default())
}
