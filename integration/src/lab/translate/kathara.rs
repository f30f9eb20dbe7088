//! Kathara's lab as a lab: `lab.conf`, and what lies beside it.
//!
//! A device has the content of the directory `DEV/` over the host's files, `shared/` as `/shared`, and the lab's directory as `/hostlab`. At
//! its start it runs `shared.startup` and `DEV.startup`, at its end `DEV.shutdown` and `shared.shutdown`.

use std::collections::BTreeMap;
use std::path::Path;

use agent_api::{LinkSettings, RestartPolicy};

use super::Environment;
use super::values::{self, bounded};
use crate::lab::engine::Image;
use crate::lab::fault::{Fault, Read, shown};
use crate::lab::images::Base;
use crate::lab::model::{Format, Interface, Lab, Node, NodeNetwork, Runs, Segment, SegmentKind};
use crate::lab::script::{Program, Task};
use crate::lab::wire::clab::Said;
use crate::lab::wire::kathara::{Device, LabConf};

pub(super) fn lab(file: &Path, conf: LabConf, env: &Environment<'_>) -> Read<Lab> {
    let name = lab_name(&conf, env)?;
    let mut building = Building {
        env,
        prefix: format!("kathara-{name}-"),
        name,
        domains: BTreeMap::new(),
        segments: Vec::new(),
    };
    let nodes: Vec<Node> = conf
        .devices
        .iter()
        .map(|device| building.node(device))
        .collect::<Read<_>>()?;
    let mut segments = building.segments;
    for (number, segment) in segments.iter_mut().enumerate() {
        let on_it = nodes.iter().flat_map(|node| &node.interfaces);
        if on_it
            .filter(|interface| interface.segment == number)
            .count()
            > 2
        {
            segment.kind = SegmentKind::Bridge;
        }
    }
    Ok(Lab {
        name: building.name,
        format: Format::Kathara,
        file: file.to_owned(),
        management: None,
        nodes,
        segments,
    })
}

/// What the file says, or what its directory is called.
fn lab_name(conf: &LabConf, env: &Environment<'_>) -> Read<String> {
    let dir = env
        .dir
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let said = conf.about.get("NAME").cloned().or(dir).unwrap_or_default();
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let made: String = said
        .chars()
        .map(|c| if is_of_it(c) { c } else { '-' })
        .collect();
    values::name(
        &(
            Default::default(),
            made.trim_matches(['-', '.', '_']).to_owned(),
        ),
        "the lab's name",
    )
}

struct Building<'c> {
    env: &'c Environment<'c>,
    name: String,
    prefix: String,
    domains: BTreeMap<String, usize>,
    segments: Vec<Segment>,
}

