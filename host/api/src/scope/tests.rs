use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::Scope;
use crate::labels::{Label, Labels, permit};
use crate::target::{Locality, Target};

fn target(id: &str, locality: Locality) -> Target {
    Target {
        id: id.to_owned(),
        model: "m".to_owned(),
        locality,
        region: (locality == Locality::Cloud).then(|| "eu-1".to_owned()),
        context_tokens: None,
        price: None,
        tools: false,
        images: false,
    }
}

fn scope(labels: &str) -> Arc<Scope> {
    Scope::new("request-1".into(), Arc::new(labels.parse().expect("labels of a test parse")), None)
}

#[test]
fn a_label_finds_what_was_asked_before_it() {
    let scope = scope("");
    scope.permit(&target("cloud", Locality::Cloud)).expect("nothing speaks against it");
    assert_eq!(scope.breach(), None);
    scope.add_labels([Label::Region("eu-1".to_owned())]);
    assert_eq!(scope.breach(), None);
    scope.add_labels([Label::NoCloud]);
    assert_eq!(
        scope.breach().map(|found| (found.target, found.label)),
        Some(("cloud".into(), Label::NoCloud))
    );
    scope.permit(&target("cloud", Locality::Cloud)).expect_err("it is forbidden now");
}

#[test]
fn before_labels_are_settled_no_near_server_may_pass_on() {
    let scope = scope("");
    let forwards = |locality| {
        scope.permit(&target("near", locality)).expect("nothing speaks against it").allows_forwarding()
    };
    assert!(!forwards(Locality::Local) && !forwards(Locality::Lan));
    assert!(forwards(Locality::Cloud), "a cloud is where it would go");
    scope.settle();
    assert!(forwards(Locality::Local));
}

#[test]
fn what_was_passed_on_counts_as_a_cloud() {
    let scope = scope("no-cloud");
    let near = target("near", Locality::Local);
    scope.permit(&near).expect("it is near");
    assert_eq!(scope.breach(), None);
    scope.forwarded(&near);
    assert_eq!(scope.breach().map(|found| found.target), Some("near".to_owned()));
}

#[test]
fn what_waits_for_the_labels_is_done_once_and_in_order() {
    let scope = scope("no-cloud");
    let done = Arc::new(Mutex::new(Vec::new()));
    let note = |number: u32| {
        let done = Arc::clone(&done);
        move |labels: &Arc<Labels>| done.lock().expect("no panic").push((number, labels.to_string()))
    };
    scope.when_settled(note(1));
    scope.when_settled(note(2));
    scope.add_labels([Label::LocalOnly]);
    assert!(done.lock().expect("no panic").is_empty());
    scope.settle();
    scope.when_settled(note(3));
    scope.settle();
    let all = "local-only,no-cloud".to_owned();
    assert_eq!(*done.lock().expect("no panic"), [(1, all.clone()), (2, all.clone()), (3, all)]);
}

#[test]
fn what_is_only_told_waits_for_the_end_of_the_request_whatever_it_is() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = |scope: &Scope| {
        let told = Arc::clone(&told);
        scope.when_over(move |labels| told.lock().expect("no panic").push(labels.to_string()));
        scope.add_labels([Label::LocalOnly]);
    };
    let [settled, ended, dropped] = [scope(""), scope(""), scope("")];
    for scope in [&settled, &ended, &dropped] {
        note(scope);
        assert!(told.lock().expect("no panic").is_empty());
    }
    settled.settle();
    note(&settled);
    assert_eq!(told.lock().expect("no panic").len(), 2, "nothing waits for what is settled");
    ended.end();
    ended.end();
    drop(dropped);
    assert_eq!(*told.lock().expect("no panic"), ["local-only"; 4]);
}

#[test]
fn a_label_finds_what_was_sent_before_it() {
    let scope = scope("");
    scope.sent(&target("far", Locality::Cloud));
    assert_eq!(scope.breach(), None);
    scope.add_labels([Label::NoCloud]);
    assert_eq!(scope.breach().map(|found| found.target), Some("far".to_owned()));
}

#[test]
fn a_shadow_has_the_labels_and_nothing_else() {
    let scope = scope("no-cloud");
    let shadow = scope.shadow();
    shadow.add_labels([Label::LocalOnly]);
    assert_eq!(
        (scope.labels().to_string(), shadow.labels().to_string()),
        ("no-cloud".into(), "local-only,no-cloud".into())
    );
    assert!(shadow.services().is_none() && shadow.number() != scope.number());
}

#[derive(Clone, Debug)]
enum Step {
    Label(Label),
    Ask(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop_oneof![
            Just(Label::LocalOnly),
            Just(Label::NoCloud),
            Just(Label::Region("eu-1".to_owned())),
            Just(Label::Region("us-1".to_owned())),
        ].prop_map(Step::Label),
        3 => (0..3usize).prop_map(Step::Ask),
    ]
}

proptest! {
    /// Whatever the order of labels and asks: either every ask is permitted by all the labels there are in the
    /// end, or there is a breach.
    #[test]
    fn asks_obey_the_final_labels_or_are_a_breach(steps in prop::collection::vec(any_step(), 0..20)) {
        let targets = [Locality::Local, Locality::Lan, Locality::Cloud].map(|locality| target(locality.name(), locality));
        let scope = scope("");
        let mut sent = Vec::new();
        for step in steps {
            match step {
                Step::Label(label) => drop(scope.add_labels([label])),
                Step::Ask(which) => sent.extend(scope.permit(&targets[which]).is_ok().then_some(which)),
            }
        }
        let labels = scope.labels();
        let all_are_permitted = sent.iter().all(|&which| permit(&labels, &targets[which]).is_ok());
        prop_assert_eq!(all_are_permitted, scope.breach().is_none());
    }
}
