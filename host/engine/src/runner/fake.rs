//! A model for tests that is scripted instead of trained. It repeats its prompt and stops, or it draws its logits
//! from a hash of everything that it has read; either way a missing, repeated or swapped token changes the answer.
//! It checks that no position is skipped, counts passes and open sequences, and can be told to misbehave.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lockgate_api::Sampling;

use super::forward::{Fault, Forward, Input, Part, Pass};
use super::work::Ask;
use crate::adapter::Adapter;
use crate::model::Wanted;
use crate::sampler::{Choice, NoLogit, Parameters, Scratch};
use crate::scheduler::Limits;
use crate::tokenizer::{Algorithm, SpecialTokens, TokenKind, Tokenizer, Vocabulary};

pub(crate) const UNKNOWN: u32 = 0;
pub(crate) const BEGINNING: u32 = 1;
pub(crate) const END: u32 = 2;
const FIRST_BYTE: u32 = 3;
const VOCABULARY: usize = 259;

/// A tokenizer whose tokens are single bytes.
pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
    kinds.extend([TokenKind::Byte; 256]);
    let vocabulary = Vocabulary {
        algorithm: Algorithm::SentencePiece { scores: vec![0.0; tokens.len()], add_space_prefix: false },
        tokens,
        kinds,
        special: SpecialTokens {
            beginning: Some(BEGINNING),
            end: Some(END),
            unknown: Some(UNKNOWN),
            ..SpecialTokens::default()
        },
        add_beginning: Some(true),
        add_end: Some(false),
    };
    Arc::new(Tokenizer::new(vocabulary).expect("the test's vocabulary is sound"))
}

pub(crate) fn tokens(bytes: &[u8]) -> Vec<u32> {
    std::iter::once(BEGINNING).chain(bytes.iter().map(|&byte| FIRST_BYTE + u32::from(byte))).collect()
}

/// Asks for a greedy answer to `prompt`.
pub(crate) fn ask(prompt: &str) -> Ask {
    let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
    asked(prompt, &sampling)
}

/// Asks for an answer to `prompt`, drawn as `sampling` says.
pub(crate) fn asked(prompt: &str, sampling: &Sampling) -> Ask {
    Ask {
        name: "tiny".into(),
        adapter: None,
        prompt: tokens(prompt.as_bytes()),
        parameters: Parameters::resolve(sampling, &Sampling::default(), VOCABULARY, 0).expect("in range"),
        stops: sampling.stop.clone(),
        output_tokens_max: sampling.max_tokens.map_or(200, |tokens| tokens as usize),
        choices: 1,
        steered: Vec::new(),
        logprobs: None,
        drop_first_space: false,
    }
}

pub(crate) fn limits() -> Limits {
    Limits { waiting_max: 4, running_max: 8, step_tokens_max: 64, blocks: 1000, block_tokens: 4 }
}

/// What happens in a pass, before it computes: its number from 0, its inputs as (first position, tokens), and the
/// question whether to stop. `Some` is the pass's result.
type Hook = Box<
    dyn FnMut(usize, &[(usize, usize)], &dyn Fn() -> bool) -> Option<Result<Pass<'static>, Fault>> + Send,
>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Repeats the prompt, then stops.
    Parrot,
    /// Logits from a hash of the history. Never the end, so answers go to their limit.
    Noise,
    /// A parrot that has no usable logit for prompts that contain `!`.
    Broken,
}

/// What a test sees of the model while the runner owns it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) passes: usize,
    pub(crate) open: usize,
    /// Tokens that it chose itself.
    pub(crate) choices: usize,
    /// Tokens of each complete pass.
    pub(crate) pass_tokens: Vec<usize>,
}

pub(crate) struct Fake {
    script: Script,
    sequences: HashMap<Part, Memory>,
    logits: Vec<Vec<f32>>,
    choices: Vec<Result<Choice, NoLogit>>,
    hook: Option<Hook>,
    observed: Arc<Mutex<Observed>>,
}

#[derive(Clone, Default)]
struct Memory {
    history: Vec<u32>,
    positions: usize,
    prompt: Option<usize>,
}

impl Fake {
    pub(crate) fn new(script: Script) -> (Self, Arc<Mutex<Observed>>) {
        let observed = Arc::default();
        let (sequences, logits, choices) = (HashMap::new(), Vec::new(), Vec::new());
        (Self { script, sequences, logits, choices, hook: None, observed: Arc::clone(&observed) }, observed)
    }

    pub(crate) fn hooked(
        mut self,
        hook: impl FnMut(usize, &[(usize, usize)], &dyn Fn() -> bool) -> Option<Result<Pass<'static>, Fault>>
        + Send
        + 'static,
    ) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }
}

