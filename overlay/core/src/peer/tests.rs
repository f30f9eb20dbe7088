use super::message::Outgoing;
use super::*;
use crate::{Epoch, HostId};

fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

fn config(local: &str, remote: &str) -> PeerConfig {
    PeerConfig {
        hello: Hello::new(host(local), Epoch(7)),
        remote: host(remote),
        role: Role::between(&host(local), &host(remote)),
        is_needed: true,
        timing: Timing::default(),
        seed: 1,
    }
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn events(peer: &mut Peer) -> Vec<PeerEvent> {
    std::iter::from_fn(|| peer.poll_event()).collect()
}

/// Two peers, and a path between them that can be cut in each direction.
struct Pair {
    now: u64,
    peers: [Peer; 2],
    /// Whether what each sends arrives.
    passes: [bool; 2],
    is_connected: bool,
    log: Vec<(u64, usize, PeerEvent)>,
    /// Datagrams, without their acknowledgments.
    said: u64,
}

impl Pair {
    fn new(configs: [PeerConfig; 2]) -> Self {
        Self {
            now: 0,
            peers: configs.map(|config| Peer::new(config, at(0))),
            passes: [true; 2],
            is_connected: false,
            log: Vec::new(),
            said: 0,
        }
    }

    fn plain() -> Self {
        Self::new([config("a", "b"), config("b", "a")])
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1;
            self.step();
        }
    }

    fn step(&mut self) {
        let now = at(self.now);
        for n in 0..2 {
            if self.peers[n].poll_timeout().is_some_and(|due| due <= now) {
                self.peers[n].handle_timeout(now);
            }
            while let Some(datagram) = self.peers[n].poll_transmit() {
                let (header, body) = DatagramHeader::parse(&datagram).unwrap();
                assert_eq!(header, DatagramHeader::Control);
                self.said += 1;
                if self.passes[n] && self.is_connected {
                    self.peers[1 - n].handle_input(now, body);
                    if self.passes[1 - n] {
                        self.peers[n].handle_sign(now);
                    }
                }
            }
        }
        for n in 0..2 {
            for event in events(&mut self.peers[n]) {
                self.act(n, &event);
                self.log.push((self.now, n, event));
            }
        }
    }

    fn act(&mut self, n: usize, event: &PeerEvent) {
        let now = at(self.now);
        match event {
            PeerEvent::Dial if self.passes == [true; 2] => {
                self.is_connected = true;
                let names = [0, 1].map(|n: usize| self.peers[n].config.hello.host.to_string());
                self.peers[0].handle_connected(now, &names[1]);
                self.peers[1].handle_connected(now, &names[0]);
            }
            PeerEvent::Close(_) => {
                self.is_connected = false;
                if self.passes[n] {
                    self.peers[1 - n].handle_disconnected(now);
                }
            }
            _ => {}
        }
    }

    fn are_up(&self) -> [bool; 2] {
        [self.peers[0].is_up(), self.peers[1].is_up()]
    }
}

#[test]
fn two_hosts_come_up_and_stay_up() {
    let mut pair = Pair::plain();
    pair.run(10);
    assert_eq!(pair.are_up(), [true; 2]);
    pair.run(10_000);
    assert_eq!(pair.are_up(), [true; 2]);
    assert_eq!(pair.peers[0].counts().dials, 1);
    let up = PeerEvent::Up {
        version: 1,
        capabilities: Capabilities::ALL,
        epoch: Epoch(7),
    };
    assert!(pair.log.iter().any(|(_, _, event)| *event == up));
}

#[test]
fn a_dead_peer_is_known_within_a_second_and_a_return_within_another() {
    for passes in [[false, false], [true, false], [false, true]] {
        for seed in 0..20 {
            let mut pair = Pair::new([config("a", "b"), config("b", "a")]);
            pair.peers[0].random = Random::new(seed);
            pair.run(1000 + seed * 13);
            pair.passes = passes;
            pair.run(999);
            assert_eq!(pair.are_up(), [false; 2], "{passes:?}");
            pair.run(5000 + seed * 31);
            pair.passes = [true; 2];
            pair.run(999);
            assert_eq!(pair.are_up(), [true; 2], "{passes:?} {seed}");
        }
    }
}

