//! The bindings that guests compile are generated from the folder `wit` and committed, so that a guest
//! builds in seconds without the generator. This test keeps them fresh.

use std::path::Path;

use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::WithOption;

/// Interfaces behind a grant, and what asks are made of: every world has them, generated for the router.
const EVERYWHERE: [&str; 7] = ["log", "state", "clock", "random", "generation", "inference", "cloud"];
/// Of these, what an adapter has.
const FOR_ADAPTERS: [&str; 3] = ["log", "clock", "random"];

/// Each world, and what else of it is generated for the router.
const WORLDS: [(&str, &[&str]); 5] = [
    ("router", &[]),
    ("reviewer", &["types", "request", "catalog", "settings"]),
    ("preprocessor", &["types", "request", "plan", "settings"]),
    ("guard", &["types", "request", "plan", "settings"]),
    ("adapter", &["types", "request", "plan", "settings"]),
];

fn generated(world: &str, shared: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut resolve = wit_bindgen_core::wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(root.join("../../wit")).expect("the wit folder parses");
    let world_id = resolve.select_world(&[package], Some(world)).expect("there is such a world");
    let module = |interface: &&str| {
        let name = format!("lockgate:plugin/{interface}@0.1.0");
        (name, WithOption::Path(format!("crate::guest::bindings::router::lockgate::plugin::{interface}")))
    };
    let mut generator = wit_bindgen_rust::Opts {
        format: true,
        generate_all: true,
        pub_export_macro: true,
        export_macro_name: Some("export".to_owned()),
        default_bindings_module: Some(format!("lockgate_plugin::guest::bindings::{world}")),
        runtime_path: Some("::wit_bindgen::rt".to_owned()),
        with: shared.iter().map(module).collect(),
        ..Default::default()
    }
    .build();
    let mut files = Files::default();
    generator.generate(&mut resolve, world_id, &mut files).expect("the world has bindings");
    let (_, generated) = files.iter().next().expect("one file is generated");
    String::from_utf8(generated.to_vec()).expect("it is text")
}

#[test]
fn the_bindings_are_those_of_the_wit_folder() {
    for (world, shared) in WORLDS {
        let shared = match world {
            "router" => Vec::new(),
            "adapter" => [shared, &FOR_ADAPTERS].concat(),
            _ => [shared, &EVERYWHERE].concat(),
        };
        let generated = generated(world, &shared);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/guest/bindings/{world}.rs"));
        if std::env::var_os("LOCKGATE_REFRESH").is_some() {
            std::fs::write(&path, &generated).expect("the file can be written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == generated,
            "src/guest/bindings/{world}.rs is stale; run: LOCKGATE_REFRESH=1 cargo test -p lockgate-plugin --test \
             bindings"
        );
    }
}
