//! `tapestry ui`: the map of this host in a browser.
//!
//! # Theory of operation
//!
//! A server of its own, in the command and not in the agent, is between the browser and the agent's socket. Its files are in the
//! command (`page/`). What the page asks of the agent passes through it as it is, if [`guard`] lets it: with the token that was printed as
//! the address's fragment, which browsers send to nobody, and by the server's own name, so that no other page reaches it by a name that
//! its owner points here. Nothing that changes anything passes, but what is set at links where the command was asked to let it.

mod guard;
mod page;
mod server;

use std::net::SocketAddr;

use agent_api::Client;
use agent_core::hex;
use rustix::rand::{GetRandomFlags, getrandom};

use self::guard::Guard;
use crate::failure::Failure;
use crate::output;

/// Show networks, ports and their rates in a browser, until Ctrl-C
///
/// Prints the page's address, with a token that lets its bearer look. The page shows a map of networks and their ports, what each sends
/// and drops, the names that are asked for, and traces frames. It changes nothing, unless --set-links is given. From another host:
/// ssh -L PORT:127.0.0.1:PORT.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the browser finds it; a port that is free where the port is 0
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Let the page impair links and take them down and up, as `tapestry link` does
    #[arg(long)]
    set_links: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    // Nobody needs a page without an agent.
    client.version().await?;
    let listen = args.listen;
    if listen.ip().is_unspecified() {
        return Err(Failure::usage(format!(
            "--listen {listen} is every address; name the one that browsers use, as in --listen 127.0.0.1:8080"
        )));
    }
    let failed = |error| {
        Failure::said(format!(
            "cannot listen at {listen}: {error}; name another address or port"
        ))
    };
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    let token = new_token();
    let right = if args.set_links { "/links" } else { "" };
    output::print(&format!("http://{at}/#{token}{right}\n"))?;
    let guard = Guard::new(at, token, args.set_links);
    server::serve(listener, guard, client.clone())
        .await
        .map_err(failed)?;
    Ok(0)
}

/// 128 random bits in hexadecimal digits.
fn new_token() -> String {
    let mut bytes = [0_u8; 16];
    // So few come at once or not at all: getrandom(2).
    while getrandom(&mut bytes, GetRandomFlags::empty()).is_err() {}
    hex::encode(&bytes)
}
