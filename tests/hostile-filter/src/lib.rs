//! A filter that attacks its host: as a preprocessor in the way that the request's model or its setting `mode`
//! names, as a guard in the way that its note or its setting `watch` names.
//!
//! Owns the attacks. What must come of each is said by the tests of `host/sandbox`, which claim every mode:
//! one that they do not know is a refusal, and the test that asked for it fails.
#![cfg(target_family = "wasm")]

use std::hint::black_box;

use lockgate_plugin::{
    Answer, Draft, EditError, Guard, Kind, Place, Preprocessor, Prompt, Refusal, Request as _, Settings,
    Verdict, cloud, inference, log, state,
};

struct Hostile {
    mode: String,
    calls: u32,
    hoard: Vec<Vec<u8>>,
    facts: String,
    prompt: Option<Prompt>,
}

impl Preprocessor for Hostile {
    fn prepare(draft: &mut impl Draft, settings: &impl Settings) -> Result<(), Refusal> {
        let mode = settings.get("mode").unwrap_or_else(|| draft.request().model());
        let said = |text: String| Err(Refusal::new(text));
        match mode.as_str() {
            "good" => Ok(()),
            "change" => {
                let length = draft.pieces()[0].length;
                must(draft.replace(0, 0..length, "changed"));
                draft.add_label("no-cloud");
                draft.set_note(b"for the guard");
                Ok(())
            }
            "refuse" => said("not today".to_owned()),
            "settings" => said(format!("{:?}", settings.all())),
            "pieces" => {
                let pieces = draft.pieces();
                let text = draft.request().text(u32::MAX);
                let length: u64 = pieces.iter().map(|piece| piece.length + 1).sum();
                assert_eq!(length.saturating_sub(1), text.len() as u64);
                let told: Vec<String> = pieces
                    .iter()
                    .map(|piece| {
                        let fixed = if piece.is_fixed { "!" } else { "" };
                        format!("{fixed}{:?}", piece.place)
                    })
                    .collect();
                said(told.join(" "))
            }
            "change-all" => {
                for (number, piece) in (0..).zip(draft.pieces()) {
                    let replaced = draft.replace(number, 0..piece.length, &format!("<{number}>"));
                    assert_eq!(replaced.is_err(), piece.is_fixed);
                }
                said(draft.request().text(u32::MAX))
            }
            "edit-errors" => {
                let mut told = vec![
                    draft.replace(0, 1..2, ""),
                    draft.replace(0, 2..1, ""),
                    draft.replace(0, 0..1000, ""),
                    draft.replace(0, u64::MAX - 1..u64::MAX, ""),
                    draft.replace(1000, 0..0, ""),
                    draft.replace(0, 3..3, "!"),
                ];
                let pieces = draft.pieces();
                let stop = pieces.iter().position(|piece| piece.place == Place::Stop).unwrap_or(99);
                told.push(draft.replace(stop as u32, 0..pieces[stop].length, ""));
                said(format!("{told:?}"))
            }
            "label-shows" => {
                draft.add_label("local-only");
                said(format!("{:?}", draft.request().labels()))
            }

            "loop" => loop {
                black_box(());
            },
            "trap" => core::arch::wasm32::unreachable(),
            "panic" => panic!("the prompt was: {}", draft.request().text(64)),
            "label-and-panic" => {
                draft.add_label("local-only");
                panic!("the prompt was: {}", draft.request().text(64));
            }
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            "edit-flood" => loop {
                must(draft.replace(0, 0..0, "x"));
            },
            "output-flood" => loop {
                must(draft.replace(0, 0..0, &"x".repeat(10_000)));
            },
            "huge-edit" => {
                must(draft.replace(0, 0..0, &"x".repeat(8 << 20)));
                Ok(())
            }
            "long-note" => {
                draft.set_note(&[7; 65_537]);
                Ok(())
            }
            "requests-kept" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(draft.request());
                }
            }
            "unknown-label" => {
                draft.add_label("top-secret");
                Ok(())
            }
            "many-labels" => {
                for number in 0..100 {
                    draft.add_label(&format!("region:r-{number}"));
                }
                Ok(())
            }
            "log" => {
                log::info("a line for the operator");
                Ok(())
            }
            "label-and-log" => {
                log::info("a secret in the log");
                draft.add_label("no-cloud");
                Ok(())
            }
            "label-secrets" => {
                if draft.request().text(u32::MAX).contains("secret") {
                    draft.add_label("local-only");
                }
                Ok(())
            }
            "ask" => {
                let answer = asked(Prompt::of(&draft.request()));
                draft.set_note(answer.as_bytes());
                Ok(())
            }
            "ask-and-refuse" => said(asked(Prompt::of(&draft.request()))),
            "ask-then-label" => {
                asked(Prompt::of(&draft.request()));
                draft.add_label("local-only");
                Ok(())
            }
            "label-then-ask" => {
                draft.add_label("local-only");
                said(asked(Prompt::of(&draft.request())))
            }
            "older-prompts" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(Prompt::of(&draft.request()));
                    must(draft.replace(0, 0..0, "x"));
                }
            }
            // Writes down what it reads, and puts what was written into requests that say `recall`.
            "relay" | "write-and-refuse" | "write-and-panic" => {
                let text = draft.request().text(u32::MAX);
                if text.contains("recall") {
                    let found = state::get("text").ok().flatten().unwrap_or_default();
                    let length = draft.pieces()[0].length;
                    must(draft.replace(
                        0,
                        0..length,
                        &format!("recalled: {}", String::from_utf8_lossy(&found)),
                    ));
                } else {
                    assert_eq!(state::set("text", text.as_bytes(), None), Ok(()));
                }
                assert_ne!(mode, "write-and-panic");
                if mode == "write-and-refuse" { said("not today".to_owned()) } else { Ok(()) }
            }
            other => said(format!("no such attack: {other}")),
        }
    }
}

