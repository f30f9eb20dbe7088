//! A contender with its stations: what a row is run on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::command::{self, ip, ip_batch};
use crate::contender::{Contender, Description, Fabric, Plan, Plug, Runtime, Underlay, address_of};
use crate::counters::{link_drops, socket_drops};
use crate::interrupt;
use crate::netns::Netns;
use crate::process::{self, ThreadTimes, used_s};
use crate::statistics::count_f64;
use crate::traffic_process::{End, Ends, TrafficProcess};
use crate::trouble::Trouble;

/// What a row needs to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    /// Namespaces with one link each.
    pub(crate) stations: usize,
    pub(crate) mtu: u16,
    /// Ports that the row itself will attach.
    pub(crate) spare_ports: usize,
    /// Nobody else's: built for each run, removed after it.
    pub(crate) fresh: bool,
    /// Between the hosts of an overlay; nothing to the others.
    pub(crate) underlay: Underlay,
    /// What starts the stations; the other contenders attach bare namespaces.
    pub(crate) runtime: Runtime,
    /// Of a cluster; nothing to the others.
    pub(crate) hosts: usize,
}

impl Topology {
    pub(crate) const fn stations(stations: usize) -> Self {
        Self {
            stations,
            mtu: 1500,
            spare_ports: 128,
            fresh: false,
            underlay: Underlay::PLAIN,
            runtime: Runtime::Nobody,
            hosts: 0,
        }
    }

    /// So many hosts, whose containers the rows make.
    pub(crate) const fn cluster(hosts: usize) -> Self {
        Self {
            hosts,
            ..Self::stations(0)
        }
    }

    pub(crate) const fn with_mtu(self, mtu: u16) -> Self {
        Self { mtu, ..self }
    }

    pub(crate) const fn over(self, underlay: Underlay) -> Self {
        Self { underlay, ..self }
    }

    /// With stations that are containers of `runtime`.
    pub(crate) const fn run_by(self, runtime: Runtime) -> Self {
        Self { runtime, ..self }
    }

    /// Of its own, with room for more ports.
    pub(crate) const fn fresh(self, spare_ports: usize) -> Self {
        Self {
            spare_ports,
            fresh: true,
            ..self
        }
    }
}

/// A namespace with a link `eth0` on the contender.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) netns: Netns,
    pub(crate) address: Ipv4Addr,
}

impl Station {
    pub(crate) fn plug(&self) -> Plug<'_> {
        Plug {
            netns: &self.netns,
            link: LINK,
            address: self.address,
        }
    }

    /// Sends a datagram to the first of `others`, so that the switch knows where this station is.
    pub(crate) fn greet(&self, others: &[&Self]) -> Result<(), Trouble> {
        let Some(other) = others.iter().find(|other| other.address != self.address) else {
            return Ok(());
        };
        let greet = || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.send_to(&[0], (other.address, DISCARD_UDP_PORT))
        };
        let sent = self.netns.enter(greet)?;
        sent.map(drop)
            .map_err(Trouble::io("cannot send a datagram"))
    }

    /// Bytes of an IP packet that its link takes.
    pub(crate) fn mtu(&self) -> Result<u16, Trouble> {
        let mtu = self.shown_after("mtu")?;
        mtu.parse()
            .map_err(|_| Trouble::Unsupported(format!("{LINK} has MTU {mtu}")))
    }

    fn mac(&self) -> Result<String, Trouble> {
        self.shown_after("link/ether")
    }

    /// The word after `key` in what `ip link` shows of its link.
    fn shown_after(&self, key: &str) -> Result<String, Trouble> {
        let shown = ip(&format!("-n {} -o link show {LINK}", self.netns.name()))?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != key);
        words.nth(1).map(str::to_owned).ok_or_else(|| {
            Trouble::Unsupported(format!("{LINK} in {} has no {key}", self.netns.name()))
        })
    }
}