impl Building<'_> {
    fn node(&mut self, device: &Device) -> Read<Node> {
        let name = values::name(&(device.at, device.name.clone()), "device")?;
        let text = |key: &str| device.texts.get(key);
        let list = |key: &str| device.lists.get(key).map_or(&[][..], Vec::as_slice);
        let image = text("image").map_or("kathara/base", |(_, image)| image);
        let mut sysctls = sysctls(text("ipv6").map(is_yes).transpose()?);
        sysctls.extend(pairs(list("sysctl"), "sysctl")?);
        let is_bridged = text("bridged").map(is_yes).transpose()?.unwrap_or(false);
        let (runs, program) = self.runs(device, image);
        let ends = program.at_end.is_some();
        Ok(Node {
            container: bounded(format!("{}{name}", self.prefix)),
            hostname: name.clone(),
            kind: "device".to_owned(),
            image: Some(image.to_owned()),
            runs,
            group: None,
            network: if is_bridged {
                NodeNetwork::Bridged
            } else {
                NodeNetwork::Links
            },
            interfaces: self.interfaces(device)?,
            management_ip: None,
            management_ip6: None,
            aliases: Vec::new(),
            env: pairs(list("env"), "env")?,
            sysctls,
            labels: BTreeMap::new(),
            cap_add: Vec::new(),
            binds: self.binds(list("volume"))?,
            copies: self.found(&name).into_iter().collect(),
            publish: self.ports(device, list("port"), is_bridged)?,
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            restart: RestartPolicy::No,
            memory: text("mem").map(values::memory).transpose()?,
            nano_cpus: text("cpus").map(values::nano_cpus).transpose()?,
            script: program.script(),
            has_tasks: !program.tasks.is_empty(),
            stop_timeout_s: if ends { STOP_TIMEOUT_S } else { 0 },
            name,
        })
    }

    fn ports(
        &self,
        device: &Device,
        ports: &[Said],
        is_bridged: bool,
    ) -> Read<Vec<agent_api::PortMapping>> {
        if let (Some((at, _)), false) = (ports.first(), is_bridged) {
            let message = format!(
                "ports lead to a bridged device only; write {}[bridged]=\"true\"",
                device.name
            );
            return Err(Fault::new(*at, message));
        }
        let each = ports.iter().map(values::ports).collect::<Read<Vec<_>>>()?;
        Ok(each.concat())
    }

    fn interfaces(&mut self, device: &Device) -> Read<Vec<Interface>> {
        let mut interfaces: Vec<Interface> = Vec::new();
        for (expected, (number, ((at, domain), mac))) in device.interfaces.iter().enumerate() {
            if u32::try_from(expected) != Ok(*number) {
                return Err(Fault::new(
                    *at,
                    format!(
                        "device {} has no interface {expected} and an interface {number}; number them from 0",
                        device.name
                    ),
                ));
            }
            let segment = self.domain(domain);
            if interfaces.iter().any(|other| other.segment == segment) {
                let message = format!(
                    "device {} is on domain {domain} twice; take another domain",
                    device.name
                );
                return Err(Fault::new(*at, message));
            }
            let name = format!("eth{number}");
            let mac = match mac {
                Some(mac) => values::mac(&(*at, mac.clone()))?,
                None => values::made_mac(&self.name, &device.name, &name),
            };
            interfaces.push(Interface {
                name,
                segment,
                mac,
                addresses: Vec::new(),
                impairments: LinkSettings::default(),
            });
        }
        Ok(interfaces)
    }

    fn domain(&mut self, name: &str) -> usize {
        if let Some(known) = self.domains.get(name) {
            return *known;
        }
        self.segments.push(Segment {
            network: bounded(format!("{}{name}", self.prefix)),
            name: name.to_owned(),
            kind: SegmentKind::Wire,
            mtu: Some(DOMAIN_MTU),
            host_links: Vec::new(),
            vxlan: None,
        });
        let place = self.segments.len() - 1;
        self.domains.insert(name.to_owned(), place);
        place
    }

    /// What a device runs, and what its first shell does.
    fn runs(&self, device: &Device, image: &str) -> (Runs, Program) {
        let program = self.program(device);
        match (self.env.runtime, Base::of_image(image)) {
            (None, Some(base)) => (Runs::Host(base), program),
            (runtime, _) => {
                let tasks = program.tasks.into_iter().map(Task::into_words);
                let image = Image {
                    name: image.to_owned(),
                    runtime,
                    tasks: tasks.collect(),
                    at_end: program.at_end,
                    ..Image::default()
                };
                (Runs::Image(Box::new(image)), Program::default())
            }
        }
    }

    fn program(&self, device: &Device) -> Program {
        let script = |name: String| {
            let found = self.found(&name)?;
            let name = found.file_name()?.to_string_lossy().into_owned();
            Some(format!(
                "bash {}",
                crate::lab::script::quote(&format!("/hostlab/{name}"))
            ))
        };
        let at = |when: &str| {
            [
                script(format!("shared.{when}")),
                script(format!("{}.{when}", device.name)),
            ]
        };
        let starts = at("startup").into_iter().flatten();
        let exec = device.lists.get("exec").into_iter().flatten();
        let tasks = starts.chain(exec.map(|(_, line)| line.clone()));
        let [shared, own] = at("shutdown");
        let ends: Vec<String> = own.into_iter().chain(shared).collect();
        Program {
            before: vec![SERVICES.to_owned()],
            main: Vec::new(),
            tasks: tasks.map(Task::Line).collect(),
            at_end: (!ends.is_empty()).then(|| ends.join("; ")),
        }
    }

    fn binds(&self, volumes: &[Said]) -> Read<Vec<String>> {
        let mut binds = vec![format!("{}:/hostlab:ro", self.env.dir.display())];
        if let Some(shared) = self.found("shared") {
            binds.push(format!("{}:/shared", shared.display()));
        }
        for (at, volume) in volumes {
            let mut parts = volume.split(['|', ':']);
            let (Some(host), Some(inside), mode) = (parts.next(), parts.next(), parts.next())
            else {
                return Err(Fault::new(
                    *at,
                    format!(
                        "volume {} is not HOST|DEVICE or HOST|DEVICE|ro",
                        shown(volume)
                    ),
                ));
            };
            let Some(host) = self.found(host) else {
                return Err(Fault::new(
                    *at,
                    format!("volume {}: there is no such directory", shown(volume)),
                ));
            };
            let read_only = if mode == Some("ro") { ":ro" } else { "" };
            binds.push(format!("{}:{inside}{read_only}", host.display()));
        }
        Ok(binds)
    }

    /// Something beside the file.
    fn found(&self, name: &str) -> Option<std::path::PathBuf> {
        let path = self.env.dir.join(name);
        (self.env.is_there)(&path).then_some(path)
    }
}

