//! A scenario file of any bytes is read or told off, and nothing else.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lockgate_workbench::scenario::parse;

fuzz_target!(|text: &str| {
    let _ = parse(Path::new("fuzz.scenario.toml"), text, &lockgate_server::decode_chat);
});
