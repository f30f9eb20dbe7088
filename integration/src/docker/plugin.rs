//! The calls of the engine, one after the other: read, asked of the agent, answered.
//!
//! Every call may come twice, and about what is not there any more; the engine itself is never asked anything here, since it waits.

use std::sync::Arc;

use agent_api::{Client, ClientError, ErrorKind, NetworkDetail};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, RwLock};

use super::addresses::Addresses;
use super::book::{Book, Page};
use super::translate::{
    ADDRESS_SPACE, Wish, check_fit, endpoint, interface, is_of_engine, is_same, joined, wish,
};
use super::wire::{
    Activated, AddressSpaces, CreateEndpoint, CreateNetwork, EndpointCreated, Id, IpamCapabilities,
    NetworkCapabilities, NetworkOnly, OfAddress, OfEndpoint, OperInfo, PoolOnly, Refusal,
    RequestPool, read,
};

/// Both drivers of the plugin.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) client: Client,
    pub(super) book: Book,
    pub(super) addresses: Addresses,
    /// Told when the engine has started: it activates its plugins once.
    pub(super) activated: Arc<Notify>,
    /// Held while a network gets another name, when nobody may come to it; shared by those who come.
    pub(super) renaming: RwLock<()>,
}

/// An answer's document, or why there is none.
type Answer = Result<Value, Refusal>;

impl Plugin {
    /// The answer to a call; `None` where there is no such method.
    pub(super) async fn call(&self, method: &str, body: &[u8]) -> Option<Answer> {
        Some(match method {
            "Plugin.Activate" => self.activate(),
            "NetworkDriver.GetCapabilities" => document(&CAPABILITIES),
            "NetworkDriver.CreateNetwork" => self.create_network(body).await,
            "NetworkDriver.DeleteNetwork" => self.delete_network(body).await,
            "NetworkDriver.CreateEndpoint" => self.create_endpoint(body).await,
            "NetworkDriver.DeleteEndpoint" => self.delete_endpoint(body).await,
            "NetworkDriver.EndpointOperInfo" => self.look_at_endpoint(body).await,
            "NetworkDriver.Join" => self.join(body).await,
            // The link is on its way back; DeleteEndpoint follows.
            "NetworkDriver.Leave" => read::<OfEndpoint>(body).map(|_| nothing()),
            "NetworkDriver.ProgramExternalConnectivity" => self.publish(body).await,
            "NetworkDriver.RevokeExternalConnectivity" => self.withdraw(body).await,
            // Other hosts are the agent's business.
            "NetworkDriver.DiscoverNew" | "NetworkDriver.DiscoverDelete" => Ok(nothing()),
            "IpamDriver.GetCapabilities" => document(&IPAM_CAPABILITIES),
            "IpamDriver.GetDefaultAddressSpaces" => document(&ADDRESS_SPACES),
            "IpamDriver.RequestPool" => self.request_pool(body).await,
            "IpamDriver.ReleasePool" => self.release_pool(body),
            "IpamDriver.RequestAddress" => self.request_address(body).await,
            "IpamDriver.ReleaseAddress" => self.release_address(body),
            _ => return None,
        })
    }

    fn activate(&self) -> Answer {
        self.activated.notify_one();
        document(&Activated {
            implements: &["NetworkDriver", "IpamDriver"],
        })
    }

    async fn create_network(&self, body: &[u8]) -> Answer {
        let call: CreateNetwork = read(body)?;
        let pools = call.v4.iter().chain(&call.v6);
        let ours = pools.filter(|pool| pool.address_space == ADDRESS_SPACE);
        let range = ours
            .clone()
            .find_map(|pool| self.addresses.range_of(&pool.pool));
        let made = self.make(&call, range).await?;
        ours.for_each(|pool| self.addresses.settle(&pool.pool));
        Ok(made)
    }

    async fn make(&self, call: &CreateNetwork, range: Option<IpNet>) -> Answer {
        match wish(call, range)? {
            Wish::Attach { network, page } => self.attach(call, &network, page).await,
            Wish::Make { create, page } => {
                let was_there = self.book.find(&call.network).await.map_err(unwritten)?;
                self.note(&call.network, &page).await?;
                let made = self.client.create_network(&create).await;
                match made {
                    Ok(_) => Ok(nothing()),
                    Err(error) if self.is_made(&call.network, &create.subnets, &error).await => {
                        Ok(nothing())
                    }
                    Err(error) => {
                        if was_there.is_none() {
                            self.book.forget(&call.network).await.map_err(unwritten)?;
                        }
                        Err(error.into())
                    }
                }
            }
        }
    }

