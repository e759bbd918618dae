//! Environment proxies: for clouds alone.

use lockgate_api::{ErrorKind, Labels, Locality};
use lockgate_test_clouds::bedrock::{self, BedrockServer};
use lockgate_test_clouds::openai::{Answer, OpenAiServer};

use crate::harness::*;

const NAMES: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

#[tokio::test]
async fn servers_on_this_machine_and_network_are_reached_directly() {
    const TEST: &str = "proxy::servers_on_this_machine_and_network_are_reached_directly";
    if let Some(endpoint) = in_child("LOCKGATE_TEST_SERVER") {
        for locality in [Locality::Local, Locality::Lan] {
            for labels in [Labels::none(), Labels::none().with([lockgate_api::Label::NoCloud])] {
                let provider = provider(openai_settings(&endpoint, locality));
                let (events, error) = Asked::new(&provider, "m").ask(&hello("Hi"), &labels).await;
                assert_eq!((joined(&events), error), ("Hello".to_owned(), None));
            }
        }
        return;
    }
    let (proxy, server) = (OpenAiServer::start().await, OpenAiServer::start().await);
    server.reply("m", Answer::text(&["Hello"]));
    let mut set: Vec<_> =
        NAMES[..6].iter().map(|&name| (name, format!("http://{}", proxy.address()))).collect();
    set.push(("LOCKGATE_TEST_SERVER", server.base_url()));
    run_child(TEST, &set, &NAMES[6..]).await;
    assert_eq!(proxy.record().connections(), 0, "the proxy was contacted");
    assert_eq!(server.chats().len(), 4);
}

#[tokio::test]
async fn clouds_are_reached_through_the_proxy() {
    const TEST: &str = "proxy::clouds_are_reached_through_the_proxy";
    if in_child("HTTP_PROXY").is_some() {
        let open = provider(openai_settings("http://models.invalid/v1", Locality::Cloud));
        let events = Asked::new(&open, "m").whole(&hello("Hi")).await;
        assert_eq!(joined(&events), "Hello");
        let tunnel = provider(openai_settings("https://models.invalid/v1", Locality::Cloud));
        let error = Asked::new(&tunnel, "m").failure(&hello("Hi"), &Labels::none()).await;
        assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Unavailable, false), "{error}");
        assert!(error.message.contains("proxy") && !error.message.contains("hunter2"), "{error}");
        let direct = in_child("LOCKGATE_TEST_SERVER").unwrap();
        let direct = provider(openai_settings(&direct, Locality::Cloud));
        assert_eq!(joined(&Asked::new(&direct, "m").whole(&hello("Hi")).await), "Directly");
        return;
    }
    let (proxy, server) = (OpenAiServer::start().await, OpenAiServer::start().await);
    proxy.reply("m", Answer::text(&["Hello"]));
    server.reply("m", Answer::text(&["Directly"]));
    let url = format!("http://user:hunter2@{}", proxy.address());
    let set = [
        ("HTTP_PROXY", url.clone()),
        ("HTTPS_PROXY", url),
        ("NO_PROXY", "127.0.0.1".to_owned()),
        ("LOCKGATE_TEST_SERVER", server.base_url()),
    ];
    run_child(
        TEST,
        &set,
        &["http_proxy", "https_proxy", "ALL_PROXY", "all_proxy", "no_proxy", "REQUEST_METHOD"],
    )
    .await;
    let received = proxy.record().received();
    let targets: Vec<_> =
        received.iter().map(|request| (request.method.as_str(), request.target.as_str())).collect();
    assert_eq!(
        targets,
        [("POST", "http://models.invalid/v1/chat/completions"), ("CONNECT", "models.invalid:443"),]
    );
    for request in &received {
        assert_eq!(
            request.header("proxy-authorization"),
            Some("Basic dXNlcjpodW50ZXIy"),
            "{}",
            request.target
        );
    }
    assert_eq!(server.chats().len(), 1);
    assert_eq!(server.chats()[0].header("proxy-authorization"), None);
}

#[tokio::test]
async fn bedrock_is_reached_through_the_proxy() {
    const TEST: &str = "proxy::bedrock_is_reached_through_the_proxy";
    if in_child("HTTP_PROXY").is_some() {
        let provider = provider(bedrock_settings("http://bedrock.invalid"));
        assert_eq!(joined(&Asked::new(&provider, "m").whole(&hello("Hi")).await), "Hello");
        return;
    }
    let proxy = BedrockServer::start().await;
    proxy.reply("m", bedrock::Answer::text(&["Hello"]));
    run_child(TEST, &[("HTTP_PROXY", proxy.url())], &NAMES[1..]).await;
    let targets: Vec<_> = proxy.record().received().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["http://bedrock.invalid/model/m/converse-stream"]);
}
