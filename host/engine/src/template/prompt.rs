//! A rendered prompt in which only the template's own control tokens count.
//!
//! A template writes control tokens as text, and a user can write the same text. To tell them apart
//! the conversation is rendered twice: once plainly, and once with every control token in the
//! template's source (and in `bos_token` and its like) replaced by one private-use character that no
//! input contains. Where that character comes out, the template wrote the token. Messages are not
//! touched, so the template treats them as ever, and putting the texts back must give the plain
//! rendering to the byte.
//!
//! Some templates build a token from parts (`'<|' + message.role + '|>'`). A token's text that the
//! second rendering leaves unexplained is therefore looked at a third time, in a rendering whose
//! *input* is disguised character by character: whatever still shows undisguised is the template's.
//! What cannot be proved to be the template's is text, or the request is refused.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{ChatTemplate, DATE, RenderInput, TemplateError, context};
use crate::tokenizer::{Prompt, TokenId, Tokenizer};

/// Private-use characters; a marker or a disguise takes those that the input does not use.
const PRIVATE_USE: Range<u32> = 0xF_0000..0xF_FFFE;
/// Values of `role` that templates turn into control tokens. They carry no text of anybody's.
const ROLES: [&str; 8] = ["system", "user", "assistant", "tool", "developer", "function", "model", "ipython"];

/// A chat template together with the tokenizer whose control tokens it writes.
#[derive(Debug)]
pub struct PromptTemplate {
    source: String,
    plain: ChatTemplate,
    marked: ChatTemplate,
    /// The marker of each control token that the source or a variable spells.
    markers: BTreeMap<char, (TokenId, String)>,
    /// The words of the source: names of fields that the template may ask for.
    words: HashSet<String>,
    /// `bos_token` and its like.
    variables: Map<String, Value>,
    tokenizer: Arc<Tokenizer>,
}

