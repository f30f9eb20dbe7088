//! Debian's containerd: `ctr run --cni`, and pods as a kubelet runs them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::call::with_network_in;
use super::cri::{Cri, Linux, Metadata, Pod, PortMapping};
use crate::harness::{HOST_IP, Host, Mounts, Output, binary, busybox_image, eventually};

#[test]
fn containerds_containers_and_pods_are_on_the_network() {
    let containerd = Containerd::start();
    containerd.host.idle("ours", "red", &[]);
    containerd.a_container_by_ctr();
    let cri = Cri::at(&containerd.host.dir().join("c.sock"));
    containerd.a_pod(&cri);
    containerd.twenty_pods_at_once(&cri);
}

impl Containerd {
    fn a_container_by_ctr(&self) {
        let cgroup = format!("{}/x1", self.cgroup());
        let run = ["run", "--rm", "--cni", "--cgroup", &cgroup, IMAGE, "x1"];
        let look = format!("ip addr show eth0; ping -c1 -W2 {}", self.host.ipv4("ours"));
        let seen = self.ctr(&[&run[..], &["sh", "-c", &look]].concat()).ok();
        assert!(seen.contains("inet 10.63.0."), "{seen}");
        // Its DEL names no namespace.
        assert_eq!(self.names(), BTreeSet::from(["ours".to_owned()]));
    }

    fn a_pod(&self, cri: &Cri) {
        let mut pod = self.pod("web");
        pod.port_mappings = [(0, 8080), (1, 5300), (0, 0)]
            .map(|(protocol, host_port)| PortMapping {
                protocol,
                container_port: 80,
                host_port,
            })
            .to_vec();
        let id = cri.run(&pod).unwrap();
        let address = cri.address(&id).unwrap();
        self.host
            .exec("ours", &format!("ping -n -c1 -W2 {address}"))
            .ok();
        // By the pod's name, with its namespace's behind it and without.
        for name in ["web", "web.shop"] {
            self.host
                .exec("ours", &format!("ping -n -c1 -W2 {name}"))
                .ok();
        }
        assert_eq!(self.fetched_outside(), "pod");
        for _ in 0..2 {
            cri.stop(&id).unwrap();
            assert!(!self.names().contains("web.shop"));
        }
        cri.remove(&id).unwrap();
        assert_eq!(self.fetched_outside(), "");
        // What cannot be served is told to the kubelet, by name.
        pod.port_mappings[0].protocol = 2;
        let refused = cri.run(&pod).unwrap_err();
        assert!(refused.message().contains("sctp"), "{refused}");
        let mut limited = self.pod("limited");
        let rate = "kubernetes.io/ingress-bandwidth".to_owned();
        limited.annotations.insert(rate, "1M".to_owned());
        let refused = cri.run(&limited).unwrap_err();
        assert!(refused.message().contains("bandwidth"), "{refused}");
        assert_eq!(self.names(), BTreeSet::from(["ours".to_owned()]));
    }

    fn twenty_pods_at_once(&self, cri: &Cri) {
        let ids: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..20)
                .map(|number| scope.spawn(move || cri.run(&self.pod(&format!("p{number}")))))
                .collect();
            let ended = started.into_iter().map(|run| run.join().unwrap().unwrap());
            ended.collect()
        });
        let addresses: BTreeSet<_> = ids.iter().map(|id| cri.address(id).unwrap()).collect();
        assert_eq!(addresses.len(), 20);
        let pings = "for n in $(seq 0 19); do ping -n -c1 -W2 p$n >/dev/null || exit 1; done";
        self.host.exec("ours", pings).ok();
        std::thread::scope(|scope| {
            for id in &ids {
                scope.spawn(move || {
                    cri.stop(id).unwrap();
                    cri.remove(id).unwrap();
                });
            }
        });
        assert_eq!(self.names(), BTreeSet::from(["ours".to_owned()]));
    }

    fn pod(&self, name: &str) -> Pod {
        Pod {
            metadata: Some(Metadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "shop".to_owned(),
            }),
            port_mappings: Vec::new(),
            annotations: [("example.com/color".to_owned(), "red".to_owned())].into(),
            linux: Some(Linux {
                cgroup_parent: self.cgroup(),
            }),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let endpoints = self.host.network("red").endpoints.into_iter();
        endpoints.map(|endpoint| endpoint.name).collect()
    }

    fn fetched_outside(&self) -> String {
        let fetch = format!("curl -sS -m 2 http://{HOST_IP}:8080/ || true");
        self.host.outside.sh(&fetch).trim().to_owned()
    }
}

