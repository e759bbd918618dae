//! Words that are personal by themselves (health), and prefixes of secrets.
//!
//! The health words are a short list of ones that are rarely about anything else: `diabetes`, and not
//! `positive`; `the patient`, and not `patient`.

use std::ops::Range;

use super::Kind;
use super::block::Window;
use super::secret::{self, Shape};
use super::table::Table;

/// What a match needs beyond its letters.
#[derive(Clone, Copy)]
enum Rule {
    /// The word ends here.
    Word,
    /// The word may go on.
    Stem,
    /// What follows must have this shape; upper and lower case matter.
    Secret(Kind, Shape),
    /// The same, and case does not matter.
    SecretAnyCase(Kind, Shape),
    /// A number follows, and square brackets stand around both: what a redactor has put in a word's place. What it hid
    /// is hidden, and what the text is about is the same.
    Placeholder,
}

use Rule::{Placeholder, Secret, SecretAnyCase, Stem, Word};

const fn token(least: usize) -> Rule {
    Secret(Kind::Token, Shape::Plain(least))
}

static TABLE: Table<Rule, { WORDS.len() }> = Table::new(WORDS, SETS);

/// Divided so that few words of ordinary text pass for one of the list.
const SETS: &[&str] = &[
    "abortion",
    "bearer",
    "cancer",
    "dement",
    "epilep",
    "ghp_",
    "hausarzt",
    "hf_",
    "infertil",
    "mammogra",
    "npm_",
    "panic attack",
    "pypi-",
    "SG.",
    "suicid",
    "was diagnosed with",
];

const WORDS: &[(&str, Rule)] = &[
    ("abortion", Stem),
    ("ABSKQmVkcm9ja0FQSUtleS", Secret(Kind::Token, Shape::Base64(20))),
    ("accountkey", SecretAnyCase(Kind::Token, Shape::Assigned(40))),
    ("adhd", Word),
    ("AGE-SECRET-KEY-1", Secret(Kind::PrivateKey, Shape::Plain(50))),
    ("AIza", token(35)),
    ("AKIA", Secret(Kind::Token, Shape::Capitals(16))),
    ("alcoholism", Word),
    ("alzheimer", Stem),
    ("anorexi", Stem),
    ("antidepress", Stem),
    ("arztbrief", Stem),
    ("ASIA", Secret(Kind::Token, Shape::Capitals(16))),
    ("asthma", Stem),
    ("autis", Stem),
    ("aws_secret_access_key", SecretAnyCase(Kind::Token, Shape::Assigned(40))),
    ("bearer", SecretAnyCase(Kind::Token, Shape::AfterSpace(20))),
    ("bedrock-api-key-", Secret(Kind::Token, Shape::Base64(20))),
    ("been diagnosed with", Word),
    ("BEGIN ", Secret(Kind::PrivateKey, Shape::PrivateKey)),
    ("biops", Stem),
    ("bipolar disorder", Word),
    ("blood pressure", Word),
    ("blood glucose", Word),
    ("blood sugar", Word),
    ("blood test", Stem),
    ("blutdruck", Stem),
    ("blutzucker", Stem),
    ("brustkrebs", Stem),
    ("bulimi", Stem),
    ("cancer", Word),
    ("carcinom", Stem),
    ("chemotherap", Stem),
    ("chlamydia", Word),
    ("clinical depression", Word),
    ("copd", Word),
    ("dement", Stem),
    ("depressionen", Word),
    ("diabet", Stem),
    ("dialysis", Word),
    ("dop_v1_", token(40)),
    ("eating disorder", Stem),
    ("embarazad", Stem),
    ("epilep", Stem),
    ("eyJ", Secret(Kind::Token, Shape::JsonWebToken)),
    ("ghp_", token(30)),
    ("gho_", token(30)),
    ("ghr_", token(30)),
    ("ghs_", token(30)),
    ("ghu_", token(30)),
    ("github_pat_", token(22)),
    ("glpat-", token(20)),
    ("gonorrh", Stem),
    ("gsk_", token(40)),
    ("hausarzt", Stem),
    ("hba1c", Word),
    ("health-", Placeholder),
    ("heart attack", Stem),
    ("hepatitis", Word),
    ("herpes", Word),
    ("hf_", Secret(Kind::Token, Shape::Mixed(30))),
    ("hiv", Word),
    ("infertil", Stem),
    ("insulin", Word),
    ("krankschreib", Stem),
    ("krebserkrank", Stem),
    ("leukaemi", Stem),
    ("leukemi", Stem),
    ("lockgate_", token(40)),
    ("lymphom", Stem),
    ("mammogra", Stem),
    ("medical histor", Stem),
    ("medical record", Stem),
    ("melanom", Stem),
    ("menopaus", Stem),
    ("metastas", Stem),
    ("metastat", Stem),
    ("migraine", Stem),
    ("miscarriage", Stem),
    ("multiple sclerosis", Word),
    ("my depression", Word),
    ("my diagnosis", Word),
    ("my doctor", Word),
    ("my patient", Stem),
    ("my surgery", Word),
    ("my symptoms", Word),
    ("my therapist", Word),
    ("npm_", token(30)),
    ("oncolog", Stem),
    ("our patient", Stem),
    ("panic attack", Stem),
    ("parkinson's disease", Word),
    ("patienten", Stem),
    ("patientin", Stem),
    ("patients", Word),
    ("postpartum", Word),
    ("pregnan", Stem),
    ("prescribed me", Word),
    ("psychiatr", Stem),
    ("psychosis", Word),
    ("psychotherap", Stem),
    ("ptsd", Word),
    ("pypi-", token(50)),
    ("rk_live_", token(16)),
    ("schizophren", Stem),
    ("schwanger", Stem),
    ("severe depression", Word),
    ("SG.", token(16)),
    ("shpat_", token(30)),
    ("sk-", token(20)),
    ("sk_live_", token(16)),
    ("sk_test_", token(16)),
    ("suicid", Stem),
    ("syphilis", Word),
    ("the patient", Word),
    ("this patient", Word),
    ("tubercul", Stem),
    ("tumor", Stem),
    ("tumour", Stem),
    ("was diagnosed with", Word),
    ("were diagnosed with", Word),
    ("xai-", token(40)),
    ("xoxa-", token(10)),
    ("xoxb-", token(10)),
    ("xoxe-", token(10)),
    ("xoxo-", token(10)),
    ("xoxp-", token(10)),
    ("xoxr-", token(10)),
    ("xoxs-", token(10)),
    ("ya29.", token(20)),
];

