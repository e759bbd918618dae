//! From a path to an [`Adapter`]: finds out what lies there, reads the directory, and on demand the weights.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use lockgate_kernels::formats::{Format, dequantize_row};
use lockgate_kernels::matmul::PackedMatrix;
use lockgate_kernels::rope::Pairing;
use sha2::{Digest, Sha256};

use super::error::{AdapterError, AdapterProblem};
use super::module::Module;
use super::plan::{Pair, Part, Scaling, plan};
use super::safetensors::Safetensors;
use super::{Adapter, ContentHash, LowRank, Release, config, gguf, peft, shapes};
use crate::arch;
use crate::gguf::{FileSource, Gguf, ReadAt};
use crate::model::Config;

/// Settings are a few kilobytes.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;
const SETTINGS: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// An adapter's file or files, whose directory has been read and checked as far as that goes without a model.
pub struct AdapterFile {
    file: String,
    weights: Weights,
    parts: Vec<Part>,
    scaling: Scaling,
}

enum Weights {
    Gguf { gguf: Gguf, architecture: String },
    Peft(Safetensors),
}

impl std::fmt::Debug for AdapterFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("AdapterFile");
        debug.field("file", &self.file).field("tensors", &self.parts.len()).finish_non_exhaustive()
    }
}

impl AdapterFile {
    /// Opens the adapter at `path`: a folder that PEFT saved, the `.safetensors` file in it, or a GGUF file.
    ///
    /// # Errors
    /// There is no adapter, a file is damaged, or it needs something that is not computed.
    pub fn open(path: &Path) -> Result<Self, AdapterError> {
        let file = path.display().to_string();
        match &Self::files(path)[..] {
            [settings, weights] => Self::open_peft(&file, settings, weights),
            _ => {
                let gguf = Gguf::open(path).map_err(|error| AdapterError { file, problem: error.into() })?;
                Self::from_gguf(gguf)
            }
        }
    }

    /// The files that make up the adapter at `path`, whether they are there or not.
    #[must_use]
    pub fn files(path: &Path) -> Vec<PathBuf> {
        if path.is_dir() {
            return [SETTINGS, WEIGHTS].map(|name| path.join(name)).to_vec();
        }
        match path.extension().is_some_and(|ending| ending == "safetensors") {
            true => vec![path.with_file_name(SETTINGS), path.to_owned()],
            false => vec![path.to_owned()],
        }
    }

    fn open_peft(file: &str, settings: &Path, weights: &Path) -> Result<Self, AdapterError> {
        let open = || -> Result<(Vec<u8>, FileSource), AdapterProblem> {
            if !weights.exists() && weights.with_file_name("adapter_model.bin").exists() {
                return Err(AdapterProblem::NoAdapter(
                    "the weights are a Python pickle; save them with safe_serialization=True",
                ));
            }
            if !weights.exists() || !settings.exists() {
                return Err(AdapterProblem::NoAdapter(
                    "no adapter: give a GGUF file, or a folder with adapter_config.json and \
                     adapter_model.safetensors",
                ));
            }
            let source = FileSource::open(settings)?;
            if source.size_bytes() > SETTINGS_BYTES_MAX {
                return Err(AdapterProblem::Json(format!("it is over {SETTINGS_BYTES_MAX} bytes long")));
            }
            let mut settings = vec![0; source.size_bytes() as usize];
            source.read_exact_at(&mut settings, 0)?;
            Ok((settings, FileSource::open(weights)?))
        };
        let (settings, weights) =
            open().map_err(|problem| AdapterError { file: file.to_owned(), problem })?;
        Self::from_peft(file, &settings, Box::new(weights))
    }

