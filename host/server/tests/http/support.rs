//! A server on a free port, targets that do as they are told, and a client that reads raw HTTP/1.1.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, Embed, Embedded, Event, Events, FinishReason,
    Locality, Permit, Plan, PlannedAttempt, PolicyError, RouteInput, Router, Target, Usage,
};
use lockgate_gateway::{Gateway, GatewayOptions, GatewayTarget, Keys, OnError, Policies, Route};
use lockgate_server::{AppState, ServeError, ServerOptions, Serving, serve};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Nothing here takes this long unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

/// What a target does next.
pub(super) enum Act {
    Event(Event),
    Error(BackendError),
    Panic,
}

pub(super) fn start() -> Act {
    Act::Event(Event::Start { model: "tiny".to_owned() })
}

pub(super) fn text(text: &str) -> Act {
    Act::Event(Event::Text { choice: 0, text: text.to_owned(), logprobs: Vec::new() })
}

pub(super) fn finish() -> Act {
    Act::Event(Event::Finish { choice: 0, reason: FinishReason::Stop })
}

pub(super) fn usage() -> Act {
    Act::Event(Event::Usage(Usage { input: 3, output: 2, ..Usage::default() }))
}

/// One request as its target sees it. Acts are sent to it; it ends when this is dropped.
pub(super) struct Work {
    acts: Option<UnboundedSender<Act>>,
    gone: oneshot::Receiver<()>,
    pub(super) request: Arc<ChatRequest>,
    pub(super) labels: String,
}

impl Work {
    pub(super) fn act(&self, act: Act) {
        let acts = self.acts.as_ref().expect("not ended yet");
        // The stream may be gone already, which the test finds out by `dropped`.
        let _ = acts.send(act);
    }

    pub(super) fn end(&mut self) {
        self.acts = None;
    }

    /// Completes when the stream is dropped.
    pub(super) async fn dropped(&mut self) {
        let _ = soon("the drop of the target's stream", &mut self.gone).await;
    }
}

struct Script {
    acts: UnboundedReceiver<Act>,
    _gone: oneshot::Sender<()>,
}

impl Stream for Script {
    type Item = Result<Event, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.acts.poll_recv(context).map(|act| match act? {
            Act::Event(event) => Some(Ok(event)),
            Act::Error(error) => Some(Err(error)),
            Act::Panic => panic!("a scripted panic"),
        })
    }
}

/// A target under a test's control: with a script it answers at once, else its work is handed out.
pub(super) struct Fake {
    target: Arc<Target>,
    script: Option<fn() -> Vec<Act>>,
    work: UnboundedSender<Work>,
    pub(super) sends: AtomicUsize,
}

impl Fake {
    pub(super) fn controlled(id: &str, locality: Locality) -> (Arc<Self>, UnboundedReceiver<Work>) {
        let (work, works) = unbounded_channel();
        (Arc::new(Self::new(id, locality, None, work)), works)
    }

    pub(super) fn scripted(id: &str, locality: Locality, script: fn() -> Vec<Act>) -> Arc<Self> {
        Arc::new(Self::new(id, locality, Some(script), unbounded_channel().0))
    }

    fn new(
        id: &str,
        locality: Locality,
        script: Option<fn() -> Vec<Act>>,
        work: UnboundedSender<Work>,
    ) -> Self {
        let target = Target {
            id: id.to_owned(),
            model: "tiny".to_owned(),
            locality,
            region: None,
            context_tokens: Some(2048),
            price: None,
            tools: true,
            images: false,
        };
        Self { target: Arc::new(target), script, work, sends: AtomicUsize::new(0) }
    }

    pub(super) fn sends(&self) -> usize {
        self.sends.load(Ordering::SeqCst)
    }
}

