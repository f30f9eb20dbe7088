//! Who may talk to whom over QUIC, and what becomes of those who may not. On loopback; needs no root.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use overlay_core::LETTER_LEN_MAX;
use overlay_io::{Credentials, Letter, QuicEvent};
use overlay_lab::loopback::{Host, LOCALHOST, crosses, frame, meet, pair};
use overlay_lab::{Authority, eventually, host};

/// A pair made of these credentials, after several tries to connect were refused.
fn is_refused(alpha: Credentials, beta: Credentials) -> [Host; 2] {
    let hosts = [Host::new("alpha", alpha), Host::new("beta", beta)];
    meet(&hosts[0], &hosts[1]);
    let refused = |host: &Host| host.tunnel.counts().refused;
    eventually("tries are refused", || {
        hosts.iter().any(|host| refused(host) >= 3)
    });
    for (it, other) in hosts.iter().zip(["beta", "alpha"]) {
        assert!(!it.tunnel.is_up(&host(other)), "{other} is up");
        assert!(it.events.try_recv().is_err(), "{other} was up");
    }
    hosts
}

#[test]
fn frames_of_every_length_cross_both_ways() {
    let hosts = pair(&Authority::new());
    hosts[0].port(7, "beta");
    hosts[1].port(7, "alpha");
    hosts[0].wait_up("beta");
    hosts[1].wait_up("alpha");
    for len in [0, 1, 100, 1100, 1300, 1399, 1400, 1450, 1499, 1500] {
        let payload: Vec<u8> = (0..len).map(|n: usize| n.to_le_bytes()[0]).collect();
        crosses(&hosts[0], &hosts[1], &payload);
        crosses(&hosts[1], &hosts[0], &payload);
    }
}

