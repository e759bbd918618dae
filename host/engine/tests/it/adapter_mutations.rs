//! Damaged and hostile adapters: some ten thousand mutations of small valid ones, each taken from the bytes to one
//! decode where it loads. None panics, and none allocates beyond a cap. As for model files, every mutation is made
//! by a fixed rule, so that a failure names one that can be run again.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::allocations::allocation_peak;
use super::lora::{Lora, Stored};
use super::mutations::{HOSTILE, Random, fields};
use super::one_adapted::{Base, Files, Outcome, SHAPE};

/// The files are about ten kilobytes; the rest is the decode's own.
const PEAK_BYTES_MAX: usize = 2 << 20;

struct Counts {
    base: Base,
    refused: usize,
    decoded: usize,
}

impl Counts {
    #[track_caller]
    fn check(&mut self, files: Files, what: &dyn Fn() -> String) {
        let run = || catch_unwind(AssertUnwindSafe(|| self.base.run(files)));
        let (result, peak_bytes) = allocation_peak(run);
        assert!(peak_bytes <= PEAK_BYTES_MAX, "{} makes {peak_bytes} bytes be held", what());
        match result.unwrap_or_else(|_| panic!("{} panics", what())) {
            Outcome::Refused => self.refused += 1,
            Outcome::Decoded => self.decoded += 1,
        }
    }

    /// Flips, cuts and moves within the first `end` bytes; `files` makes the files of the changed bytes.
    fn change(&mut self, original: &[u8], end: usize, name: &str, files: &dyn Fn(Vec<u8>) -> Files) {
        let mut random = Random(original.len() as u64);
        for number in 0..1_200 {
            let mut bytes = original.to_vec();
            for _ in 0..=random.below(3) {
                // Mostly where the directory is; weights may hold anything that is finite.
                let end = if random.below(8) == 0 { bytes.len() } else { end };
                let at = random.below(end);
                bytes[at] ^= 1 << random.below(8);
            }
            self.check(files(bytes), &|| format!("{name}: flips number {number}"));
        }
        for number in 0..300 {
            let length = random.below(original.len());
            self.check(files(original[..length].to_vec()), &|| format!("{name}: cut {number}, to {length}"));
        }
        for number in 0..400 {
            // Pieces moved within the file: names become numbers, one tensor's place another's.
            let mut bytes = original.to_vec();
            let length = 1 + random.below(40);
            let (from, to) = (random.below(end - length), random.below(end - length));
            bytes.copy_within(from..from + length, to);
            self.check(files(bytes), &|| {
                format!("{name}: move {number}, {length} bytes from {from} to {to}")
            });
        }
    }

    /// Every number in a text within the file, replaced by each hostile one.
    fn numerals(
        &mut self,
        original: &[u8],
        text: Range<usize>,
        name: &str,
        files: &dyn Fn(Vec<u8>) -> Files,
    ) {
        let is_digit = |at: usize| original[at].is_ascii_digit();
        let starts: Vec<usize> =
            (text.start + 1..text.end).filter(|at| is_digit(*at) && !is_digit(at - 1)).collect();
        for start in starts.iter().copied().step_by(starts.len().div_ceil(60)) {
            let length = (start..text.end).take_while(|at| is_digit(*at)).count();
            for hostile in HOSTILE {
                let mut bytes = original.to_vec();
                bytes.splice(start..start + length, hostile.to_string().bytes());
                self.check(files(bytes), &|| format!("{name}: {hostile} at byte {start}"));
            }
        }
    }
}

/// A file that was `original` bytes long before its directory was changed, and says how long that is now.
fn with_length(mut file: Vec<u8>, original: usize) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    let length = (length + file.len() as u64) - original as u64;
    file[..8].copy_from_slice(&length.to_le_bytes());
    file
}

#[test]
fn no_mutation_of_an_adapter_panics_or_allocates_without_bound() {
    let mut counts = Counts { base: Base::new(), refused: 0, decoded: 0 };
    let lora = Lora::random(&SHAPE, &[0, 1, 3, 6], 2, 1);
    let (settings, weights) = (lora.settings().to_string().into_bytes(), lora.weights(Stored::F32));
    let gguf = lora.gguf_writer(Stored::F16).finish();
    let peft = |settings: &[u8], weights: Vec<u8>| Files::Peft { settings: settings.to_vec(), weights };

    counts.check(peft(&settings, weights.clone()), &|| "PEFT's files as they are".to_owned());
    counts.check(Files::Gguf(gguf.clone()), &|| "the GGUF file as it is".to_owned());
    assert_eq!(counts.decoded, 2, "the files are valid before they are mutated");

    let header_end = 8 + u64::from_le_bytes(weights[..8].try_into().expect("eight bytes")) as usize;
    counts.change(&weights, header_end, "weights", &|bytes| peft(&settings, bytes));
    let whole = weights.len();
    counts.numerals(&weights, 8..header_end, "weights", &|bytes| peft(&settings, with_length(bytes, whole)));
    for hostile in HOSTILE {
        let mut bytes = weights.clone();
        bytes[..8].copy_from_slice(&hostile.to_le_bytes());
        counts.check(peft(&settings, bytes), &|| format!("a directory of {hostile} bytes"));
    }
    let with_settings = |bytes: Vec<u8>| peft(&bytes, weights.clone());
    counts.change(&settings, settings.len(), "settings", &with_settings);
    counts.numerals(&settings, 0..settings.len(), "settings", &with_settings);

    let numbers: Vec<_> = fields(&gguf).into_iter().filter(|(_, width)| *width >= 4).collect();
    for (at, width) in numbers.iter().copied() {
        for hostile in HOSTILE {
            let mut bytes = gguf.clone();
            bytes[at..at + width].copy_from_slice(&hostile.to_le_bytes()[..width]);
            counts.check(Files::Gguf(bytes), &|| format!("gguf: {hostile:#x} at byte {at}"));
        }
    }
    let directory_end = numbers.iter().map(|(at, width)| at + width).max().expect("fields");
    counts.change(&gguf, directory_end, "gguf", &Files::Gguf);

    let Counts { refused, decoded, .. } = counts;
    assert!(refused + decoded >= 7_000, "{refused} refused, {decoded} decoded");
    // Were all refused at the door, nothing behind it would have been tested.
    assert!(decoded >= 300 && refused >= 3_000, "{refused} refused, {decoded} decoded");
}
