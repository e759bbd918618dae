//! What a server has received, and what has become of its answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::request::Parts;
use serde_json::Value;
use tokio::sync::watch;

/// How long [`Record::wait_for_abandoned`] waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The request's target as it was sent: a path, or a whole URL when the client takes the server for a
    /// proxy.
    pub target: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Received {
    pub(crate) fn new(head: &Parts, body: Bytes) -> Self {
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        Self { method: head.method.to_string(), target: head.uri.to_string(), headers, body }
    }

    /// A header's first value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, or null.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a server remembers. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    abandoned: watch::Sender<usize>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            abandoned: watch::Sender::new(0),
        }
    }
}

impl Record {
    pub(crate) fn add(&self, received: Received) {
        self.0.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    }

    pub(crate) fn add_connection(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_abandoned(&self) {
        self.0.abandoned.send_modify(|count| *count += 1);
    }

    /// Every request so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.0.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests so far whose path ends like this.
    pub fn received_at(&self, suffix: &str) -> Vec<Received> {
        self.received().into_iter().filter(|request| request.target.ends_with(suffix)).collect()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// How many answers were given up by the client before their end.
    pub fn abandoned(&self) -> usize {
        *self.0.abandoned.borrow()
    }

    /// Waits until at least this many answers were given up; false after ten seconds.
    pub async fn wait_for_abandoned(&self, count: usize) -> bool {
        let mut abandoned = self.0.abandoned.subscribe();
        tokio::time::timeout(PATIENCE, abandoned.wait_for(|seen| *seen >= count))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }
}
