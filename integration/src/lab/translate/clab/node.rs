//! What a file says of a node.

use std::collections::BTreeMap;
use std::path::Path;

use agent_api::{DnsServer, RestartPolicy};
use ipnet::IpNet;

use super::Building;
use crate::lab::engine::{Image, NoRuntime, Runtime};
use crate::lab::fault::{Fault, Read, shown};
use crate::lab::images::Base;
use crate::lab::model::{Node, NodeNetwork, Runs};
use crate::lab::script::{Program, Task};
use crate::lab::translate::properties::Held;
use crate::lab::translate::values::{self, bounded, parsed};
use crate::lab::wire::clab::Said;
use crate::lab::wire::words::words;

impl Building<'_> {
    pub(super) fn node(&self, said: &Said, held: &Held) -> Read<(Program, Node)> {
        let name = &said.1;
        let text = |key: &str| {
            held.text(key)
                .map(|(at, text)| (*at, self.magic(text, name)))
        };
        let image = text("image");
        let runtime = text("runtime").map(|said| runtime(&said)).transpose()?;
        let runtime = runtime.or(self.env.runtime);
        let stand_in = image.as_ref().map(|(_, image)| Base::of_image(image));
        let network = network(text("network-mode"))?;
        let hostname = text("hostname").unwrap_or_else(|| (said.0, name.clone()));
        let tasks = self.tasks(name, held)?;
        let [entrypoint, cmd] = self.main(name, held)?;
        let (runs, program) = match (&image, stand_in, runtime) {
            (Some((_, image)), Some(None), _) | (Some((_, image)), _, Some(_)) => {
                let image = Image {
                    name: image.clone(),
                    runtime,
                    entrypoint,
                    cmd,
                    user: text("user").map(|(_, user)| user),
                    privileged: text("privileged").is_some_and(|(_, said)| said == "true"),
                    tasks,
                    at_end: None,
                };
                (Runs::Image(Box::new(image)), Program::default())
            }
            (_, stand_in, _) => {
                check_user(text("user"))?;
                check_privileged(text("privileged"))?;
                let base = stand_in.flatten().unwrap_or(Base::plain());
                let main = [entrypoint, cmd].concat();
                let start = base.start.filter(|_| main.is_empty());
                let program = Program {
                    before: start.map(str::to_owned).into_iter().collect(),
                    main,
                    tasks: tasks.into_iter().map(Task::Words).collect(),
                    at_end: None,
                };
                (Runs::Host(base), program)
            }
        };
        let node = Node {
            container: bounded(format!("{}{name}", self.prefix)),
            name: name.clone(),
            kind: held.kind.1.clone(),
            image: image.map(|(_, image)| image),
            runs,
            group: held.group.clone(),
            network,
            interfaces: Vec::new(),
            management_ip: self.management_address(held, "mgmt-ipv4")?,
            management_ip6: self.management_address(held, "mgmt-ipv6")?,
            hostname: values::name(&hostname, "hostname")?,
            aliases: self.texts(held, "aliases", name),
            env: self.map(held, "env", name),
            sysctls: self.map(held, "sysctls", name),
            labels: self.map(held, "labels", name),
            cap_add: self.texts(held, "cap-add", name),
            binds: self.binds(name, held)?,
            copies: Vec::new(),
            publish: held
                .list("ports")
                .iter()
                .map(values::ports)
                .collect::<Read<Vec<_>>>()?
                .concat(),
            dns: held
                .list("dns-servers")
                .iter()
                .map(|server| parsed::<DnsServer>(server, "a name server"))
                .collect::<Read<_>>()?,
            dns_search: self.texts(held, "dns-search", name),
            dns_options: self.texts(held, "dns-options", name),
            restart: text("restart-policy").map_or(Ok(RestartPolicy::No), |policy| {
                parsed(&policy, "no, on-failure, always or unless-stopped")
            })?,
            memory: text("memory")
                .map(|said| values::memory(&said))
                .transpose()?,
            nano_cpus: text("cpu")
                .map(|said| values::nano_cpus(&said))
                .transpose()?,
            script: String::new(),
            has_tasks: false,
            stop_timeout_s: 0,
        };
        Ok((program, node))
    }

    /// What it does at its start.
    fn tasks(&self, name: &str, held: &Held) -> Read<Vec<Vec<String>>> {
        let lines = held.list("exec").iter();
        let tasks = lines.map(|line| self.cut(line, "the command", name));
        let mut tasks = tasks.collect::<Read<Vec<_>>>()?;
        tasks.retain(|words| !words.is_empty());
        Ok(tasks)
    }

    /// What it is for: its entrypoint and its command.
    fn main(&self, name: &str, held: &Held) -> Read<[Vec<String>; 2]> {
        let part = |key: &str| {
            let said = held.text(key);
            said.map_or(Ok(Vec::new()), |said| self.cut(said, key, name))
        };
        Ok([part("entrypoint")?, part("cmd")?])
    }

    fn cut(&self, (at, line): &Said, what: &str, node: &str) -> Read<Vec<String>> {
        let line = self.magic(line, node);
        words(&line).map_err(|missing| Fault::new(*at, format!("{what} lacks {missing}")))
    }

    fn management_address<T>(&self, held: &Held, key: &str) -> Read<Option<T>>
    where
        T: std::str::FromStr + Copy + Into<std::net::IpAddr>,
    {
        let Some(said) = held.text(key) else {
            return Ok(None);
        };
        let address: T = parsed(said, "an address of that family")?;
        let nets = &self.management.subnets;
        match nets.iter().any(|net| net.contains(&address.into())) {
            true => Ok(Some(address)),
            false => {
                let nets: Vec<String> = nets.iter().map(IpNet::to_string).collect();
                Err(Fault::new(
                    said.0,
                    format!(
                        "{key} {} is not in the management network, {}",
                        said.1,
                        nets.join(", ")
                    ),
                ))
            }
        }
    }

    /// A later one of the same place in the node wins.
    fn binds(&self, name: &str, held: &Held) -> Read<Vec<String>> {
        let mut binds: BTreeMap<String, String> = BTreeMap::new();
        for (at, bind) in held.list("binds") {
            let bind = self.magic(bind, name);
            let parts: Vec<&str> = bind.split(':').collect();
            let (host, inside, mode) = match parts[..] {
                [host, inside] => (host, inside, ""),
                [host, inside, mode] => (host, inside, mode),
                _ => {
                    return Err(Fault::new(
                        *at,
                        format!("bind {} is not HOST:NODE or HOST:NODE:ro", shown(&bind)),
                    ));
                }
            };
            if !inside.starts_with('/') {
                return Err(Fault::new(
                    *at,
                    format!(
                        "bind {}: the place in the node must be an absolute path",
                        shown(&bind)
                    ),
                ));
            }
            let host = self.host_path(host);
            if !(self.env.is_there)(&host) {
                return Err(Fault::new(
                    *at,
                    format!("bind {}: there is no {}", shown(&bind), host.display()),
                ));
            }
            let is_read_only = mode.split(',').any(|word| word == "ro");
            let read_only = if is_read_only { ":ro" } else { "" };
            let made = format!("{}:{inside}{read_only}", host.display());
            binds.insert(inside.to_owned(), made);
        }
        Ok(binds.into_values().collect())
    }

    fn host_path(&self, path: &str) -> std::path::PathBuf {
        let home = || (self.env.var)("HOME").unwrap_or_else(|| "/root".to_owned());
        match path.strip_prefix("~/") {
            Some(rest) => Path::new(&home()).join(rest),
            None => self.env.dir.join(path).components().collect(),
        }
    }

    fn texts(&self, held: &Held, key: &str, node: &str) -> Vec<String> {
        let list = held.list(key).iter();
        list.map(|(_, text)| self.magic(text, node)).collect()
    }

    fn map(&self, held: &Held, key: &str, node: &str) -> BTreeMap<String, String> {
        held.map(key)
            .map(|(name, (_, text))| (name.clone(), self.magic(text, node)))
            .collect()
    }

    /// containerlab's words for the node, the lab and their directories.
    fn magic(&self, text: &str, node: &str) -> String {
        if !text.contains("__clab") {
            return text.to_owned();
        }
        let labdir = self.labdir.display().to_string();
        text.replace("__clabNodeName__", node)
            .replace("__clabLabName__", &self.name)
            .replace("__clabNodeDir__", &format!("{labdir}/{node}"))
            .replace("__clabDir__", &labdir)
    }
}

