//! The template language set up as transformers sets up jinja2: white space, undefined values,
//! globals.
//!
//! Owns what a template can call without a value. Filters and tests are in `filters.rs`, methods in
//! `text_methods.rs`, Python's way to write values in `python.rs`, what is done to the source beforehand in
//! `source.rs`.

use std::fmt;

use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Object;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::{filters, operators, python, text_methods};

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
    environment.set_formatter(|output, state, value| {
        fmt::Write::write_str(output, &python::to_text(state, value)?).map_err(Error::from)
    });
    environment.set_unknown_method_callback(text_methods::call);
    environment.remove_global("debug");
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    operators::install(&mut environment);
    filters::install(&mut environment);
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
