//! Compiles the default policy from source, to be embedded into the binary.

fn main() {
    match lockgate_plugin_build::component("../../plugins/privacy-first") {
        Ok(path) => println!("cargo::rustc-env=LOCKGATE_PRIVACY_FIRST={}", path.display()),
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
        }
    }
}
