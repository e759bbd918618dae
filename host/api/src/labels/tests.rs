use proptest::prelude::*;

use super::*;

fn target(locality: Locality, region: Option<&str>) -> Target {
    Target {
        id: "t".to_owned(),
        model: "m".to_owned(),
        locality,
        region: region.map(str::to_owned),
        context_tokens: None,
        price: None,
        tools: false,
        images: false,
    }
}

fn permits(labels: &str, locality: Locality, region: Option<&str>) -> bool {
    let labels: Labels = labels.parse().expect("labels of the table parse");
    permit(&labels, &target(locality, region)).is_ok()
}

#[test]
fn each_label_permits_exactly_its_places() {
    use Locality::{Cloud, Lan, Local};
    for (labels, local, lan, here, elsewhere) in [
        ("", true, true, true, true),
        ("local-only", true, false, false, false),
        ("no-cloud", true, true, false, false),
        ("region:eu-1", true, true, true, false),
        ("region:eu-1,no-cloud", true, true, false, false),
        ("region:eu-1,local-only", true, false, false, false),
        ("region:eu-1,region:us-1", true, true, false, false),
    ] {
        assert_eq!(permits(labels, Local, None), local, "{labels} local");
        assert_eq!(permits(labels, Lan, None), lan, "{labels} lan");
        assert_eq!(permits(labels, Cloud, Some("eu-1")), here, "{labels} eu-1");
        assert_eq!(permits(labels, Cloud, Some("us-2")), elsewhere, "{labels} us-2");
        assert_eq!(permits(labels, Cloud, None), elsewhere, "{labels} unknown region");
    }
}

#[test]
fn forwarding_is_allowed_only_where_an_unknown_cloud_would_be() {
    let local = target(Locality::Local, None);
    for (labels, allowed) in [("", true), ("local-only", false), ("no-cloud", false), ("region:eu-1", false)]
    {
        let labels: Labels = labels.parse().expect("labels of the table parse");
        let permit = permit(&labels, &local).expect("a local target is always permitted");
        assert_eq!(permit.allows_forwarding(), allowed, "{labels}");
    }
}

#[test]
fn unknown_labels_are_refused_by_name() {
    for text in ["local", "LOCAL-ONLY", "region:", "region:EU", "region:a b", "no-cloud;x"] {
        let error = text.parse::<Labels>().expect_err(text);
        assert_eq!(error, UnknownLabel(text.to_owned()));
    }
}

#[test]
fn a_refusal_names_label_and_target() {
    let labels: Labels = "local-only".parse().expect("parses");
    let error = permit(&labels, &target(Locality::Cloud, None)).expect_err("a cloud is forbidden");
    assert_eq!(error.to_string(), "label `local-only` does not permit target `t` (locality cloud)");
}

fn any_label() -> impl Strategy<Value = Label> {
    prop_oneof![Just(Label::LocalOnly), Just(Label::NoCloud), "[a-z]{2}-[0-9]".prop_map(Label::Region),]
}

proptest! {
    #[test]
    fn more_labels_never_permit_more(
        first in prop::collection::vec(any_label(), 0..4),
        more in prop::collection::vec(any_label(), 0..4),
        locality in prop_oneof![Just(Locality::Local), Just(Locality::Lan), Just(Locality::Cloud)],
        region in prop::option::of("[a-z]{2}-[0-9]"),
    ) {
        let target = target(locality, region.as_deref());
        let fewer: Labels = first.into_iter().collect();
        let all = fewer.with(more);
        if permit(&all, &target).is_ok() {
            prop_assert!(permit(&fewer, &target).is_ok());
        }
        if locality == Locality::Local {
            prop_assert!(permit(&all, &target).is_ok(), "this machine is always permitted");
        }
    }

    #[test]
    fn labels_survive_their_header(labels in prop::collection::vec(any_label(), 0..5)) {
        let labels: Labels = labels.into_iter().collect();
        prop_assert_eq!(labels.to_string().parse::<Labels>().expect("its own form parses"), labels);
    }
}
