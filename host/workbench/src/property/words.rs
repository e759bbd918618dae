//! Sentences and data that requests are generated from. All of them are invented.

use super::generate::Random;

/// What people ask, by language.
pub(super) const LANGUAGES: &[(&str, &[&str])] = &[
    (
        "en",
        &[
            "What is the capital of France?",
            "Summarise the minutes of Tuesday's meeting in two lines.",
            "Why does this program print nothing?",
            "Compare these two offers and say which one is cheaper.",
            "Prove step by step that there are infinitely many primes.",
            "Write a polite reply that we are closed in August.",
            "Tell me a joke about gardeners.",
        ],
    ),
    (
        "de",
        &[
            "Wie spät ist es in Tokio, wenn es in Köln neun Uhr ist?",
            "Fasse den Bericht in drei Sätzen zusammen.",
            "Beweise Schritt für Schritt, dass die Wurzel aus zwei irrational ist.",
        ],
    ),
    ("fr", &["Quelle est la hauteur de la tour Eiffel ?", "Écris une lettre de remerciement très brève."]),
    ("es", &["¿Cuántos habitantes tiene Sevilla?", "Traduce este párrafo al inglés, por favor."]),
    ("pl", &["Jaka jest stolica Litwy?", "Napisz krótkie podziękowanie."]),
    ("zh", &["请用一句话解释什么是光合作用。", "把这段话翻译成英文。"]),
    ("ja", &["京都で一番古いお寺はどこですか。", "この文章を短くまとめてください。"]),
    ("ar", &["ما هي عاصمة المغرب؟", "اكتب رسالة شكر قصيرة."]),
    ("hi", &["भारत की राजधानी क्या है?", "इस वाक्य का अनुवाद करो।"]),
];

/// From how many bytes on a piece is long, however small a failure was made.
pub(super) const LONG_BYTES_MIN: u64 = 1_000;

/// Fills long prompts.
pub(super) const FILLER: &str =
    "The committee met on Tuesday and asked whether the library could open earlier.";

/// Instructions of an application.
pub(super) const SYSTEMS: &[&str] = &[
    "You are a helpful assistant.",
    "Answer in one sentence.",
    "You answer questions of a city's visitors.",
];

/// What a model said before.
pub(super) const ANSWERS: &[&str] = &["Of course. What else?", "It is 42.", "Here is a first draft."];

/// Names and descriptions of tools.
pub(super) const TOOLS: &[(&str, &str)] = &[
    ("search", "Searches the library's catalogue"),
    ("add", "Adds two numbers"),
    ("send_mail", "Sends a mail to a colleague"),
];

const FIRST: &[&str] = &["anna", "jonas", "marie", "pavel", "aiko", "omar", "lucia"];
const LAST: &[&str] = &["schmidt", "novak", "leroy", "tanaka", "haddad", "moreau", "olsen"];
const DOMAINS: &[&str] = &["posteo.de", "gmail.com", "orange.fr", "proton.me", "uni-graz.at"];
const HEALTH: &[&str] = &[
    "My HbA1c is 8.1, what now?",
    "She has diabetes and asks about sport.",
    "I was diagnosed with asthma last year.",
    "The patient complains of pain.",
    "Is chemotherapy possible at home?",
    "Ist sie schwanger?",
    "He takes an antidepressant.",
];

/// A sentence with something personal in it, and the part that is.
pub(super) fn personal(random: &mut Random) -> (String, String) {
    let (sentence, datum) = match random.below(5) {
        0 => {
            let mail = format!("{}.{}@{}", random.pick(FIRST), random.pick(LAST), random.pick(DOMAINS));
            (format!("Please write to {mail} about the offer."), mail)
        }
        1 => {
            let number = format!("+49 30 {:04} {:04}", random.below(9000) + 1000, random.below(9000) + 1000);
            (format!("Call me back at {number} this evening."), number)
        }
        2 => {
            let account = iban(random);
            (format!("Transfer it to {account} by Friday."), account)
        }
        3 => {
            let card = card(random);
            (format!("My card is {card}, is that right?"), card)
        }
        _ => {
            let sentence = (*random.pick(HEALTH)).to_owned();
            (sentence.clone(), sentence)
        }
    };
    (sentence, datum)
}

/// A German account's number whose check digits are right.
fn iban(random: &mut Random) -> String {
    let digits: String = (0..18).map(|_| char::from(b'0' + random.below(10) as u8)).collect();
    // The country's letters as numbers, and 00 in the check digits' place.
    let remainder = format!("{digits}131400")
        .bytes()
        .fold(0_u32, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    format!("DE{:02}{digits}", 98 - remainder)
}

/// A payment card's number whose check digit is right.
fn card(random: &mut Random) -> String {
    let mut digits: Vec<u32> = vec![4];
    digits.extend((0..14).map(|_| random.below(10) as u32));
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 if digit * 2 > 9 => digit * 2 - 9,
            0 => digit * 2,
            _ => *digit,
        })
        .sum();
    digits.push((10 - sum % 10) % 10);
    let text: String = digits.iter().filter_map(|digit| char::from_digit(*digit, 10)).collect();
    format!("{} {} {} {}", &text[..4], &text[4..8], &text[8..12], &text[12..])
}
