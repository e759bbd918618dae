//! The factory: settings in, one [`Backend`] a target out.
//!
//! A [`Provider`] owns what its targets share: the connections, the credentials and what was learnt
//! about forwarding. Targets of one provider therefore share a connection pool.

use std::fmt;
use std::sync::Arc;

use lockgate_api::{Backend, Locality, Target};

use crate::bedrock::{BedrockBackend, Service};
use crate::openai::{OpenAiBackend, Server};
use crate::settings::{ProviderKind, ProviderSettings, SettingsError, SettingsProblem};

/// One configured provider. Cloning is cheap and shares everything.
#[derive(Clone)]
pub struct Provider {
    id: Arc<str>,
    locality: Locality,
    wire: Wire,
}

#[derive(Clone)]
enum Wire {
    OpenAi(Arc<Server>),
    Bedrock(Arc<Service>),
}

impl Provider {
    /// Checks the settings and builds the provider. Contacts nothing and reads no credential.
    ///
    /// With `air_gapped` only `local` providers are built.
    ///
    /// # Errors
    /// Names the provider and the setting.
    pub fn new(settings: ProviderSettings, air_gapped: bool) -> Result<Self, SettingsError> {
        let fail = |problem| SettingsError { provider: settings.id.clone(), problem };
        let locality = match (settings.kind, settings.locality) {
            (ProviderKind::OpenAiCompatible, Some(locality)) => locality,
            (ProviderKind::OpenAiCompatible, None) => {
                return Err(fail(SettingsProblem::Missing {
                    setting: "locality",
                    advice: "say where its bytes go: local, lan or cloud",
                }));
            }
            (ProviderKind::Bedrock, None | Some(Locality::Cloud)) => Locality::Cloud,
            (ProviderKind::Bedrock, Some(_)) => {
                return Err(fail(SettingsProblem::Invalid {
                    setting: "locality",
                    problem: "of a hosted service is always `cloud`".to_owned(),
                }));
            }
        };
        if air_gapped && locality != Locality::Local {
            return Err(fail(SettingsProblem::AirGapped { locality }));
        }
        warn_of_plain_text(&settings, locality);
        let wire = match settings.kind {
            ProviderKind::OpenAiCompatible => {
                Wire::OpenAi(Arc::new(Server::new(&settings, locality, air_gapped).map_err(fail)?))
            }
            ProviderKind::Bedrock => Wire::Bedrock(Arc::new(Service::new(&settings).map_err(fail)?)),
        };
        Ok(Self { id: settings.id.as_str().into(), locality, wire })
    }

    /// Where its bytes go: what its targets' [`Target::locality`] should say.
    pub fn locality(&self) -> Locality {
        self.locality
    }

    /// What answers requests for `target`.
    ///
    /// # Errors
    /// When the target claims to be nearer than its provider is.
    pub fn backend(&self, target: Arc<Target>) -> Result<Arc<dyn Backend>, SettingsError> {
        if target.locality < self.locality {
            let problem = SettingsProblem::TargetTooNear {
                target: target.id.clone(),
                claimed: target.locality,
                actual: self.locality,
            };
            return Err(SettingsError { provider: self.id.to_string(), problem });
        }
        Ok(match &self.wire {
            Wire::OpenAi(server) => Arc::new(OpenAiBackend { server: Arc::clone(server), target }),
            Wire::Bedrock(service) => Arc::new(BedrockBackend::new(Arc::clone(service), target)),
        })
    }
}

/// A key that leaves the operator's network unencrypted can be read on its way, and so can every prompt.
fn warn_of_plain_text(settings: &ProviderSettings, locality: Locality) {
    let is_plain =
        settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.trim_start().starts_with("http:"));
    if is_plain && settings.api_key.is_some() && locality == Locality::Cloud {
        tracing::warn!(
            provider = settings.id,
            "the endpoint is not encrypted: the API key travels in plain text"
        );
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Provider")
            .field("id", &self.id)
            .field("locality", &self.locality)
            .finish_non_exhaustive()
    }
}
