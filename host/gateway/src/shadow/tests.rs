use lockgate_api::{Label, PlannedAttempt};

use super::*;

fn plan(targets: &[&str], labels: &[Label]) -> Plan {
    let attempts = targets.iter().map(|id| PlannedAttempt::on(*id));
    Plan { attempts: attempts.collect(), add_labels: labels.to_vec(), reason: "r".to_owned() }
}

#[test]
fn decisions_are_compared_by_what_they_would_do() {
    let refused = || PolicyError::Refused { reason: "no".to_owned() };
    let trap = || PolicyError::Trap { message: "t".to_owned() };
    let ab = || plan(&["a", "b"], &[]);
    for (obeyed, shadow, expected) in [
        (Ok(ab()), Ok(Plan { reason: "another".to_owned(), ..ab() }), Comparison::Same),
        (Ok(ab()), Ok(plan(&["b", "a"], &[])), Comparison::Different),
        (Ok(ab()), Ok(plan(&["a"], &[])), Comparison::Different),
        (Ok(ab()), Ok(plan(&["a", "b"], &[Label::NoCloud])), Comparison::Different),
        (Ok(ab()), Err(refused()), Comparison::Different),
        (Ok(ab()), Err(trap()), Comparison::Failed),
        (Err(refused()), Err(refused()), Comparison::Same),
        (Err(refused()), Ok(ab()), Comparison::Different),
        (Err(trap()), Ok(ab()), Comparison::Different),
        (Err(trap()), Err(refused()), Comparison::Different),
        (Err(trap()), Err(trap()), Comparison::Failed),
    ] {
        assert_eq!(Comparison::of(&Obeyed::of(&obeyed), &shadow), expected, "{obeyed:?} {shadow:?}");
    }
}
