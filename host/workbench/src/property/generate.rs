//! A request made from a seed: who says what, with which tools and labels, in which state of the world.

use lockgate_api::{BreakerState, Health, Label};
use serde_json::{Value, json};

use super::words::{self, ANSWERS, FILLER, LANGUAGES, LONG_BYTES_MIN, SYSTEMS, TOOLS};
use crate::world::{Answer, Failing, Reply, filler, next};

/// The largest prompt that is generated where nothing is said.
const LONG_BYTES_DEFAULT: u64 = 64 << 10;
/// The largest prompt that may be asked for.
const LONG_BYTES_MAX: u64 = 16 << 20;

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Those of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        next(&mut self.0) % bound
    }

    /// One of several.
    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// Whether something happens that does so in this share of all cases.
    fn happens(&mut self, share: f64) -> bool {
        ((next(&mut self.0) >> 11) as f64) < share * (1_u64 << 53) as f64
    }
}

/// What requests are made of: shares of the requests that have each thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Generators {
    /// Personal data.
    personal: f64,
    /// A prompt of up to [`Generators::long_bytes`].
    long: f64,
    long_bytes: u64,
    /// Codes of languages; English where there is none.
    languages: Vec<&'static str>,
    /// Tools that may be called.
    tools: f64,
    /// Labels that a request may bring, each in half of those that bring any.
    labels: Vec<Label>,
    /// The most turns of a conversation.
    turns: u64,
    /// Targets in another state than the file's.
    health: f64,
    /// Targets that fail.
    failures: f64,
}

/// The share of requests that have something which is generated and of which no more is said.
const OFTEN: f64 = 0.4;
const LABELS: [Label; 2] = [Label::LocalOnly, Label::NoCloud];

impl Default for Generators {
    /// All kinds of requests, in the file's own world.
    fn default() -> Self {
        Self {
            personal: OFTEN,
            long: 0.1,
            long_bytes: LONG_BYTES_DEFAULT,
            languages: LANGUAGES.iter().map(|(code, _)| *code).collect(),
            tools: OFTEN,
            labels: LABELS.to_vec(),
            turns: 5,
            health: 0.0,
            failures: 0.0,
        }
    }
}

impl Generators {
    fn none() -> Self {
        Self {
            personal: 0.0,
            long: 0.0,
            languages: vec!["en"],
            tools: 0.0,
            labels: Vec::new(),
            turns: 1,
            ..Self::default()
        }
    }

    /// Reads a list of names, or a table of names with what each takes. What is not named is not generated.
    ///
    /// # Errors
    /// Names and values that are none, in words.
    pub fn read(value: &toml::Value) -> Result<Self, String> {
        let mut generators = Self::none();
        match value {
            toml::Value::String(name) => generators.set(name, &toml::Value::Boolean(true))?,
            toml::Value::Array(names) => {
                for name in names {
                    let name = name.as_str().ok_or("generate is a list of names, or a table")?;
                    generators.set(name, &toml::Value::Boolean(true))?;
                }
            }
            toml::Value::Table(table) => {
                for (name, value) in table {
                    generators.set(name, value)?;
                }
            }
            _ => return Err("generate is a list of names, or a table".to_owned()),
        }
        Ok(generators)
    }

