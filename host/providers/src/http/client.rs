//! Requests over kept connections: send, stream the answer, give the connection back.
//!
//! One connection carries one request at a time. It returns to the pool when its answer was read to the
//! end; an answer dropped before that closes it, which is how a server learns that nobody listens.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::Instant;

use super::connect::{ConnectError, Connector};
use super::endpoint::Endpoint;

/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// How many unused connections are kept.
const IDLE_CONNECTIONS_MAX: usize = 128;
/// How long the rest of an answer may take after all that matters was read.
const DRAIN_MAX: Duration = Duration::from_secs(1);

type Sender = SendRequest<Full<Bytes>>;

/// A client of one server.
pub(crate) struct HttpClient {
    connector: Connector,
    host: HeaderValue,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// The head of an answer, and its body to come.
pub(crate) struct Answer {
    /// Status and headers.
    pub(crate) head: http::response::Parts,
    /// The body.
    pub(crate) body: AnswerBody,
}

/// A body as it arrives.
pub(crate) struct AnswerBody {
    incoming: Incoming,
    /// Taken when the connection goes back to the pool.
    sender: Option<Sender>,
    client: Arc<HttpClient>,
}

/// A request that got no answer.
#[derive(Debug, Error)]
#[error("{problem}")]
pub(crate) struct SendError {
    /// What happened.
    pub(crate) problem: SendProblem,
    /// Whether any byte of it may have been sent.
    pub(crate) dispatched: bool,
}

/// Why a request got no answer.
#[derive(Debug, Error)]
pub(crate) enum SendProblem {
    /// No connection.
    #[error(transparent)]
    Connect(ConnectError),
    /// The connection ended, or carried something that is not HTTP.
    #[error("{0}")]
    Exchange(String),
}

/// A body that did not arrive whole.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct BodyError(String);

impl HttpClient {
    /// A client without any connection yet.
    ///
    /// # Errors
    /// When the server's name cannot stand in a header.
    pub(crate) fn new(connector: Connector) -> Result<Self, String> {
        let host = HeaderValue::from_str(connector.endpoint().authority())
            .map_err(|_| "has a host that cannot be sent".to_owned())?;
        Ok(Self { connector, host, idle: Mutex::default() })
    }

    /// The server.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// Sends one request. `path` starts with a slash. Waits for the answer's head without a limit, but at
    /// most `connect_limit` for a connection.
    ///
    /// # Errors
    /// [`SendError::dispatched`] is false only when certainly nothing was sent.
    pub(crate) async fn send(
        self: &Arc<Self>,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        connect_limit: Duration,
    ) -> Result<Answer, SendError> {
        let unsent = |problem| SendError { problem, dispatched: false };
        let mut request = self
            .request(method, path, headers, body)
            .map_err(|error| unsent(SendProblem::Exchange(error)))?;
        loop {
            let kept = self.take_kept(connect_limit).await;
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => {
                    self.open(connect_limit).await.map_err(|error| unsent(SendProblem::Connect(error)))?
                }
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.answer(response, sender)),
                Err(mut failure) => match failure.take_message() {
                    // A kept connection that turned out to be closed took nothing: try the next.
                    Some(unsent_request) if !fresh => request = unsent_request,
                    Some(_) => return Err(unsent(SendProblem::Exchange(failure.into_error().to_string()))),
                    None => {
                        let problem = SendProblem::Exchange(words(&failure.into_error()));
                        return Err(SendError { problem, dispatched: true });
                    }
                },
            }
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let proxy = self.connector.forwarding_proxy();
        let target = match proxy {
            Some(_) => format!("{}{path}", self.endpoint().origin()),
            None => path.to_owned(),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(target).map_err(|error| error.to_string())?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.clone()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
        Ok(request)
    }

    fn answer(self: &Arc<Self>, response: Response<Incoming>, sender: Sender) -> Answer {
        let (head, incoming) = response.into_parts();
        Answer { head, body: AnswerBody { incoming, sender: Some(sender), client: Arc::clone(self) } }
    }

    async fn open(&self, limit: Duration) -> Result<Sender, ConnectError> {
        let stream = self.connector.connect(limit).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::Failed(std::io::Error::other(words(&error))))?;
        // Ends by itself when the sender and the answer's body are gone, or the server closes.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %words(&error), "connection to a provider ended");
            }
        });
        Ok(sender)
    }

    /// The most recently used connection that is still open.
    async fn take_kept(&self, limit: Duration) -> Option<Sender> {
        loop {
            let kept = self.lock().pop()?;
            let mut sender = kept.sender;
            if sender.is_closed() || kept.since.elapsed() > IDLE_MAX {
                continue;
            }
            // The task that drives it may not have run since its last answer ended.
            if matches!(tokio::time::timeout(limit, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() >= IDLE_CONNECTIONS_MAX {
            idle.retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() <= IDLE_MAX);
        }
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AnswerBody {
    /// The next bytes; `None` at the end, after which the connection is kept for another request.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = self.frame().await {
            if let Ok(bytes) = frame?.into_data()
                && !bytes.is_empty()
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it is longer than `bytes_max` or does not arrive whole.
    pub(crate) async fn read_all(&mut self, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if whole.len() + bytes.len() > bytes_max {
                return Err(BodyError(format!("the answer is longer than {bytes_max} bytes")));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }

    /// Reads what is left, which does not matter any more, so that the connection can be kept. Gives up
    /// after a second, or where more than a few bytes follow; the connection is then closed.
    pub(crate) fn finish(mut self) {
        if self.sender.is_none() {
            return;
        }
        tokio::spawn(async move {
            let rest = tokio::time::timeout(DRAIN_MAX, self.read_all(64 * 1024)).await;
            tracing::trace!(kept = matches!(rest, Ok(Ok(_))), "rest of an answer");
        });
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    /// `None` only when the body was read to its end: the connection then serves another request.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        if frame.is_none()
            && let Some(sender) = self.sender.take()
        {
            self.client.keep(sender);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError(words(&error)))))
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// An error of the HTTP layer with its cause. These never quote headers or bodies.
fn words(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
