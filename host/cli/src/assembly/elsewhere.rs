//! Targets beyond the engine: a provider for each `[[provider]]`, a backend for each `[[target]]`.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use lockgate_api::{Locality, Price, Target};
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
        let built = Provider::new(settings, config.server.air_gapped);
        let built = built.with_context(|| provider.place.clone())?;
        providers.insert(&provider.id, (provider, built));
    }
    let mut targets = Targets::new();
    for target in &config.targets {
        let (settings, provider) = providers
            .get(target.provider.as_str())
            .ok_or_else(|| anyhow!("target `{}`: there is no provider `{}`", target.id, target.provider))?;
        let free = (provider.locality() == Locality::Local).then_some(Price { input: 0.0, output: 0.0 });
        let described = Arc::new(Target {
            id: target.id.clone(),
            model: target.model.clone(),
            locality: provider.locality(),
            region: settings.region.clone(),
            context_tokens: target.context_tokens,
            // As a model of this host's own: what is here costs nothing that anybody bills.
            price: target.price.or(free),
            tools: target.tools,
            images: target.images,
        });
        let backend = provider.backend(Arc::clone(&described)).with_context(|| target.place.clone())?;
        targets.push(GatewayTarget { backend, target: described });
    }
    Ok(targets)
}
