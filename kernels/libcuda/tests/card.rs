//! The card behind the driver, as the host opens it: every operation, every error that it can meet. Each test runs once
//! more in a process of its own, which has this library as its driver.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lockgate_kernels::cuda::card::Card;
use lockgate_kernels::cuda::cards::{Cards as _, SystemCards};
use lockgate_kernels::cuda::driver::{
    Address, Argument, Download, Driver, DriverError, Event, Graph, Launch, Stream,
};
use lockgate_kernels::cuda::limits::products;
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::cuda::modules::modules;
use lockgate_libcuda::MISUSE;

/// Set in the process that has the library.
const WITHIN: &str = "LOCKGATE_TEST_LIBCUDA";

/// Runs a test within a process that has this card. What was asked of the driver and made no sense, a line each: all of it
/// must be told there, and nothing else.
#[track_caller]
fn with_card(test: &str, settings: &[(&str, &str)], within: fn(), misuses: &[&str]) {
    if std::env::var_os(WITHIN).is_some() {
        return within();
    }
    let program = std::env::current_exe().expect("this program");
    let folder = tempfile::tempdir().expect("a folder");
    let library = program.with_file_name("liblockgate_libcuda.so");
    std::os::unix::fs::symlink(&library, folder.path().join("libcuda.so.1")).expect("a link");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(WITHIN, "1").env("LD_LIBRARY_PATH", folder.path());
    let output = command.envs(settings.iter().copied()).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}\n{errors}");
    let found: Vec<&str> = errors.lines().filter_map(|line| line.strip_prefix(MISUSE)).collect();
    let as_told =
        found.len() == misuses.len() && found.iter().zip(misuses).all(|(found, told)| found.contains(told));
    assert!(as_told, "{found:#?} instead of {misuses:#?}");
}

fn open() -> Card {
    Card::open(0, &modules(None).expect("embedded")).expect("there is a card")
}

fn text(result: Result<impl std::fmt::Debug, DriverError>) -> String {
    result.expect_err("it cannot be done").to_string()
}

