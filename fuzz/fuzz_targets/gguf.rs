//! A model file of any bytes, from the directory to one decode. Start it from small valid files: the test
//! `mutations` of the engine says how they are made.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../host/engine/tests/it/one_decode.rs"]
mod one_decode;

fuzz_target!(|bytes: &[u8]| {
    one_decode::run(bytes.to_vec());
});
