//! Reads a table of outcomes: CSV with a header, or one JSON object a line, with the columns `prompt`, for each target
//! `TARGET|score` and `TARGET|cost` (USD), and perhaps `category`. Other columns are ignored.

use std::collections::HashSet;
use std::io::BufRead;

use serde_json::{Map, Value};
use thiserror::Error;

/// Rows, and whose outcomes they have.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Ids, in the order of their columns.
    pub targets: Vec<String>,
    /// At least one.
    pub rows: Vec<Row>,
}

/// One prompt and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The prompt.
    pub prompt: String,
    /// Its kind, where the table tells.
    pub category: Option<String>,
    /// By target.
    pub outcomes: Vec<Outcome>,
}

/// What a target made of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How good its answer was; more is better.
    pub score: f64,
    /// USD, at least 0.
    pub cost: f64,
}

/// What is wrong with a table.
#[derive(Debug, Error)]
pub enum TableError {
    /// It cannot be read, or is no table at all.
    #[error("line {line}: {problem}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// It has no row.
    #[error("the table has no row")]
    Empty,
    /// Its columns are not those of outcomes.
    #[error(
        "{0}: a table has the columns prompt, TARGET|score and TARGET|cost for each target, perhaps category"
    )]
    Columns(String),
}

impl Table {
    /// Reads CSV.
    ///
    /// # Errors
    /// [`TableError`] with the line.
    pub fn from_csv(source: impl std::io::Read) -> Result<Self, TableError> {
        let mut reader = csv::Reader::from_reader(source);
        let header = reader.headers().map_err(|error| broken(&error))?.clone();
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        let targets = targets_of(columns.iter().map(String::as_str))?;
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| broken(&error))?;
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |name: &str| {
                let place = columns.iter().position(|column| column == name)?;
                record.get(place).map(str::to_owned)
            };
            let number = |name: &str| {
                let text = cell(name).unwrap_or_default();
                text.trim().parse::<f64>().map_err(|_| format!("`{name}` is `{text}`, which is no number"))
            };
            rows.push(row(&targets, cell("prompt"), cell("category"), number, line)?);
        }
        Self::of(targets, rows)
    }

    /// Reads JSON lines. The first object's columns are the table's.
    ///
    /// # Errors
    /// [`TableError`] with the line.
    pub fn from_json_lines(source: impl BufRead) -> Result<Self, TableError> {
        let mut targets = Vec::new();
        let mut rows = Vec::new();
        for (line, text) in (1..).zip(source.lines()) {
            let text = text.map_err(|error| TableError::Line { line, problem: error.to_string() })?;
            if text.trim().is_empty() {
                continue;
            }
            let object: Map<String, Value> = serde_json::from_str(&text)
                .map_err(|error| TableError::Line { line, problem: format!("no JSON object: {error}") })?;
            if rows.is_empty() {
                targets = targets_of(object.keys().map(String::as_str))?;
            }
            let cell = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
            let number = |name: &str| {
                object
                    .get(name)
                    .and_then(Value::as_f64)
                    .ok_or_else(|| format!("`{name}` is missing or no number"))
            };
            rows.push(row(&targets, cell("prompt"), cell("category"), number, line)?);
        }
        Self::of(targets, rows)
    }

    fn of(targets: Vec<String>, rows: Vec<Row>) -> Result<Self, TableError> {
        if rows.is_empty() { Err(TableError::Empty) } else { Ok(Self { targets, rows }) }
    }
}

fn broken(error: &csv::Error) -> TableError {
    TableError::Line { line: error.position().map_or(1, csv::Position::line), problem: error.to_string() }
}

fn targets_of<'a>(columns: impl Iterator<Item = &'a str> + Clone) -> Result<Vec<String>, TableError> {
    let mut seen = HashSet::new();
    let read = |name: &&str| {
        ["prompt", "category"].contains(name) || name.ends_with("|score") || name.ends_with("|cost")
    };
    if let Some(twice) = columns.clone().filter(read).find(|name| !seen.insert(*name)) {
        return Err(TableError::Columns(format!("the column {twice} is there twice")));
    }
    if !columns.clone().any(|name| name == "prompt") {
        return Err(TableError::Columns("there is no column prompt".to_owned()));
    }
    let targets: Vec<String> =
        columns.clone().filter_map(|name| name.strip_suffix("|score")).map(str::to_owned).collect();
    if targets.is_empty() {
        return Err(TableError::Columns("there is no column TARGET|score".to_owned()));
    }
    for target in &targets {
        let plain = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if !plain {
            return Err(TableError::Columns(format!("`{target}` cannot be a target's id")));
        }
        let wanted = format!("{target}|cost");
        if !columns.clone().any(|name| name == wanted) {
            return Err(TableError::Columns(format!("there is no column {wanted}")));
        }
    }
    Ok(targets)
}

fn row(
    targets: &[String],
    prompt: Option<String>,
    category: Option<String>,
    number: impl Fn(&str) -> Result<f64, String>,
    line: u64,
) -> Result<Row, TableError> {
    let problem = |problem: String| TableError::Line { line, problem };
    let prompt = prompt.ok_or_else(|| problem("`prompt` is missing or no text".to_owned()))?;
    let outcomes = targets.iter().map(|target| {
        let outcome =
            Outcome { score: number(&format!("{target}|score"))?, cost: number(&format!("{target}|cost"))? };
        if !outcome.score.is_finite() || !outcome.cost.is_finite() || outcome.cost < 0.0 {
            return Err(format!("score and cost of `{target}` must be finite, and the cost at least 0"));
        }
        Ok(outcome)
    });
    let outcomes = outcomes.collect::<Result<_, _>>().map_err(problem)?;
    Ok(Row { prompt, category: category.filter(|name| !name.is_empty()), outcomes })
}