impl PromptTemplate {
    /// Compiles a model's template for its tokenizer, whose beginning and end tokens become
    /// `bos_token` and `eos_token`.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn new(source: &str, tokenizer: Arc<Tokenizer>) -> Result<Self, TemplateError> {
        let mut variables = Map::new();
        for (name, id) in [("bos_token", tokenizer.beginning()), ("eos_token", tokenizer.end())] {
            if let Some(text) = id.and_then(|id| tokenizer.token_text(id).ok()) {
                variables.insert(name.to_owned(), Value::from(text));
            }
        }
        let mut marking = Marking::new(&tokenizer, source);
        let marked_source = marking.replace(source);
        for value in variables.values() {
            marking.replace(value.as_str().unwrap_or_default());
        }
        let markers = marking.finish();
        let words = marked_source.split(|character: char| !is_word(character)).map(str::to_owned).collect();
        Ok(Self {
            source: source.to_owned(),
            plain: ChatTemplate::new(source)?,
            marked: ChatTemplate::new(&marked_source)?,
            markers,
            words,
            variables,
            tokenizer,
        })
    }

    /// The template's source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation alone, with the model's `bos_token` and `eos_token`.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_text(&self, input: &RenderInput<'_>) -> Result<String, TemplateError> {
        self.plain.render(&RenderInput { variables: &self.with_own(input.variables), ..*input })
    }

    fn with_own(&self, variables: &Map<String, Value>) -> Map<String, Value> {
        let mut all = self.variables.clone();
        all.extend(variables.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }

    /// Renders a conversation, exactly as [`PromptTemplate::render_text`], and marks the control tokens that the template wrote.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; [`TemplateError::AmbiguousControl`] where a token's origin cannot
    /// be proved.
    pub fn render(&self, input: &RenderInput<'_>) -> Result<Prompt, TemplateError> {
        let variables = self.with_own(input.variables);
        let input = RenderInput { variables: &variables, ..*input };
        let (values, bytes) = context(&input)?;
        let text = self.plain.render_context(values, bytes)?;
        let written: Vec<(Range<usize>, TokenId)> = self.tokenizer.control_texts().find(&text).collect();
        if written.is_empty() {
            return Ok(Prompt { text, control: written });
        }
        let proved = self.marked_control(&input, &text)?;
        let known: HashSet<&(Range<usize>, TokenId)> = proved.iter().collect();
        let unproved: Vec<_> = written.into_iter().filter(|token| !known.contains(token)).collect();
        let mut control = proved;
        if !unproved.is_empty() {
            control.extend(self.built_control(&input, &text, &control, unproved)?);
            control.sort_by_key(|(range, _)| range.start);
        }
        Ok(Prompt { text, control })
    }

    /// The control tokens that stand whole in the template.
    fn marked_control(
        &self,
        input: &RenderInput<'_>,
        text: &str,
    ) -> Result<Vec<(Range<usize>, TokenId)>, TemplateError> {
        let mut variables = input.variables.clone();
        for (name, own) in &self.variables {
            // Only the model's own `bos_token` and `eos_token` are control tokens; what a request sets
            // is text.
            let marker = self.markers.iter().find(|(_, (_, spelled))| own.as_str() == Some(spelled));
            if let Some((marker, _)) = marker.filter(|_| variables.get(name) == Some(own)) {
                variables.insert(name.clone(), Value::from(marker.to_string()));
            }
        }
        let (values, bytes) = context(&RenderInput { variables: &variables, ..*input })?;
        let marked = self.marked.render_context(values, bytes)?;
        let mut restored = String::with_capacity(text.len());
        let mut control = Vec::new();
        for character in marked.chars() {
            match self.markers.get(&character) {
                Some((id, spelled)) => {
                    let start = restored.len();
                    restored.push_str(spelled);
                    control.push((start..restored.len(), *id));
                }
                None => restored.push(character),
            }
        }
        if restored == text { Ok(control) } else { Err(self.ambiguous(text, input)) }
    }

    /// Which of the `unproved` tokens the template built from parts.
    fn built_control(
        &self,
        input: &RenderInput<'_>,
        text: &str,
        proved: &[(Range<usize>, TokenId)],
        unproved: Vec<(Range<usize>, TokenId)>,
    ) -> Result<Vec<(Range<usize>, TokenId)>, TemplateError> {
        let disguise = Disguise::new(
            unproved.iter().flat_map(|(range, _)| text[range.clone()].chars()),
            text,
            &self.words,
        );
        let messages = disguise.apply_to_messages(input.messages);
        let tools = input.tools.map(|tools| disguise.apply(tools));
        let documents = input.documents.map(|documents| disguise.apply(documents));
        let trusted = |name: &str, value: &Value| name == DATE || self.variables.get(name) == Some(value);
        let disguised_variable = |(name, value): (&String, &Value)| {
            (name.clone(), if trusted(name, value) { value.clone() } else { disguise.apply(value) })
        };
        let variables: Map<String, Value> = input.variables.iter().map(disguised_variable).collect();
        let input = RenderInput {
            messages: &messages,
            tools: tools.as_ref(),
            documents: documents.as_ref(),
            variables: &variables,
            ..*input
        };
        let (values, bytes) = context(&input)?;
        let disguised = self.plain.render_context(values, bytes);
        let shown = disguised.ok().and_then(|disguised| disguise.shown(&disguised, text));
        let Some(shown) = shown else {
            // The template's course depends on the disguised characters. A token's text that stands
            // in the input as it is has its explanation; one that does not has none.
            for (range, _) in &unproved {
                let token = &text[range.clone()];
                let given = [Some(&messages), tools.as_ref(), documents.as_ref()];
                let given = given.into_iter().flatten().chain(variables.values());
                if !given.into_iter().any(|value| contains_text(value, &disguise.text(token))) {
                    return Err(TemplateError::AmbiguousControl { token: token.to_owned() });
                }
            }
            return Ok(Vec::new());
        };
        let mut proved = proved.iter().peekable();
        let mut built = Vec::new();
        for (range, id) in unproved {
            while proved.next_if(|(other, _)| other.end <= range.start).is_some() {}
            let overlaps = proved.peek().is_some_and(|(other, _)| other.start < range.end);
            if !overlaps && shown[range.clone()].iter().all(|shown| *shown) {
                built.push((range, id));
            }
        }
        Ok(built)
    }

    /// The two renderings differ: the input holds a marker, or text that the template looks for.
    fn ambiguous(&self, text: &str, input: &RenderInput<'_>) -> TemplateError {
        let marker = text.chars().find(|character| self.markers.contains_key(character)).map(String::from);
        let given = [Some(input.messages), input.tools, input.documents];
        let written = self.tokenizer.control_texts().find(text).map(|(range, _)| &text[range]);
        let mut found =
            written.filter(|token| given.into_iter().flatten().any(|value| contains_text(value, token)));
        let token = marker.or_else(|| found.next().map(str::to_owned)).unwrap_or_default();
        TemplateError::AmbiguousControl { token }
    }
}

