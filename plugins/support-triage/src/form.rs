//! The two forms of answer, as questions to a text: is it one, can it become one, or neither?
//!
//! Both are read from the beginning each time: answers are short, and what holds for all of a text is easier to be sure
//! of than what holds from a state on.

/// The categories, in the order of the prompt.
pub const CATEGORIES: [&str; 6] =
    ["billing", "delivery", "returns", "account access", "technical fault", "cancellation"];

const BEFORE_SENDER: &[u8] = b"{\"sender\":\"";
/// Bytes of a sender's name, escapes counted as they are written.
pub const NAME_BYTES_MAX: usize = 64;
/// Digits of an amount before its point.
const AMOUNT_DIGITS_MAX: usize = 7;

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One of [`CATEGORIES`].
    Class,
    /// `{"sender":"…","date":"YYYY-MM-DD","amount":0.00}`, with `null` for a date or an amount that there is not.
    Facts,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// An answer; nothing may follow.
    Whole,
    /// The beginning of one.
    Open,
    /// Neither, whatever follows.
    Wrong,
}

impl Form {
    /// What a text is in this form.
    pub fn read(self, text: &[u8]) -> State {
        match self {
            Self::Class => class(text),
            // Reading ends early where the text does, or where it goes wrong.
            Self::Facts => facts(&mut Reader { rest: text }).unwrap_or_else(|state| state),
        }
    }
}

/// The sender's name in facts, as far as it is written.
pub struct Sender<'a> {
    /// Not empty.
    pub name: &'a [u8],
    /// Whether its closing quote is there.
    pub is_whole: bool,
}

/// The sender in a text of [`Form::Facts`]; none where its name has not begun.
pub fn sender(text: &[u8]) -> Option<Sender<'_>> {
    let rest = text.strip_prefix(BEFORE_SENDER)?;
    let length = rest.iter().position(|byte| *byte == b'"');
    let name = &rest[..length.unwrap_or(rest.len())];
    (!name.is_empty()).then_some(Sender { name, is_whole: length.is_some() })
}

/// What senders are copied from.
#[derive(Debug, Default)]
pub struct Message {
    plain: Vec<u8>,
    /// With letters beyond ASCII as Python writes them in JSON.
    escaped: Vec<u8>,
}

impl Message {
    /// A message of this text.
    pub fn new(text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        for character in text.chars() {
            if character.is_ascii() {
                escaped.push(character);
            } else {
                let units = character
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}"))
                    .collect::<String>();
                escaped.push_str(&units);
            }
        }
        Self { plain: text.as_bytes().to_vec(), escaped: escaped.into_bytes() }
    }

    /// It, in each way that a name may be written.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let escaped = (self.escaped != self.plain).then_some(&*self.escaped);
        std::iter::once(&*self.plain).chain(escaped)
    }
}

fn class(text: &[u8]) -> State {
    if CATEGORIES.iter().any(|name| name.as_bytes() == text) {
        return State::Whole;
    }
    match CATEGORIES.iter().any(|name| name.as_bytes().starts_with(text)) {
        true => State::Open,
        false => State::Wrong,
    }
}

fn facts(reader: &mut Reader<'_>) -> Result<State, State> {
    BEFORE_SENDER.iter().try_for_each(|&byte| reader.within(byte, byte).map(drop))?;
    reader.name()?;
    reader.literal(",\"date\":")?;
    reader.null_or(Reader::date)?;
    reader.literal(",\"amount\":")?;
    reader.null_or(Reader::amount)?;
    reader.literal("}")?;
    if reader.rest.is_empty() { Ok(State::Whole) } else { Err(State::Wrong) }
}

