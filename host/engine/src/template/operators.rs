//! The operators that `machine.rs` puts in place of the engine's own: Python's meaning, and every
//! item and byte paid for before it exists.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Object, Rest, Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::{python, text_methods};

/// The functions' names. No template can spell them.
pub(super) const ADD: &str = "a + b";
pub(super) const MULTIPLY: &str = "a * b";
pub(super) const REMAINDER: &str = "a % b";
pub(super) const JOIN: &str = "a ~ b";
pub(super) const SLICE: &str = "a[b:c:d]";
pub(super) const ITEM: &str = "a[b]";
pub(super) const LIST: &str = "[...]";
pub(super) const TUPLE: &str = "(...)";
pub(super) const MAP: &str = "{...}";
pub(super) const STORED: &str = "a.b = c";
pub(super) const INCLUDE: &str = "include a";

/// Items that one fuel pays for.
const ITEMS_PER_FUEL: usize = 16;
/// Bytes that one fuel pays for.
const BYTES_PER_FUEL: usize = 64;
/// Parts (items, fields, at any depth) that one value may have.
const PARTS_MAX: usize = 1 << 20;
/// Nesting of values that templates build.
const DEPTH_MAX: usize = 128;

/// Adds the operators to an environment.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_function(ADD, add);
    environment.add_function(MULTIPLY, multiply);
    environment.add_function(REMAINDER, remainder);
    environment.add_function(JOIN, join);
    environment.add_function(SLICE, slice);
    environment.add_function(ITEM, item);
    environment.add_function(LIST, |state: &State<'_, '_>, items: Rest<Value>| list(state, items.0));
    environment.add_function(TUPLE, |state: &State<'_, '_>, items: Rest<Value>| {
        charge_parts(state, &items)?;
        Ok::<_, Error>(Value::from(Tuple::from(items.0)))
    });
    environment.add_function(MAP, map);
    environment.add_function(STORED, |state: &State<'_, '_>, value: Value| {
        charge_parts(state, std::slice::from_ref(&value))?;
        Ok::<_, Error>(value)
    });
    environment.add_function(INCLUDE, |_: Value| {
        Err::<Value, _>(invalid("a chat template cannot include or extend another".to_owned()))
    });
}

fn list(state: &State<'_, '_>, items: Vec<Value>) -> Result<Value, Error> {
    charge_parts(state, &items)?;
    Ok(Value::from(items))
}

fn map(state: &State<'_, '_>, items: Rest<Value>) -> Result<Value, Error> {
    charge_parts(state, &items)?;
    let pairs = items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
    Ok(Value::from_pairs(pairs))
}

fn add(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        charge_bytes(state, left.len() + right.len())?;
        return Ok(Value::from([left, right].concat()));
    }
    if is_list(left) && is_list(right) && left.is_tuple() == right.is_tuple() {
        let mut items = items(state, left)?;
        let more = self::items(state, right)?;
        // A light item at the end of a long list is the common case; anything else is weighed.
        if parts(&more, DEPTH_MAX)? > ITEMS_PER_FUEL * BYTES_PER_FUEL {
            charge_parts(state, &items)?;
        }
        items.extend(more);
        charge_items(state, items.len())?;
        return Ok(if left.is_tuple() { Value::from(Tuple::from(items)) } else { Value::from(items) });
    }
    match numbers(left, right) {
        Some(Numbers::Whole(left, right)) => whole(left.checked_add(right)),
        Some(Numbers::Float(left, right)) => Ok(Value::from(left + right)),
        None => Err(unsupported("+", left, right)),
    }
}

fn multiply(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    let (repeated, count) = if is_repeatable(left) { (left, right) } else { (right, left) };
    if is_repeatable(repeated) && integer(count).is_some() {
        let count = usize::try_from(integer(count).unwrap_or(0).max(0)).unwrap_or(usize::MAX);
        if let Some(text) = repeated.as_str() {
            charge_bytes(state, text.len().saturating_mul(count))?;
            return Ok(Value::from(text.repeat(count)));
        }
        let once = items(state, repeated)?;
        let weight = parts(&once, DEPTH_MAX)?.saturating_mul(count);
        charge_items(state, weight)?;
        let items: Vec<Value> = std::iter::repeat_n(once, count).flatten().collect();
        return Ok(if repeated.is_tuple() { Value::from(Tuple::from(items)) } else { Value::from(items) });
    }
    match numbers(left, right) {
        Some(Numbers::Whole(left, right)) => whole(left.checked_mul(right)),
        Some(Numbers::Float(left, right)) => Ok(Value::from(left * right)),
        None => Err(unsupported("*", left, right)),
    }
}

