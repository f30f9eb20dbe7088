//! Who is turned away: each is refused, counted where people look, and logged once.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};

use super::{
    STEP, Underlay, cluster, cluster_of, create_shared, hosts_of, join, pair, reaches, token,
};
use crate::harness::{Host, Netns, eventually};

/// Takes every server for the one it wants.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
        ]
    }
}

/// What a stranger shows: a certificate and its key.
pub(super) type Shown = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// Of a client that believes every server.
fn client_config(shown: Option<Shown>, protocol: &[u8]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting));
    let mut tls = match shown {
        None => tls.with_no_client_auth(),
        Some((certificate, key)) => tls.with_client_auth_cert(vec![certificate], key).unwrap(),
    };
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls
}

/// Dials the QUIC tunnel of the host at 192.0.2.1 and says why the connection ended; `None` where it was let in.
fn dial(from: &Netns, shown: Option<Shown>) -> Option<String> {
    let tls = client_config(shown, b"tapestry/1");
    let tls = QuicClientConfig::try_from(tls).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(tls));
    from.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            let runtime = Arc::new(quinn::TokioRuntime);
            let mut endpoint =
                quinn::Endpoint::new(Default::default(), None, socket, runtime).unwrap();
            endpoint.set_default_client_config(config);
            let tunnel = "192.0.2.1:4790".parse().unwrap();
            let dialing = endpoint.connect(tunnel, "host").unwrap();
            let connection = match dialing.await {
                Ok(connection) => connection,
                Err(error) => return Some(error.to_string()),
            };
            // The client's part is done before the server has looked at its certificate.
            let ended = tokio::time::timeout(Duration::from_secs(2), connection.closed()).await;
            ended.ok().map(|reason| reason.to_string())
        })
    })
}

/// The port of the host at 192.0.2.1 where hosts join and renew, and members reach the store.
pub(super) struct Door(rustls::StreamOwned<rustls::ClientConnection, TcpStream>);

impl Door {
    pub(super) fn open(from: &Netns, shown: Option<Shown>) -> Self {
        let tls = client_config(shown, b"tapestry-join/2");
        let name = ServerName::try_from("signer.tapestry").unwrap();
        let tls = rustls::ClientConnection::new(Arc::new(tls), name).unwrap();
        let stream = from.enter(|| TcpStream::connect("192.0.2.1:4790").unwrap());
        stream.set_read_timeout(Some(STEP)).unwrap();
        Self(rustls::StreamOwned::new(tls, stream))
    }

    /// Says something; the next thing that the other side says.
    pub(super) fn ask(&mut self, request: &Value) -> Value {
        let request = request.to_string();
        let length = u32::try_from(request.len()).unwrap();
        self.0.write_all(&length.to_be_bytes()).unwrap();
        self.0.write_all(request.as_bytes()).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut reply).unwrap();
        serde_json::from_slice(&reply).unwrap()
    }
}

/// Asks once; the answer.
fn ask(from: &Netns, shown: Option<Shown>, request: &Value) -> Value {
    Door::open(from, shown).ask(request)
}

/// A certificate of `issuer` for the host `name`, until a year that has passed or one that has not.
fn certificate(issuer: &Issuer<'_, KeyPair>, name: &str, is_expired: bool) -> Shown {
    certificate_of(issuer, name, (2020, if is_expired { 2021 } else { 2099 }))
}

/// The same from one year to another.
fn certificate_of(issuer: &Issuer<'_, KeyPair>, name: &str, (from, until): (i32, i32)) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (certificate.der().clone(), key)
}

/// The cluster's own CA, whose key is on the host that made it.
fn cluster_ca(host: &Host) -> Issuer<'static, KeyPair> {
    let read = |name| fs::read_to_string(host.state_dir().join("cluster").join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca.key")).unwrap();
    Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap()
}

fn other_ca() -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    Issuer::new(params, KeyPair::generate().unwrap())
}

