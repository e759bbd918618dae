//! `GET /v1/models`: the targets, and `auto`.

use std::sync::Arc;

use lockgate_api::Target;
use lockgate_gateway::AUTO;
use serde::Serialize;

use super::wire::to_json;

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
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
    fn auto(created: u64) -> Self {
        Self { id: AUTO, object: "model", created, owned_by: OWNER, locality: None, context_tokens: None }
    }

    fn of(target: &'a Target, created: u64) -> Self {
        Self {
            id: &target.id,
            locality: Some(target.locality.name()),
            context_tokens: target.context_tokens,
            ..Self::auto(created)
        }
    }
}

/// The list of models. `created` is when the server started.
pub(crate) fn models_body<'a>(targets: impl Iterator<Item = &'a Arc<Target>>, created: u64) -> Vec<u8> {
    let data = std::iter::once(Model::auto(created));
    let data = data.chain(targets.map(|target| Model::of(target, created))).collect();
    to_json(&ModelList { object: "list", data })
}

/// One model, if there is one of that id.
pub(crate) fn model_body<'a>(
    id: &str,
    mut targets: impl Iterator<Item = &'a Arc<Target>>,
    created: u64,
) -> Option<Vec<u8>> {
    if id == AUTO {
        return Some(to_json(&Model::auto(created)));
    }
    targets.find(|target| target.id == id).map(|target| to_json(&Model::of(target, created)))
}