impl Backend for Fake {
    fn accepts(&self, request: &ChatRequest) -> Result<(), BackendError> {
        assert_ne!(request.messages[0].joined_text(), "panic", "a scripted panic");
        match request.extra.keys().next() {
            None => Ok(()),
            Some(field) => {
                let kind = lockgate_api::ErrorKind::Unsupported { field: field.clone() };
                Err(BackendError::new(kind, "not here"))
            }
        }
    }

    fn stream(&self, request: Arc<ChatRequest>, _: Permit, context: AttemptContext) -> Events {
        self.sends.fetch_add(1, Ordering::SeqCst);
        let (acts, acted) = unbounded_channel();
        let (gone, watch) = oneshot::channel();
        for act in self.script.map(|script| script()).unwrap_or_default() {
            let _ = acts.send(act);
        }
        let acts = self.script.is_none().then_some(acts);
        let _ = self.work.send(Work { acts, gone: watch, request, labels: context.labels.to_string() });
        Box::pin(Script { acts: acted, _gone: gone })
    }

    /// A vector a text: its length and its number of words. A script's error comes instead.
    fn embed(
        &self,
        ask: Embed,
        _: Permit,
        _: AttemptContext,
    ) -> Pin<Box<dyn Future<Output = Result<Embedded, BackendError>> + Send>> {
        self.sends.fetch_add(1, Ordering::SeqCst);
        let script = self.script.map(|script| script()).unwrap_or_default();
        let error = script.into_iter().find_map(|act| match act {
            Act::Error(error) => Some(error),
            _ => None,
        });
        let vector = |text: &String| vec![text.len() as f32, text.split(' ').count() as f32];
        let vectors = ask.inputs.iter().map(vector).collect();
        let embedded = Embedded { vectors, usage: Usage { input: 4, ..Usage::default() } };
        Box::pin(std::future::ready(error.map_or(Ok(embedded), Err)))
    }
}

/// The policy: the conversation's first word decides.
struct Policy;

impl Router for Policy {
    fn id(&self) -> &str {
        "scripted-policy"
    }

    fn route(
        &self,
        input: RouteInput,
    ) -> Pin<Box<dyn Future<Output = Result<Plan, PolicyError>> + Send + '_>> {
        let first = input.request.messages[0].joined_text();
        let permitted = input.catalog.iter().filter(|facts| facts.permitted);
        let attempts = permitted.map(|facts| PlannedAttempt::on(facts.target.id.clone())).collect();
        Box::pin(std::future::ready(match first.as_str() {
            "refuse" => Err(PolicyError::Refused { reason: "not this".to_owned() }),
            "trap" => Err(PolicyError::Trap { message: "inside".to_owned() }),
            "personal" => {
                Ok(Plan { attempts, add_labels: vec![lockgate_api::Label::LocalOnly], reason: String::new() })
            }
            _ => Ok(Plan { attempts, ..Plan::default() }),
        }))
    }
}

pub(super) fn serving(fakes: &[&Arc<Fake>], keys: Keys, options: GatewayOptions) -> Serving {
    serving_on_error(fakes, keys, options, OnError::Refuse)
}

pub(super) fn serving_on_error(
    fakes: &[&Arc<Fake>],
    keys: Keys,
    options: GatewayOptions,
    on_error: OnError,
) -> Serving {
    let one = |fake: &&Arc<Fake>| GatewayTarget {
        target: Arc::clone(&fake.target),
        backend: Arc::clone(fake) as Arc<dyn Backend>,
    };
    let targets = fakes.iter().map(one).collect();
    let route = Route { on_error, ..Route::of(Arc::new(Policy)) };
    let gateway = Gateway::new(targets, Policies::route(route), options).expect("the setup is sound");
    Serving { gateway, keys }
}

