//! What one call of a component costs here: a small world, a plain request, many calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_api::{
    ChatRequest, Chunk, ChunkKind, Guard as _, Health, Labels, Locality, Message, PolicyError, PrepareInput,
    Preprocessor as _, Role, RouteInput, Router as _, Scope, Target, TargetFacts, WatchInput,
};
use lockgate_sandbox::{GuardPlugin, PreprocessorPlugin, RouterPlugin};

/// Bytes of the prompt of the calls that are timed.
const PROMPT_BYTES: usize = 4 << 10;
/// Calls before those that are timed.
const WARM_UP_CALLS: usize = 50;
const CALLS: usize = 1000;
/// What all timed calls may take together.
const TIME_MAX: Duration = Duration::from_secs(5);
const SENTENCE: &str = "The committee met on Tuesday and asked whether the new library could open earlier. ";
/// A piece of an answer as a model writes it.
const CHUNK: &str = " committee";

/// Of a decision.
pub(super) async fn of_router(router: &RouterPlugin) -> String {
    let catalog: Arc<[TargetFacts]> =
        [target("here", Locality::Local), target("cloud", Locality::Cloud)].into();
    let request = request();
    let what = format!("with a prompt of {PROMPT_BYTES} bytes");
    timed(&what, async || {
        router
            .route(RouteInput {
                request_id: "check".into(),
                request: Arc::clone(&request),
                labels: Arc::default(),
                catalog: Arc::clone(&catalog),
                key: None,
                scope: scope(),
            })
            .await
            .map(drop)
    })
    .await
}

/// Of preparing a request.
pub(super) async fn of_preprocessor(preprocessor: &PreprocessorPlugin) -> String {
    let request = request();
    let what = format!("with a prompt of {PROMPT_BYTES} bytes");
    timed(&what, async || {
        preprocessor
            .prepare(PrepareInput {
                request_id: "check".into(),
                request: Arc::clone(&request),
                labels: Arc::default(),
                key: None,
                scope: scope(),
            })
            .await
            .map(drop)
    })
    .await
}

/// Of watching one chunk.
pub(super) async fn of_guard(guard: &GuardPlugin) -> String {
    let scope = scope();
    scope.settle();
    let input = WatchInput {
        request_id: "check".into(),
        choice: 0,
        labels: Arc::default(),
        key: None,
        note: None,
        scope,
    };
    let mut watch = match guard.watch(input).await {
        Ok(watch) => watch,
        Err(PolicyError::Refused { reason }) => {
            return format!("not measured: it refuses to watch ({reason})");
        }
        Err(error) => return format!("failed before an answer: {error}"),
    };
    let what = format!("with a chunk of {} bytes", CHUNK.len());
    timed(&what, async || watch.on_chunk(Chunk { kind: ChunkKind::Text, text: CHUNK }).await.map(drop)).await
}

/// The times of many calls, in words.
async fn timed(what: &str, mut call: impl AsyncFnMut() -> Result<(), PolicyError>) -> String {
    let mut times = Vec::with_capacity(CALLS);
    let began = Instant::now();
    for number in 0..WARM_UP_CALLS + CALLS {
        let start = Instant::now();
        match call().await {
            Ok(()) | Err(PolicyError::Refused { .. }) => {}
            Err(error) => return format!("failed on a plain request: {error}"),
        }
        if number >= WARM_UP_CALLS {
            times.push(start.elapsed());
        }
        if began.elapsed() > TIME_MAX && !times.is_empty() {
            break;
        }
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    format!(
        "{:.1} µs median, {:.1} µs at the 99th percentile, of {} calls {what}",
        at(0.5),
        at(0.99),
        times.len()
    )
}

fn request() -> Arc<ChatRequest> {
    let prompt: String = SENTENCE.chars().cycle().take(PROMPT_BYTES).collect();
    Arc::new(ChatRequest::new("auto", vec![Message::text(Role::User, prompt)]))
}

/// A scope a call: labels and writes of one are not the next one's.
fn scope() -> Arc<Scope> {
    Scope::new("check".into(), Arc::new(Labels::none()), None)
}

fn target(id: &str, locality: Locality) -> TargetFacts {
    let target = Target {
        id: id.to_owned(),
        model: id.to_owned(),
        locality,
        region: None,
        context_tokens: Some(8192),
        price: None,
        tools: true,
        images: false,
    };
    TargetFacts { target: Arc::new(target), health: Health::default(), permitted: true }
}