/// At which of a window's first bytes [`at`] may find something.
#[inline(always)]
pub(crate) fn places(window: &Window) -> u32 {
    TABLE.places(window)
}

/// What the word that begins with the letter at `place` is.
pub(crate) fn at(text: &[u8], place: usize) -> Option<Kind> {
    TABLE.at(text, place).find_map(|(number, rule, end)| {
        is_met(text, place, (number, rule, end)).then_some(match *rule {
            Word | Stem | Placeholder => Kind::Health,
            Secret(kind, _) | SecretAnyCase(kind, _) => kind,
        })
    })
}

/// The bytes of it. A word about health is taken whole, however it goes on.
pub(crate) fn range(text: &[u8], place: usize) -> Range<usize> {
    match TABLE.at(text, place).find(|&found| is_met(text, place, found)) {
        Some((_, Secret(_, shape) | SecretAnyCase(_, shape), end)) => secret::range(*shape, text, place, end),
        Some((_, Word | Stem | Placeholder, end)) => {
            place..end + text[end..].iter().take_while(|&&byte| super::is_word(byte)).count()
        }
        None => place..place + 1,
    }
}

/// Whether a word of the table that stands at `place` and ends at `end` is what its rule says.
fn is_met(text: &[u8], place: usize, (number, rule, end): (usize, &Rule, usize)) -> bool {
    match *rule {
        Word => text.get(end).is_none_or(|&byte| !super::is_word(byte)),
        Stem => true,
        Placeholder => {
            let digits = text[end..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let is_open = place > 0 && text[place - 1] == b'[';
            is_open && digits > 0 && text.get(end + digits) == Some(&b']')
        }
        SecretAnyCase(_, shape) => secret::follows(shape, text, place, end),
        Secret(_, shape) => {
            let same_case = text[place..end] == *TABLE.word(number).as_bytes();
            same_case && secret::follows(shape, text, place, end)
        }
    }
}