/// A running contender. Fields drop in order: the fabric lets go before the namespaces vanish.
pub(crate) struct Lab {
    pub(crate) fabric: Box<dyn Fabric>,
    pub(crate) stations: Vec<Station>,
    /// The contender's name.
    pub(crate) contender: &'static str,
    ends: Ends,
}

/// What a run has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// CPU seconds of the switch's processes; absent for a kernel, whose work is done in whatever context comes.
    pub(crate) switch_cpu_s: Option<f64>,
    pub(crate) sender_cpu_s: f64,
    pub(crate) receiver_cpu_s: f64,
    /// All cores, whoever used them.
    pub(crate) machine_cpu_s: f64,
    pub(crate) wall_s: f64,
    /// Frames dropped at the stations' links.
    pub(crate) link_drops: u64,
    /// Frames the switch counts as dropped, where it counts.
    pub(crate) switch_drops: Option<u64>,
    /// Datagrams dropped at full sockets.
    pub(crate) socket_drops: u64,
}

/// CPU seconds so far.
struct Cpu {
    switch: Option<ThreadTimes>,
    sender_s: f64,
    receiver_s: f64,
    machine_s: f64,
}

/// Drops so far.
#[derive(Default)]
struct Drops {
    link: u64,
    switch: Option<u64>,
    socket: u64,
}

impl Lab {
    /// Starts `contender`, attaches the stations, and waits until they reach each other.
    pub(crate) fn start(contender: &dyn Contender, topology: &Topology) -> Result<Self, Trouble> {
        let fabric = contender.start(&Plan {
            ports: topology.stations + topology.spare_ports,
            mtu: topology.mtu,
            underlay: topology.underlay,
            runtime: topology.runtime,
            hosts: topology.hosts,
        })?;
        let mut lab = Self {
            fabric,
            stations: Vec::new(),
            contender: contender.name(),
            ends: Ends::default(),
        };
        for index in 0..topology.stations {
            interrupt::check()?;
            let station = Station {
                netns: Netns::new(&format!("s{index}"))?,
                address: address_of(index),
            };
            lab.fabric.attach(&station.plug())?;
            lab.stations.push(station);
        }
        lab.stations
            .iter()
            .skip(1)
            .try_for_each(|station| lab.reach(station))?;
        if lab.stations.len() > RESOLVING_STATIONS_MAX {
            lab.introduce()?;
        }
        Ok(lab)
    }

    /// Tells every station the MACs of the others: so many exceed the kernel's limit of resolved addresses, which all
    /// namespaces share (`gc_thresh3`).
    fn introduce(&self) -> Result<(), Trouble> {
        let macs: Vec<String> = self
            .stations
            .iter()
            .map(Station::mac)
            .collect::<Result<_, _>>()?;
        for station in &self.stations {
            let others = self.stations.iter().zip(&macs);
            let others = others.filter(|(other, _)| other.address != station.address);
            let lines = others.map(|(other, mac)| {
                format!(
                    "neigh replace {} lladdr {mac} nud permanent dev {LINK}\n",
                    other.address
                )
            });
            ip_batch(Some(station.netns.name()), &lines.collect::<String>())?;
        }
        Ok(())
    }

    pub(crate) fn describe(&self) -> Description {
        self.fabric.describe()
    }

    /// What the threads of the switch's processes have used so far; `None` where it has no process.
    pub(crate) fn switch_times(&self) -> Option<ThreadTimes> {
        let pids = self.fabric.processes();
        (!pids.is_empty()).then(|| pids.into_iter().flat_map(process::thread_times).collect())
    }

    /// Memory of the switch's processes.
    pub(crate) fn switch_mib(&self) -> Option<f64> {
        let pids = self.fabric.processes();
        let bytes = pids.iter().copied().filter_map(process::resident_bytes);
        (!pids.is_empty()).then(|| count_f64(bytes.sum()) / f64::from(1 << 20))
    }

