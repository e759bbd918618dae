//! The built kernels: those that are embedded, or, for tuning, those of a folder that `LOCKGATE_KERNELS` names.

use std::borrow::Cow;
use std::path::Path;

use super::driver::DriverError;

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// A built module and its name.
pub type Module = (String, Cow<'static, [u8]>);

/// The embedded modules, or all `.fatbin` files of `folder` instead.
///
/// # Errors
/// The folder is not readable or holds no modules.
pub fn modules(folder: Option<&Path>) -> Result<Vec<Module>, DriverError> {
    let Some(folder) = folder else {
        let embedded = MODULES.iter().map(|&(name, bytes)| (name.to_owned(), Cow::Borrowed(bytes)));
        return Ok(embedded.collect());
    };
    let unreadable =
        |problem: String| DriverError::failed(format!("kernels of {}", folder.display()), problem);
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(error.to_string()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(error.to_string()))?.path();
        if path.extension().is_some_and(|extension| extension == "fatbin") {
            let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
            found.push((
                path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                Cow::Owned(bytes),
            ));
        }
    }
    if found.is_empty() {
        return Err(unreadable("there are no .fatbin files".to_owned()));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_file_has_a_module() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
        let mut sources: Vec<String> = std::fs::read_dir(&folder)
            .expect("readable")
            .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".cu")?.to_owned()))
            .collect();
        sources.sort();
        let embedded = modules(None).expect("embedded");
        let built: Vec<&str> = embedded.iter().filter_map(|(name, _)| name.strip_suffix(".fatbin")).collect();
        assert_eq!(built, sources);
        assert!(embedded.iter().all(|(_, bytes)| !bytes.is_empty()) && SOURCES.len() == 64);
        let read = modules(Some(&folder.join("built"))).expect("the same from the folder");
        assert_eq!(read, embedded);
    }

    #[test]
    fn a_folder_without_kernels_is_told() {
        let error = modules(Some(Path::new("/nowhere"))).expect_err("it does not exist");
        assert!(error.to_string().contains("kernels of /nowhere"), "{error}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert!(modules(Some(&folder)).expect_err("none there").to_string().contains("no .fatbin"));
    }
}