impl Forward for Fake {
    fn open(&mut self, part: Part, positions: usize, adapter: Option<Arc<Adapter>>) -> Result<(), Fault> {
        assert!(adapter.is_none(), "a script has no weights to adapt");
        let old = self.sequences.insert(part, Memory { positions, ..Memory::default() });
        assert!(old.is_none(), "opened once");
        self.observed.lock().unwrap().open = self.sequences.len();
        Ok(())
    }

    fn fork(&mut self, from: Part, to: Part, positions: usize) -> Result<(), Fault> {
        let parent = self.sequences.get(&from).expect("opened before it is forked").clone();
        let old = self.sequences.insert(to, Memory { positions, ..parent });
        assert!(old.is_none(), "opened once");
        self.observed.lock().unwrap().open = self.sequences.len();
        Ok(())
    }

    fn rewind(&mut self, part: Part, tokens: usize, positions: usize) -> Result<(), Fault> {
        let memory = self.sequences.get_mut(&part).expect("opened before it is rewound");
        assert!(tokens <= memory.history.len(), "nothing comes of rewinding");
        memory.history.truncate(tokens);
        memory.positions = positions;
        Ok(())
    }

    fn close(&mut self, part: Part) {
        self.sequences.remove(&part);
        self.observed.lock().unwrap().open = self.sequences.len();
    }

    fn pass(&mut self, inputs: &[Input<'_>], stop: &dyn Fn() -> bool) -> Result<Pass<'_>, Fault> {
        let number = {
            let mut observed = self.observed.lock().unwrap();
            observed.passes += 1;
            observed.passes - 1
        };
        let shape: Vec<(usize, usize)> =
            inputs.iter().map(|input| (input.start, input.tokens.len())).collect();
        if let Some(result) = self.hook.as_mut().and_then(|hook| hook(number, &shape, stop)) {
            return result;
        }
        self.logits.clear();
        self.choices.clear();
        for input in inputs {
            let memory = self.sequences.get_mut(&input.part).expect("opened before it is computed");
            assert_eq!(memory.history.len(), input.start, "no position is skipped or repeated");
            for (index, &token) in input.tokens.iter().enumerate() {
                memory.history.push(token);
                match input.wanted {
                    Wanted::Last | Wanted::Choice(_) if index + 1 < input.tokens.len() => {}
                    Wanted::Last | Wanted::All | Wanted::Choice(_) => {
                        let prompt = *memory.prompt.get_or_insert(memory.history.len());
                        let row = logits(self.script, &memory.history, prompt);
                        match input.wanted {
                            Wanted::Choice(rules) => {
                                self.choices.push(rules.choose(&row, &mut Scratch::default()));
                            }
                            _ => self.logits.push(row),
                        }
                    }
                    Wanted::States => self.logits.push(state(self.script, &memory.history)),
                    Wanted::None => {}
                }
            }
            assert!(memory.history.len() <= memory.positions, "no more than was reserved");
        }
        let tokens = inputs.iter().map(|input| input.tokens.len()).sum();
        {
            let mut observed = self.observed.lock().unwrap();
            observed.pass_tokens.push(tokens);
            observed.choices += self.choices.len();
        }
        let rows = self.logits.iter().map(Vec::as_slice).collect();
        Ok(Pass::Complete { rows, choices: &self.choices })
    }

    fn passes(&self) -> u64 {
        self.observed.lock().unwrap().passes as u64
    }
}

/// A hidden state of three numbers that tells where which tokens were.
fn state(script: Script, history: &[u32]) -> Vec<f32> {
    let exclamation = FIRST_BYTE + u32::from(b'!');
    if script == Script::Broken && history.contains(&exclamation) {
        return vec![f32::NAN; 3];
    }
    let last = history.last().copied().unwrap_or_default() as f32;
    vec![1.0, last, last * history.len() as f32]
}

pub(crate) fn logits(script: Script, history: &[u32], prompt: usize) -> Vec<f32> {
    let generated = history.len() - prompt;
    let next = history[..prompt].get(1 + generated).copied().unwrap_or(END);
    let exclamation = FIRST_BYTE + u32::from(b'!');
    match script {
        Script::Broken if history[..prompt].contains(&exclamation) => vec![f32::NAN; VOCABULARY],
        Script::Parrot | Script::Broken => {
            let mut logits = vec![-20.0; VOCABULARY];
            logits[next as usize] = 20.0;
            logits
        }
        Script::Noise => {
            let mut state = 0xcbf2_9ce4_8422_2325u64;
            for &token in history {
                state = (state ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3);
            }
            let mut logits: Vec<f32> = (0..VOCABULARY as u64)
                .map(|token| {
                    let bits = (state ^ token).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    (bits >> 40) as f32 / (1u64 << 24) as f32 * 6.0
                })
                .collect();
            logits[END as usize] = f32::NEG_INFINITY;
            logits
        }
    }
}
