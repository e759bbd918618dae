//! A model tuned by an adapter's component: another template, sampling and stop strings, and a hook for each answer.
//!
//! Like a model with an adapter it is a [`LocalModel`] of its own over the same threads, cache and batches; it may have
//! an adapter's weights beside. The hooks are begun before the model is asked; from then on they belong to the runner.

use std::fmt;
use std::sync::Arc;

use lockgate_api::{
    BackendError, ChatRequest, HookInput, Labels, Sampling, Target, TokenHooks, Vocabulary, hook_failed,
};

use super::adapters::{AdaptError, is_name};
use super::load::first_of;
use super::prompts::Prompts;
use super::{LocalModel, Variant};
use crate::runner::Steered;
use crate::template::PromptTemplate;
use crate::tokenizer::{Specials, Tokenizer};

/// What is made of a model beside its weights. The default changes nothing.
#[derive(Clone, Default)]
pub struct Tuning {
    /// A chat template in the place of the model's own.
    pub template: Option<String>,
    /// A system message for conversations that do not begin with one.
    pub system: Option<String>,
    /// What requests leave open, ahead of the model's own; its stop strings end every answer.
    pub sampling: Sampling,
    /// Has a word about each token of every answer.
    pub hooks: Option<Arc<dyn TokenHooks>>,
}

/// What begins the hooks of a variant's answers.
#[derive(Clone)]
pub(super) struct Hooks(Arc<dyn TokenHooks>);

/// Who asks, as a hook is told.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) request_id: Arc<str>,
    pub(super) labels: Arc<Labels>,
}

impl LocalModel {
    /// This model, with the adapter that it has if it has one, tuned and under a name of its own. Nobody finds it by its
    /// name before it is [added](Self::add_adapter). Answers of a model with hooks need a Tokio runtime with its clock
    /// to begin in.
    ///
    /// # Errors
    /// The name cannot be part of an id, or the template is none.
    pub fn tuned(&self, name: &str, tuning: &Tuning) -> Result<Self, AdaptError> {
        if !is_name(name) {
            return Err(AdaptError::Name);
        }
        let base = &*self.variant;
        let template = match &tuning.template {
            None => base.prompts.template.clone(),
            Some(source) => Some(Arc::new(PromptTemplate::new(source, Arc::clone(&base.prompts.tokenizer))?)),
        };
        let id = format!("{}:{name}", self.shared.id);
        let prompts = Prompts {
            id: id.as_str().into(),
            template,
            system: tuning.system.as_deref().map(Into::into),
            sampling: Sampling {
                stop: tuning.sampling.stop.clone(),
                max_tokens: tuning.sampling.max_tokens,
                ..first_of(&tuning.sampling, &base.prompts.sampling)
            },
            ..(*base.prompts).clone()
        };
        let model = format!("{}, tuned by {name}", base.target.model);
        let variant = Variant {
            target: Target { id, model, ..base.target.clone() },
            prompts: Arc::new(prompts),
            adapter_name: Some(name.to_owned()),
            hooks: tuning.hooks.clone().map(Hooks),
        };
        Ok(Self { shared: Arc::clone(&self.shared), variant: Arc::new(variant) })
    }
}

impl Hooks {
    /// Begins a hook for each choice.
    pub(super) async fn begin(
        &self,
        request: &Arc<ChatRequest>,
        asker: &Asker,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Vec<Steered>, BackendError> {
        let mut steered = Vec::new();
        for choice in 0..request.choices {
            let input = HookInput {
                request_id: Arc::clone(&asker.request_id),
                request: Arc::clone(request),
                choice,
                labels: Arc::clone(&asker.labels),
                vocabulary: Arc::clone(tokenizer) as Arc<dyn Vocabulary>,
            };
            let hook = self.0.begin(input).await.map_err(|error| hook_failed(self.0.id(), &error))?;
            steered.push(Steered::new(self.0.id().into(), self.0.top(), hook));
        }
        Ok(steered)
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Hooks").field(&self.0.id()).finish()
    }
}

impl fmt::Debug for Tuning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tuning")
            .field("sampling", &self.sampling)
            .field("hooks", &self.hooks.as_ref().map(|hooks| hooks.id()))
            .finish_non_exhaustive()
    }
}

impl Vocabulary for Tokenizer {
    fn size(&self) -> u32 {
        // Ids are of that type.
        u32::try_from(Self::size(self)).unwrap_or(u32::MAX)
    }

    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        self.encode(text, Specials::Omit).ok()
    }

    fn bytes(&self, token: u32) -> &[u8] {
        self.token_bytes(token).unwrap_or_default()
    }

    fn ends(&self) -> Vec<u32> {
        self.ends_of_generation().collect()
    }
}
