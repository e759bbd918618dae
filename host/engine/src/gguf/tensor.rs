//! Tensor descriptions: name, shape, type and where the data lies.

/// The storage types of GGUF tensors. Which of them can be computed with is the kernels' business; the sizes of
/// all are known, so that a directory is checked whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the storage type it is named after")]
#[allow(non_camel_case_types, reason = "the names of the format's own documentation")]
pub enum TensorType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ2_XXS,
    IQ2_XS,
    IQ3_XXS,
    IQ1_S,
    IQ4_NL,
    IQ3_S,
    IQ2_S,
    IQ4_XS,
    I8,
    I16,
    I32,
    I64,
    F64,
    IQ1_M,
    BF16,
    TQ1_0,
    TQ2_0,
    MXFP4,
}

/// One row a type: its number in the file, its name, elements of a block, bytes of a block.
const TYPES: [(TensorType, u32, &str, u64, u64); 32] = [
    (TensorType::F32, 0, "F32", 1, 4),
    (TensorType::F16, 1, "F16", 1, 2),
    (TensorType::Q4_0, 2, "Q4_0", 32, 18),
    (TensorType::Q4_1, 3, "Q4_1", 32, 20),
    (TensorType::Q5_0, 6, "Q5_0", 32, 22),
    (TensorType::Q5_1, 7, "Q5_1", 32, 24),
    (TensorType::Q8_0, 8, "Q8_0", 32, 34),
    (TensorType::Q8_1, 9, "Q8_1", 32, 36),
    (TensorType::Q2_K, 10, "Q2_K", 256, 84),
    (TensorType::Q3_K, 11, "Q3_K", 256, 110),
    (TensorType::Q4_K, 12, "Q4_K", 256, 144),
    (TensorType::Q5_K, 13, "Q5_K", 256, 176),
    (TensorType::Q6_K, 14, "Q6_K", 256, 210),
    (TensorType::Q8_K, 15, "Q8_K", 256, 292),
    (TensorType::IQ2_XXS, 16, "IQ2_XXS", 256, 66),
    (TensorType::IQ2_XS, 17, "IQ2_XS", 256, 74),
    (TensorType::IQ3_XXS, 18, "IQ3_XXS", 256, 98),
    (TensorType::IQ1_S, 19, "IQ1_S", 256, 50),
    (TensorType::IQ4_NL, 20, "IQ4_NL", 32, 18),
    (TensorType::IQ3_S, 21, "IQ3_S", 256, 110),
    (TensorType::IQ2_S, 22, "IQ2_S", 256, 82),
    (TensorType::IQ4_XS, 23, "IQ4_XS", 256, 136),
    (TensorType::I8, 24, "I8", 1, 1),
    (TensorType::I16, 25, "I16", 1, 2),
    (TensorType::I32, 26, "I32", 1, 4),
    (TensorType::I64, 27, "I64", 1, 8),
    (TensorType::F64, 28, "F64", 1, 8),
    (TensorType::IQ1_M, 29, "IQ1_M", 256, 56),
    (TensorType::BF16, 30, "BF16", 1, 2),
    (TensorType::TQ1_0, 34, "TQ1_0", 256, 54),
    (TensorType::TQ2_0, 35, "TQ2_0", 256, 66),
    (TensorType::MXFP4, 39, "MXFP4", 32, 17),
];

impl TensorType {
    /// The type of this number in a file, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        TYPES.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// The number in a file.
    #[must_use]
    pub fn number(self) -> u32 {
        self.row().1
    }

    /// The name, as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Elements of one block.
    #[must_use]
    pub fn block_elements(self) -> u64 {
        self.row().3
    }

    /// Bytes of one block.
    #[must_use]
    pub fn block_bytes(self) -> u64 {
        self.row().4
    }

    /// Bytes of `elements`; `None` when they are no whole number of blocks or the size overflows.
    #[must_use]
    pub fn bytes_of(self, elements: u64) -> Option<u64> {
        if !elements.is_multiple_of(self.block_elements()) {
            return None;
        }
        (elements / self.block_elements()).checked_mul(self.block_bytes())
    }

    fn row(self) -> &'static (Self, u32, &'static str, u64, u64) {
        // The table is in the order of the enum, which a test checks.
        &TYPES[self as usize]
    }
}

/// A tensor of a model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name.
    pub name: String,
    /// The dimensions, fastest first: a matrix of `rows` rows of `columns` elements is `[columns, rows]`.
    pub dimensions: Vec<u64>,
    /// The storage type.
    pub tensor_type: TensorType,
    /// Where the data begins, in bytes from the start of the file.
    pub offset: u64,
    /// The size of the data in bytes.
    pub size_bytes: u64,
}

impl TensorInfo {
    /// Elements of a row: the fastest dimension.
    #[must_use]
    pub fn columns(&self) -> u64 {
        self.dimensions.first().copied().unwrap_or(1)
    }

    /// The number of rows: the product of the other dimensions.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.dimensions.iter().skip(1).product()
    }

    /// The number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().product()
    }
}

#[cfg(test)]
pub(super) fn all_types() -> impl Iterator<Item = TensorType> {
    TYPES.iter().map(|row| row.0)
}
