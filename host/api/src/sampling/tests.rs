use proptest::prelude::*;

use super::*;

fn any_limit() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![Just(None), (1_u32..2000).prop_map(Some)]
}

proptest! {
    /// Whatever is overridden, the answer is never longer than the client asked for; what is not keeps the client's.
    #[test]
    fn an_override_never_raises_the_limit_of_tokens(
        asked in any_limit(),
        planned in any_limit(),
        temperature in prop_oneof![Just(None), (0.0_f32..2.0).prop_map(Some)],
        seed in any::<Option<u64>>(),
    ) {
        let sampling = Sampling {
            temperature: Some(0.7),
            top_k: Some(3),
            max_tokens: asked,
            stop: vec!["end".to_owned()],
            ..Sampling::default()
        };
        let overrides = Overrides { temperature, seed, max_tokens: planned, ..Overrides::default() };
        prop_assert_eq!(overrides.problem(), None);
        let applied = overrides.apply(&sampling);
        if let Some(asked) = asked {
            prop_assert!(applied.max_tokens.is_some_and(|tokens| tokens <= asked));
        }
        if let Some(planned) = planned {
            prop_assert!(applied.max_tokens.is_some_and(|tokens| tokens <= planned));
        }
        prop_assert_eq!(applied.temperature, temperature.or(Some(0.7)));
        prop_assert_eq!((applied.top_k, applied.seed), (Some(3), seed));
        prop_assert_eq!(&applied.stop, &sampling.stop);
        if overrides.is_empty() {
            prop_assert_eq!(applied, sampling);
        }
    }
}

#[test]
fn the_ranges_are_those_of_the_api() {
    let none = Overrides::default();
    for (problem, overrides) in [
        ("temperature", Overrides { temperature: Some(2.1), ..none }),
        ("temperature", Overrides { temperature: Some(-0.1), ..none }),
        ("temperature", Overrides { temperature: Some(f32::NAN), ..none }),
        ("top-p", Overrides { top_p: Some(1.5), ..none }),
        ("top-p", Overrides { top_p: Some(f32::INFINITY), ..none }),
        ("tokens", Overrides { max_tokens: Some(0), ..none }),
    ] {
        let told = overrides.problem().unwrap_or_default();
        assert!(told.contains(problem), "{overrides:?}: {told:?}");
    }
    let edges = Overrides { temperature: Some(2.0), top_p: Some(0.0), top_k: Some(0), ..none };
    assert_eq!(edges.problem(), None);
    let share = edges.apply(&Sampling::default()).top_p;
    assert!(share.is_some_and(|share| share > 0.0), "a share of 0 keeps the most likely token");
}
