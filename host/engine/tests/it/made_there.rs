//! Models of random weights whose matrices a card makes itself: the same as those that are made here and sent there.

use std::sync::Arc;

use lockgate_emulator::{Emulator, Probe, Schedule};
use lockgate_engine::gguf::{Metadata, TensorType};
use lockgate_engine::model::{CardChoice, GpuLayers, Mix, Shape, random_model_made_there};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::cuda::memory::Device;

use super::cards::{WIDE_LLAMA, WIDE_QWEN2, card, load_on, mixes, random};
use super::support::{Run, load, tokens};

#[test]
fn models_made_there_are_those_sent_there() {
    for (number, mix) in mixes().into_iter().enumerate() {
        let shape = if number.is_multiple_of(2) { &WIDE_LLAMA } else { &WIDE_QWEN2 };
        let made = random_model_made_there(shape, mix, 7, &Metadata::new()).expect("a valid shape");
        let text = tokens(9, 3, shape.vocabulary);
        let logits = |gguf| {
            let there = load_on(gguf, &card(GpuLayers::Auto));
            Run::new(&there, 2, Level::detect()).all_logits(&text, 9).0
        };
        assert_eq!(logits(&made), logits(&random(shape, mix)), "{} {mix:?}", shape.architecture);
    }
}

/// The layers on the other side are read, and so is all of a model that is nowhere else.
#[test]
fn a_card_makes_the_matrices_of_its_own_layers() {
    let shape = Shape { layers: 3, ..WIDE_LLAMA };
    let made = random_model_made_there(&shape, Mix::pure(TensorType::Q8_0), 7, &Metadata::new());
    let made = made.expect("a valid shape");
    let probe = Arc::new(Probe::new(Arc::new(Emulator::new(Schedule::InOrder))));
    let choice = CardChoice { device: Device::new(probe.clone()), ..card(GpuLayers::Count(2)) };
    let there = load_on(&made, &choice);
    // Seven of each layer, and the embedding, which is the output as well.
    assert_eq!((probe.kernels(), probe.counts().launches), (vec!["random_planes"], 2 * 7 + 1));
    let sent = random(&shape, Mix::pure(TensorType::Q8_0));
    let text = tokens(9, 5, shape.vocabulary);
    let logits = |model: &_| Run::new(model, 2, Level::detect()).all_logits(&text, 4).0;
    assert_eq!(logits(&there), logits(&load_on(&sent, &choice)));
    assert_eq!(logits(&load(&made)), logits(&load(&sent)));
}
