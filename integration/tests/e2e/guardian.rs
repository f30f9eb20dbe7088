//! The guardian: what an agent that dies leaves to the next one.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use agent_api::Info;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, kill_process};

use crate::harness::{Host, OUTSIDE_IP, eventually};

/// What a container sees of its link.
fn link(host: &Host, container: &str) -> String {
    let asked = "cat /sys/class/net/eth0/ifindex /sys/class/net/eth0/carrier_changes; ip addr show dev eth0; ip route";
    host.exec(container, asked).ok()
}

#[test]
fn a_container_keeps_its_link_with_all_it_set_there_when_the_agent_dies() {
    let host = Host::start();
    host.idle("web", "bridge", &["--cap-add", "NET_ADMIN"]);
    host.idle("db", "bridge", &[]);
    let own = "ip addr add 10.99.0.1/24 dev eth0; ip route add 10.98.0.0/16 via 10.99.0.2; ip link set eth0 mtu 1400";
    host.exec("web", own).ok();
    let before = link(&host, "web");
    for deaths in 1..=3 {
        host.kill_agent_proper();
        assert_eq!(link(&host, "web"), before);
        let db = host.ipv4("db");
        host.exec("web", &format!("ping -n -c1 -W1 {db}")).ok();
        host.exec("web", &format!("ping -n -c1 -W1 {OUTSIDE_IP}"))
            .ok();
        let info: Info = host.api("GET", "/v1/info", None).ok();
        let told = info
            .warnings
            .iter()
            .any(|warning| warning.contains("the agent died") && warning.contains("SIGKILL"));
        assert!(told, "{deaths}: {info:?}");
    }
    assert!(host.log().contains("deaths=3"), "{}", host.log());
}

/// Its carrier comes back, and nothing else of it had gone.
#[test]
fn a_container_keeps_its_link_when_the_guardian_dies_too() {
    let host = Host::start();
    host.idle("web", "bridge", &["--cap-add", "NET_ADMIN"]);
    host.exec("web", "ip addr add 10.99.0.1/24 dev eth0").ok();
    let steady = "cat /sys/class/net/eth0/ifindex; ip -o addr show dev eth0; ip route show proto boot; ip neigh show nud permanent";
    let before = host.exec("web", steady).ok();
    for signal in [Signal::KILL, Signal::TERM] {
        host.stop_agent(signal);
        host.launch();
        assert_eq!(host.exec("web", steady).ok(), before, "{signal:?}");
        host.exec("web", &format!("ping -n -c1 -W2 {OUTSIDE_IP}"))
            .ok();
    }
}

#[test]
fn an_agent_without_its_guardian_ends_in_order() {
    let host = Host::start();
    host.idle("web", "bridge", &[]);
    let proper = host.agent_pid();
    kill_process(host.guardian_pid(), Signal::KILL).unwrap();
    eventually(Duration::from_secs(10), "the agent stops", || {
        host.log().contains("agent stopped").then_some(())
    });
    assert!(host.log().contains("guardian has gone"), "{}", host.log());
    assert!(!host.socket().exists());
    host.stop_agent(Signal::KILL);
    host.launch();
    assert_ne!(host.agent_pid(), proper);
    host.exec("web", &format!("ping -n -c1 -W2 {OUTSIDE_IP}"))
        .ok();
}

/// Clients wait at the socket until the next agent accepts them.
#[test]
fn nobody_is_refused_while_the_agent_is_started_again() {
    let host = Host::start();
    let before = host.agent_pid();
    kill_process(before, Signal::KILL).unwrap();
    let info: Info = host.api("GET", "/v1/info", None).ok();
    assert_ne!(info.pid, before.as_raw_nonzero().get().cast_unsigned());
}

/// A sandbox that ends at the same time takes its endpoint along.
#[test]
fn what_ended_while_no_agent_ran_is_not_taken_over() {
    let host = Host::start();
    host.idle("stays", "bridge", &[]);
    host.idle("goes", "bridge", &[]);
    let (agent, goes) = (host.agent_pid(), host.pid("goes"));
    kill_process(host.guardian_pid(), Signal::STOP).unwrap();
    kill_process(agent, Signal::KILL).unwrap();
    kill_process(goes, Signal::KILL).unwrap();
    kill_process(host.guardian_pid(), Signal::CONT).unwrap();
    eventually(Duration::from_secs(10), "its end is noted", || {
        let listed = host.tapestry(&["ps"]).stdout;
        (listed.contains("stays") && !listed.contains("goes")).then_some(())
    });
    let names: Vec<_> = host
        .network("bridge")
        .endpoints
        .into_iter()
        .map(|endpoint| endpoint.name)
        .collect();
    assert_eq!(names, ["stays"]);
    host.exec("stays", &format!("ping -n -c1 -W2 {OUTSIDE_IP}"))
        .ok();
}

/// As a newer program would, or the same one with another configuration.
#[test]
fn another_agent_takes_the_place_of_one_that_runs_and_nothing_is_lost() {
    let host = Host::start();
    host.idle("web", "bridge", &["-p", "8080:80"]);
    host.idle("db", "bridge", &[]);
    let (before, old) = (link(&host, "web"), host.agent_pid());
    let db = host.ipv4("db");
    std::thread::scope(|scope| {
        let pinging = scope.spawn(|| {
            host.exec("web", &format!("ping -n -q -i0.002 -c1000 -W2 {db}"))
                .ok()
        });
        for _ in 0..2 {
            let told = host.tapestry(&["agent", "--replace"]).ok();
            let new = host.agent_pid().as_raw_nonzero();
            assert!(
                told.contains(&format!("process {new} took the place")),
                "{told}"
            );
            host.api("GET", "/v1/info", None).ok::<Info>();
        }
        let pinged = pinging.join().unwrap();
        assert!(pinged.contains(" 0% packet loss"), "{pinged}");
    });
    assert_ne!(host.agent_pid(), old);
    assert_eq!(link(&host, "web"), before);
    host.exec("web", &format!("ping -n -c1 -W1 {OUTSIDE_IP}"))
        .ok();
    let published = host.tapestry(&["port", "web"]).ok();
    assert!(published.contains("8080"), "{published}");
    host.idle("third", "bridge", &[]);
    host.exec("third", "ping -n -c1 -W2 db").ok();
}