fn remainder(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        let arguments = if right.is_tuple() { items(state, right)? } else { vec![right.clone()] };
        return formatted(state, FormatStyle::Printf, text, &arguments).map(Value::from);
    }
    match numbers(left, right) {
        Some(Numbers::Whole(_, 0)) => Err(invalid("division by zero".to_owned())),
        Some(Numbers::Float(_, 0.0)) => Err(invalid("division by zero".to_owned())),
        Some(Numbers::Whole(left, right)) => {
            let remainder = left.checked_rem(right).unwrap_or(0);
            let wraps = remainder != 0 && (remainder < 0) != (right < 0);
            Ok(Value::from(if wraps { remainder + right } else { remainder }))
        }
        Some(Numbers::Float(left, right)) => {
            let remainder = left % right;
            let wraps = remainder != 0.0 && (remainder < 0.0) != (right < 0.0);
            Ok(Value::from(if wraps { remainder + right } else { remainder }))
        }
        None => Err(unsupported("%", left, right)),
    }
}

fn join(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    let (left, right) = (python::to_text(state, left)?, python::to_text(state, right)?);
    charge_bytes(state, left.len() + right.len())?;
    Ok(Value::from([left, right].concat()))
}

/// `%` and `str.format`, with fields of ordinary width.
pub(super) fn formatted(
    state: &State<'_, '_>,
    style: FormatStyle,
    text: &str,
    arguments: &[Value],
) -> Result<String, Error> {
    const DIGITS_MAX: usize = 3;
    let digits = text.split(|character: char| !character.is_ascii_digit()).map(str::len).max();
    if digits.is_some_and(|digits| digits > DIGITS_MAX) {
        return Err(invalid("a format field is too wide".to_owned()));
    }
    charge_parts(state, arguments)?;
    format(style, text, arguments)
}

fn slice(
    state: &State<'_, '_>,
    value: &Value,
    start: &Value,
    stop: &Value,
    step: &Value,
) -> Result<Value, Error> {
    let bound = |bound: &Value| match bound.kind() {
        ValueKind::None => Ok(None),
        _ => integer(bound).map(Some).ok_or_else(|| invalid("slice bounds must be whole numbers".to_owned())),
    };
    let step = bound(step)?.unwrap_or(1);
    if step == 0 {
        return Err(invalid("the step of a slice cannot be zero".to_owned()));
    }
    let (start, stop) = (bound(start)?, bound(stop)?);
    if let Some(text) = value.as_str() {
        charge_bytes(state, text.len())?;
        let characters: Vec<char> = text.chars().collect();
        return Ok(Value::from(picked(&characters, start, stop, step).collect::<String>()));
    }
    if !is_list(value) {
        return Err(invalid(format!("a value of type {} cannot be sliced", value.kind())));
    }
    let items = items(state, value)?;
    let picked: Vec<Value> = picked(&items, start, stop, step).collect();
    Ok(if value.is_tuple() { Value::from(Tuple::from(picked)) } else { Value::from(picked) })
}

/// The items of a slice, by Python's rules for bounds.
fn picked<T: Clone>(
    items: &[T],
    start: Option<i128>,
    stop: Option<i128>,
    step: i128,
) -> impl Iterator<Item = T> {
    let length = items.len() as i128;
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |bound: Option<i128>, default: i128| match bound {
        None => default,
        Some(bound) if bound < 0 => (bound + length).clamp(lowest, highest),
        Some(bound) => bound.clamp(lowest, highest),
    };
    let (start, stop) = if step > 0 {
        (place(start, 0), place(stop, length))
    } else {
        (place(start, length - 1), place(stop, -1))
    };
    let mut at = start;
    std::iter::from_fn(move || {
        let inside = if step > 0 { at < stop } else { at > stop };
        let item = usize::try_from(at).ok().filter(|_| inside).and_then(|at| items.get(at)).cloned();
        at = at.saturating_add(step);
        item
    })
}

