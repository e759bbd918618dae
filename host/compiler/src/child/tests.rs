use std::time::Instant;

use super::*;

const LIMITS: Limits = Limits {
    time_max: Duration::from_secs(20),
    time_per_mib: Duration::from_secs(1),
    memory_bytes_max: 1 << 30,
};

/// A shell script in the compiler's place.
fn compiled_by(script: &str, limits: &Limits) -> Result<Vec<u8>, CompileError> {
    let arguments = ["-c".to_owned(), script.to_owned()];
    compile(Path::new("/bin/sh"), &arguments, limits, b"component").map(|made| made.bytes().to_vec())
}

#[test]
fn what_the_program_makes_is_taken() {
    let made = compiled_by("printf '\\000'; exec tr a-z A-Z", &LIMITS).expect("it works");
    assert_eq!(made, b"COMPONENT");
}

#[test]
fn its_refusal_is_told_in_its_words() {
    let error = compiled_by("cat > /dev/null; printf '\\001not a component'", &LIMITS).expect_err("refused");
    assert_eq!(error.to_string(), "not a component");
}

#[test]
fn it_is_ended_when_it_takes_too_long() {
    let limits =
        Limits { time_max: Duration::from_millis(200), time_per_mib: Duration::from_millis(1), ..LIMITS };
    let began = Instant::now();
    for script in ["exec sleep 60", "printf '\\000'; exec sleep 60"] {
        let error = compiled_by(script, &limits).expect_err("too slow");
        assert!(matches!(error, CompileError::Time(_)), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "nobody waits for it");
}

#[test]
fn an_interpreter_may_take_longer_than_a_small_component() {
    let limits = Limits::default();
    assert_eq!(limits.time_for(0), Duration::from_secs(60));
    assert_eq!(limits.time_for(1), Duration::from_secs(70));
    assert_eq!(limits.time_for(18 << 20), Duration::from_secs(240));
    assert!(limits.time_for(u64::MAX) > limits.time_for(64 << 20));
}

#[test]
fn its_death_is_an_error_whatever_it_said_before() {
    for script in ["kill -9 $$", "printf '\\000half'; kill -9 $$", "exit 3", "exit 0", "printf '\\002'"] {
        let error = compiled_by(script, &LIMITS).expect_err("it is dead");
        assert!(matches!(error, CompileError::Died { .. }), "{script}: {error}");
    }
}

#[test]
fn it_knows_nothing_of_the_hosts_environment() {
    let made =
        compiled_by("printf '\\000'; printf '%s' \"${HOME:-none}${CARGO_MANIFEST_DIR:-none}\"", &LIMITS);
    assert_eq!(made.expect("it works"), b"nonenone");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let error = compile(Path::new("/no/such/program"), &[], &LIMITS, b"x").err().expect("no program");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}

#[test]
fn the_work_is_one_byte_and_then_code_or_words() {
    let engine = Engine::default();
    let mut output = Vec::new();
    work(&engine, &b"not wasm"[..], &mut output).expect("a vector takes it");
    assert_eq!(output[0], REFUSED);
    assert!(output.len() > 10 && output.len() <= WORDS_BYTES_MAX + 1);
    // An empty component.
    output.clear();
    work(&engine, &b"\0asm\x0d\0\x01\0"[..], &mut output).expect("a vector takes it");
    assert_eq!(output[0], DONE);
    let made = Trusted::vouch(output.split_off(1));
    made.load(&engine).expect("it is this engine's");
}
