//! What a server beyond this process answers, of any bytes: streams in any pieces, documents, failures.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lockgate_providers::fuzzing::read(bytes));
