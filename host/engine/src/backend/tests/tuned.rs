//! Models tuned by a component: template, system message, sampling and stop strings, and hooks begun for each choice.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use lockgate_api::{
    HookInput, Mask, NextStep, Place, PolicyError, Steering, Step, TokenHook, TokenHooks, Vocabulary,
};

use super::adapters::adapter;
use super::*;

/// Lets only the letters of its setting through, after so many polls; refuses where it has none.
struct Letters {
    letters: &'static str,
    polls: usize,
    begun: AtomicUsize,
}

impl Letters {
    fn new(letters: &'static str, polls: usize) -> Arc<Self> {
        Arc::new(Self { letters, polls, begun: AtomicUsize::new(0) })
    }
}

struct Hook {
    allowed: Vec<u32>,
    polls: usize,
}

impl TokenHook for Hook {
    fn next(self: Box<Self>, _: Place) -> NextStep {
        Box::pin(async move {
            let mut left = self.polls;
            poll_fn(|_| {
                left = left.saturating_sub(1);
                if left == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let mask = Mask::Only(self.allowed.clone());
            Ok((self as Box<dyn TokenHook>, Step::Steer(Steering { biases: Vec::new(), mask })))
        })
    }
}

impl TokenHooks for Letters {
    fn id(&self) -> &str {
        "letters"
    }

    fn top(&self) -> usize {
        0
    }

    fn begin(&self, input: HookInput) -> BoxFuture<'_, Result<Box<dyn TokenHook>, PolicyError>> {
        assert_eq!((&*input.request_id, input.request.messages.len()), ("request-1", 1));
        assert_eq!(input.choice as usize, self.begun.fetch_add(1, Ordering::Relaxed));
        let allowed = input.vocabulary.tokens(self.letters).expect("bytes can be written");
        let hook = match self.letters {
            "" => Err(PolicyError::Refused { reason: "not today".to_owned() }),
            "!" => Err(PolicyError::Trap { message: "it quotes: hello".to_owned() }),
            "?" => Err(PolicyError::Overloaded),
            _ => Ok(Box::new(Hook { allowed, polls: self.polls }) as Box<dyn TokenHook>),
        };
        Box::pin(std::future::ready(hook))
    }
}

fn steered(
    model: &LocalModel,
    hooks: Arc<Letters>,
    request: ChatRequest,
) -> Vec<Result<Event, BackendError>> {
    let tuning = Tuning { hooks: Some(hooks), ..Tuning::default() };
    let tuned = model.tuned("letters", &tuning).expect("a valid tuning");
    let permit = permit_for(tuned.target());
    BlockingEvents::new(tuned.answer(Arc::new(request), &permit, asker())).collect()
}

#[test]
fn hooks_steer_every_choice_and_nobody_beside() {
    let model = tiny();
    let plain = answer(&model, "hello", seeded(4, 12));
    for polls in [0, 3] {
        let hooks = Letters::new("abc", polls);
        let request = ChatRequest { choices: 3, ..request("hello", seeded(4, 12)) };
        let events = steered(&model, Arc::clone(&hooks), request);
        let mut texts = [String::new(), String::new(), String::new()];
        for event in events {
            match event.expect("an answer") {
                Event::Start { model } => assert_eq!(model, "tiny:letters"),
                Event::Text { choice, text, .. } => texts[choice as usize].push_str(&text),
                _ => {}
            }
        }
        assert!(texts.iter().all(|text| text.len() == 12), "{texts:?}");
        assert!(texts.concat().chars().all(|letter| "abc".contains(letter)), "{texts:?}");
        assert_ne!(texts[0], texts[1], "each choice has its own");
        assert_eq!(hooks.begun.load(Ordering::Relaxed), 3);
        assert_eq!(answer(&model, "hello", seeded(4, 12)), plain);
    }
}

#[test]
fn a_hook_that_does_not_begin_lets_no_answer_begin() {
    let model = tiny();
    for (letters, kind, words) in [
        ("", ErrorKind::InvalidRequest, "refused the request: not today"),
        ("!", ErrorKind::Adapter, "failed (trap) before the answer began"),
        ("?", ErrorKind::Overloaded, "no free instance"),
    ] {
        let events = steered(&model, Letters::new(letters, 0), request("hello", greedy(5)));
        let [Err(error)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(words) && !error.message.contains("hello"), "{}", error.message);
    }
    let tuning = Tuning { hooks: Some(Letters::new("abc", 0)), ..Tuning::default() };
    let tuned = model.tuned("letters", &tuning).expect("a valid tuning");
    let completion =
        CompletionRequest { prompt: "hello".to_owned(), sampling: greedy(5), choices: 1, logprobs: None };
    let events: Vec<_> =
        BlockingEvents::new(tuned.complete(completion, &permit_for(tuned.target()))).collect();
    assert!(matches!(&events[..], [Err(error)] if matches!(error.kind, ErrorKind::Unsupported { .. })));
}

#[test]
fn what_the_client_says_goes_before_what_the_adapter_says() {
    let model = tiny();
    let sampling = Sampling {
        temperature: Some(0.0),
        max_tokens: Some(7),
        stop: vec!["never comes".to_owned()],
        ..Sampling::default()
    };
    let tuning = Tuning { sampling, ..Tuning::default() };
    let tuned = model.tuned("greedy", &tuning).expect("a valid tuning");
    let text = |model: &LocalModel, sampling: Sampling| {
        let events = model.chat(request("hello", sampling)).map(|event| event.expect("an answer"));
        let texts = events.filter_map(|event| match event {
            Event::Text { text, .. } => Some(text),
            _ => None,
        });
        texts.collect::<String>()
    };
    let open = Sampling { logit_bias: greedy(1).logit_bias, ..Sampling::default() };
    let expected = text(&model, greedy(7));
    assert_eq!(text(&tuned, open.clone()), expected, "temperature and length are the adapter's");
    assert_eq!(text(&tuned, greedy(3)), text(&model, greedy(3)));
    let warm = Sampling { temperature: Some(1.0), ..seeded(5, 9) };
    assert_eq!(text(&tuned, warm.clone()), text(&model, warm));
    // Its stop strings hold beside the client's.
    let stop = expected.chars().skip(1).find(char::is_ascii).expect("one of them is").to_string();
    let sampling = Sampling { stop: vec![stop.clone()], ..tuning.sampling.clone() };
    let stopping = model.tuned("stopping", &Tuning { sampling, ..tuning }).expect("a valid tuning");
    let stopped = text(&stopping, Sampling { stop: vec!["other".to_owned()], ..open });
    assert_eq!(stopped, expected.split(&stop).next().expect("a beginning"));
}

#[test]
fn template_and_system_message_are_the_adapters() {
    let model = tiny();
    let system = Tuning { system: Some("brief".to_owned()), ..Tuning::default() };
    let tuned = model.tuned("brief", &system).expect("a valid tuning");
    let prompt = |model: &LocalModel, request: &ChatRequest| {
        let prompts = &model.variant.prompts;
        let tokens = prompts.conversation(request).expect("it renders");
        prompts.tokenizer.decode(&tokens).expect("its own tokens")
    };
    let plain = request("hello", greedy(1));
    assert_eq!(prompt(&tuned, &plain), "system\nbrief\nuser\nhello\nassistant\n");
    let mut own = plain.clone();
    own.messages.insert(0, Message::text(lockgate_api::Role::System, "long"));
    assert_eq!(prompt(&tuned, &own), "system\nlong\nuser\nhello\nassistant\n");

    let template = Tuning { template: Some("{{ messages[0].content }}:".to_owned()), ..Tuning::default() };
    let tuned = model.tuned("bare", &template).expect("a valid tuning");
    assert_eq!(prompt(&tuned, &plain), "hello:");
    let wrong = Tuning { template: Some("{% if %}".to_owned()), ..Tuning::default() };
    let message = model.tuned("wrong", &wrong).expect_err("no template").to_string();
    assert!(message.starts_with("the chat template: "), "{message}");
}

#[test]
fn weights_and_names_are_kept() {
    let model = tiny();
    let adapted = model.adapted("first", &adapter(1), 1.0).expect("it fits");
    let tuned = adapted.tuned("second", &Tuning::default()).expect("a valid tuning");
    assert_eq!(tuned.target().id, "tiny:second");
    assert_eq!(tuned.adapter_content(), adapted.adapter_content());
    assert_eq!(answer_of(&tuned), answer_of(&adapted));
    assert_ne!(answer_of(&tuned), answer_of(&model));
    model.add_adapter(&tuned).expect("a free name");
    assert_eq!(model.with_adapter("second").expect("added").target().id, "tiny:second");
    assert!(matches!(model.tuned("a,b", &Tuning::default()), Err(AdaptError::Name)));
}

fn answer_of(model: &LocalModel) -> String {
    let events = model.chat(request("hello", greedy(12))).map(|event| event.expect("an answer"));
    let texts = events.filter_map(|event| match event {
        Event::Text { text, .. } => Some(text),
        _ => None,
    });
    texts.collect()
}

#[test]
fn the_vocabulary_is_the_models() {
    let model = tiny();
    let vocabulary: &dyn Vocabulary = &*model.variant.prompts.tokenizer;
    assert_eq!(vocabulary.size() as usize, FIRST_BYTE + 256);
    let tokens = vocabulary.tokens("hi</s>").expect("bytes can be written");
    assert_eq!(tokens.len(), 6, "text never becomes a control token");
    assert_eq!(
        tokens.iter().flat_map(|&token| vocabulary.bytes(token)).copied().collect::<Vec<u8>>(),
        b"hi</s>"
    );
    assert_eq!(vocabulary.bytes(2), b"");
    assert_eq!(vocabulary.bytes(1_000_000), b"");
    assert_eq!(vocabulary.ends(), [2, 4]);
}
