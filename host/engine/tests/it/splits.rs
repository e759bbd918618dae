//! Decodes on cards of many multiprocessors, whose attention splits sequences finer so that each has something to do.

use std::sync::Arc;

use lockgate_emulator::{Emulator, Probe, Schedule};
use lockgate_engine::model::{CardChoice, GpuLayers, Input, LoadOptions, Mix, Model, Wanted};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::cuda::memory::Device;

use super::cards::{WIDE_LLAMA, card, check, random};
use super::support::{Run, load, pool, tokens};

#[test]
fn finer_parts_agree_with_the_processor() {
    let gguf = random(&WIDE_LLAMA, Mix::named("q8_0").expect("known"));
    let probe = Arc::new(Probe::new(Arc::new(Emulator::new(Schedule::InOrder))));
    let device = Device::new(probe.clone()).with_multiprocessors(132);
    let choice = CardChoice { device, ..card(GpuLayers::Auto) };
    let options =
        LoadOptions { context: Some(256), step_tokens: 128, scored_tokens: 128, ..LoadOptions::default() };
    let there = Model::load_on(&gguf, &options, Some(&choice), &pool(2), &|_| {}).expect("it fits");
    let planned = there.plan().card.expect("all of it").total_bytes();
    let mut run = Run::new(&there, 2, Level::detect());
    assert!(probe.counts().bytes <= planned, "{:?}, where {planned} were planned", probe.counts());
    let text = tokens(134, 6, WIDE_LLAMA.vocabulary);
    // The first two decodes are short enough for one part; of the others, the third is a graph.
    let (mut found, mut sequence) = run.all_logits(&text[..126], 126);
    for (number, token) in text[126..].chunks(1).enumerate() {
        let mut input = [Input { sequence: &mut sequence, tokens: token, wanted: Wanted::Last }];
        let logits = run.compute.forward(&there, &mut run.cache, &mut input, &|| false).expect("it fits");
        found.push(logits.row(0).to_vec());
        assert_eq!(probe.kernels().contains(&"attention_merge"), number >= 2, "decode {number}");
    }
    assert!(probe.counts().graphs > 0);
    let (expected, _) = Run::new(&load(&gguf), 2, Level::detect()).all_logits(&text, 126);
    check(&found, &expected, "parts of 64");
}
