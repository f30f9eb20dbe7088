//! What `inspect -f` shows: everything by the names that Docker gives it, and by the API's own besides.
//!
//! Docker's names begin with capitals and the API's do not, so that both have room in one value.

use std::collections::BTreeMap;

use agent_api::{
    ContainerDetail, ContainerState, EndpointDetail, NetworkDetail, NetworkMode, PortMapping,
    RestartPolicy,
};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{output, port, ps};

pub(crate) fn container(container: &ContainerDetail) -> Value {
    let summary = &container.summary;
    let (program, arguments) = summary.command.split_first().unzip();
    let status = ps::status_word(summary);
    let (pid, code) = match summary.state {
        ContainerState::Running { pid } => (pid, 0),
        ContainerState::Exited { code } => (0, code),
        ContainerState::Created => (0, 0),
    };
    let (policy, most) = match container.restart {
        RestartPolicy::OnFailure { most } => ("on-failure".to_owned(), most),
        policy => (policy.to_string(), 0),
    };
    let docker = json!({
        "Id": summary.id,
        "Name": format!("/{}", summary.name),
        "Path": program,
        "Args": arguments,
        "State": {
            "Status": status,
            "Running": matches!(status, "running" | "restarting"),
            "Restarting": summary.restarting,
            "Paused": false,
            "Dead": false,
            "Pid": pid,
            "ExitCode": code,
        },
        "RestartCount": container.restarts,
        "LogPath": container.log,
        "HostConfig": {
            "NetworkMode": mode(&container.network_mode),
            "RestartPolicy": {"Name": policy, "MaximumRetryCount": most},
            "PortBindings": ports(&summary.publish),
            "Privileged": container.privileged,
        },
        "Config": {
            "Hostname": container.hostname,
            "Cmd": summary.command,
            "Labels": summary.labels,
        },
        "NetworkSettings": network_settings(container),
    });
    with_own_names(docker, container)
}

pub(crate) fn network(network: &NetworkDetail) -> Value {
    let summary = &network.summary;
    let subnets = network.subnets.iter().map(|subnet| {
        let range = network.ip_range.filter(|range| subnet.contains(range));
        let gateway = network
            .gateways
            .iter()
            .find(|gateway| subnet.contains(*gateway));
        let kept = network.aux_addresses.iter();
        let kept: BTreeMap<_, _> = kept
            .filter(|(_, address)| subnet.contains(*address))
            .collect();
        json!({
            "Subnet": subnet,
            "IPRange": text(range),
            "Gateway": text(gateway),
            "AuxiliaryAddresses": kept,
        })
    });
    let containers: Map<String, Value> = network
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.id.clone(), attached(endpoint)))
        .collect();
    let docker = json!({
        "Id": summary.id,
        "Name": summary.name,
        "Driver": summary.driver,
        "Scope": summary.scope,
        "EnableIPv6": network.ipv6,
        "Internal": network.internal,
        "Attachable": true,
        "Ingress": false,
        "IPAM": {"Driver": "default", "Config": subnets.collect::<Vec<_>>()},
        "Containers": containers,
        "Options": network.options,
        "Labels": summary.labels,
    });
    with_own_names(docker, network)
}

fn attached(endpoint: &EndpointDetail) -> Value {
    json!({
        "Name": endpoint.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": text(address(endpoint, true)),
        "IPv6Address": text(address(endpoint, false)),
    })
}

fn network_settings(container: &ContainerDetail) -> Value {
    let networks: Map<String, Value> = container
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.network.clone(), on_network(endpoint)))
        .collect();
    let first = container.endpoints.first().map(on_network);
    let mut settings = json!({
        "SandboxKey": container.sandbox,
        "Ports": ports(ps::published(&container.summary)),
        "Networks": networks,
    });
    // Docker has these of its bridge; here they are of the network with the default route.
    for name in [
        "IPAddress",
        "IPPrefixLen",
        "Gateway",
        "MacAddress",
        "GlobalIPv6Address",
    ] {
        let value = first.as_ref().map(|first| first[name].clone());
        settings[name] = value.unwrap_or_else(|| "".into());
    }
    settings
}

fn on_network(endpoint: &EndpointDetail) -> Value {
    let (v4, v6) = (address(endpoint, true), address(endpoint, false));
    let gateway = |v4: bool| {
        let mut gateways = endpoint.gateways.iter();
        text(gateways.find(|gateway| gateway.is_ipv4() == v4))
    };
    json!({
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPAddress": text(v4.map(|net| net.addr())),
        "IPPrefixLen": v4.map_or(0, |net| net.prefix_len()),
        "Gateway": gateway(true),
        "GlobalIPv6Address": text(v6.map(|net| net.addr())),
        "GlobalIPv6PrefixLen": v6.map_or(0, |net| net.prefix_len()),
        "IPv6Gateway": gateway(false),
        "Aliases": endpoint.aliases,
    })
}

