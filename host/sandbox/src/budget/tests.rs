use std::sync::Arc;

use lockgate_api::{Locality, Price, Spending, Target, Usage};
use proptest::prelude::*;

use super::{Budget, Short};
use crate::limits::Limits;

fn target(locality: Locality, price: Option<(f64, f64)>) -> Target {
    Target {
        id: "t".to_owned(),
        model: "m".to_owned(),
        locality,
        region: None,
        context_tokens: None,
        price: price.map(|(input, output)| Price { input, output }),
        tools: false,
        images: false,
    }
}

fn budget(tokens: u64, nano_usd: u64) -> Budget {
    Budget::new(&Limits { tokens_max: tokens, nano_usd_max: nano_usd, ..Limits::default() })
}

fn usage(input: u64, output: u64) -> Option<Usage> {
    Some(Usage { input, output, ..Usage::default() })
}

#[test]
fn an_answer_is_as_long_as_tokens_and_money_allow() {
    let spending = Arc::default();
    let near = target(Locality::Local, None);
    let output = |mut budget: Budget, target: &Target, input, max| {
        budget.reserve(target, input, max, &spending).map(|(output, _)| output)
    };
    assert_eq!(output(budget(100, 0), &near, 40, 1000), Ok(60));
    assert_eq!(output(budget(100, 0), &near, 40, 10), Ok(10));
    assert_eq!(output(budget(100, 0), &near, 100, 0), Ok(0), "what reads alone needs nothing for an answer");
    assert_eq!(output(budget(100, 0), &near, 100, 1), Err(Short::Tokens));
    assert_eq!(output(budget(100, 0), &near, 101, 0), Err(Short::Tokens));
    // 1 and 2 USD a million tokens: 1000 and 2000 thousand-millionths a token.
    let cloud = target(Locality::Cloud, Some((1.0, 2.0)));
    assert_eq!(output(budget(100, 20_000), &cloud, 10, 1000), Ok(5));
    assert_eq!(output(budget(100, 11_000), &cloud, 10, 1000), Err(Short::Money));
    assert_eq!(output(budget(100, 9_999), &cloud, 10, 0), Err(Short::Money));
    assert_eq!(output(budget(100, u64::MAX), &target(Locality::Cloud, None), 1, 1), Err(Short::Price));
    assert_eq!(output(budget(100, 0), &target(Locality::Lan, None), 1, 1), Ok(1));
}

#[test]
fn what_was_reserved_and_not_taken_comes_back_and_is_counted_as_it_was() {
    let spending: Arc<Spending> = Arc::default();
    let cloud = target(Locality::Cloud, Some((1.0, 2.0)));
    let mut budget = budget(100, 100_000);
    let (_, bill) = budget.reserve(&cloud, 10, 20, &spending).expect("there is enough");
    assert_eq!((budget.tokens, budget.nano_usd), (70, 50_000));
    budget.settle(bill, usage(12, 4));
    assert_eq!((budget.tokens, budget.nano_usd), (84, 80_000));
    // One that is given up counts what came, by estimate.
    let (_, mut bill) = budget.reserve(&cloud, 10, 20, &spending).expect("there is enough");
    bill.received(9);
    bill.failed();
    drop(bill);
    let spent = spending.spent();
    assert_eq!((spent.asks, spent.failures, spent.input_tokens, spent.output_tokens), (2, 1, 22, 7));
    assert!((spent.usd - 36e-6).abs() < 1e-12, "{spent:?}");
}

proptest! {
    /// Whatever is asked, and whatever it takes: what is left never grows beyond the limit, and never below 0.
    #[test]
    fn a_budget_only_shrinks(
        asks in prop::collection::vec((0..200u64, 0..200u32, 0..300u64, 0..300u64), 0..20),
        price in (0.0..50.0f64, 0.0..50.0f64),
    ) {
        let spending = Arc::default();
        let cloud = target(Locality::Cloud, Some(price));
        let mut budget = budget(1000, 1_000_000);
        for (input, output_max, took_input, took_output) in asks {
            let before = budget;
            let Ok((output, bill)) = budget.reserve(&cloud, input, output_max, &spending) else { continue };
            prop_assert!(output <= output_max);
            budget.settle(bill, usage(took_input, took_output));
            prop_assert!(budget.tokens <= before.tokens && budget.nano_usd <= before.nano_usd);
        }
    }
}
