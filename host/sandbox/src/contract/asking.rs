//! The interfaces `inference` and `cloud`: grants, limits and waiting around the host's services.
//!
//! Whether labels permit an ask is decided behind [`lockgate_api::Services`], at the send.

use std::sync::Arc;

use lockgate_api::{
    Asking, CONTINUATIONS_MAX, Choose, EMBED_INPUTS_MAX, Embed, ErrorKind, Locality, ServiceError, Services,
    Target, Usage,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};
use wasmtime::component::Resource;

use super::bindings::router::lockgate::plugin::{cloud, generation, inference};
use super::recorded::{Recalled, digest};
use super::{Generation, Prompt, shorten};
use crate::budget::{Bill, Short};
use crate::call::Call;
use crate::grant::Grant;
use crate::plugin::TARGET;

/// Answers that a call may be reading at once.
const GENERATIONS_MAX: usize = 4;

/// Which interface asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Inference,
    Cloud,
}

impl Door {
    fn grant(self, name: &str) -> Grant {
        match self {
            Self::Inference => Grant::Inference(name.to_owned()),
            Self::Cloud => Grant::Cloud(name.to_owned()),
        }
    }

    fn generate(self) -> &'static str {
        match self {
            Self::Inference => "inference.generate",
            Self::Cloud => "cloud.generate",
        }
    }

    fn embed(self) -> &'static str {
        match self {
            Self::Inference => "inference.embed",
            Self::Cloud => "cloud.embed",
        }
    }
}

type Answer<T> = wasmtime::Result<Result<T, generation::Error>>;

/// Somebody who may be asked.
struct Granted {
    services: Arc<dyn Services>,
    target: Arc<Target>,
}

impl Call {
    /// Whether a plugin may name this one.
    fn check_grant(&self, from: Door, name: &str) -> Result<(), generation::Error> {
        let (plugin, request) = (&*self.powers().plugin, &**self.facts().scope.request_id());
        if let Some(probe) = &self.powers().probe {
            probe.asks(plugin, name);
        }
        if !self.powers().grants.contains(&from.grant(name)) {
            // The name is of the plugin's making and may quote the request.
            let name = if self.labels().withhold_payload() { "(withheld)".to_owned() } else { shorten(name) };
            warn!(target: TARGET, plugin, request, "asked for `{name}` by {from:?}, which no grant of it names");
            return Err(generation::Error::Denied);
        }
        Ok(())
    }

    /// What the journal has been told about an ask, where the plugin may make it.
    fn recall_ask<T: serde::de::DeserializeOwned>(
        &self,
        from: Door,
        function: &'static str,
        name: &str,
        arguments: impl FnOnce(&Self) -> Value,
    ) -> Recalled<Result<T, generation::Error>> {
        match self.check_grant(from, name) {
            Err(error) => Recalled::Answer(Err(error)),
            Ok(()) => self.recall(function, || json!([name, arguments(self)])),
        }
    }

    /// Whom a plugin names and may.
    fn granted(&self, from: Door, name: &str) -> Result<Granted, generation::Error> {
        let (plugin, scope) = (&*self.powers().plugin, &self.facts().scope);
        let request = &**scope.request_id();
        let Some(services) = scope.services() else { return Err(generation::Error::Unavailable) };
        let target = services.target(name).ok_or(generation::Error::Denied)?;
        if (target.locality == Locality::Local) != (from == Door::Inference) {
            let locality = target.locality;
            let grant = from.grant(name);
            warn!(target: TARGET, plugin, request, "the grant `{grant}` is void: the target's locality is {locality}");
            return Err(generation::Error::Denied);
        }
        Ok(Granted { services: Arc::clone(services), target })
    }

