mod adapters;
mod batching;
mod chat;
mod devices;
mod fields;
mod measures;
mod real;
mod tuned;

use lockgate_api::{FinishReason, Message, TokenLogprob, Usage};

use super::*;
use crate::gguf::{Array, Gguf, Metadata, TensorType, Value};
use crate::model::{Mix, Shape, random_model};

const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Every byte is a token, after the five special ones.
const FIRST_BYTE: usize = 5;

const SHAPE: Shape = Shape {
    architecture: "llama",
    layers: 2,
    hidden: 256,
    feed_forward: 256,
    heads: 4,
    kv_heads: 2,
    head_dim: 32,
    vocabulary: FIRST_BYTE + 256,
    context: 512,
    norm_epsilon: 1e-5,
    rope_base: 10_000.0,
    tied: true,
    rope_factor: None,
};

fn metadata() -> Metadata {
    let mut tokens: Vec<String> =
        ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![2, 3, 3, 3, 3];
    kinds.resize(tokens.len(), 6);
    let mut metadata = Metadata::new();
    metadata.insert("tokenizer.ggml.model", Value::String("llama".to_owned()));
    metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; tokens.len()])));
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::Strings(tokens)));
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    metadata.insert("tokenizer.chat_template", Value::String(TEMPLATE.to_owned()));
    metadata
}

fn gguf(format: TensorType, context: usize) -> Arc<Gguf> {
    let shape = Shape { context, ..SHAPE };
    Arc::new(random_model(&shape, Mix::pure(format), 7, &metadata()).expect("a valid shape"))
}

fn options() -> ModelOptions {
    ModelOptions { threads: std::num::NonZeroUsize::new(1), ..ModelOptions::new("tiny") }
}

fn load(gguf: &Arc<Gguf>, options: &ModelOptions) -> LocalModel {
    LocalModel::from_gguf(gguf, options, &|_| {}).expect("a valid model")
}

fn tiny() -> LocalModel {
    load(&gguf(TensorType::Q8_0, 512), &options())
}

fn request(text: &str, sampling: Sampling) -> ChatRequest {
    let mut request = ChatRequest::new("tiny", vec![Message::text(lockgate_api::Role::User, text)]);
    request.sampling = sampling;
    request
}

/// Both ends are banned, so that answers of random models go to their limit.
fn greedy(max_tokens: u32) -> Sampling {
    let logit_bias = vec![(2, -100.0), (4, -100.0)];
    Sampling { temperature: Some(0.0), max_tokens: Some(max_tokens), logit_bias, ..Sampling::default() }
}

fn seeded(seed: u64, max_tokens: u32) -> Sampling {
    Sampling { temperature: None, seed: Some(seed), ..greedy(max_tokens) }
}

/// A whole answer of one choice.
#[derive(Debug, Default, PartialEq)]
struct Whole {
    text: String,
    logprobs: Vec<TokenLogprob>,
    reason: Option<FinishReason>,
    usage: Option<Usage>,
}

/// Reads an answer to its end and checks that it is well formed.
fn read(
    events: impl Iterator<Item = Result<Event, BackendError>>,
    choices: u32,
) -> Result<Vec<Whole>, BackendError> {
    let mut whole: Vec<Whole> = (0..choices).map(|_| Whole::default()).collect();
    let mut events = events.peekable();
    let mut count = 0;
    while let Some(event) = events.next() {
        let event = event?;
        assert_eq!(matches!(event, Event::Start { .. }), count == 0, "a start comes first and once");
        count += 1;
        match event {
            Event::Start { model } => assert_eq!(model, "tiny"),
            Event::Text { choice, text, logprobs } => {
                let whole = &mut whole[choice as usize];
                assert_eq!(whole.reason, None, "nothing after the finish");
                whole.text.push_str(&text);
                whole.logprobs.extend(logprobs);
            }
            Event::Finish { choice, reason } => {
                assert_eq!(whole[choice as usize].reason.replace(reason), None, "one finish a choice");
            }
            Event::Usage(usage) => {
                assert!(events.peek().is_none(), "the usage is last");
                whole.iter_mut().for_each(|whole| whole.usage = Some(usage));
            }
            Event::Reasoning { .. } | Event::ToolCall { .. } => panic!("not from this model: {event:?}"),
        }
    }
    assert!(whole.iter().all(|whole| whole.reason.is_some() && whole.usage.is_some()));
    Ok(whole)
}

fn ask(model: &LocalModel, request: ChatRequest) -> Result<Whole, BackendError> {
    Ok(read(model.chat(request), 1)?.remove(0))
}

fn answer(model: &LocalModel, text: &str, sampling: Sampling) -> String {
    ask(model, request(text, sampling)).expect("an answer").text
}

fn asker() -> Asker {
    Asker { request_id: "request-1".into(), labels: Arc::default() }
}

fn permit_for(target: &Target) -> Permit {
    permit(&Labels::default(), target).expect("no label is against it")
}
