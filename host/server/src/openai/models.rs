//! `GET /v1/models`: the targets, and the names that ask a router.

use std::borrow::Cow;

use lockgate_api::Target;
use lockgate_gateway::{AUTO, Gateway};
use serde::Serialize;

use super::wire::to_json;

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: Cow<'a, str>,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// Beyond OpenAI's fields: what tells targets apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_tokens: Option<u64>,
}

const OWNER: &str = "lockgate";

impl<'a> Model<'a> {
    fn router(id: String, created: u64) -> Self {
        Self {
            id: id.into(),
            object: "model",
            created,
            owned_by: OWNER,
            locality: None,
            context_tokens: None,
        }
    }

    fn of(target: &'a Target, created: u64) -> Self {
        Self {
            id: Cow::Borrowed(&target.id),
            locality: Some(target.locality.name()),
            context_tokens: target.context_tokens,
            ..Self::router(String::new(), created)
        }
    }
}

/// The list of models. `created` is when the server started.
pub(crate) fn models_body(gateway: &Gateway, created: u64) -> Vec<u8> {
    let routers = std::iter::once(AUTO.to_owned()).chain(named_routers(gateway));
    let routers = routers.map(|id| Model::router(id, created));
    let data = routers.chain(gateway.targets().map(|target| Model::of(target, created))).collect();
    to_json(&ModelList { object: "list", data })
}

/// One model, if there is one of that id.
pub(crate) fn model_body(id: &str, gateway: &Gateway, created: u64) -> Option<Vec<u8>> {
    if id == AUTO || named_routers(gateway).any(|name| name == id) {
        return Some(to_json(&Model::router(id.to_owned(), created)));
    }
    gateway.targets().find(|target| target.id == id).map(|target| to_json(&Model::of(target, created)))
}

/// Where there are several routers, each has a name of its own beside `auto`.
fn named_routers(gateway: &Gateway) -> impl Iterator<Item = String> {
    let several = gateway.routers().nth(1).is_some();
    gateway.routers().filter(move |_| several).map(|id| format!("{AUTO}:{id}"))
}
