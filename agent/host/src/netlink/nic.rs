//! A link of the host that a network is on.

use std::net::IpAddr;

use ipnet::IpNet;

/// What a network has to know of its NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    pub link: String,
    pub index: u32,
    /// Absent where the link has none of six bytes.
    pub mac: Option<[u8; 6]>,
    pub mtu: u32,
    pub up: bool,
    pub addresses: Vec<IpNet>,
}

impl Nic {
    /// The addresses that the host has on the LAN, but those that are of the link alone.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let all = self.addresses.iter().map(IpNet::addr);
        all.filter(|address| match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
        .collect()
    }

    /// The address that the host speaks to `station` from: one of the same subnet, else any of the same family.
    pub fn source_for(&self, station: IpAddr) -> Option<IpAddr> {
        let own = self.own_addresses();
        let is_near = |net: &&IpNet| net.contains(&station) && own.contains(&net.addr());
        let near = self.addresses.iter().find(is_near).map(IpNet::addr);
        let of_family = |address: &IpAddr| address.is_ipv4() == station.is_ipv4();
        near.or_else(|| own.iter().copied().find(of_family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_speaks_from_the_stations_subnet() {
        let nic = Nic {
            link: "eth0".into(),
            index: 2,
            mac: None,
            mtu: 1500,
            up: true,
            addresses: [
                "169.254.1.1/16",
                "10.0.0.1/8",
                "192.0.2.9/24",
                "fe80::1/64",
                "fd00::9/64",
            ]
            .map(|net| net.parse().unwrap())
            .into(),
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(nic.source_for(ip("192.0.2.1")), Some(ip("192.0.2.9")));
        assert_eq!(nic.source_for(ip("198.51.100.1")), Some(ip("10.0.0.1")));
        assert_eq!(nic.source_for(ip("fd00::1")), Some(ip("fd00::9")));
        assert_eq!(nic.own_addresses().len(), 3);
    }
}
