//! A simulated model with an adapter's component on it: what the component makes of a request, and what it makes of the
//! text that the model wants to say.
//!
//! The component is the real one, asked once a token as in production. The model is not: its tokens are the 256 bytes
//! and one that ends an answer, and at each place of an answer it likes best the byte that the reply has there. Weights
//! and templates change nothing here, since there is no model for them.

use std::sync::Arc;

use lockgate_api::{
    AttemptContext, BackendError, ChatRequest, FinishReason, HookInput, Mask, Message, Place, Role, Steering,
    Step, TokenHook, TokenHooks as _, Vocabulary, hook_failed,
};
use lockgate_sandbox::AdapterPlugin;

use super::reply::Answer;

/// The token that ends an answer; those below it are bytes.
const END: u32 = 256;
/// Bytes for each token that a client or adapter allows: answers are counted so here.
const TOKEN_BYTES: usize = 4;
/// Bytes of an answer where nobody says how long it may be, beyond the reply's own.
const MORE_BYTES_MAX: usize = 4096;
/// How much better the model likes the byte that it wants than any other.
const WANTED_LOGIT: f32 = 20.0;

/// What an adapter does to a request before the model reads it.
pub(crate) fn prepared(adapter: &AdapterPlugin, request: Arc<ChatRequest>) -> Arc<ChatRequest> {
    let description = adapter.description();
    let has_system = request.messages.first().is_some_and(|message| message.role == Role::System);
    let mut changed = (*request).clone();
    if let (Some(system), false) = (&description.system, has_system) {
        changed.messages.insert(0, Message::text(Role::System, system.clone()));
    }
    changed.sampling.max_tokens = changed.sampling.max_tokens.or(description.sampling.max_tokens);
    changed.sampling.stop.extend(description.sampling.stop.iter().cloned());
    Arc::new(changed)
}

/// The hooks of an answer, one a choice; none where the adapter has no word about tokens.
pub(crate) struct Hooks {
    of: Vec<Box<dyn TokenHook>>,
    top: usize,
    id: String,
}

impl Hooks {
    /// Begins them, as production does before the model is asked.
    pub(crate) async fn begin(
        adapter: &AdapterPlugin,
        request: &Arc<ChatRequest>,
        context: &AttemptContext,
    ) -> Result<Self, BackendError> {
        let mut hooks = Self { of: Vec::new(), top: adapter.top(), id: adapter.id().to_owned() };
        if adapter.description().steers.is_none() {
            return Ok(hooks);
        }
        for choice in 0..request.choices {
            let input = HookInput {
                request_id: Arc::clone(&context.request_id),
                request: Arc::clone(request),
                choice,
                labels: Arc::clone(&context.labels),
                vocabulary: Arc::new(Bytes::default()),
            };
            let hook = adapter.begin(input).await.map_err(|error| hook_failed(&hooks.id, &error))?;
            hooks.of.push(hook);
        }
        Ok(hooks)
    }

    /// What becomes of a reply, by choice: its text steered, cut at the stop strings and at the longest allowed.
    pub(crate) async fn say(
        self,
        answer: &Answer,
        request: &ChatRequest,
    ) -> Result<Vec<Answer>, BackendError> {
        let wanted = answer.text.as_deref().unwrap_or_default();
        let mut hooks = self.of.into_iter();
        let mut answers = Vec::new();
        for _ in 0..request.choices {
            let (bytes, is_whole) = match hooks.next() {
                None => (wanted.as_bytes().to_vec(), true),
                Some(hook) => {
                    let longest = bytes_max(request).unwrap_or(wanted.len() + MORE_BYTES_MAX);
                    let said = steered(hook, self.top, wanted.as_bytes(), longest).await;
                    said.map_err(|error| hook_failed(&self.id, &error))?
                }
            };
            let (text, is_whole) = ended(&String::from_utf8_lossy(&bytes), request, is_whole);
            let finish = if is_whole { answer.finish.clone() } else { Some(FinishReason::Length) };
            answers.push(Answer { text: Some(text), finish, ..answer.clone() });
        }
        Ok(answers)
    }
}

fn bytes_max(request: &ChatRequest) -> Option<usize> {
    request.sampling.max_tokens.map(|tokens| (tokens as usize).saturating_mul(TOKEN_BYTES))
}