/// A server under test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) state: Arc<AppState>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub(super) async fn start(fakes: &[&Arc<Fake>]) -> Self {
        Self::with(serving(fakes, Keys::default(), GatewayOptions::default()), ServerOptions::default()).await
    }

    pub(super) async fn with_options(fakes: &[&Arc<Fake>], options: ServerOptions) -> Self {
        Self::with(serving(fakes, Keys::default(), GatewayOptions::default()), options).await
    }

    pub(super) async fn with(serving: Serving, options: ServerOptions) -> Self {
        Self::of(AppState::new(serving, Arc::new(|| Ok(None)), Registry::default(), options)).await
    }

    pub(super) async fn of(state: Arc<AppState>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&state);
        let task = tokio::spawn(async move {
            serve(vec![listener], serving, async {
                let _ = stopped.await;
            })
            .await
        });
        Self { address, state, stop: Some(stop), task }
    }

    /// Gives the signal to shut down.
    pub(super) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Completes when the server has shut down.
    pub(super) async fn stopped(self) {
        soon("the shutdown", self.task).await.expect("no panic").expect("no error");
    }

    pub(super) async fn connect(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.expect("the server accepts"))
    }

    /// One request on a connection of its own.
    pub(super) async fn send(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.write(request.as_bytes()).await;
        client.answer().await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    pub(super) async fn chat(&self, body: &Value) -> Answer {
        self.send(&chat_request("", body)).await
    }
}

/// A chat request with more header lines.
pub(super) fn chat_request(headers: &str, body: &Value) -> String {
    post("/v1/chat/completions", headers, &body.to_string())
}

pub(super) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// A conversation with that first message.
pub(super) fn ask(model: &str, first: &str, stream: bool) -> Value {
    json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": first }] })
}

/// A connection.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer's head.
pub(super) struct Head {
    pub(super) status: u16,
    headers: HashMap<String, String>,
}

impl Head {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.status
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The code of an error, whose shape is checked.
    pub(super) fn code(&self) -> String {
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("an error: {body}"));
        let mut names: Vec<_> = error.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["code", "message", "param", "type"]);
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{body}");
        error["code"].as_str().expect("a word").to_owned()
    }
}

impl Client {
    pub(super) fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    /// More bytes; false at the end.
    async fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        match soon("bytes from the server", self.stream.read(&mut piece)).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                true
            }
        }
    }

    async fn until(&mut self, mark: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                let taken: Vec<u8> = self.buffer.drain(..at + mark.len()).collect();
                return Some(String::from_utf8(taken).expect("text"));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next answer's head; `None` when the server closed the connection.
    pub(super) async fn try_head(&mut self) -> Option<Head> {
        let head = self.until(b"\r\n\r\n").await?;
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        };
        Some(Head { status, headers: lines.filter_map(pair).collect() })
    }

    pub(super) async fn head(&mut self) -> Head {
        self.try_head().await.expect("an answer")
    }

    /// The next chunk of a chunked body; empty at its end, `None` when it breaks off.
    pub(super) async fn chunk(&mut self) -> Option<String> {
        let size = self.until(b"\r\n").await?;
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        while self.buffer.len() < size + 2 {
            if !self.fill().await {
                return None;
            }
        }
        let data: Vec<u8> = self.buffer.drain(..size).collect();
        self.buffer.drain(..2);
        Some(String::from_utf8(data).expect("text"))
    }

    /// The rest of a chunked body.
    pub(super) async fn chunks(&mut self) -> String {
        let mut body = String::new();
        loop {
            let chunk = self.chunk().await.expect("the body is complete");
            if chunk.is_empty() {
                return body;
            }
            body.push_str(&chunk);
        }
    }

    pub(super) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let body = if head.header("transfer-encoding") == Some("chunked") {
            self.chunks().await
        } else {
            let length: usize =
                head.header("content-length").map_or(0, |length| length.parse().expect("a length"));
            while self.buffer.len() < length && self.fill().await {}
            let body: Vec<u8> = self.buffer.drain(..length.min(self.buffer.len())).collect();
            String::from_utf8(body).expect("text")
        };
        Answer { head, body }
    }

    /// Completes when the server has closed the connection.
    pub(super) async fn closed(&mut self) {
        while self.fill().await {}
    }
}
