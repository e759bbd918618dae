//! The emulator finds what it is for: planted faults fail, each with a message that names it, and their sound twins
//! do not.

use half::f16;
use lockgate_emulator::{Emulator, Schedule};
use lockgate_kernels::cuda::driver::{Address, Argument, Driver, Launch, Stream};

fn upload(emulator: &Emulator, bytes: &[u8]) -> Address {
    let address = emulator.allocate(bytes.len()).expect("memory");
    emulator.upload(Stream::Compute, address, bytes).expect("it is inside");
    address
}

fn floats(emulator: &Emulator, count: usize) -> Address {
    let bytes: Vec<u8> = (0..count).flat_map(|value| (value as f32).to_le_bytes()).collect();
    upload(emulator, &bytes)
}

fn download(emulator: &Emulator, address: Address, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * count];
    emulator.download(Stream::Compute, address, &mut bytes).expect("it is inside");
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn launch(kernel: &'static str, threads: u32, shared_bytes: usize, arguments: Vec<Argument>) -> Launch {
    Launch { kernel, grid: [1, 1, 1], block: [threads, 1, 1], shared_bytes, early: false, arguments }
}

/// Runs a kernel of 64 threads with as many numbers to read and to write, in every order.
fn run(kernel: &'static str, inputs: usize, shared_bytes: usize) -> Result<Vec<f32>, String> {
    let mut all = Vec::new();
    for schedule in Schedule::ALL {
        let emulator = Emulator::new(schedule);
        let (input, output) = (floats(&emulator, inputs), emulator.allocate(256).expect("memory"));
        let arguments = vec![Argument::Pointer(input), Argument::Pointer(output)];
        let result = emulator.launch(&launch(kernel, 64, shared_bytes, arguments));
        result.map_err(|error| error.to_string())?;
        all.push(download(&emulator, output, 64));
    }
    assert!(all.iter().all(|one| *one == all[0]), "{kernel} depends on the schedule: {all:?}");
    Ok(all.remove(0))
}

fn check_found(kernel: &'static str, inputs: usize, shared_bytes: usize, words: &[&str]) {
    let error = run(kernel, inputs, shared_bytes).expect_err(kernel);
    for word in words {
        assert!(error.contains(word), "{kernel}: {error:?} does not say {word:?}");
    }
}

#[test]
fn sound_kernels_pass_in_every_order() {
    let reversed: Vec<f32> = (0..64).rev().map(|value| value as f32).collect();
    assert_eq!(run("sound_barrier", 64, 0), Ok(reversed));
    let swapped: Vec<f32> = (0..64).map(|value: u8| f32::from(value ^ 31)).collect();
    assert_eq!(run("sound_warp", 64, 0), Ok(swapped));
    let copied: Vec<f32> = (0..64).map(|value| (255 - value) as f32).collect();
    assert_eq!(run("sound_copy", 256, 0), Ok(copied));
}

#[test]
fn a_missing_barrier_is_found() {
    check_found("missing_barrier", 64, 0, &["block (0, 0, 0)", "thread (", "no barrier between: a race"]);
}

#[test]
fn races_are_found() {
    check_found("race", 64, 0, &["writes byte 0", "wrote with no barrier between"]);
    check_found(
        "write_after_read",
        64,
        0,
        &["of a shared array that thread", "with no barrier between: a race"],
    );
}

#[test]
fn accesses_out_of_bounds_are_found() {
    check_found("read_beyond", 64, 0, &["reads 4 bytes at byte 256 of a buffer of 256", "thread (63, 0, 0)"]);
    check_found("write_beyond", 64, 0, &["writes 4 bytes at byte 256 of a buffer of 256"]);
    check_found("shared_beyond", 64, 256, &["reads 4 bytes at 0x"]);
}

#[test]
fn barriers_that_threads_miss_are_found() {
    check_found(
        "divergent_barrier",
        64,
        0,
        &["deadlock", "threads 0 to 31 wait for the barrier", "32 have returned"],
    );
    check_found(
        "two_barriers",
        64,
        0,
        &["waits at the barrier at faults.cu:", "while others wait at faults.cu:"],
    );
    check_found("partial_shuffle", 64, 0, &["deadlock", "__shfl_xor_sync"]);
}

#[test]
fn misaligned_vectors_are_found() {
    check_found("misaligned_vector", 128, 0, &["touches 16 misaligned bytes"]);
}