#[test]
fn a_peer_is_up_with_its_name_and_certificate() {
    let hosts = pair(&Authority::new());
    let event = hosts[1]
        .events
        .recv_timeout(Duration::from_secs(5))
        .unwrap();
    let QuicEvent::PeerUp {
        host,
        address,
        certificate,
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(host.as_str(), "alpha");
    assert_eq!(address, hosts[0].address());
    assert!(certificate.is_some());
}

#[test]
fn agents_write_to_each_other() {
    let hosts = pair(&Authority::new());
    let (alpha, beta) = (host("alpha"), host("beta"));
    let read = hosts[1].tunnel.letters();
    hosts[0].wait_up("beta");
    hosts[1].wait_up("alpha");
    let body = vec![7; LETTER_LEN_MAX];
    assert!(hosts[0].tunnel.send_letter(&beta, &body));
    let letter = read.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(letter, Letter { host: alpha, body });
    assert!(!hosts[0].tunnel.send_letter(&beta, &[0; 1500]), "too long");
    assert!(!hosts[0].tunnel.send_letter(&host("gamma"), b"x"), "nobody");
}

#[test]
fn a_host_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    is_refused(theirs.host("alpha", |_| {}), ours.host("beta", |_| {}));

    // One that trusts everybody, and is trusted by nobody.
    let mut stranger = theirs.host("alpha", |_| {});
    stranger.roots = ours.host("beta", |_| {}).roots;
    let hosts = is_refused(stranger, ours.host("beta", |_| {}));
    assert!(hosts[1].tunnel.counts().refused > 0);
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let expired = authority.host("alpha", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let hosts = is_refused(expired, authority.host("beta", |_| {}));
    assert!(hosts[1].tunnel.counts().refused > 0);
}

#[test]
fn a_revoked_certificate_is_refused_by_both_roles() {
    let authority = Authority::new();
    for revoked in ["alpha", "beta"] {
        let list = authority.revoke(revoked);
        let credentials = ["alpha", "beta"].map(|name| {
            let mut credentials = authority.host(name, |_| {});
            credentials.revoked.push(list.clone());
            credentials
        });
        let [alpha, beta] = credentials;
        is_refused(alpha, beta);
    }
}

#[test]
fn another_hosts_name_is_refused() {
    let authority = Authority::new();
    // beta's certificate says gamma.
    is_refused(
        authority.host("alpha", |_| {}),
        authority.host("gamma", |_| {}),
    );
    // alpha's says gamma, whom beta does not expect.
    let hosts = is_refused(
        authority.host("gamma", |_| {}),
        authority.host("beta", |_| {}),
    );
    assert!(hosts[1].tunnel.counts().refused > 0);
}

#[test]
fn a_closed_peer_is_down_on_both_sides_until_it_is_connected_again() {
    let authority = Authority::new();
    let hosts = pair(&authority);
    hosts[0].wait_up("beta");
    hosts[1].wait_up("alpha");
    hosts[1].tunnel.close_peer(&host("alpha"));
    assert!(hosts[1].wait_down("alpha") < Duration::from_millis(200));
    assert!(hosts[0].wait_down("beta") < Duration::from_millis(200));
    // Longer than any pause between two dials.
    std::thread::sleep(Duration::from_millis(700));
    assert!(!hosts[0].tunnel.is_up(&host("beta")));
    hosts[1].tunnel.connect(&host("alpha"), hosts[0].address());
    assert!(hosts[0].wait_up("beta") < Duration::from_secs(1));
    hosts[1].wait_up("alpha");
}

#[test]
fn frames_of_networks_the_peer_is_no_member_of_are_dropped() {
    let hosts = pair(&Authority::new());
    hosts[0].port(7, "beta");
    hosts[1].port(8, "alpha");
    hosts[0].wait_up("beta");
    hosts[1].wait_up("alpha");
    assert!(hosts[0].station.send(&frame(b"for a network of alpha's")));
    eventually("it is counted", || hosts[1].tunnel.counts().not_member == 1);
    assert!(hosts[1].station.try_recv().is_err());
}

#[test]
fn a_restarted_host_is_back_at_once() {
    let authority = Authority::new();
    let [alpha, beta] = pair(&authority);
    alpha.wait_up("beta");
    let address = beta.address();
    // As if killed: its address is free, and nobody was told.
    drop(beta.network);
    beta.tunnel.rebind(LOCALHOST.parse().unwrap()).unwrap();
    std::mem::forget(beta.tunnel);
    let beta = Host::at("beta", address, authority.host("beta", |_| {}));
    beta.tunnel.connect(&host("alpha"), alpha.address());
    let known = alpha.wait_down("beta");
    assert!(
        known < Duration::from_millis(500),
        "the reset was not believed: {known:?}"
    );
    assert!(alpha.wait_up("beta") < Duration::from_secs(1));
}

#[test]
fn what_waits_at_a_kept_socket_tells_the_peer_of_the_restart() {
    let authority = Authority::new();
    let [alpha, beta] = pair(&authority);
    alpha.port(7, "beta");
    alpha.wait_up("beta");
    beta.wait_up("alpha");
    let (address, kept) = (beta.address(), beta.tunnel.socket().unwrap());
    // As if killed: nobody reads, and nobody was told.
    drop(beta.network);
    std::mem::forget(beta.tunnel);
    assert!(alpha.station.send(&frame(b"to nobody")));
    let credentials = authority.host("beta", |_| {});
    let beta = Host::again("beta", (address, Some(kept)), credentials);
    assert_eq!(beta.address(), address);
    beta.tunnel.connect(&host("alpha"), alpha.address());
    alpha.wait_down("beta");
    alpha.wait_up("beta");
    let counts = alpha.tunnel.peer(&host("beta")).unwrap().counts;
    assert_eq!(counts.silent, 0, "the restart was not told: {counts:?}");
    beta.port(7, "alpha");
    beta.wait_up("alpha");
    crosses(&alpha, &beta, b"to somebody");
}

#[test]
fn a_silent_peer_is_dead_within_a_second() {
    let hosts = pair(&Authority::new());
    hosts[0].wait_up("beta");
    hosts[1].wait_up("alpha");
    let [alpha, beta] = hosts;
    // A switch that stops reads its trunk no more.
    drop(beta.network);
    assert!(alpha.wait_down("beta") < Duration::from_secs(1));
}

#[test]
fn a_host_that_moves_keeps_its_connection() {
    let hosts = pair(&Authority::new());
    hosts[0].port(7, "beta");
    hosts[1].port(7, "alpha");
    hosts[0].wait_up("beta");
    hosts[1].wait_up("alpha");
    let before = hosts[0].address();
    hosts[0].tunnel.rebind(LOCALHOST.parse().unwrap()).unwrap();
    assert_ne!(hosts[0].address(), before);
    crosses(&hosts[0], &hosts[1], b"from the new address");
    crosses(&hosts[1], &hosts[0], b"to the new address");
    assert!(hosts[0].events.try_recv().is_err(), "it never went down");
}

#[test]
fn a_host_that_listens_and_moves_is_dialed_anew() {
    let hosts = pair(&Authority::new());
    hosts[0].wait_up("beta");
    hosts[1].tunnel.rebind(LOCALHOST.parse().unwrap()).unwrap();
    hosts[0].tunnel.connect(&host("beta"), hosts[1].address());
    hosts[0].wait_down("beta");
    assert!(hosts[0].wait_up("beta") < Duration::from_secs(1));
}

#[test]
fn an_idle_pair_stays_up() {
    let hosts = pair(&Authority::new());
    hosts[0].wait_up("beta");
    hosts[1].wait_up("alpha");
    // Longer than the idle timeout of QUIC.
    std::thread::sleep(Duration::from_secs(4));
    assert!(hosts.iter().all(|host| host.events.try_recv().is_err()));
}

#[test]
fn renewed_credentials_serve_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let hosts = pair(&old);
    hosts[0].wait_up("beta");
    hosts[1].wait_up("alpha");
    for (host, name) in hosts.iter().zip(["alpha", "beta"]) {
        host.tunnel.renew(new.host(name, |_| {})).unwrap();
    }
    assert!(hosts[0].tunnel.is_up(&host("beta")), "what is up stays up");
    hosts[0].tunnel.close_peer(&host("beta"));
    hosts[0].wait_down("beta");
    hosts[0].tunnel.connect(&host("beta"), hosts[1].address());
    assert!(hosts[0].wait_up("beta") < Duration::from_secs(1));
}
