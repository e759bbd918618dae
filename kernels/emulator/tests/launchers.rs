//! What launchers and captured steps ask of a driver, against one that checks lifetimes, streams and captures.

use std::sync::Arc;

use lockgate_emulator::{Operation, Recorder};
use lockgate_kernels::cuda::driver::{Argument, Driver, Launch, Product, Stream};
use lockgate_kernels::cuda::matrix::{DeviceMatrix, MatrixFormat};
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::cuda::planes::PlaneFormat;
use lockgate_kernels::cuda::products::{Job, gemv, gemv_swiglu};
use lockgate_kernels::cuda::rows::{DeviceRows, Forms, activate, rms_norm};

fn recorder() -> (Arc<Recorder>, Device) {
    let recorder = Arc::new(Recorder::new());
    (recorder.clone(), Device::new(recorder))
}

fn launch(address: Argument) -> Launch {
    let none = Argument::Null;
    let arguments = vec![address, none, Argument::U32(32), none, none, none, none];
    Launch { kernel: "activate", grid: [1; 3], block: [128, 1, 1], shared_bytes: 0, early: true, arguments }
}

#[test]
fn a_step_is_captured_without_allocating_and_launched_again() {
    let (recorder, device) = recorder();
    let format = MatrixFormat::Planes(PlaneFormat::Q8_0);
    let matrix = |rows: usize, cols: usize| {
        DeviceMatrix::upload(&device, format, rows, cols, &vec![0; rows * cols / 32 * 34]).expect("it fits")
    };
    let (gate, up, down) = (matrix(128, 64), matrix(128, 64), matrix(64, 128));
    let forms = Forms { floats: false, eight_bits: true, bf16: false };
    let mut normed = DeviceRows::new(&device, 2, 64, forms).expect("memory");
    let mut gated = DeviceRows::new(&device, 2, 128, forms).expect("memory");
    let (mut x, weight) = (device.zeros(2 * 64).expect("memory"), device.zeros(64).expect("memory"));
    let mut hidden = device.zeros(2 * 128).expect("memory");
    let mut step = || {
        rms_norm(&device, 2, &mut x, None, &weight, 1e-5, &mut normed)?;
        gemv_swiglu(&device, 2, &normed, &gate, &up, &mut hidden)?;
        activate(&device, 2, &hidden, None, &mut gated)?;
        gemv(&device, 2, &gated, true, &mut [Job { weights: &down, bias: None, out: &mut x }])
    };
    let _ = recorder.take_operations();
    recorder.begin_capture().expect("none is going on");
    step().expect("a step asks for nothing that a capture forbids");
    let graph = recorder.end_capture().expect("one is going on");
    let kernels: Vec<&str> = recorder
        .take_operations()
        .iter()
        .map(|operation| match operation {
            Operation::Launch(launch) => launch.kernel,
            other => panic!("{other:?} within a step"),
        })
        .collect();
    assert_eq!(kernels, ["rms_norm", "gemv_swiglu_2", "activate", "gemv_2"]);
    recorder.launch_graph(graph).expect("all of its memory is there");
    assert_eq!(recorder.violations(), Vec::<String>::new());
    drop(down);
    let violations = recorder.violations();
    assert!(violations[0].contains("freed before a graph that uses it"), "{violations:?}");
    assert!(recorder.launch_graph(graph).is_err());
    recorder.free_graph(graph);
}

#[test]
fn a_capture_forbids_what_a_card_does() {
    let (recorder, device) = recorder();
    let buffer = device.zeros::<f32>(4).expect("memory");
    recorder.begin_capture().expect("none is going on");
    assert!(device.allocate::<f32>(4).expect_err("refused").to_string().contains("being captured"));
    assert!(device.upload(&[1.0_f32]).is_err() && buffer.to_vec().is_err());
    assert!(recorder.synchronize().is_err() && recorder.begin_capture().is_err());
    drop(buffer);
    recorder.end_capture().expect("one is going on");
    assert!(recorder.violations()[0].contains("while a graph was captured"));
    assert!(recorder.end_capture().is_err());
}

