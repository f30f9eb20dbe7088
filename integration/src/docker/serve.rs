//! The plugin's HTTP server: one path per call, one JSON document each way.

use std::path::PathBuf;
use std::sync::Arc;

use agent_api::Client;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::sync::{Notify, RwLock, oneshot};

use super::addresses::Addresses;
use super::book::Book;
use super::door::Doorkeeper;
use super::engine::Engine;
use super::names::Follower;
use super::plugin::Plugin;
use super::socket::{Guarded, PluginSocket, listen};
use super::wire::Refusal;

/// What the plugin is told by the agent's configuration.
#[derive(Clone, Debug)]
pub struct PluginOptions {
    /// The agent's own socket.
    pub agent: PathBuf,
    pub state_dir: PathBuf,
    pub plugin: PluginSocket,
    /// The engine's socket, which names come from.
    pub engine: PathBuf,
    /// What subnets are cut from where nobody chooses one, with their prefix lengths.
    pub pools: Vec<(IpNet, u8)>,
}

/// Serves the plugin until it is dropped; returns where none is wanted or none can be served, which `door` is told.
pub async fn serve(options: PluginOptions, door: impl Doorkeeper) {
    // The file is taken away when this ends, however it ends.
    let (listener, _seat) = match listen(&options.plugin, &door) {
        Ok(None) => return,
        Ok(Some(listening)) => listening,
        Err(error) => return door.warn(error.to_string()),
    };
    let (warner, listener) = (door.clone(), Guarded { listener, door });
    let client = Client::new(options.agent);
    let book = Book::new(options.state_dir.join("docker"));
    let plugin = Arc::new(Plugin {
        addresses: Addresses::new(client.clone(), book.clone(), options.pools),
        client,
        book,
        activated: Arc::new(Notify::new()),
        renaming: RwLock::default(),
    });
    let follower = Follower::new(Arc::clone(&plugin), Engine::new(options.engine));
    let router = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(BODY_LENGTH_MAX))
        .with_state(plugin);
    tracing::info!("Docker's plugin is served");
    tokio::select! {
        Err(error) = async { axum::serve(listener, router).await } => warner.warn(format!("Docker's plugin ended: {error}")),
        _ = follower.run() => {}
    }
}

/// A refusal is an answer like any other: the engine tells its user what the document says.
async fn answer(State(plugin): State<Arc<Plugin>>, uri: Uri, body: Bytes) -> Response {
    let method = uri.path().trim_start_matches('/').to_owned();
    // Another task, so that what has begun is brought to its end when the engine hangs up.
    let (tell, told) = oneshot::channel();
    tokio::spawn({
        let method = method.clone();
        async move {
            let answer = plugin.call(&method, &body).await;
            if let Err(Some(Ok(_))) = tell.send(answer) {
                plugin.undo(&method, &body).await;
            }
        }
    });
    let answer = match told.await {
        Ok(Some(answer)) => answer,
        Ok(None) => return (StatusCode::NOT_FOUND, "no such method").into_response(),
        Err(_) => Err(Refusal::new(format!(
            "the agent failed at {method}; its log says why"
        ))),
    };
    if let Err(reason) = &answer {
        tracing::info!(method, %reason, "refused Docker");
    }
    let document = answer.unwrap_or_else(|refusal| failure(&method, &refusal));
    ([(header::CONTENT_TYPE, CONTENT)], document.to_string()).into_response()
}

/// The two protocols call it differently.
fn failure(method: &str, refusal: &Refusal) -> Value {
    match method.starts_with("IpamDriver.") {
        true => json!({ "Error": refusal.to_string() }),
        false => json!({ "Err": refusal.to_string() }),
    }
}

const CONTENT: &str = "application/vnd.docker.plugins.v1.2+json";
/// All ports of a host, published one by one.
const BODY_LENGTH_MAX: usize = 16 << 20;
