//! Endpoints: the attachments of sandboxes to networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DnsServer, LinkSettings, PortMapping, PortRun, PortSettings, RateSettings, port_runs};

/// What a user may choose about one attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EndpointSettings {
    /// The link's name inside the sandbox, as `link` of an endpoint; the first free `ethN` where absent.
    pub ifname: Option<String>,
    #[schema(value_type = Option<String>)]
    pub ip: Option<Ipv4Addr>,
    #[schema(value_type = Option<String>)]
    pub ip6: Option<Ipv6Addr>,
    /// The IPv4 address is leased from the DHCP server of the network's LAN, for as long as the endpoint is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lease: bool,
    /// `02:42:ac:11:00:02`; made from the IPv4 address where absent.
    pub mac: Option<String>,
    pub aliases: Vec<String>,
    /// What goes wrong at its link, from the first frame on.
    #[serde(skip_serializing_if = "LinkSettings::is_default")]
    pub impairments: LinkSettings,
    /// How the switch treats its port, from the first frame on.
    #[serde(skip_serializing_if = "PortSettings::is_default")]
    pub port_settings: PortSettings,
    /// By which access lists know it; a container's own where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// On a network that is aware of VLANs, the one that it has without tags, 1 to 4094. Where this and `trunk` are absent, the
    /// network's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The VLANs that it has by their tags, as `10,20-30`; `all` for every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// What it may get and send.
    #[serde(skip_serializing_if = "RateSettings::is_default")]
    pub rates: RateSettings,
}

/// `POST /v1/endpoints`: attaches a namespace that the caller owns, as plugins and labs do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointCreate {
    /// Under which id the caller knows it already: 64 hexadecimal digits. Made up where absent.
    pub id: Option<String>,
    pub network: String,
    /// The name that the network's DNS answers for; unique on the network.
    pub name: String,
    /// A network namespace file, for example `/run/netns/h1` or `/proc/42/ns/net`. Where absent the link is handed over: it
    /// is made in the agent's own namespace, down, with MAC and MTU but without addresses, and the caller moves it into a
    /// sandbox and configures it there, as container engines do.
    #[schema(value_type = Option<String>)]
    pub sandbox: Option<PathBuf>,
    /// The link's name inside the sandbox; the first free `ethN` where absent. One that is handed over has a name of its own.
    pub link: Option<String>,
    /// Name servers that are asked for it before the network's, as those of `run --dns`.
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<DnsServer>,
    /// Host ports that lead to it. Those that another endpoint of the same sandbox publishes already stay with that one, until
    /// it goes.
    #[serde(with = "port_runs")]
    #[schema(value_type = Vec<PortRun>)]
    pub publish: Vec<PortMapping>,
    /// Whether the caller keeps other programs from these ports, as podman does. The agent then looks once whether they are
    /// anybody's, takes none of them, and serves only what the packet filter can lead.
    pub ports_reserved: bool,
    #[serde(flatten)]
    pub settings: EndpointSettings,
}

/// `PATCH /v1/endpoints/{id}`: what is to be different; what is absent stays. Containers' endpoints follow their container.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointUpdate {
    /// The name that the network's DNS answers for.
    pub name: Option<String>,
    pub aliases: Option<Vec<String>>,
    /// Host ports that lead to it, in place of those that did.
    #[schema(value_type = Option<Vec<PortMapping>>)]
    pub publish: Option<Vec<PortMapping>>,
}

/// `PATCH /v1/endpoints/{id}/labels`: labels by which access lists know it. What is absent stays, and what is null goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct LabelsUpdate(pub BTreeMap<String, Option<String>>);

impl LabelsUpdate {
    /// What labels come to by it.
    pub fn of(&self, before: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut labels = before.clone();
        for (key, value) in &self.0 {
            match value {
                Some(value) => labels.insert(key.clone(), value.clone()),
                None => labels.remove(key),
            };
        }
        labels
    }
}

/// An endpoint as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointDetail {
    pub id: String,
    pub network: String,
    /// The container, or the name given at creation.
    pub name: String,
    pub mac: String,
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpNet>,
    #[schema(value_type = Vec<String>)]
    pub gateways: Vec<IpAddr>,
    pub link: String,
    pub port: Option<u32>,
    pub aliases: Vec<String>,
    /// A path to the namespace; absent for containers, which say it themselves.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub sandbox: Option<PathBuf>,
    /// Its host ports, unless it is a container's, which says them itself.
    #[serde(default, with = "port_runs")]
    #[schema(value_type = Vec<PortRun>)]
    pub publish: Vec<PortMapping>,
    /// Whether its port is up.
    #[serde(default = "yes")]
    pub up: bool,
    /// Whether somebody moved its link out of the sandbox, as into a nested namespace.
    #[serde(default)]
    pub moved: bool,
    /// Why it reaches nobody, though it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<String>,
    /// What the sandbox's owner changed at the link, in words; it is left so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// By which access lists know it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// On a network that is aware of VLANs, the one that it has without tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The VLANs that it has by their tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
}

const fn yes() -> bool {
    true
}

/// `POST /v1/networks/{name}/connect`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    pub container: String,
    #[serde(flatten)]
    pub settings: EndpointSettings,
}

/// `POST /v1/networks/{name}/disconnect`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    pub container: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_refused_and_a_setting_is_not() {
        let endpoint = |text: &str| serde_json::from_str::<EndpointCreate>(text);
        let connect = |text: &str| serde_json::from_str::<Connect>(text);
        let good = r#"{"name":"a","ip":"10.0.0.2","aliases":["b"]}"#;
        assert_eq!(endpoint(good).unwrap().settings.aliases, ["b"]);
        let good = r#"{"container":"a","mac":"02:00:00:00:00:01"}"#;
        assert!(connect(good).unwrap().settings.mac.is_some());
        let wrong = endpoint(r#"{"name":"a","aliasses":["b"]}"#).unwrap_err();
        assert!(wrong.to_string().contains("aliasses"), "{wrong}");
        let wrong = connect(r#"{"container":"a","ipv4":"10.0.0.2"}"#).unwrap_err();
        assert!(wrong.to_string().contains("ipv4"), "{wrong}");
    }
}
