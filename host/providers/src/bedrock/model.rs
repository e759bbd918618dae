//! What a Bedrock model's id tells: its family, and whether requests stay in their region.

use serde_json::{Value, json};

/// Companies whose models' ids begin with their names. An id that begins with anything else, such as a
/// geography, may be an inference profile that serves from several regions.
const MAKERS: [&str; 20] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
    "xai",
    "zai",
];
/// Kinds of resources that serve from the region in their name alone.
const REGIONAL_RESOURCES: [&str; 5] =
    ["foundation-model", "provisioned-model", "custom-model", "custom-model-deployment", "imported-model"];

/// Whether a request for `model`, sent to `region`, is answered there. False where that is not certain.
pub(super) fn stays_in_region(model: &str, region: &str) -> bool {
    if let Some(rest) = model.strip_prefix("arn:") {
        // arn:PARTITION:bedrock:REGION:ACCOUNT:KIND/NAME
        let parts: Vec<&str> = rest.splitn(5, ':').collect();
        let [_, "bedrock", found, _, resource] = parts[..] else { return false };
        let kind = resource.split('/').next().unwrap_or_default();
        return found == region && REGIONAL_RESOURCES.contains(&kind);
    }
    model.split('.').next().is_some_and(|first| model.contains('.') && MAKERS.contains(&first))
}

/// The additional request field that carries `top_k`, for families that have one.
pub(super) fn top_k_field(model: &str, top_k: u32) -> Option<Value> {
    let is = |maker: &str| model.split(['.', '/', ':']).any(|part| part == maker);
    if is("anthropic") {
        Some(json!({ "top_k": top_k }))
    } else if is("amazon") && model.contains(".nova-") {
        Some(json!({ "inferenceConfig": { "topK": top_k } }))
    } else if is("cohere") && model.contains(".command") {
        Some(json!({ "k": top_k }))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_region_profiles_leave_their_region() {
        for (model, stays) in [
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", true),
            ("meta.llama3-1-8b-instruct-v1:0", true),
            ("deepseek.v3.1", true),
            ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", false),
            ("us.amazon.nova-pro-v1:0", false),
            ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", false),
            ("arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", true),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", false),
            ("arn:aws:bedrock:eu-central-1:123456789012:provisioned-model/abc", true),
            ("arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc", false),
            ("arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude", false),
            ("arn:aws:sagemaker:eu-central-1:123456789012:endpoint/abc", false),
            ("arn:", false),
            ("claude", false),
            ("", false),
        ] {
            assert_eq!(stays_in_region(model, "eu-central-1"), stays, "{model}");
        }
    }

    #[test]
    fn top_k_goes_where_the_family_takes_it() {
        for (model, field) in [
            ("anthropic.claude-3-haiku-20240307-v1:0", Some(json!({"top_k": 5}))),
            ("eu.anthropic.claude-3-haiku-20240307-v1:0", Some(json!({"top_k": 5}))),
            ("arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-v2", Some(json!({"top_k": 5}))),
            ("amazon.nova-lite-v1:0", Some(json!({"inferenceConfig": {"topK": 5}}))),
            ("cohere.command-r-v1:0", Some(json!({"k": 5}))),
            ("amazon.titan-text-express-v1", None),
            ("meta.llama3-8b-instruct-v1:0", None),
            ("arn:aws:bedrock:eu-central-1:1:application-inference-profile/abc", None),
        ] {
            assert_eq!(top_k_field(model, 5), field, "{model}");
        }
    }
}
