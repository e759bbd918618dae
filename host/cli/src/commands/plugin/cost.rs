//! What one call of a component costs here: a small world, a plain request, many calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_api::{
    ChatRequest, Chunk, ChunkKind, Guard as _, Health, HookInput, Labels, Locality, Message, Place,
    PolicyError, PrepareInput, Preprocessor as _, Role, RouteInput, Router as _, Scope, Target, TargetFacts,
    TokenHooks as _, Vocabulary, WatchInput,
};
use lockgate_sandbox::{AdapterPlugin, GuardPlugin, PreprocessorPlugin, RouterPlugin};

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

/// Of steering one token.
pub(super) async fn of_adapter(adapter: &AdapterPlugin) -> String {
    if adapter.description().steers.is_none() {
        return "none: it steers no token".to_owned();
    }
    let input = HookInput {
        request_id: "check".into(),
        request: request(),
        choice: 0,
        labels: Arc::default(),
        vocabulary: Arc::new(Bytes::new()),
    };
    let mut hook = match adapter.begin(input).await {
        Ok(hook) => Some(hook),
        Err(PolicyError::Refused { reason }) => {
            return format!("not measured: it refuses to steer ({reason})");
        }
        Err(error) => return format!("failed before an answer: {error}"),
    };
    let top = (0..u32::from(Bytes::END)).take(adapter.top()).map(|token| (token, -(token as f32)));
    let place = Place { chosen: Some(u32::from(b'a')), top: top.collect() };
    let what = format!("for a token, the {} most likely in view", place.top.len());
    timed(&what, async || {
        let Some(asked) = hook.take() else { return Ok(()) };
        hook = Some(asked.next(place.clone()).await?.0);
        Ok(())
    })
    .await
}

/// The 256 bytes as tokens, and one that ends an answer.
struct Bytes(Vec<u8>);

impl Bytes {
    const END: u16 = 256;

    fn new() -> Self {
        Self((0..=u8::MAX).collect())
    }
}

impl Vocabulary for Bytes {
    fn size(&self) -> u32 {
        u32::from(Self::END) + 1
    }

    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        Some(text.bytes().map(u32::from).collect())
    }

    fn bytes(&self, token: u32) -> &[u8] {
        self.0.get(token as usize).map(std::slice::from_ref).unwrap_or_default()
    }

    fn ends(&self) -> Vec<u32> {
        vec![u32::from(Self::END)]
    }
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
    TargetFacts { target: Arc::new(target), health: Health::default(), permitted: true, adapters: Vec::new() }
}
