//! What the plugin writes: results, failures, versions.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::line::line;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cni) struct Success {
    pub(in crate::cni) cni_version: String,
    pub(in crate::cni) interfaces: Vec<Interface>,
    pub(in crate::cni) ips: Vec<Ip>,
    pub(in crate::cni) routes: Vec<Route>,
    pub(in crate::cni) dns: Dns,
}

#[derive(Debug, Serialize)]
pub(in crate::cni) struct Interface {
    pub(in crate::cni) name: String,
    pub(in crate::cni) mac: String,
    pub(in crate::cni) sandbox: String,
    /// From version 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cni) mtu: Option<u16>,
}

#[derive(Debug, Serialize)]
pub(in crate::cni) struct Ip {
    /// `4` or `6`, before version 1.0.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cni) version: Option<&'static str>,
    pub(in crate::cni) address: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cni) gateway: Option<IpAddr>,
    pub(in crate::cni) interface: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::cni) struct Route {
    pub(in crate::cni) dst: &'static str,
    pub(in crate::cni) gw: IpAddr,
}

/// In the configuration as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::cni) struct Dns {
    #[serde(deserialize_with = "super::config::or_null")]
    pub(in crate::cni) nameservers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cni) domain: Option<String>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::config::or_null"
    )]
    pub(in crate::cni) search: Vec<String>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::config::or_null"
    )]
    pub(in crate::cni) options: Vec<String>,
}

/// A failure, with the codes of the specification's "Error".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(in crate::cni) struct Failure {
    pub(in crate::cni) code: u32,
    pub(in crate::cni) message: String,
}

impl Failure {
    pub(in crate::cni) fn new(code: u32, message: impl Into<String>) -> Self {
        let message = line(message);
        Self { code, message }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cni) struct FailureReply<'a> {
    pub(in crate::cni) cni_version: &'a str,
    pub(in crate::cni) code: u32,
    pub(in crate::cni) msg: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cni) struct Versions {
    pub(in crate::cni) cni_version: &'static str,
    pub(in crate::cni) supported_versions: &'static [&'static str],
}
