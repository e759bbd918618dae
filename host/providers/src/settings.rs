//! What the configuration says about a provider, checked before anything is built.
//!
//! Owns the plain settings, the type that holds secrets and the errors that name a wrong setting. Does
//! not read files or the environment: whoever fills these structs has done so.

use std::fmt;
use std::str::FromStr;

use lockgate_api::Locality;
use thiserror::Error;

/// One `[[provider]]` of the configuration.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Unique among providers; only for messages.
    pub id: String,
    /// Which wire it speaks.
    pub kind: ProviderKind,
    /// The cloud region. Bedrock needs one.
    pub region: Option<String>,
    /// Its base URL, `http` or `https`, without credentials, query or fragment. An OpenAI-compatible
    /// server needs one (`http://127.0.0.1:11434/v1`; without a path, `/v1` is assumed); Bedrock's
    /// replaces the region's own.
    pub endpoint: Option<String>,
    /// Where the bytes go. An OpenAI-compatible server must say; a hosted service is always `cloud`.
    pub locality: Option<Locality>,
    /// The API key: sent as a bearer token. Bedrock without one uses the AWS credential chain.
    pub api_key: Option<Secret>,
}

/// The wire that a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// `POST {endpoint}/chat/completions` (LM Studio, Ollama, vLLM, llama.cpp's server and others).
    OpenAiCompatible,
    /// Amazon Bedrock's Converse API.
    Bedrock,
}

impl ProviderKind {
    /// Every kind, in the order in which messages list them.
    pub const ALL: [Self; 2] = [Self::OpenAiCompatible, Self::Bedrock];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiCompatible => "openai-compatible",
            Self::Bedrock => "bedrock",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for ProviderKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            format!("unknown provider kind `{name}`: use {}", Self::ALL.map(Self::name).join(" or "))
        })
    }
}

/// Text that is never printed: not by `Debug`, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret. White space around it, such as a file's last newline, is not part of it.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().to_owned())
    }

    /// The text itself, to be sent to the provider and nowhere else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("provider `{provider}`: {problem}")]
pub struct SettingsError {
    /// The provider's id.
    pub provider: String,
    /// The setting, what is wrong with it and what to write instead.
    pub problem: SettingsProblem,
}

/// What is wrong with a provider's settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsProblem {
    /// A setting that this kind of provider needs.
    #[error("`{setting}` is missing: {advice}")]
    Missing {
        /// Its key.
        setting: &'static str,
        /// What to write.
        advice: &'static str,
    },
    /// A setting whose value is unusable.
    #[error("`{setting}` {problem}")]
    Invalid {
        /// Its key.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Only this machine's own servers exist in an air-gapped host.
    #[error(
        "locality `{locality}` is not allowed while the host is air-gapped (`air_gapped`, --offline): only `local` providers are"
    )]
    AirGapped {
        /// The provider's locality.
        locality: Locality,
    },
    /// A target that claims to be nearer than the provider that serves it.
    #[error("target `{target}` claims locality `{claimed}`, but its provider is `{actual}`")]
    TargetTooNear {
        /// The target's id.
        target: String,
        /// What the target says.
        claimed: Locality,
        /// What the provider is.
        actual: Locality,
    },
    /// The machine's certificate store or TLS library is unusable.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
}
