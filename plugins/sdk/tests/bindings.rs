//! The bindings that guests compile are generated from the folder `wit` and committed, so that a guest
//! builds in seconds without the generator. This test keeps them fresh.

use std::path::Path;

use wit_bindgen_core::{Files, WorldGenerator as _};

#[test]
fn the_bindings_are_those_of_the_wit_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut resolve = wit_bindgen_core::wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(root.join("../../wit")).expect("the wit folder parses");
    let world = resolve.select_world(&[package], Some("router")).expect("there is a world `router`");

    let mut generator = wit_bindgen_rust::Opts {
        format: true,
        generate_all: true,
        pub_export_macro: true,
        export_macro_name: Some("export".to_owned()),
        default_bindings_module: Some("lockgate_plugin::guest::bindings".to_owned()),
        runtime_path: Some("::wit_bindgen::rt".to_owned()),
        ..Default::default()
    }
    .build();
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files).expect("the world has bindings");
    let (_, generated) = files.iter().next().expect("one file is generated");
    let generated = std::str::from_utf8(generated).expect("it is text");

    let path = root.join("src/guest/bindings.rs");
    if std::env::var_os("LOCKGATE_REFRESH").is_some() {
        std::fs::write(&path, generated).expect("the file can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "src/guest/bindings.rs is stale; run: LOCKGATE_REFRESH=1 cargo test -p lockgate-plugin --test bindings"
    );
}