fn lines_with(host: &Host, part: &str) -> usize {
    host.log()
        .lines()
        .filter(|line| line.contains(part))
        .count()
}

/// So many namespaces on the underlay that are no hosts, from 192.0.2.66 on.
fn strangers(lab: &Underlay, count: usize) -> Vec<Netns> {
    (66..66 + count)
        .map(|number| {
            let netns = Netns::new("odd");
            super::plug(&lab.netns, &netns, number);
            netns
        })
        .collect()
}

#[test]
fn whoever_shows_no_good_certificate_is_refused_counted_and_logged_once() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let member = cluster_of(two)["host"].as_str().unwrap().to_owned();
    let (ours, other) = (cluster_ca(one), other_ca());
    let cases: [(&str, Option<Shown>); 4] = [
        ("no certificate", None),
        ("another CA's", Some(certificate(&other, &member, false))),
        ("an expired one", Some(certificate(&ours, &member, true))),
        (
            "one for a host that is no member",
            Some(certificate(&ours, "00000000000000ff", false)),
        ),
    ];
    let refused = || cluster_of(one)["quic"]["refused"].as_u64().unwrap_or(0);
    let netns = strangers(&lab, cases.len());
    for ((what, shown), (number, netns)) in cases.into_iter().zip((66..).zip(&netns)) {
        let before = refused();
        for _ in 0..3 {
            let again = shown
                .as_ref()
                .map(|(certificate, key)| (certificate.clone(), key.clone_key()));
            let ended = dial(netns, again);
            assert!(ended.is_some(), "{what}: was let in");
        }
        assert_eq!(refused(), before + 3, "{what}");
        assert_eq!(
            lines_with(one, &format!("192.0.2.{number}:")),
            1,
            "{what}: {}",
            one.log()
        );
    }
    // Nobody's connection came to harm.
    assert!(
        hosts_of(one)
            .iter()
            .any(|host| host["tunnel"]["up"] == true)
    );
}

#[test]
fn vxlan_of_a_stranger_is_dropped_counted_and_logged_once() {
    let lab = cluster(2);
    let options = [
        "--subnet",
        "10.9.0.0/24",
        "-o",
        "encap=vxlan",
        "-o",
        "vni=77",
    ];
    create_shared(&lab, "far", &options);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &["--ip", "10.9.0.9"]);
    two.idle("b", "far", &[]);
    reaches(two, "b", "a");
    let stranger = &strangers(&lab, 1)[0];
    // A kernel's device with the right VNI, and everything else it needs.
    stranger.sh(
        "ip link add vx type vxlan id 77 remote 192.0.2.1 local 192.0.2.66 dstport 4789 dev under0
         ip addr add 10.9.0.66/24 dev vx; ip link set vx up",
    );
    assert!(!stranger.pings("10.9.0.9"));
    let overlay = one.network("far").overlay.unwrap();
    assert_eq!((&*overlay.encap, overlay.vni), ("vxlan", 77));
    assert!(overlay.drops["unknown_remote"] >= 3, "{overlay:?}");
    assert_eq!(lines_with(one, "192.0.2.66"), 1, "{}", one.log());
    // The tunnel to the host that is known.
    let tunnel = &overlay.tunnels[0];
    assert_eq!(tunnel.address.to_string(), "192.0.2.2");
    assert!(tunnel.rx_frames > 0 && tunnel.tx_frames > 0, "{tunnel:?}");
    assert_eq!(tunnel.up, None);
}

#[test]
fn tokens_that_are_no_good_are_refused_counted_and_logged_once() {
    let lab = Underlay::new(3);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    let refused = || cluster_of(one)["refused"].as_u64().unwrap();
    assert_eq!(refused(), 0);
    let used = token(one);
    two.tapestry(&["cluster", "join", &used, "192.0.2.1"]).ok();
    for times in 1..=3 {
        let said = three
            .tapestry(&["cluster", "join", &used, "192.0.2.1"])
            .refused(1);
        assert!(said.contains("unknown, used or expired"), "{said}");
        assert_eq!(refused(), times);
    }
    assert_eq!(lines_with(one, "a host was refused"), 1, "{}", one.log());
    join(one, three).ok();
    eventually(STEP, "it is a member after all", || {
        (hosts_of(one).len() == 3).then_some(())
    });
}