    /// Runs `work` and says what it cost.
    pub(crate) fn metered<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Trouble>,
    ) -> Result<(T, Cost), Trouble> {
        // Asking the switch for its drops costs it something, which is not the work's.
        let drops_before = self.drops()?;
        let cpu_before = self.cpu();
        let start = Instant::now();
        let result = work(self)?;
        let wall_s = start.elapsed().as_secs_f64();
        let cpu = self.cpu();
        let drops = self.drops()?;
        let switch = cpu.switch.zip(cpu_before.switch);
        let switch_drops = drops.switch.zip(drops_before.switch);
        let cost = Cost {
            switch_cpu_s: switch.map(|(after, before)| used_s(&before, &after)),
            sender_cpu_s: cpu.sender_s - cpu_before.sender_s,
            receiver_cpu_s: cpu.receiver_s - cpu_before.receiver_s,
            machine_cpu_s: cpu.machine_s - cpu_before.machine_s,
            wall_s,
            link_drops: drops.link.saturating_sub(drops_before.link),
            switch_drops: switch_drops.map(|(after, before)| after.saturating_sub(before)),
            socket_drops: drops.socket.saturating_sub(drops_before.socket),
        };
        Ok((result, cost))
    }

    fn cpu(&self) -> Cpu {
        Cpu {
            switch: self.switch_times(),
            sender_s: self.ends.sender_s.get(),
            receiver_s: self.ends.receiver_s.get(),
            machine_s: process::busy_s().unwrap_or(0.0),
        }
    }

    fn drops(&self) -> Result<Drops, Trouble> {
        let mut drops = Drops {
            switch: self.fabric.drops()?,
            ..Drops::default()
        };
        for station in &self.stations {
            drops.link += link_drops(&station.netns)?;
            drops.socket += socket_drops(&station.netns)?;
        }
        Ok(drops)
    }

    /// Starts one of our tools; its sockets go to the namespaces that its arguments name.
    pub(crate) fn tool(
        &self,
        end: End,
        arguments: &[String],
    ) -> Result<TrafficProcess<'_>, Trouble> {
        // Not by its path, which a build may have replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg("tool").args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = arguments.first().cloned().unwrap_or_default();
        let mut process = TrafficProcess::new(&self.ends, end, name, command::spawn(&mut command)?);
        process.line(Duration::from_secs(10))?;
        Ok(process)
    }

    /// Starts a program inside a station.
    pub(crate) fn program(
        &self,
        end: End,
        station: &Station,
        command: &mut Command,
    ) -> Result<TrafficProcess<'_>, Trouble> {
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = station.netns.enter(|| command::spawn(command))??;
        Ok(TrafficProcess::new(&self.ends, end, name, child))
    }

    /// TCP in both directions, more of it than one frame: late answers are asked for again.
    fn reach(&self, station: &Station) -> Result<(), Trouble> {
        let listener = station
            .netns
            .enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?
            .map_err(Trouble::io("cannot listen"))?;
        let address = listener
            .local_addr()
            .map_err(Trouble::io("cannot listen"))?;
        let server = SocketAddr::from((station.address, address.port()));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut bytes = [0; PROBE_BYTES];
                if stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {
                    return;
                }
            }
        });
        let first = &self.stations[0].netns;
        let what = format!("{} reaches {}", self.stations[0].address, station.address);
        interrupt::eventually(Duration::from_secs(10), &what, || {
            Ok(first.enter(|| exchange(server))?.ok())
        })
    }
}

fn exchange(server: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_millis(1500))?;
    stream.set_read_timeout(Some(Duration::from_millis(1500)))?;
    let mut bytes = [1; PROBE_BYTES];
    stream.write_all(&bytes)?;
    stream.read_exact(&mut bytes)
}

/// The stations' link.
pub(crate) const LINK: &str = "eth0";
const PROBE_BYTES: usize = 16_384;
/// Stations that resolve addresses by themselves, as ordinary ones do.
const RESOLVING_STATIONS_MAX: usize = 4;
/// RFC 863.
const DISCARD_UDP_PORT: u16 = 9;
