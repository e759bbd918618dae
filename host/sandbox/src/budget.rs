//! What a call may still spend on asks of its own: time to wait, tokens, money.
//!
//! Tokens and money are reserved by an estimate before anything is sent, and the difference is given back when the
//! target says what it took. Pure; the waiting itself is in `contract::asking`.

use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{Locality, Price, Spending, Target, Usage};

use crate::limits::Limits;

/// What is left of a call's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) wait: Duration,
    tokens: u64,
    nano_usd: u64,
}

/// Why an ask is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// Of tokens.
    Tokens,
    /// Of money.
    Money,
    /// The target is elsewhere, and what it costs is not known.
    Price,
}

/// An ask that is under way, and what is reserved for it.
#[derive(Debug)]
pub(crate) struct Bill {
    spending: Arc<Spending>,
    price: Price,
    reserved_tokens: u64,
    reserved_nano_usd: u64,
    /// Estimates, until the target says better.
    input_tokens: u64,
    output_bytes: u64,
    is_settled: bool,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { wait: limits.wait_max, tokens: limits.tokens_max, nano_usd: limits.nano_usd_max }
    }

    /// Reserves what an ask of so many tokens may take, and for its answer as many as there are left for, at most
    /// `output_max`.
    pub(crate) fn reserve(
        &mut self,
        target: &Target,
        input_tokens: u64,
        output_max: u32,
        spending: &Arc<Spending>,
    ) -> Result<(u32, Bill), Short> {
        let price = match target.price {
            Some(price) => price,
            None if target.locality < Locality::Cloud => Price { input: 0.0, output: 0.0 },
            None => return Err(Short::Price),
        };
        let tokens = self.tokens.checked_sub(input_tokens).ok_or(Short::Tokens)?;
        let nano_usd = self.nano_usd.checked_sub(nano(input_tokens, price.input)).ok_or(Short::Money)?;
        let affordable =
            if price.output > 0.0 { (nano_usd as f64 / (price.output * 1e3)) as u64 } else { u64::MAX };
        let output = u64::from(output_max).min(tokens).min(affordable);
        if output == 0 && output_max > 0 {
            return Err(if tokens == 0 { Short::Tokens } else { Short::Money });
        }
        let reserved_tokens = input_tokens + output;
        let reserved_nano_usd =
            nano(input_tokens, price.input).saturating_add(nano(output, price.output)).min(self.nano_usd);
        self.tokens -= reserved_tokens;
        self.nano_usd -= reserved_nano_usd;
        spending.asked();
        let bill = Bill {
            spending: Arc::clone(spending),
            price,
            reserved_tokens,
            reserved_nano_usd,
            input_tokens,
            output_bytes: 0,
            is_settled: false,
        };
        // It is at most `output_max`.
        Ok((u32::try_from(output).unwrap_or(u32::MAX), bill))
    }

    /// Gives back what a bill reserved beyond what it came to, or takes what it came to beyond that.
    pub(crate) fn settle(&mut self, mut bill: Bill, usage: Option<Usage>) {
        let (tokens, nano_usd) = bill.settle(usage);
        self.tokens = (self.tokens + bill.reserved_tokens).saturating_sub(tokens);
        self.nano_usd = (self.nano_usd + bill.reserved_nano_usd).saturating_sub(nano_usd);
    }
}

impl Bill {
    /// More of the answer has come.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.output_bytes = self.output_bytes.saturating_add(bytes as u64);
    }

    /// There was no whole answer.
    pub(crate) fn failed(&self) {
        self.spending.failed();
    }

    /// Counts what it came to: tokens and thousand-millionths of a USD.
    fn settle(&mut self, usage: Option<Usage>) -> (u64, u64) {
        self.is_settled = true;
        let (input, output) = match usage {
            Some(usage) => (usage.prompt_total(), usage.completion_total()),
            None => (self.input_tokens, self.output_bytes.div_ceil(4)),
        };
        let nano_usd = nano(input, self.price.input).saturating_add(nano(output, self.price.output));
        self.spending.took(input, output, nano_usd as f64 / 1e9);
        (input.saturating_add(output), nano_usd)
    }
}

impl Drop for Bill {
    /// Given up, with its call or before: what has come so far counts.
    fn drop(&mut self) {
        if !self.is_settled {
            self.settle(None);
        }
    }
}

/// Thousand-millionths of a USD for tokens at a price of USD a million tokens.
fn nano(tokens: u64, price: f64) -> u64 {
    // Saturates at the type's bounds; configured prices are finite and not negative.
    (tokens as f64 * price * 1e3).ceil() as u64
}

#[cfg(test)]
mod tests;
