//! Does a server on this machine or network pass requests on? Reading what it says about itself.
//!
//! Pure: which questions to ask and what the answers mean. Three kinds of server reveal it. Ollama names
//! `remote_host` and `remote_model` in `/api/show` and `/api/tags`, and sends every model whose tag is
//! `cloud` or ends in `-cloud` to its cloud by that name alone. llama-swap names the peer of a model in
//! `/v1/models`, where another Lockgate names each target's locality. Other servers know none of these paths, which is an answer as well.

use http::StatusCode;
use serde_json::Value;

/// A question to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Ollama: one model.
    Show,
    /// Ollama: every model.
    Tags,
    /// OpenAI: every model.
    Models,
}

impl Question {
    /// All of them, the most telling first.
    pub(super) const ALL: [Self; 3] = [Self::Show, Self::Tags, Self::Models];
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing against the server.
    Nothing,
    /// It passes requests for the model on, to there.
    Forwards(String),
    /// The server cannot say now: it is starting or overloaded.
    NotNow(StatusCode),
}

/// What the answer to a question says about `model`.
pub(super) fn meaning(question: Question, model: &str, status: StatusCode, body: &[u8]) -> Meaning {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Meaning::NotNow(status);
    }
    // A server that does not know the path may answer anything at all, with any status.
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Meaning::Nothing };
    let found = match question {
        Question::Show => remote(&body),
        Question::Tags => tags(&body, model),
        Question::Models => listed(&body, model),
    };
    found.map_or(Meaning::Nothing, |to| Meaning::Forwards(shorten(&to)))
}

/// A server's own words for where it forwards to, fit for a message.
pub(super) fn shorten(to: &str) -> String {
    to.chars().filter(|c| !c.is_control()).take(100).collect()
}

fn remote(entry: &Value) -> Option<String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("remote_host").or_else(|| text("remote_model")).map(str::to_owned)
}

fn tags(body: &Value, model: &str) -> Option<String> {
    let models = body.get("models")?.as_array()?;
    if has_cloud_tag(model) {
        return Some("Ollama's cloud, by the model's name".to_owned());
    }
    let is_ours = |entry: &&Value| {
        ["name", "model"]
            .iter()
            .any(|key| entry.get(key).and_then(Value::as_str).is_some_and(|name| same(name, model)))
    };
    models.iter().filter(is_ours).find_map(remote)
}

/// Ollama names are case-insensitive and have the tag `latest` when they have none.
fn same(listed: &str, model: &str) -> bool {
    let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_ascii_lowercase();
    plain(listed) == plain(model)
}

/// Whether Ollama takes the name as one for its cloud: the part after the last colon is `cloud` or ends
/// in `-cloud`.
fn has_cloud_tag(model: &str) -> bool {
    let Some((_, tag)) = model.trim().rsplit_once(':') else { return false };
    let tag = tag.trim().to_ascii_lowercase();
    tag == "cloud" || (tag.ends_with("-cloud") && !tag.contains('/'))
}

fn listed(body: &Value, model: &str) -> Option<String> {
    let listed = body.get("data")?.as_array()?;
    let ours = listed.iter().find(|entry| entry.get("id").and_then(Value::as_str) == Some(model))?;
    let text = |key: &str| ours.get(key).and_then(Value::as_str);
    // A router's name has no locality: where it sends a request is up to the labels, which go along.
    if let (Some("lockgate"), Some(locality)) = (text("owned_by"), text("locality")) {
        return (locality != "local").then(|| format!("a Lockgate's target of locality `{locality}`"));
    }
    let peer = ours.pointer("/meta/llamaswap/peerID")?.as_str().unwrap_or("an unnamed peer");
    Some(format!("llama-swap peer {peer}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(question: Question, model: &str, body: Value, expected: Option<&str>) {
        let found = meaning(question, model, StatusCode::OK, body.to_string().as_bytes());
        let expected = expected.map_or(Meaning::Nothing, |to| Meaning::Forwards(to.to_owned()));
        assert_eq!(found, expected, "{question:?} {model} {body}");
    }

    #[test]
    fn ollama_shows_remote_models() {
        let cloud =
            json!({"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b", "details": {}});
        check(Question::Show, "mine", cloud, Some("https://ollama.com:443"));
        check(Question::Show, "mine", json!({"remote_model": "gpt-oss:120b"}), Some("gpt-oss:120b"));
        check(Question::Show, "mine", json!({"details": {"family": "llama"}, "remote_host": ""}), None);
        check(Question::Show, "mine", json!({"error": "model 'mine' not found"}), None);
    }

    #[test]
    fn ollama_lists_remote_models() {
        let tags = json!({"models": [
            {"name": "llama3:latest", "model": "llama3:latest"},
            {"name": "Big:latest", "model": "Big:latest", "remote_host": "https://ollama.com"},
        ]});
        check(Question::Tags, "llama3", tags.clone(), None);
        check(Question::Tags, "big", tags.clone(), Some("https://ollama.com"));
        check(Question::Tags, "other", tags, None);
    }

    #[test]
    fn a_cloud_tag_is_enough_on_ollama_and_nothing_elsewhere() {
        let word = Some("Ollama's cloud, by the model's name");
        for (model, expected) in [
            ("gpt-oss:120b-cloud", word),
            ("qwen3:cloud", word),
            ("qwen3:CLOUD ", word),
            ("qwen3", None),
            ("my-cloud", None),
            ("cloud", None),
            ("host:5000/my-cloud", None),
        ] {
            check(Question::Tags, model, json!({"models": []}), expected);
            check(Question::Tags, model, json!({"error": "unexpected endpoint"}), None);
        }
    }

    #[test]
    fn llama_swap_names_peers() {
        let models = json!({"data": [
            {"id": "here"},
            {"id": "there", "meta": {"llamaswap": {"peerID": "openrouter"}}},
        ]});
        check(Question::Models, "here", models.clone(), None);
        check(Question::Models, "there", models.clone(), Some("llama-swap peer openrouter"));
        check(Question::Models, "unlisted", models, None);
    }

    #[test]
    fn another_lockgate_names_localities() {
        let models = json!({"data": [
            {"id": "auto", "owned_by": "lockgate"},
            {"id": "here", "owned_by": "lockgate", "locality": "local"},
            {"id": "near", "owned_by": "lockgate", "locality": "lan"},
            {"id": "far", "owned_by": "lockgate", "locality": "cloud"},
            {"id": "other", "owned_by": "somebody", "locality": "Berlin"},
        ]});
        for (model, expected) in [
            ("auto", None),
            ("here", None),
            ("near", Some("a Lockgate's target of locality `lan`")),
            ("far", Some("a Lockgate's target of locality `cloud`")),
            ("other", None),
        ] {
            check(Question::Models, model, models.clone(), expected);
        }
    }

    #[test]
    fn answers_of_other_servers() {
        for question in Question::ALL {
            for (status, body) in [(404, "not found"), (200, ""), (200, "null"), (405, "[]"), (401, "{}")] {
                let status = StatusCode::from_u16(status).unwrap();
                assert_eq!(meaning(question, "m", status, body.as_bytes()), Meaning::Nothing);
            }
            for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
                assert_eq!(meaning(question, "m", status, b"{}"), Meaning::NotNow(status));
            }
        }
    }

    #[test]
    fn names_are_cut_and_cleaned() {
        let long = format!("a\u{7}\n{}", "b".repeat(200));
        assert_eq!(shorten(&long).len(), 100);
        assert!(shorten(&long).starts_with("ab"));
    }
}