/// A launch of the kernel that writes products of constants: `16 · 8 · a · b`.
fn constant(out: Address, a: f32) -> Launch {
    let arguments = vec![Argument::Pointer(out), Argument::F32(a), Argument::F32(1.0), Argument::U32(1)];
    Launch { kernel: "peak_bf16", grid: [1; 3], block: [128, 1, 1], shared_bytes: 0, early: true, arguments }
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn a_card_tells_what_it_is() {
    let settings = [
        ("LIBCUDA_MEMORY", "1000000"),
        ("LIBCUDA_CAPABILITY", "8.6"),
        ("LIBCUDA_MULTIPROCESSORS", "7"),
        ("LIBCUDA_VERSION", "13010"),
    ];
    let within = || {
        let cards = Card::list().expect("there is a driver");
        let [card] = &cards[..] else { panic!("{cards:?}") };
        assert_eq!(card.name, "Lockgate emulated card");
        assert_eq!((card.capability, card.driver_version), ((8, 6), 13_010));
        assert_eq!((card.memory_bytes, card.multiprocessors), (1_000_000, 7));
        assert!(text(Card::open(1, &[])).contains("there is no card 1; the driver shows 1"));
    };
    with_card("a_card_tells_what_it_is", &settings, within, &[]);
}

#[test]
fn old_drivers_and_old_cards_are_refused() {
    let settings = [("LIBCUDA_VERSION", "12090")];
    let within = || {
        let old_card = std::env::var_os("LIBCUDA_CAPABILITY").is_some();
        let expected =
            if old_card { "has compute capability 7.5" } else { "supports CUDA 12.9; the kernels need 13.0" };
        assert!(text(SystemCards.open(0, None)).contains(expected));
    };
    with_card("old_drivers_and_old_cards_are_refused", &settings, within, &[]);
    if std::env::var_os(WITHIN).is_none() {
        let settings = [("LIBCUDA_CAPABILITY", "7.5")];
        with_card("old_drivers_and_old_cards_are_refused", &settings, within, &[]);
    }
}

#[test]
fn memory_is_copied_both_ways_on_both_streams() {
    let within = || {
        let card = open();
        let (before, all) = card.memory().expect("memory");
        // More than any of the card's pinned buffers, and fewer.
        for length in [0, 1, 1000, 70_000, 17 << 20] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + at / 251) as u8).collect();
            for stream in [Stream::Compute, Stream::Copy] {
                let (from, to) = (card.allocate(length).expect("room"), card.allocate(length).expect("room"));
                assert!(from.0.is_multiple_of(256) && to.0.is_multiple_of(256));
                let mut back = vec![0; length];
                card.upload(stream, from, &bytes).expect("copied");
                card.copy(stream, from, to, length).expect("copied");
                card.download(stream, to, &mut back).expect("copied");
                assert!(back == bytes, "{length} bytes on {stream:?}");
                card.fill(stream, to.offset(length / 2), 7, length - length / 2).expect("filled");
                card.download(stream, to, &mut back).expect("copied");
                assert!(
                    back[..length / 2] == bytes[..length / 2]
                        && back[length / 2..].iter().all(|&byte| byte == 7)
                );
                card.free(from);
                card.free(to);
            }
        }
        assert_eq!(card.memory().expect("memory"), (before, all));
        assert_eq!(card.allocate(all + 1), Err(DriverError::OutOfMemory { bytes: all + 1 }));
        // Beyond a buffer's end.
        let at = card.allocate(100).expect("room");
        assert!(text(card.upload(Stream::Compute, at, &[0; 101])).contains("upload: invalid argument"));
        assert!(text(card.fill(Stream::Copy, at.offset(1), 0, 100)).contains("fill: invalid argument"));
        card.free(at);
        card.free(at);
    };
    let misuses = [
        "cuMemcpyHtoDAsync_v2: 101 bytes at",
        "cuMemsetD8Async: 100 bytes at",
        "cuMemFree_v2: no buffer begins at",
    ];
    with_card("memory_is_copied_both_ways_on_both_streams", &[], within, &misuses);
}

#[test]
fn one_stream_waits_for_the_other_by_an_event_alone() {
    let within = || {
        let card = open();
        let at = card.allocate(4).expect("room");
        let mut back = [0; 4];
        card.upload(Stream::Copy, at, &[1, 2, 3, 4]).expect("copied");
        card.download(Stream::Compute, at, &mut back).expect("copied");
        assert_eq!(back, [0xff; 4], "nobody waited: this card is as late as one may be");
        let event = card.record(Stream::Copy).expect("recorded");
        card.wait(Stream::Compute, event).expect("waited for");
        card.download(Stream::Compute, at, &mut back).expect("copied");
        assert_eq!(back, [1, 2, 3, 4]);
        assert!(text(card.wait(Stream::Compute, event)).contains("no such event"));
        assert!(text(card.wait(Stream::Copy, Event(99))).contains("no such event"));
        // One that nobody waits for.
        card.record(Stream::Compute).expect("recorded");
        card.upload(Stream::Copy, at, &[5; 4]).expect("copied");
        card.synchronize().expect("waited for both");
        card.download(Stream::Compute, at, &mut back).expect("copied");
        assert_eq!(back, [5; 4]);
        card.free(at);
    };
    with_card("one_stream_waits_for_the_other_by_an_event_alone", &[], within, &[]);
}

