//! Servers on this machine that pass requests on: found out before anything is sent, or from the answer.

use std::time::Duration;

use lockgate_api::{ErrorKind, FinishReason, Label, Labels, Locality};
use lockgate_providers::Provider;
use lockgate_test_clouds::openai::{Answer, OpenAiServer};
use lockgate_test_clouds::script::{Raw, Step};
use lockgate_test_clouds::sockets::dead_address;
use serde_json::json;

use crate::harness::*;

async fn ollama() -> OpenAiServer {
    let server = OpenAiServer::start().await;
    server.be_ollama(vec![
        json!({"name": "llama3:latest"}),
        json!({"name": "innocent", "remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}),
    ]);
    for model in ["llama3", "innocent", "gpt-oss:120b-cloud", "qwen3:cloud"] {
        server.reply(model, Answer::text(&["Hello"]));
    }
    server
}

#[tokio::test]
async fn ollamas_cloud_models_never_see_a_labelled_request() {
    for locality in [Locality::Local, Locality::Lan] {
        let server = ollama().await;
        let provider = provider(openai_settings(&server.base_url(), locality));
        let labels =
            if locality == Locality::Local { local_only() } else { Labels::none().with([Label::NoCloud]) };
        for model in ["innocent", "gpt-oss:120b-cloud", "qwen3:cloud"] {
            let error = Asked::new(&provider, model).failure(&hello("my secret"), &labels).await;
            assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Locality, false), "{model}: {error}");
            assert!(error.message.contains("passes requests"), "{error}");
            assert!(!error.may_fail_over());
        }
        assert_eq!(server.chats().len(), 0);
        assert!(server.record().received().iter().all(|request| !request.target.contains("secret")));
        // The same server's own model answers, and a request without labels may go on.
        assert_eq!(joined(&Asked::new(&provider, "llama3").ask(&hello("Hi"), &labels).await.0), "Hello");
        assert_eq!(joined(&Asked::new(&provider, "innocent").whole(&hello("Hi")).await), "Hello");
    }
}

#[tokio::test]
async fn the_probe_tells_and_remembers() {
    let server = ollama().await;
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    for (model, forwards) in [("llama3", false), ("innocent", true)] {
        let backend = Asked::new(&provider, model).backend;
        assert!(!backend.forwards(), "nobody has asked yet");
        backend.reveal().await;
        assert_eq!(backend.forwards(), forwards, "{model}");
    }
    let asked_before = server.record().received().len();
    assert_eq!(Asked::new(&provider, "llama3").ask(&hello("Hi"), &local_only()).await.1, None);
    let error = Asked::new(&provider, "innocent").failure(&hello("Hi"), &local_only()).await;
    assert_eq!(error.kind, ErrorKind::Locality);
    assert_eq!(server.record().received().len(), asked_before + 1, "only the permitted chat was sent");
}

#[tokio::test]
async fn requests_without_labels_ask_nothing() {
    let server = ollama().await;
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    Asked::new(&provider, "llama3").whole(&hello("Hi")).await;
    assert_eq!(server.record().received().len(), 1);
}

#[tokio::test]
async fn llama_swap_peers_count_as_elsewhere() {
    let server = OpenAiServer::start().await;
    let models =
        json!({"data": [{"id": "here"}, {"id": "there", "meta": {"llamaswap": {"peerID": "openrouter"}}}]});
    server.list_models(Raw::ok("application/json", vec![Step::text(models.to_string())]));
    server.reply("here", Answer::text(&["Hello"]));
    server.reply("there", Answer::text(&["Hello"]));
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    assert_eq!(Asked::new(&provider, "here").ask(&hello("Hi"), &local_only()).await.1, None);
    let error = Asked::new(&provider, "there").failure(&hello("Hi"), &local_only()).await;
    assert!(error.kind == ErrorKind::Locality && error.message.contains("openrouter"), "{error}");
    assert_eq!(server.chats().len(), 1);
}

#[tokio::test]
async fn an_answer_that_reveals_forwarding_is_dropped_and_remembered() {
    let server = OpenAiServer::start().await;
    let mut answer = Answer::text(&["from afar"]);
    answer.extra = json!({"remote_host": "https://ollama.com", "remote_model": "x"});
    server.reply("field", answer);
    let whole = "data: {\"choices\":[{\"delta\":{\"content\":\"from afar\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let header = Raw::ok("text/event-stream", vec![Step::text(whole)]).header("x-lockgate-locality", "cloud");
    server.reply("header", header);
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    for (sent, model) in [(1, "field"), (2, "header")] {
        for dispatched in [true, false] {
            let (events, error) = Asked::new(&provider, model).ask(&hello("Hi"), &local_only()).await;
            let error = error.unwrap();
            assert_eq!(
                (&error.kind, error.dispatched),
                (&ErrorKind::Locality, dispatched),
                "{model}: {error}"
            );
            assert_eq!(joined(&events), "");
            assert_eq!(server.chats().len(), sent, "it is not asked again");
        }
    }
    // Without labels the answer is as good as any.
    let events = Asked::new(&provider, "header").whole(&hello("Hi")).await;
    assert_eq!(events.last(), Some(&finish(FinishReason::Stop)));
}