    fn reserve(
        &mut self,
        target: &Target,
        input: u64,
        output_max: u32,
    ) -> Result<(u32, Bill), generation::Error> {
        let powers = Arc::clone(self.powers());
        self.budget.reserve(target, input, output_max, &powers.spending).map_err(|short| {
            let (plugin, id) = (&*powers.plugin, &target.id);
            match short {
                Short::Price => warn!(
                    target: TARGET,
                    plugin,
                    "denied: what target `{id}` costs is not known; give it price = {{ input = …, output = … }}"
                ),
                Short::Money => debug!(target: TARGET, plugin, "an ask of `{id}` would exceed limits.usd"),
                Short::Tokens => debug!(target: TARGET, plugin, "an ask of `{id}` would exceed limits.tokens"),
            }
            if short == Short::Price { generation::Error::Denied } else { generation::Error::Limit }
        })
    }

    fn asking(&self, target: &Target) -> Asking {
        let scope = Arc::clone(&self.facts().scope);
        Asking { scope, target: target.id.clone(), limit: self.budget.wait }
    }

    /// Waits for somebody else, on the wait's account.
    pub(super) async fn waiting<T>(
        &mut self,
        asked: impl Future<Output = T>,
    ) -> Result<T, generation::Error> {
        if self.budget.wait.is_zero() {
            return Err(generation::Error::Timeout);
        }
        // A place in the pool is kept meanwhile. Some are left for plugins that do not wait.
        let waits = Arc::clone(&self.powers().waits);
        let Ok(_place) = waits.try_acquire() else { return Err(generation::Error::Overloaded) };
        let began = Instant::now();
        let answer = timeout(self.budget.wait, asked).await;
        let took = began.elapsed();
        self.budget.wait = self.budget.wait.saturating_sub(took);
        self.has_waited(took);
        answer.map_err(|_elapsed| {
            self.budget.wait = std::time::Duration::ZERO;
            generation::Error::Timeout
        })
    }

    /// An ask that comes to one answer.
    async fn whole<T>(
        &mut self,
        bill: Option<Bill>,
        asked: impl Future<Output = Result<T, ServiceError>>,
        usage: impl FnOnce(&T) -> Option<Usage>,
    ) -> Answer<T> {
        let answer = self.waiting(asked).await;
        self.check_breach()?;
        let answer = answer.and_then(|answer| answer.map_err(|error| self.failed(&error)));
        if let Some(bill) = bill {
            match &answer {
                Ok(answer) => self.budget.settle(bill, usage(answer)),
                Err(_) => {
                    bill.failed();
                    self.budget.settle(bill, None);
                }
            }
        }
        Ok(answer)
    }

    /// What a plugin is told of a failure; the operator is told the rest.
    pub(super) fn failed(&self, error: &ServiceError) -> generation::Error {
        let (plugin, request) = (&*self.powers().plugin, &**self.facts().scope.request_id());
        // Errors of the host and of backends carry no text of the conversation.
        debug!(target: TARGET, plugin, request, "an ask of its own failed: {error}");
        let error = match error {
            ServiceError::UnknownTarget(_) => return generation::Error::Denied,
            ServiceError::Forbidden(_) => return generation::Error::ForbiddenByLabels,
            ServiceError::Backend(error) => error,
        };
        match error.kind {
            ErrorKind::Unsupported { .. } => generation::Error::Unsupported,
            ErrorKind::ContextExceeded { .. } => generation::Error::ContextExceeded,
            ErrorKind::RateLimited | ErrorKind::Overloaded => generation::Error::Overloaded,
            ErrorKind::Unavailable => generation::Error::Unavailable,
            ErrorKind::Timeout(_) => generation::Error::Timeout,
            ErrorKind::Locality => generation::Error::ForbiddenByLabels,
            ErrorKind::InvalidRequest
            | ErrorKind::Authentication
            | ErrorKind::Upstream
            | ErrorKind::Cut
            | ErrorKind::Guard
            | ErrorKind::Adapter
            | ErrorKind::Rejected
            | ErrorKind::Cancelled
            | ErrorKind::Internal => generation::Error::Failed,
        }
    }