    /// The adapter of a GGUF file whose directory was read already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_gguf(gguf: Gguf) -> Result<Self, AdapterError> {
        let file = gguf.file().to_owned();
        match gguf::read(&gguf) {
            Ok((parts, scaling, architecture)) => {
                Ok(Self { file, weights: Weights::Gguf { gguf, architecture }, parts, scaling })
            }
            Err(problem) => Err(AdapterError { file, problem }),
        }
    }

    /// The adapter of PEFT's two files: the bytes of `adapter_config.json`, and the safetensors file. `file` names
    /// them in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_peft(
        file: impl Into<String>,
        settings: &[u8],
        weights: Box<dyn ReadAt>,
    ) -> Result<Self, AdapterError> {
        let file = file.into();
        let read = || -> Result<_, AdapterProblem> {
            let settings = config::read(settings)?;
            let weights = Safetensors::read(weights)?;
            let parts = peft::parts(&weights, &settings)?;
            Ok((weights, parts, settings.scaling))
        };
        match read() {
            Ok((weights, parts, scaling)) => {
                Ok(Self { file, weights: Weights::Peft(weights), parts, scaling })
            }
            Err(problem) => Err(AdapterError { file, problem }),
        }
    }

    /// Checks the adapter against a model of this shape; reads no weights. `scale` multiplies the adapter's own.
    ///
    /// # Errors
    /// It does not fit, and where.
    pub fn check(&self, config: &Config, scale: f32) -> Result<(), AdapterError> {
        self.plan(config, scale).map(|_| ()).map_err(|problem| self.error(problem))
    }

    /// Reads the weights for a model of this shape. `scale` multiplies the adapter's own.
    ///
    /// # Errors
    /// It does not fit, or the file cannot be read.
    pub fn load(&self, config: &Config, scale: f32) -> Result<Adapter, AdapterError> {
        self.try_load(config, scale).map_err(|problem| self.error(problem))
    }

    fn error(&self, problem: AdapterProblem) -> AdapterError {
        AdapterError { file: self.file.clone(), problem }
    }

    fn plan(&self, config: &Config, scale: f32) -> Result<Vec<Pair<'_>>, AdapterProblem> {
        match &self.weights {
            Weights::Gguf { architecture, .. } if *architecture != config.architecture => {
                let (found, model) = (architecture.clone(), config.architecture.clone());
                Err(AdapterProblem::Architecture { found, model })
            }
            _ => plan(&self.parts, &self.scaling, scale, config),
        }
    }

    fn try_load(&self, config: &Config, scale: f32) -> Result<Adapter, AdapterProblem> {
        let pairs = self.plan(config, scale)?;
        // Only the published order of rows differs from the files'.
        let neighbours = matches!(self.weights, Weights::Peft(_))
            && arch::pairing(&config.architecture) == Some(Pairing::Interleaved);
        let mut layers: Vec<[Option<LowRank>; Module::ALL.len()]> = Vec::new();
        layers.resize_with(config.layers, Default::default);
        let mut hash = Sha256::new();
        for Pair { layer, module, a, b, scale } in pairs {
            let rotated = neighbours && matches!(module, Module::Query | Module::Key);
            let bytes_a = self.read(a)?;
            let bytes_b = self.read(b)?;
            let bytes_b = if rotated { reorder(&bytes_b, b, config.head_dim) } else { bytes_b };
            for (part, bytes) in [(a, &bytes_a), (b, &bytes_b)] {
                hash.update([layer as u8, (layer >> 8) as u8, module as u8, part.half as u8]);
                part.shape.iter().for_each(|size| hash.update(size.to_le_bytes()));
                hash.update(part.format.name().as_bytes());
                hash.update(scale.to_le_bytes());
                hash.update(bytes);
            }
            layers[layer][module as usize] =
                Some(LowRank { a: pack(a, &bytes_a)?, b: pack(b, &bytes_b)?, scale });
        }
        let content = ContentHash(hash.finalize().into());
        Ok(Adapter {
            layers,
            shapes: shapes(config),
            content,
            release: Release::default(),
            copy: Mutex::default(),
        })
    }

    /// The bytes of a tensor of the file.
    fn read(&self, part: &Part) -> Result<Vec<u8>, AdapterProblem> {
        let bytes = match &self.weights {
            Weights::Peft(safetensors) => safetensors.read_data(&part.tensor)?,
            Weights::Gguf { gguf, .. } => {
                let tensor = gguf.tensor(&part.tensor).ok_or(AdapterProblem::Empty)?;
                let mut bytes = vec![0; tensor.size_bytes as usize];
                gguf.read_data(tensor, 0, &mut bytes)?;
                bytes
            }
        };
        check_finite(part, &bytes)?;
        Ok(bytes)
    }
}

/// There are few numbers and each reaches every output, so that checking them is worth it.
fn check_finite(part: &Part, bytes: &[u8]) -> Result<(), AdapterProblem> {
    const RUN: usize = 1 << 12;
    let mut values = [0.0; RUN];
    for (run, bytes) in bytes.chunks(RUN * part.format.block_bytes()).enumerate() {
        let values = &mut values[..bytes.len() / part.format.block_bytes()];
        dequantize_row(part.format, bytes, values);
        if let Some(element) = values.iter().position(|value| !value.is_finite()) {
            let (tensor, found) = (part.tensor.clone(), values[element]);
            return Err(AdapterProblem::NotFinite { tensor, element: run * RUN + element, found });
        }
    }
    Ok(())
}

/// The rows of a matrix of queries or keys, from the published order into that of the model's file.
fn reorder(bytes: &[u8], part: &Part, head_dim: usize) -> Vec<u8> {
    let [rows, columns] = part.shape.map(|size| size as usize);
    let row_bytes = columns * part.format.block_bytes();
    let row = |row: usize| &bytes[peft::stored_row(row, head_dim) * row_bytes..][..row_bytes];
    (0..rows).flat_map(row).copied().collect()
}

fn pack(part: &Part, bytes: &[u8]) -> Result<PackedMatrix, AdapterProblem> {
    let [rows, columns] = part.shape.map(|size| size as usize);
    let problem = |reason| AdapterProblem::Pack { tensor: part.tensor.clone(), reason };
    let mut matrix = PackedMatrix::new(part.format, rows, columns).map_err(problem)?;
    let row_bytes = columns * Format::block_bytes(part.format);
    for mut panel in matrix.panels_mut() {
        let (first, rows) = (panel.first_row(), panel.rows());
        panel.pack(&bytes[first * row_bytes..(first + rows) * row_bytes]);
    }
    Ok(matrix)
}
