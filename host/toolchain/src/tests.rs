use std::fs;

use super::*;

const WIT: &str = "package local:policy;\nworld policy { import now: func() -> u64; export route: func(); }";

#[test]
fn a_world_gives_a_header_a_source_and_an_object() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("policy.wit"), WIT).expect("it is written");
    let files = c_bindings(folder.path(), None).expect("the world is sound");
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["policy.c", "policy.h", "policy_component_type.o"]);
    let header = String::from_utf8(files[1].bytes.clone()).expect("it is text");
    assert!(header.contains("uint64_t policy_now(void)"), "{header}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("policy.wit"), "package local:policy;\nworld policy { imprt x; }").unwrap();
    let error = c_bindings(folder.path(), None).expect_err("it is no WIT").to_string();
    assert!(error.contains("policy.wit:2:16"), "{error}");
    fs::write(folder.path().join("policy.wit"), WIT).unwrap();
    let error = c_bindings(folder.path(), Some("other")).expect_err("there is no such world").to_string();
    assert!(error.contains("other"), "{error}");
}

#[test]
fn bytes_that_are_no_module_of_a_policy_are_refused() {
    for bytes in [&b""[..], b"\0asm\x01\0\0", b"\0asm\x0d\0\x01\0", b"int main(void) {}"] {
        assert!(matches!(component(bytes), Err(ToolchainError::Module(_))), "{bytes:?}");
    }
}
