//! The seam for adapters.

use std::cell::RefCell;

use super::bindings::adapter::exports::lockgate::plugin::adapt;
use super::bindings::adapter::lockgate::plugin::{adaptation, vocabulary};
use super::bindings::router::lockgate::plugin::request;
use super::{Hook, Host, refuse};
use crate::adapting::{Adaptation, Candidate, Chosen, Mask, Step, Vocabulary, Weights};

impl<T: crate::Adapter + 'static> adapt::Guest for Hook<T> {
    type Steerer = Steerer<T>;

    fn describe() -> adaptation::Adaptation {
        build(&T::describe(&Host))
    }
}

fn build(described: &Adaptation) -> adaptation::Adaptation {
    let built = adaptation::Adaptation::new();
    described.bases.iter().for_each(|base| built.add_base(base));
    match &described.weights {
        None => {}
        Some(Weights::Beside(name)) => built.use_weights_beside(name),
        Some(Weights::Of(adapter)) => built.use_weights_of(adapter),
    }
    described.stops.iter().for_each(|stop| built.add_stop(stop));
    described.scale.inspect(|&scale| built.set_scale(scale));
    described.template.iter().for_each(|template| built.set_template(template));
    described.system.iter().for_each(|system| built.set_system(system));
    described.temperature.inspect(|&temperature| built.set_temperature(temperature));
    described.top_k.inspect(|&count| built.set_top_k(count));
    described.top_p.inspect(|&share| built.set_top_p(share));
    described.min_p.inspect(|&share| built.set_min_p(share));
    described.repetition_penalty.inspect(|&factor| built.set_repetition_penalty(factor));
    described.max_tokens.inspect(|&count| built.set_max_tokens(count));
    described.steering.inspect(|&top| built.steer_tokens(top));
    built
}

/// An adapter behind the handle that the host holds.
pub struct Steerer<T>(RefCell<T>);

impl<T: crate::Adapter + 'static> adapt::GuestSteerer for Steerer<T> {
    fn begin(request: &request::Request, choice: u32) -> Result<adapt::Steerer, adapt::Refusal> {
        match T::steer(request, choice, &HostVocabulary, &Host) {
            Ok(steerer) => Ok(adapt::Steerer::new(Self(RefCell::new(steerer)))),
            Err(refusal) => Err(refuse(refusal)),
        }
    }
    fn next(&self, chosen: Option<adapt::Chosen>, top: Vec<adapt::Candidate>) -> adapt::Step {
        let chosen = chosen.map(|adapt::Chosen { token, text }| Chosen { token, text });
        let candidate = |adapt::Candidate { token, logit }| Candidate { token, logit };
        let top: Vec<Candidate> = top.into_iter().map(candidate).collect();
        into_step(self.0.borrow_mut().next(chosen.as_ref(), &top, &HostVocabulary))
    }
}

fn into_step(step: Step) -> adapt::Step {
    match step {
        Step::AsBefore => adapt::Step::AsBefore,
        Step::Stop => adapt::Step::Stop,
        Step::Steer(steering) => {
            let bias = |(token, add)| adapt::Bias { token, add };
            adapt::Step::Steer(adapt::Steering {
                biases: steering.biases.into_iter().map(bias).collect(),
                mask: match steering.mask {
                    Mask::All => adapt::Mask::All,
                    Mask::Only(tokens) => adapt::Mask::Only(tokens),
                    Mask::Never(tokens) => adapt::Mask::Never(tokens),
                },
            })
        }
    }
}

struct HostVocabulary;

impl Vocabulary for HostVocabulary {
    fn size(&self) -> u32 {
        vocabulary::size()
    }
    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        vocabulary::tokens(text)
    }
    fn texts(&self, tokens: &[u32]) -> Vec<Vec<u8>> {
        vocabulary::texts(tokens)
    }
    fn containing(&self, bytes: &[u8]) -> Vec<u32> {
        vocabulary::containing(bytes)
    }
    fn ends(&self) -> Vec<u32> {
        vocabulary::ends()
    }
}
