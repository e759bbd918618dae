//! Where Bedrock's credentials come from: the AWS environment, seen by a process of its own.

use std::time::Instant;

use lockgate_api::{ErrorKind, Labels};
use lockgate_providers::ProviderSettings;
use lockgate_test_clouds::bedrock::{Answer, BedrockServer};

use crate::harness::*;

/// Everything that could lead to somebody's real credentials, or out of this machine.
const AMBIENT: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ENDPOINT_URL",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
];

fn nothing_ambient() -> Vec<(&'static str, String)> {
    vec![
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", "/nonexistent/config".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials".to_owned()),
    ]
}

async fn server() -> BedrockServer {
    let server = BedrockServer::start().await;
    server.reply("m", Answer::text(&["Hello"]));
    server
}

fn without_key(endpoint: String) -> ProviderSettings {
    ProviderSettings { api_key: None, ..bedrock_settings(&endpoint) }
}

async fn answered(endpoint: String) {
    let asked = Asked::new(&provider(without_key(endpoint)), "m");
    assert_eq!(joined(&asked.whole(&hello("Hi")).await), "Hello");
}

#[tokio::test]
async fn keys_sign_the_request() {
    const TEST: &str = "credentials::keys_sign_the_request";
    if let Some(endpoint) = in_child("LOCKGATE_TEST_SERVER") {
        return answered(endpoint).await;
    }
    let (server, elsewhere) = (server().await, server().await);
    let mut set = nothing_ambient();
    set.extend([
        ("LOCKGATE_TEST_SERVER", server.url()),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        // The endpoint is the configuration's alone.
        ("AWS_ENDPOINT_URL", elsewhere.url()),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", elsewhere.url()),
    ]);
    run_child(TEST, &set, &AMBIENT).await;
    let received = server.record().received();
    let authorization = received[0].header("authorization").unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
    assert!(authorization.contains("/eu-central-1/bedrock/aws4_request"), "{authorization}");
    assert_eq!(elsewhere.record().connections(), 0);
}

#[tokio::test]
async fn the_bearer_token_of_the_environment_is_used() {
    const TEST: &str = "credentials::the_bearer_token_of_the_environment_is_used";
    if let Some(endpoint) = in_child("LOCKGATE_TEST_SERVER") {
        return answered(endpoint).await;
    }
    let server = server().await;
    server.require_token("from-the-environment");
    let mut set = nothing_ambient();
    set.extend([
        ("LOCKGATE_TEST_SERVER", server.url()),
        ("AWS_BEARER_TOKEN_BEDROCK", "from-the-environment".to_owned()),
    ]);
    run_child(TEST, &set, &AMBIENT).await;
    assert_eq!(server.record().received().len(), 1);
}

#[tokio::test]
async fn without_credentials_the_error_says_what_to_set() {
    const TEST: &str = "credentials::without_credentials_the_error_says_what_to_set";
    if let Some(endpoint) = in_child("LOCKGATE_TEST_SERVER") {
        let begun = Instant::now();
        let asked = Asked::new(&provider(without_key(endpoint)), "m");
        let error = asked.failure(&hello("Hi"), &Labels::none()).await;
        assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Authentication, false), "{error}");
        for name in ["api_key", "AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"] {
            assert!(error.message.contains(name), "{error}");
        }
        assert!(begun.elapsed().as_secs() < 10);
        return;
    }
    let server = server().await;
    let mut set = nothing_ambient();
    set.push(("LOCKGATE_TEST_SERVER", server.url()));
    run_child(TEST, &set, &AMBIENT).await;
    assert_eq!(server.record().connections(), 0);
}