#[test]
fn idle_peers_say_little_and_notice_a_death_within_a_second_of_the_next_frame() {
    for passes in [[false, false], [true, false], [false, true]] {
        let mut pair = Pair::plain();
        pair.run(20_000);
        let said = pair.said;
        pair.run(20_000);
        assert!(
            (18..=20).contains(&(pair.said - said)),
            "{}",
            pair.said - said
        );
        pair.passes = passes;
        let now = at(pair.now);
        for peer in &mut pair.peers {
            peer.handle_sent(now);
        }
        pair.run(999);
        assert_eq!(pair.are_up(), [false; 2], "{passes:?}");
    }
}

#[test]
fn a_death_that_no_frame_shows_is_known_within_two_seconds() {
    for at in 0..10 {
        let mut pair = Pair::plain();
        pair.run(20_000 + at * 100);
        pair.passes = [false; 2];
        pair.run(1999);
        assert_eq!(pair.are_up(), [false; 2]);
    }
}

#[test]
fn a_lost_hello_is_sent_again() {
    let mut pair = Pair::plain();
    pair.run(1);
    pair.passes = [false, true];
    pair.run(150);
    assert_eq!(pair.are_up(), [true, false]);
    pair.passes = [true; 2];
    pair.run(250);
    assert_eq!(pair.are_up(), [true; 2]);
}

#[test]
fn traffic_is_a_sign_of_life() {
    let mut peer = Peer::new(config("b", "a"), at(0));
    peer.handle_connected(at(0), "a");
    let mut hello = Vec::new();
    Outgoing::Hello { heard: true }.write(&Hello::new(host("a"), Epoch(1)), &mut hello);
    peer.handle_input(at(0), &hello);
    for now in 1..3000 {
        peer.handle_traffic(at(now));
        peer.handle_timeout(at(now));
    }
    assert!(peer.is_up());
    for now in 2999..2999 + 999 {
        peer.handle_timeout(at(now));
    }
    assert_eq!(peer.state(), PeerState::Waiting);
    assert_eq!(peer.counts().silent, 1);
}

#[test]
fn another_host_is_refused_by_its_certificate_and_by_its_hello() {
    let mut peer = Peer::new(config("a", "b"), at(0));
    peer.handle_timeout(at(0));
    peer.handle_connected(at(1), "c");
    let refused = PeerEvent::Close(Close::WrongIdentity("c".to_owned()));
    assert_eq!(events(&mut peer), [PeerEvent::Dial, refused]);
    peer.handle_connected(at(2), "b");
    let mut hello = Vec::new();
    Outgoing::Hello { heard: false }.write(&Hello::new(host("c"), Epoch(1)), &mut hello);
    peer.handle_input(at(3), &hello);
    assert_eq!(
        events(&mut peer),
        [PeerEvent::Close(Close::WrongHost(host("c")))]
    );
    assert_eq!(peer.counts().refused, 2);
}

#[test]
fn a_stranger_does_not_end_what_is_up() {
    let mut pair = Pair::plain();
    pair.run(10);
    pair.peers[1].handle_connected(at(10), "mallory");
    pair.run(10);
    assert_eq!(pair.are_up(), [true; 2]);
    assert_eq!(pair.peers[1].counts().refused, 1);
}

#[test]
fn versions_must_overlap_and_capabilities_are_shared() {
    let mut newer = config("a", "b");
    newer.hello.versions = (2, 3);
    let mut pair = Pair::new([newer, config("b", "a")]);
    pair.run(100);
    assert_eq!(pair.are_up(), [false; 2]);
    assert!(pair.peers[0].counts().refused + pair.peers[1].counts().refused > 0);
    let mut wide = config("a", "b");
    wide.hello.versions = (1, 9);
    wide.hello.capabilities = Capabilities(0xff << 8 | 1);
    let mut pair = Pair::new([wide, config("b", "a")]);
    pair.run(100);
    let up = PeerEvent::Up {
        version: 1,
        capabilities: Capabilities::PIECES,
        epoch: Epoch(7),
    };
    assert_eq!(
        pair.log.iter().filter(|(.., event)| *event == up).count(),
        2
    );
}

