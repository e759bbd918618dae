use std::collections::BTreeSet;

use futures_core::future::BoxFuture;
use lockgate_api::Labels;
use proptest::prelude::*;

use super::*;

struct Named(&'static str);

impl Router for Named {
    fn id(&self) -> &str {
        self.0
    }

    fn route(&self, _: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>> {
        Box::pin(std::future::pending())
    }
}

fn routes() -> Vec<Route> {
    ["first", "second"].map(|id| Route::of(Arc::new(Named(id)))).into()
}

fn key(router: Option<&str>) -> Key {
    Key {
        name: Arc::from("k"),
        tenant: Arc::from("t"),
        labels: Labels::none(),
        router: router.map(Arc::from),
    }
}

/// `>target`, `>unknown`, or the router's id.
fn decided(model: &str, key: Option<&Key>) -> String {
    match wish(&routes(), model, key) {
        Wish::Router(route) => route.router.id().to_owned(),
        Wish::Target => ">target".to_owned(),
        Wish::Unknown => ">unknown".to_owned(),
    }
}

#[test]
fn the_keys_router_decides_then_the_models_name_then_the_first() {
    let own = key(Some("second"));
    for (model, key, expected) in [
        ("auto", None, "first"),
        ("auto", Some(&key(None)), "first"),
        ("auto", Some(&own), "second"),
        ("auto:second", None, "second"),
        ("auto:second", Some(&own), "second"),
        ("auto:first", Some(&own), ">unknown"),
        ("auto:third", None, ">unknown"),
        ("auto:", None, ">unknown"),
        ("auto", Some(&key(Some("third"))), ">unknown"),
        ("automatic", None, ">target"),
        ("qwen", Some(&own), ">target"),
    ] {
        assert_eq!(decided(model, key), expected, "{model}");
    }
    assert!(
        for_named(&routes(), Some(&key(Some("third")))).is_none(),
        "a router that is gone is not replaced"
    );
}

proptest! {
    #[test]
    fn a_canarys_share_is_kept_and_a_request_stays_on_its_side(
        share in 0.01_f64..1.0,
        seed in any::<u64>(),
    ) {
        let canary = Canary { router: Arc::new(Named("next")), share };
        let more = Canary { router: Arc::new(Named("next")), share: (share * 1.5).min(1.0) };
        let ids: BTreeSet<String> = (0..4000_u64).map(|index| format!("req_{:016x}", seed ^ (index * 77))).collect();
        let fallen: Vec<&String> = ids.iter().filter(|id| falls_to(&canary, id)).collect();
        let found = fallen.len() as f64 / ids.len() as f64;
        prop_assert!((found - share).abs() < 0.05, "{found} of {share}");
        prop_assert!(fallen.iter().all(|id| falls_to(&more, id)), "a growing share keeps those that it had");
    }
}

#[test]
fn a_whole_share_is_everything() {
    let canary = Canary { router: Arc::new(Named("next")), share: 1.0 };
    assert!((0..1000).all(|index| falls_to(&canary, &format!("{index}"))));
}