/// A text cut where a stop string begins or where it is too long, and whether it ended of itself.
fn ended(text: &str, request: &ChatRequest, is_whole: bool) -> (String, bool) {
    let stop =
        request.sampling.stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min();
    let longest = bytes_max(request).unwrap_or(usize::MAX);
    match stop {
        Some(stop) if stop <= longest => (text[..stop].to_owned(), true),
        _ if text.len() > longest => (text[..text.floor_char_boundary(longest)].to_owned(), false),
        _ => (text.to_owned(), is_whole),
    }
}

/// The bytes that come when a hook has a word about each, and whether they came to an end.
async fn steered(
    mut hook: Box<dyn TokenHook>,
    top: usize,
    wanted: &[u8],
    bytes_max: usize,
) -> Result<(Vec<u8>, bool), lockgate_api::PolicyError> {
    let mut said = Vec::new();
    let mut steering = Steering::default();
    loop {
        let best = wanted.get(said.len()).map_or(END, |&byte| u32::from(byte));
        let chosen = said.last().map(|&byte| u32::from(byte));
        let (same, step) = hook.next(Place { chosen, top: likeliest(best, top) }).await?;
        hook = same;
        match step {
            Step::AsBefore => {}
            Step::Steer(now) => steering = now,
            Step::Stop => return Ok((said, true)),
        }
        match pick(best, &steering) {
            // Nothing may come, so that nothing more does.
            None | Some(END) => return Ok((said, true)),
            Some(_) if said.len() >= bytes_max => return Ok((said, false)),
            Some(token) => said.extend(u8::try_from(token)),
        }
    }
}

/// How much the model likes a token: the one it wants far more than all others, and those by their number.
fn logit(token: u32, best: u32) -> f32 {
    // Numbers this small are exact.
    if token == best { WANTED_LOGIT } else { -(token as f32) / 256.0 }
}

/// The most likely tokens, most likely first.
fn likeliest(best: u32, count: usize) -> Vec<(u32, f32)> {
    let others = (0..=END).filter(|&token| token != best);
    std::iter::once(best).chain(others).take(count).map(|token| (token, logit(token, best))).collect()
}

/// The best token that may come.
fn pick(best: u32, steering: &Steering) -> Option<u32> {
    let may = |token: &u32| match &steering.mask {
        Mask::All => true,
        Mask::Only(only) => only.contains(token),
        Mask::Never(never) => !never.contains(token),
    };
    let bias = |token: u32| -> f32 {
        steering.biases.iter().filter(|(biased, _)| *biased == token).map(|(_, add)| add).sum()
    };
    let liked = |token: &u32| logit(*token, best) + bias(*token);
    // Of equals the first, as everywhere.
    (0..=END).filter(may).max_by(|one, other| liked(one).total_cmp(&liked(other)).then(other.cmp(one)))
}

/// The tokens of the simulated model.
struct Bytes([u8; 256]);

impl Default for Bytes {
    fn default() -> Self {
        // Indices are below 256.
        Self(std::array::from_fn(|byte| byte as u8))
    }
}

impl Vocabulary for Bytes {
    fn size(&self) -> u32 {
        END + 1
    }

    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        Some(text.bytes().map(u32::from).collect())
    }

    fn bytes(&self, token: u32) -> &[u8] {
        self.0.get(token as usize).map(std::slice::from_ref).unwrap_or_default()
    }

    fn ends(&self) -> Vec<u32> {
        vec![END]
    }
}

#[cfg(test)]
mod tests {
    use lockgate_api::{Mask, Steering};

    use super::{END, likeliest, pick};

    #[test]
    fn the_wanted_byte_comes_unless_it_may_not() {
        let only = |tokens: &[u32]| Steering { biases: Vec::new(), mask: Mask::Only(tokens.to_vec()) };
        assert_eq!(pick(97, &Steering::default()), Some(97));
        assert_eq!(pick(97, &only(&[99, 98])), Some(98));
        assert_eq!(pick(97, &only(&[END])), Some(END));
        assert_eq!(pick(97, &only(&[])), None);
        let never = Steering { biases: Vec::new(), mask: Mask::Never(vec![97]) };
        assert_eq!(pick(97, &never), Some(0));
        let pushed = Steering { biases: vec![(100, 50.0)], mask: Mask::All };
        assert_eq!(pick(97, &pushed), Some(100));
    }

    #[test]
    fn the_likeliest_come_first_and_as_many_as_are_wanted() {
        assert_eq!(likeliest(97, 3).iter().map(|(token, _)| *token).collect::<Vec<_>>(), [97, 0, 1]);
        assert_eq!(likeliest(END, 1000).len(), 257);
        let top = likeliest(97, 300);
        assert!(top.is_sorted_by(|one, other| one.1 > other.1));
    }
}
