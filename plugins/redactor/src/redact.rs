//! From a request's text to the changes that take what is personal out of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lockgate_plugin::{Piece, Place};

use crate::json;
use crate::options::{KINDS, Options, number_of};

/// Bytes between two findings of a piece up to which both are one change: each change is a call of the host,
/// and those are counted.
const GAP_BYTES_MAX: usize = 256;

/// What is to be changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Redaction {
    /// In order.
    pub(crate) edits: Vec<Edit>,
    /// What each placeholder stands for.
    pub(crate) values: BTreeMap<String, String>,
    /// Whether something personal stands where nothing can be changed.
    pub(crate) is_beyond_reach: bool,
}

/// One change of one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) piece: u32,
    /// Bytes of the piece.
    pub(crate) range: Range<u64>,
    pub(crate) text: String,
}

impl Redaction {
    /// What the text, which is made of these pieces with a line end between two, needs.
    pub(crate) fn of(text: &str, pieces: &[Piece], options: &Options) -> Self {
        let mut redaction = Self::default();
        let mut placeholders = Placeholders::new(text);
        let mut start = 0;
        for (number, piece) in (0..).zip(pieces) {
            let end = start + piece.length as usize;
            // The host's lengths are those of the text; were they not, everything is out of reach.
            let Some(whole) = text.get(start..end) else {
                return Self { is_beyond_reach: true, ..Self::default() };
            };
            redaction.piece(number, piece, whole, options, &mut placeholders);
            start = end + 1;
        }
        redaction.values = placeholders.values;
        redaction
    }

    fn piece(
        &mut self,
        number: u32,
        piece: &Piece,
        text: &str,
        options: &Options,
        placeholders: &mut Placeholders,
    ) {
        let mut edit: Option<(Range<usize>, String)> = None;
        for found in lockgate_scan::all(text) {
            let kind = number_of(found.kind);
            if options.is_kept[kind] {
                continue;
            }
            if piece.is_fixed {
                self.is_beyond_reach = true;
                return;
            }
            let written = &text[found.range.clone()];
            let placeholder = match piece.place {
                Place::Arguments(_) => placeholders.stand_for(kind, json::unescape(written)),
                _ => placeholders.stand_for(kind, written.to_owned()),
            };
            match &mut edit {
                Some((range, replacement)) if found.range.start - range.end <= GAP_BYTES_MAX => {
                    replacement.push_str(&text[range.end..found.range.start]);
                    replacement.push_str(placeholder);
                    range.end = found.range.end;
                }
                _ => {
                    self.push(number, edit.take());
                    edit = Some((found.range, placeholder.to_owned()));
                }
            }
        }
        self.push(number, edit);
    }

    fn push(&mut self, piece: u32, edit: Option<(Range<usize>, String)>) {
        self.edits.extend(edit.map(|(range, text)| Edit {
            piece,
            range: range.start as u64..range.end as u64,
            text,
        }));
    }
}

/// Hands placeholders out.
struct Placeholders {
    by_value: BTreeMap<(usize, String), String>,
    values: BTreeMap<String, String>,
    /// What looks like a placeholder in the request itself.
    taken: BTreeSet<String>,
    /// How many were tried of each kind.
    counts: [u32; KINDS.len()],
}

impl Placeholders {
    fn new(text: &str) -> Self {
        let taken = text.match_indices('[').filter_map(|(at, _)| placeholder_at(&text[at..]));
        Self {
            taken: taken.map(str::to_owned).collect(),
            by_value: BTreeMap::new(),
            values: BTreeMap::new(),
            counts: [0; KINDS.len()],
        }
    }

    /// The placeholder of a thing: the same for the same, and none that is in the request already.
    fn stand_for(&mut self, kind: usize, value: String) -> &str {
        let Self { by_value, values, taken, counts } = self;
        by_value.entry((kind, value.clone())).or_insert_with(|| {
            loop {
                counts[kind] += 1;
                let placeholder = format!("[{}-{}]", KINDS[kind].1, counts[kind]);
                if !taken.contains(&placeholder) {
                    values.insert(placeholder.clone(), value);
                    return placeholder;
                }
            }
        })
    }
}

/// Bytes of the longest placeholder: a word, ten digits, and three signs.
pub(crate) const PLACEHOLDER_BYTES_MAX: usize = 24;

/// What may be a placeholder at the beginning of a text that begins with `[`.
pub(crate) fn placeholder_at(text: &str) -> Option<&str> {
    let end = text.bytes().take(PLACEHOLDER_BYTES_MAX).position(|byte| byte == b']')?;
    text.get(..=end)
}
