//! Making a cluster, and joining one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::admission::{certify_service, on_record};
use crate::authority::Authority;
use crate::ca::{Ca, Issued, host_subject};
use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::files::{CA_KEY, Files};
use crate::host_id::new_founder_id;
use crate::identity::{Candidate, Identity, pinned_asking};
use crate::member::Member;
use crate::settings::{Duty, Settings, client_url};
use crate::signer::{JoinRequest, Reply, Request, ask};
use crate::token::JoinToken;
use crate::{ClusterOptions, DEFAULT_PORT, hex};
use agent_core::name::check_name;
use agent_core::shared::{
    CLUSTER, CaRecord, ClusterRecord, HOSTS, HostRecord, ISSUED, MANAGERS, ManagerRecord,
};
use agent_store::{Change, Expected, StoreError};

/// `cluster init`.
#[derive(Clone, Debug, Default)]
pub struct InitRequest {
    /// Where other hosts reach this one. Where absent, the address from which this host reaches the outside.
    pub address: Option<IpAddr>,
    pub tcp_port: Option<u16>,
    /// URLs of an etcd that is there already.
    pub etcd: Vec<String>,
}

/// `cluster join`.
#[derive(Clone, Debug)]
pub struct JoinCluster {
    pub token: JoinToken,
    pub signer: SocketAddr,
    /// Where tunnels to this host end. Where absent, the address from which it joins.
    pub address: Option<IpAddr>,
}

impl Member {
    /// Makes a cluster of this host alone. A failure leaves nothing behind. Blocks until etcd answers; where it does not, for some 20 s.
    pub fn init(
        options: &ClusterOptions,
        request: InitRequest,
        runtime: &Handle,
    ) -> Result<Arc<Self>, UseCluster> {
        let files = Files::new(&options.state_dir);
        let made = found(options, &files, request, runtime);
        if made.is_err() {
            let _ = files.remove();
        }
        made
    }

    /// Joins the cluster that made the token. A failure leaves nothing behind here, but may have used up the token. Blocks
    /// until the signer and etcd answer; where they do not, for some 40 s.
    pub fn join(
        options: &ClusterOptions,
        request: &JoinCluster,
        runtime: &Handle,
    ) -> Result<Arc<Self>, UseCluster> {
        let files = Files::new(&options.state_dir);
        let joined = join(options, &files, request, runtime);
        if joined.is_err() {
            let _ = files.remove();
        }
        joined
    }
}

fn found(
    options: &ClusterOptions,
    files: &Files,
    request: InitRequest,
    runtime: &Handle,
) -> Result<Arc<Member>, UseCluster> {
    for url in &request.etcd {
        check_url(url)?;
    }
    let address = match request.address {
        Some(address) => address,
        None => way_out().ok_or(Refusal::NoWayOut)?,
    };
    let signer = SocketAddr::new(address, request.tcp_port.unwrap_or(DEFAULT_PORT));
    let cluster = hex::encode(&hex::random::<8>());
    let host = new_founder_id();
    let (ca, ca_key) = Ca::create(&cluster)?;
    let record = CaRecord::new(ca.certificate().to_owned());
    let authority = Authority::new(ca, record);
    let candidate = Candidate::new()?;
    let issued = authority.certify(
        &candidate.request,
        &host_subject(&host, address),
        options.certificate_lifetime,
    )?;
    let identity = Identity {
        host: host.clone(),
        ca: authority.bundle(),
        certificate: issued.certificate.clone(),
        key: candidate.key,
    };
    let etcd_managed = request.etcd.is_empty();
    let settings = Settings {
        name: name(options)?,
        cluster,
        signer_host: Some(host.clone()),
        host,
        address,
        follows_way: false,
        signer,
        quic_udp_port: signer.port(),
        duty: Duty {
            signs: true,
            etcd: match etcd_managed {
                true => vec![client_url(signer)],
                false => request.etcd,
            },
            etcd_managed,
            ..Duty::default()
        },
    };
    files.write(CA_KEY, &ca_key)?;
    certify_service(&authority, files, address, options.certificate_lifetime)?;
    files.save(&settings, &identity)?;
    let member = Member::open(options, files.clone(), settings, identity, runtime)?;
    let claimed = member
        .serve()
        .and_then(|()| wait_for_store(&member))
        .and_then(|()| claim(&member, &issued, options));
    if let Err(error) = claimed {
        member.stop();
        return Err(error);
    }
    Ok(member)
}

