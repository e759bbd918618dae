use lockgate_plugin::testing::{FakeCatalog, FakeRequest, FakeSettings, FakeTarget};
use lockgate_plugin::{Breaker, Plan, Price, Refusal, Router as _, Want};

use crate::CostSaver;

fn priced(target: FakeTarget, input: f64, output: f64) -> FakeTarget {
    FakeTarget { price: Some(Price { input, output }), ..target }
}

fn catalog() -> FakeCatalog {
    FakeCatalog::new([
        priced(FakeTarget::cloud("opus"), 15.0, 75.0),
        priced(FakeTarget::cloud("haiku"), 1.0, 5.0),
        FakeTarget::cloud("unpriced"),
        priced(FakeTarget::local("small"), 0.0, 0.0),
    ])
}

fn levels() -> FakeSettings {
    FakeSettings::none().with("levels", "haiku=2, opus=3, unpriced=3")
}

fn route(text: &str, catalog: &FakeCatalog, settings: &FakeSettings) -> Result<Plan, Refusal> {
    CostSaver::route(&FakeRequest::user(text), catalog, settings)
}

fn first(text: &str, catalog: &FakeCatalog) -> String {
    route(text, catalog, &levels()).expect("there is a target").targets()[0].to_owned()
}

const SIMPLE: &str = "What is the capital of France?";
const MIDDLING: &str = "Compare these two offers.";
const HARD: &str = "Prove the theorem step by step.";

#[test]
fn the_cheapest_target_whose_level_is_enough_comes_first() {
    assert_eq!(first(SIMPLE, &catalog()), "small");
    assert_eq!(first(MIDDLING, &catalog()), "haiku");
    assert_eq!(first(HARD, &catalog()), "opus");
    let plan = route(MIDDLING, &catalog(), &levels()).expect("there are targets");
    assert_eq!(plan.targets(), ["haiku", "opus", "unpriced", "small"], "an unknown price is the highest");
    assert!(plan.reason.contains("level 2"), "{}", plan.reason);
}

#[test]
fn the_place_is_the_level_where_the_operator_says_nothing() {
    let plan = route(HARD, &catalog(), &FakeSettings::none()).expect("there are targets");
    assert_eq!(plan.targets(), ["haiku", "opus", "unpriced", "small"]);
}

#[test]
fn as_the_budget_runs_down_work_slides_to_what_is_free() {
    let with = |left: f64| FakeCatalog { budget: Some((left, 100.0)), ..catalog() };
    assert_eq!(first(HARD, &with(80.0)), "opus");
    assert_eq!(first(HARD, &with(20.0)), "haiku");
    assert_eq!(first(MIDDLING, &with(20.0)), "small");
    let plan = route(HARD, &with(1.0), &levels()).expect("there is a free one");
    assert_eq!(plan.targets(), ["small"]);
    assert!(plan.reason.contains("nearly spent"), "{}", plan.reason);
    let mut clouds = with(0.0);
    clouds.targets.pop();
    assert_eq!(
        first(SIMPLE, &clouds),
        "haiku",
        "where nothing is free, the cheapest; the host keeps the budget"
    );
}

#[test]
fn one_request_may_cost_only_so_much() {
    let settings = levels().with("usd_max", "0.003");
    let plan = route(HARD, &catalog(), &settings).expect("there are cheap ones");
    assert_eq!(plan.targets(), ["haiku", "small"]);
    let mut request = FakeRequest::user(HARD);
    request.answer_tokens_max = Some(10);
    let plan = CostSaver::route(&request, &catalog(), &settings).expect("a short answer is cheap");
    assert_eq!(plan.targets()[0], "opus");
    let mut clouds = catalog();
    clouds.targets.pop();
    let refusal = route(SIMPLE, &clouds, &levels().with("usd_max", "0.00001")).expect_err("too dear");
    assert!(refusal.reason.contains("0.00001"), "{}", refusal.reason);
}

#[test]
fn what_cannot_do_it_or_is_broken_comes_last() {
    let mut catalog = catalog();
    catalog.targets[3].context_tokens = Some(5);
    assert_eq!(first(SIMPLE, &catalog), "haiku", "the prompt does not fit");
    let mut catalog = self::catalog();
    catalog.targets[1] = catalog.targets[1].clone().breaker(Breaker::Open);
    assert_eq!(first(MIDDLING, &catalog), "opus");
    let mut catalog = self::catalog();
    catalog.targets[0].offers.push(Want::Images);
    let plan = CostSaver::route(&FakeRequest::user(SIMPLE).want(Want::Images), &catalog, &levels());
    assert_eq!(plan.expect("one can").targets()[0], "opus");
}

#[test]
fn labels_hold_and_nonsense_refuses() {
    let mut catalog = catalog();
    for target in &mut catalog.targets[..3] {
        target.permitted = false;
    }
    assert_eq!(route(HARD, &catalog, &levels()).expect("one is left").targets(), ["small"]);
    catalog.targets[3].permitted = false;
    assert!(route(HARD, &catalog, &levels()).is_err());
    for (key, value) in
        [("levels", "opus=9"), ("levels", "opus"), ("usd_max", "-1"), ("tokens_hard", "0"), ("x", "1")]
    {
        let refusal = route(SIMPLE, &self::catalog(), &FakeSettings::none().with(key, value)).expect_err(key);
        assert!(refusal.reason.contains(key), "{}", refusal.reason);
    }
}