#[test]
fn memory_that_is_touched_before_the_kernel_in_front_is_done_is_found() {
    let run = |kernel: &'static str, early: bool| {
        let emulator = Emulator::new(Schedule::InOrder);
        let arguments = [floats(&emulator, 64), floats(&emulator, 64)].map(Argument::Pointer).to_vec();
        emulator
            .launch(&Launch { early, ..launch(kernel, 64, 0, arguments) })
            .map_err(|error| error.to_string())
    };
    assert_eq!(run("sound_early", true), Ok(()));
    assert_eq!(run("asks_early", true), Ok(()));
    let error = run("asks_beyond", true).expect_err("the last thread asks for more than there is");
    assert!(error.contains("at byte 256 of a buffer of 256: out of bounds"), "{error}");
    // Where it begins behind the kernel in front, it need not wait.
    assert_eq!(run("reads_early", false), Ok(()));
    for kernel in ["reads_early", "one_thread_early", "copies_early"] {
        let error = run(kernel, true).expect_err(kernel);
        assert!(error.contains("before it waits for the kernel in front"), "{kernel}: {error}");
    }
}

#[test]
fn copies_that_nobody_waits_for_are_found() {
    check_found("never_waits", 256, 0, &["never waited for"]);
    // Data that has not come is what fresh memory holds.
    let found = run("missing_wait", 256, 0);
    let found = found.map(|values| values.iter().any(|value| value.is_nan()));
    assert!(found.clone().is_err() || found == Ok(true), "{found:?}");
}

/// The product of a [16][16] and b [8][16] transposed, by a kernel and in f64.
fn multiply(kernel: &'static str, transposed: bool) -> (Vec<f32>, Vec<f32>) {
    let emulator = Emulator::new(Schedule::Random(7));
    let a: Vec<f32> = (0..256).map(|index| ((index * 37 + 11) % 64) as f32 / 8.0 - 4.0).collect();
    let b: Vec<f32> = (0..128).map(|index| ((index * 29 + 5) % 32) as f32 / 4.0 - 4.0).collect();
    let halves = |values: &[f32]| -> Vec<u8> {
        values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
    };
    let expected = (0..128).map(|index| {
        let (row, column) = (index / 8, index % 8);
        let b_at = |k: usize| if transposed { b[k * 8 + column] } else { b[column * 16 + k] };
        (0..16).map(|k| f64::from(a[row * 16 + k]) * f64::from(b_at(k))).sum::<f64>() as f32
    });
    let expected = expected.collect();
    let out = emulator.allocate(512).expect("memory");
    let arguments = [upload(&emulator, &halves(&a)), upload(&emulator, &halves(&b)), out];
    let launch = launch(kernel, 32, 0, arguments.map(Argument::Pointer).to_vec());
    emulator.launch(&launch).expect("it runs");
    (download(&emulator, out, 128), expected)
}

#[test]
fn matrix_products_have_the_layout_of_the_manual() {
    for (kernel, transposed) in [("sound_mma", false), ("matrix_loads", false), ("transposed_loads", true)] {
        let (got, expected) = multiply(kernel, transposed);
        assert_eq!(got, expected, "{kernel}");
    }
}

#[test]
fn a_wrong_lane_of_a_matrix_product_is_found() {
    let (got, expected) = multiply("wrong_mma_lane", false);
    assert_ne!(got, expected);
}

#[test]
fn products_of_bytes_have_the_layout_of_the_manual_and_a_wrong_lane_is_found() {
    let emulator = Emulator::new(Schedule::Random(3));
    let bytes = |count: usize, step: usize| -> Vec<i8> {
        (0..count).map(|index| (index * step % 255) as u8 as i8).collect()
    };
    let (a, b) = (bytes(16 * 32, 37), bytes(8 * 32, 91));
    let expected: Vec<i32> = (0..128)
        .map(|index| {
            let (row, column) = (&a[index / 8 * 32..][..32], &b[index % 8 * 32..][..32]);
            row.iter().zip(column).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
        })
        .collect();
    let run = |kernel: &'static str| -> Vec<i32> {
        let there = [&a, &b].map(|bytes| {
            let bytes: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
            upload(&emulator, &bytes)
        });
        let out = emulator.allocate(512).expect("memory");
        let arguments = [there[0], there[1], out].map(Argument::Pointer).to_vec();
        emulator.launch(&launch(kernel, 32, 0, arguments)).expect("it runs");
        download(&emulator, out, 128).into_iter().map(|value| value.to_bits() as i32).collect()
    };
    assert_eq!(run("sound_mma_s8"), expected);
    assert_ne!(run("wrong_mma_s8_lane"), expected);
}

