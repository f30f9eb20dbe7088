//! Endpoints that the engine has forgotten without a word, in the way of those that it asks for.
//!
//! An engine that was killed gives the addresses of its dead containers again when it is back, and does not always say first that
//! they are dead. Their links are in nobody's container then: given back, or gone with a namespace, which the agent notices soon.

use std::net::IpAddr;
use std::time::Duration;

use agent_api::{EndpointCreate, EndpointDetail, ErrorKind};
use tokio::time::sleep;

use super::plugin::{Plugin, gone};
use super::translate::is_of_engine;
use super::wire::Refusal;

impl Plugin {
    /// Makes an endpoint, in the place of one that is of the engine's, has the same address and is in no container.
    pub(super) async fn make_endpoint(
        &self,
        wished: &EndpointCreate,
    ) -> Result<EndpointDetail, agent_api::ClientError> {
        let mut made = self.client.create_endpoint(wished).await;
        for _ in 0..LOOKS {
            let is_taken = made
                .as_ref()
                .is_err_and(|error| error.kind() == Some(ErrorKind::Conflict));
            if !is_taken {
                break;
            }
            match self.displace(wished).await {
                Displaced::Nobody => break,
                Displaced::One => {}
                Displaced::NotYet => sleep(BETWEEN_LOOKS).await,
            }
            made = self.client.create_endpoint(wished).await;
        }
        made
    }

    async fn displace(&self, wished: &EndpointCreate) -> Displaced {
        let Ok(network) = self.client.network(&wished.network).await else {
            return Displaced::Nobody;
        };
        let has_it = |other: &&EndpointDetail| {
            is_of_engine(other)
                && wished.id.as_ref() != Some(&other.id)
                && other.addresses.iter().any(|net| wants(wished, net.addr()))
        };
        let Some(other) = network.endpoints.iter().find(has_it) else {
            return Displaced::Nobody;
        };
        match self.remove_if_stale(&other.id).await {
            Ok(true) => Displaced::One,
            Ok(false) => Displaced::NotYet,
            Err(_) => Displaced::Nobody,
        }
    }

    /// Removes an endpoint whose link is in no container. The agent looks where it is.
    pub(super) async fn remove_if_stale(&self, id: &str) -> Result<bool, Refusal> {
        match self.client.endpoint(id).await {
            Ok(found) if found.moved => return Ok(false),
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        gone(self.client.remove_endpoint(id).await)?;
        tracing::info!(
            endpoint = id.get(..12),
            "removed: Docker has given its place away"
        );
        Ok(true)
    }
}

/// What became of an endpoint in the way.
enum Displaced {
    /// There is none that may go.
    Nobody,
    One,
    /// It is in a container still, as far as the agent knows.
    NotYet,
}

fn wants(wished: &EndpointCreate, address: IpAddr) -> bool {
    let settings = &wished.settings;
    settings.ip.map(IpAddr::from) == Some(address)
        || settings.ip6.map(IpAddr::from) == Some(address)
}

/// In all a little longer than the agent leaves between two looks after sandboxes.
const LOOKS: usize = 32;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
