//! What a pass hands out: tokens that the card chose, of which only the numbers come back, or logits and states.
//!
//! The card chooses by the sampler's rules, behind everything else and in no graph. A choice whose biases and penalties it
//! has no room for is made here, of logits that are read back: by the same rules, so that nobody need know.

use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::cuda::sample::{Adjustments, Draw, Drawn};
use lockgate_kernels::cuda::seen::Seen;

use super::buffers::Buffers;
use super::pass::CudaPass;
use crate::processor::batch::rows_between;
use crate::processor::{Outputs, PassError};
use crate::sampler::{Choice, NoLogit, Rules, Scratch};

/// How the card draws by these rules from a row.
pub(crate) fn draw<'a>(row: usize, rules: &Rules<'a>) -> Draw<'a> {
    let &Rules { parameters, seen, mark, drawn, tokens, log_probability, .. } = rules;
    Draw {
        row,
        tokens,
        temperature: parameters.temperature,
        top_k: parameters.top_k,
        top_p: parameters.top_p,
        min_p: parameters.min_p,
        point: rules.point(0),
        adjustments: Adjustments {
            biases: &parameters.logit_bias,
            seen: parameters.penalises().then_some(Seen { times: seen, owner: mark, drawn }),
            repetition: parameters.repetition_penalty,
            presence: parameters.presence_penalty,
            frequency: parameters.frequency_penalty,
        },
        log_probability,
    }
}

/// What came of a draw.
pub(crate) fn choice(drawn: Option<Drawn>) -> Result<Choice, NoLogit> {
    let Drawn { token, log_probability } = drawn.ok_or(NoLogit)?;
    Ok(Choice { token, log_probability })
}

impl CudaPass<'_> {
    /// Puts on the card what tokens are chosen by.
    pub(super) fn set_rules(&mut self) -> Result<(), DriverError> {
        let Self { buffers: Buffers { draws, .. }, batch, chosen_here, .. } = self;
        draws.clear();
        chosen_here.extend(batch.choices.iter().map(|(row, rules)| draws.add(&draw(*row, rules))));
        draws.upload()
    }

    /// Puts on the card what the next pass looks up if it is the decode that follows on this one.
    fn prepare_next(&mut self) -> Result<(), DriverError> {
        let choices = self.batch.choices;
        if choices.len() < self.batch.positions.len() || self.chosen_here.contains(&false) || !self.go_on()? {
            return Ok(());
        }
        self.buffers.draws.prepare(choices.iter().map(|(_, rules)| rules.point(1)))
    }

    /// Waits for the card: also where nothing is wanted, since how long a pass takes decides how large the next may be.
    pub(super) fn hand_out(&mut self) -> Result<(), PassError> {
        let (choices, hidden, vocabulary) = (self.batch.choices, self.batch.hidden, self.vocabulary);
        let states = self.order.len() - self.logits_rows;
        // Not those of rows that were added.
        let rows = self.logits_rows.min(self.batch.wanted.len());
        let begun = self.buffers.draws.begin_read()?;
        // While the card is at work.
        self.prepare_next()?;
        let Buffers { normalized, logits, draws, tokens, .. } = &mut *self.buffers;
        let Outputs { logits: found, choices: chosen, states: found_states } = &mut *self.outputs;
        let drawn: Vec<Option<Drawn>> = draws.finish_read(begun)?.collect();
        // Where each of the first rows has its token, the next step may begin with those.
        if choices.len() == drawn.len() && choices.iter().enumerate().all(|(place, (row, _))| place == *row) {
            tokens.became(drawn.iter().map(|drawn| drawn.map_or(u32::MAX, |drawn| drawn.token)));
        }
        let mut drawn = drawn.into_iter().map(choice);
        let mut instead = None;
        chosen.clear();
        for ((row, rules), here) in choices.iter().zip(&self.chosen_here) {
            if *here {
                chosen.push(drawn.next().unwrap_or(Err(NoLogit)));
                continue;
            }
            let (read, scratch) = instead.get_or_insert_with(|| (vec![0.0; vocabulary], Scratch::default()));
            logits.read(row * vocabulary, read)?;
            chosen.push(rules.choose(read, scratch));
        }
        found.resize((rows - choices.len()) * vocabulary, 0.0);
        let mut rest = &mut found[..];
        for run in rows_between(choices, rows) {
            let (read, behind) = rest.split_at_mut(run.len() * vocabulary);
            logits.read(run.start * vocabulary, read)?;
            rest = behind;
        }
        found_states.resize(states * hidden, 0.0);
        if !found_states.is_empty() {
            normalized.floats()?.read(rows * hidden, found_states)?;
        }
        // Each copy waits.
        if chosen.is_empty() && found.is_empty() && found_states.is_empty() {
            self.device.driver().synchronize()?;
        }
        Ok(())
    }
}
