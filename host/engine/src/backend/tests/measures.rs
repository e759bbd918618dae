//! What a model is asked beside an answer, against what the model itself computes.

use std::num::NonZeroUsize;
use std::task::{Wake, Waker};
use std::thread::{Thread, current, park};

use lockgate_api::{Likelihood, Role, Timeouts};

use super::*;
use crate::adapter::Adapter;
use crate::model::{Compute, Input, LoadOptions, Model, Wanted};
use crate::sampler::{Distribution, Scratch};
use crate::tokenizer::Specials;
use lockgate_kernels::cpu::Level;
use lockgate_kernels::pool::ThreadPool;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(super) fn wait<T>(mut future: BoxFuture<'static, T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => park(),
        }
    }
}

fn context() -> AttemptContext {
    AttemptContext { request_id: "test".into(), labels: Arc::default(), timeouts: Timeouts::default() }
}

pub(super) fn choose(model: &LocalModel, text: &str, words: &[&str]) -> Result<Chosen, BackendError> {
    let continuations = words.iter().map(|&word| word.to_owned()).collect();
    let ask = Choose { request: Arc::new(request(text, Sampling::default())), continuations };
    wait(model.choose(ask, permit_for(model.target()), context()))
}

pub(super) fn embed(model: &LocalModel, texts: &[&str]) -> Result<Embedded, BackendError> {
    let ask = Embed { inputs: texts.iter().map(|&text| text.to_owned()).collect() };
    wait(model.embed(ask, permit_for(model.target()), context()))
}

fn count(model: &LocalModel, request: ChatRequest) -> Result<u64, BackendError> {
    wait(model.count_tokens(Arc::new(request), permit_for(model.target()), context()))
}

/// The model without its backend, and the tokens of a conversation and of an answer's text.
pub(super) struct Bare {
    model: Model,
    compute: Compute,
    prompts: Arc<Prompts>,
    adapter: Option<Arc<Adapter>>,
}

impl Bare {
    pub(super) fn of(model: &LocalModel, gguf: &Gguf) -> Self {
        let pool = Arc::new(ThreadPool::new(NonZeroUsize::MIN));
        let loaded = Model::load(gguf, &LoadOptions::default(), &pool, &|_| {}).expect("a valid model");
        let prompts = Arc::clone(&model.variant.prompts);
        let adapter = prompts.adapter.clone();
        Self { model: loaded, compute: Compute::new(pool, Level::detect()), prompts, adapter }
    }

    /// The prompt and the continuation computed afresh, alone, in one sequence.
    pub(super) fn likelihood(&mut self, text: &str, word: &str) -> Likelihood {
        let mut tokens = self.prompts.conversation(&request(text, Sampling::default())).expect("a prompt");
        let prompt = tokens.len();
        tokens.extend(self.prompts.tokenizer.encode(word, Specials::Omit).expect("encodable"));
        let mut rows = Vec::new();
        let adapter = self.adapter.clone();
        self.compute.logits(&self.model, adapter, &tokens, |row| rows.push(row.to_vec())).expect("it fits");
        let mut scratch = Scratch::default();
        let mut log_probability = 0.0;
        for place in prompt..tokens.len() {
            let logits = &rows[place - 1][..self.prompts.tokenizer.size()];
            let distribution = Distribution::of(logits, &mut scratch).expect("usable");
            log_probability += distribution.log_probability(tokens[place]);
        }
        Likelihood { log_probability, tokens: (tokens.len() - prompt) as u32 }
    }