/// The first entries of a store that no cluster uses.
fn claim(member: &Member, issued: &Issued, options: &ClusterOptions) -> Result<(), UseCluster> {
    let settings = &member.settings;
    let cluster = ClusterRecord {
        id: settings.cluster.clone(),
        created_s: now_s(),
    };
    let host = HostRecord {
        name: settings.name.clone(),
        address: settings.address,
        joined_s: now_s(),
    };
    let manager = ManagerRecord {
        address: settings.signer,
    };
    let store = member.store();
    let lease = store.grant(on_record(options.certificate_lifetime))?;
    let key = |kind: &str| format!("{kind}{}", settings.host);
    let issued_key = format!("{}/{}", key(ISSUED), issued.serial);
    let claimed = store.transact(&[
        Change::encode(CLUSTER, &cluster, Expected::Absent)?,
        Change::encode(key(HOSTS), &host, Expected::Absent)?,
        Change::encode(key(MANAGERS), &manager, Expected::Absent)?,
        Change::encode(issued_key, &issued.record, Expected::Anything)?.under(lease),
    ]);
    match claimed {
        Ok(_) => Ok(()),
        Err(StoreError::Exists { .. }) => Err(Refusal::ClusterExists.into()),
        Err(error) => Err(error.into()),
    }
}

fn join(
    options: &ClusterOptions,
    files: &Files,
    request: &JoinCluster,
    runtime: &Handle,
) -> Result<Arc<Member>, UseCluster> {
    let (candidate, name) = (Candidate::new()?, name(options)?);
    let mut address = request.address;
    let asking = ask(
        request.signer,
        pinned_asking(request.token.ca_hash())?,
        |own| {
            let address = *address.get_or_insert(own);
            Request::Join(JoinRequest {
                token_id: request.token.id(),
                secret: request.token.secret(),
                name: name.clone(),
                address,
                request: candidate.request.clone(),
                now_s: Some(now_s()),
            })
        },
    );
    let reply = runtime.block_on(asking)?;
    let Reply::Joined(joined) = reply else {
        return Err(Refusal::OddAnswer.into());
    };
    let identity = Identity {
        host: joined.host.clone(),
        ca: joined.ca,
        certificate: joined.certificate,
        key: candidate.key,
    };
    let settings = Settings {
        cluster: joined.cluster,
        host: joined.host,
        name,
        address: address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        follows_way: false,
        signer: request.signer,
        signer_host: Some(joined.signer_host),
        quic_udp_port: DEFAULT_PORT,
        duty: Duty::default(),
    };
    files.save(&settings, &identity)?;
    let member = Member::open(options, files.clone(), settings, identity, runtime)?;
    if let Err(error) = wait_for_store(&member) {
        member.stop();
        return Err(error);
    }
    Ok(member)
}

fn wait_for_store(member: &Member) -> Result<(), UseCluster> {
    let deadline = Instant::now() + STORE_LIMIT;
    loop {
        match member.store().get(CLUSTER) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The address from which this host reaches the outside. Nothing is sent: connecting a UDP socket only picks the route.
fn way_out() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((OUTSIDE, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

fn name(options: &ClusterOptions) -> Result<String, UseCluster> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_default(),
    };
    check_name(&name).map_err(Refusal::HostName)?;
    Ok(name)
}

fn check_url(url: &str) -> Result<(), UseCluster> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    Err(Refusal::NotAUrl(url.to_owned()).into())
}

/// Stands for the outside: no host has this address (RFC 5737).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A new etcd is there within seconds.
const STORE_LIMIT: Duration = Duration::from_secs(20);