#[test]
fn a_letter_goes_to_those_who_are_up_and_read_such() {
    let mut older = config("b", "a");
    older.hello.capabilities = Capabilities(15);
    for (config, reads) in [(config("b", "a"), true), (older, false)] {
        let mut pair = Pair::new([self::config("a", "b"), config]);
        assert_eq!(pair.peers[0].letter(b"who"), None, "to nobody yet");
        pair.run(10);
        assert_eq!(pair.are_up(), [true; 2]);
        let Some(datagram) = pair.peers[0].letter(b"who") else {
            assert!(!reads, "no letter");
            continue;
        };
        assert!(reads, "it does not know letters");
        let (header, body) = DatagramHeader::parse(&datagram).unwrap();
        assert_eq!(header, DatagramHeader::Control);
        let now = at(pair.now);
        pair.peers[1].handle_input(now, body);
        let letter = PeerEvent::Letter(b"who".to_vec());
        assert_eq!(events(&mut pair.peers[1]), [letter]);
        // Of one that is not up any more, nothing is read.
        pair.peers[1].revoke();
        events(&mut pair.peers[1]);
        pair.peers[1].handle_input(now, body);
        assert_eq!(events(&mut pair.peers[1]), []);
    }
}

#[test]
fn a_revoked_host_is_left_alone_until_it_is_announced_anew() {
    let mut pair = Pair::plain();
    pair.run(10);
    pair.peers[0].revoke();
    pair.run(5000);
    assert_eq!(pair.are_up(), [false; 2]);
    assert_eq!(pair.peers[0].state(), PeerState::Revoked);
    assert_eq!(pair.peers[0].poll_timeout(), None);
    let now = at(pair.now);
    pair.peers[0].redial(now);
    pair.run(10);
    assert_eq!(pair.are_up(), [true; 2]);
}

#[test]
fn redials_back_off_and_do_not_go_in_step() {
    let dial_times = |seed: u64| {
        let mut peer = Peer::new(
            PeerConfig {
                seed,
                ..config("a", "b")
            },
            at(0),
        );
        let mut times = Vec::new();
        for now in 0..10_000 {
            peer.handle_timeout(at(now));
            if events(&mut peer).contains(&PeerEvent::Dial) {
                times.push(now);
                peer.handle_disconnected(at(now));
            }
        }
        times
    };
    let (first, second) = (dial_times(1), dial_times(2));
    assert_ne!(first, second);
    assert_eq!(first, dial_times(1));
    let gaps: Vec<u64> = first.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps[0] <= 50 && gaps.iter().all(|gap| *gap <= 500),
        "{gaps:?}"
    );
    assert!(gaps[5..].iter().all(|gap| *gap >= 250), "{gaps:?}");
}

#[test]
fn what_has_lasted_is_dialed_again_at_once_and_what_has_not_waits() {
    let mut pair = Pair::plain();
    pair.run(2_000);
    assert_eq!(pair.are_up(), [true; 2]);
    let now = at(pair.now);
    let [dials, listens] = &mut pair.peers;
    dials.handle_disconnected(now);
    listens.handle_disconnected(now);
    assert_eq!(
        [dials.poll_timeout(), listens.poll_timeout()],
        [Some(now), listens.poll_timeout().max(Some(now + TURN))]
    );
    pair.run(300);
    assert_eq!(pair.are_up(), [true; 2]);
    let (now, dials) = (at(pair.now), &mut pair.peers[0]);
    dials.handle_disconnected(now);
    assert!(dials.poll_timeout() > Some(now), "it was hardly up");
}

#[test]
fn who_listens_dials_when_the_other_does_not() {
    let mut peer = Peer::new(config("b", "a"), at(0));
    let mut dialed = Vec::new();
    for now in 0..20_000 {
        peer.handle_timeout(at(now));
        if events(&mut peer).contains(&PeerEvent::Dial) {
            dialed.push(now);
        }
    }
    assert_eq!(dialed[0], 400);
    assert!((5..40).contains(&dialed.len()), "{dialed:?}");
    peer.handle_connected(at(20_000), "a");
    assert_eq!(peer.state(), PeerState::Greeting);
}

const TURN: Duration = Duration::from_millis(400);

