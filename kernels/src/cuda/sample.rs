//! Launchers of `cuda/sample.cu` and `cuda/adjust.cu`: from logits to tokens and log-probabilities on the device.
//!
//! Owns how draws lie there. Which rows are drawn, and where their random numbers come from, is the caller's; what
//! sequences have seen is kept by `seen`.

use super::driver::{Argument, Download, DriverError};
use super::known::KnownWords;
use super::memory::{Device, DeviceBuffer};
use super::seen::{Seen, SeenLists};
use super::{Call, size};

/// Words of a row's draw on the device.
const DRAW_WORDS: usize = 10;
/// Words of what adjusts a row.
const ADJUSTED_WORDS: usize = 10;
const THREADS: u32 = 512;
const ADJUSTING_THREADS: u32 = 256;
/// What a row becomes whose every logit is impossible: no token. Also no list of what was seen.
const NONE: u32 = u32::MAX;

/// How a token is drawn from one row of logits.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// The row.
    pub row: usize,
    /// How many of its logits count, from the first on; at least one.
    pub tokens: usize,
    /// What logits are divided by; 0 takes the greatest.
    pub temperature: f32,
    /// The most likely tokens that are kept, at least one; as many as there are keeps all.
    pub top_k: usize,
    /// The mass that is kept, of what top-k left.
    pub top_p: f32,
    /// The least share of the greatest weight.
    pub min_p: f32,
    /// The draw, in [0, 1).
    pub point: f64,
    /// What changes its logits before it is drawn.
    pub adjustments: Adjustments<'a>,
    /// Whether the token's log-probability is wanted, by the logits as they were.
    pub log_probability: bool,
}

/// Biases, then penalties. Tokens that do not count are passed over.
#[derive(Clone, Copy, Debug)]
pub struct Adjustments<'a> {
    /// Added to these tokens' logits.
    pub biases: &'a [(u32, f32)],
    /// What was seen, where a penalty asks for it: the token that is drawn will have been.
    pub seen: Option<Seen<'a>>,
    /// Divides (positive) or multiplies (negative) the logits of what was seen.
    pub repetition: f32,
    /// Subtracted from the logits of what was generated.
    pub presence: f32,
    /// Subtracted for each time that it was.
    pub frequency: f32,
}

/// What was drawn from a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: u32,
    /// The natural logarithm of its probability, where that is wanted.
    pub log_probability: Option<f32>,
}

/// Draws of a batch: collected here, put on the device at once, and read back together. All of its memory is there from
/// the beginning.
#[derive(Debug)]
pub struct Draws {
    staged: Staged,
    rows_max: usize,
    entries_max: usize,
    draws: KnownWords,
    adjusted: KnownWords,
    biases: KnownWords,
    seen: SeenLists,
    /// What biases and tokens that were seen replaced.
    originals: DeviceBuffer<f32>,
    originals_of_seen: DeviceBuffer<f32>,
    chosen: DeviceBuffer<u32>,
}

/// What the device is to have.
#[derive(Debug, Default)]
struct Staged {
    draws: Vec<u32>,
    adjusted: Vec<u32>,
    entries: Vec<u32>,
    biases: Vec<(u32, f32)>,
    /// Of each draw, whether its log-probability is wanted.
    wants_log_probability: Vec<bool>,
    /// Of each, its list of what was seen, and how many tokens were drawn before while a kernel appends to it.
    lists: Vec<Option<(u32, Option<u64>)>>,
    /// One more than the greatest row, and than the greatest token that counts.
    rows: usize,
    tokens: usize,
    found: Vec<u32>,
}