/// A containerd with nothing of the machine's: its files are under the host's directory, its mounts in a namespace of its own.
struct Containerd {
    host: Host,
    mounts: Mounts,
    daemon: Child,
}

impl Containerd {
    fn start() -> Self {
        let host = Host::without_agent();
        let mounts = Mounts::new(&host.netns);
        with_network_in(&host, &mounts);
        let dir = host.dir();
        for made in ["conf", "bin"] {
            fs::create_dir(dir.join(made)).unwrap();
        }
        fs::copy(binary(), dir.join("bin/tapestry")).unwrap();
        // The runtime brings up `lo` by a plugin, beside ours.
        fs::copy("/usr/lib/cni/loopback", dir.join("bin/loopback")).unwrap();
        let capabilities = json!({"portMappings": true, "bandwidth": true, "io.kubernetes.cri.pod-annotations": true});
        let plugin =
            json!({"type": "tapestry", "socket": host.socket(), "capabilities": capabilities});
        let list = json!({"cniVersion": "1.0.0", "name": "red", "plugins": [plugin]});
        fs::write(dir.join("conf/red.conflist"), list.to_string()).unwrap();
        // `ctr run --cni` takes no directories.
        mounts.bind(&dir.join("conf"), "/etc/cni/net.d");
        mounts.bind(&dir.join("bin"), "/usr/lib/cni");
        for shared in ["/run/containerd", "/run/runc"] {
            mounts.sh(&format!("mkdir -p {shared}; mount -t tmpfs none {shared}"));
        }
        let at = dir.display();
        let config = format!(
            r#"
            version = 2
            root = "{at}/root"
            state = "{at}/state"
            grpc = {{address = "{at}/c.sock"}}
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "{IMAGE}"
              restrict_oom_score_adj = true
              cni = {{bin_dir = "{at}/bin", conf_dir = "{at}/conf"}}"#
        );
        fs::write(dir.join("containerd.toml"), config).unwrap();
        let image = busybox_image(dir, "pod", &["httpd", "-f", "-h", "/www"]);
        let log = File::create(dir.join("containerd.log")).unwrap();
        let mut daemon = Command::new("containerd");
        daemon.arg("-c").arg(dir.join("containerd.toml"));
        let mut daemon = mounts.inside(&daemon);
        daemon
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let daemon = daemon.spawn().unwrap();
        let containerd = Self {
            host,
            mounts,
            daemon,
        };
        eventually(Duration::from_secs(20), "containerd answers", || {
            containerd.ctr(&["version"]).succeeded()
        });
        for namespace in ["default", "k8s.io"] {
            let import = ["-n", namespace, "image", "import", image.to_str().unwrap()];
            containerd.ctr(&import).ok();
        }
        containerd
    }

    fn ctr(&self, arguments: &[&str]) -> Output {
        let mut ctr = Command::new("ctr");
        ctr.arg("-a")
            .arg(self.host.dir().join("c.sock"))
            .args(arguments);
        self.mounts.run(&ctr)
    }

    /// All its containers are below this one.
    fn cgroup(&self) -> String {
        format!("/{}", self.host.netns.name())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.host.dir().join("containerd.log"));
            eprintln!("--- containerd's log\n{}", log.unwrap_or_default());
        }
        // What a failed test left running.
        let processes = "cat /sys/fs/cgroup/*/CGROUP/*/cgroup.procs 2>/dev/null | sort -u | xargs -r kill -9; \
            for try in 1 2 3 4 5 6 7 8 9; do find /sys/fs/cgroup/*/CGROUP -depth -type d 2>/dev/null | xargs -r rmdir && break; \
            sleep 0.1; done";
        let name = self.host.netns.name();
        let _ = self
            .mounts
            .run(Command::new("sh").args(["-c", &processes.replace("CGROUP", name)]));
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

const IMAGE: &str = "localhost/pod:1";
