//! The GGUF reader against valid files and against every way of breaking one that has broken others' readers.

use super::tensor::all_types;
use super::*;

/// Where the pieces of [`small`] lie, for tests that damage them.
struct Marks {
    bytes: Vec<u8>,
}

impl Marks {
    fn find(&self, needle: &[u8]) -> usize {
        self.bytes
            .windows(needle.len())
            .position(|window| window == needle)
            .expect("the needle is in the file")
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

fn small() -> Marks {
    let mut writer = GgufWriter::new();
    writer
        .metadata("general.architecture", "llama")
        .metadata("some.count", 7u32)
        .metadata("some.flag", true)
        .metadata("some.words", vec!["a", "bc", ""])
        .metadata("some.scores", vec![1.0f32, -2.5])
        .tensor("first", &[4, 2], TensorType::F32, (0..32).collect())
        .tensor("second", &[32], TensorType::Q8_0, vec![9; 34]);
    Marks { bytes: writer.finish() }
}

fn read(bytes: Vec<u8>) -> Result<Gguf, GgufError> {
    Gguf::read(Box::new(bytes), "test.gguf", &Limits::default())
}

/// Reads `bytes`, which must be refused with a message that begins with the file and contains `expected`.
#[track_caller]
fn check_refused(bytes: Vec<u8>, expected: &str) {
    let message = read(bytes).expect_err("the file must be refused").to_string();
    assert!(message.starts_with("test.gguf: "), "{message}");
    assert!(message.contains(expected), "expected `{expected}` in: {message}");
}

#[test]
fn a_written_file_reads_back() {
    for version in [2, 3] {
        let mut writer = GgufWriter::new();
        let values: Vec<(&str, Value)> = vec![
            ("u8", 1u8.into()),
            ("i8", (-1i8).into()),
            ("u16", 2u16.into()),
            ("i16", (-2i16).into()),
            ("u32", 3u32.into()),
            ("i32", (-3i32).into()),
            ("f32", 0.5f32.into()),
            ("bool", true.into()),
            ("string", "ünï".into()),
            ("u64", u64::MAX.into()),
            ("i64", i64::MIN.into()),
            ("f64", 0.25f64.into()),
            ("array.u8", vec![1u8, 2].into()),
            ("array.i8", vec![-1i8].into()),
            ("array.u16", vec![1u16].into()),
            ("array.i16", vec![-1i16].into()),
            ("array.u32", vec![1u32].into()),
            ("array.i32", vec![-1i32].into()),
            ("array.f32", vec![1.5f32].into()),
            ("array.bool", vec![true, false].into()),
            ("array.strings", vec!["x", "", "yz"].into()),
            ("array.u64", vec![1u64].into()),
            ("array.i64", vec![-1i64].into()),
            ("array.f64", vec![1.5f64].into()),
            ("array.long", vec![7u32; 100_000].into()),
            ("array.empty", Vec::<u32>::new().into()),
            ("string.long", "ab".repeat(50_000).into()),
        ];
        writer.version(version);
        for (key, value) in &values {
            writer.metadata(*key, value.clone());
        }
        let data: Vec<u8> = (0..=255).cycle().take(3 * 2 * 34).collect();
        writer.tensor("m", &[32, 3, 2], TensorType::Q8_0, data.clone());
        let gguf = read(writer.finish()).expect("valid");
        assert_eq!(gguf.version(), version);
        let found: Vec<_> = gguf.metadata().iter().map(|(key, value)| (key, value.clone())).collect();
        assert_eq!(found, values);
        let tensor = gguf.tensor("m").expect("there");
        assert_eq!((tensor.columns(), tensor.rows(), tensor.elements()), (32, 6, 192));
        assert_eq!(tensor.offset % ALIGNMENT_DEFAULT, 0);
        let mut read_back = vec![0; 34];
        gguf.read_data(tensor, 34, &mut read_back).expect("inside");
        assert_eq!(read_back, data[34..68]);
    }
}

#[test]
fn a_file_on_disk_reads_like_one_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    std::fs::write(&path, small().bytes).unwrap();
    let gguf = Gguf::open(&path).expect("valid");
    let mut data = [0; 4];
    gguf.read_data(gguf.tensor("first").unwrap(), 28, &mut data).unwrap();
    assert_eq!(data, [28, 29, 30, 31]);

    let message = Gguf::open(&folder.path().join("none.gguf")).unwrap_err().to_string();
    assert!(message.contains("none.gguf: cannot read"), "{message}");
    let message = Gguf::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("not a regular file"), "{message}");
}