#[test]
fn copies_that_were_begun_have_what_was_there_then() {
    let within = || {
        let card = open();
        let at = card.allocate(8).expect("room");
        let mut begun = Vec::new();
        for value in 0..5 {
            card.upload(Stream::Compute, at, &[value; 8]).expect("copied");
            begun.push((value, card.begin_download(at, 8).expect("begun")));
        }
        // In another order than they were begun.
        for (value, download) in begun.into_iter().rev() {
            let mut back = [9; 8];
            card.finish_download(download, &mut back).expect("finished");
            assert_eq!(back, [value; 8]);
            assert!(text(card.finish_download(download, &mut back)).contains("no such copy"));
        }
        assert!(text(card.begin_download(at, 1 << 20)).contains("are too many"));
        let begun = card.begin_download(at, 8).expect("begun");
        assert!(card.finish_download(begun, &mut [0; 4]).is_err(), "of another length");
        assert!(card.finish_download(Download(999), &mut [0; 4]).is_err());
        // Far more uploads than pinned memory has room for, while none is known to be done.
        let large = card.allocate(3 << 20).expect("room");
        let copies: Vec<_> = (1..20_u8)
            .map(|value| {
                card.upload(Stream::Compute, large, &vec![value; 3 << 20]).expect("copied");
                card.begin_download(large.offset(12_345), 1).expect("begun")
            })
            .collect();
        for (value, download) in (1..20_u8).zip(copies) {
            let mut back = [0];
            card.finish_download(download, &mut back).expect("finished");
            assert_eq!(back, [value]);
        }
        card.free(large);
        card.free(at);
    };
    with_card("copies_that_were_begun_have_what_was_there_then", &[], within, &[]);
}

#[test]
fn kernels_run_with_their_parameters() {
    let within = || {
        let card = open();
        let out = card.allocate(128 * 4).expect("room");
        card.launch(&constant(out, 2.0)).expect("launched");
        let mut back = [0; 128 * 4];
        card.download(Stream::Compute, out, &mut back).expect("copied");
        assert_eq!(numbers(&back), [256.0; 128]);
        let unknown = Launch { kernel: "no_such_kernel", ..constant(out, 1.0) };
        assert!(text(card.launch(&unknown)).contains("no module has such a kernel"));
        let wide = Launch { block: [2048, 1, 1], ..constant(out, 1.0) };
        assert!(text(card.launch(&wide)).contains("peak_bf16: invalid argument"));
        // As much shared memory as this card has, and more.
        card.launch(&Launch { shared_bytes: 163 << 10, ..constant(out, 3.0) }).expect("launched");
        let greedy = Launch { shared_bytes: (163 << 10) + 1, ..constant(out, 1.0) };
        assert!(text(card.launch(&greedy)).contains("peak_bf16: invalid argument"));
        card.download(Stream::Compute, out, &mut back).expect("copied");
        assert_eq!(numbers(&back), [384.0; 128]);
        card.free(out);
    };
    let misuses = ["a block of [2048, 1, 1] threads", "attribute 8 of peak_bf16"];
    with_card("kernels_run_with_their_parameters", &[], within, &misuses);
}

#[test]
fn kernels_may_begin_early_where_a_card_can_do_that() {
    let within = || {
        let device = Device::new(Arc::new(open()));
        let mut out = device.allocate(2 * 128).expect("room");
        products(&device, 0.5, 3.0, 5, &mut out).expect("launched");
        assert_eq!(out.to_vec().expect("copied"), [16.0 * 8.0 * 5.0 * 1.5; 256]);
    };
    let settings = [("LIBCUDA_CAPABILITY", "9.0")];
    with_card("kernels_may_begin_early_where_a_card_can_do_that", &settings, within, &[]);
}

#[test]
fn a_kernel_that_touches_what_is_freed_breaks_the_card_for_good() {
    let within = || {
        let card = open();
        let out = card.allocate(128 * 4).expect("room");
        card.free(out);
        // Nobody has waited yet.
        card.launch(&constant(out, 2.0)).expect("put on the stream");
        assert_eq!(text(card.synchronize()), "synchronize: an illegal memory access was encountered");
        assert_eq!(text(card.allocate(1)), "allocate: an illegal memory access was encountered");
        drop(card);
        // All of it has gone with the card.
        let card = open();
        let out = card.allocate(128 * 4).expect("room");
        card.launch(&constant(out, 2.0)).expect("launched");
        card.synchronize().expect("done");
        card.free(out);
    };
    let misuses = ["launch of peak_bf16: peak_bf16, block (0, 0, 0): thread"];
    with_card("a_kernel_that_touches_what_is_freed_breaks_the_card_for_good", &[], within, &misuses);
}