#[tokio::test]
async fn a_nearer_lockgate_is_believed() {
    let server = OpenAiServer::start().await;
    let whole = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";
    server.reply(
        "m",
        Raw::ok("text/event-stream", vec![Step::text(whole)]).header("x-lockgate-locality", "local"),
    );
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    assert_eq!(Asked::new(&provider, "m").ask(&hello("Hi"), &local_only()).await.1, None);
}

#[tokio::test]
async fn another_lockgate_gets_the_labels_and_is_asked_for_its_localities() {
    let server = OpenAiServer::start().await;
    let listed = json!({"data": [
        {"id": "auto", "owned_by": "lockgate"},
        {"id": "far", "owned_by": "lockgate", "locality": "cloud"},
    ]});
    server.list_models(Raw::ok("application/json", vec![Step::text(listed.to_string())]));
    for model in ["auto", "far"] {
        server.reply(model, Answer::text(&["Hello"]));
    }
    let near = provider(openai_settings(&server.base_url(), Locality::Local));
    let error = Asked::new(&near, "far").failure(&hello("my secret"), &local_only()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Locality, false), "{error}");
    assert_eq!(server.chats().len(), 0);
    assert_eq!(Asked::new(&near, "auto").ask(&hello("Hi"), &local_only()).await.1, None);
    Asked::new(&near, "auto").whole(&hello("Hi")).await;
    // A cloud learns nothing of labels.
    let region = Labels::none().with([Label::Region("eu".into())]);
    let far = provider(openai_settings(&server.base_url(), Locality::Cloud));
    let asked = Asked::new(&far, "auto");
    let _ = collect(asked.stream_with(&hello("Hi"), &region, asked.permit(&Labels::none()))).await;
    let labels = server.chats().into_iter().map(|chat| chat.header("x-lockgate-labels").map(str::to_owned));
    assert_eq!(labels.collect::<Vec<_>>(), [Some("local-only".to_owned()), None, None]);
}

#[tokio::test]
async fn an_air_gapped_host_has_nothing_passed_on() {
    let server = ollama().await;
    let settings = openai_settings(&server.base_url(), Locality::Local);
    let provider = Provider::new(settings, true).unwrap();
    let error = Asked::new(&provider, "innocent").failure(&hello("Hi"), &Labels::none()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Locality, false), "{error}");
    assert!(error.message.contains("air-gapped"), "{error}");
    assert_eq!(server.chats().len(), 0);
    Asked::new(&provider, "llama3").whole(&hello("Hi")).await;
}

#[tokio::test]
async fn what_is_not_known_is_not_sent() {
    // Nobody there.
    let dead = provider(openai_settings(&format!("http://{}/v1", dead_address()), Locality::Local));
    Asked::new(&dead, "m").backend.reveal().await;
    assert!(!Asked::new(&dead, "m").backend.forwards());
    let error = Asked::new(&dead, "m").failure(&hello("Hi"), &local_only()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Unavailable, false), "{error}");
    // Busy loading.
    let server = OpenAiServer::start().await;
    server.list_models(Raw::status(503, "loading"));
    server.reply("m", Answer::text(&["Hello"]));
    let busy = provider(openai_settings(&server.base_url(), Locality::Local));
    let error = Asked::new(&busy, "m").failure(&hello("Hi"), &local_only()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Unavailable, false), "{error}");
    assert!(error.message.contains("503"), "{error}");
    assert_eq!(server.chats().len(), 0);
    // Loaded.
    server.list_models(Raw::ok("application/json", vec![Step::text("{\"data\":[]}")]));
    assert_eq!(Asked::new(&busy, "m").ask(&hello("Hi"), &local_only()).await.1, None);
}

#[tokio::test]
async fn a_server_that_does_not_say_in_time_is_not_trusted() {
    let server = OpenAiServer::start().await;
    server.list_models(Raw::ok("application/json", vec![Step::Hang]));
    server.reply("m", Answer::text(&["Hello"]));
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    let begun = std::time::Instant::now();
    let error = Asked::new(&provider, "m").failure(&hello("Hi"), &local_only()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Unavailable, false), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!(server.chats().len(), 0);
}

#[tokio::test]
async fn requests_that_come_together_ask_once() {
    let server = ollama().await;
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    let labels = local_only();
    let request = hello("Hi");
    let asked = Asked::new(&provider, "llama3");
    let results = futures_util::future::join_all((0..16).map(|_| asked.ask(&request, &labels))).await;
    assert!(results.iter().all(|(_, error)| error.is_none()));
    assert_eq!(server.record().received_at("/api/show").len(), 1);
}

#[tokio::test]
async fn clouds_are_not_probed() {
    let server = ollama().await;
    let provider = provider(openai_settings(&server.base_url(), Locality::Cloud));
    let backend = Asked::new(&provider, "innocent").backend;
    backend.reveal().await;
    assert!(!backend.forwards());
    assert_eq!(server.record().connections(), 0);
}
