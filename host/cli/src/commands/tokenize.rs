//! `tokenize`: a text's token ids.

use std::io::Read;

use anyhow::Context;
use lockgate_engine::gguf::Gguf;
use lockgate_engine::tokenizer::{Specials, Tokenizer};
use serde_json::json;

use crate::args::TokenizeArgs;
use crate::failure::Failure;
use crate::{models, terminal};

pub(super) fn tokenize(args: &TokenizeArgs) -> Result<(), Failure> {
    let path = models::find(&args.model)?;
    let gguf = Gguf::open(&path)?;
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).context(path.display().to_string())?;
    let text = if args.text == "-" { stdin_whole()? } else { args.text.clone() };
    let specials = if args.no_special { Specials::Omit } else { Specials::AsModel };
    let tokens = tokenizer.encode(&text, specials)?;
    if args.json {
        terminal::result(&json!({ "tokens": tokens }).to_string())?;
    } else {
        let words: Vec<_> = tokens.iter().map(ToString::to_string).collect();
        terminal::result(&words.join(" "))?;
    }
    Ok(())
}

fn stdin_whole() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("cannot read stdin")?;
    String::from_utf8(bytes).map_err(|error| {
        Failure::unusable(format!("stdin is not UTF-8: byte {} is wrong", error.utf8_error().valid_up_to()))
    })
}
