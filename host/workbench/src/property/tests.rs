use proptest::prelude::*;

use super::generate::{Case, Generators};
use super::shrink::smallest;

fn targets() -> Vec<String> {
    vec!["small".to_owned(), "claude".to_owned()]
}

fn everything() -> Generators {
    let names = ["personal", "long", "languages", "tools", "labels", "turns", "health", "failures"];
    let names = names.iter().map(|name| toml::Value::from(*name)).collect();
    Generators::read(&toml::Value::Array(names)).expect("all of them exist")
}

#[test]
fn a_seed_makes_the_same_request_and_seeds_make_different_ones() {
    let all: Vec<Case> = (0..200).map(|seed| Case::generate(&everything(), seed, &targets())).collect();
    for (seed, case) in all.iter().enumerate() {
        assert_eq!(*case, Case::generate(&everything(), seed as u64, &targets()));
        assert_eq!(case.turns.last().map(|turn| turn.role), Some("user"));
    }
    for name in super::TRAITS {
        let having = all.iter().filter(|case| case.has(name)).count();
        assert!(having > 5 && having < 195, "{name}: {having} of 200");
    }
}

#[test]
fn nothing_is_generated_that_was_not_asked_for() {
    let plain = Generators::read(&toml::Value::from("languages")).expect("it exists");
    for seed in 0..200 {
        let case = Case::generate(&plain, seed, &targets());
        for name in ["personal", "long", "tools", "labels", "turns", "health", "failures"] {
            assert!(!case.has(name), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_shrunk_fails_still_and_is_no_larger(seed in any::<u64>(), letter in prop::char::range('a', 'z')) {
        let case = Case::generate(&everything(), seed, &targets());
        let fails = |case: &Case| case.says(&letter.to_string());
        prop_assume!(fails(&case));
        let small = smallest(case.clone(), fails);
        prop_assert!(fails(&small));
        prop_assert!(small.body().to_string().len() <= case.body().to_string().len());
        prop_assert!(small.tools.is_empty() && small.labels.is_empty() && small.health.is_empty());
        prop_assert!(small.failures.is_empty());
        prop_assert_eq!(&small, &smallest(case, fails), "the same each time");
    }

    #[test]
    fn a_long_prompt_is_as_long_as_the_failure_needs(seed in any::<u64>(), least in 500_usize..20_000) {
        let long = Generators::read(&toml::Value::Table([("long".to_owned(), toml::Value::Integer(60_000))].into_iter().collect()));
        let case = Case::generate(&long.expect("it exists"), seed, &[]);
        let bytes = |case: &Case| case.body()["messages"].to_string().len();
        prop_assume!(bytes(&case) >= least);
        let small = smallest(case, |case| bytes(case) >= least);
        prop_assert!(bytes(&small) < least + 200, "{} for {least}", bytes(&small));
    }
}
