//! `serve`: the host as a server, until a signal ends it.

mod reload;
mod setup;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use lockgate_server::{AppState, ServerOptions, ensure_safe_to_listen};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::info;

use crate::args::ServeArgs;
use crate::assembly::{self, Host};
use crate::config::Config;
use crate::failure::Failure;
use crate::terminal;

pub(super) fn serve(args: ServeArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: ServeArgs) -> Result<(), Failure> {
    let mut watched = reload::Watched::new(args.config.as_deref())?;
    let config = setup::config(&args).await?;
    watched.plugins_of(&config);
    let keys = assembly::keys(&config)?;
    ensure_safe_to_listen(config.server.listen, &keys)?;
    // Before the models are loaded, so that a port in use is known at once.
    let listener = TcpListener::bind(config.server.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let address = listener.local_addr()?;

    let (host, config, serving, registry, logs) = tokio::task::spawn_blocking(move || {
        let mut host = Host::new()?;
        let serving = host.assemble(&config, None)?;
        let registry = host.registry();
        let logs = host.logs();
        anyhow::Ok((host, config, serving, registry, logs))
    })
    .await??;
    // Not waited for: until an answer is there, labelled requests ask for themselves.
    tokio::spawn(serving.gateway.reveal());
    let options = ServerOptions { allowed_hosts: config.server.hosts.clone(), ..ServerOptions::default() };
    let stale = watched.stale();
    let readiness = move || {
        // Without the reason: it names files, and probes show no key.
        Ok(stale.load(Ordering::Relaxed).then(|| {
            "a change of the configuration or a plugin could not be loaded, so what served before goes on; \
             the log says why"
                .to_owned()
        }))
    };
    let state = AppState::new(serving, Arc::new(readiness), registry, options);
    greet(&config, address);

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let loss = host.loss();
    let (lost, told) = oneshot::channel();
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            line = loss => {
                // What ran is told its errors first.
                let _ = lost.send(line);
            }
        }
        info!("shutting down");
    };
    let mut background = JoinSet::new();
    background.spawn(reload::watch(watched, args, config.server.listen, host, Arc::clone(&state)));
    // What goes on in the background ends with the set.
    let served = lockgate_server::serve(vec![listener], state, shutdown).await;
    tokio::task::block_in_place(|| logs.finish());
    served?;
    // Without a loss the sender is gone.
    told.await.map_or(Ok(()), |line| Err(Failure::unusable(line)))
}

/// Says where it listens, what it has, and how to try it.
fn greet(config: &Config, address: std::net::SocketAddr) {
    for model in &config.models {
        terminal::note(&format!("model   {} ({})", model.id, model.path.display()));
    }
    for adapter in &config.adapters {
        terminal::note(&format!("adapter {} ({})", adapter.target_id(), adapter.path.display()));
    }
    for component in &config.components {
        let path = component.plugin.path.display();
        terminal::note(&format!("adapter {} ({path})", component.target_id()));
    }
    for target in &config.targets {
        terminal::note(&format!("target  {} ({} of {})", target.id, target.model, target.provider));
    }
    for router in &config.routers {
        terminal::note(&format!("policy  {}", router.id()));
        for plugin in router.plugins().filter(|plugin| plugin.id != router.id()) {
            terminal::note(&format!("tries   {} beside {}", plugin.id, router.id()));
        }
    }
    for (place, plugins) in [("before", &config.preprocessors), ("behind", &config.guards)] {
        for plugin in plugins {
            terminal::note(&format!("{place}  {}", plugin.id));
        }
    }
    terminal::note(&format!("listening on http://{address}; try:"));
    let key = if config.keys.is_empty() { "" } else { "-H \"authorization: Bearer $LOCKGATE_KEY\" " };
    // A model as small as the quick start's talks nonsense at the API's own temperature of 1.
    terminal::note(&format!(
        "  curl http://{address}/v1/chat/completions -H 'content-type: application/json' {key}-d '{{\"model\": \
         \"auto\", \"temperature\": 0, \"max_tokens\": 60, \"messages\": [{{\"role\": \"user\", \"content\": \"What is \
         the capital of France? Answer in one short sentence.\"}}]}}'"
    ));
}
