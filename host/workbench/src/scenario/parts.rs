//! The rules for targets, replies, expectations and properties of a scenario file.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{BreakerState, FinishReason, Health, Locality, Overrides, Price, Target};
use toml::Spanned;

use super::check::Checker;
use super::expect::{Expect, LimitHit, limit_names, plain};
use super::file;
use super::planned::PlannedLike;
use crate::property::{Generators, Property, RUNS_DEFAULT, RUNS_MAX, When};
use crate::session::End;
use crate::world::{Answer, Failing, Reply, SimTarget, Tokens, filler, tuned_id};

/// Names of localities.
const LOCALITIES: [(&str, Locality); 3] =
    [("local", Locality::Local), ("lan", Locality::Lan), ("cloud", Locality::Cloud)];

impl Checker<'_> {
    pub(super) fn targets(&mut self, targets: &[file::Target]) -> Vec<SimTarget> {
        let mut seen = HashSet::new();
        targets.iter().filter_map(|target| self.target(target, &mut seen)).collect()
    }

    fn target(&mut self, target: &file::Target, seen: &mut HashSet<String>) -> Option<SimTarget> {
        let id = target.id.get_ref();
        if !seen.insert(id.clone()) {
            self.problem(&target.id, format!("a second target `{id}`"));
        }
        let plain = !id.is_empty()
            && id.len() <= 128
            && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if !plain || id == "direct" || id == "auto" || id.starts_with("auto:") {
            self.problem(
                &target.id,
                "an id is 1 to 128 visible ASCII characters without comma, other than `auto` and `direct`",
            );
        }
        let locality = self.word(&target.locality, "locality", &LOCALITIES)?;
        let price = target.price.as_ref().map(|price| {
            let file::Price { input, output } = *price.get_ref();
            if !(input.is_finite() && output.is_finite() && input >= 0.0 && output >= 0.0) {
                self.problem(price, "a price is USD for a million tokens, not negative");
            }
            Price { input, output }
        });
        let each = target.bytes_per_token.as_ref();
        if let Some(each) = each.filter(|each| !(each.get_ref().is_finite() && *each.get_ref() > 0.0)) {
            self.problem(each, "bytes_per_token is a number greater than 0");
        }
        let tokens = match (target.tokens, each) {
            (Some(tokens), _) => Tokens::Fixed(tokens),
            (None, Some(each)) => Tokens::BytesEach(*each.get_ref()),
            (None, None) => Tokens::Quarter,
        };
        let health = self.health(&target.health);
        // As the models of a real host: what is here costs nothing.
        let free = (locality == Locality::Local).then_some(Price { input: 0.0, output: 0.0 });
        let described = Target {
            id: id.clone(),
            model: target.model.clone().unwrap_or_else(|| id.clone()),
            locality,
            region: target.region.clone(),
            context_tokens: target.context.map(NonZeroU64::get),
            price: price.or(free),
            tools: target.tools,
            images: target.images,
        };
        Some(SimTarget { target: Arc::new(described), health, adapters: self.adapters(target), tokens })
    }

    /// The target ids of the adapters that a target has loaded.
    fn adapters(&mut self, target: &file::Target) -> Vec<String> {
        if let Some(first) = target.adapters.first().filter(|_| target.locality.get_ref() != "local") {
            self.problem(
                first,
                "adapters are loaded by models on this machine: the target's locality is local",
            );
        }
        let mut ids = Vec::new();
        for name in &target.adapters {
            let id = tuned_id(target.id.get_ref(), name.get_ref());
            if name.get_ref().is_empty() {
                self.problem(name, "an adapter has a name");
            } else if ids.contains(&id) {
                self.problem(name, format!("a second adapter `{}` of this target", name.get_ref()));
            }
            ids.push(id);
        }
        ids
    }

    pub(super) fn health(&mut self, health: &file::Health) -> Health {
        let states = [
            ("closed", BreakerState::Closed),
            ("half-open", BreakerState::HalfOpen),
            ("open", BreakerState::Open),
        ];
        let state = health.state.as_ref().and_then(|state| self.word(state, "state", &states));
        Health {
            breaker: state.unwrap_or_default(),
            in_flight: health.in_flight.unwrap_or(0),
            queued: health.queue,
            first_token_median: health.ttft_ms.map(Duration::from_millis),
            first_token_p90: health.ttft_p90_ms.map(Duration::from_millis),
            tokens_per_second_median: health.tokens_per_second,
            tokens_per_second_p10: health.tokens_per_second_p10,
            error_rate: health.error_rate,
        }
    }

    pub(super) fn reply(&mut self, reply: &file::Reply) -> Reply {
        let target = reply.target.as_ref().and_then(|id| self.target_id(id));
        let error = reply.error.as_ref().and_then(|error| self.failing(error));
        if let Some(logprob) =
            reply.logprob.as_ref().filter(|value| value.get_ref().is_nan() || *value.get_ref() > 0.0)
        {
            self.problem(logprob, "logprob is the logarithm of a probability, at most 0");
        }
        if let (
            Some(text),
            Some(Failing::Timeout | Failing::Overloaded | Failing::Unavailable | Failing::Context),
        ) = (&reply.text, error)
        {
            self.problem(text, "this text is never given: `error` comes in its place");
        }
        let is_share = |share: &f64| (0.0..=1.0).contains(share);
        if let Some(choose) = reply.choose.as_ref().filter(|shares| !shares.get_ref().iter().all(is_share)) {
            self.problem(choose, "choose has a probability for each continuation, 0 to 1");
        }
        let is_finite = |value: &f32| value.is_finite();
        let bad = |vector: &Vec<f32>| {
            vector.is_empty() || !vector.iter().all(is_finite) || vector.iter().all(|value| *value == 0.0)
        };
        if let Some(embed) = reply.embed.as_ref().filter(|vector| bad(vector.get_ref())) {
            self.problem(embed, "embed is a vector of numbers that are not all 0");
        }
        let says = reply.text.is_some() || reply.reasoning.is_some() || !reply.tool_calls.is_empty();
        if !says
            && error.is_none()
            && reply.error.is_none()
            && reply.choose.is_none()
            && reply.embed.is_none()
        {
            let what = "a reply needs `text`, `tool_calls`, `reasoning`, `error`, `choose` or `embed`";
            match &reply.target {
                Some(target) => self.problem(target, what),
                None => self.unplaced(what),
            }
        }
        let finishes = [
            ("stop", FinishReason::Stop),
            ("length", FinishReason::Length),
            ("tool_calls", FinishReason::ToolCalls),
            ("content_filter", FinishReason::ContentFilter),
        ];
        let finish = reply.finish.as_ref().and_then(|word| {
            let places: Vec<(&str, usize)> =
                finishes.iter().enumerate().map(|(place, (name, _))| (*name, place)).collect();
            self.word(word, "finish", &places).map(|place| finishes[place].1.clone())
        });
        let calls = reply.tool_calls.iter().map(|call| (call.name.clone(), call.arguments.clone()));
        Reply {
            target,
            when: reply.when.clone(),
            times: reply.times,
            after: Duration::from_millis(reply.after_ms.unwrap_or(0)),
            answer: Answer {
                text: match (&reply.text, error) {
                    (Some(text), _) => Some(text.get_ref().clone()),
                    (None, Some(Failing::CutAfter(tokens))) => Some(filler(tokens)),
                    (None, _) => None,
                },
                reasoning: reply.reasoning.clone(),
                tool_calls: calls.collect(),
                finish,
                logprob: reply.logprob.as_ref().map(|value| *value.get_ref()),
                error,
                choose: reply.choose.as_ref().map(|shares| shares.get_ref().clone()),
                embed: reply.embed.as_ref().map(|vector| vector.get_ref().clone()),
            },
        }
    }

    fn failing(&mut self, error: &Spanned<String>) -> Option<Failing> {
        if let Some(pieces) = error.get_ref().strip_prefix("cut-after:") {
            return match pieces.trim().parse() {
                Ok(pieces) => Some(Failing::CutAfter(pieces)),
                Err(_) => {
                    self.problem(error, "cut-after needs a number of tokens, such as cut-after:3");
                    None
                }
            };
        }
        let words = [
            ("timeout", Failing::Timeout),
            ("overloaded", Failing::Overloaded),
            ("unavailable", Failing::Unavailable),
            ("context", Failing::Context),
        ];
        if let Some((_, failing)) = words.iter().find(|(word, _)| word == error.get_ref()) {
            return Some(*failing);
        }
        self.unknown(error, "error", words.iter().map(|(word, _)| *word).chain(["cut-after:N"]));
        None
    }

    pub(super) fn expect(&mut self, expect: &file::Expect) -> Expect {
        let outcomes = [End::Answered, End::Refused, End::Failed].map(|end| (end.name(), end));
        Expect {
            plan: expect.plan.as_ref().map(|ids| self.target_ids(ids)),
            planned: expect.planned.iter().filter_map(|attempt| self.planned(attempt)).collect(),
            answered_by: expect.answered_by.as_ref().and_then(|id| self.target_id(id)),
            never_locality: self.localities(expect.never_locality.as_ref()),
            never_target: expect.never_target.as_ref().map(|ids| self.target_ids(ids)).unwrap_or_default(),
            healthy_first: expect.healthy_first,
            outcome: expect.outcome.as_ref().and_then(|word| self.word(word, "outcome", &outcomes)),
            max_cost_usd: expect.max_cost_usd.as_ref().map(|usd| {
                if usd.get_ref().is_nan() || *usd.get_ref() < 0.0 {
                    self.problem(usd, "max_cost_usd is an amount of USD, not negative");
                }
                *usd.get_ref()
            }),
            reason_contains: self.texts(expect.reason_contains.as_ref()),
            text: expect.text.clone(),
            text_contains: self.texts(expect.text_contains.as_ref()),
            text_lacks: self.texts(expect.text_lacks.as_ref()),
            sent_contains: self.texts(expect.sent_contains.as_ref()),
            sent_lacks: self.texts(expect.sent_lacks.as_ref()),
            labels: expect.labels.as_ref().map(|labels| self.labels(labels)),
            attempts: expect.attempts,
            max_attempts: expect.max_attempts,
            max_virtual_ms: expect.max_virtual_ms,
            finish: expect.finish.clone(),
            limit_hit: expect.limit_hit.as_ref().and_then(|hit| match hit.get_ref() {
                toml::Value::Boolean(any) => Some(LimitHit::Any(*any)),
                toml::Value::String(name) => {
                    let known: Vec<String> = limit_names().collect();
                    if !known.iter().any(|known| plain(known) == plain(name)) {
                        let at = Spanned::new(hit.span(), name.clone());
                        self.unknown(&at, "limit", known.iter().map(String::as_str));
                    }
                    Some(LimitHit::Named(name.clone()))
                }
                _ => {
                    self.problem(
                        hit,
                        "limit_hit is true, false, or a limit's name such as \"fuel\" or \"memory\"",
                    );
                    None
                }
            }),
        }
    }

    fn planned(&mut self, attempt: &file::Planned) -> Option<PlannedLike> {
        let &file::Planned { temperature, top_p, top_k, seed, max_tokens, .. } = attempt;
        let sampling = Overrides { temperature, top_p, top_k, seed, max_tokens };
        if let Some(problem) = sampling.problem() {
            self.problem(&attempt.target, format!("no plan can have {problem}"));
        }
        Some(PlannedLike {
            target: self.target_id(&attempt.target)?,
            timeout: attempt.timeout_ms.map(Duration::from_millis),
            hedge_after: attempt.hedge_after_ms.map(Duration::from_millis),
            review: attempt.review,
            sampling,
        })
    }

    fn target_ids(&mut self, ids: &[Spanned<String>]) -> Vec<String> {
        ids.iter().filter_map(|id| self.target_id(id)).collect()
    }

    fn localities(&mut self, value: Option<&Spanned<toml::Value>>) -> Vec<Locality> {
        let Some(at) = value else { return Vec::new() };
        let names = self.texts(value);
        let mut localities = Vec::new();
        for name in names {
            match name.parse() {
                Ok(locality) => localities.push(locality),
                Err(error) => self.problem(at, error),
            }
        }
        localities
    }

    pub(super) fn property(&mut self, property: &file::Property, faults: &[file::Fault]) -> Option<Property> {
        let runs = property.runs.as_ref().map_or(RUNS_DEFAULT, |runs| *runs.get_ref());
        if let Some(at) = property.runs.as_ref().filter(|_| runs == 0 || runs > RUNS_MAX) {
            self.problem(at, format!("runs is a number from 1 to {RUNS_MAX}"));
        }
        let generators = match property.generate.as_ref() {
            None => Generators::default(),
            Some(at) => match Generators::read(at.get_ref()) {
                Ok(generators) => generators,
                Err(message) => {
                    self.problem(at, message);
                    return None;
                }
            },
        };
        let when = &property.when;
        let mut labels = lockgate_api::Labels::none();
        for name in self.texts(when.labels.as_ref()) {
            match (name.parse(), &when.labels) {
                (Ok(label), _) => labels.add(label),
                (Err(error), Some(at)) => self.problem(at, error.to_string()),
                (Err(_), None) => {}
            }
        }
        let condition = When {
            labels,
            contains: self.texts(when.contains.as_ref()),
            lacks: self.texts(when.lacks.as_ref()),
            has: self.traits(when.has.as_ref()),
            has_not: self.traits(when.has_not.as_ref()),
        };
        let expect = self.expect(property.expect.get_ref());
        if expect == Expect::default() {
            self.problem(
                &property.expect,
                "a property expects nothing: name what must hold for every request",
            );
        }
        Some(Property {
            name: property.name.get_ref().clone(),
            line: self.line(property.name.span()),
            runs,
            seed: property.seed,
            generators,
            when: condition,
            expect,
            faults: self.faults(faults, None, true),
        })
    }

    /// Things that a generated request may have.
    fn traits(&mut self, value: Option<&Spanned<toml::Value>>) -> Vec<String> {
        let names = self.texts(value);
        if let Some(at) = value
            && let Some(unknown) = names.iter().find(|name| !crate::property::TRAITS.contains(&name.as_str()))
        {
            let known = crate::property::TRAITS.join(", ");
            self.problem(
                at,
                format!("`{unknown}` is nothing that a generated request can have: use {known}"),
            );
        }
        names
    }
}

/// A TOML value as JSON. Dates become text; a number that JSON does not have becomes null.
pub(super) fn json(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json).collect(),
        toml::Value::Table(table) => {
            let fields = table.iter().map(|(key, value)| (key.clone(), json(value)));
            serde_json::Value::Object(fields.collect())
        }
    }
}
