//! Targets beyond the engine: a provider for each `[[provider]]`, a backend for each `[[target]]`.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use lockgate_api::Target;
use lockgate_gateway::GatewayTarget;
use lockgate_providers::{Provider, ProviderKind, ProviderSettings};

use super::Targets;
use crate::config::{self, Config, ProviderConfig};

/// Builds every target. Contacts nothing and reads no credential beyond the configuration's.
pub(super) fn targets(config: &Config) -> Result<Targets> {
    let mut providers: HashMap<&str, (&ProviderConfig, Provider)> = HashMap::new();
    for provider in &config.providers {
        let settings = ProviderSettings {
            id: provider.id.clone(),
            kind: match provider.kind {
                config::ProviderKind::Bedrock => ProviderKind::Bedrock,
                config::ProviderKind::OpenaiCompatible => ProviderKind::OpenAiCompatible,
            },
            region: provider.region.clone(),
            endpoint: provider.endpoint.clone(),
            locality: Some(provider.locality),
            api_key: provider.api_key.clone(),
        };
        providers.insert(&provider.id, (provider, Provider::new(settings, config.server.air_gapped)?));
    }
    let mut targets = Targets::new();
    for target in &config.targets {
        let (settings, provider) = providers
            .get(target.provider.as_str())
            .ok_or_else(|| anyhow!("target `{}`: there is no provider `{}`", target.id, target.provider))?;
        let described = Arc::new(Target {
            id: target.id.clone(),
            model: target.model.clone(),
            locality: provider.locality(),
            region: settings.region.clone(),
            context_tokens: target.context_tokens,
            price: target.price,
            tools: target.tools,
            images: target.images,
        });
        targets.push(GatewayTarget { backend: provider.backend(Arc::clone(&described))?, target: described });
    }
    Ok(targets)
}
