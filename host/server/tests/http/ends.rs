//! How answers end early: the client goes, or the server does. And how one stays alive in between.

use std::time::Duration;

use lockgate_api::Locality;
use lockgate_server::ServerOptions;

use super::support::*;

#[tokio::test]
async fn a_client_that_goes_takes_its_stream_with_it() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::start(&[&fake]).await;
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", "hi", true)).as_bytes()).await;
    let mut work = soon("the work", works.recv()).await.expect("work");
    work.act(start());
    client.head().await;
    drop(client);
    // Not one more event is made.
    work.dropped().await;
}

#[tokio::test]
async fn a_client_that_goes_before_the_first_event_takes_its_request_with_it() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::start(&[&fake]).await;
    for stream in [false, true] {
        let mut client = server.connect().await;
        client.write(chat_request("", &ask("qwen", "hi", stream)).as_bytes()).await;
        let mut work = soon("the work", works.recv()).await.expect("work");
        drop(client);
        work.dropped().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_while_its_answer_is_collected_takes_it_with_it() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::start(&[&fake]).await;
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", "hi", false)).as_bytes()).await;
    let mut work = soon("the work", works.recv()).await.expect("work");
    work.act(start());
    work.act(text("a"));
    drop(client);
    work.dropped().await;
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let options = ServerOptions { keep_alive: Duration::from_millis(50), ..ServerOptions::default() };
    let server = Server::with_options(&[&fake], options).await;
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", "hi", true)).as_bytes()).await;
    let mut work = soon("the work", works.recv()).await.expect("work");
    work.act(start());
    client.head().await;
    assert!(client.chunk().await.expect("the role").starts_with("data: "));
    for _ in 0..2 {
        assert_eq!(client.chunk().await.expect("a comment"), ": keep-alive\n\n");
    }
    work.act(finish());
    work.end();
    assert!(client.chunks().await.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_shutdown_lets_answers_finish_and_accepts_nothing_new() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let mut server = Server::start(&[&fake]).await;
    let mut idle = server.connect().await;
    idle.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(idle.answer().await.status(), 200);
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", "hi", true)).as_bytes()).await;
    let mut work = soon("the work", works.recv()).await.expect("work");
    work.act(start());
    client.head().await;
    server.stop();
    idle.closed().await;
    let address = server.address;
    let refused = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("the end of accepting", refused).await;
    work.act(text("still here"));
    work.act(finish());
    work.end();
    let rest = client.chunks().await;
    assert!(rest.contains("still here") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    server.stopped().await;
}

#[tokio::test]
async fn a_shutdown_cuts_off_what_does_not_finish_and_says_so() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let options = ServerOptions { shutdown_grace: Duration::from_millis(100), ..ServerOptions::default() };
    let mut server = Server::with_options(&[&fake], options).await;
    let mut streaming = server.connect().await;
    streaming.write(chat_request("", &ask("qwen", "hi", true)).as_bytes()).await;
    let mut first = soon("the work", works.recv()).await.expect("work");
    first.act(start());
    streaming.head().await;
    let mut collecting = server.connect().await;
    collecting.write(chat_request("", &ask("qwen", "hi", false)).as_bytes()).await;
    let mut second = soon("the work", works.recv()).await.expect("work");
    second.act(start());
    let mut waiting = server.connect().await;
    waiting.write(chat_request("", &ask("qwen", "hi", false)).as_bytes()).await;
    let mut third = soon("the work", works.recv()).await.expect("work");
    server.stop();
    let rest = streaming.chunks().await;
    assert!(rest.contains("\"shutting_down\"") && !rest.contains("[DONE]"), "{rest}");
    for mut client in [collecting, waiting] {
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.code().as_str()), (503, "shutting_down"));
    }
    for work in [&mut first, &mut second, &mut third] {
        work.dropped().await;
    }
    server.stopped().await;
}