#[test]
fn an_agent_that_cannot_begin_takes_nobodys_place() {
    let host = Host::start();
    host.idle("web", "bridge", &[]);
    let config = host.dir().join("agent.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{good}\n[nonsense]\n")).unwrap();
    let old = host.agent_pid();
    let told = host.tapestry(&["agent", "--replace"]).refused(1);
    assert!(told.contains("was not replaced"), "{told}");
    assert!(host.log().contains("nonsense"), "{}", host.log());
    assert_eq!(host.agent_pid(), old);
    host.idle("db", "bridge", &[]);
    host.exec("web", "ping -n -c1 -W2 db").ok();
    std::fs::write(&config, good).unwrap();
    kill_process(host.guardian_pid(), Signal::HUP).unwrap();
    eventually(
        Duration::from_secs(10),
        "the configuration is read again",
        || (host.agent_pid() != old).then_some(()),
    );
    host.exec("web", "ping -n -c1 -W2 db").ok();
}

/// Also where the one before had let go of the links already: it reads them again, with what goes wrong at them.
#[test]
fn a_newcomer_that_dies_at_any_moment_leaves_the_links_to_the_one_before() {
    let host = Host::start();
    host.idle("web", "bridge", &[]);
    host.idle("db", "bridge", &[]);
    host.tapestry(&["link", "set", "web", "--delay", "30ms"])
        .ok();
    let db = host.ipv4("db");
    let mut moments = (0..60).cycle();
    eventually(
        Duration::from_secs(120),
        "one dies after it had the links",
        || {
            // Any moment is as good as another; in every other round it is that at which it gets the links.
            let moment = moments.next().unwrap();
            let moment = (moment % 2 == 0).then(|| Duration::from_millis(moment));
            let had_the_links = newcomer_dies(&host, moment, || {
                let pinged = host.exec("web", &format!("ping -n -c1 -W5 {db}")).ok();
                let (_, rest) = pinged.split_once("time=").unwrap();
                let took: f64 = rest.split(' ').next().unwrap().parse().unwrap();
                assert!(took >= 30.0, "{pinged}");
            });
            had_the_links.then_some(())
        },
    );
}

/// Kills an agent that is about to take another's place: after a while, or as it gets the links. `works` has to hold then. Whether the links
/// were left to it, and the one before goes on.
pub(crate) fn newcomer_dies(host: &Host, moment: Option<Duration>, works: impl FnOnce()) -> bool {
    let (old, seen) = (host.agent_pid(), host.log().len());
    let asked = host.spawn(&["agent", "--replace"]);
    let new = eventually(Duration::from_secs(10), "another one starts", || {
        host.agents().into_iter().find(|pid| *pid != old)
    });
    let latest = moment.unwrap_or(Duration::from_secs(1));
    let gets_links = || moment.is_none() && host.log()[seen..].contains(LEFT);
    let begun = Instant::now();
    while begun.elapsed() < latest && !gets_links() {
        std::thread::yield_now();
    }
    // It may have ended, or be the agent by now; then the guardian starts another one.
    let _ = kill_process(new, Signal::KILL);
    asked.wait_with_output().unwrap();
    works();
    let said = host.log().split_off(seen);
    let left = said.find(LEFT);
    left.is_some_and(|left| said[left..].contains("this one goes on"))
}

const LEFT: &str = "links are left to another agent";

/// A service manager that keeps descriptors gives back what it was left, whoever died (sd_notify(3)).
#[test]
fn what_the_service_manager_keeps_outlives_even_the_guardian() {
    let host = Host::without_agent();
    let told = UnixDatagram::bind(host.dir().join("notify")).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    host.launch_with(|command| {
        command.env("NOTIFY_SOCKET", host.dir().join("notify"));
    });
    let ready = |(state, _): &(String, _)| state == "READY=1";
    assert!(
        (0..100).any(|_| ready(&next_state(&told))),
        "it says that it is ready"
    );
    host.idle("web", "bridge", &[]);
    let id = &host.network("bridge").endpoints[0].id;
    let wanted = format!("FDSTORE=1\nFDNAME=tap/{id}");
    let tap = std::iter::repeat_with(|| next_state(&told))
        .find_map(|(state, fd)| fd.filter(|_| state == wanted))
        .unwrap();
    let before = link(&host, "web");
    host.stop_agent(Signal::KILL);
    host.launch_handed(&format!("tap/{id}"), tap);
    assert_eq!(link(&host, "web"), before, "its carrier as well");
    host.exec("web", &format!("ping -n -c1 -W2 {OUTSIDE_IP}"))
        .ok();
}

/// One message to the service manager, with the descriptor that came beside it.
fn next_state(told: &UnixDatagram) -> (String, Option<OwnedFd>) {
    let mut bytes = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(told, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC).unwrap();
    let fd = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (
        String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(),
        fd,
    )
}