/// Bytes that a character of a name takes, by its first: as an escape, or in UTF-8.
fn length_of(first: u8) -> usize {
    match first {
        b'\\' => 6,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0.. => 4,
        _ => 1,
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    /// The next byte; where there is none the text may go on.
    fn byte(&mut self) -> Result<u8, State> {
        let (&byte, rest) = self.rest.split_first().ok_or(State::Open)?;
        self.rest = rest;
        Ok(byte)
    }

    /// A byte of this range.
    fn within(&mut self, low: u8, high: u8) -> Result<u8, State> {
        self.byte().and_then(|byte| if (low..=high).contains(&byte) { Ok(byte) } else { Err(State::Wrong) })
    }

    fn literal(&mut self, text: &str) -> Result<(), State> {
        text.bytes().try_for_each(|wanted| self.within(wanted, wanted).map(drop))
    }

    fn null_or(&mut self, value: fn(&mut Self) -> Result<(), State>) -> Result<(), State> {
        if self.rest.first() == Some(&b'n') { self.literal("null") } else { value(self) }
    }

    /// The rest of a string that is not empty, its closing quote included.
    fn name(&mut self) -> Result<(), State> {
        let length = self.rest.len();
        loop {
            let read = length - self.rest.len();
            match self.byte()? {
                b'"' if read > 0 => return Ok(()),
                b'"' => return Err(State::Wrong),
                first if read + length_of(first) > NAME_BYTES_MAX => return Err(State::Wrong),
                b'\\' => self.escape()?,
                b' '..=b'~' => {}
                lead => self.character(lead)?,
            }
        }
    }

    /// `uXXXX`, as Python writes letters beyond ASCII; no half of a pair.
    fn escape(&mut self) -> Result<(), State> {
        self.literal("u")?;
        for place in 0..4 {
            let digit = self.byte()?;
            let is_half = place == 0 && digit == b'd';
            if is_half || !matches!(digit, b'0'..=b'9' | b'a'..=b'f') {
                return Err(State::Wrong);
            }
        }
        Ok(())
    }

    /// The rest of a character in UTF-8.
    fn character(&mut self, lead: u8) -> Result<(), State> {
        let (low, high, more) = match lead {
            0xc2..=0xdf => (0x80, 0xbf, 0),
            0xe0 => (0xa0, 0xbf, 1),
            0xed => (0x80, 0x9f, 1),
            0xe1..=0xef => (0x80, 0xbf, 1),
            0xf0 => (0x90, 0xbf, 2),
            0xf1..=0xf3 => (0x80, 0xbf, 2),
            0xf4 => (0x80, 0x8f, 2),
            _ => return Err(State::Wrong),
        };
        self.within(low, high)?;
        (0..more).try_for_each(|_| self.within(0x80, 0xbf).map(drop))
    }

    fn date(&mut self) -> Result<(), State> {
        self.literal("\"")?;
        self.within(b'1', b'2')?;
        (0..3).try_for_each(|_| self.within(b'0', b'9').map(drop))?;
        self.literal("-")?;
        let month = self.two_digits(12)?;
        self.literal("-")?;
        self.two_digits(if month == 2 { 29 } else { 31 })?;
        self.literal("\"")
    }

    /// A number from 1 to `max`, in two digits.
    fn two_digits(&mut self, max: u8) -> Result<u8, State> {
        let tens = self.within(b'0', b'0' + max / 10)? - b'0';
        let low = if tens == 0 { b'1' } else { b'0' };
        let high = if tens == max / 10 { b'0' + max % 10 } else { b'9' };
        Ok(tens * 10 + self.within(low, high)? - b'0')
    }

    /// Digits, a point, two digits.
    fn amount(&mut self) -> Result<(), State> {
        if self.within(b'0', b'9')? == b'0' {
            self.literal(".")?;
        } else {
            let mut digits = 1;
            loop {
                match self.byte()? {
                    b'.' => break,
                    b'0'..=b'9' if digits < AMOUNT_DIGITS_MAX => digits += 1,
                    _ => return Err(State::Wrong),
                }
            }
        }
        (0..2).try_for_each(|_| self.within(b'0', b'9').map(drop))
    }
}
