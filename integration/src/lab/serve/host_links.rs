//! Ends of links in the host's own namespace.
//!
//! The agent hands such a link over, as it does to container engines: it is the host's from then on, and keeps the name that the agent
//! gave it, by which the agent finds it again. What the lab calls it is a second name (`altname` of ip-link(8)).

use std::process::Stdio;

use agent_api::{Client, EndpointCreate};
use tokio::process::Command;

use super::Work;
use crate::lab::desired::HostLink;

/// Makes the link, which is up then.
pub(super) async fn create(client: &Client, link: &HostLink) -> Result<(), Work> {
    let failed = |why: String| Work::HostLink {
        name: link.name.clone(),
        why,
    };
    let wanted = EndpointCreate {
        network: link.network.clone(),
        name: link.name.clone(),
        ..EndpointCreate::default()
    };
    let made = client.create_endpoint(&wanted).await;
    let made = made.map_err(|error| failed(error.to_string()))?;
    let own = made.link.as_str();
    let named = ip(&["link", "property", "add", "dev", own, "altname", &link.name]).await;
    let up = match named {
        Ok(()) => ip(&["link", "set", "dev", own, "up"]).await,
        Err(why) => Err(why),
    };
    if let Err(why) = up {
        // The failure is the one to tell.
        let _ = client.remove_endpoint(&made.id).await;
        return Err(failed(why));
    }
    Ok(())
}

/// iproute2, in the namespace of this command.
async fn ip(words: &[&str]) -> Result<(), String> {
    let done = Command::new("ip")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .await;
    let done = done.map_err(|error| format!("ip {}: {error}", words.join(" ")))?;
    match done.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&done.stderr);
            let line = said.lines().next().unwrap_or("it did not say why");
            Err(format!(
                "ip {}: {line}; run this in the agent's network namespace, and take a name that no link has",
                words.join(" ")
            ))
        }
    }
}
