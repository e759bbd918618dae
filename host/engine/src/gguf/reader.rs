//! Reads and checks the directory of a GGUF file: header, metadata, tensor descriptions.
//!
//! ```text
//! "GGUF" u32:version u64:tensors u64:keys
//! keys    × (string:key u32:type value)                       string = u64:length bytes
//! tensors × (string:name u32:n n×u64:dimension u32:type u64:offset)
//! padding to the alignment, then the data; offsets count from there
//! ```
//! Tensor data stays in the file until [`Gguf::read_data`] asks for some of it.

use std::collections::HashSet;
use std::path::Path;

use lockgate_kernels::random::RandomWeights;

use super::cursor::Cursor;
use super::error::{GgufError, Problem};
use super::limits::{ALIGNMENT_BYTES_MAX, ALIGNMENT_BYTES_MIN, DIMENSIONS_MAX, Limits};
use super::metadata::Metadata;
use super::read_at::{FileSource, ReadAt};
use super::tensor::{TensorInfo, TensorType};
use super::value::{Array, Value};
use super::{ALIGNMENT_DEFAULT, MAGIC};

/// A GGUF file whose directory has been read and checked.
pub struct Gguf {
    file: String,
    source: Box<dyn ReadAt>,
    version: u32,
    metadata: Metadata,
    tensors: indexmap::IndexMap<String, TensorInfo>,
}

impl std::fmt::Debug for Gguf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gguf")
            .field("file", &self.file)
            .field("version", &self.version)
            .field("keys", &self.metadata.len())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

impl Gguf {
    /// Opens the file at `path` and checks its directory under the default [`Limits`].
    ///
    /// # Errors
    /// Whatever is wrong with the file, named with its path.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file = path.display().to_string();
        match FileSource::open(path) {
            Ok(source) => Self::read(Box::new(source), file, &Limits::default()),
            Err(reason) => Err(GgufError { file, problem: Problem::Read { offset: 0, reason } }),
        }
    }

    /// Reads and checks the directory of `source`; `file` names it in messages.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn read(
        source: Box<dyn ReadAt>,
        file: impl Into<String>,
        limits: &Limits,
    ) -> Result<Self, GgufError> {
        let file = file.into();
        match read_directory(source.as_ref(), limits) {
            Ok((version, metadata, tensors)) => Ok(Self { file, source, version, metadata, tensors }),
            Err(problem) => Err(GgufError { file, problem }),
        }
    }

    /// The name that messages use for this file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The format's version: 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in file order. A vocabulary-only file has none.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// The tensor of this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Fills `target` with the data of `tensor` from its byte `start` on. May be called from several threads.
    ///
    /// # Errors
    /// The range is outside the tensor, or the file cannot be read any more.
    pub fn read_data(&self, tensor: &TensorInfo, start: u64, target: &mut [u8]) -> Result<(), GgufError> {
        let needed = target.len() as u64;
        let remaining = tensor.size_bytes.saturating_sub(start);
        let problem = if needed > remaining {
            let what = format!("tensor `{}`", tensor.name);
            Problem::Truncated { what, offset: tensor.offset.saturating_add(start), needed, remaining }
        } else {
            // The directory check has shown that offset + size_bytes is inside the file.
            let offset = tensor.offset + start;
            match self.source.read_exact_at(target, offset) {
                Ok(()) => return Ok(()),
                Err(reason) => Problem::Read { offset, reason },
            }
        };
        Err(GgufError { file: self.file.clone(), problem })
    }

    /// The rule by which the matrix `tensor` may be made where it is computed with, if it has one.
    pub(crate) fn rule(&self, tensor: &TensorInfo) -> Option<RandomWeights> {
        self.source.rule_at(tensor.offset)
    }
}

type Directory = (u32, Metadata, indexmap::IndexMap<String, TensorInfo>);