#[test]
fn a_file_cut_after_it_was_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    std::fs::write(&path, small().bytes).unwrap();
    let gguf = Gguf::open(&path).expect("valid");
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    let tensor = gguf.tensor("second").unwrap();
    let error = gguf.read_data(tensor, 0, &mut [0; 34]).expect_err("cut");
    assert!(matches!(error.problem, Problem::Read { .. }), "{error}");
}

#[test]
fn data_is_read_only_within_its_tensor() {
    let gguf = read(small().bytes).unwrap();
    let tensor = gguf.tensor("first").unwrap();
    assert!(gguf.read_data(tensor, 0, &mut [0; 33]).is_err());
    assert!(gguf.read_data(tensor, 32, &mut [0; 1]).is_err());
    assert!(gguf.read_data(tensor, u64::MAX, &mut [0; 1]).is_err());
    assert!(gguf.read_data(tensor, 32, &mut []).is_ok());
}

#[test]
fn a_vocabulary_only_file_has_no_tensors() {
    let mut writer = GgufWriter::new();
    writer.metadata("tokenizer.ggml.tokens", vec!["a", "b"]);
    let gguf = read(writer.finish()).expect("valid");
    assert_eq!(gguf.tensors().len(), 0);
    assert_eq!(gguf.metadata().array_of_strings("tokenizer.ggml.tokens").unwrap(), ["a", "b"]);
}

#[test]
fn the_type_table_is_in_the_order_of_the_enum() {
    for tensor_type in all_types() {
        assert_eq!(TensorType::from_number(tensor_type.number()), Some(tensor_type));
        assert_eq!(format!("{tensor_type:?}"), tensor_type.name());
    }
    assert_eq!(TensorType::from_number(4), None);
    assert_eq!(TensorType::Q4_K.bytes_of(512), Some(288));
    assert_eq!(TensorType::Q4_K.bytes_of(511), None);
    assert_eq!(TensorType::F64.bytes_of(u64::MAX), None);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = small().bytes;
    for length in 0..bytes.len() {
        assert!(read(bytes[..length].to_vec()).is_err(), "cut to {length} bytes");
    }
    check_refused(
        bytes[..bytes.len() - 1].to_vec(),
        "tensor `second` needs 34 bytes but the file has 33 left",
    );
}

#[test]
fn another_kind_of_file_is_named() {
    check_refused(b"PK\x03\x04 a zip archive".to_vec(), r"not a GGUF file: it begins with PK\x03\x04");
    check_refused(small().put(4, &1u32.to_le_bytes()).bytes.clone(), "GGUF version 1 is not supported");
    check_refused(small().put(4, &4u32.to_le_bytes()).bytes.clone(), "GGUF version 4 is not supported");
    check_refused(small().put(4, &3u32.to_be_bytes()).bytes.clone(), "big-endian");
}

#[test]
fn counts_are_checked_before_anything_is_reserved() {
    for count in [1 << 60, u64::MAX, u64::MAX / 13 + 2, 70_000] {
        let limit = "over the limit";
        check_refused(small().put(8, &count.to_le_bytes()).bytes.clone(), limit);
        check_refused(small().put(16, &count.to_le_bytes()).bytes.clone(), limit);
    }
    check_refused(
        small().put(8, &60_000u64.to_le_bytes()).bytes.clone(),
        "the tensor directory needs 1920000 bytes",
    );
    check_refused(small().put(16, &16_000u64.to_le_bytes()).bytes.clone(), "the metadata needs 208000 bytes");
}

#[test]
fn string_lengths_are_checked() {
    for length in [1 << 60, u64::MAX, u64::MAX - 7] {
        let mut file = small();
        let key = file.find(b"general.architecture") - 8;
        check_refused(file.put(key, &length.to_le_bytes()).bytes.clone(), "the length of a metadata key");
        let mut file = small();
        let value = file.find(b"llama") - 8;
        let expected = "the length of the value of key `general.architecture`";
        check_refused(file.put(value, &length.to_le_bytes()).bytes.clone(), expected);
        let mut file = small();
        let name = file.find(b"first") - 8;
        check_refused(file.put(name, &length.to_le_bytes()).bytes.clone(), "the length of a tensor name");
    }
    let mut file = small();
    let value = file.find(b"llama") - 8;
    check_refused(file.put(value, &(1u64 << 20).to_le_bytes()).bytes.clone(), "needs 1048576 bytes but");
}

