//! `run`: one answer, or a chat with history on a terminal.

use std::io::{IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use lockgate_api::{BackendError, ChatRequest, ErrorKind, Event, FinishReason, Message, Role, Sampling};
use lockgate_engine::adapter::AdapterFile;
use lockgate_engine::backend::{LocalModel, ModelOptions};
use rustyline::error::ReadlineError;
use tokio::signal::unix::{SignalKind, signal};

use super::block_on;
use crate::args::RunArgs;
use crate::failure::Failure;
use crate::{assembly, models, terminal};

/// As shells tell that a process was ended by an interrupt.
const ENDED_BY_INTERRUPT: u8 = 130;

/// What a chat is at: nobody waits for an answer, one is made, or one is made that somebody wants to end.
const IDLE: u8 = 0;
const ANSWERING: u8 = 1;
const INTERRUPTED: u8 = 2;

pub(super) fn run(args: RunArgs) -> Result<(), Failure> {
    let path = block_on(models::find_or_pull(&args.model, args.offline))??;
    let mut options = ModelOptions::new(&args.model);
    options.threads = args.engine.threads;
    options.context_tokens = args.engine.context;
    options.kernels = assembly::kernels();
    let model = models::Loading::of(&path).track(|progress| LocalModel::load(&path, &options, progress))?;
    let model = match &args.adapter.path {
        Some(path) => model.adapted("adapter", &AdapterFile::open(path)?, 1.0)?,
        None => model,
    };

    let sampling = Sampling {
        temperature: args.temperature,
        seed: args.seed,
        max_tokens: args.max_tokens,
        ..Sampling::default()
    };
    let history = args.system.map(|text| Message::text(Role::System, text)).into_iter().collect();
    let mut chat = Chat { model, sampling, history, state: Arc::default() };
    match args.prompt {
        Some(prompt) => chat.say(prompt),
        None if std::io::stdin().is_terminal() => chat.interactive(),
        None => {
            let mut prompt = String::new();
            std::io::stdin().read_to_string(&mut prompt)?;
            chat.say(prompt)
        }
    }
}

struct Chat {
    model: LocalModel,
    sampling: Sampling,
    history: Vec<Message>,
    /// [`IDLE`], [`ANSWERING`] or [`INTERRUPTED`].
    state: Arc<AtomicU8>,
}

impl Chat {
    /// Asks, prints the answer as it is made, and remembers both. An interrupted answer is remembered as far as it came.
    fn say(&mut self, prompt: String) -> Result<(), Failure> {
        if prompt.trim().is_empty() {
            return Err(Failure::unusable("the prompt is empty"));
        }
        self.history.push(Message::text(Role::User, prompt));
        let mut request = ChatRequest::new("run", self.history.clone());
        request.sampling = self.sampling.clone();
        let mut answer = String::new();
        self.state.store(ANSWERING, Ordering::Relaxed);
        for event in self.model.chat(request) {
            if self.state.load(Ordering::Relaxed) == INTERRUPTED {
                terminal::raw(b"\n")?;
                break;
            }
            match event {
                Ok(Event::Text { text, .. }) => {
                    terminal::raw(text.as_bytes())?;
                    answer.push_str(&text);
                }
                Ok(Event::Finish { reason: FinishReason::Length, .. }) => {
                    terminal::raw(b"\n")?;
                    terminal::note("(cut off: the token limit or the context is reached)");
                }
                Ok(Event::Finish { .. }) => terminal::raw(b"\n")?,
                Ok(_) => {}
                Err(error) => {
                    self.state.store(IDLE, Ordering::Relaxed);
                    self.history.pop();
                    return Err(error.into());
                }
            }
        }
        self.state.store(IDLE, Ordering::Relaxed);
        self.history.push(Message::text(Role::Assistant, answer));
        Ok(())
    }

    /// Whether a question was refused for what was said before it.
    fn is_full(&self, failure: &Failure) -> bool {
        let error = failure.cause::<BackendError>();
        let exceeds = error.is_some_and(|error| matches!(error.kind, ErrorKind::ContextExceeded { .. }));
        exceeds && self.history.iter().any(|message| message.role == Role::Assistant)
    }

    /// From now on an interrupt ends the answer that is made; a second one that finds the first unheeded ends the process.
    fn heed_interrupts(&self) -> Result<(), Failure> {
        let state = Arc::clone(&self.state);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Before the line's editor sets a handler of its own: it puts back what it finds.
        let mut interrupts = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        let heed = async move {
            while interrupts.recv().await.is_some() {
                // Between answers the editor has its own way with it.
                let now =
                    state.compare_exchange(ANSWERING, INTERRUPTED, Ordering::Relaxed, Ordering::Relaxed);
                if now == Err(INTERRUPTED) {
                    std::process::exit(ENDED_BY_INTERRUPT.into());
                }
            }
        };
        std::thread::Builder::new().name("interrupts".to_owned()).spawn(move || runtime.block_on(heed))?;
        Ok(())
    }

    fn interactive(&mut self) -> Result<(), Failure> {
        terminal::note("/clear forgets the conversation; Ctrl-C ends an answer; /exit or Ctrl-D ends it all");
        self.heed_interrupts()?;
        let beginning = self.history.clone();
        let mut editor = rustyline::DefaultEditor::new()?;
        loop {
            match editor.readline("> ") {
                Ok(line) => match line.trim() {
                    "" => {}
                    "/exit" => return Ok(()),
                    "/clear" => self.history.clone_from(&beginning),
                    _ => {
                        editor.add_history_entry(&line)?;
                        // A refused prompt (too long, say) does not end the chat.
                        match self.say(line) {
                            Err(failure) if self.is_full(&failure) => terminal::note(
                                "the conversation fills the model's context: /clear begins anew; --context makes it \
                                 larger where the model allows that",
                            ),
                            Err(failure) => terminal::note(&failure.to_string()),
                            Ok(()) => {}
                        }
                    }
                },
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                    terminal::note("that line is not UTF-8 and was left out");
                }
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
