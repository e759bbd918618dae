//! A server that runs in the background until it is dropped.

use std::net::SocketAddr;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::record::Record;

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(address: &str, routes: Router, record: &Record) -> Self {
        let listener = TcpListener::bind(address).await.expect("the test server's address must be free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let record = record.clone();
        let listener = listener.tap_io(move |connection| {
            record.add_connection();
            // Chunks must leave as they are written.
            let _ = connection.set_nodelay(true);
        });
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Self { address, task }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
