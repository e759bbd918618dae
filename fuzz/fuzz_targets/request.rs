//! The body of a chat request, of any bytes, is read or told off, and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = lockgate_server::decode_chat(body);
});