    fn set(&mut self, name: &str, value: &toml::Value) -> Result<(), String> {
        use toml::Value::{Array, Boolean, Float, Integer, String as Text};
        let all = Self::default();
        let share = |default: f64| match value {
            Boolean(true) => Ok(default),
            Boolean(false) => Ok(0.0),
            Integer(whole @ 0..=1) => Ok(*whole as f64),
            Float(share) if (0.0..=1.0).contains(share) => Ok(*share),
            _ => Err(format!("generate.{name} is true, or a share of the requests from 0 to 1")),
        };
        let texts = |items: &[toml::Value]| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            texts.ok_or_else(|| format!("generate.{name} is true, or a list of texts"))
        };
        match (name, value) {
            ("personal", _) => self.personal = share(all.personal)?,
            ("tools", _) => self.tools = share(all.tools)?,
            ("health", _) => self.health = share(0.5)?,
            ("failures", _) => self.failures = share(0.5)?,
            ("long", Integer(bytes)) if *bytes > 1 => {
                let bytes = u64::try_from(*bytes).unwrap_or(0);
                if bytes > LONG_BYTES_MAX {
                    return Err(format!("generate.long is at most {LONG_BYTES_MAX} bytes"));
                }
                (self.long, self.long_bytes) = (OFTEN, bytes);
            }
            ("long", _) => self.long = share(all.long)?,
            ("turns", Integer(turns @ 1..=64)) => self.turns = *turns as u64,
            ("turns", Boolean(true)) => self.turns = all.turns,
            ("turns", _) => return Err("generate.turns is a number from 1 to 64".to_owned()),
            ("labels", Boolean(true)) => self.labels = all.labels,
            ("labels", Array(items)) => {
                let parsed =
                    texts(items)?.iter().map(|label| label.parse::<Label>()).collect::<Result<_, _>>();
                self.labels = parsed.map_err(|error| error.to_string())?;
            }
            ("labels", Text(label)) => {
                self.labels = vec![
                    label.parse().map_err(|error: lockgate_api::labels::UnknownLabel| error.to_string())?,
                ]
            }
            ("labels", _) => return Err("generate.labels is true, or a list of labels".to_owned()),
            ("languages", Boolean(true)) => self.languages = all.languages,
            ("languages", Array(items)) => {
                let known = |code: &String| {
                    let found = LANGUAGES.iter().find(|(known, _)| known == code).map(|(known, _)| *known);
                    let all: Vec<&str> = LANGUAGES.iter().map(|(known, _)| *known).collect();
                    found.ok_or_else(|| format!("unknown language `{code}`: use {}", all.join(", ")))
                };
                self.languages = texts(items)?.iter().map(known).collect::<Result<_, _>>()?;
                if self.languages.is_empty() {
                    return Err("generate.languages names none".to_owned());
                }
            }
            ("languages", _) => return Err("generate.languages is true, or a list of codes".to_owned()),
            _ => {
                let known =
                    ["personal", "long", "languages", "tools", "labels", "turns", "health", "failures"];
                let hint = match lockgate_problems::nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("use {}", known.join(", ")),
                };
                return Err(format!("unknown generator `{name}`: {hint}"));
            }
        }
        Ok(())
    }
}

/// A generated request and the state of the world that it meets.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What chance follows from in its run.
    pub seed: u64,
    /// The conversation, oldest first; the last turn is the user's.
    pub turns: Vec<Turn>,
    /// Places in the list of tools.
    pub(super) tools: Vec<usize>,
    /// Labels that it brings.
    pub labels: Vec<Label>,
    /// Targets in another state than the file's.
    pub health: Vec<(String, Health)>,
    /// Targets that fail, before they answer as the file says.
    pub failures: Vec<Failure>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its author, as OpenAI's API names it.
    pub role: &'static str,
    /// Its sentences.
    pub(super) pieces: Vec<Piece>,
}

/// One sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// How often it stands there.
    pub(super) times: u64,
    /// The personal part of it.
    pub(super) datum: Option<String>,
}

/// A target that fails for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its id.
    pub target: String,
    /// How.
    pub error: Failing,
    /// So often; for ever where there is none.
    pub times: Option<u32>,
}

impl Turn {
    /// Its text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            for _ in 0..piece.times {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&piece.text);
            }
        }
        text
    }
}

impl Case {
    /// The case of a seed.
    pub fn generate(with: &Generators, seed: u64, targets: &[String]) -> Self {
        let random = &mut Random::new(seed);
        let turn_count = random.below(with.turns) / 2 * 2 + 1;
        let mut turns = Vec::new();
        if random.happens(0.3) {
            turns.push(Turn { role: "system", pieces: vec![plain(random.pick::<&str>(SYSTEMS))] });
        }
        for number in 0..turn_count {
            if number % 2 == 1 {
                turns.push(Turn { role: "assistant", pieces: vec![plain(random.pick::<&str>(ANSWERS))] });
                continue;
            }
            let sentences = random.below(3) + 1;
            let pieces = (0..sentences).map(|_| plain(sentence(random, with))).collect();
            turns.push(Turn { role: "user", pieces });
        }
        if random.happens(with.personal) {
            let (text, datum) = words::personal(random);
            insert(random, &mut turns, Piece { text, times: 1, datum: Some(datum) });
        }
        if random.happens(with.long) {
            // Any order of magnitude is as likely as any other.
            let most = with.long_bytes / (1 << random.below(4));
            let times = (random.below(most) + 1) / (FILLER.len() as u64 + 1) + 1;
            insert(random, &mut turns, Piece { times, ..plain(FILLER) });
        }
        let tools = if random.happens(with.tools) {
            (0..=random.below(TOOLS.len() as u64) as usize).filter(|&place| place < TOOLS.len()).collect()
        } else {
            Vec::new()
        };
        let labels = if random.happens(0.5) {
            with.labels.iter().filter(|_| random.happens(0.5)).cloned().collect()
        } else {
            Vec::new()
        };
        let mut health = Vec::new();
        let mut failures = Vec::new();
        for target in targets {
            if random.happens(with.health) {
                health.push((target.clone(), state(random)));
            }
            if random.happens(with.failures) {
                failures.push(failure(random, target));
            }
        }
        Self { seed, turns, tools, labels, health, failures }
    }