impl Draws {
    /// Room for draws from `rows` rows, with `entries` biases in all and as many tokens that were seen.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(device: &Device, rows: usize, entries: usize) -> Result<Draws, DriverError> {
        let words = |count: usize, each: usize| {
            count.checked_mul(each).ok_or(DriverError::OutOfMemory { bytes: usize::MAX })
        };
        Ok(Draws {
            staged: Staged::default(),
            rows_max: rows,
            entries_max: entries,
            draws: KnownWords::new(device, words(rows, DRAW_WORDS)?)?,
            adjusted: KnownWords::new(device, words(rows, ADJUSTED_WORDS)?)?,
            biases: KnownWords::new(device, words(entries, 2)?)?,
            seen: SeenLists::new(device, entries)?,
            originals: device.allocate(entries)?,
            originals_of_seen: device.allocate(entries)?,
            chosen: device.zeros(words(rows, 2)?)?,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.staged.wants_log_probability.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all draws; what sequences have seen stays.
    pub fn clear(&mut self) {
        let Staged { draws, adjusted, entries, wants_log_probability, lists, rows, tokens, .. } =
            &mut self.staged;
        [draws, adjusted, entries].into_iter().for_each(Vec::clear);
        wants_log_probability.clear();
        lists.clear();
        (*rows, *tokens) = (0, 0);
    }

    /// Adds a draw from a row that has none yet. Whether there was room for it and its adjustments.
    pub fn add(&mut self, draw: &Draw<'_>) -> bool {
        let (number, entries_max) = (self.len(), self.entries_max);
        let staged = &mut self.staged;
        let Adjustments { biases, seen, .. } = draw.adjustments;
        let entries = staged.entries.len() / 2 + biases.len();
        let numbers = [draw.row, draw.tokens, draw.top_k.min(draw.tokens), entries].map(u32::try_from);
        let [Ok(row), Ok(tokens), Ok(top_k), Ok(_)] = numbers else { return false };
        if number == self.rows_max || entries > entries_max {
            return false;
        }
        let list = match seen {
            None => None,
            Some(seen) => match self.seen.place(seen) {
                None => return false,
                list => list,
            },
        };
        let point = draw.point.to_bits();
        staged.draws.extend([
            point as u32,
            (point >> 32) as u32,
            row,
            tokens,
            top_k,
            draw.temperature.to_bits(),
            draw.top_p.to_bits(),
            draw.min_p.to_bits(),
            u32::from(draw.log_probability),
            0,
        ]);
        staged.wants_log_probability.push(draw.log_probability);
        staged.lists.push(list.map(|list| (list, None)));
        staged.rows = staged.rows.max(draw.row.saturating_add(1));
        staged.tokens = staged.tokens.max(draw.tokens);
        staged.adjust([number as u32, row, tokens], list, &draw.adjustments);
        true
    }

    /// Puts on the device what is not there yet.
    ///
    /// # Errors
    /// The driver's.
    pub fn upload(&mut self) -> Result<(), DriverError> {
        let Staged { draws, adjusted, entries, .. } = &self.staged;
        self.draws.set(draws)?;
        self.adjusted.set(adjusted)?;
        self.biases.set(entries)?;
        self.seen.upload()
    }

    /// Puts the same draws on the device with other points, one each, for a step like this one that comes next.
    ///
    /// # Errors
    /// The driver's.
    pub fn prepare(&mut self, points: impl Iterator<Item = f64>) -> Result<(), DriverError> {
        let staged = self.staged.draws.chunks_exact_mut(DRAW_WORDS);
        for (draw, point) in staged.zip(points.map(f64::to_bits)) {
            (draw[0], draw[1]) = (point as u32, (point >> 32) as u32);
        }
        self.draws.set(&self.staged.draws)
    }

    /// Draws from `logits`, `[rows][vocabulary]`. They may be left adjusted. A row's token also goes to its place in `next`,
    /// where there is one.
    ///
    /// # Errors
    /// There is no such row or token, or the driver's.
    pub fn draw(
        &mut self,
        device: &Device,
        logits: &mut DeviceBuffer<f32>,
        vocabulary: usize,
        next: Option<&mut KnownWords>,
    ) -> Result<(), DriverError> {
        let Staged { adjusted, wants_log_probability, lists, rows, tokens, .. } = &mut self.staged;
        let sample = Call { kernel: "sample" };
        let fits = rows.checked_mul(vocabulary).is_some_and(|needed| needed <= logits.len());
        sample.require(fits && *tokens <= vocabulary, || {
            format!("there are no {rows} rows of {tokens} logits, {vocabulary} apart")
        })?;
        let next = next.filter(|next| *rows <= next.there().len());
        let adjusted = [adjusted.len() / ADJUSTED_WORDS, 1, 1];
        let change = |kernel: &'static str| {
            let mut arguments = vec![logits.argument(), size(vocabulary)?, self.adjusted.argument()];
            arguments.extend([self.biases.argument(), self.seen.argument()]);
            arguments.extend([&self.originals, &self.originals_of_seen].map(DeviceBuffer::argument));
            Call { kernel }.launch(device, adjusted, ADJUSTING_THREADS, 0, arguments)
        };
        let [draws, chosen] = [self.draws.argument(), self.chosen.argument()];
        let choose = |call: Call, more: Option<Argument>| {
            let mut arguments = vec![logits.argument(), size(vocabulary)?, draws, chosen];
            arguments.extend(more);
            call.launch(device, [wants_log_probability.len(), 1, 1], THREADS, 0, arguments)
        };
        change("adjust_logits")?;
        choose(sample, Some(next.as_ref().map_or(Argument::Null, |next| next.argument())))?;
        if let Some(next) = next {
            next.change(*rows);
        }
        if wants_log_probability.contains(&true) {
            change("restore_logits")?;
            choose(Call { kernel: "log_probability" }, None)?;
        }
        if lists.iter().any(Option::is_some) {
            for (list, drawn) in lists.iter_mut().flatten() {
                *drawn = self.seen.change(*list);
            }
            let arguments = vec![self.adjusted.argument(), self.seen.argument(), chosen];
            Call { kernel: "remember" }.launch(device, adjusted, ADJUSTING_THREADS, 0, arguments)?;
        }
        Ok(())
    }

    /// Begins to bring back what was drawn, where there is anything.
    ///
    /// # Errors
    /// The driver's.
    pub fn begin_read(&self) -> Result<Option<Download>, DriverError> {
        (!self.is_empty()).then(|| self.chosen.begin_read(2 * self.len())).transpose()
    }

    /// What was drawn, in the order in which draws were added; nothing from rows whose every logit is impossible. Waits
    /// for it, and for nothing that was asked for since the read was begun.
    ///
    /// # Errors
    /// The driver's.
    pub fn finish_read(
        &mut self,
        begun: Option<Download>,
    ) -> Result<impl Iterator<Item = Option<Drawn>>, DriverError> {
        let words = 2 * self.len();
        let Staged { found, wants_log_probability, lists, .. } = &mut self.staged;
        found.clear();
        found.resize(words, NONE);
        if let Some(begun) = begun {
            self.chosen.finish_read(begun, found)?;
        }
        let found = found.as_chunks::<2>().0;
        for (list, &[token, _]) in lists.iter().zip(found) {
            if let (Some((list, Some(drawn))), true) = (list, token != NONE) {
                self.seen.changed(*list, *drawn);
            }
        }
        Ok(found.iter().zip(wants_log_probability).map(|(&[token, logarithm], wants)| {
            let log_probability = wants.then_some(f32::from_bits(logarithm));
            (token != NONE).then_some(Drawn { token, log_probability })
        }))
    }

    /// Both at once.
    ///
    /// # Errors
    /// The driver's.
    pub fn read(&mut self) -> Result<impl Iterator<Item = Option<Drawn>>, DriverError> {
        let begun = self.begin_read()?;
        self.finish_read(begun)
    }
}

impl Staged {
    /// Notes what changes a row. A token that is biased twice is biased by the sum.
    fn adjust(&mut self, [number, row, tokens]: [u32; 3], list: Option<u32>, adjustments: &Adjustments<'_>) {
        let first = self.entries.len();
        self.biases.clear();
        self.biases.extend(adjustments.biases.iter().filter(|(token, _)| *token < tokens));
        self.biases.sort_by_key(|(token, _)| *token);
        self.biases.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0.0 };
            same
        });
        self.entries.extend(self.biases.iter().flat_map(|(token, bias)| [*token, bias.to_bits()]));
        let end = self.entries.len();
        if end == first && list.is_none() {
            return;
        }
        let Adjustments { repetition, presence, frequency, .. } = adjustments;
        // They were counted before they came.
        let [first, end] = [first, end].map(|words| (words / 2) as u32);
        self.adjusted.extend([number, row, tokens, first, end, list.unwrap_or(NONE)]);
        self.adjusted.extend([repetition, presence, frequency].map(|penalty| penalty.to_bits()));
        self.adjusted.push(0);
    }
}