    async fn attach(&self, call: &CreateNetwork, name: &str, page: Page) -> Answer {
        let network = self.client.network(name).await?;
        check_fit(call, &network)?;
        let page = Page {
            network: Some(network.summary.id),
            ..page
        };
        self.note(&call.network, &page).await?;
        Ok(nothing())
    }

    /// Whether the network is refused because an earlier call has made it.
    async fn is_made(&self, id: &Id, subnets: &[IpNet], error: &ClientError) -> bool {
        if error.kind() != Some(ErrorKind::Conflict) {
            return false;
        }
        let found = self.client.network(id.as_str()).await;
        found.is_ok_and(|network| network.subnets == subnets)
    }

    async fn delete_network(&self, body: &[u8]) -> Answer {
        let NetworkOnly { network } = read(body)?;
        self.forget_network(&network).await?;
        Ok(nothing())
    }

    /// What the agent made for the engine goes; what was there before stays.
    pub(super) async fn forget_network(&self, id: &Id) -> Result<(), Refusal> {
        let page = self.page(id).await?;
        if page.network.is_none() {
            self.remove_network(id).await?;
        }
        self.book.forget(id).await.map_err(unwritten)
    }

    async fn remove_network(&self, id: &Id) -> Result<(), Refusal> {
        match self.client.remove_network(id.as_str()).await {
            Err(error) if error.kind() == Some(ErrorKind::Conflict) => {
                // The engine counts its own endpoints before it asks: what is left of them it lost track of.
                self.clear(id).await?;
                gone(self.client.remove_network(id.as_str()).await)
            }
            removed => gone(removed),
        }
    }

    async fn clear(&self, id: &Id) -> Result<(), Refusal> {
        let pages = self.book.pages().await.map_err(unwritten)?;
        let user = pages
            .iter()
            .find(|(_, page)| page.network.as_deref() == Some(id.as_str()));
        if let Some((user, _)) = user {
            return Err(Refusal::new(format!(
                "network {} of the engine stands for this one; remove it first",
                user.short()
            )));
        }
        let network = self.client.network(id.as_str()).await?;
        for lost in network.endpoints.iter().filter(|one| is_of_engine(one)) {
            gone(self.client.remove_endpoint(&lost.id).await)?;
        }
        Ok(())
    }

    async fn create_endpoint(&self, body: &[u8]) -> Answer {
        let call: CreateEndpoint = read(body)?;
        let page = self.page(&call.network).await?;
        let wished = endpoint(&call, network_of(&call.network, &page))?;
        let _renaming = self.renaming.read().await;
        let made = match self.make_endpoint(&wished).await {
            Ok(made) => made,
            Err(error) => {
                let found = self.client.endpoint(call.endpoint.as_str()).await;
                let found = found.map_err(|_| Refusal::from(error))?;
                let network = self.network(&call.network, &page).await?;
                if !is_same(&wished, &found, &network) {
                    return Err(Refusal::new(format!(
                        "endpoint {} is there already, with other addresses",
                        call.endpoint.short()
                    )));
                }
                found
            }
        };
        document(&EndpointCreated {
            interface: interface(&call, &made),
        })
    }

    /// Takes back what was made for an engine that has hung up: it does not know, and asks again without saying what it asked.
    pub(super) async fn undo(&self, method: &str, body: &[u8]) {
        let undone = match method {
            "NetworkDriver.CreateNetwork" => self.unmake_network(body).await,
            "NetworkDriver.CreateEndpoint" => self.unmake_endpoint(body).await,
            _ => return,
        };
        match undone {
            Ok(()) => tracing::info!(method, "undone: the engine hung up"),
            Err(reason) => tracing::info!(method, %reason, "the engine hung up"),
        }
    }