#[test]
fn what_is_captured_is_done_when_its_graph_is_launched() {
    let within = || {
        let card = open();
        let (first, second) = (card.allocate(128 * 4).expect("room"), card.allocate(128 * 4).expect("room"));
        // Loaded, which kernels must be before they are captured.
        card.launch(&constant(first, 1.0)).expect("launched");
        card.fill(Stream::Compute, second, 0, 128 * 4).expect("filled");
        card.begin_capture().expect("none is going on");
        card.launch(&constant(first, 2.0)).expect("captured");
        card.copy(Stream::Compute, first, second, 64 * 4).expect("captured");
        card.fill(Stream::Compute, first, 0, 128 * 4).expect("captured");
        // The other stream goes on meanwhile, and so does who waits for it.
        card.upload(Stream::Copy, first, &[0; 4]).expect("copied");
        assert!(text(card.begin_capture()).contains("begin capture: "));
        let graph = card.end_capture().expect("one is going on");
        assert!(text(card.end_capture()).contains("end capture: "));
        let contents = || {
            let mut back = [0; 128 * 4];
            let mut read = |at| {
                card.download(Stream::Compute, at, &mut back).expect("copied");
                numbers(&back)
            };
            (read(first), read(second))
        };
        assert_eq!(contents(), (vec![128.0; 128], vec![0.0; 128]), "nothing of it was done");
        for _ in 0..2 {
            card.launch_graph(graph).expect("launched");
            let half = [[256.0; 64], [0.0; 64]].concat();
            assert_eq!(contents(), (vec![0.0; 128], half));
            card.fill(Stream::Compute, second, 0, 128 * 4).expect("filled");
        }
        card.free_graph(graph);
        assert!(text(card.launch_graph(graph)).contains("there is no such graph"));
        assert!(text(card.launch_graph(Graph(99))).contains("there is no such graph"));
        card.free_graph(graph);
        card.free(first);
        card.free(second);
    };
    let misuses = ["the stream is captured already", "the stream is not captured"];
    with_card("what_is_captured_is_done_when_its_graph_is_launched", &[], within, &misuses);
}

#[test]
fn what_captures_do_not_allow_breaks_them_off_and_nothing_else() {
    let within = || {
        let card = open();
        let at = card.allocate(128 * 4).expect("room");
        let attempts: [&dyn Fn() -> Result<(), DriverError>; 6] = [
            &|| card.allocate(1).map(drop),
            &|| card.synchronize(),
            &|| card.download(Stream::Compute, at, &mut [0]),
            &|| card.begin_download(at, 1).map(drop),
            &|| card.record(Stream::Copy).and_then(|event| card.wait(Stream::Compute, event)),
            &|| {
                card.free(at);
                Err(DriverError::failed("free", "says nothing"))
            },
        ];
        for attempt in attempts {
            card.begin_capture().expect("none is going on");
            attempt().expect_err("a capture does not allow it");
            let error = text(card.end_capture());
            assert_eq!(error, "end capture: operation failed due to a previous error during capture");
            // Nothing is captured any more.
            card.fill(Stream::Compute, at, 1, 1).expect("filled");
            card.synchronize().expect("done");
        }
        // It was not freed.
        card.free(at);
        // Another thread cannot end it, and may do what it likes.
        card.begin_capture().expect("none is going on");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let at = card.allocate(1).expect("another thread's");
                card.free(at);
                assert!(text(card.end_capture()).contains("from another thread"));
            });
        });
        let graph = card.end_capture().expect("it was not broken off");
        card.free_graph(graph);
    };
    let misuses = [
        "cuMemAlloc_v2: a call that may wait for the card within a capture",
        "cuStreamSynchronize: a wait for the stream within a capture",
        "cuMemcpyDtoHAsync_v2: a copy from the card within a capture",
        "cuMemcpyDtoHAsync_v2: a copy from the card within a capture",
        "cuStreamWaitEvent: a capture waits for what is not of it",
        "cuMemFree_v2: a call that may wait for the card within a capture",
        "cuStreamEndCapture: another thread began the capture",
    ];
    with_card("what_captures_do_not_allow_breaks_them_off_and_nothing_else", &[], within, &misuses);
}

