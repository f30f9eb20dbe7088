//! firewalld on the same host, with a bus of the test's own: what it rejects gets through, and its reloads cost nothing.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{HOST_IP, Host, OUTSIDE_IP, enter, eventually, pings, run};
use crate::publish::{ask_tcp, tcp_server};

/// firewalld in a host's namespace. It takes whoever is root for its administrator, as there is no polkit on its bus.
struct Firewalld {
    bus: Child,
    daemon: Child,
    bus_address: String,
}

impl Firewalld {
    fn start(host: &Host) -> Self {
        let dir = host.dir().join("f");
        fs::create_dir_all(dir.join("conf")).unwrap();
        let (socket, config) = (dir.join("bus"), dir.join("bus.conf"));
        fs::write(&config, BUS.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        let log = || File::create(dir.join("log")).unwrap();
        let mut command = Command::new("dbus-daemon");
        command
            .args(["--nofork", "--nopidfile"])
            .arg(format!("--config-file={}", config.display()))
            .stdin(Stdio::null())
            .stderr(log());
        let bus = command.spawn().unwrap();
        eventually(PATIENCE, "the bus is there", || {
            socket.exists().then_some(())
        });
        let bus_address = format!("unix:path={}", socket.display());
        // What it writes under /run is nobody else's business.
        let script = r#"mount -t tmpfs tmpfs /run && exec firewalld "$@""#;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .args(["--nofork", "--nopid", "--log-target", "file"])
            .arg("--system-config")
            .arg(dir.join("conf"))
            .arg("--log-file")
            .arg(dir.join("firewalld.log"))
            .env(BUS_ADDRESS, &bus_address)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log());
        let daemon = host.netns.enter(|| command.spawn()).unwrap();
        let firewalld = Self {
            bus,
            daemon,
            bus_address,
        };
        eventually(PATIENCE, "firewalld runs", || {
            (firewalld.try_told(&["--state"]) == Some("running".to_owned())).then_some(())
        });
        firewalld
    }

    /// What `firewall-cmd` says, where that succeeds.
    fn try_told(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("firewall-cmd");
        command.args(arguments).env(BUS_ADDRESS, &self.bus_address);
        let said = run(&mut command);
        (said.status == 0).then(|| said.stdout.trim().to_owned())
    }

    #[track_caller]
    fn told(&self, arguments: &[&str]) -> String {
        let told = self.try_told(arguments);
        told.unwrap_or_else(|| panic!("firewall-cmd {arguments:?} fails"))
    }
}

impl Drop for Firewalld {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn reloads_of_firewalld_cost_neither_the_way_out_nor_ports_nor_isolation() {
    let host = Host::without_agent();
    let firewalld = Firewalld::start(&host);
    host.launch_with(|command| {
        command.env(BUS_ADDRESS, &firewalld.bus_address);
    });
    for network in ["red", "blue"] {
        host.tapestry(&["network", "create", network]).ok();
    }
    host.idle("on-red", "red", &["-p", "8080:80"]);
    host.idle("on-blue", "blue", &[]);
    let (red, blue) = (host.ipv4("on-red"), host.sandbox("on-blue"));
    let all_is_well = || {
        eventually(PATIENCE, "the container gets out", || {
            pings(&host.sandbox("on-red"), OUTSIDE_IP).then_some(())
        });
        let server = tcp_server(&host.sandbox("on-red"), (Ipv4Addr::UNSPECIFIED, 80));
        let from = host.outside.path();
        eventually(PATIENCE, "the published port answers", || {
            ask_tcp(&from, (HOST_IP, 8080)).filter(|said| said == "hello")
        });
        server.join().unwrap();
    };
    all_is_well();

    // Without the agent's word in it, firewalld rejects what it knows nothing of.
    let link = host.network("red").host_link.unwrap();
    firewalld.told(&["--zone=trusted", &format!("--remove-interface={link}")]);
    assert!(!pings(&host.sandbox("on-red"), OUTSIDE_IP));

    let (_listener, is_over) = (
        enter(&host.sandbox("on-red"), || {
            std::net::TcpListener::bind((red, 81))
        })
        .unwrap(),
        AtomicBool::new(false),
    );
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        let intruder = scope.spawn(|| {
            let connect =
                || TcpStream::connect_timeout(&(red, 81).into(), Duration::from_millis(200));
            let mut tries = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert!(
                    enter(&blue, connect).is_err(),
                    "one network reaches another"
                );
                tries += 1;
            }
            tries
        });
        let reload = |name: &str, reload: &dyn Fn()| {
            let before = table(&host);
            reload();
            eventually(
                PATIENCE,
                &format!("{name}: the table is another one"),
                || {
                    let now = table(&host);
                    (now.is_some() && now != before).then_some(())
                },
            );
            all_is_well();
        };
        reload("reload", &|| drop(firewalld.told(&["--reload"])));
        reload("complete reload", &|| {
            drop(firewalld.told(&["--complete-reload"]));
        });
        reload("SIGHUP", &|| {
            kill_process(Pid::from_child(&firewalld.daemon), Signal::HUP).unwrap();
        });
        drop(over);
        assert!(intruder.join().unwrap() > 0);
    });
    let trusted = firewalld.told(&["--zone=trusted", "--list-interfaces"]);
    assert!(trusted.contains(&link), "{trusted}");
}

/// The handle of firewalld's table, which a reload makes anew.
fn table(host: &Host) -> Option<String> {
    let listed = host
        .netns
        .sh("nft -a list table inet firewalld 2>/dev/null || :");
    listed.lines().next().map(str::to_owned)
}

/// Over with the test, also where that fails.
struct Over<'t>(&'t AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Python starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const BUS_ADDRESS: &str = "DBUS_SYSTEM_BUS_ADDRESS";
/// As the system's, with everything allowed.
const BUS: &str = r#"<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"#;