    /// Unless the engine has listed it: then an earlier call made it.
    async fn unmake_network(&self, body: &[u8]) -> Result<(), Refusal> {
        let CreateNetwork { network, .. } = read(body)?;
        let page = self.page(&network).await?;
        if page.engine.is_some() {
            return Ok(());
        }
        if page.network.is_none() {
            gone(self.client.remove_network(network.as_str()).await)?;
        }
        self.book.forget(&network).await.map_err(unwritten)
    }

    /// Unless a container has its link.
    async fn unmake_endpoint(&self, body: &[u8]) -> Result<(), Refusal> {
        let CreateEndpoint { endpoint, .. } = read(body)?;
        let found = self.client.endpoint(endpoint.as_str()).await?;
        match found.moved {
            true => Ok(()),
            false => gone(self.client.remove_endpoint(endpoint.as_str()).await),
        }
    }

    async fn delete_endpoint(&self, body: &[u8]) -> Answer {
        let call: OfEndpoint = read(body)?;
        gone(self.client.remove_endpoint(call.endpoint.as_str()).await)?;
        Ok(nothing())
    }

    /// Also makes the agent look where the link is by now.
    async fn look_at_endpoint(&self, body: &[u8]) -> Answer {
        let call: OfEndpoint = read(body)?;
        if let Err(error) = self.client.endpoint(call.endpoint.as_str()).await {
            tracing::debug!(endpoint = call.endpoint.short(), %error, "an endpoint cannot be looked at");
        }
        document(&OperInfo { value: [].into() })
    }

    async fn join(&self, body: &[u8]) -> Answer {
        let call: OfEndpoint = read(body)?;
        let page = self.page(&call.network).await?;
        let endpoint = self.client.endpoint(call.endpoint.as_str()).await;
        let endpoint = endpoint?;
        let network = self.network(&call.network, &page).await?;
        document(&joined(&endpoint, &network, &page))
    }

    async fn network(&self, id: &Id, page: &Page) -> Result<NetworkDetail, Refusal> {
        Ok(self.client.network(network_of(id, page)).await?)
    }

    pub(super) async fn page(&self, id: &Id) -> Result<Page, Refusal> {
        self.book.page(id).await.map_err(unwritten)
    }

    async fn note(&self, id: &Id, page: &Page) -> Result<(), Refusal> {
        self.book.write(id, page).await.map_err(unwritten)
    }

    async fn request_pool(&self, body: &[u8]) -> Answer {
        let call: RequestPool = read(body)?;
        document(&self.addresses.request_pool(&call).await?)
    }

    fn release_pool(&self, body: &[u8]) -> Answer {
        let PoolOnly { pool } = read(body)?;
        self.addresses.release_pool(&pool);
        Ok(nothing())
    }

    async fn request_address(&self, body: &[u8]) -> Answer {
        let call: OfAddress = read(body)?;
        document(&self.addresses.request_address(&call).await?)
    }

    fn release_address(&self, body: &[u8]) -> Answer {
        let call: OfAddress = read(body)?;
        self.addresses.release_address(&call.address);
        Ok(nothing())
    }
}

/// The agent's network that stands behind one of the engine's.
pub(super) fn network_of<'n>(id: &'n Id, page: &'n Page) -> &'n str {
    page.network.as_deref().unwrap_or(id.as_str())
}

/// A removal, of which nothing to remove is as good.
pub(super) fn gone(removed: Result<(), ClientError>) -> Result<(), Refusal> {
    match removed {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

fn unwritten(error: std::io::Error) -> Refusal {
    Refusal::new(format!(
        "the agent cannot keep its notes of Docker's networks: {error}; look after its state directory"
    ))
}

pub(super) fn document(reply: &impl Serialize) -> Answer {
    serde_json::to_value(reply).map_err(|error| Refusal::new(error.to_string()))
}

pub(super) fn nothing() -> Value {
    json!({})
}

/// The networks are this host's: those of a cluster are the agent's, and joined by `-o network=`.
const CAPABILITIES: NetworkCapabilities = NetworkCapabilities {
    scope: "local",
    connectivity_scope: "local",
};
const IPAM_CAPABILITIES: IpamCapabilities = IpamCapabilities {
    requires_mac_address: false,
    // The agent has all of it on record.
    requires_request_replay: false,
};
const ADDRESS_SPACES: AddressSpaces = AddressSpaces {
    local_default_address_space: ADDRESS_SPACE,
    global_default_address_space: ADDRESS_SPACE,
};
