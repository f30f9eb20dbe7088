//! `tapestry network create`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_api::{Client, DnsServer, Driver, NetworkCreate};
use ipnet::IpNet;

use crate::failure::Failure;
use crate::{arguments, output};

/// Create a network and print its id
///
/// Options of names: -o dns.record=NAME=ADDRESS (a name of the network's own; may be repeated), -o dns.rebind=block (no
/// answers from outside that point into private networks).
///
/// Options of the forwarding table: -o fdb.ageing=SECONDS (how long an address is remembered that does not send; 300, and 0
/// for a switch that learns nothing), -o fdb.learning=false (what nobody registered is sent to everybody), -o learn_limit=N
/// (addresses at each container's port).
///
/// Options that guard the others: -o isolated=on (containers reach the gateway, not each other), -o bpdu_guard=on|SECONDS (a
/// container that sends spanning tree's frames is blocked), -o storm_broadcast=N, -o storm_multicast=N, -o storm_unknown=N
/// (frames a second that each container may send to everybody).
///
/// Multicast: -o snooping=on (only to those who asked for a group), -o snooping=fast (and who leaves is not asked again); off
/// floods it to everybody.
///
/// Options for labs: -o transparent=true (pass STP, LACP and LLDP on), -o guard=loose (routers with one arm), -o
/// dhcp=container|off (a server of your own, or none), -o ra=allow (router advertisements), -o bum=N|off (broadcasts a
/// second).
///
/// Options of VLANs: -o vlan=aware (run, network connect: --vlan, --trunk), -o vlan_default=N (the gateway's; 1), -o
/// vlan_protocol=802.1q|802.1ad (whose tags are read).
///
/// Options of the overlay driver: -o encap=quic|vxlan, -o vni=N, -o remote=IP[,IP] (VXLAN to fixed hosts, without a
/// cluster).
///
/// Options of VXLAN, as of iproute2: -o dstport=N (4789; Linux' devices have 8472 unless told otherwise), -o local=IP (with
/// remote=), -o tos=inherit|N, -o ttl=inherit|N, -o df=set|unset|inherit (set).
///
/// Options of macvlan and ipvlan: -o parent=eth0[.VLAN], -o macvlan_mode=bridge|private|vepa|passthru, -o
/// ipvlan_mode=l2|l3, -o mac=translate (the LAN sees the NIC's MAC alone). Of bridge and overlay: -o uplink=eth1 (a
/// LAN as one part of the network).
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Who carries its frames: bridge (this host), overlay (many hosts), macvlan or ipvlan (a LAN)
    #[arg(
        short,
        long,
        value_name = "DRIVER",
        default_value = "bridge",
        value_parser = driver
    )]
    driver: Driver,
    /// Its addresses; once for IPv4, once for IPv6; a free default pool where absent; IPv6 alone makes it IPv6 only; none makes
    /// it a wire without addresses
    #[arg(long, value_name = "CIDR|none", value_parser = subnet)]
    subnet: Vec<Subnet>,
    /// The gateway's address; the subnet's first where absent; once per subnet
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Give containers addresses from this part of the subnet only
    #[arg(long, value_name = "CIDR", value_parser = arguments::subnet)]
    ip_range: Option<IpNet>,
    /// An address that no container gets, because somebody else has it; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = arguments::aux_address)]
    aux_address: Vec<(String, IpAddr)>,
    /// Give it an IPv6 subnet too
    #[arg(long)]
    ipv6: bool,
    /// Take subnets that this host reaches another way, and cut it off there
    #[arg(long)]
    force: bool,
    /// No way out and no way in
    #[arg(long)]
    internal: bool,
    /// Let containers attach to it, as they may to every network
    #[arg(long = "attachable")]
    _attachable: bool,
    /// The largest IP packet in bytes
    #[arg(long, value_name = "N", value_parser = arguments::mtu)]
    mtu: Option<u16>,
    /// A server for names outside the network, encrypted as in tls://1.1.1.1#one.one.one.one, https:// or quic://; the
    /// host's where absent; may be repeated
    #[arg(long, value_name = "SERVER")]
    dns: Vec<DnsServer>,
    /// An option of the driver; may be repeated
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = arguments::key_value)]
    opt: Vec<(String, String)>,
    /// A label to find it by; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::key_value)]
    label: Vec<(String, String)>,
    /// The network's name
    name: String,
}

/// What `--subnet` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subnet {
    Net(IpNet),
    None,
}

fn subnet(text: &str) -> Result<Subnet, String> {
    match text {
        "none" => Ok(Subnet::None),
        net => arguments::subnet(net).map(Subnet::Net),
    }
}

pub(super) async fn create(args: Create, client: &Client) -> Result<u8, Failure> {
    let subnets = args.subnet.iter().filter_map(|subnet| match subnet {
        Subnet::Net(net) => Some(*net),
        Subnet::None => None,
    });
    let request = NetworkCreate {
        id: None,
        name: args.name,
        driver: args.driver,
        subnets: subnets.collect(),
        without_addresses: args.subnet.contains(&Subnet::None),
        gateways: args.gateway,
        ip_range: args.ip_range,
        aux_addresses: args.aux_address.into_iter().collect(),
        ipv6: args.ipv6,
        force: args.force,
        internal: args.internal,
        mtu: args.mtu,
        dns: args.dns,
        options: options(args.opt),
        labels: args.label.into_iter().collect(),
    };
    let created = client.create_network(&request).await?;
    output::print(&format!("{}\n", created.id))?;
    Ok(0)
}

/// The last of a repeated option counts, as with Docker; only records add up, as the agent takes them.
fn options(given: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::<String, String>::new();
    for (key, value) in given {
        match options.get_mut(&key) {
            Some(records) if key == "dns.record" => *records = format!("{records},{value}"),
            _ => {
                options.insert(key, value);
            }
        }
    }
    options
}

fn driver(name: &str) -> Result<Driver, String> {
    match name {
        "bridge" => Ok(Driver::Bridge),
        "overlay" => Ok(Driver::Overlay),
        "macvlan" => Ok(Driver::Macvlan),
        "ipvlan" => Ok(Driver::Ipvlan),
        "host" | "null" => Err(format!("there is one network of driver {name}, always")),
        _ => Err("there are bridge, overlay, macvlan and ipvlan".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_records_add_up() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let given = vec![
            pair("dns.record", "a=10.0.0.1"),
            pair("tap", "basic"),
            pair("dns.record", "b=10.0.0.2"),
            pair("tap", "offload"),
        ];
        let options = options(given);
        assert_eq!(options["dns.record"], "a=10.0.0.1,b=10.0.0.2");
        assert_eq!(options["tap"], "offload");
    }
}