#[test]
fn a_far_host_is_given_more_time_and_a_near_one_is_not() {
    let mut peer = Peer::new(config("a", "b"), at(0));
    let mut dialed = 0;
    let mut connected = None;
    for now in 0..20_000 {
        peer.handle_timeout(at(now));
        for event in events(&mut peer) {
            match event {
                PeerEvent::Dial => dialed = now,
                PeerEvent::Close(_) => dialed = 0,
                _ => {}
            }
        }
        if connected.is_none() && dialed > 0 && now == dialed + 1000 {
            peer.handle_connected(at(now), "b");
            connected = Some(now);
        }
    }
    assert!(connected.is_some_and(|now| now < 5000), "{connected:?}");
    assert_eq!(peer.patience.limit, Duration::from_millis(3000));
}

#[test]
fn what_is_no_message_is_counted() {
    let mut peer = Peer::new(config("b", "a"), at(0));
    for message in [&b""[..], b"\x09", b"\x01short"] {
        peer.handle_input(at(0), message);
    }
    assert_eq!(peer.counts().malformed, 3);
}

/// One end of several connections, each by its number, as the engine of a tunnel drives it.
struct Run {
    peer: Peer,
    /// The connection that counts, and what else is open.
    link: Option<usize>,
    rival: Option<usize>,
    elder: Option<usize>,
}

impl Run {
    fn new(local: &str, remote: &str, epoch: u64, stands_by: bool) -> Self {
        let mut config = config(local, remote);
        config.hello.epoch = Epoch(epoch);
        let peer = match stands_by {
            true => Peer::standing_by(config, at(0)),
            false => Peer::new(config, at(0)),
        };
        Self {
            peer,
            link: None,
            rival: None,
            elder: None,
        }
    }

    /// Dials, and is connected at once.
    fn dials(&mut self, number: usize) {
        self.peer.handle_timeout(at(0));
        assert_eq!(events(&mut self.peer), [PeerEvent::Dial]);
        self.link = Some(number);
        self.peer.handle_connected(at(0), self.remote().as_str());
    }

    fn is_dialed(&mut self, number: usize) {
        if self.peer.has_rivals() {
            self.rival = Some(number);
        } else {
            self.link = Some(number);
            self.peer.handle_connected(at(0), self.remote().as_str());
        }
    }

    fn remote(&self) -> HostId {
        self.peer.config.remote.clone()
    }

    /// What it says now, and over which connection.
    fn says(&mut self) -> Vec<(usize, Vec<u8>)> {
        let said = std::iter::from_fn(|| self.peer.poll_transmit());
        said.map(|datagram| (self.link.unwrap(), datagram))
            .collect()
    }

    /// `by_turn`: of the connection.
    fn hears(&mut self, number: usize, datagram: &[u8], by_turn: bool) {
        let (_, message) = DatagramHeader::parse(datagram).unwrap();
        let was_up = self.peer.is_up();
        if self.link == Some(number) {
            self.peer.handle_input(at(1), message);
        } else if self.peer.handle_rival(at(1), message, by_turn) {
            let before = self.link.replace(number);
            self.rival = self.rival.filter(|rival| *rival != number);
            self.elder = self.elder.filter(|elder| *elder != number);
            match was_up {
                true => self.elder = before,
                false => self.rival = before,
            }
        }
    }
}

/// Lets both talk until they have nothing more to say. Even numbers are dialed by turn.
fn talk(one: &mut Run, other: &mut Run) {
    for _ in 0..8 {
        let (from_one, from_other) = (one.says(), other.says());
        for (number, datagram) in from_one {
            other.hears(number, &datagram, number % 2 == 0);
        }
        for (number, datagram) in from_other {
            one.hears(number, &datagram, number % 2 == 0);
        }
    }
    assert!(one.says().is_empty() && other.says().is_empty());
}

