use lockgate_api::PlannedAttempt;
use proptest::prelude::*;

use super::*;

fn target(id: &str, locality: Locality) -> Arc<Target> {
    Arc::new(Target {
        id: id.to_owned(),
        model: "m".to_owned(),
        locality,
        region: None,
        context_tokens: None,
        price: None,
        tools: false,
        images: false,
    })
}

#[test]
fn a_long_list_of_names_is_cut_and_says_so() {
    let targets: Vec<_> = (0..50).map(|index| target(&format!("t{index}"), Locality::Local)).collect();
    let error = select(Some("x"), Named::Direct, &Labels::none(), targets.iter()).expect_err("unknown");
    assert!(error.to_string().ends_with("t18, t19, …"), "{error}");
    let long = "x".repeat(10_000);
    let error = select(Some(&long), Named::Direct, &Labels::none(), targets.iter()).expect_err("unknown");
    assert!(error.to_string().len() < 600, "a client's text is not repeated without end");
}

#[test]
fn the_first_local_target_is_the_first_in_configuration_order() {
    let targets = [
        target("c", Locality::Cloud),
        target("n", Locality::Lan),
        target("a", Locality::Local),
        target("b", Locality::Local),
    ];
    let labels = "no-cloud".parse().expect("parses");
    assert_eq!(first_local(&labels, targets.iter()), Some(Step::on(2)));
    assert_eq!(first_local(&labels, targets[..2].iter()), None);
}

proptest! {
    /// A plan's steps are its own, in order, less those that the labels forbid.
    #[test]
    fn steps_are_the_permitted_part_of_the_plan(
        localities in prop::collection::vec(0_u8..3, 1..5),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..=STEPS_MAX),
        labels in prop::sample::select(vec!["", "no-cloud", "local-only", "region:eu-1"]),
    ) {
        let locality = |kind: u8| [Locality::Local, Locality::Lan, Locality::Cloud][usize::from(kind)];
        let targets: Vec<_> = localities.iter().enumerate()
            .map(|(index, kind)| target(&index.to_string(), locality(*kind)))
            .collect();
        let labels: Labels = labels.parse().expect("parses");
        let picks: Vec<_> = picks.iter().map(|pick| pick.index(targets.len())).collect();
        let attempts = picks.iter()
            .map(|pick| PlannedAttempt::on(pick.to_string()))
            .collect();
        let plan = Plan { attempts, ..Plan::default() };
        let expected: Vec<_> = picks.iter().copied()
            .filter(|pick| permit(&labels, &targets[*pick]).is_ok())
            .collect();
        match steps_of(&plan, &labels, targets.iter()) {
            Ok(steps) => {
                prop_assert_eq!(steps.iter().map(|step| step.target).collect::<Vec<_>>(), expected);
            }
            Err(NoSteps::Forbidden { .. }) => prop_assert!(expected.is_empty()),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}
