//! Copies of sequences on a card, where blocks that lie side by side are copied at one stroke.

use lockgate_engine::kv::Sequence;
use lockgate_engine::model::{GpuLayers, Input, Mix, Wanted};
use lockgate_kernels::cpu::Level;

use super::cards::{WIDE_LLAMA, card, load_on, random};
use super::support::{Run, check_same_bits, tokens};

/// The blocks of the one that is copied lie in two runs, with another's between them.
#[test]
fn a_duplicate_goes_on_like_its_parent() {
    let gguf = random(&WIDE_LLAMA, Mix::named("q8_0").expect("known"));
    let model = load_on(&gguf, &card(GpuLayers::Auto));
    let mut run = Run::new(&model, 2, Level::detect());
    let forward = |run: &mut Run<'_>, sequence: &mut Sequence, tokens: &[u32]| {
        let mut input = [Input { sequence, tokens, wanted: Wanted::Last }];
        let found = run.compute.forward(&model, &mut run.cache, &mut input, &|| false).expect("it fits");
        found.rows().map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let text = tokens(60, 9, WIDE_LLAMA.vocabulary);
    let (mut first, mut between) = (run.cache.sequence(), run.cache.sequence());
    forward(&mut run, &mut first, &text[..20]);
    forward(&mut run, &mut between, &text[..30]);
    drop(first);
    let mut parent = run.cache.sequence();
    forward(&mut run, &mut parent, &text[..40]);
    forward(&mut run, &mut parent, &text[40..55]);
    let mut copy = run.cache.duplicate(&parent).expect("there is room");
    // What the copy computes first goes into blocks of its own.
    let found = forward(&mut run, &mut copy, &text[55..]);
    let expected = forward(&mut run, &mut parent, &text[55..]);
    check_same_bits(&found, &expected, "the copy");
    drop(between);
}
