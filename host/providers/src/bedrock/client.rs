//! The SDK's client, set up the way every attempt needs it.
//!
//! No retries (the gateway's plan decides), no guard of its own against stalled streams (the gateway's idle
//! timer is one), and connections of ours. The endpoint comes from the configuration alone:
//! `AWS_ENDPOINT_URL` could send labelled requests to another region. The SDK writes requests and answers
//! into its traces at the level TRACE: whoever sets up logging keeps the targets `aws_` below that.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{Builder, StalledStreamProtectionConfig, Token};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::connections::Connections;
use crate::settings::Secret;

/// Reads the AWS environment and profile, and builds a client. Fetches no credentials yet.
pub(super) async fn build(region: &str, endpoint: Option<&str>, token: Option<&Secret>) -> Client {
    let shared = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(Connections::default())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .load()
        .await;
    let mut builder = Builder::from(&shared);
    builder.set_endpoint_url(endpoint.map(str::to_owned));
    if let Some(token) = token {
        builder = builder
            .bearer_token(Token::new(token.expose(), None))
            .auth_scheme_preference([aws_smithy_runtime_api::client::auth::http::HTTP_BEARER_AUTH_SCHEME_ID]);
    }
    Client::from_conf(builder.build())
}

/// What one attempt changes: its connect timer.
pub(super) fn attempt_config(connect: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder().connect_timeout(connect).disable_read_timeout().build();
    Builder::new().timeout_config(timeouts)
}