fn read_directory(source: &dyn ReadAt, limits: &Limits) -> Result<Directory, Problem> {
    let mut cursor = Cursor::new(source, limits.directory_bytes_max);
    let found: [u8; 4] = cursor.array("the header")?;
    if found != MAGIC {
        return Err(Problem::Magic { found });
    }
    let version = cursor.u32("the header")?;
    match version {
        2 | 3 => {}
        _ if (1..=0xffff).contains(&version.swap_bytes()) => {
            return Err(Problem::BigEndian { found: version });
        }
        _ => return Err(Problem::Version { found: version }),
    }
    let tensor_count = cursor.u64("the number of tensors")?;
    let key_count = cursor.u64("the number of metadata keys")?;
    let metadata = read_metadata(&mut cursor, key_count, limits)?;
    let alignment = alignment(&metadata)?;
    let mut tensors = read_tensors(&mut cursor, tensor_count, limits)?;
    place_tensors(&mut tensors, cursor.position(), alignment, source.size_bytes())?;
    let tensors =
        tensors.into_iter().map(|described| (described.info.name.clone(), described.info)).collect();
    Ok((version, metadata, tensors))
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64, limits: &Limits) -> Result<Metadata, Problem> {
    // A key costs at least its length, its type and one byte of value.
    cursor.need_elements(count, 8 + 4 + 1, limits.keys_max, "the metadata")?;
    let mut metadata = Metadata::new();
    for _ in 0..count {
        let offset = cursor.position();
        let key = cursor.string(limits.key_bytes_max, "a metadata key")?;
        if key.is_empty() {
            return Err(Problem::EmptyName { what: "a metadata key", offset });
        }
        if metadata.contains(&key) {
            return Err(Problem::DuplicateKey { key, offset });
        }
        let value = read_value(cursor, &key, limits)?;
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn read_value(cursor: &mut Cursor<'_>, key: &str, limits: &Limits) -> Result<Value, Problem> {
    let what = format!("the value of key `{key}`");
    let offset = cursor.position();
    let value_type = cursor.u32(&what)?;
    Ok(match value_type {
        0 => Value::U8(u8::from_le_bytes(cursor.array(&what)?)),
        1 => Value::I8(i8::from_le_bytes(cursor.array(&what)?)),
        2 => Value::U16(u16::from_le_bytes(cursor.array(&what)?)),
        3 => Value::I16(i16::from_le_bytes(cursor.array(&what)?)),
        4 => Value::U32(u32::from_le_bytes(cursor.array(&what)?)),
        5 => Value::I32(i32::from_le_bytes(cursor.array(&what)?)),
        6 => Value::F32(f32::from_le_bytes(cursor.array(&what)?)),
        7 => Value::Bool(read_bool(cursor, key, &what)?),
        8 => Value::String(cursor.string(limits.string_bytes_max, &what)?),
        9 => Value::Array(read_array(cursor, key, &what, limits)?),
        10 => Value::U64(u64::from_le_bytes(cursor.array(&what)?)),
        11 => Value::I64(i64::from_le_bytes(cursor.array(&what)?)),
        12 => Value::F64(f64::from_le_bytes(cursor.array(&what)?)),
        found => return Err(Problem::ValueType { key: key.to_owned(), offset, found }),
    })
}

fn read_bool(cursor: &mut Cursor<'_>, key: &str, what: &str) -> Result<bool, Problem> {
    let offset = cursor.position();
    match cursor.array(what)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [found] => Err(Problem::Bool { key: key.to_owned(), offset, found }),
    }
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, what: &str, limits: &Limits) -> Result<Array, Problem> {
    let offset = cursor.position();
    let element_type = cursor.u32(what)?;
    let count = cursor.u64(what)?;
    // Checks the whole array against the bytes that remain, then reads it at its own width.
    let mut numbers = Numbers { cursor, count, limit: limits.array_elements_max, what };
    Ok(match element_type {
        0 => Array::U8(numbers.read(u8::from_le_bytes)?),
        1 => Array::I8(numbers.read(i8::from_le_bytes)?),
        2 => Array::U16(numbers.read(u16::from_le_bytes)?),
        3 => Array::I16(numbers.read(i16::from_le_bytes)?),
        4 => Array::U32(numbers.read(u32::from_le_bytes)?),
        5 => Array::I32(numbers.read(i32::from_le_bytes)?),
        6 => Array::F32(numbers.read(f32::from_le_bytes)?),
        7 => {
            let count = cursor.need_elements(count, 1, limits.array_elements_max, what)?;
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                values.push(read_bool(cursor, key, what)?);
            }
            Array::Bool(values)
        }
        8 => {
            // A string costs at least its length.
            let count = cursor.need_elements(count, 8, limits.array_elements_max, what)?;
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                values.push(cursor.string(limits.string_bytes_max, what)?);
            }
            Array::Strings(values)
        }
        9 => return Err(Problem::NestedArray { key: key.to_owned(), offset }),
        10 => Array::U64(numbers.read(u64::from_le_bytes)?),
        11 => Array::I64(numbers.read(i64::from_le_bytes)?),
        12 => Array::F64(numbers.read(f64::from_le_bytes)?),
        found => return Err(Problem::ValueType { key: key.to_owned(), offset, found }),
    })
}

struct Numbers<'c, 'a, 'w> {
    cursor: &'c mut Cursor<'a>,
    count: u64,
    limit: u64,
    what: &'w str,
}

impl Numbers<'_, '_, '_> {
    fn read<T, const N: usize>(&mut self, convert: fn([u8; N]) -> T) -> Result<Vec<T>, Problem> {
        let count = self.cursor.need_elements(self.count, N as u64, self.limit, self.what)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(convert(self.cursor.array(self.what)?));
        }
        Ok(values)
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, Problem> {
    match metadata.get("general.alignment") {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(Value::U32(found)) => {
            let alignment = u64::from(*found);
            let allowed = ALIGNMENT_BYTES_MIN..=ALIGNMENT_BYTES_MAX;
            if alignment.is_power_of_two() && allowed.contains(&alignment) {
                Ok(alignment)
            } else {
                Err(Problem::Alignment { found: found.to_string() })
            }
        }
        Some(other) => Err(Problem::Alignment { found: format!("of type {}", other.type_name()) }),
    }
}

