//! Labels and the one check that enforces them.
//!
//! A label says where a request's bytes may go. Labels come from a key, a header, a plugin or the
//! configuration; they only accumulate. [`permit`] is the one place that decides, and the only maker
//! of a [`Permit`]; every send takes one, so code that forgets to ask does not compile. Text that
//! leaves by another road (logs, traces, ledgers) asks [`Labels::withhold_payload`].

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::target::{Locality, Target};

/// A rule about where a request's bytes may go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Label {
    /// This machine only.
    LocalOnly,
    /// This machine or the operator's private network.
    NoCloud,
    /// That cloud region, or nearer.
    Region(String),
}

impl Label {
    fn permits(&self, locality: Locality, region: Option<&str>) -> bool {
        match self {
            Self::LocalOnly => locality == Locality::Local,
            Self::NoCloud => locality <= Locality::Lan,
            Self::Region(wanted) => locality <= Locality::Lan || region == Some(wanted.as_str()),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalOnly => formatter.write_str("local-only"),
            Self::NoCloud => formatter.write_str("no-cloud"),
            Self::Region(region) => write!(formatter, "region:{region}"),
        }
    }
}

/// A label that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown label `{0}`: use local-only, no-cloud or region:NAME")]
pub struct UnknownLabel(pub String);

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

impl TryFrom<String> for Label {
    type Error = UnknownLabel;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Label {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownLabel(text.chars().take(64).collect());
        match text {
            "local-only" => Ok(Self::LocalOnly),
            "no-cloud" => Ok(Self::NoCloud),
            other => {
                let region = other.strip_prefix("region:").ok_or_else(unknown)?;
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                if region.is_empty() || region.len() > 64 || !region.bytes().all(plain) {
                    return Err(unknown());
                }
                Ok(Self::Region(region.to_owned()))
            }
        }
    }
}

/// The labels of one request. There is no way to take one away.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeSet<Label>);

impl Labels {
    /// No label.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a label.
    pub fn add(&mut self, label: Label) {
        self.0.insert(label);
    }

    /// These labels and more.
    pub fn with(&self, more: impl IntoIterator<Item = Label>) -> Self {
        let mut all = self.clone();
        all.0.extend(more);
        all
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }

    /// Whether `other` has every one of these.
    pub fn are_all_in(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Whether text of this request must stay out of logs, traces and ledgers: true as soon as there
    /// is any label.
    pub fn withhold_payload(&self) -> bool {
        !self.is_empty()
    }

    fn first_against(&self, locality: Locality, region: Option<&str>) -> Option<&Label> {
        self.0.iter().find(|label| !label.permits(locality, region))
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        Self(labels.into_iter().collect())
    }
}

impl fmt::Display for Labels {
    /// Comma-separated, as in the `x-lockgate-labels` header.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, label) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            label.fmt(formatter)?;
        }
        Ok(())
    }
}

/// Parses a comma-separated list. Empty entries are ignored.
impl FromStr for Labels {
    type Err = UnknownLabel;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(Label::from_str).collect()
    }
}

/// A target that the labels do not permit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("label `{label}` does not permit target `{target}` (locality {locality})")]
pub struct Forbidden {
    /// The first label against it.
    pub label: Label,
    /// The target's id.
    pub target: String,
    /// Its locality.
    pub locality: Locality,
}

/// Proof that a request's labels permit one send to one target. Made by [`permit`] alone, used once.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    target: String,
    locality: Locality,
    forwarding: bool,
}

impl Permit {
    /// The target that this permit is for.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The locality that the target was declared to have when this was made. A backend that finds the
    /// bytes would go further must not send them.
    pub fn locality(&self) -> Locality {
        self.locality
    }

    /// Whether the labels would also permit a server to pass the request on to an unknown cloud.
    pub fn allows_forwarding(&self) -> bool {
        self.forwarding
    }

    /// The same leave for this server alone.
    #[must_use]
    pub fn without_forwarding(self) -> Self {
        Self { forwarding: false, ..self }
    }
}

/// The check: whether every label permits the target.
///
/// # Errors
/// [`Forbidden`] names the first label that does not.
pub fn permit(labels: &Labels, target: &Target) -> Result<Permit, Forbidden> {
    if let Some(label) = labels.first_against(target.locality, target.region.as_deref()) {
        return Err(Forbidden { label: label.clone(), target: target.id.clone(), locality: target.locality });
    }
    Ok(Permit {
        target: target.id.clone(),
        locality: target.locality,
        forwarding: labels.first_against(Locality::Cloud, None).is_none(),
    })
}

#[cfg(test)]
mod tests;