#[test]
fn array_lengths_are_checked_against_the_width_of_their_elements() {
    for (key, bytes_each) in [("some.words", 8u64), ("some.scores", 4)] {
        let mut file = small();
        let length = file.find(key.as_bytes()) + key.len() + 4 + 4;
        // In bytes this wraps to a small number.
        let wrapping = (u64::MAX / bytes_each).wrapping_add(2);
        check_refused(file.put(length, &wrapping.to_le_bytes()).bytes.clone(), "over the limit of 16777216");
        let fits_only_as_bytes = file.bytes.len() as u64 - length as u64 - 8;
        check_refused(file.put(length, &fits_only_as_bytes.to_le_bytes()).bytes.clone(), "left");
    }
}

#[test]
fn unknown_and_nested_types_fail_at_once() {
    let mut file = small();
    let count = file.find(b"some.count") + "some.count".len();
    check_refused(
        file.put(count, &13u32.to_le_bytes()).bytes.clone(),
        "key `some.count` has the unknown value type 13",
    );
    let mut file = small();
    let element = file.find(b"some.words") + "some.words".len() + 4;
    check_refused(
        file.put(element, &9u32.to_le_bytes()).bytes.clone(),
        "key `some.words` holds an array of arrays",
    );
    check_refused(file.put(element, &77u32.to_le_bytes()).bytes.clone(), "unknown value type 77");
    let mut file = small();
    let tensor_type = file.find(b"first") + "first".len() + 4 + 16;
    for number in [4, 5, 31, 40, u32::MAX] {
        let expected = format!("tensor `first` has the unknown type {number}");
        check_refused(file.put(tensor_type, &number.to_le_bytes()).bytes.clone(), &expected);
    }
}

#[test]
fn booleans_and_texts_are_checked() {
    let mut file = small();
    let flag = file.find(b"some.flag") + "some.flag".len() + 4;
    check_refused(file.put(flag, &[2]).bytes.clone(), "key `some.flag` holds the boolean 2");
    let mut file = small();
    let text = file.find(b"llama");
    check_refused(file.put(text, &[0xff]).bytes.clone(), "not valid UTF-8");
}

#[test]
fn duplicates_and_empty_names_are_refused() {
    let mut writer = GgufWriter::new();
    writer.metadata("twice", 1u32).metadata("twice", 1u32);
    check_refused(writer.finish(), "key `twice` occurs twice");
    let mut writer = GgufWriter::new();
    writer.tensor("t", &[1], TensorType::I8, vec![0]).tensor("t", &[1], TensorType::I8, vec![0]);
    check_refused(writer.finish(), "tensor `t` occurs twice");
    let mut writer = GgufWriter::new();
    writer.metadata("", 1u32);
    check_refused(writer.finish(), "a metadata key is empty");
    let mut writer = GgufWriter::new();
    writer.tensor("", &[1], TensorType::I8, vec![0]);
    check_refused(writer.finish(), "a tensor name is empty");
}

/// Many distinct keys must not cost a comparison of each with each.
#[test]
fn duplicates_are_found_without_comparing_all_pairs() {
    let mut writer = GgufWriter::new();
    for number in 0..16_384 {
        writer.metadata(format!("key.{number}"), 1u8);
    }
    assert_eq!(read(writer.finish()).expect("within the quota").metadata().len(), 16_384);
    writer.metadata("one.more", 1u8);
    check_refused(writer.finish(), "is 16385, over the limit of 16384");
}

#[test]
fn dimensions_cannot_wrap() {
    let name_end = "first".len();
    let set = |dimensions: [u64; 2]| {
        let mut file = small();
        let at = file.find(b"first") + name_end + 4;
        file.put(at, &dimensions[0].to_le_bytes()).put(at + 8, &dimensions[1].to_le_bytes()).bytes.clone()
    };
    // The products are 0, 4 and 2⁶² modulo 2⁶⁴; the last overflows only when multiplied by four bytes.
    check_refused(set([1 << 32, 1 << 32]), "the size of tensor `first` overflows");
    check_refused(set([(1 << 62) + 1, 4]), "the size of tensor `first` overflows");
    check_refused(set([1 << 31, 1 << 31]), "the size of tensor `first` overflows");
    check_refused(set([1 << 40, 4]), "tensor `first` needs 17592186044416 bytes");
    check_refused(set([0, 2]), "tensor `first` has the dimensions [0, 2]");
    for count in [0u32, 5, u32::MAX] {
        let mut file = small();
        let at = file.find(b"first") + name_end;
        check_refused(
            file.put(at, &count.to_le_bytes()).bytes.clone(),
            &format!("has the dimensions [{count}]"),
        );
    }
}

#[test]
fn rows_are_whole_blocks() {
    let mut file = small();
    let at = file.find(b"second") + "second".len() + 4;
    check_refused(
        file.put(at, &33u64.to_le_bytes()).bytes.clone(),
        "`second` have 33 elements, not a multiple of the 32",
    );
}

