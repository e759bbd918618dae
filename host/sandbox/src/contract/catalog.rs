//! The interface `catalog`: one column a function.

use lockgate_api::{BreakerState, Locality, TargetFacts};

use super::bindings::router::lockgate::plugin::{catalog, types};
use crate::call::Call;

impl Call {
    fn column<T>(&mut self, cell: impl Fn(&TargetFacts) -> T) -> wasmtime::Result<Vec<T>> {
        self.enter()?;
        Ok(self.facts().catalog.iter().map(cell).collect())
    }
}

impl catalog::Host for Call {
    fn ids(&mut self) -> wasmtime::Result<Vec<String>> {
        self.column(|facts| facts.target.id.clone())
    }

    fn models(&mut self) -> wasmtime::Result<Vec<String>> {
        self.column(|facts| facts.target.model.clone())
    }

    fn localities(&mut self) -> wasmtime::Result<Vec<types::Locality>> {
        self.column(|facts| match facts.target.locality {
            Locality::Local => types::Locality::Local,
            Locality::Lan => types::Locality::Lan,
            Locality::Cloud => types::Locality::Cloud,
        })
    }

    fn regions(&mut self) -> wasmtime::Result<Vec<Option<String>>> {
        self.column(|facts| facts.target.region.clone())
    }

    fn permitted(&mut self) -> wasmtime::Result<Vec<bool>> {
        self.column(|facts| facts.permitted)
    }

    fn prices(&mut self) -> wasmtime::Result<Vec<Option<types::Price>>> {
        self.column(|facts| {
            facts.target.price.map(|price| types::Price { input: price.input, output: price.output })
        })
    }

    fn context_tokens(&mut self) -> wasmtime::Result<Vec<Option<u64>>> {
        self.column(|facts| facts.target.context_tokens)
    }

    fn offers(&mut self, what: types::Want) -> wasmtime::Result<Vec<Option<bool>>> {
        self.column(|facts| match what {
            types::Want::Tools => Some(facts.target.tools),
            types::Want::Images => Some(facts.target.images),
            types::Want::Json | types::Want::Logprobs | types::Want::Choices | types::Want::Other(_) => None,
        })
    }

    fn breakers(&mut self) -> wasmtime::Result<Vec<types::Breaker>> {
        self.column(|facts| match facts.health.breaker {
            BreakerState::Closed => types::Breaker::Closed,
            BreakerState::HalfOpen => types::Breaker::HalfOpen,
            BreakerState::Open => types::Breaker::Open,
        })
    }

    fn in_flight(&mut self) -> wasmtime::Result<Vec<u32>> {
        self.column(|facts| facts.health.in_flight)
    }

    fn queued(&mut self) -> wasmtime::Result<Vec<Option<u32>>> {
        self.column(|facts| facts.health.queued)
    }

    fn first_token_ms(&mut self) -> wasmtime::Result<Vec<Option<f64>>> {
        self.column(|facts| facts.health.first_token_median.map(|median| median.as_secs_f64() * 1e3))
    }

    fn tokens_per_second(&mut self) -> wasmtime::Result<Vec<Option<f64>>> {
        self.column(|facts| facts.health.tokens_per_second_median.map(f64::from))
    }

    fn first_token_p90_ms(&mut self) -> wasmtime::Result<Vec<Option<f64>>> {
        self.column(|facts| facts.health.first_token_p90.map(|time| time.as_secs_f64() * 1e3))
    }

    fn tokens_per_second_p10(&mut self) -> wasmtime::Result<Vec<Option<f64>>> {
        self.column(|facts| facts.health.tokens_per_second_p10.map(f64::from))
    }

    fn adapters(&mut self) -> wasmtime::Result<Vec<Vec<String>>> {
        self.column(|facts| facts.adapters.clone())
    }

    /// Nobody counts them yet.
    fn prefix_hit_tokens(&mut self) -> wasmtime::Result<Vec<Option<u64>>> {
        self.column(|_| None)
    }

    /// Nobody keeps one yet.
    fn budget(&mut self) -> wasmtime::Result<Option<(f64, f64)>> {
        self.enter()?;
        Ok(None)
    }

    fn error_rates(&mut self) -> wasmtime::Result<Vec<Option<f64>>> {
        self.column(|facts| facts.health.error_rate.map(f64::from))
    }
}