fn address(endpoint: &EndpointDetail, v4: bool) -> Option<IpNet> {
    let mut addresses = endpoint.addresses.iter();
    addresses.find(|net| net.addr().is_ipv4() == v4).copied()
}

/// By port of the container, as `80/tcp`.
fn ports(mappings: &[PortMapping]) -> Value {
    let mut ports = BTreeMap::<String, Vec<Value>>::new();
    for mapping in mappings {
        let name = format!(
            "{}/{}",
            mapping.container_port,
            output::word(mapping.protocol)
        );
        let hosts = port::host_addresses(mapping).into_iter();
        let hosts =
            hosts.map(|host| json!({"HostIp": host.ip(), "HostPort": host.port().to_string()}));
        ports.entry(name).or_default().extend(hosts);
    }
    json!(ports)
}

fn mode(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Default => "bridge".to_owned(),
        NetworkMode::Network(name) => name.clone(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(name) => format!("container:{name}"),
    }
}

/// What is not there is the empty string, as with Docker.
fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn with_own_names(mut docker: Value, own: &impl Serialize) -> Value {
    if let (Value::Object(all), Ok(Value::Object(own))) = (&mut docker, serde_json::to_value(own)) {
        all.extend(own);
    }
    docker
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;

    fn shown(format: &str, value: &Value) -> String {
        let template = Template::parse(format).unwrap();
        template.render(value, &BTreeMap::new()).unwrap()
    }

    fn endpoint() -> Value {
        json!({
            "id": "e1", "network": "web", "name": "one", "mac": "02:42:0a:00:00:02",
            "addresses": ["10.0.0.2/24", "fd00::2/64"], "gateways": ["10.0.0.1", "fd00::1"],
            "link": "eth0", "port": 3, "aliases": ["www"],
        })
    }

    #[test]
    fn a_container_has_what_is_asked_for_most() {
        let detail = json!({
            "id": "c1", "name": "one", "command": ["httpd", "-f"], "created_s": 1, "since_s": 2, "networks": ["web"],
            "state": {"status": "running", "pid": 7}, "labels": {"tier": "front"},
            "publish": [{"host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80, "protocol": "tcp"}],
            "hostname": "h", "network_mode": {"mode": "network", "name": "web"}, "capabilities": [],
            "privileged": false, "restart": "on-failure:3", "endpoints": [endpoint()], "sandbox": "/proc/7/ns/net",
            "attach": "/a", "log": "/l",
        });
        let value = container(&serde_json::from_value(detail).unwrap());
        for (format, expected) in [
            (
                "{{.Id}} {{.Name}} {{.State.Status}} {{.State.Pid}}",
                "c1 /one running 7",
            ),
            ("{{.NetworkSettings.IPAddress}}", "10.0.0.2"),
            ("{{.NetworkSettings.Networks.web.Gateway}}", "10.0.0.1"),
            (
                "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}",
                "fd00::2",
            ),
            (
                r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
                "8080",
            ),
            (
                "{{.HostConfig.NetworkMode}} {{.HostConfig.RestartPolicy.Name}}",
                "web on-failure",
            ),
            (
                r#"{{index .Config.Labels "tier"}} {{.Config.Hostname}}"#,
                "front h",
            ),
            ("{{.Path}} {{.Args}}", "httpd [-f]"),
            ("{{.state.status}}", "running"),
        ] {
            assert_eq!(shown(format, &value), expected, "{format}");
        }
    }

    #[test]
    fn a_network_has_what_is_asked_for_most() {
        let detail = json!({
            "id": "n1", "name": "web", "driver": "bridge", "scope": "local", "subnets": ["10.0.0.0/24", "fd00::/64"],
            "gateways": ["10.0.0.1", "fd00::1"], "ip_range": "10.0.0.128/25", "aux_addresses": {"router": "10.0.0.9"},
            "ipv6": true, "internal": false, "mtu": 1500, "dns": [], "options": {}, "drops": {},
            "endpoints": [endpoint()],
        });
        let value = network(&serde_json::from_value(detail).unwrap());
        for (format, expected) in [
            (
                "{{range .IPAM.Config}}{{.Subnet}} {{end}}",
                "10.0.0.0/24 fd00::/64 ",
            ),
            ("{{(index .IPAM.Config 0).Gateway}}", "10.0.0.1"),
            (
                "{{(index .IPAM.Config 0).AuxiliaryAddresses.router}}",
                "10.0.0.9",
            ),
            (
                "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}",
                "one 10.0.0.2/24",
            ),
            (
                "{{.Driver}} {{.Scope}} {{.EnableIPv6}} {{.mtu}}",
                "bridge local true 1500",
            ),
        ] {
            assert_eq!(shown(format, &value), expected, "{format}");
        }
    }
}
