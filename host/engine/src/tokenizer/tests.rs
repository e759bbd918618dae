//! The tokenizer against small vocabularies whose right answers can be worked out by hand.

mod byte_pair;
mod sentence_piece;
mod vocabulary;

use super::{Algorithm, SpecialTokens, TokenId, TokenKind, Tokenizer, Vocabulary};

/// A byte-level vocabulary: `<s>`, `</s>` and `<think>` (user-defined), the 256 letters, then the merges' results.
fn byte_pair_vocabulary(pre_tokenizer: &str, merges: &[&str]) -> Vocabulary {
    let mut tokens: Vec<String> = ["<s>", "</s>", "<think>"].map(str::to_owned).to_vec();
    let mut kinds = vec![TokenKind::Control, TokenKind::Control, TokenKind::UserDefined];
    tokens.extend(super::bpe::byte_alphabet().map(String::from));
    tokens.extend(merges.iter().map(|merge| merge.replacen(' ', "", 1)));
    kinds.resize(tokens.len(), TokenKind::Normal);
    Vocabulary {
        tokens,
        kinds,
        algorithm: Algorithm::BytePair {
            pre_tokenizer: pre_tokenizer.to_owned(),
            merges: merges.iter().map(|merge| (*merge).to_owned()).collect(),
        },
        special: SpecialTokens { beginning: Some(0), end: Some(1), ..SpecialTokens::default() },
        add_beginning: Some(false),
        add_end: None,
    }
}

/// A sentencepiece vocabulary: `<unk>`, `<s>`, `</s>`, the 256 bytes, then the given pieces with their scores.
fn sentence_piece_vocabulary(pieces: &[(&str, f32)]) -> Vocabulary {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
    tokens.extend((0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>")));
    kinds.resize(tokens.len(), TokenKind::Byte);
    let mut scores = vec![0.0; tokens.len()];
    for (piece, score) in pieces {
        tokens.push((*piece).to_owned());
        scores.push(*score);
    }
    kinds.resize(tokens.len(), TokenKind::Normal);
    Vocabulary {
        tokens,
        kinds,
        algorithm: Algorithm::SentencePiece { scores, add_space_prefix: true },
        special: SpecialTokens {
            unknown: Some(0),
            beginning: Some(1),
            end: Some(2),
            ..SpecialTokens::default()
        },
        add_beginning: None,
        add_end: None,
    }
}

/// The tokens as the vocabulary spells them.
fn spelled<'t>(tokenizer: &'t Tokenizer, ids: &[TokenId]) -> Vec<&'t str> {
    ids.iter().map(|id| tokenizer.token_text(*id).unwrap()).collect()
}
