//! A model's adapters while it serves: targets of their own, in batches with the model, added and removed.

use std::time::Duration;

use super::*;
use crate::adapter::AdapterFile;
use crate::gguf::{GgufWriter, Limits};

/// A strong adapter of two projections, drawn from the seed.
pub(super) fn adapter(seed: u64) -> AdapterFile {
    const RANK: usize = 2;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut number = |size: f32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * size).to_le_bytes()
    };
    let mut writer = GgufWriter::new();
    writer.metadata("general.type", "adapter");
    writer.metadata("general.architecture", "llama");
    writer.metadata("adapter.type", "lora");
    writer.metadata("adapter.lora.alpha", Value::F32(8.0));
    for layer in 0..SHAPE.layers {
        for (name, outputs) in [("attn_q", SHAPE.heads * SHAPE.head_dim), ("ffn_down", SHAPE.hidden)] {
            // Both take as many inputs.
            let inputs = SHAPE.hidden;
            let a: Vec<u8> = (0..RANK * inputs).flat_map(|_| number(0.1)).collect();
            let b: Vec<u8> = (0..RANK * outputs).flat_map(|_| number(1.0)).collect();
            let name = |half: &str| format!("blk.{layer}.{name}.weight.{half}");
            writer.tensor(name("lora_a"), &[inputs as u64, RANK as u64], TensorType::F32, a);
            writer.tensor(name("lora_b"), &[RANK as u64, outputs as u64], TensorType::F32, b);
        }
    }
    let gguf = Gguf::read(Box::new(writer.finish()), "adapter.gguf", &Limits::default());
    AdapterFile::from_gguf(gguf.expect("a valid file")).expect("a valid adapter")
}

/// The name that an answer starts with, and its text.
fn named_answer(model: &LocalModel, text: &str, sampling: &Sampling) -> (String, String) {
    let (mut name, mut answer) = (String::new(), String::new());
    for event in model.chat(request(text, sampling.clone())) {
        match event.expect("an answer") {
            Event::Start { model } => name = model,
            Event::Text { text, .. } => answer.push_str(&text),
            _ => {}
        }
    }
    (name, answer)
}

#[test]
fn an_adapter_is_a_target_of_its_own() {
    let model = tiny();
    let before = named_answer(&model, "hello", &greedy(20));
    let first = model.adapted("first", &adapter(1), 1.0).expect("it fits");
    let second = model.adapted("second", &adapter(2), 1.0).expect("it fits");
    assert_eq!(first.target().id, "tiny:first");
    assert_eq!(first.target().locality, Locality::Local);
    assert_eq!(first.target().price, model.target().price);
    let content = first.adapter_content().expect("it has one");
    assert!(first.target().model.contains(&content.short()), "{}", first.target().model);
    assert_ne!(Some(content), second.adapter_content());
    assert_eq!(model.adapter_content(), None);

    let answers = [&first, &second].map(|model| named_answer(model, "hello", &greedy(20)));
    assert_eq!(answers[0].0, "tiny:first");
    assert_eq!(answers[1].0, "tiny:second");
    assert!(answers[0].1 != answers[1].1 && answers[0].1 != before.1, "{answers:?}");
    assert_eq!(named_answer(&model, "hello", &greedy(20)), before, "the model itself is as it was");

    let permit = permit_for(model.target());
    let events = BlockingEvents::new(first.answer(Arc::new(request("hello", greedy(1))), &permit, asker()));
    let error = events.last().expect("an item").expect_err("a permit for another target");
    assert_eq!(error.kind, ErrorKind::Internal);
}