fn item(state: &State<'_, '_>, container: &Value, key: &Value) -> Result<Value, Error> {
    if container.kind() == ValueKind::Iterable
        && let (Some(length), Some(index)) = (container.len(), integer(key))
    {
        charge_items(state, length.min(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)))?;
    }
    if matches!(container.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number) {
        return Ok(Value::UNDEFINED);
    }
    let found = container.get_item(key)?;
    if found.is_undefined()
        && container.kind() == ValueKind::Map
        && let Some(method) = DICTIONARY_METHODS.into_iter().find(|method| key.as_str() == Some(method))
    {
        // jinja2 falls back to attributes, and a dictionary's methods are some.
        return Ok(Value::from_object(Method { owner: container.clone(), name: method }));
    }
    Ok(found)
}

const DICTIONARY_METHODS: [&str; 5] = ["copy", "get", "items", "keys", "values"];

/// A method that was looked up and not called.
#[derive(Debug)]
struct Method {
    owner: Value,
    name: &'static str,
}

impl Object for Method {
    fn repr(self: &std::sync::Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Plain
    }

    fn call(
        self: &std::sync::Arc<Self>,
        state: &mut State<'_, '_>,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        text_methods::call(state, &self.owner, self.name, arguments)
    }

    fn render(self: &std::sync::Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<built-in method {} of dict object>", self.name)
    }
}

/// The items of a list, paid for.
fn items(state: &State<'_, '_>, value: &Value) -> Result<Vec<Value>, Error> {
    let length = value.len().ok_or_else(|| invalid("an iterator has no length".to_owned()))?;
    charge_items(state, length)?;
    value.try_iter()?.checked().collect()
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn is_repeatable(value: &Value) -> bool {
    is_list(value) || value.kind() == ValueKind::String
}

/// Pays for all parts of the items, at any depth, and refuses what is out of proportion.
fn charge_parts(state: &State<'_, '_>, items: &[Value]) -> Result<(), Error> {
    let parts = parts(items, DEPTH_MAX)?;
    charge_items(state, parts)
}

fn parts(items: &[Value], depth_left: usize) -> Result<usize, Error> {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return Err(invalid(format!("a value is nested more than {DEPTH_MAX} levels deep")));
    };
    let mut count = items.len();
    for item in items {
        match item.kind() {
            ValueKind::Seq => {
                let inner: Vec<Value> = item.try_iter()?.checked().collect::<Result<_, _>>()?;
                count = count.saturating_add(parts(&inner, depth_left)?);
            }
            ValueKind::Map => {
                let keys: Vec<Value> = item.try_iter()?.checked().collect::<Result<_, _>>()?;
                let inner: Vec<Value> =
                    keys.iter().map(|key| item.get_item(key)).collect::<Result<_, _>>()?;
                count = count.saturating_add(parts(&inner, depth_left)?);
            }
            _ => {}
        }
        if count > PARTS_MAX {
            return Err(invalid(format!("a value has more than {PARTS_MAX} parts")));
        }
    }
    Ok(count)
}

pub(super) fn charge_items(state: &State<'_, '_>, items: usize) -> Result<(), Error> {
    state.consume_fuel(u64::try_from(items / ITEMS_PER_FUEL).unwrap_or(u64::MAX))
}

pub(super) fn charge_bytes(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(u64::try_from(bytes / BYTES_PER_FUEL).unwrap_or(u64::MAX))
}

enum Numbers {
    Whole(i128, i128),
    Float(f64, f64),
}

fn numbers(left: &Value, right: &Value) -> Option<Numbers> {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => Some(Numbers::Whole(left, right)),
        _ => Some(Numbers::Float(float(left)?, float(right)?)),
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn whole(number: Option<i128>) -> Result<Value, Error> {
    number.map(Value::from).ok_or_else(|| invalid("a number is too large".to_owned()))
}

fn unsupported(operator: &str, left: &Value, right: &Value) -> Error {
    if left.is_undefined() || right.is_undefined() {
        return Error::new(ErrorKind::UndefinedError, format!("`{operator}` of an undefined value"));
    }
    invalid(format!("unsupported operands for `{operator}`: {} and {}", left.kind(), right.kind()))
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