/// Gives each control token in the template a private-use character.
struct Marking<'a> {
    tokenizer: &'a Tokenizer,
    free: Box<dyn Iterator<Item = char> + 'a>,
    markers: BTreeMap<char, (TokenId, String)>,
}

impl<'a> Marking<'a> {
    fn new(tokenizer: &'a Tokenizer, source: &str) -> Self {
        let used: HashSet<char> = source.chars().collect();
        let free = PRIVATE_USE.filter_map(char::from_u32).filter(move |character| !used.contains(character));
        Self { tokenizer, free: Box::new(free), markers: BTreeMap::new() }
    }

    fn finish(self) -> BTreeMap<char, (TokenId, String)> {
        self.markers
    }

    fn replace(&mut self, text: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut done = 0;
        for (range, id) in self.tokenizer.control_texts().find(text) {
            let known = self.markers.iter().find(|(_, (marked, _))| *marked == id).map(|(marker, _)| *marker);
            let Some(marker) = known.or_else(|| self.free.next()) else { break };
            self.markers.entry(marker).or_insert_with(|| (id, text[range.clone()].to_owned()));
            replaced.push_str(&text[done..range.start]);
            replaced.push(marker);
            done = range.end;
        }
        replaced.push_str(&text[done..]);
        replaced
    }
}

/// A reversible exchange of some characters for private-use ones.
struct Disguise<'a> {
    twins: BTreeMap<char, char>,
    /// Names of fields that stay readable.
    words: &'a HashSet<String>,
}

impl<'a> Disguise<'a> {
    /// Disguises `characters` (white space, which templates strip, excepted) as ones that `text` does
    /// not contain.
    fn new(characters: impl Iterator<Item = char>, text: &str, words: &'a HashSet<String>) -> Self {
        let used: HashSet<char> = text.chars().collect();
        let mut free = PRIVATE_USE.filter_map(char::from_u32).filter(|character| !used.contains(character));
        let mut twins = BTreeMap::new();
        for character in characters.filter(|character| !character.is_whitespace()) {
            if !twins.contains_key(&character)
                && let Some(twin) = free.next()
            {
                twins.insert(character, twin);
            }
        }
        Self { twins, words }
    }

    fn text(&self, text: &str) -> String {
        text.chars().map(|character| self.twins.get(&character).copied().unwrap_or(character)).collect()
    }

    /// For each byte of `text`, whether its character came out of the rendering undisguised; `None`
    /// if the rendering is not `text` in disguise.
    fn shown(&self, rendered: &str, text: &str) -> Option<Vec<bool>> {
        let mut shown = Vec::with_capacity(text.len());
        let mut rendered = rendered.chars();
        for character in text.chars() {
            let came = rendered.next()?;
            let as_it_is = came == character;
            if !as_it_is && self.twins.get(&character) != Some(&came) {
                return None;
            }
            shown.extend(std::iter::repeat_n(as_it_is, character.len_utf8()));
        }
        rendered.next().is_none().then_some(shown)
    }

    /// Every string inside, and the names of fields that no template asks for.
    fn apply(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.apply(item)).collect(),
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| {
                    let name = if self.words.contains(name) { name.clone() } else { self.text(name) };
                    (name, self.apply(value))
                };
                fields.iter().map(field).collect::<Map<_, _>>().into()
            }
            other => other.clone(),
        }
    }

    /// As [`Disguise::apply`], but known roles stay as they are.
    fn apply_to_messages(&self, messages: &Value) -> Value {
        let Some(messages) = messages.as_array() else { return self.apply(messages) };
        let disguised = messages.iter().map(|message| {
            let mut disguised = self.apply(message);
            let role =
                message.get("role").filter(|role| role.as_str().is_some_and(|role| ROLES.contains(&role)));
            if let (Some(role), Some(fields)) = (role, disguised.as_object_mut()) {
                fields.insert("role".to_owned(), role.clone());
            }
            disguised
        });
        disguised.collect()
    }
}

/// Part of a name, as far as fields of messages and schemas have any.
fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn contains_text(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text.contains(wanted),
        Value::Array(items) => items.iter().any(|item| contains_text(item, wanted)),
        Value::Object(fields) => {
            fields.iter().any(|(name, field)| name.contains(wanted) || contains_text(field, wanted))
        }
        _ => false,
    }
}
