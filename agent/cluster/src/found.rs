//! Making a cluster, and joining one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::authority::Authority;
use crate::ca::{Ca, host_subject};
use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::files::{CA_KEY, CA_RECORD, Files};
use crate::host_id::new_founder_id;
use crate::identity::{Candidate, Identity, pinned_asking};
use crate::manager_port::{JoinRequest, Reply, Request, ask};
use crate::member::Member;
use crate::place::wanted;
use crate::settings::{Duty, Settings, client_url};
use crate::token::JoinToken;
use crate::unrecorded::{Signing, Unrecorded};
use crate::{ClusterOptions, DEFAULT_PORT, hex};
use agent_core::name::check_name;
use agent_core::shared::{
    CLUSTER, CaRecord, ClusterRecord, HOSTS, HostRecord, MANAGERS, ManagerRecord,
};
use agent_store::{Change, Expected, StoreError};

/// `cluster init`.
#[derive(Clone, Debug, Default)]
pub struct InitRequest {
    /// Where other hosts reach this one, which need not have that address itself. Where absent, the address from which this
    /// host reaches the outside.
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
    /// Where others reach this host, which need not have that address itself. Where absent, the address from which it joins.
    pub address: Option<IpAddr>,
    /// The UDP port of its tunnels, here and there.
    pub udp_port: Option<u16>,
}

impl Member {
    /// Makes a cluster of this host alone. A failure leaves nothing behind. Blocks until etcd answers; where it does not, for some 20 s.
    pub fn init(
        options: &ClusterOptions,
        request: InitRequest,
        runtime: &Handle,
    ) -> Result<Arc<Self>, UseCluster> {
        let files = empty_files(options)?;
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
        let files = empty_files(options)?;
        let joined = join(options, &files, request, runtime);
        if joined.is_err() {
            let _ = files.remove();
        }
        joined
    }
}

/// Where what is written is all there is: a failure takes it away again.
pub(crate) fn empty_files(options: &ClusterOptions) -> Result<Files, UseCluster> {
    let files = Files::new(&options.state_dir);
    match files.are_there() {
        true => Err(Refusal::Leftovers(files.path("")).into()),
        false => Ok(files),
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
    let port = request.tcp_port.unwrap_or(DEFAULT_PORT);
    let (address, advertised) = wanted(request.address, way_out, port).ok_or(Refusal::NoWayOut)?;
    let signer = SocketAddr::new(address, port);
    let cluster = hex::encode(&hex::random::<8>());
    let (ca, ca_key) = Ca::create(&cluster)?;
    let record = CaRecord::new(ca.certificate().to_owned());
    let seat = Seat {
        cluster,
        authority: Authority::new(ca, record),
        ca_key,
        advertised,
        signer,
        etcd: request.etcd,
    };
    let member = seat.take(options, files, runtime)?;
    let claimed = member
        .serve()
        .and_then(|()| wait_for_store(&member))
        .and_then(|()| claim(&member));
    if let Err(error) = claimed {
        member.stop();
        return Err(error);
    }
    Ok(member)
}

/// What a host begins with as the first manager of a cluster.
pub(crate) struct Seat {
    /// The cluster's id.
    pub(crate) cluster: String,
    pub(crate) authority: Authority,
    /// PEM.
    pub(crate) ca_key: String,
    /// Where hosts are to join.
    pub(crate) signer: SocketAddr,
    /// Where others reach this host's tunnels, if that is elsewhere.
    pub(crate) advertised: Option<SocketAddr>,
    /// URLs of an etcd that is there already.
    pub(crate) etcd: Vec<String>,
}

impl Seat {
    /// All on disk, with certificates for an id that is new.
    pub(crate) fn take(
        self,
        options: &ClusterOptions,
        files: &Files,
        runtime: &Handle,
    ) -> Result<Arc<Member>, UseCluster> {
        let (host, address) = (new_founder_id(), self.signer.ip());
        let etcd_managed = self.etcd.is_empty();
        let settings = Settings {
            name: name(options)?,
            cluster: self.cluster,
            signer_host: Some(host.clone()),
            host: host.clone(),
            address,
            advertised: self.advertised,
            follows_way: false,
            signer: self.signer,
            quic_udp_port: self.signer.port(),
            duty: Duty {
                signs: true,
                etcd: match etcd_managed {
                    true => vec![client_url(self.signer)],
                    false => self.etcd,
                },
                etcd_managed,
                ..Duty::default()
            },
        };
        files.write(CA_KEY, &self.ca_key)?;
        files.write_json(CA_RECORD, self.authority.record())?;
        let unrecorded = Unrecorded::new(files, &host);
        let signing = Signing {
            authority: &self.authority,
            files,
            unrecorded: &unrecorded,
            lifetime: options.certificate_lifetime,
        };
        let candidate = Candidate::new()?;
        let identity = Identity {
            certificate: signing.sign_own(&candidate.request, &host_subject(&host, address))?,
            host,
            ca: self.authority.bundle(),
            key: candidate.key,
        };
        signing.certify_service(&settings.service_addresses())?;
        files.save(&settings, &identity)?;
        Member::open(options, files.clone(), settings, identity, runtime)
    }
}

/// The first entries of a store that no cluster uses.
fn claim(member: &Member) -> Result<(), UseCluster> {
    let settings = &member.settings;
    let cluster = ClusterRecord {
        id: settings.cluster.clone(),
        created_s: now_s(),
        restored: None,
        generation: 0,
    };
    let host = HostRecord {
        name: settings.name.clone(),
        address: settings.told(settings.address).ip(),
        joined_s: now_s(),
    };
    let manager = ManagerRecord {
        address: member.signer_told(),
    };
    let key = |kind: &str| format!("{kind}{}", settings.host);
    let claimed = member.store().transact(&[
        Change::encode(CLUSTER, &cluster, Expected::Absent)?,
        Change::encode(key(HOSTS), &host, Expected::Absent)?,
        Change::encode(key(MANAGERS), &manager, Expected::Absent)?,
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
    let udp_port = request.udp_port.unwrap_or(DEFAULT_PORT);
    let mut place = None;
    let asking = ask(
        request.signer,
        pinned_asking(request.token.ca_hash())?,
        |own| {
            let (address, advertised) = *place.get_or_insert_with(|| {
                let placed = wanted(request.address, || Some(own), udp_port);
                placed.unwrap_or((own, None))
            });
            let address = advertised.map_or(address, |told| told.ip());
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
    let (address, advertised) = place.unwrap_or((Ipv4Addr::UNSPECIFIED.into(), None));
    let settings = Settings {
        cluster: joined.cluster,
        host: joined.host,
        name,
        address,
        advertised,
        follows_way: false,
        signer: request.signer,
        signer_host: Some(joined.signer_host),
        quic_udp_port: udp_port,
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

pub(crate) fn wait_for_store(member: &Member) -> Result<(), UseCluster> {
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
pub(crate) fn way_out() -> Option<IpAddr> {
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

pub(crate) fn check_url(url: &str) -> Result<(), UseCluster> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    Err(Refusal::NotAUrl(url.to_owned()).into())
}

/// Stands for the outside: no host has this address (RFC 5737).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A new etcd is there within seconds.
const STORE_LIMIT: Duration = Duration::from_secs(20);