/// A tensor whose offset still counts from the start of the data section.
struct Described {
    info: TensorInfo,
    /// Where the description begins.
    described_at: u64,
}

fn read_tensors(cursor: &mut Cursor<'_>, count: u64, limits: &Limits) -> Result<Vec<Described>, Problem> {
    // A description costs at least the name's length, one dimension, their number, the type and the offset.
    let capacity =
        cursor.need_elements(count, 8 + 4 + 8 + 4 + 8, limits.tensors_max, "the tensor directory")?;
    let mut tensors = Vec::with_capacity(capacity);
    let mut names = HashSet::with_capacity(capacity);
    for _ in 0..count {
        let described = read_tensor(cursor, limits)?;
        if !names.insert(described.info.name.clone()) {
            return Err(Problem::DuplicateTensor {
                tensor: described.info.name,
                offset: described.described_at,
            });
        }
        tensors.push(described);
    }
    Ok(tensors)
}

fn read_tensor(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<Described, Problem> {
    let offset = cursor.position();
    let name = cursor.string(limits.tensor_name_bytes_max, "a tensor name")?;
    if name.is_empty() {
        return Err(Problem::EmptyName { what: "a tensor name", offset });
    }
    let what = format!("the description of tensor `{name}`");
    let dimension_count = cursor.u32(&what)?;
    if !(1..=DIMENSIONS_MAX).contains(&dimension_count) {
        return Err(Problem::Dimensions { tensor: name, offset, found: vec![dimension_count.into()] });
    }
    let mut dimensions = Vec::with_capacity(DIMENSIONS_MAX as usize);
    for _ in 0..dimension_count {
        dimensions.push(cursor.u64(&what)?);
    }
    if dimensions.contains(&0) {
        return Err(Problem::Dimensions { tensor: name, offset, found: dimensions });
    }
    let type_offset = cursor.position();
    let type_number = cursor.u32(&what)?;
    let Some(tensor_type) = TensorType::from_number(type_number) else {
        return Err(Problem::TensorType { tensor: name, offset: type_offset, found: type_number });
    };
    let data_offset = cursor.u64(&what)?;
    let overflow = || Problem::Overflow { what: format!("the size of tensor `{name}`"), offset };
    let elements =
        dimensions.iter().try_fold(1u64, |product, size| product.checked_mul(*size)).ok_or_else(overflow)?;
    let (row, block) = (dimensions[0], tensor_type.block_elements());
    if !row.is_multiple_of(block) {
        let tensor_type = tensor_type.name();
        return Err(Problem::RowBlock { tensor: name, offset, row, block, tensor_type });
    }
    let size_bytes = tensor_type.bytes_of(elements).ok_or_else(overflow)?;
    let info = TensorInfo { name, dimensions, tensor_type, offset: data_offset, size_bytes };
    Ok(Described { info, described_at: offset })
}

/// Turns offsets within the data section into offsets within the file, and checks that every tensor lies inside
/// the file, aligned, and apart from every other.
fn place_tensors(
    tensors: &mut [Described],
    directory_end: u64,
    alignment: u64,
    size: u64,
) -> Result<(), Problem> {
    let data_start = directory_end
        .checked_next_multiple_of(alignment)
        .ok_or(Problem::Overflow { what: "the start of the data".to_owned(), offset: directory_end })?;
    for described in tensors.iter_mut() {
        let (info, described_at) = (&mut described.info, described.described_at);
        if !info.offset.is_multiple_of(alignment) {
            let (tensor, found) = (info.name.clone(), info.offset);
            return Err(Problem::Unaligned { tensor, offset: described_at, found, alignment });
        }
        let overflow =
            || Problem::Overflow { what: format!("the end of tensor `{}`", info.name), offset: described_at };
        let start = data_start.checked_add(info.offset).ok_or_else(overflow)?;
        let end = start.checked_add(info.size_bytes).ok_or_else(overflow)?;
        if end > size {
            return Err(Problem::Truncated {
                what: format!("tensor `{}`", info.name),
                offset: start,
                needed: info.size_bytes,
                remaining: size.saturating_sub(start),
            });
        }
        info.offset = start;
    }
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().map(|described| &described.info).collect();
    by_offset.sort_by_key(|info| info.offset);
    for pair in by_offset.windows(2) {
        if pair[0].offset + pair[0].size_bytes > pair[1].offset {
            let (first, second) = (pair[0].name.clone(), pair[1].name.clone());
            return Err(Problem::Overlap { first, second });
        }
    }
    Ok(())
}
