use std::num::NonZeroUsize;

use lockgate_emulator::{Emulator, Schedule};
use lockgate_kernels::cuda::memory::Device;

use super::*;

/// Rounding alone stays far from what is not trusted, whatever the format, the heads and their groups.
#[test]
fn a_sound_card_passes_with_room_to_spare() {
    use TensorType::*;
    let pool = Arc::new(ThreadPool::new(NonZeroUsize::new(2).expect("two")));
    let device = Device::new(Arc::new(Emulator::new(Schedule::InOrder)));
    let card = CardChoice { device, free_bytes: 1 << 30, layers: GpuLayers::Auto };
    let formats = [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, MXFP4];
    let heads = [(64, 1), (80, 3), (96, 4), (128, 7), (256, 2)];
    for (number, format) in formats.into_iter().enumerate() {
        let (head_dim, group) = heads[number % heads.len()];
        let shape =
            Shape { head_dim, heads: 2 * group, kv_heads: 2, ..Shape::named("llama-3.2-1b").expect("known") };
        let config = Config { head_dim, heads: 2 * group, kv_heads: 2, ..config_of(&shape) };
        for kv in [KvFormat::F16, KvFormat::Q8_0].into_iter().filter(|kv| kv.takes(head_dim)) {
            let farthest = farthest(&config, format, kv, &card, &pool).expect("it computes");
            let what = format!("{format:?}, {kv:?}, {group} heads of {head_dim}");
            // In 8 bits keys and values that differ by rounding may become neighbours of each other.
            let room = if kv == KvFormat::F16 { 3.0 } else { 1.5 };
            assert!(farthest < DISTANCE_MAX / room, "{what}: {farthest}");
        }
    }
}

fn config_of(shape: &Shape) -> Config {
    let small = Shape { layers: 1, hidden: 256, feed_forward: 256, vocabulary: 64, ..shape.clone() };
    let gguf = random_model(&small, Mix::pure(TensorType::F16), 1, &Metadata::new()).expect("a valid shape");
    Model::inspect(&gguf, &LoadOptions::default()).expect("a valid model").0
}