#[test]
fn a_grid_too_small_leaves_what_it_did_not_write() {
    let emulator = Emulator::new(Schedule::InOrder);
    let (input, output) = (floats(&emulator, 100), emulator.allocate(400).expect("memory"));
    let run = |blocks: u32| {
        let arguments = vec![Argument::Pointer(input), Argument::Pointer(output), Argument::U32(100)];
        let whole = launch("double_rows", 32, 0, arguments);
        emulator.launch(&Launch { grid: [blocks, 1, 1], ..whole }).expect("it runs");
        download(&emulator, output, 100).iter().filter(|value| value.is_nan()).count()
    };
    assert_eq!(run(3), 4, "the last four rows were never written");
    assert_eq!(run(4), 0);
}

#[test]
fn launches_that_no_card_would_take_are_refused() {
    let emulator = Emulator::new(Schedule::InOrder);
    let pointer = Argument::Pointer(floats(&emulator, 64));
    let refusal = |launch: Launch| emulator.launch(&launch).expect_err("refused").to_string();
    let sound = launch("race", 64, 0, vec![pointer, pointer]);
    assert!(refusal(Launch { block: [1025, 1, 1], ..sound.clone() }).contains("a block of (1025, 1, 1)"));
    assert!(refusal(Launch { grid: [0, 1, 1], ..sound.clone() }).contains("a grid of (0, 1, 1)"));
    assert!(refusal(Launch { kernel: "unknown", ..sound.clone() }).contains("no such kernel"));
    assert!(
        refusal(Launch { arguments: vec![pointer], ..sound.clone() }).contains("takes 2 arguments, not 1")
    );
    let short = vec![pointer, Argument::U32(1)];
    assert!(refusal(Launch { arguments: short, ..sound }).contains("argument 1 has 8 bytes, not 4"));
}

#[test]
fn address_sanitizer_sees_what_the_emulator_does_not() {
    let replay = |kernel: &'static str| {
        let scratch = std::env::temp_dir().join(format!("lockgate-replay-{kernel}-{}", std::process::id()));
        let emulator = Emulator::with_address_sanitizer(Schedule::Interleaved, scratch);
        let (input, output) = (floats(&emulator, 256), emulator.allocate(256).expect("memory"));
        let arguments = vec![Argument::Pointer(input), Argument::Pointer(output)];
        emulator.launch(&launch(kernel, 64, 256, arguments)).map_err(|error| error.to_string())
    };
    assert_eq!(replay("sound_barrier"), Ok(()));
    assert_eq!(replay("sound_copy"), Ok(()));
    for (kernel, words) in
        [("stack_beyond", "stack-buffer-overflow"), ("shared_beyond", "heap-buffer-overflow")]
    {
        let error = replay(kernel).expect_err(kernel);
        assert!(error.contains(words) && error.contains("faults.cu"), "{kernel}: {error}");
    }
}

#[test]
fn a_graph_does_again_what_was_captured() {
    let emulator = Emulator::new(Schedule::InOrder);
    let (input, output) = (floats(&emulator, 64), emulator.allocate(256).expect("memory"));
    emulator.begin_capture().expect("none is going on");
    let arguments = vec![Argument::Pointer(input), Argument::Pointer(output)];
    emulator.launch(&launch("sound_warp", 64, 0, arguments)).expect("it is written down");
    assert!(emulator.allocate(16).is_err() && emulator.synchronize().is_err());
    let graph = emulator.end_capture().expect("one is going on");
    assert!(download(&emulator, output, 64)[0].is_nan(), "a capture does nothing");
    emulator.launch_graph(graph).expect("it runs");
    assert_eq!(download(&emulator, output, 64)[0], 31.0);
    emulator.fill(Stream::Compute, output, 0, 256).expect("inside");
    emulator.launch_graph(graph).expect("it runs again");
    assert_eq!(download(&emulator, output, 64)[0], 31.0);
    emulator.free_graph(graph);
    assert!(emulator.launch_graph(graph).is_err());
}
