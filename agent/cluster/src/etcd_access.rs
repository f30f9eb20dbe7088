//! How this host speaks to etcd.

use std::net::SocketAddr;
use std::path::Path;

use crate::ClusterOptions;
use crate::ca::ETCD_NAME;
use crate::error::{Refusal, UseCluster};
use crate::files::{ETCD_CREDENTIALS, Files, SERVICE_CERTIFICATE, SERVICE_KEY};
use crate::identity::Identity;
use crate::settings::{Settings, client_url};
use agent_store::{EtcdOptions, EtcdTls};

/// An etcd that the agent started takes the managers' certificate; one that was given takes those of the configuration.
pub(crate) fn etcd_options(
    options: &ClusterOptions,
    files: &Files,
    (settings, managers): (&Settings, &[SocketAddr]),
    identity: &Identity,
) -> Result<EtcdOptions, UseCluster> {
    let secure = settings
        .duty
        .etcd
        .iter()
        .any(|url| url.starts_with("https:"));
    let tls = if settings.duty.etcd_managed {
        Some(EtcdTls {
            ca: identity.ca.clone(),
            certificate: files.read_needed(SERVICE_CERTIFICATE)?,
            key: files.read_needed(SERVICE_KEY)?,
            server_name: Some(ETCD_NAME.to_owned()),
        })
    } else if secure {
        Some(given_etcd_tls(options, files)?)
    } else {
        None
    };
    Ok(EtcdOptions {
        endpoints: endpoints(settings, managers),
        root: ROOT.to_owned(),
        tls,
    })
}

/// Of this host's etcd first, where managers run it.
fn endpoints(settings: &Settings, managers: &[SocketAddr]) -> Vec<String> {
    let mut endpoints = settings.duty.etcd.clone();
    if settings.duty.etcd_managed {
        let own = settings.served();
        let others = managers.iter().filter(|manager| **manager != own);
        endpoints.extend(others.map(|manager| client_url(*manager)));
    }
    endpoints
}

fn given_etcd_tls(options: &ClusterOptions, files: &Files) -> Result<EtcdTls, UseCluster> {
    let [ca, certificate, key] =
        given_credentials(options, files)?.ok_or(Refusal::NoCertificates)?;
    Ok(EtcdTls {
        ca,
        certificate,
        key,
        server_name: None,
    })
}

/// CA, certificate and key for an etcd that was given, as PEM: those that the configuration names, or those that came with a
/// promotion.
pub(crate) fn given_credentials(
    options: &ClusterOptions,
    files: &Files,
) -> Result<Option<[String; 3]>, UseCluster> {
    let Some([ca, certificate, key]) = &options.etcd_files else {
        let text = files.read(ETCD_CREDENTIALS)?;
        let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
        return Ok(parsed.map_err(|error| files.garbled(ETCD_CREDENTIALS, error))?);
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| Refusal::Unreadable {
            path: path.to_owned(),
            source,
        })
    };
    Ok(Some([read(ca)?, read(certificate)?, read(key)?]))
}

/// Every key begins with this: the etcd may serve others too.
const ROOT: &str = "/tapestry/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Duty;

    fn settings(etcd: &str, etcd_managed: bool) -> Settings {
        Settings {
            cluster: "c".into(),
            host: "00".into(),
            name: "one".into(),
            address: "192.0.2.1".parse().unwrap(),
            advertised: None,
            follows_way: false,
            signer: "192.0.2.1:4790".parse().unwrap(),
            signer_host: None,
            quic_udp_port: 4790,
            duty: Duty {
                signs: true,
                etcd: vec![etcd.to_owned()],
                etcd_managed,
                ..Duty::default()
            },
        }
    }

    #[test]
    fn the_etcd_of_this_host_is_asked_first_and_one_that_was_given_alone() {
        let managers = [2, 1].map(|n| SocketAddr::from(([192, 0, 2, n], 4790)));
        let own = settings("https://192.0.2.1:4791", true);
        assert_eq!(
            endpoints(&own, &managers),
            ["https://192.0.2.1:4791", "https://192.0.2.2:4791"]
        );
        // Its own is known by another address to the others.
        let behind = Settings {
            address: "10.0.0.7".parse().unwrap(),
            signer: "10.0.0.7:4790".parse().unwrap(),
            advertised: Some(managers[1]),
            ..settings("https://10.0.0.7:4791", true)
        };
        assert_eq!(
            endpoints(&behind, &managers),
            ["https://10.0.0.7:4791", "https://192.0.2.2:4791"]
        );
        let given = settings("http://192.0.2.9:2379", false);
        assert_eq!(endpoints(&given, &managers), ["http://192.0.2.9:2379"]);
    }
}
