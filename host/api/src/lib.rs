//! The types and the few traits that every other crate of the host shares.
//!
//! A front end decodes its wire format into one [`ChatRequest`]; each [`Preprocessor`] may change it; a
//! policy answers with a [`Plan`]; a [`Backend`] answers a request with one stream of [`Event`]s; each
//! [`Guard`] may change that; the front end encodes it.
//! What the plugins of one request share, and may ask for, is its [`Scope`].
//! Types that request logs hold have a serde form, which is that of the logs; it is no client's or provider's.
//! Nothing here performs I/O, reads a clock or needs a runtime. Wire formats live in `server` and
//! `providers`, policies run in `sandbox`, attempts in `gateway`.
//!
//! Start with [`request`] and [`event`], then read [`labels`], which holds the product's promise.
#![forbid(unsafe_code)]

pub mod backend;
pub mod error;
pub mod event;
pub mod guard;
pub mod hook;
pub mod journal;
pub mod labels;
pub mod measure;
pub mod policy;
pub mod preprocessor;
pub mod request;
pub mod review;
pub mod sampling;
pub mod scope;
pub mod services;
pub mod spending;
pub mod target;

pub use backend::{AttemptContext, Backend, Events, Timeouts};
pub use error::{BackendError, ErrorKind, TimeoutKind};
pub use event::{Event, FinishReason, TokenLogprob, TopLogprob, Usage};
pub use guard::{Chunk, ChunkKind, Guard, HELD_BYTES_MAX, Verdict, Watch, WatchInput};
pub use hook::{
    HOOK_BIAS_MAX, HOOK_TOP_MAX, HookInput, Mask, NextStep, Place, Steering, Step, TokenHook, TokenHooks,
    Vocabulary, hook_failed,
};
pub use journal::{HostCall, Journal};
pub use labels::{Forbidden, Label, Labels, Permit, permit};
pub use measure::{CONTINUATIONS_MAX, Choose, Chosen, EMBED_INPUTS_MAX, Embed, Embedded, Likelihood};
pub use policy::{KeyFacts, Plan, PlannedAttempt, PolicyError, RouteInput, Router, TargetFacts};
pub use preprocessor::{NOTE_BYTES_MAX, PrepareInput, Prepared, Preprocessor};
pub use request::{
    ChatRequest, ImageSource, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
};
pub use review::{ReviewInput, ReviewVerdict, Reviewed, ReviewedChoice};
pub use sampling::{Overrides, Sampling};
pub use scope::Scope;
pub use services::{Asking, ServiceError, Services};
pub use spending::{Spending, Spent};
pub use target::{BreakerState, Health, Locality, Price, Target};
