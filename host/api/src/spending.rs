//! What a plugin's own asks have taken, counted for as long as the host runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// A plugin's counters. Only ever grow.
#[derive(Debug, Default)]
pub struct Spending {
    asks: AtomicU64,
    failures: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    nano_usd: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Asks that were made.
    pub asks: u64,
    /// Those of them that had no whole answer.
    pub failures: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// USD, by the configured prices.
    pub usd: f64,
}

impl Spending {
    /// Counts an ask.
    pub fn asked(&self) {
        self.asks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an ask without a whole answer.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts tokens and USD.
    pub fn took(&self, input_tokens: u64, output_tokens: u64, usd: f64) {
        self.input_tokens.fetch_add(input_tokens, Ordering::Relaxed);
        self.output_tokens.fetch_add(output_tokens, Ordering::Relaxed);
        // A conversion of this kind stays within the type's bounds.
        self.nano_usd.fetch_add((usd * 1e9).round() as u64, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn spent(&self) -> Spent {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Spent {
            asks: read(&self.asks),
            failures: read(&self.failures),
            input_tokens: read(&self.input_tokens),
            output_tokens: read(&self.output_tokens),
            usd: read(&self.nano_usd) as f64 / 1e9,
        }
    }
}
