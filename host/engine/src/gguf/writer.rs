//! Writes GGUF version 3 into memory: for tests, fuzzing and small random models.
//!
//! Deliberately simple: it checks that a tensor's bytes fit its shape and nothing else, so that tests can write
//! files that the reader must refuse.

use super::tensor::TensorType;
use super::value::{Array, Value};
use super::{ALIGNMENT_DEFAULT, MAGIC};

/// Collects metadata and tensors, then writes them out.
#[derive(Clone, Debug)]
pub struct GgufWriter {
    version: u32,
    alignment: u64,
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
struct Tensor {
    name: String,
    dimensions: Vec<u64>,
    tensor_type: TensorType,
    size_bytes: u64,
    /// Nothing where the caller wants the directory alone.
    data: Vec<u8>,
}

/// Everything of a file that precedes its data, and where the data belongs.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The bytes from the start of the file to the start of the data.
    pub bytes: Vec<u8>,
    /// Where each tensor's data begins, in bytes from the start of the file.
    pub offsets: Vec<u64>,
    /// The size of the whole file in bytes.
    pub file_bytes: u64,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self { version: 3, alignment: ALIGNMENT_DEFAULT, metadata: Vec::new(), tensors: Vec::new() }
    }
}

impl GgufWriter {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes this version into the header; versions 2 and 3 have the same layout.
    pub fn version(&mut self, version: u32) -> &mut Self {
        self.version = version;
        self
    }

    /// Adds a key. A `general.alignment` of type `u32` also sets the alignment of the data.
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        let (key, value) = (key.into(), value.into());
        if let ("general.alignment", Value::U32(alignment)) = (key.as_str(), &value) {
            self.alignment = (*alignment).max(1).into();
        }
        self.metadata.push((key, value));
        self
    }

    /// Adds a tensor; `dimensions` are fastest first, `data` is in the layout of `tensor_type`.
    ///
    /// # Panics
    /// When `data` does not have the size that the dimensions and the type give.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        dimensions: &[u64],
        tensor_type: TensorType,
        data: Vec<u8>,
    ) -> &mut Self {
        let described = self.describe(name, dimensions, tensor_type);
        assert_eq!(described.size_bytes, data.len() as u64, "bytes of tensor `{}`", described.name);
        described.data = data;
        self
    }

    /// Adds a tensor whose data is not written: for a [`Self::directory`].
    ///
    /// # Panics
    /// When the elements are no whole number of blocks, or too many.
    pub fn tensor_without_data(
        &mut self,
        name: impl Into<String>,
        dimensions: &[u64],
        tensor_type: TensorType,
    ) -> &mut Self {
        self.describe(name, dimensions, tensor_type);
        self
    }

    fn describe(
        &mut self,
        name: impl Into<String>,
        dimensions: &[u64],
        tensor_type: TensorType,
    ) -> &mut Tensor {
        let name = name.into();
        let elements = dimensions.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
        let size_bytes = elements.and_then(|elements| tensor_type.bytes_of(elements));
        let size_bytes = size_bytes.expect("the caller gives whole blocks");
        let data = Vec::new();
        self.tensors.push(Tensor { name, dimensions: dimensions.to_vec(), tensor_type, size_bytes, data });
        self.tensors.last_mut().expect("just pushed")
    }

    /// The bytes of the file.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let Directory { bytes: mut out, offsets, .. } = self.directory();
        for (tensor, offset) in self.tensors.iter().zip(offsets) {
            out.resize(offset as usize, 0);
            out.extend_from_slice(&tensor.data);
        }
        out
    }

    /// The file without its data.
    #[must_use]
    pub fn directory(&self) -> Directory {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        put_length(&mut out, self.tensors.len());
        put_length(&mut out, self.metadata.len());
        for (key, value) in &self.metadata {
            put_string(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offsets = Vec::new();
        let mut end = 0u64;
        for tensor in &self.tensors {
            let offset = end.next_multiple_of(self.alignment);
            end = offset + tensor.size_bytes;
            offsets.push(offset);
            put_string(&mut out, &tensor.name);
            out.extend_from_slice(&(tensor.dimensions.len() as u32).to_le_bytes());
            for dimension in &tensor.dimensions {
                out.extend_from_slice(&dimension.to_le_bytes());
            }
            out.extend_from_slice(&tensor.tensor_type.number().to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
        }
        if !self.tensors.is_empty() {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
        }
        let data_start = out.len() as u64;
        for offset in &mut offsets {
            *offset += data_start;
        }
        Directory { bytes: out, offsets, file_bytes: data_start + end }
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, string: &str) {
    put_length(out, string.len());
    out.extend_from_slice(string.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let value_type: u32 = match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    };
    out.extend_from_slice(&value_type.to_le_bytes());
    match value {
        Value::U8(value) => out.push(*value),
        Value::I8(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::U16(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::I16(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::U32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::I32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::F32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::Bool(value) => out.push((*value).into()),
        Value::String(value) => put_string(out, value),
        Value::Array(array) => put_array(out, array),
        Value::U64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::I64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::F64(value) => out.extend_from_slice(&value.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    fn put<T: Copy, const N: usize>(
        out: &mut Vec<u8>,
        element_type: u32,
        values: &[T],
        bytes: fn(T) -> [u8; N],
    ) {
        out.extend_from_slice(&element_type.to_le_bytes());
        put_length(out, values.len());
        for value in values {
            out.extend_from_slice(&bytes(*value));
        }
    }
    match array {
        Array::U8(values) => put(out, 0, values, u8::to_le_bytes),
        Array::I8(values) => put(out, 1, values, i8::to_le_bytes),
        Array::U16(values) => put(out, 2, values, u16::to_le_bytes),
        Array::I16(values) => put(out, 3, values, i16::to_le_bytes),
        Array::U32(values) => put(out, 4, values, u32::to_le_bytes),
        Array::I32(values) => put(out, 5, values, i32::to_le_bytes),
        Array::F32(values) => put(out, 6, values, f32::to_le_bytes),
        Array::Bool(values) => put(out, 7, values, |value| [value.into()]),
        Array::Strings(values) => {
            out.extend_from_slice(&8u32.to_le_bytes());
            put_length(out, values.len());
            for value in values {
                put_string(out, value);
            }
        }
        Array::U64(values) => put(out, 10, values, u64::to_le_bytes),
        Array::I64(values) => put(out, 11, values, i64::to_le_bytes),
        Array::F64(values) => put(out, 12, values, f64::to_le_bytes),
    }
}
