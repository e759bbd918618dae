//! The tokenizer against small vocabularies whose right answers can be worked out by hand.