    /// Whether it has something of [`super::TRAITS`].
    pub(super) fn has(&self, name: &str) -> bool {
        let pieces = || self.turns.iter().flat_map(|turn| &turn.pieces);
        match name {
            "personal" => pieces().any(|piece| piece.datum.is_some()),
            "long" => pieces().any(|piece| piece.text.len() as u64 * piece.times >= LONG_BYTES_MIN),
            "tools" => !self.tools.is_empty(),
            "labels" => !self.labels.is_empty(),
            "turns" => self.turns.iter().filter(|turn| turn.role == "user").count() > 1,
            "system" => self.turns.iter().any(|turn| turn.role == "system"),
            "health" => !self.health.is_empty(),
            "failures" => !self.failures.is_empty(),
            _ => false,
        }
    }

    /// Whether the conversation contains a text.
    pub(super) fn says(&self, part: &str) -> bool {
        self.turns.iter().any(|turn| turn.text().contains(part))
    }

    /// The request as OpenAI's API takes it.
    pub fn body(&self) -> Value {
        let messages: Vec<Value> =
            self.turns.iter().map(|turn| json!({ "role": turn.role, "content": turn.text() })).collect();
        let mut body = json!({ "model": "auto", "messages": messages });
        if !self.tools.is_empty() {
            let tools = self.tools.iter().map(|&place| {
                let (name, description) = TOOLS[place];
                let parameters = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
                json!({ "type": "function", "function": { "name": name, "description": description, "parameters": parameters } })
            });
            body["tools"] = tools.collect();
        }
        body
    }

    /// The failures as replies.
    pub fn replies(&self) -> Vec<Reply> {
        let reply = |failure: &Failure| Reply {
            target: Some(failure.target.clone()),
            when: None,
            times: failure.times,
            after: std::time::Duration::ZERO,
            answer: Answer {
                error: Some(failure.error),
                text: match failure.error {
                    Failing::CutAfter(pieces @ 1..) => Some(filler(pieces)),
                    _ => None,
                },
                ..Answer::default()
            },
        };
        self.failures.iter().map(reply).collect()
    }
}

fn plain(text: &str) -> Piece {
    Piece { text: text.to_owned(), times: 1, datum: None }
}

fn sentence(random: &mut Random, with: &Generators) -> &'static str {
    let code = *random.pick(&with.languages);
    let sentences = LANGUAGES.iter().find(|(known, _)| *known == code).map_or(LANGUAGES[0].1, |(_, all)| all);
    random.pick::<&str>(sentences)
}

/// Puts a piece anywhere into the conversation.
fn insert(random: &mut Random, turns: &mut [Turn], piece: Piece) {
    let turn = random.below(turns.len() as u64) as usize;
    let pieces = &mut turns[turn].pieces;
    let place = random.below(pieces.len() as u64 + 1) as usize;
    pieces.insert(place, piece);
}

fn state(random: &mut Random) -> Health {
    let states = [BreakerState::Closed, BreakerState::HalfOpen, BreakerState::Open, BreakerState::Open];
    Health {
        breaker: *random.pick(&states),
        in_flight: random.below(20) as u32,
        queued: Some(random.below(20) as u32),
        error_rate: Some(random.below(5) as f32 / 4.0),
        ..Health::default()
    }
}

fn failure(random: &mut Random, target: &str) -> Failure {
    let errors = [
        Failing::Timeout,
        Failing::Overloaded,
        Failing::Unavailable,
        Failing::CutAfter(0),
        Failing::CutAfter(2),
    ];
    let times = [Some(1), Some(2), Some(3), None];
    Failure { target: target.to_owned(), error: *random.pick(&errors), times: *random.pick(&times) }
}
