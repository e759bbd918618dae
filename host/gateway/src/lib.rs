//! Between a front end and the targets: admission, labels, the plan's execution, breakers and keys.
//!
//! The decisions are plain data structures that are told the time and what happened ([`attempt`],
//! [`breaker`], [`health`], [`race`], [`selection`], `window`); [`gateway`], [`policies`], [`routing`], `shadow`,
//! [`execute`] and `guarded` perform them; [`metrics`] counts,
//! [`record`] takes down. This crate knows no wire format, no plugin runtime and no model: it sees the traits of
//! `lockgate_api` alone.
//!
//! Start with [`Gateway::answer`]; [`embed`] is what is asked beside it. The promise about labels rests on checks
//! with the one function `lockgate_api::permit`: before any policy runs, after the preprocessors and after the
//! plan (in [`selection`]), and at each send (in [`execute`] and [`embed`], and in `desk` for what plugins ask
//! themselves).
#![forbid(unsafe_code)]

pub mod attempt;
pub mod breaker;
mod desk;
pub mod embed;
pub mod execute;
pub mod failure;
pub mod gateway;
mod guarded;
pub mod health;
mod in_hand;
pub mod keys;
pub mod limiter;
pub mod metrics;
pub mod policies;
pub mod race;
pub mod record;
mod review;
pub mod routing;
mod running;
pub mod selection;
mod settling;
pub mod setup;
mod shadow;
mod window;

pub use embed::{EmbedAsk, Vectors};
pub use execute::AnswerEvents;
pub use failure::{FailedAttempt, Failure, GatewayError};
pub use gateway::{Answer, Ask, Gateway, Outcome};
pub use keys::{InvalidKeyHash, KEY_RANDOM_BYTES, Key, KeyHash, Keys, NewKey};
pub use limiter::Limits;
pub use metrics::Metrics;
pub use policies::Policies;
pub use record::RequestLog;
pub use routing::{Canary, Route};
pub use setup::{AUTO, DIRECT, GatewayOptions, GatewayTarget, Named, OnError, SetupError};
