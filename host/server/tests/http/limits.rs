//! Slow, large, broken and rude clients.

use std::time::Duration;

use lockgate_api::Locality;
use lockgate_server::ServerOptions;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::support::*;

fn hello() -> Vec<Act> {
    vec![start(), text("hi"), finish()]
}

fn options() -> ServerOptions {
    ServerOptions {
        body_bytes_max: 1000,
        head_timeout: Duration::from_millis(300),
        body_pause_max: Duration::from_millis(300),
        write_timeout: Duration::from_millis(300),
        ..ServerOptions::default()
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_however_it_is_sent() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::with_options(&[&local], options()).await;
    // Declared: refused before any of it is sent.
    let declared = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n";
    let answer = server.send(declared).await;
    assert_eq!((answer.status(), answer.code().as_str()), (413, "request_too_large"));
    let chunked =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = server.send(&format!("{chunked}3e9\r\n{}\r\n", " ".repeat(1001))).await;
    assert_eq!(answer.status(), 413);
    let fits = ask("qwen", "hi", false).to_string();
    let request = format!("{chunked}{:x}\r\n{fits}\r\n0\r\n\r\n", fits.len());
    assert_eq!(server.send(&request).await.status(), 200);
    let gzip = post("/v1/chat/completions", "Content-Encoding: gzip\r\n", "x");
    assert_eq!(server.send(&gzip).await.status(), 415);
}

#[tokio::test]
async fn a_refused_body_is_taken_in_so_that_its_client_can_read_why() {
    let options = ServerOptions { body_bytes_max: 8 << 20, ..ServerOptions::default() };
    let server = Server::with_options(&[], options).await;
    // Larger than what the sockets' buffers hold, sent whole before the answer is read.
    let body = " ".repeat(16 << 20);
    for (request, expected) in [
        (post("/v1/chat/completions", "", &body), 413),
        (post("/v1/nowhere", "", &body), 404),
        (post("/v1/chat/completions", "x-lockgate-labels: typo\r\n", &body), 400),
    ] {
        let mut client = server.connect().await;
        client.write(request.as_bytes()).await;
        assert_eq!(client.answer().await.status(), expected);
        client.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(client.answer().await.status(), 200, "the connection is of further use");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::start(&[]).await;
    let many: String = (0..200).map(|index| format!("x-{index}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(100_000));
    for headers in [many, large] {
        let mut client = server.connect().await;
        // The server may answer and close before it has read all of it.
        let request = format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let _ = client.stream.write_all(request.as_bytes()).await;
        assert!(client.try_head().await.is_none_or(|head| head.status == 431));
        client.closed().await;
    }
    assert_eq!(server.get("/health").await.status(), 200);
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let server = Server::with_options(&[], options()).await;
    let mut client = server.connect().await;
    let began = Instant::now();
    client.write(b"GET /health HTTP/1.1\r\nHost: loc").await;
    client.closed().await;
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    // Nor is a connection that says nothing at all, or that drips.
    server.connect().await.closed().await;
    let mut drip = server.connect().await;
    let dripping = async {
        while drip.stream.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("the end of the drip", dripping).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_408() {
    let server = Server::with_options(&[], options()).await;
    let request = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    let answer = server.send(request).await;
    assert_eq!((answer.status(), answer.code().as_str()), (408, "request_timeout"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_garbage_ends_them() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&local]).await;
    let mut client = server.connect().await;
    let chat = chat_request("", &ask("qwen", "hi", false));
    client
        .write(
            format!(
                "{chat}{}GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n\0\x01garbage\r\n\r\n",
                chat_request("", &ask("qwen", "hi", true))
            )
            .as_bytes(),
        )
        .await;
    assert_eq!(client.answer().await.json()["choices"][0]["message"]["content"], "hi");
    assert!(client.answer().await.body.ends_with("data: [DONE]\n\n"));
    assert_eq!(client.answer().await.status(), 404);
    assert_eq!(client.head().await.status, 400);
    client.closed().await;
    for garbage in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\0hello",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.write(garbage.as_bytes()).await;
        client.stream.shutdown().await.expect("half closed");
        assert!(client.try_head().await.is_none_or(|head| head.status == 400), "{garbage:?}");
    }
    assert_eq!(server.get("/health").await.status(), 200);
}

#[tokio::test]
async fn a_panic_is_one_requests_error_and_no_more() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::start(&[&fake]).await;
    let answer = server.chat(&ask("qwen", "panic", false)).await;
    assert_eq!((answer.status(), answer.code().as_str()), (500, "internal_error"));

    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", "hi", true)).as_bytes()).await;
    let mut work = soon("the work", works.recv()).await.expect("work");
    work.act(start());
    work.act(Act::Panic);
    let answer = client.answer().await;
    assert!(answer.body.contains("\"internal_error\""), "{}", answer.body);
    assert!(!answer.body.contains("[DONE]"));
    work.dropped().await;
    client.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200, "on the same connection");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let server =
        Server::with_options(&[], ServerOptions { connections_max: 1, ..ServerOptions::default() }).await;
    let mut first = server.connect().await;
    first.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(first.answer().await.status(), 200);
    let second = server.get("/health");
    tokio::pin!(second);
    assert!(tokio::time::timeout(Duration::from_millis(200), second.as_mut()).await.is_err());
    drop(first);
    assert_eq!(second.await.status(), 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up_with_its_work() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::with_options(&[&fake], options()).await;
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", "hi", true)).as_bytes()).await;
    let mut work = soon("the work", works.recv()).await.expect("work");
    work.act(start());
    let much = "x".repeat(1 << 20);
    // More than the buffers of both sides hold.
    (0..32).for_each(|_| work.act(text(&much)));
    work.dropped().await;
}

#[tokio::test]
async fn health_answers_while_a_prompt_is_worked_on() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::start(&[&fake]).await;
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", "hi", false)).as_bytes()).await;
    let _work = soon("the work", works.recv()).await.expect("work");
    assert_eq!(server.get("/health").await.status(), 200);
}
