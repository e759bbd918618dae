//! Leads an answer through its guards: each choice's events through its own watchers, in order.
//!
//! What one guard lets through is what the next one sees. An event is taken from the target only when
//! everything before it has been decided about, so that the answer stays a stream and nothing piles up. A
//! guard that stops a choice ends it with the reason `content_filter`; one that fails ends the answer with an
//! error. Log-probabilities are left out, since they repeat the text.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use lockgate_api::{
    BackendError, Chunk, ChunkKind, ErrorKind, Event, FinishReason, PolicyError, Verdict, Watch,
};
use tracing::{debug, warn};

use crate::running::Running;
use crate::window::{Head, Run, Settled, Strand};

/// A guard's watcher of one choice.
pub(crate) struct Stage {
    /// The guard's id.
    pub(crate) guard: Arc<str>,
    pub(crate) watch: Box<dyn Watch>,
    run: Option<Run>,
    /// The tool of each call so far.
    tools: Vec<String>,
}

/// What all stages of an answer are told.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) request_id: Arc<str>,
    /// Whether what a guard says must stay out of logs.
    pub(crate) withhold: bool,
    /// The longest that one call of a guard may take.
    pub(crate) limit: Duration,
}

/// An answer behind its guards.
pub(crate) struct Guarded {
    /// Gone as soon as nothing more is wanted of the target.
    running: Option<Running>,
    choices: Vec<Choice>,
    /// Choices that the target has not finished.
    unfinished: usize,
    ready: VecDeque<Event>,
    rules: Rules,
}

#[derive(Default)]
struct Choice {
    stages: Vec<Stage>,
    is_over: bool,
}

/// A guard that failed, and how.
struct Failed {
    guard: Arc<str>,
    error: PolicyError,
}

/// Whether a choice goes on behind a stage.
enum Fed {
    GoesOn,
    Stopped(String),
}

impl Guarded {
    /// `stages` has the stages of each choice.
    pub(crate) fn new(running: Running, stages: Vec<Vec<Stage>>, rules: Rules) -> Self {
        let unfinished = stages.len();
        let choices = stages.into_iter().map(|stages| Choice { stages, is_over: false }).collect();
        Self { running: Some(running), choices, unfinished, ready: VecDeque::new(), rules }
    }

    /// The answer as it is let through.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Event, BackendError>> + Send {
        futures_util::stream::unfold(self, |mut guarded| async move {
            let item = guarded.next().await?;
            Some((item, guarded))
        })
    }

    async fn next(&mut self) -> Option<Result<Event, BackendError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            match self.running.as_mut()?.next().await {
                Some(Ok(event)) => {
                    if let Err(failed) = self.lead(event).await {
                        self.running = None;
                        return Some(Err(self.failure(failed)));
                    }
                }
                Some(Err(error)) => {
                    // What is held back goes with the guards.
                    self.running = None;
                    return Some(Err(error));
                }
                None => {
                    self.running = None;
                    return None;
                }
            }
        }
    }

    /// Leads one event of the target's through the stages of its choice.
    async fn lead(&mut self, event: Event) -> Result<(), Failed> {
        let (Event::Text { choice: number, .. }
        | Event::Reasoning { choice: number, .. }
        | Event::ToolCall { choice: number, .. }
        | Event::Finish { choice: number, .. }) = event
        else {
            self.ready.push_back(event);
            return Ok(());
        };
        if matches!(event, Event::Finish { .. }) {
            self.unfinished = self.unfinished.saturating_sub(1);
        }
        let Some(choice) = self.choices.get_mut(number as usize).filter(|choice| !choice.is_over) else {
            // Stopped before: what the target still says of it is for nobody.
            return Ok(());
        };
        let mut events = vec![event];
        for stage in &mut choice.stages {
            let mut let_through = Vec::with_capacity(events.len());
            for event in events {
                let fed = stage.feed(number, event, &mut let_through, self.rules.limit).await;
                match fed.map_err(|error| Failed { guard: Arc::clone(&stage.guard), error })? {
                    Fed::GoesOn => {}
                    Fed::Stopped(reason) => {
                        self.rules.tell_stop(&stage.guard, &reason);
                        let reason = FinishReason::ContentFilter;
                        let_through.push(Event::Finish { choice: number, reason });
                        break;
                    }
                }
            }
            events = let_through;
        }
        choice.is_over = matches!(events.last(), Some(Event::Finish { .. }));
        self.ready.extend(events);
        if self.unfinished > 0 && self.choices.iter().all(|choice| choice.is_over) {
            // Every choice was stopped or has ended: the target need not go on.
            self.running = None;
        }
        Ok(())
    }

    fn failure(&self, Failed { guard, error }: Failed) -> BackendError {
        let request = &self.rules.request_id;
        // What a plugin writes counts as payload.
        if self.rules.withhold {
            warn!(%request, %guard, kind = error.kind(), "guard failed");
        } else {
            warn!(%request, %guard, kind = error.kind(), %error, "guard failed");
        }
        let kind = error.kind();
        let message =
            format!("the guard `{guard}` failed ({kind}), and nothing more of the answer is let through");
        BackendError::new(ErrorKind::Guard, message).dispatched()
    }
}