fn runtime((at, text): &Said) -> Read<Runtime> {
    text.parse()
        .map_err(|error: NoRuntime| Fault::new(*at, error.to_string()))
}

fn network(mode: Option<Said>) -> Read<NodeNetwork> {
    let Some((at, mode)) = mode else {
        return Ok(NodeNetwork::Management);
    };
    match mode.split_once(':') {
        None if mode == "bridge" => Ok(NodeNetwork::Management),
        None if mode == "none" => Ok(NodeNetwork::Links),
        None if mode == "host" => Ok(NodeNetwork::Host),
        Some(("container", name)) if !name.is_empty() => {
            Ok(NodeNetwork::Container(name.to_owned()))
        }
        _ => Err(Fault::new(
            at,
            format!(
                "network-mode {} is not none, host or container:NAME",
                shown(&mode)
            ),
        )),
    }
}

fn check_privileged(privileged: Option<Said>) -> Read<()> {
    match privileged {
        Some((at, said)) if said == "true" => Err(Fault::new(
            at,
            "privileged is for nodes whose image runs under Docker or podman; take cap-add",
        )),
        _ => Ok(()),
    }
}

fn check_user(user: Option<Said>) -> Read<()> {
    match user {
        Some((at, user)) if !matches!(user.as_str(), "root" | "0" | "0:0" | "root:root") => {
            Err(Fault::new(
                at,
                format!(
                    "user {}: nodes on this host's programs run as root; leave it out, or use su in cmd",
                    shown(&user)
                ),
            ))
        }
        _ => Ok(()),
    }
}
