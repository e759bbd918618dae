//! An adapter that attacks its host: when it is described, in the way that its setting `describe` names; while it
//! steers, in the way that its setting `steer` or else the request's last message names, from the token on that
//! stands behind an `@`.
//!
//! Owns the attacks, and a few modes that do as they should. What must come of each is said by the tests of
//! `host/sandbox` and `tests/clients`: a mode that is not known is a refusal.
#![cfg(target_family = "wasm")]

use std::hint::black_box;

use lockgate_plugin::{
    Adaptation, Adapter, Candidate, Chosen, Mask, Message as _, Refusal, Request, Settings, Steering, Step,
    Vocabulary, log,
};

struct Hostile {
    mode: String,
    /// The number of the token, counted from 0, where it begins.
    from: u32,
    asked: u32,
    hoard: Vec<Vec<u8>>,
    words: Vec<u32>,
}

impl Adapter for Hostile {
    fn describe(settings: &impl Settings) -> Adaptation {
        let base = settings.get("base").unwrap_or_else(|| "smollm2".to_owned());
        let top = settings.get("top").and_then(|top| top.parse().ok()).unwrap_or(4);
        let plain = Adaptation::of(base).steering(top);
        match settings.get("describe").as_deref() {
            None => plain,
            Some("weights-of") => plain.weights_of(settings.get("weights").unwrap_or_default()),
            Some("weights-beside") => plain.weights_beside(settings.get("weights").unwrap_or_default()),
            Some("no-steering") => Adaptation { steering: None, ..plain }.system("be brief").max_tokens(5),
            Some("nothing") => Adaptation::default(),
            Some("outside") => plain.weights_beside("../secrets"),
            Some("hot") => plain.temperature(9.0),
            Some("many-stops") => {
                (0..100).fold(plain, |adaptation, number| adaptation.stop(number.to_string()))
            }
            Some("long-template") => Adaptation { template: Some("x".repeat(100_000)), ..plain },
            Some("huge-template") => Adaptation { template: Some("x".repeat(8 << 20)), ..plain },
            Some("see-all") => plain.steering(100_000),
            Some("panic") => panic!("not today"),
            Some("loop") => loop {
                black_box(());
            },
            Some("vocabulary") => plain.steering(size_of_vocabulary()),
            Some(other) => panic!("no such attack: {other}"),
        }
    }

    fn steer(
        request: &impl Request,
        choice: u32,
        vocabulary: &impl Vocabulary,
        settings: &impl Settings,
    ) -> Result<Self, Refusal> {
        let last = request.message(request.message_count() - 1).map(|message| message.text(64));
        let given = settings.get("steer").or(last).unwrap_or_default();
        let (mode, from) = given.rsplit_once('@').unwrap_or((&given, "0"));
        match mode {
            "begin-refuse" => return Err(Refusal::new("not today")),
            "begin-panic" => panic!("the prompt was: {}", request.text(64)),
            "begin-loop" => loop {
                black_box(());
            },
            "second-choice-panics" if choice == 1 => panic!("choice {choice}"),
            _ => {}
        }
        let words = ["a", "b", "c"].iter().filter_map(|letter| vocabulary.tokens(letter)).flatten().collect();
        let from = from.parse().unwrap_or(0);
        Ok(Self { mode: mode.to_owned(), from, asked: 0, hoard: Vec::new(), words })
    }

    fn next(&mut self, chosen: Option<&Chosen>, top: &[Candidate], vocabulary: &impl Vocabulary) -> Step {
        self.asked += 1;
        if self.asked <= self.from {
            return Step::AsBefore;
        }
        match self.mode.as_str() {
            "good" | "second-choice-panics" => Step::AsBefore,
            // Nothing but these letters, as the tokens that the vocabulary has for them.
            "only-abc" => Step::only(self.words.clone()),
            "never-best" => Step::never(vec![top[0].token]),
            "never-vowels" => Step::never(vocabulary.containing(b"aeiouAEIOU")),
            "push" => Step::Steer(Steering { biases: vec![(self.words[0], 100.0)], mask: Mask::All }),
            "stop" => Step::Stop,
            "ends" => Step::only(vocabulary.ends()),
            // What it was told, checked where it is known.
            "facts" => {
                assert_eq!(chosen.is_none(), self.asked == 1);
                if let Some(Chosen { token, text }) = chosen {
                    assert_eq!(vocabulary.texts(&[*token, u32::MAX]), [text.clone(), Vec::new()]);
                }
                assert!(top.is_sorted_by(|left, right| left.logit >= right.logit) && top.len() == 4);
                assert!(top.iter().all(|candidate| candidate.token < vocabulary.size()));
                Step::AsBefore
            }

            "loop" => loop {
                black_box(());
            },
            "slow" => {
                let mut sum = 0u64;
                for number in 0..20_000_000u64 {
                    sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
                }
                Step::AsBefore
            }
            "trap" => core::arch::wasm32::unreachable(),
            "panic" => panic!("the token was: {chosen:?}"),
            "none" => Step::only(Vec::new()),
            "never-any" => Step::never((0..vocabulary.size()).collect::<Vec<u32>>()),
            "no-such-token" => Step::only(vec![u32::MAX]),
            "no-such-bias" => Step::Steer(Steering { biases: vec![(u32::MAX, 1.0)], mask: Mask::All }),
            "nan" => Step::Steer(Steering { biases: vec![(0, f32::NAN)], mask: Mask::All }),
            "huge-bias" => Step::Steer(Steering { biases: vec![(0, 1e30)], mask: Mask::All }),
            "huge-list" => Step::only(vec![0; 4 << 20]),
            "many-biases" => Step::Steer(Steering { biases: vec![(0, 0.0); 1 << 20], mask: Mask::All }),
            "memory" => loop {
                self.hoard.push(black_box(vec![1u8; 1 << 20]));
            },
            "slow-leak" => {
                self.hoard.push(black_box(vec![1u8; 1 << 20]));
                Step::AsBefore
            }
            "host-calls" => loop {
                vocabulary.size();
            },
            "long-text" => {
                vocabulary.tokens(&"x".repeat(5_000));
                Step::AsBefore
            }
            "many-texts" => {
                vocabulary.texts(&[0; 5_000]);
                Step::AsBefore
            }
            "log" => {
                log::info(&format!("token {}", self.asked));
                Step::AsBefore
            }
            other => panic!("no such attack: {other}"),
        }
    }
}

/// Asks for a vocabulary where there is none yet.
#[allow(unsafe_code, reason = "the crate gives no vocabulary before there is one")]
fn size_of_vocabulary() -> u32 {
    #[link(wasm_import_module = "lockgate:plugin/vocabulary@0.1.0")]
    unsafe extern "C" {
        fn size() -> i32;
    }
    // SAFETY: the function takes nothing and gives a number; the host judges the call.
    unsafe { size() }.cast_unsigned()
}

lockgate_plugin::export_adapter!(Hostile);