    async fn begin(
        &mut self,
        from: Door,
        name: String,
        handle: Resource<Prompt>,
    ) -> Answer<Resource<Generation>> {
        self.enter_with(name.len())?;
        let known = self.recall_ask(from, from.generate(), &name, |call| call.digest_of(&handle));
        let noted = match known {
            Recalled::Answer(Ok(())) => return Ok(Ok(self.generations.insert(Generation::recorded())?)),
            Recalled::Answer(Err(error)) => return Ok(Err(error)),
            Recalled::Unknown(noted) => noted,
        };
        let answer = self.begin_now(from, &name, &handle).await?;
        self.note(noted, &answer.as_ref().map(|_| ()));
        Ok(match answer {
            Ok(generation) => Ok(self.generations.insert(generation)?),
            Err(error) => Err(error),
        })
    }

    async fn begin_now(&mut self, from: Door, name: &str, handle: &Resource<Prompt>) -> Answer<Generation> {
        let Granted { services, target } = match self.granted(from, name) {
            Ok(granted) => granted,
            Err(error) => return Ok(Err(error)),
        };
        let prompt = self.prompts.get_mut(handle)?;
        let (input, output_max) = (prompt.estimate_tokens(), prompt.max_tokens());
        if prompt.is_empty() || self.generations.values().len() >= GENERATIONS_MAX {
            return Ok(Err(generation::Error::Limit));
        }
        let (output, bill) = match self.reserve(&target, input, output_max) {
            Ok(reserved) => reserved,
            Err(error) => return Ok(Err(error)),
        };
        let request = self.prompts.get_mut(handle)?.request(&target.id, output);
        let answer = self.waiting(services.generate(self.asking(&target), request)).await;
        self.check_breach()?;
        match answer.and_then(|answer| answer.map_err(|error| self.failed(&error))) {
            Ok(events) => Ok(Ok(Generation { events: Some(events), bill: Some(bill), failure: None })),
            Err(error) => {
                bill.failed();
                self.budget.settle(bill, None);
                Ok(Err(error))
            }
        }
    }

    async fn embed_by(&mut self, from: Door, name: String, texts: Vec<String>) -> Answer<Vec<Vec<f32>>> {
        let bytes: usize = texts.iter().map(String::len).sum();
        self.enter_with(name.len() + bytes)?;
        let known = self.recall_ask(from, from.embed(), &name, |_| json!(digest(&texts)));
        let answer = match known {
            Recalled::Answer(answer) => answer,
            Recalled::Unknown(noted) => {
                let answer = self.embed_now(from, &name, texts).await?;
                self.note(noted, &answer);
                answer
            }
        };
        let bytes = answer.iter().flatten().map(|vector| vector.len() * 4).sum();
        self.hand_over(bytes)?;
        Ok(answer)
    }

    async fn embed_now(&mut self, from: Door, name: &str, texts: Vec<String>) -> Answer<Vec<Vec<f32>>> {
        let Granted { services, target } = match self.granted(from, name) {
            Ok(granted) => granted,
            Err(error) => return Ok(Err(error)),
        };
        if !are_parts(&texts, EMBED_INPUTS_MAX) {
            return Ok(Err(generation::Error::Limit));
        }
        let bill = match self.reserve(&target, tokens_of(&texts), 0) {
            Ok((_, bill)) => bill,
            Err(error) => return Ok(Err(error)),
        };
        let asked = services.embed(self.asking(&target), Embed { inputs: texts });
        let answer = self.whole(Some(bill), asked, |answer| Some(answer.usage)).await?;
        Ok(answer.map(|answer| answer.vectors))
    }

