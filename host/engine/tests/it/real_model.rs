//! The default model, SmolLM2-135M-Instruct as Q4_1, answers sensibly. Needs its file: LOCKGATE_TEST_MODEL.

use std::path::PathBuf;

use lockgate_engine::gguf::Gguf;
use lockgate_engine::model::{LoadOptions, Model};
use lockgate_engine::tokenizer::{Specials, Tokenizer};
use lockgate_kernels::cpu::Level;

use super::support::{Run, check_same_bits, pool};

pub(crate) fn open() -> Gguf {
    let path = std::env::var_os("LOCKGATE_TEST_MODEL").map(PathBuf::from).expect(
        "set LOCKGATE_TEST_MODEL to the path of SmolLM2-135M-Instruct.Q4_1.gguf (`cargo xtask test` does; \
         `lockgate pull smollm2` fetches the file)",
    );
    Gguf::open(&path).expect("a readable model")
}

fn load(gguf: &Gguf) -> Model {
    let options = LoadOptions { context: Some(512), sequences: 2, ..LoadOptions::default() };
    Model::load(gguf, &options, &pool(2), &|_| {}).expect("a valid model")
}

fn continue_text(text: &str, count: usize) -> String {
    let gguf = open();
    let (model, tokenizer) =
        (load(&gguf), Tokenizer::from_metadata(gguf.metadata()).expect("a known tokenizer"));
    let tokens = tokenizer.encode(text, Specials::AsModel).expect("plain text");
    let mut run = Run::new(&model, 2, Level::detect());
    let (logits, mut sequence) = run.all_logits(&tokens, 64);
    let answer = run.greedy(&mut sequence, &logits[tokens.len() - 1], count);
    let bytes: Vec<u8> = answer
        .iter()
        .flat_map(|token| tokenizer.token_bytes(*token).expect("a known token").to_vec())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn it_knows_the_capital_of_france() {
    let answer = continue_text("The capital of France is", 8);
    assert!(answer.contains("Paris"), "{answer}");
}

#[test]
fn it_counts_on() {
    let answer = continue_text("one, two, three, four, five,", 8);
    assert!(answer.contains("six, seven"), "{answer}");
}

#[test]
fn its_hyperparameters_are_the_published_ones() {
    let gguf = open();
    let (config, plan) = Model::inspect(&gguf, &LoadOptions::default()).expect("valid");
    assert_eq!((config.architecture.as_str(), config.layers, config.hidden), ("llama", 30, 576));
    assert_eq!((config.heads, config.kv_heads, config.head_dim, config.feed_forward), (9, 3, 64, 1536));
    assert_eq!((config.vocabulary, config.context, plan.context), (49_152, 8_192, 8_192));
}

#[test]
fn its_logits_do_not_depend_on_chunks_or_threads() {
    let gguf = open();
    let model = load(&gguf);
    let tokens: Vec<u32> = (0..120).map(|number| number * 397 % 49_152).collect();
    let (expected, _) = Run::new(&model, 1, Level::detect()).all_logits(&tokens, 120);
    for (threads, chunk) in [(2, 120), (1, 1), (2, 7), (2, 64)] {
        let (found, _) = Run::new(&model, threads, Level::detect()).all_logits(&tokens, chunk);
        check_same_bits(&found, &expected, &format!("{threads} threads, chunks of {chunk}"));
    }
}