#[test]
fn offsets_are_aligned_inside_the_file_and_apart() {
    let offset = |name: &str, dimensions: usize, value: u64| {
        let mut file = small();
        let at = file.find(name.as_bytes()) + name.len() + 4 + 8 * dimensions + 4;
        file.put(at, &value.to_le_bytes()).bytes.clone()
    };
    check_refused(
        offset("second", 1, 33),
        "tensor `second` begins at 33, not a multiple of the alignment 32",
    );
    check_refused(offset("second", 1, u64::MAX - 31), "the end of tensor `second` overflows");
    check_refused(
        offset("second", 1, u64::MAX - 511),
        "tensor `second` needs 34 bytes but the file has 0 left",
    );
    check_refused(offset("second", 1, 1 << 40), "tensor `second` needs 34 bytes but the file has 0 left");
    check_refused(offset("second", 1, 0), "overlap in the file");
}

#[test]
fn alignments_are_powers_of_two_within_bounds() {
    let with = |value: Value| {
        let mut writer = GgufWriter::new();
        writer.metadata("general.alignment", value).tensor("t", &[1], TensorType::I8, vec![5]);
        writer.finish()
    };
    for good in [8u32, 64, 1 << 20] {
        let gguf = read(with(good.into())).expect("a valid alignment");
        let mut data = [0];
        gguf.read_data(gguf.tensor("t").unwrap(), 0, &mut data).unwrap();
        assert_eq!(data, [5]);
    }
    for bad in [0u32, 1, 4, 24, 1 << 21] {
        check_refused(with(bad.into()), &format!("`general.alignment` is {bad};"));
    }
    check_refused(with("32".into()), "`general.alignment` is of type string");
    check_refused(with(32u64.into()), "`general.alignment` is of type u64");
}

#[test]
fn the_directory_has_a_quota() {
    let limits = Limits { directory_bytes_max: 150, ..Limits::default() };
    let error = Gguf::read(Box::new(small().bytes), "test.gguf", &limits).expect_err("over the quota");
    assert!(matches!(error.problem, Problem::Quota { limit: 150, .. }), "{error}");
}

#[test]
fn getters_name_key_expected_and_found() {
    let gguf = read(small().bytes).unwrap();
    let metadata = gguf.metadata();
    assert_eq!(metadata.string("general.architecture"), Ok("llama"));
    assert_eq!(metadata.u32("some.count"), Ok(7));
    assert_eq!(metadata.bool("some.flag"), Ok(true));
    assert_eq!(metadata.array_of_f32("some.scores"), Ok(&[1.0, -2.5][..]));
    assert_eq!(optional(metadata.u32("absent")), Ok(None));
    let messages = [
        metadata.string("some.count").unwrap_err().to_string(),
        metadata.u32("some.flag").unwrap_err().to_string(),
        metadata.f32("some.count").unwrap_err().to_string(),
        metadata.array_of_i32("some.words").unwrap_err().to_string(),
        metadata.bool("absent").unwrap_err().to_string(),
        optional(metadata.array_of_strings("some.scores")).unwrap_err().to_string(),
    ];
    let expected = [
        "key `some.count` must be a string, but it is u32;",
        "key `some.flag` must be an unsigned 32-bit integer, but it is bool;",
        "key `some.count` must be a finite 32-bit float, but it is u32;",
        "key `some.words` must be an array of 32-bit integers, but it is array of strings;",
        "key `absent` (a boolean) is missing;",
        "key `some.scores` must be an array of strings, but it is array of f32;",
    ];
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn integers_of_any_width_are_read_where_they_fit() {
    let mut metadata = Metadata::new();
    metadata.insert("small", 5u8);
    metadata.insert("wide", 5u64);
    metadata.insert("negative", -1i32);
    metadata.insert("huge", u64::MAX);
    metadata.insert("unsigned", vec![1u32, u32::MAX]);
    metadata.insert("nan", f32::NAN);
    assert_eq!((metadata.u32("small"), metadata.u32("wide")), (Ok(5), Ok(5)));
    assert_eq!(metadata.u64("huge"), Ok(u64::MAX));
    assert!(matches!(metadata.u32("huge"), Err(MetadataError::OutOfRange { .. })));
    assert!(matches!(metadata.u32("negative"), Err(MetadataError::OutOfRange { .. })));
    assert!(matches!(metadata.array_of_i32("unsigned"), Err(MetadataError::OutOfRange { .. })));
    assert!(matches!(metadata.f32("nan"), Err(MetadataError::OutOfRange { .. })));
}
