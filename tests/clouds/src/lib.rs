//! Local servers that speak each cloud's wire format, for tests.
//!
//! [`openai::OpenAiServer`] and [`bedrock::BedrockServer`] answer as they are told, a model name a script,
//! and record what they receive. [`sockets`] has peers that misbehave below HTTP. The same servers run
//! as a program (`lockgate-test-clouds openai|bedrock`), so that the vendors' own clients can check that
//! they speak their wires right.
//!
//! Nothing here is part of the product. A server that cannot be set up panics: a test cannot go on.
#![forbid(unsafe_code)]

pub mod bedrock;
pub mod openai;
pub mod record;
mod running;
pub mod script;
pub mod sockets;
