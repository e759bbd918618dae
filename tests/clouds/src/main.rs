#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for tests speaks on its standard streams"
)]
//! The test servers as a program: `lockgate-test-clouds openai|bedrock [ADDRESS]`.
//!
//! Prints the base URL on one line and serves the ready-made scenarios until its standard input ends.

use std::process::ExitCode;

use lockgate_test_clouds::bedrock::{self, BedrockServer};
use lockgate_test_clouds::openai::{self, OpenAiServer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = arguments.get(1).map_or("127.0.0.1:0", String::as_str);
    match arguments.first().map(String::as_str) {
        Some("openai") => {
            let server = OpenAiServer::start_at(address).await;
            for (model, reply) in openai::scenarios() {
                server.reply(model, reply);
            }
            serve(&server.base_url()).await;
        }
        Some("bedrock") => {
            let server = BedrockServer::start_at(address).await;
            for (model, reply) in bedrock::scenarios() {
                server.reply(model, reply);
            }
            serve(&server.url()).await;
        }
        _ => {
            eprintln!("usage: lockgate-test-clouds openai|bedrock [ADDRESS]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Says where, and waits for the end of standard input: whoever started this is gone then.
async fn serve(url: &str) {
    println!("{url}");
    let ended =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
    let _ = ended.await;
}
