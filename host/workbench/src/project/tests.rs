use std::fs;
use std::time::{Duration, SystemTime};

use super::*;

fn folder(file: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join(FILE), file).expect("it is written");
    fs::write(folder.path().join("policy.txt"), "first").expect("it is written");
    folder
}

fn project(folder: &tempfile::TempDir) -> Result<Project, ProjectError> {
    Project::read(folder.path()).map(|project| project.expect("there is a file"))
}

const COPIES: &str = r#"
build = ["sh", "-c", "mkdir -p out && cat policy.txt >> out/p.wasm"]
component = "out/p.wasm"
sources = ["policy.txt"]
"#;

#[test]
fn it_is_built_when_a_source_is_newer() {
    let folder = folder(COPIES);
    let built = || project(&folder).unwrap().build().expect("it builds");
    let text = || fs::read_to_string(built()).expect("it is there");
    assert_eq!(text(), "first");
    assert_eq!(text(), "first", "nothing has changed");
    let source = fs::File::options().write(true).open(folder.path().join("policy.txt")).unwrap();
    source.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
    assert_eq!(text(), "firstfirst");
}

#[test]
fn what_goes_wrong_is_told() {
    let told = |file: &str| {
        let folder = folder(file);
        project(&folder).and_then(|project| project.build()).expect_err("it does not build").to_string()
    };
    let failed = told(
        "build = [\"sh\", \"-c\", \"echo no tool >&2; exit 3\"]\ncomponent = \"p\"\nsources = [\"policy.txt\"]",
    );
    assert!(failed.contains("exit status: 3") && failed.ends_with("no tool"), "{failed}");
    assert!(
        told("build = [\"true\"]\ncomponent = \"p\"\nsources = [\"policy.txt\"]")
            .contains("left no component")
    );
    assert!(
        told("build = [\"no-such-tool\"]\ncomponent = \"p\"\nsources = [\"policy.txt\"]")
            .contains("cannot run")
    );
    assert!(told("build = [\"true\"]\ncomponent = \"p\"\nsources = [\"gone\"]").contains("gone"));
    assert!(told("build = []\ncomponent = \"p\"\nsources = [\"policy.txt\"]").contains("`build` is empty"));
    let unknown = told("build = [\"true\"]\ncomponents = \"p\"\nsources = []");
    assert!(unknown.contains("policy.toml:2:1") && unknown.contains("component"), "{unknown}");
}

#[test]
fn a_folder_without_the_file_is_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(Project::read(folder.path()).expect("no mistake").is_none());
}