/// `KEY=VALUE` lines.
fn pairs(list: &[Said], what: &str) -> Read<BTreeMap<String, String>> {
    list.iter()
        .map(|(at, text)| match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(Fault::new(
                *at,
                format!("{what} {} is not NAME=VALUE", shown(text)),
            )),
        })
        .collect()
}

/// What every device has unless its lab says otherwise (Kathara's `DockerMachine.create`): all of them are routers.
fn sysctls(has_ipv6: Option<bool>) -> BTreeMap<String, String> {
    let ipv6: &[(&str, &str)] = match has_ipv6 {
        None => &[],
        Some(true) => &IPV6_ON,
        Some(false) => &IPV6_OFF,
    };
    let all = IPV4.iter().chain(ipv6);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Python's `strtobool`, which Kathara asks.
fn is_yes((at, text): &Said) -> Read<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Ok(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Ok(false),
        _ => Err(Fault::new(
            *at,
            format!("{} is neither true nor false", shown(text)),
        )),
    }
}

/// What Docker gives the links of Kathara's own plugin.
const DOMAIN_MTU: u16 = 1500;
const IPV4: [(&str, &str); 5] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.icmp_ratelimit", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.lo.rp_filter", "0"),
];
const IPV6_ON: [(&str, &str); 5] = [
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.all.accept_ra", "0"),
    ("net.ipv6.icmp.ratelimit", "0"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
];
const IPV6_OFF: [(&str, &str); 2] = [
    ("net.ipv6.conf.all.disable_ipv6", "1"),
    ("net.ipv6.conf.default.disable_ipv6", "1"),
];
const STOP_TIMEOUT_S: u32 = 10;
/// Kathara's images have a `systemctl` that starts services by their scripts, as there is no systemd.
const SERVICES: &str = "\
cat >/usr/local/sbin/systemctl <<'END'
#!/bin/sh
verb=$1; [ $# -gt 0 ] && shift
for name; do
  case $name in -*) continue ;; esac
  case $verb in
    start|stop|restart|reload|status) /etc/init.d/\"${name%.service}\" \"$verb\" ;;
  esac
done
END
chmod +x /usr/local/sbin/systemctl";