#[test]
fn answers_with_and_without_adapters_are_the_same_alone_and_in_one_batch() {
    let gguf = gguf(TensorType::Q4_K, 512);
    for sampling in [greedy(12), seeded(3, 12)] {
        let variants = |model: &LocalModel| {
            let adapted = |seed: u64| model.adapted("a", &adapter(seed), 1.0).expect("it fits");
            [model.clone(), adapted(1), adapted(2), model.clone(), adapted(1), adapted(3)]
        };
        let prompts: Vec<String> = (0..6).map(|length| "words ".repeat(1 + 7 * length)).collect();
        let alone = load(&gguf, &options());
        let expected: Vec<String> = variants(&alone)
            .iter()
            .zip(&prompts)
            .map(|(model, prompt)| named_answer(model, prompt, &sampling).1)
            .collect();
        let model = load(&gguf, &ModelOptions { threads: std::num::NonZeroUsize::new(2), ..options() });
        let variants = variants(&model);
        let found: Vec<String> = std::thread::scope(|scope| {
            let ask = |(model, prompt): (&'_ LocalModel, &String)| named_answer(model, prompt, &sampling).1;
            let asking: Vec<_> =
                variants.iter().zip(&prompts).map(|pair| scope.spawn(move || ask(pair))).collect();
            asking.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn adapters_are_found_by_name_until_they_are_removed() {
    let model = tiny();
    let file = adapter(1);
    let first = model.adapted("first", &file, 1.0).expect("it fits");
    assert!(model.with_adapter("first").is_none(), "not added yet");
    model.add_adapter(&first).expect("a free name");
    assert_eq!(model.with_adapter("first").expect("added").target().id, "tiny:first");
    // Every handle knows the same names.
    assert_eq!(first.adapters(), ["first"]);
    // A policy finds them at the model itself.
    assert_eq!((model.adapter_targets(), first.adapter_targets()), (vec!["tiny:first".to_owned()], vec![]));
    let message = model.add_adapter(&first).expect_err("taken").to_string();
    assert!(message.contains("`tiny` has an adapter `first` already"), "{message}");
    let other = tiny();
    assert!(matches!(other.add_adapter(&first), Err(AdaptError::Foreign(_))));
    assert!(matches!(model.add_adapter(&model), Err(AdaptError::Foreign(_))));
    assert!(matches!(first.adapted("again", &file, 1.0), Err(AdaptError::Adapted(_))));
    for name in ["", "with space", "a,b", "ü", "x\n", &"x".repeat(129)] {
        assert!(matches!(model.adapted(name, &file, 1.0), Err(AdaptError::Name)), "{name:?}");
    }

    assert!(model.remove_adapter("other").is_none());
    let release = model.remove_adapter("first").expect("it is there");
    assert!(model.with_adapter("first").is_none() && model.adapters().is_empty());
    assert!(model.adapter_targets().is_empty());
    assert!(!release.is_released(), "a handle uses it");
    drop(first);
    assert!(release.is_released());
}

#[test]
fn removing_waits_for_answers_that_are_being_made() {
    let model = load(&gguf(TensorType::Q8_0, 8192), &options());
    let adapted = model.adapted("first", &adapter(1), 1.0).expect("it fits");
    model.add_adapter(&adapted).expect("a free name");
    let mut events = adapted.chat(request("hello", seeded(1, 8000)));
    for _ in 0..3 {
        events.next().expect("more").expect("no error");
    }
    let release = model.remove_adapter("first").expect("it is there");
    drop(adapted);
    assert!(!release.wait(Duration::from_millis(20)), "an answer uses it");
    for _ in 0..3 {
        events.next().expect("the answer goes on").expect("no error");
    }
    drop(events);
    assert!(release.wait(Duration::from_secs(60)), "the answer has ended");
    // The name is free for another one.
    let next = model.adapted("first", &adapter(2), 1.0).expect("it fits");
    model.add_adapter(&next).expect("a free name");
}

#[test]
fn what_does_not_fit_is_not_added() {
    let model = tiny();
    let other = Shape { hidden: 128, ..SHAPE };
    let gguf =
        Arc::new(random_model(&other, Mix::pure(TensorType::Q8_0), 7, &metadata()).expect("a valid shape"));
    let smaller = load(&gguf, &options());
    let message = smaller.adapted("first", &adapter(1), 1.0).expect_err("another shape").to_string();
    assert!(message.starts_with("adapter.gguf: ") && message.contains("attn_q"), "{message}");
    assert!(model.adapted("first", &adapter(1), f32::INFINITY).is_err());
    assert!(model.adapters().is_empty());
}