#[test]
fn streams_wait_for_each_other() {
    let (recorder, _) = recorder();
    let buffer = recorder.allocate(64).expect("memory");
    let kernel = launch(Argument::Pointer(buffer));
    recorder.upload(Stream::Copy, buffer, &[0; 64]).expect("nobody else uses it");
    let error = recorder.launch(&kernel).expect_err("the copy may not be done").to_string();
    assert!(error.contains("no event between"), "{error}");
    let event = recorder.record(Stream::Copy).expect("any stream can be marked");
    recorder.wait(Stream::Compute, event).expect("it is there");
    recorder.launch(&kernel).expect("it waited");
    assert!(recorder.wait(Stream::Compute, event).is_err(), "an event is used up");
    assert!(recorder.upload(Stream::Copy, buffer, &[0; 64]).is_err(), "the kernel may still read it");
    recorder.synchronize().expect("no capture");
    recorder.upload(Stream::Copy, buffer, &[0; 64]).expect("all is done");
}

#[test]
fn products_of_the_library_are_checked_like_kernels() {
    let recorder = Recorder::new().with_library();
    let at = |bytes: usize| recorder.allocate(bytes).expect("there is no end of memory");
    let (x, weights, out) = (at(2 * 3 * 8), at(2 * 5 * 8), at(4 * 3 * 5));
    let product = Product { x, weights, out, rows: 3, outputs: 5, columns: 8, add: false };
    let refused = |product: Product| recorder.multiply(&product).expect_err("refused").to_string();
    assert_eq!(recorder.multiply(&product), Ok(true));
    assert_eq!(recorder.take_operations(), [Operation::Multiply(product)]);
    assert!(refused(Product { rows: 4, ..product }).contains("is beyond its buffer"));
    assert!(refused(Product { outputs: 6, ..product }).contains("is beyond its buffer"));
    assert!(refused(Product { columns: 9, ..product }).contains("is beyond its buffer"));
    assert!(refused(Product { rows: 0, ..product }).contains("0 rows"));
    assert!(refused(Product { out: x, ..product }).contains("what it is made of"));
    assert!(refused(Product { x: x.offset(16), rows: 2, ..product }).contains("not aligned to 256"));
    // What the other stream may still write must be waited for.
    recorder.synchronize().expect("nothing failed");
    recorder.upload(Stream::Copy, weights, &[0; 80]).expect("it is there");
    assert!(refused(product).contains("the other stream"));
    let event = recorder.record(Stream::Copy).expect("a mark");
    recorder.wait(Stream::Compute, event).expect("it is there");
    assert_eq!(recorder.multiply(&product), Ok(true));
    // A graph keeps hold of its memory.
    recorder.begin_capture().expect("none is going on");
    assert_eq!(recorder.multiply(&product), Ok(true));
    let graph = recorder.end_capture().expect("one is going on");
    recorder.free(out);
    assert!(recorder.violations().iter().any(|found| found.contains("before a graph that uses it")));
    recorder.free_graph(graph);
    assert_eq!(Recorder::new().multiply(&product), Ok(false), "without a library nothing is done");
}

#[test]
fn memory_that_is_not_there_is_refused() {
    let (recorder, _) = recorder();
    let (first, second) = (recorder.allocate(64).expect("memory"), recorder.allocate(64).expect("memory"));
    recorder.free(first);
    let error = recorder.launch(&launch(Argument::Pointer(first))).expect_err("it is gone").to_string();
    assert!(error.contains("never allocated") || error.contains("was freed"), "{error}");
    assert!(recorder.upload(Stream::Compute, second, &[0; 65]).is_err());
    assert!(
        recorder
            .launch(&launch(Argument::Pointer(second.offset(4))))
            .expect_err("odd")
            .to_string()
            .contains("aligned")
    );
    assert!(recorder.launch(&launch(Argument::Pointer(second.offset(64)))).is_err());
    let unknown = Launch { kernel: "unknown", ..launch(Argument::Null) };
    assert!(recorder.launch(&unknown).expect_err("unknown").to_string().contains("no such kernel"));
    let greedy = Launch { shared_bytes: 100 * 1024, ..launch(Argument::Null) };
    assert!(recorder.launch(&greedy).expect_err("too much").to_string().contains("not every card"));
    recorder.free(first);
    assert!(recorder.violations()[0].contains("is not allocated"));
}