#[test]
fn another_run_takes_the_place_of_one_that_is_up_and_nothing_is_down() {
    // Both the one whose turn it is to dial, and the other.
    for [new, stays] in [["a", "b"], ["b", "a"]] {
        let (mut old, mut peer) = (
            Run::new(new, stays, 1, false),
            Run::new(stays, new, 1, false),
        );
        match new {
            "a" => (old.dials(0), peer.is_dialed(0)),
            _ => (peer.dials(0), old.is_dialed(0)),
        };
        talk(&mut old, &mut peer);
        assert!(old.peer.is_up() && peer.peer.is_up());
        let number = if new == "a" { 2 } else { 1 };
        let mut new = Run::new(new, stays, 2, true);
        new.dials(number);
        peer.is_dialed(number);
        talk(&mut new, &mut peer);
        assert_eq!((peer.link, peer.rival), (Some(0), Some(number)));
        assert_eq!(new.peer.state(), PeerState::Standby);
        // So long as it wants.
        new.peer.handle_timeout(at(60_000));
        assert_eq!(new.peer.poll_timeout(), None);

        events(&mut peer.peer);
        new.peer.take_over(at(1));
        talk(&mut new, &mut peer);
        assert!(new.peer.is_up());
        assert_eq!((peer.link, peer.elder), (Some(number), Some(0)));
        assert!(!events(&mut peer.peer).contains(&PeerEvent::Down));
        assert_eq!(peer.peer.counts().downs, 0);

        // The old one cannot get it back, unless the new one is gone.
        old.peer.send_hello(at(2));
        talk(&mut old, &mut peer);
        assert_eq!(peer.link, Some(number));
        peer.peer.handle_return(at(3));
        (peer.link, peer.elder) = (Some(0), Some(number));
        assert!(peer.peer.is_up());
        old.peer.send_hello(at(3));
        talk(&mut old, &mut peer);
        assert_eq!(peer.link, Some(0));
    }
}

#[test]
fn two_new_runs_that_dial_each_other_agree_on_the_connection_of_whose_turn_it_is() {
    // Who takes over first, and whether the hellos cross.
    for order in [[0, 1].as_slice(), &[1, 0], &[2]] {
        let (mut a, mut b) = (Run::new("a", "b", 5, true), Run::new("b", "a", 5, true));
        a.dials(0);
        b.dials(1);
        b.is_dialed(0);
        a.is_dialed(1);
        talk(&mut a, &mut b);
        for step in order {
            if *step != 1 {
                a.peer.take_over(at(1));
            }
            if *step != 0 {
                b.peer.take_over(at(1));
            }
            talk(&mut a, &mut b);
        }
        assert!(a.peer.is_up() && b.peer.is_up(), "{order:?}");
        assert_eq!(a.link, b.link, "{order:?}");
        let [crossed, first] = [order == [2], order == [0, 1]];
        if crossed || first {
            assert_eq!(a.link, Some(0), "{order:?}");
        }
        assert_eq!(a.peer.counts().downs + b.peer.counts().downs, 0);
    }
}

#[test]
fn one_that_stood_by_leaves_the_other_its_turn() {
    let mut new = Peer::standing_by(config("b", "a"), at(0));
    new.handle_timeout(at(0));
    assert_eq!(events(&mut new), [PeerEvent::Dial]);
    new.handle_disconnected(at(1));
    assert!(new.poll_timeout().is_some(), "it tries again");
    new.take_over(at(2));
    assert_eq!(
        (new.state(), new.poll_timeout()),
        (PeerState::Waiting, Some(at(2) + TURN))
    );
}

#[test]
fn a_rival_counts_by_a_hello_of_its_host_alone() {
    let mut pair = Pair::plain();
    pair.run(10);
    let peer = &mut pair.peers[1];
    let hello = |name: &str, versions| {
        let mut hello = Hello::new(host(name), Epoch(9));
        hello.versions = versions;
        let mut message = Vec::new();
        Outgoing::Hello { heard: false }.write(&hello, &mut message);
        message
    };
    for message in [hello("c", (1, 1)), hello("a", (7, 9)), vec![2], vec![]] {
        assert!(!peer.handle_rival(at(20), &message, true), "{message:?}");
    }
    assert!(peer.is_up());
    peer.revoke();
    assert!(!peer.handle_rival(at(20), &hello("a", (1, 1)), true));
    peer.redial(at(20));
    assert!(peer.handle_rival(at(20), &hello("a", (1, 1)), true));
    assert!(peer.is_up());
}

/// A pair of which each needs the connection or does not.
fn pair_of(needs: [bool; 2]) -> Pair {
    let [mut a, mut b] = [config("a", "b"), config("b", "a")];
    [a.is_needed, b.is_needed] = needs;
    Pair::new([a, b])
}