    async fn choose_now(
        &mut self,
        model: &str,
        prompt: &Resource<Prompt>,
        continuations: Vec<String>,
    ) -> Answer<Vec<inference::Likelihood>> {
        let Granted { services, target } = match self.granted(Door::Inference, model) {
            Ok(granted) => granted,
            Err(error) => return Ok(Err(error)),
        };
        let prompt = self.prompts.get_mut(prompt)?;
        if prompt.is_empty() || !are_parts(&continuations, CONTINUATIONS_MAX) {
            return Ok(Err(generation::Error::Limit));
        }
        let input = prompt.estimate_tokens() + tokens_of(&continuations);
        let request = prompt.request(&target.id, 1);
        let bill = match self.reserve(&target, input, 0) {
            Ok((_, bill)) => bill,
            Err(error) => return Ok(Err(error)),
        };
        let asked = services.choose(self.asking(&target), Choose { request, continuations });
        let answer = self.whole(Some(bill), asked, |answer| Some(answer.usage)).await?;
        let likelihood = |one: &lockgate_api::Likelihood| inference::Likelihood {
            log_probability: one.log_probability,
            tokens: one.tokens,
        };
        Ok(answer.map(|answer| answer.likelihoods.iter().map(likelihood).collect()))
    }

    async fn count_now(&mut self, model: &str, prompt: &Resource<Prompt>) -> Answer<u64> {
        let Granted { services, target } = match self.granted(Door::Inference, model) {
            Ok(granted) => granted,
            Err(error) => return Ok(Err(error)),
        };
        let prompt = self.prompts.get_mut(prompt)?;
        if prompt.is_empty() {
            return Ok(Err(generation::Error::Limit));
        }
        let request = prompt.request(&target.id, 1);
        let asked = services.count_tokens(self.asking(&target), request);
        self.whole(None, asked, |_| None).await
    }

    /// A conversation in a few characters; null where there is none.
    fn digest_of(&self, prompt: &Resource<Prompt>) -> Value {
        json!(self.prompts.get(prompt).map(Prompt::digest))
    }
}

/// Whether there are some, not too many, and none is empty.
fn are_parts(texts: &[String], count_max: usize) -> bool {
    (1..=count_max).contains(&texts.len()) && texts.iter().all(|text| !text.is_empty())
}

fn tokens_of(texts: &[String]) -> u64 {
    texts.iter().map(|text| (text.len() as u64).div_ceil(4)).sum()
}

impl inference::Host for Call {
    async fn generate(&mut self, model: String, prompt: Resource<Prompt>) -> Answer<Resource<Generation>> {
        self.begin(Door::Inference, model, prompt).await
    }

    async fn choose(
        &mut self,
        model: String,
        prompt: Resource<Prompt>,
        continuations: Vec<String>,
    ) -> Answer<Vec<inference::Likelihood>> {
        self.enter_with(model.len() + continuations.iter().map(String::len).sum::<usize>())?;
        let known = self.recall_ask(Door::Inference, "inference.choose", &model, |call| {
            json!([call.digest_of(&prompt), continuations])
        });
        match known {
            Recalled::Answer(answer) => Ok(answer),
            Recalled::Unknown(noted) => {
                let answer = self.choose_now(&model, &prompt, continuations).await?;
                self.note(noted, &answer);
                Ok(answer)
            }
        }
    }

    async fn embed(&mut self, model: String, texts: Vec<String>) -> Answer<Vec<Vec<f32>>> {
        self.embed_by(Door::Inference, model, texts).await
    }

    async fn count_tokens(&mut self, model: String, prompt: Resource<Prompt>) -> Answer<u64> {
        self.enter_with(model.len())?;
        let known = self
            .recall_ask(Door::Inference, "inference.count-tokens", &model, |call| call.digest_of(&prompt));
        match known {
            Recalled::Answer(answer) => Ok(answer),
            Recalled::Unknown(noted) => {
                let answer = self.count_now(&model, &prompt).await?;
                self.note(noted, &answer);
                Ok(answer)
            }
        }
    }
}

impl cloud::Host for Call {
    async fn generate(&mut self, target: String, prompt: Resource<Prompt>) -> Answer<Resource<Generation>> {
        self.begin(Door::Cloud, target, prompt).await
    }

    async fn embed(&mut self, target: String, texts: Vec<String>) -> Answer<Vec<Vec<f32>>> {
        self.embed_by(Door::Cloud, target, texts).await
    }
}
