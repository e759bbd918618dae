//! Targets: what a policy sees and chooses. A target is data; the thing that answers is a
//! [`crate::Backend`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where bytes that are sent to a target end up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locality {
    /// This machine.
    Local,
    /// A machine of the operator's on a private network.
    Lan,
    /// Anywhere else.
    Cloud,
}

impl Locality {
    /// The name in configuration and headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Lan => "lan",
            Self::Cloud => "cloud",
        }
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Locality {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "local" => Ok(Self::Local),
            "lan" => Ok(Self::Lan),
            "cloud" => Ok(Self::Cloud),
            other => Err(format!("unknown locality `{other}`: use local, lan or cloud")),
        }
    }
}

/// USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the answer, reasoning included.
    pub output: f64,
}

/// Something that can answer, as a policy sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Unique over all models and targets.
    pub id: String,
    /// The model behind it, in the provider's words.
    pub model: String,
    /// Where the bytes go.
    pub locality: Locality,
    /// The cloud region, where there is one.
    pub region: Option<String>,
    /// Tokens of prompt and answer together, where known.
    pub context_tokens: Option<u64>,
    /// What it costs; `None` when unknown, which is not the same as free.
    pub price: Option<Price>,
    /// Whether it can call tools.
    pub tools: bool,
    /// Whether it reads images.
    pub images: bool,
}

/// A circuit breaker's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Requests flow.
    #[default]
    Closed,
    /// One request at a time is let through to see whether the target has recovered.
    HalfOpen,
    /// None is sent.
    Open,
}

/// How a target is doing. What is not known yet is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Requests of this host that it is answering now.
    pub in_flight: u32,
    /// Requests waiting in it, for a model of our own.
    pub queued: Option<u32>,
    /// Median time to the first token.
    pub first_token_median: Option<Duration>,
    /// The time within which nine of ten first tokens come.
    pub first_token_p90: Option<Duration>,
    /// Median speed of an answer, tokens per second.
    pub tokens_per_second_median: Option<f32>,
    /// The speed that nine of ten answers exceed.
    pub tokens_per_second_p10: Option<f32>,
    /// Share of recent attempts that failed, 0 to 1.
    pub error_rate: Option<f32>,
}