#[test]
fn a_connection_that_nobody_needs_is_not_there() {
    let mut pair = pair_of([false; 2]);
    pair.run(60_000);
    assert!(pair.log.is_empty() && pair.said == 0, "{:?}", pair.log);
    assert!(pair.peers.iter().all(|peer| peer.poll_timeout().is_none()));
    // The one whose turn it is dials at once.
    let now = at(pair.now);
    pair.peers[0].need(now);
    pair.run(2);
    assert_eq!(pair.are_up(), [true; 2]);
}

#[test]
fn one_that_needs_the_connection_is_enough_whoever_it_is() {
    for needs in [[true, false], [false, true]] {
        let mut pair = pair_of(needs);
        pair.run(500);
        assert_eq!(pair.are_up(), [true; 2], "{needs:?}");
        pair.run(60_000);
        assert_eq!(pair.are_up(), [true; 2], "{needs:?}");
    }
}

#[test]
fn a_connection_that_nobody_needs_any_more_is_kept_for_a_while_and_closed_once() {
    let mut pair = pair_of([true; 2]);
    pair.run(1000);
    let releases = |pair: &mut Pair, n: usize| {
        let now = at(pair.now);
        pair.peers[n].release(now);
    };
    releases(&mut pair, 0);
    pair.run(700);
    releases(&mut pair, 1);
    pair.run(29_000);
    assert_eq!(pair.are_up(), [true; 2]);
    pair.log.clear();
    pair.run(60_000);
    assert_eq!(pair.are_up(), [false; 2]);
    let closes = |(.., event): &&(u64, usize, PeerEvent)| matches!(event, PeerEvent::Close(_));
    assert_eq!(pair.log.iter().filter(closes).count(), 1, "{:?}", pair.log);
    assert!(
        pair.peers
            .iter()
            .all(|peer| peer.state() == PeerState::Idle)
    );
    assert!(pair.peers.iter().all(|peer| peer.poll_timeout().is_none()));
    assert_eq!(pair.peers[0].counts().dials, 1);
}

#[test]
fn a_need_that_returns_in_time_changes_nothing() {
    let mut pair = pair_of([true; 2]);
    pair.run(1000);
    for need in [Peer::release, Peer::need] {
        let now = at(pair.now);
        pair.peers.iter_mut().for_each(|peer| need(peer, now));
        pair.run(20_000);
    }
    pair.run(60_000);
    assert_eq!(pair.are_up(), [true; 2]);
    assert_eq!(pair.peers[0].counts().ups, 1);
}

#[test]
fn who_still_needs_what_the_other_closed_dials_and_keeps_it() {
    let mut pair = pair_of([true; 2]);
    pair.run(1000);
    let now = at(pair.now);
    pair.peers[0].release(now);
    pair.run(32_000);
    assert_eq!(pair.are_up(), [true; 2]);
    pair.run(120_000);
    assert_eq!(pair.peers[1].counts().ups, 2, "it is closed once");
    // A connection that was lost is not dialed by who does not need it.
    let dials = pair.peers[0].counts().dials;
    pair.passes = [false; 2];
    pair.run(5_000);
    assert_eq!(pair.peers[0].counts().dials, dials);
    assert_eq!(pair.peers[0].state(), PeerState::Idle);
}

#[test]
fn an_idle_peer_that_was_revoked_is_idle_again() {
    let mut pair = pair_of([false; 2]);
    pair.peers[0].revoke();
    pair.peers[0].redial(at(1));
    assert_eq!(pair.peers[0].state(), PeerState::Idle);
    pair.peers[0].need(at(2));
    pair.run(10);
    assert_eq!(pair.are_up(), [true; 2]);
}

#[test]
fn frames_may_wait_for_a_connection_that_is_needed_since_just_now() {
    let [mut peer, _] = pair_of([false; 2]).peers;
    assert!(!peer.is_coming(at(0)));
    peer.need(at(10));
    assert!(peer.is_coming(at(500)) && !peer.is_coming(at(1010)));
    peer.release(at(600));
    assert!(!peer.is_coming(at(700)));
}
