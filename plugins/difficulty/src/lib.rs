//! How hard the work is: by length, by tools, by the wording of what the person asks.
//!
//! Each part adds to a score from 0 to 1, kept in hundredths: the prompt's share of `tokens_hard`; 0.7 for tools; 0.7 for a
//! word such as "prove" or "refactor", 0.35 for one such as "compare". Only the last message of the user's
//! is read for its wording, and of a long one its beginning and end, where people say what they want.
//!
//! What follows from it is each policy's own.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use lockgate_plugin::{Message as _, Request, Role, Want};
use lockgate_scan::block::{self, Masks};
use lockgate_scan::table::Table;

const TOOLS: u32 = 70;
const HARD: u32 = 70;
const DEMANDING: u32 = 35;

/// Messages to look back for a question: behind a few tool results there is hardly one that is still open.
const MESSAGES_BACK_MAX: u32 = 4;
/// Bytes of a question that are read.
const QUESTION_BYTES_MAX: u32 = 16 << 10;
/// Bytes of its beginning, and of its end, that count for its wording.
const WORDING_BYTES: usize = 1024;

static TABLE: Table<u32, { WORDS.len() }> = Table::new(WORDS, SETS);

const SETS: &[&str] =
    &["algorithm", "compare", "derive", "evaluate", "in depth", "prove", "root cause", "strateg"];

const WORDS: &[(&str, u32)] = &[
    ("algorithm", DEMANDING),
    ("analys", DEMANDING),
    ("analyz", DEMANDING),
    ("architect", DEMANDING),
    ("beweise", HARD),
    ("compare", DEMANDING),
    ("critique", DEMANDING),
    ("debug", DEMANDING),
    ("derive", HARD),
    ("design a", DEMANDING),
    ("essay", DEMANDING),
    ("evaluate", DEMANDING),
    ("formal proof", HARD),
    ("implement", HARD),
    ("in depth", HARD),
    ("in detail", DEMANDING),
    ("investigate", DEMANDING),
    ("optimis", DEMANDING),
    ("optimiz", DEMANDING),
    ("prove", HARD),
    ("refactor", HARD),
    ("root cause", HARD),
    ("schritt f", HARD),
    ("step by step", HARD),
    ("step-by-step", HARD),
    ("strateg", DEMANDING),
    ("theorem", HARD),
    ("trade-off", HARD),
    ("tradeoff", HARD),
];

/// How hard, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difficulty {
    /// In hundredths, 0 to 100.
    pub score: u32,
    tokens: u64,
    tools: bool,
    wording: bool,
}

impl Difficulty {
    /// Judges a request. `tokens_hard`, at least 1, is the length of a prompt that is hard by that alone.
    pub fn of(request: &impl Request, wants: &[Want], tokens_hard: u32) -> Self {
        let tokens = request.estimate_tokens();
        let tools = wants.contains(&Want::Tools);
        let wording = last_question(request).map_or(0, |text| wording(text.as_bytes()));
        let length = (tokens.saturating_mul(100) / u64::from(tokens_hard.max(1))).min(100) as u32;
        let score = (length + wording + if tools { TOOLS } else { 0 }).min(100);
        Self { score, tokens, tools, wording: wording > 0 }
    }

    /// In words, for people. From `threshold` on, in hundredths, work is called hard.
    pub fn reason(&self, threshold: u32) -> String {
        let kind = if self.score >= threshold { "hard" } else { "simple" };
        let tools = if self.tools { ", tools asked for" } else { "" };
        let wording = if self.wording { ", demanding wording" } else { "" };
        let (whole, part) = (self.score / 100, self.score % 100);
        format!("{kind} work: about {} tokens{tools}{wording} (difficulty {whole}.{part:02})", self.tokens)
    }
}

/// The last message of the user's: of a long one its beginning and its end. One that is longer than what is
/// read of it is hard by its length.
pub fn last_question(request: &impl Request) -> Option<String> {
    let count = request.message_count();
    let message = (count.saturating_sub(MESSAGES_BACK_MAX)..count)
        .rev()
        .filter_map(|index| request.message(index))
        .find(|message| message.role() == Role::User)?;
    let mut text = message.text(QUESTION_BYTES_MAX);
    if text.len() > 2 * WORDING_BYTES {
        let middle =
            text.ceil_char_boundary(WORDING_BYTES)..text.floor_char_boundary(text.len() - WORDING_BYTES);
        text.replace_range(middle, "\n");
    }
    Some(text)
}

/// What the words of a text add to its difficulty, in hundredths, each word counted once.
fn wording(text: &[u8]) -> u32 {
    let mut seen = 0u64;
    let mut sum = 0;
    let mut in_word = false;
    for base in (0..text.len()).step_by(block::BYTES) {
        let (masks, words) =
            block::with_window(text, base, |window| (Masks::of(window), TABLE.places(window)));
        let word = masks.word();
        let mut places = masks.letters & words & !((word << 1) | u32::from(in_word));
        while places != 0 {
            let place = base + places.trailing_zeros() as usize;
            places &= places - 1;
            for (number, weight, _) in TABLE.at(text, place) {
                if seen >> number & 1 == 0 {
                    seen |= 1 << number;
                    sum += weight;
                }
            }
        }
        in_word = word >> (block::BYTES - 1) != 0;
    }
    sum
}