    /// The mean of a text's states, of length one, in the plainest way.
    fn vector(&mut self, text: &str) -> Vec<f32> {
        let tokens = self.prompts.tokenizer.encode(text, Specials::AsModel).expect("encodable");
        let mut cache = self.model.cache_for(tokens.len()).expect("memory");
        let mut sequence = cache.sequence_with(self.adapter.clone());
        let mut input = [Input { sequence: &mut sequence, tokens: &tokens, wanted: Wanted::States }];
        let found = self.compute.forward(&self.model, &mut cache, &mut input, &|| false).expect("it fits");
        assert_eq!((found.rows().len(), found.states().len()), (0, tokens.len()));
        let mut sum = vec![0.0; self.model.config().hidden];
        for state in found.states() {
            sum.iter_mut().zip(state).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
        sum.into_iter().map(|value| (value / norm) as f32).collect()
    }
}

const WORDS: [&str; 6] = ["yes", "n", "maybe so", "yes", "yesterday, all of it", "no"];
const TEXTS: [&str; 4] = ["a text", "b", "a text of some more words than the others", "a text"];

/// The promise: bit for bit what the prompt and each continuation computed afresh and alone give, on any threads, in
/// any chunks, whatever else is computed with it.
#[test]
fn likelihoods_and_embeddings_have_the_bits_of_a_computation_of_their_own() {
    for format in [TensorType::Q8_0, TensorType::Q4_K] {
        let gguf = gguf(format, 512);
        let mut bare = Bare::of(&load(&gguf, &options()), &gguf);
        // Prompts that end within a block and at its end.
        let prompts: Vec<String> = (0..4).map(|more| "p".repeat(50 + 9 * more)).collect();
        let likelihoods: Vec<Vec<Likelihood>> = prompts
            .iter()
            .map(|prompt| WORDS.iter().map(|word| bare.likelihood(prompt, word)).collect())
            .collect();
        let vectors: Vec<Vec<f32>> = TEXTS.iter().map(|text| bare.vector(text)).collect();
        for (threads, step_tokens, cache_bytes_max) in [(1, 512, 2 << 30), (2, 9, 2 << 30), (1, 64, 0)] {
            let options = ModelOptions {
                threads: NonZeroUsize::new(threads),
                step_tokens_max: NonZeroUsize::new(step_tokens).expect("not zero"),
                running_max: NonZeroUsize::new(8).expect("not zero"),
                cache_bytes_max,
                ..options()
            };
            let model = load(&gguf, &options);
            std::thread::scope(|scope| {
                let answering = scope.spawn(|| answer(&model, "hello", greedy(30)));
                for (prompt, expected) in prompts.iter().zip(&likelihoods) {
                    let model = &model;
                    scope.spawn(move || {
                        let chosen = choose(model, prompt, &WORDS).expect("likelihoods");
                        assert_eq!(&chosen.likelihoods, expected, "{format:?}, {step_tokens} tokens a step");
                    });
                }
                let embedded = embed(&model, &TEXTS).expect("vectors");
                assert_eq!(embedded.vectors, vectors, "{format:?}, {step_tokens} tokens a step");
                assert_eq!(
                    answering.join().expect("no panic"),
                    answer(&load(&gguf, &super::options()), "hello", greedy(30))
                );
            });
            let stats = model.stats();
            assert_eq!(stats.passes, stats.steps, "one forward pass a step");
            assert_eq!((stats.running, stats.waiting), (0, 0));
        }
    }
}

#[test]
fn likelihoods_are_those_that_an_answer_reports() {
    let model = tiny();
    let mut request = request("hello", greedy(6));
    // Plain ASCII, so that the answer is text that can be asked for again. What is reported is the raw distribution.
    request
        .sampling
        .logit_bias
        .extend((FIRST_BYTE + 128..SHAPE.vocabulary).map(|token| (token as u32, -100.0)));
    request.logprobs = Some(1);
    let whole = ask(&model, request).expect("an answer");
    let reported: f64 = whole.logprobs.iter().map(|entry| f64::from(entry.chosen.logprob)).sum();
    let bytes: Vec<u8> =
        whole.logprobs.iter().flat_map(|entry| entry.chosen.bytes.clone().unwrap_or_default()).collect();
    let text = String::from_utf8(bytes).expect("ASCII");
    assert!(!text.is_empty());
    let chosen = choose(&model, "hello", &[&text]).expect("likelihoods").likelihoods[0];
    assert_eq!(chosen.tokens as usize, whole.logprobs.len());
    assert!((chosen.log_probability - reported).abs() < 1e-5, "{chosen:?} and {reported}");
}

#[test]
fn vectors_have_length_one_and_usage_counts_every_token() {
    let model = tiny();
    let embedded = embed(&model, &TEXTS).expect("vectors");
    for vector in &embedded.vectors {
        assert_eq!(vector.len(), SHAPE.hidden);
        let norm = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!((norm - 1.0).abs() < 1e-6, "{norm}");
    }
    assert_eq!(embedded.vectors[0], embedded.vectors[3]);
    assert_ne!(embedded.vectors[0], embedded.vectors[1]);
    let tokenizer = &model.variant.prompts.tokenizer;
    let tokens = TEXTS.iter().map(|text| tokenizer.encode(text, Specials::AsModel).expect("encodable").len());
    let tokens: usize = tokens.sum();
    assert!(tokens > TEXTS.concat().len(), "a token a byte, and beginnings");
    assert_eq!(embedded.usage, Usage { input: tokens as u64, ..Usage::default() });
    let chosen = choose(&model, "hello", &["ab", "c"]).expect("likelihoods");
    let prompt = count(&model, request("hello", Sampling::default())).expect("a count");
    assert_eq!(chosen.usage, Usage { input: prompt + 3, ..Usage::default() });
}

#[test]
fn counts_are_the_prompt_tokens_that_an_answer_reports() {
    let model = tiny();
    for text in ["", "hello", "<|im_end|> is text here"] {
        let asked = request(text, greedy(1));
        let usage = ask(&model, asked.clone()).expect("an answer").usage.expect("checked");
        assert_eq!(count(&model, asked), Ok(usage.input), "{text:?}");
    }
    let long = request(&"x".repeat(2000), greedy(1));
    assert!(count(&model, long).expect("a count, though it does not fit") > 2000);
    super::batching::settle(&model, 16 * 32);
}

fn kind<T: std::fmt::Debug>(result: Result<T, BackendError>, words: &[&str]) -> ErrorKind {
    let error = result.expect_err("refused");
    for word in words {
        assert!(error.message.contains(word), "{word:?} in {:?}", error.message);
    }
    error.kind
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_field() {
    let model = tiny();
    let invalid = ErrorKind::InvalidRequest;
    assert_eq!(kind(choose(&model, "hello", &[]), &["continuations", "1 to 64"]), invalid);
    assert_eq!(kind(choose(&model, "hello", &["a"; 65]), &["continuations", "1 to 64"]), invalid);
    assert_eq!(kind(choose(&model, "hello", &["a", ""]), &["continuations[1]", "empty"]), invalid);
    assert_eq!(kind(embed(&model, &[]), &["input", "1 to 256"]), invalid);
    assert_eq!(kind(embed(&model, &["a"; 257]), &["input", "1 to 256"]), invalid);
    assert_eq!(kind(embed(&model, &["a", ""]), &["input[1]", "empty"]), invalid);
    let none = ChatRequest::new("tiny", Vec::new());
    assert_eq!(kind(count(&model, none), &["messages"]), invalid);
    let mut tools = request("hello", Sampling::default());
    tools.extra.insert("functions".to_owned(), serde_json::json!([{}]));
    let unsupported = ErrorKind::Unsupported { field: "functions".to_owned() };
    assert_eq!(kind(count(&model, tools.clone()), &["functions"]), unsupported);
    let ask = Choose { request: Arc::new(tools), continuations: vec!["a".to_owned()] };
    assert_eq!(
        kind(wait(model.choose(ask, permit_for(model.target()), context())), &["functions"]),
        unsupported
    );
    super::batching::settle(&model, 16 * 32);
    assert_eq!(model.stats().passes, 0, "nothing was computed");
}

#[test]
fn what_does_not_fit_is_refused_with_both_counts() {
    let model = tiny();
    let exceeded = |prompt_tokens| ErrorKind::ContextExceeded { prompt_tokens, context_tokens: 512 };
    // With the beginning token.
    let (fits, long) = ("x".repeat(511), "x".repeat(512));
    assert_eq!(embed(&model, &[&fits]).expect("a vector").vectors.len(), 1);
    assert_eq!(kind(embed(&model, &["a", &long]), &["input[1]", "513", "512"]), exceeded(513));
    let prompt = count(&model, request("hello", Sampling::default())).expect("a count");
    let most = "y".repeat(512 - prompt as usize);
    let chosen = choose(&model, "hello", &[&most, "n", &most]).expect("what an answer could be");
    assert_eq!(chosen.likelihoods[0], chosen.likelihoods[2]);
    assert_eq!(
        kind(choose(&model, "hello", &["n", &format!("{most}y")]), &["continuations[1]"]),
        exceeded(513)
    );
    assert_eq!(kind(choose(&model, &long, &["n"]), &["512"]), exceeded(512 + prompt - 5));
    let many: Vec<&str> = std::iter::repeat_n(most.as_str(), 9).collect();
    assert_eq!(kind(choose(&model, "hello", &many), &["continuations", "4096"]), ErrorKind::InvalidRequest);
}

#[test]
fn a_cache_of_one_context_is_enough_and_all_of_it_comes_back() {
    let gguf = gguf(TensorType::Q8_0, 64);
    let model = load(&gguf, &ModelOptions { cache_bytes_max: 0, ..options() });
    assert_eq!(model.stats().blocks_free, 4);
    let prompt = count(&model, request("", Sampling::default())).expect("a count") as usize;
    // The prompt ends within its last block, and the continuations fill the context.
    let text = "p".repeat(53 - prompt);
    let words = ["0123456789", "abcdefghijk", "n", "xy"];
    let mut bare = Bare::of(&model, &gguf);
    let expected: Vec<Likelihood> = words.iter().map(|word| bare.likelihood(&text, word)).collect();
    assert_eq!(choose(&model, &text, &words).expect("likelihoods").likelihoods, expected);
    assert_eq!(embed(&model, &["a".repeat(63).as_str(), "b"]).expect("vectors").vectors.len(), 2);
    assert_eq!(model.stats().blocks_free, 4);
}

#[test]
fn an_adapter_measures_with_its_own_weights() {
    let gguf = gguf(TensorType::Q8_0, 512);
    let model = load(&gguf, &options());
    let adapted = model.adapted("first", &super::adapters::adapter(1), 1.0).expect("it fits");
    let mut bare = Bare::of(&adapted, &gguf);
    let expected: Vec<Likelihood> = WORDS.iter().map(|word| bare.likelihood("hello", word)).collect();
    let vector = bare.vector("a text");
    std::thread::scope(|scope| {
        scope.spawn(|| answer(&model, "beside it", greedy(30)));
        let chosen = choose(&adapted, "hello", &WORDS).expect("likelihoods");
        assert_eq!(chosen.likelihoods, expected);
        assert_eq!(embed(&adapted, &["a text"]).expect("a vector").vectors, [vector]);
    });
    assert_ne!(choose(&model, "hello", &WORDS).expect("likelihoods").likelihoods, expected);
}

#[test]
fn a_permit_for_another_target_is_refused_and_nothing_is_asked_before_the_poll() {
    let model = tiny();
    let other = Target { id: "other".to_owned(), ..model.target().clone() };
    let ask = Embed { inputs: vec!["a".to_owned()] };
    let refused = wait(model.embed(ask.clone(), permit_for(&other), context()));
    assert_eq!(kind(refused, &["`other`", "`tiny`"]), ErrorKind::Internal);
    drop(model.embed(ask, permit_for(model.target()), context()));
    assert_eq!(model.stats(), Stats { blocks_free: 16 * 32, ..Stats::default() });
}

#[test]
fn a_measurement_keeps_its_model_alive_and_dropping_it_frees_everything() {
    let gguf = gguf(TensorType::Q8_0, 8192);
    let model =
        load(&gguf, &ModelOptions { step_tokens_max: NonZeroUsize::new(17).expect("not zero"), ..options() });
    let ask = |text: String| Embed { inputs: vec![text] };
    let waiting = model.embed(ask("a".to_owned()), permit_for(model.target()), context());
    let blocks = model.stats().blocks_free;
    let mut long = model.embed(ask("x".repeat(8000)), permit_for(model.target()), context());
    assert!(long.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    super::batching::wait_for(&model, |stats| stats.steps >= 2);
    drop(long);
    super::batching::settle(&model, blocks);
    assert!(model.stats().prompt_tokens < 8000);
    drop(model);
    assert_eq!(wait(waiting).expect("a vector").vectors.len(), 1);
}

#[test]
fn a_model_without_a_template_embeds_but_does_not_choose() {
    let with = metadata();
    let mut metadata = Metadata::new();
    for (key, value) in with.iter().filter(|(key, _)| *key != "tokenizer.chat_template") {
        metadata.insert(key, value.clone());
    }
    let gguf =
        Arc::new(random_model(&SHAPE, Mix::pure(TensorType::Q8_0), 7, &metadata).expect("a valid shape"));
    let model = load(&gguf, &options());
    assert_eq!(embed(&model, &["a"]).expect("a vector").vectors.len(), 1);
    assert_eq!(kind(choose(&model, "a", &["b"]), &["template"]), ErrorKind::InvalidRequest);
    let asked = ChatRequest::new("tiny", vec![Message::text(Role::User, "a")]);
    assert_eq!(kind(count(&model, asked), &["template"]), ErrorKind::InvalidRequest);
}
