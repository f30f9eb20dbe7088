//! How this host speaks to etcd.

use std::path::Path;

use crate::ClusterOptions;
use crate::ca::ETCD_NAME;
use crate::error::{Refusal, UseCluster};
use crate::files::{Files, SERVICE_CERTIFICATE, SERVICE_KEY};
use crate::identity::Identity;
use crate::settings::Settings;
use agent_store::{EtcdOptions, EtcdTls};

/// An etcd that the agent started takes the managers' certificate; one that was given takes those of the configuration.
pub(crate) fn etcd_options(
    options: &ClusterOptions,
    files: &Files,
    settings: &Settings,
    identity: &Identity,
) -> Result<EtcdOptions, UseCluster> {
    let secure = settings.etcd.iter().any(|url| url.starts_with("https:"));
    let tls = if settings.etcd_managed {
        Some(EtcdTls {
            ca: identity.ca.clone(),
            certificate: files.read_needed(SERVICE_CERTIFICATE)?,
            key: files.read_needed(SERVICE_KEY)?,
            server_name: Some(ETCD_NAME.to_owned()),
        })
    } else if secure {
        Some(given_etcd_tls(options)?)
    } else {
        None
    };
    Ok(EtcdOptions {
        endpoints: settings.etcd.clone(),
        root: ROOT.to_owned(),
        tls,
    })
}

fn given_etcd_tls(options: &ClusterOptions) -> Result<EtcdTls, UseCluster> {
    let Some([ca, certificate, key]) = &options.etcd_files else {
        return Err(Refusal::NoCertificates.into());
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| Refusal::Unreadable {
            path: path.to_owned(),
            source,
        })
    };
    Ok(EtcdTls {
        ca: read(ca)?,
        certificate: read(certificate)?,
        key: read(key)?,
        server_name: None,
    })
}

/// Every key begins with this: the etcd may serve others too.
const ROOT: &str = "/tapestry/";
