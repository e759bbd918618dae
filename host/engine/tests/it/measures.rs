//! Likelihoods and embeddings of whole models beside the naive reference, which computes in double precision and shares
//! nothing with them but the file.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park};

use futures_core::future::BoxFuture;
use lockgate_api::{
    AttemptContext, Backend, ChatRequest, Choose, Embed, Labels, Message, Permit, Role, Timeouts, permit,
};
use lockgate_engine::backend::{LocalModel, ModelOptions};
use lockgate_engine::gguf::{Array, Gguf, Metadata, TensorType, Value};
use lockgate_engine::model::{Mix, Shape, random_model};

use super::reference::Naive;
use super::support::{LLAMA, QWEN2};

/// Answers begin after the text itself, so that the prompt's tokens are plain to see.
const TEMPLATE: &str = "{{ messages[0].content }}";

/// Three special tokens, then every byte.
const FIRST_BYTE: u32 = 3;

fn byte_gguf(shape: &Shape, format: TensorType) -> Arc<Gguf> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![2, 3, 3];
    kinds.resize(tokens.len(), 6);
    let mut metadata = Metadata::new();
    metadata.insert("tokenizer.ggml.model", Value::String("llama".to_owned()));
    metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; tokens.len()])));
    metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    metadata.insert("tokenizer.chat_template", Value::String(TEMPLATE.to_owned()));
    let shape = Shape { vocabulary: tokens.len(), ..*shape };
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::Strings(tokens)));
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    Arc::new(random_model(&shape, Mix::pure(format), 7, &metadata).expect("a valid shape"))
}

fn tokens(text: &str) -> Vec<u32> {
    std::iter::once(1).chain(text.bytes().map(|byte| FIRST_BYTE + u32::from(byte))).collect()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(mut future: BoxFuture<'static, T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => park(),
        }
    }
}

fn asking(model: &LocalModel) -> (Permit, AttemptContext) {
    let permit = permit(&Labels::default(), model.target()).expect("no label is against it");
    let context =
        AttemptContext { request_id: "test".into(), labels: Arc::default(), timeouts: Timeouts::default() };
    (permit, context)
}

fn load(gguf: &Arc<Gguf>) -> LocalModel {
    let options = ModelOptions { threads: NonZeroUsize::new(2), ..ModelOptions::new("tiny") };
    LocalModel::from_gguf(gguf, &options, &|_| {}).expect("a valid model")
}

fn check(shape: &Shape, format: TensorType, bound: f64) {
    let gguf = byte_gguf(shape, format);
    let (model, naive) = (load(&gguf), Naive::new(&gguf));
    let what = format!("{} {}", shape.architecture, format.name());

    let texts = ["a", "some-longer-text", "and-one-of-more-than-a-block-of-the-cache"];
    let (permit, context) = asking(&model);
    let inputs = texts.map(str::to_owned).to_vec();
    let found = wait(model.embed(Embed { inputs }, permit, context)).expect("vectors");
    for (text, vector) in texts.iter().zip(&found.vectors) {
        let states = naive.states(&tokens(text));
        let mean: Vec<f64> = (0..vector.len())
            .map(|place| states.iter().map(|state| state[place]).sum::<f64>() / states.len() as f64)
            .collect();
        let norm = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
        // Of vectors of length one the distance is the relative error.
        let apart = vector.iter().zip(&mean).map(|(found, mean)| (f64::from(*found) - mean / norm).powi(2));
        let error = apart.sum::<f64>().sqrt();
        assert!(error <= bound && error > 0.0, "{what}, {text}: {error:.2e}, bound {bound:.0e}");
    }

    let (prompt, words) = ("is-it-so?", ["yes", "no-not-at-all", "n"]);
    let request = Arc::new(ChatRequest::new("tiny", vec![Message::text(Role::User, prompt)]));
    let (permit, context) = asking(&model);
    let ask = Choose { request, continuations: words.map(str::to_owned).to_vec() };
    let found = wait(model.choose(ask, permit, context)).expect("likelihoods");
    for (word, found) in words.iter().zip(&found.likelihoods) {
        let whole = tokens(&format!("{prompt}{word}"));
        let logits = naive.logits(&whole);
        let expected: f64 = (1 + prompt.len()..whole.len())
            .map(|place| {
                let row = &logits[place - 1];
                let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = row.iter().map(|logit| (logit - best).exp()).sum();
                row[whole[place] as usize] - best - sum.ln()
            })
            .sum();
        // An error of the logits is one of the difference between one of them and the best.
        let error = (found.log_probability - expected).abs() / f64::from(found.tokens);
        assert!(error <= 20.0 * bound, "{what}, {word}: {error:.2e} a token of {expected}");
        assert_eq!(found.tokens as usize, word.len());
    }
}

#[test]
fn likelihoods_and_embeddings_agree_with_a_naive_model() {
    for shape in [&LLAMA, &QWEN2] {
        check(shape, TensorType::F32, 1e-3);
        check(shape, TensorType::Q8_0, 3e-2);
    }
}