#[test]
fn clocks_that_are_off_are_told_as_that_in_both_directions() {
    let lab = cluster(1);
    let stranger = &strangers(&lab, 1)[0];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_s = now.as_secs();
    for (its_s, words) in [
        (
            now_s + 7530,
            "the clock of odd is 2 h 5 min ahead of the clock of host-1;",
        ),
        (
            now_s - 7530,
            "the clock of host-1 is 2 h 5 min ahead of the clock of odd;",
        ),
        (now_s, "the token is unknown"),
    ] {
        let join = json!({ "join": {
            "token_id": "0123456789abcdef", "secret": "", "host": "a0123456789abcde", "name": "odd",
            "address": "192.0.2.66", "request": "", "now_s": its_s,
        }});
        let reply = ask(stranger, None, &join);
        let refused = reply["refused"].as_str().unwrap_or_default();
        assert!(refused.starts_with(words), "{reply}");
    }
}

#[test]
fn a_certificate_that_is_not_good_now_is_renewed_only_where_it_is_on_record() {
    let lab = cluster(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let member = cluster_of(two)["host"].as_str().unwrap().to_owned();
    let ours = cluster_ca(one);
    let stranger = &strangers(&lab, 1)[0];
    let renew = json!({ "renew": { "request": "" } });
    // As whoever has the CA's key could make them.
    for (years, words) in [
        ((2020, 2021), "ended more than 90 days ago"),
        ((2098, 2099), "not on record"),
    ] {
        let shown = certificate_of(&ours, &member, years);
        let reply = ask(stranger, Some(shown), &renew);
        let refused = reply["refused"].as_str().unwrap_or_default();
        assert!(refused.contains(words), "{reply}");
    }
    let shown = certificate_of(&ours, "00000000000000ff", (2098, 2099));
    let reply = ask(stranger, Some(shown), &renew);
    let refused = reply["refused"].as_str().unwrap_or_default();
    assert!(refused.contains("revoked or has left"), "{reply}");
    let greeted = ask(stranger, None, &json!("greet"));
    assert_eq!(greeted["greeted"]["must_renew"], false, "{greeted}");
}

#[test]
fn what_tunnels_do_is_shown() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let overlay = one.network("far").overlay.unwrap();
    assert_eq!((&*overlay.encap, overlay.tunnels.len()), ("quic", 1));
    let tunnel = &overlay.tunnels[0];
    assert_eq!(tunnel.host.as_deref(), cluster_of(two)["host"].as_str());
    assert_eq!(tunnel.up, Some(true));
    assert!(tunnel.rtt_us.is_some_and(|us| us < 1_000_000), "{tunnel:?}");
    assert!(tunnel.rx_frames > 0 && tunnel.tx_bytes > 0, "{tunnel:?}");
    let listed = one.tapestry(&["cluster", "ls"]).ok();
    let row = listed.lines().find(|row| row.contains("host-2")).unwrap();
    assert!(row.contains(" ms"), "{listed}");
    let hosts = hosts_of(one);
    let other = hosts.iter().find(|host| host["name"] == "host-2").unwrap();
    let shown = &other["tunnel"];
    assert!(shown["udp_payload"].as_u64().unwrap() > 1200, "{shown}");
    assert_eq!(shown["counts"]["ups"], 1);
    two.stop_agent(rustix::process::Signal::KILL);
    eventually(STEP, "the tunnel is down", || {
        let listed = one.tapestry(&["cluster", "ls"]).ok();
        let row = listed.lines().find(|row| row.contains("host-2"))?;
        ["down", "away"]
            .iter()
            .any(|state| row.contains(state))
            .then_some(())
    });
    two.launch();
}