/// What a cloud says, or why it does not.
fn asked(prompt: Prompt) -> String {
    let answer = cloud::generate("claude", &prompt.max_tokens(50)).and_then(|answer| answer.text());
    answer.unwrap_or_else(|error| format!("error: {error}"))
}

fn must(edited: Result<(), EditError>) {
    assert_eq!(edited, Ok(()), "the piece can be changed");
}

impl Guard for Hostile {
    fn watch(answer: &impl Answer, settings: &impl Settings) -> Result<Self, Refusal> {
        let note = answer.note().unwrap_or_else(|| b"facts".to_vec());
        let mode = settings.get("watch").unwrap_or_else(|| String::from_utf8_lossy(&note).into_owned());
        let facts = format!(
            "{} {:?} {:?} {:?} {:?}",
            answer.choice(),
            answer.labels(),
            answer.key(),
            answer.tenant(),
            settings.all()
        );
        match mode.as_str() {
            "begin-refuse" => return Err(Refusal::new("not today")),
            "begin-ask" => return Err(Refusal::new(asked(Prompt::user("a secret")))),
            "begin-panic" => panic!("at once"),
            "begin-loop" => loop {
                black_box(());
            },
            _ => {}
        }
        Ok(Self { mode, calls: 0, hoard: Vec::new(), facts, prompt: None })
    }

    fn on_chunk(&mut self, kind: &Kind, text: &str) -> Verdict {
        self.calls += 1;
        match self.mode.as_str() {
            "pass" => Verdict::Pass,
            "facts" => Verdict::Replace(self.facts.clone()),
            "echo" => Verdict::Replace(format!("{kind:?}: {text}")),
            "count" => Verdict::Replace(self.calls.to_string()),
            "hold" | "hold-at-end" => Verdict::Hold(u32::MAX),
            "stop" => Verdict::Stop(format!("it said {text}")),

            "loop" => loop {
                black_box(());
            },
            "trap" => core::arch::wasm32::unreachable(),
            "panic" => panic!("the answer was: {text}"),
            "slow-leak" => {
                self.hoard.push(black_box(vec![1u8; 1 << 20]));
                Verdict::Pass
            }
            "host-calls" => loop {
                log::info("x");
            },
            "some-host-calls" => {
                for _ in 0..600 {
                    log::info("x");
                }
                Verdict::Pass
            }
            "flood" => Verdict::Replace("x".repeat(8 << 20)),
            "long-reason" => Verdict::Stop("x".repeat(5_000)),
            "kept-handle" => Verdict::Replace(kept_handle().to_string()),
            "log" => {
                log::info(&format!("line {}", self.calls));
                Verdict::Pass
            }
            "ask" => Verdict::Replace(asked(Prompt::user(text))),
            "ask-here" => {
                let answer =
                    inference::generate("here", &Prompt::user(text)).and_then(|answer| answer.text());
                Verdict::Replace(answer.unwrap_or_else(|error| format!("error: {error}")))
            }
            "kept-prompt" => {
                let prompt = self.prompt.get_or_insert_with(|| Prompt::user(text));
                Verdict::Replace(format!("{:?}", inference::count_tokens("here", prompt)))
            }
            "count-calls" => Verdict::Replace(format!("{:?}", state::increment("chunks", 1, None))),
            other => Verdict::Stop(format!("no such attack: {other}")),
        }
    }

    fn end_run(&mut self) -> Verdict {
        match self.mode.as_str() {
            "hold-at-end" => Verdict::Hold(1),
            "end-trap" => core::arch::wasm32::unreachable(),
            _ => Verdict::Pass,
        }
    }

    fn finish(&mut self) -> Verdict {
        match self.mode.as_str() {
            "count" => Verdict::Replace(format!("{} in all", self.calls)),
            _ => Verdict::Pass,
        }
    }
}

/// Asks the answer by the handle that was lent when the watching began.
#[allow(unsafe_code, reason = "a handle that is gone can only be named by its number")]
fn kept_handle() -> i32 {
    #[link(wasm_import_module = "lockgate:plugin/answer@0.1.0")]
    unsafe extern "C" {
        #[link_name = "[method]answer.choice"]
        fn choice(handle: i32) -> i32;
    }
    // SAFETY: the function takes and gives numbers; the host judges them.
    (1..8).map(|handle| unsafe { choice(handle) }).sum()
}

lockgate_plugin::export_preprocessor!(Hostile);
lockgate_plugin::export_guard!(Hostile);
