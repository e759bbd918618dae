//! Scripted preprocessors and guards.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_core::future::BoxFuture;
use lockgate_api::{
    Chunk, ChunkKind, Guard, PolicyError, PrepareInput, Prepared, Preprocessor, Verdict, Watch, WatchInput,
};

type Act = Box<dyn Fn(&PrepareInput) -> Result<Prepared, PolicyError> + Send + Sync>;

/// A preprocessor that acts by a function, or never.
pub(super) struct FakePreprocessor {
    id: &'static str,
    act: Option<Act>,
    pub(super) seen: Mutex<Vec<PrepareInput>>,
}

impl FakePreprocessor {
    pub(super) fn new(
        id: &'static str,
        act: impl Fn(&PrepareInput) -> Result<Prepared, PolicyError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { id, act: Some(Box::new(act)), seen: Mutex::default() })
    }

    pub(super) fn hanging(id: &'static str) -> Arc<Self> {
        Arc::new(Self { id, act: None, seen: Mutex::default() })
    }

    pub(super) fn asked(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

/// The request as it was given.
pub(super) fn unchanged(input: &PrepareInput) -> Prepared {
    Prepared { request: Arc::clone(&input.request), add_labels: Vec::new(), note: None }
}

impl Preprocessor for FakePreprocessor {
    fn id(&self) -> &str {
        self.id
    }

    fn prepare(&self, input: PrepareInput) -> BoxFuture<'_, Result<Prepared, PolicyError>> {
        self.seen.lock().expect("no panic").push(input.clone());
        Box::pin(async move {
            match &self.act {
                Some(act) => act(&input),
                None => std::future::pending().await,
            }
        })
    }
}

/// What a guard's instance was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// What it is part of, and its text.
    Chunk(String, String),
    EndRun,
    Finish,
}

/// An answer to one question; none means never.
pub(super) type Reply = Option<Result<Verdict, PolicyError>>;
type Say = Box<dyn FnMut(&Asked) -> Reply + Send>;
type Begin = Box<dyn Fn(&WatchInput) -> Result<Say, PolicyError> + Send + Sync>;

/// A guard whose instances answer by a function.
pub(super) struct FakeGuard {
    id: &'static str,
    begin: Begin,
    pub(super) seen: Arc<Mutex<Vec<Asked>>>,
    pub(super) begun: Mutex<Vec<WatchInput>>,
}

impl FakeGuard {
    pub(super) fn beginning(
        id: &'static str,
        begin: impl Fn(&WatchInput) -> Result<Say, PolicyError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { id, begin: Box::new(begin), seen: Arc::default(), begun: Mutex::default() })
    }

    /// The same function for every choice.
    pub(super) fn new(
        id: &'static str,
        say: impl Fn(&Asked) -> Reply + Send + Sync + Clone + 'static,
    ) -> Arc<Self> {
        Self::beginning(id, move |_| Ok(Box::new(say.clone())))
    }

    /// These verdicts on chunks in turn, and then it passes everything.
    pub(super) fn verdicts(id: &'static str, verdicts: &[Verdict]) -> Arc<Self> {
        let verdicts: VecDeque<Verdict> = verdicts.iter().cloned().collect();
        Self::beginning(id, move |_| {
            let mut verdicts = verdicts.clone();
            Ok(Box::new(move |asked| {
                let next = match asked {
                    Asked::Chunk(..) => verdicts.pop_front(),
                    Asked::EndRun | Asked::Finish => None,
                };
                Some(Ok(next.unwrap_or(Verdict::Pass)))
            }))
        })
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Guard for FakeGuard {
    fn id(&self) -> &str {
        self.id
    }

    fn watch(&self, input: WatchInput) -> BoxFuture<'_, Result<Box<dyn Watch>, PolicyError>> {
        let say = (self.begin)(&input);
        self.begun.lock().expect("no panic").push(input);
        let seen = Arc::clone(&self.seen);
        Box::pin(async move { Ok(Box::new(FakeWatch { say: say?, seen }) as Box<dyn Watch>) })
    }
}

struct FakeWatch {
    say: Say,
    seen: Arc<Mutex<Vec<Asked>>>,
}

impl FakeWatch {
    async fn ask(&mut self, asked: Asked) -> Result<Verdict, PolicyError> {
        let reply = (self.say)(&asked);
        self.seen.lock().expect("no panic").push(asked);
        match reply {
            Some(reply) => reply,
            None => std::future::pending().await,
        }
    }
}

impl Watch for FakeWatch {
    fn on_chunk<'a>(&'a mut self, chunk: Chunk<'a>) -> BoxFuture<'a, Result<Verdict, PolicyError>> {
        let kind = match chunk.kind {
            ChunkKind::Text => "text",
            ChunkKind::Reasoning => "reasoning",
            ChunkKind::Arguments { tool } => tool,
        };
        Box::pin(self.ask(Asked::Chunk(kind.to_owned(), chunk.text.to_owned())))
    }

    fn end_run(&mut self) -> BoxFuture<'_, Result<Verdict, PolicyError>> {
        Box::pin(self.ask(Asked::EndRun))
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<Verdict, PolicyError>> {
        Box::pin(self.ask(Asked::Finish))
    }
}
