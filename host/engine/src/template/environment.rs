//! The template language set up as transformers sets up jinja2: white space, undefined values,
//! globals, filters, methods.
//!
//! Owns what a template can call. Python's own formatting of values is in `python.rs`, methods of
//! strings in `text_methods.rs`, what is done to the source beforehand in `source.rs`.

use std::fmt;

use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Object};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::{python, text_methods};

/// The context's name for the date. No template can spell it.
pub(super) const NOW: &str = "date of this request";

/// Nested macros, includes and loops, in the engine's units.
const RECURSION_MAX: usize = 400;

/// The date as a value that templates cannot read.
#[derive(Debug)]
pub(super) struct Now(pub(super) DateTime);

impl Object for Now {}

/// The template called `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Raised {
    pub(super) message: String,
}

/// An environment without templates.
pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(false);
    environment.set_syntax(syntax.build().expect("the default delimiters are distinct"));
    environment.set_debug(false);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|output, _, value| {
        fmt::Write::write_str(output, &python::to_text(value)?).map_err(Error::from)
    });
    environment.set_unknown_method_callback(text_methods::call);
    environment.remove_global("debug");
    environment.add_global("cycler", Value::from_function(minijinja_contrib::globals::cycler));
    environment.add_global("joiner", Value::from_function(minijinja_contrib::globals::joiner));
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", |value: &Value| python::to_text(value).map(|text| text.into_owned()));
    environment
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let message = message.to_string();
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Raised { message }))
}

fn strftime_now(state: &State<'_, '_>, format: &str) -> Result<String, Error> {
    let now = state.lookup(NOW);
    let Some(Now(now)) = now.as_ref().and_then(|value| value.downcast_object_ref::<Now>()) else {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "the template asks for the date, and none was given",
        ));
    };
    python::strftime(now, format)
}

/// `json.dumps` with transformers' defaults.
fn to_json(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let ensure_ascii = arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let mut layout = python::JsonLayout::new(ensure_ascii, sort_keys);
    if let Some(indent) = arguments.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none()) {
        layout = layout.indented(&indent)?;
    }
    if let Some(separators) = arguments.get::<Option<Value>>("separators")?.filter(|pair| !pair.is_none()) {
        layout = layout.separated(&separators)?;
    }
    arguments.assert_all_used()?;
    python::to_json(value, &layout)
}