impl Rules {
    fn tell_stop(&self, guard: &str, reason: &str) {
        let request = &self.request_id;
        if self.withhold {
            debug!(%request, %guard, "stopped by its guard");
        } else {
            debug!(%request, %guard, %reason, "stopped by its guard");
        }
    }
}

impl Stage {
    pub(crate) fn new(guard: Arc<str>, watch: Box<dyn Watch>) -> Self {
        Self { guard, watch, run: None, tools: Vec::new() }
    }

    /// Shows the guard one event; what it lets through is appended.
    async fn feed(
        &mut self,
        choice: u32,
        event: Event,
        let_through: &mut Vec<Event>,
        limit: Duration,
    ) -> Result<Fed, PolicyError> {
        let (strand, head, text) = match event {
            Event::Text { text, .. } => (Strand::Text, None, text),
            Event::Reasoning { text, .. } => (Strand::Reasoning, None, text),
            Event::ToolCall { index, id, name, arguments, .. } => {
                let is_first = index as usize >= self.tools.len();
                if is_first {
                    self.tools.push(name.clone().unwrap_or_default());
                }
                let head = (is_first || id.is_some() || name.is_some()).then_some(Head { id, name });
                (Strand::Call(index), head, arguments)
            }
            event @ Event::Finish { .. } => {
                let fed = self.finish(choice, let_through, limit).await?;
                if matches!(fed, Fed::GoesOn) {
                    let_through.push(event);
                }
                return Ok(fed);
            }
            Event::Start { .. } | Event::Usage(_) => return Ok(Fed::GoesOn),
        };
        if text.is_empty() && head.is_none() {
            return Ok(Fed::GoesOn);
        }
        if self.run.as_ref().is_some_and(|run| run.strand() != strand)
            && let stopped @ Fed::Stopped(_) = self.end_run(let_through, limit).await?
        {
            return Ok(stopped);
        }
        let run = self.run.get_or_insert_with(|| Run::new(choice, strand));
        let kind = match strand {
            Strand::Text => ChunkKind::Text,
            Strand::Reasoning => ChunkKind::Reasoning,
            Strand::Call(index) => {
                ChunkKind::Arguments { tool: self.tools.get(index as usize).map_or("", String::as_str) }
            }
        };
        let asked = self.watch.on_chunk(Chunk { kind, text: &text });
        let verdict = within(limit, asked).await?;
        run.push(head, &text);
        settle(run, verdict, true, let_through)
    }

    /// Ends the run that is under way.
    async fn end_run(&mut self, let_through: &mut Vec<Event>, limit: Duration) -> Result<Fed, PolicyError> {
        let Some(mut run) = self.run.take() else { return Ok(Fed::GoesOn) };
        let verdict = within(limit, self.watch.end_run()).await?;
        settle(&mut run, verdict, false, let_through)
    }

    async fn finish(
        &mut self,
        choice: u32,
        let_through: &mut Vec<Event>,
        limit: Duration,
    ) -> Result<Fed, PolicyError> {
        if let stopped @ Fed::Stopped(_) = self.end_run(let_through, limit).await? {
            return Ok(stopped);
        }
        let verdict = within(limit, self.watch.finish()).await?;
        settle(&mut Run::new(choice, Strand::Text), verdict, false, let_through)
    }
}

fn settle(
    run: &mut Run,
    verdict: Verdict,
    goes_on: bool,
    let_through: &mut Vec<Event>,
) -> Result<Fed, PolicyError> {
    match run.settle(verdict, goes_on)? {
        Settled::Goes(event) => {
            let_through.extend(event);
            Ok(Fed::GoesOn)
        }
        Settled::Stopped(reason) => Ok(Fed::Stopped(reason)),
    }
}

/// The sandbox has tighter limits of its own; this one holds for any guard.
async fn within(
    limit: Duration,
    asked: impl Future<Output = Result<Verdict, PolicyError>>,
) -> Result<Verdict, PolicyError> {
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        Err(PolicyError::Limit { limit: format!("no verdict within {:.1} s", limit.as_secs_f64()) })
    })
}
