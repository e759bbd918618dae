//! The request that decisions are measured with.

use std::sync::Arc;

use lockgate_api::{
    ChatRequest, Health, Labels, Locality, Message, Role, RouteInput, Scope, Target, TargetFacts,
};

const WORDS: &str = "The committee met on Tuesday to discuss the budget for 2024, which had grown by 12 percent. \
                     Several members asked whether the new library could open earlier than planned; the \
                     architect said that the roof would take three more weeks. ";

/// A prompt of so many bytes, in a world of six targets.
pub(crate) fn input(prompt_bytes: usize) -> RouteInput {
    let prompt: String = WORDS.chars().cycle().take(prompt_bytes).collect();
    let target = |number: usize| {
        let locality = if number < 2 { Locality::Local } else { Locality::Cloud };
        let target = Target {
            id: format!("target-{number}"),
            model: format!("model-{number}"),
            locality,
            region: None,
            context_tokens: Some(8192),
            price: None,
            tools: true,
            images: false,
        };
        TargetFacts {
            target: Arc::new(target),
            health: Health::default(),
            permitted: true,
            adapters: Vec::new(),
        }
    };
    RouteInput {
        request_id: "request-1".into(),
        request: Arc::new(ChatRequest::new("auto", vec![Message::text(Role::User, prompt)])),
        labels: Arc::new(Labels::none()),
        catalog: (0..6).map(target).collect(),
        key: None,
        scope: Scope::new("request-1".into(), Arc::new(Labels::none()), None),
    }
}
