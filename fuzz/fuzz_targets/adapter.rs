//! An adapter's files of any bytes, from the directory to one decode with it. Start it from small valid files: the test
//! `adapter_mutations` of the engine says how they are made, `Files::split` how PEFT's two become one input.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../host/engine/tests/it/one_adapted.rs"]
mod one_adapted;

use one_adapted::{Base, Files};

static BASE: OnceLock<Base> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    BASE.get_or_init(Base::new).run(Files::split(bytes));
});
