//! The SDK's requests over this crate's own connections.
//!
//! Owns one client a server (the service itself, and those that credentials come from) and the way from the
//! SDK's types to them and back. The promises at the socket are [`crate::http`]'s: the connect timer belongs
//! to each attempt, redirects are never followed, and a failure says whether anything was sent. The proxy
//! variables of the environment are heeded, since Bedrock is always a cloud. HTTP/1.1 only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::Uri;
use http_body_util::BodyExt;
use lockgate_api::Locality;

use crate::http::{ConnectError, Connector, Endpoint, HttpClient, Proxy, SendError, SendProblem, tls_config};

/// How many servers have connections of their own.
const SERVERS_MAX: usize = 16;
/// For requests that come without a connect timer: those for credentials.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Connections to each server that the SDK asked for.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// By origin.
    servers: Mutex<HashMap<String, Arc<HttpClient>>>,
    /// Read from the machine's store when a server first needs it.
    tls: OnceLock<Result<Arc<rustls::ClientConfig>, String>>,
}

/// The connections with the timers of one call.
#[derive(Debug)]
struct Timed {
    connections: Connections,
    connect: Duration,
    /// Until the answer's head.
    read: Option<Duration>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Connections")
    }
}

impl SdkClient for Connections {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Timed {
            connections: self.clone(),
            connect: settings.connect_timeout().unwrap_or(CONNECT_MAX),
            read: settings.read_timeout(),
        })
    }
}

impl HttpConnector for Timed {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (connections, connect, read) = (self.connections.clone(), self.connect, self.read);
        HttpConnectorFuture::new(async move {
            let exchange = connections.exchange(request, connect);
            match read {
                None => exchange.await,
                Some(limit) => match tokio::time::timeout(limit, exchange).await {
                    Ok(result) => result,
                    Err(elapsed) => Err(ConnectorError::timeout(elapsed.into())),
                },
            }
        })
    }
}

impl Connections {
    async fn exchange(
        &self,
        request: HttpRequest,
        connect: Duration,
    ) -> Result<HttpResponse, ConnectorError> {
        let unusable = |error| ConnectorError::user(error);
        let (head, body) = request.try_into_http1x().map_err(|error| unusable(error.into()))?.into_parts();
        let body = body.collect().await.map_err(unusable)?.to_bytes();
        let client = self.client(&head.uri).map_err(failure)?;
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let answer = client.send(head.method, path, head.headers, body, connect).await.map_err(failure)?;
        let response = http::Response::from_parts(answer.head, SdkBody::from_body_1_x(answer.body));
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }

    /// The client of the server that is named in a request.
    fn client(&self, uri: &Uri) -> Result<Arc<HttpClient>, SendError> {
        let origin = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map(|authority| authority.as_str()).unwrap_or_default()
        );
        let mut servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = servers.get(&origin) {
            return Ok(Arc::clone(client));
        }
        let client =
            Arc::new(self.make(&origin).map_err(|problem| SendError { problem, dispatched: false })?);
        if servers.len() >= SERVERS_MAX {
            servers.clear();
        }
        servers.insert(origin, Arc::clone(&client));
        Ok(client)
    }

    fn make(&self, origin: &str) -> Result<HttpClient, SendProblem> {
        let unusable = |problem| SendProblem::Exchange(format!("{origin} {problem}"));
        let endpoint = Endpoint::parse(origin, "", Locality::Cloud).map_err(unusable)?;
        let proxy = Proxy::from_environment(origin).map_err(unusable)?;
        let tls = if Connector::needs_tls(&endpoint, proxy.as_ref()) {
            let tls = self.0.tls.get_or_init(tls_config).clone();
            Some(tls.map_err(|reason| SendProblem::Connect(ConnectError::Tls(reason)))?)
        } else {
            None
        };
        HttpClient::new(Connector::new(endpoint, Locality::Cloud, tls, proxy)).map_err(unusable)
    }
}

fn failure(error: SendError) -> ConnectorError {
    match &error.problem {
        SendProblem::Connect(ConnectError::TimedOut(_)) => {
            ConnectorError::timeout(error.into()).never_connected()
        }
        SendProblem::Connect(_) => ConnectorError::io(error.into()).never_connected(),
        SendProblem::Exchange(_) if !error.dispatched => ConnectorError::user(error.into()),
        SendProblem::Exchange(_) => ConnectorError::io(error.into()),
    }
}
