use super::peft::stored_row;
use super::plan::ends_with;
use super::*;

#[test]
fn modules_are_in_the_order_of_the_enum() {
    for (index, module) in Module::ALL.into_iter().enumerate() {
        assert_eq!(module as usize, index);
    }
}

#[test]
fn a_pattern_fits_whole_names_at_the_end() {
    let path = "model.layers.3.self_attn.q_proj";
    for ending in ["q_proj", "self_attn.q_proj", "3.self_attn.q_proj", path] {
        assert!(ends_with(path, ending), "{ending}");
    }
    for ending in ["proj", "k_proj", "attn.q_proj", "xmodel.layers.3.self_attn.q_proj", "self_attn"] {
        assert!(!ends_with(path, ending), "{ending}");
    }
}

/// A head of six: 0 is rotated with 3, 1 with 4, 2 with 5, and files store such pairs as neighbours.
#[test]
fn pairs_that_are_rotated_become_neighbours() {
    let rows: Vec<usize> = (0..12).map(|row| stored_row(row, 6)).collect();
    assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
}

#[test]
fn a_folder_is_two_files_and_so_is_the_one_in_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = AdapterFile::files(folder.path());
    let weights = folder.path().join("adapter_model.safetensors");
    assert_eq!(files, [folder.path().join("adapter_config.json"), weights.clone()]);
    assert_eq!(AdapterFile::files(&weights), files);
    let gguf = folder.path().join("adapter.gguf");
    assert_eq!(AdapterFile::files(&gguf), std::slice::from_ref(&gguf));

    let message = |path: &std::path::Path| AdapterFile::open(path).expect_err("nothing there").to_string();
    assert!(message(folder.path()).contains("give a GGUF file, or a folder with adapter_config.json"));
    std::fs::write(folder.path().join("adapter_model.bin"), "").expect("it is written");
    assert!(message(folder.path()).contains("safe_serialization=True"));
    assert!(message(&gguf).contains("adapter.gguf: cannot read"));
    std::fs::write(&gguf, "GGUX").expect("it is written");
    assert!(message(&gguf).contains("not a GGUF file"));
    std::fs::write(folder.path().join("adapter_config.json"), vec![b' '; (1 << 20) + 1])
        .expect("it is written");
    std::fs::write(&weights, "").expect("it is written");
    assert!(message(folder.path()).contains("over 1048576 bytes"));
}
