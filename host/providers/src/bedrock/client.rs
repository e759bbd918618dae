//! The SDK's client, set up the way every attempt needs it.
//!
//! No retries (the gateway's plan decides), no guard of its own against stalled streams (the gateway's idle
//! timer is one), TLS by rustls on ring, and the proxy variables of the environment, since Bedrock is always
//! a cloud. The endpoint comes from the configuration alone: `AWS_ENDPOINT_URL` could send labelled
//! requests to another region. The SDK writes requests and answers into its traces at the level TRACE:
//! whoever sets up logging keeps the targets `aws_` below that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{Builder, StalledStreamProtectionConfig, Token};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use crate::settings::Secret;

/// How many different connect timers have connections of their own.
const CONNECTORS_MAX: usize = 16;

/// Reads the AWS environment and profile, and builds a client. Fetches no credentials yet.
pub(super) async fn build(region: &str, endpoint: Option<&str>, token: Option<&Secret>) -> Client {
    let shared = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(Connectors::default())
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

/// Connect and read timeout.
type Timers = (Option<Duration>, Option<Duration>);

/// Connectors by their timers; each keeps its connections.
#[derive(Debug, Default)]
struct Connectors(Mutex<HashMap<Timers, SharedHttpConnector>>);

impl HttpClient for Connectors {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if connectors.len() >= CONNECTORS_MAX && !connectors.contains_key(&key) {
            connectors.clear();
        }
        let make = || {
            let mut builder = Connector::builder()
                .connector_settings(settings.clone())
                .proxy_config(ProxyConfig::from_env())
                .tls_provider(Provider::Rustls(CryptoMode::Ring));
            builder.set_sleep_impl(components.sleep_impl());
            SharedHttpConnector::new(builder.build())
        };
        connectors.entry(key).or_insert_with(make).clone()
    }
}