#[test]
fn a_card_that_is_dropped_leaves_nothing_whatever_was_going_on() {
    let within = || {
        for _ in 0..2 {
            let (card, other) = (open(), open());
            let at = card.allocate(128 * 4).expect("room");
            card.launch(&constant(at, 1.0)).expect("launched");
            card.record(Stream::Compute).expect("recorded");
            card.begin_download(at, 4).expect("begun");
            card.begin_capture().expect("none is going on");
            card.launch(&constant(at, 1.0)).expect("captured");
            card.end_capture().expect("one is going on");
            card.free(at);
            drop(card);
            other.synchronize().expect("it is open still");
            // On another thread than it was used on.
            std::thread::spawn(move || drop(other)).join().expect("dropped");
        }
    };
    with_card("a_card_that_is_dropped_leaves_nothing_whatever_was_going_on", &[], within, &[]);
}

#[test]
fn a_card_that_cannot_have_its_buffers_leaves_nothing() {
    // Kernels that are none: the card was half open.
    let within = || {
        let error = text(Card::open(0, &[("mine".to_owned(), vec![0_u8; 64].into())]));
        assert_eq!(error, "module mine: device kernel image is invalid");
        open().synchronize().expect("it opens all the same");
    };
    let misuses = ["cuModuleLoadData: the image is no fatbin"];
    with_card("a_card_that_cannot_have_its_buffers_leaves_nothing", &[], within, &misuses);
}

#[test]
fn a_card_that_is_lost_says_so_to_every_call_and_to_whoever_opens_it() {
    let name = "a_card_that_is_lost_says_so_to_every_call_and_to_whoever_opens_it";
    let folder = tempfile::tempdir().expect("a folder");
    let file: PathBuf = folder.path().join("lost");
    let within = || {
        let file = std::env::var("LIBCUDA_LOST").expect("given");
        let card = open();
        let at = card.allocate(128 * 4).expect("room");
        card.launch(&constant(at, 1.0)).expect("launched");
        std::fs::write(Path::new(&file), "").expect("written");
        let lost = |told: String| assert!(told.ends_with(": uncorrectable ECC error encountered"), "{told}");
        lost(text(card.synchronize()));
        lost(text(card.allocate(1)));
        lost(text(card.upload(Stream::Compute, at, &[0; 4])));
        lost(text(card.upload(Stream::Copy, at, &[0; 4])));
        lost(text(card.download(Stream::Compute, at, &mut [0; 4])));
        lost(text(card.begin_download(at, 4)));
        lost(text(card.copy(Stream::Compute, at, at, 4)));
        lost(text(card.fill(Stream::Compute, at, 0, 4)));
        lost(text(card.launch(&constant(at, 1.0))));
        lost(text(card.record(Stream::Compute)));
        lost(text(card.begin_capture()));
        lost(text(card.end_capture()));
        lost(text(card.memory()));
        card.free(at);
        drop(card);
        lost(text(SystemCards.open(0, None)));
        // One whose driver was started anew.
        std::fs::remove_file(&file).expect("removed");
        open().synchronize().expect("as new");
    };
    let settings = [("LIBCUDA_LOST", file.to_str().expect("text"))];
    with_card(name, &settings, within, &[]);
}
