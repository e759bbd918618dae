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
    tensors: Vec<(String, Vec<u64>, TensorType, Vec<u8>)>,
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
        let name = name.into();
        let size = tensor_type.bytes_of(dimensions.iter().product());
        assert_eq!(size, Some(data.len() as u64), "bytes of tensor `{name}` {dimensions:?}");
        self.tensors.push((name, dimensions.to_vec(), tensor_type, data));
        self
    }

    /// The bytes of the file.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        put_length(&mut out, self.tensors.len());
        put_length(&mut out, self.metadata.len());
        for (key, value) in &self.metadata {
            put_string(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0u64;
        for (name, dimensions, tensor_type, data) in &self.tensors {
            put_string(&mut out, name);
            out.extend_from_slice(&(dimensions.len() as u32).to_le_bytes());
            for dimension in dimensions {
                out.extend_from_slice(&dimension.to_le_bytes());
            }
            out.extend_from_slice(&tensor_type.number().to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            offset = (offset + data.len() as u64).next_multiple_of(self.alignment);
        }
        for (_, _, _, data) in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
            out.extend_from_slice(data);
        }
        out
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
