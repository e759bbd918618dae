//! Scripts: what to answer, byte by byte where it matters, and in which order.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_stream::stream;
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::StreamExt;

use crate::record::Record;

/// An answer byte by byte: for servers that misbehave.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The status.
    pub status: u16,
    /// Headers beside those of the framing.
    pub headers: Vec<(String, String)>,
    /// How long to wait before the head is sent.
    pub before: Duration,
    /// The body.
    pub steps: Vec<Step>,
}

/// A step of a body.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes.
    Bytes(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Sends nothing more and keeps the connection.
    Hang,
    /// Closes the connection in the middle of the body.
    Cut,
}

impl Step {
    /// Sends text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bytes(text.into().into_bytes())
    }

    /// Sends each byte on its own.
    pub fn bytewise(text: &str) -> Vec<Self> {
        text.bytes().map(|byte| Self::Bytes(vec![byte])).collect()
    }
}

impl Raw {
    /// A successful answer of these steps.
    pub fn ok(content_type: &str, steps: Vec<Step>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            before: Duration::ZERO,
            steps,
        }
    }

    /// An answer of this status and text.
    pub fn status(status: u16, text: &str) -> Self {
        Self { status, headers: Vec::new(), before: Duration::ZERO, steps: vec![Step::text(text)] }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, the head coming later.
    #[must_use]
    pub fn before(mut self, delay: Duration) -> Self {
        self.before = delay;
        self
    }

    pub(crate) async fn respond(self, record: &Record) -> Response {
        let mut guard = Guard { record: record.clone(), ended: false };
        tokio::time::sleep(self.before).await;
        let steps = self.steps;
        let body = stream! {
            for step in steps {
                match step {
                    Step::Bytes(bytes) => {
                        yield Ok(Bytes::from(bytes));
                        // Lets the server write this before the next step is taken.
                        tokio::task::yield_now().await;
                    }
                    Step::Wait(delay) => tokio::time::sleep(delay).await,
                    Step::Hang => std::future::pending().await,
                    Step::Cut => {
                        guard.end();
                        yield Err(io::Error::other("cut by the script"));
                        return;
                    }
                }
            }
            guard.end();
        };
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let body = Body::from_stream(body.boxed());
        response.body(body).expect("the script's status and headers are valid")
    }
}

/// Notices a body that is dropped before its end.
struct Guard {
    record: Record,
    ended: bool,
}

impl Guard {
    fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.ended {
            self.record.add_abandoned();
        }
    }
}

/// Replies by model: each is used once, the last one for ever.
#[derive(Debug)]
pub(crate) struct Replies<R>(Mutex<HashMap<String, VecDeque<R>>>);

impl<R> Default for Replies<R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<R: Clone> Replies<R> {
    pub(crate) fn set(&self, model: &str, replies: impl IntoIterator<Item = R>) {
        self.lock().insert(model.to_owned(), replies.into_iter().collect());
    }

    pub(crate) fn next(&self, model: &str) -> Option<R> {
        let mut all = self.lock();
        let replies = all.get_mut(model)?;
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
    }

    pub(crate) fn models(&self) -> Vec<String> {
        let mut models: Vec<String> = self.lock().keys().cloned().collect();
        models.sort();
        models
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, VecDeque<R>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
