//! `logits`: raw next-token logits of every position as a NumPy file, for checking against other engines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use anyhow::Context;
use lockgate_engine::gguf::Gguf;
use lockgate_engine::model::{Compute, LoadOptions, Model};
use lockgate_engine::tokenizer::{Specials, Tokenizer};
use lockgate_kernels::cpu::{Level, default_threads};
use lockgate_kernels::pool::ThreadPool;

use crate::args::LogitsArgs;
use crate::failure::Failure;
use crate::{models, terminal};

pub(super) fn logits(args: LogitsArgs) -> Result<(), Failure> {
    let path = models::find(&args.model)?;
    let gguf = Gguf::open(&path)?;
    let tokens = match (&args.tokens, &args.prompt) {
        (Some(tokens), _) => tokens.clone(),
        (None, Some(prompt)) => Tokenizer::from_metadata(gguf.metadata())
            .with_context(|| path.display().to_string())?
            .encode(prompt, Specials::AsModel)?,
        (None, None) => return Err(Failure::unusable("--prompt or --tokens is needed")),
    };
    if tokens.is_empty() {
        return Err(Failure::unusable("there are no tokens to compute"));
    }
    let pool = Arc::new(ThreadPool::new(args.threads.unwrap_or_else(default_threads)));
    let options = LoadOptions { context: Some(tokens.len()), ..LoadOptions::default() };
    let model = models::Loading::of(&path).track(|progress| Model::load(&gguf, &options, &pool, progress))?;
    let adapter = super::adapter(&args.adapter, model.config())?;
    let mut compute = Compute::new(pool, Level::detect());

    let out = || args.out.display().to_string();
    let mut file = BufWriter::new(File::create(&args.out).with_context(out)?);
    file.write_all(&npy_header(tokens.len(), model.config().vocabulary)).with_context(out)?;
    let mut written = Ok(());
    compute.logits(&model, adapter, &tokens, |row| {
        let bytes: Vec<u8> = row.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        if written.is_ok() {
            written = file.write_all(&bytes);
        }
    })?;
    written.and_then(|()| file.flush()).with_context(out)?;
    terminal::note(&format!("{}: float32 [{}, {}]", out(), tokens.len(), model.config().vocabulary));
    Ok(())
}

/// The header of NumPy's format 1.0 for a two-dimensional C-order float32 array; its length is a
/// multiple of 64.
fn npy_header(rows: usize, columns: usize) -> Vec<u8> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let unpadded = MAGIC.len() + 2 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let mut header = MAGIC.to_vec();
    // Dimensions have at most 20 digits each, far from 65,535 bytes.
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::npy_header;

    #[test]
    fn the_header_is_as_numpy_writes_it() {
        let header = npy_header(3, 49152);
        assert_eq!(header.len() % 64, 0);
        assert_eq!(usize::from(header[8]) + 256 * usize::from(header[9]), header.len() - 10);
        let text = std::str::from_utf8(&header[10..]).expect("ASCII");
        assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 49152), }"));
        assert!(text.ends_with(" \n"));
    }
}
