//! What a request for an overlay network comes to: its encapsulation, its VNI, its remotes.

use std::net::IpAddr;

use agent_api::{Driver, NetworkCreate};
use switch_core::Vni;

use super::error::CreateNetwork;
use super::option_list::{OPTION_ENCAP, OPTION_REMOTE, OPTION_VNI};
use super::vxlan::VxlanOptions;
use crate::record::Encap;

/// What the options ask for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayWish {
    pub encap: Encap,
    /// A free one is taken where absent.
    pub vni: Option<u32>,
    /// Empty: the hosts of the cluster.
    pub remotes: Vec<IpAddr>,
    pub vxlan: VxlanOptions,
}

impl OverlayWish {
    /// `None` for the other drivers.
    pub fn read(request: &NetworkCreate) -> Result<Option<Self>, CreateNetwork> {
        if request.driver != Driver::Overlay {
            return Ok(None);
        }
        let option = |name: &str| request.options.get(name).map(String::as_str);
        let remotes = match option(OPTION_REMOTE) {
            Some(text) => read_remotes(text)?,
            None => Vec::new(),
        };
        let encap = match option(OPTION_ENCAP) {
            Some("quic") => Encap::Quic,
            Some("vxlan") => Encap::Vxlan,
            None if remotes.is_empty() => Encap::Quic,
            None => Encap::Vxlan,
            Some(value) => return Err(wrong(OPTION_ENCAP, value, "quic or vxlan")),
        };
        let vni = option(OPTION_VNI).map(read_vni).transpose()?;
        if encap == Encap::Quic
            && let Some(name) = VxlanOptions::given(&request.options)
        {
            return Err(CreateNetwork::VxlanOnly(name));
        }
        let wish = Self {
            encap,
            vni,
            remotes,
            vxlan: VxlanOptions::read(&request.options)?,
        };
        wish.check_local()?;
        if !wish.remotes.is_empty() {
            wish.check_static(request)?;
        }
        Ok(Some(wish))
    }

    /// Every host of a cluster has the network's options, but none has another's address.
    fn check_local(&self) -> Result<(), CreateNetwork> {
        let Some(local) = self.vxlan.local else {
            return Ok(());
        };
        if self.remotes.is_empty() {
            return Err(CreateNetwork::LocalOfCluster);
        }
        let other = |remote: &&IpAddr| remote.is_ipv4() != local.is_ipv4();
        match self.remotes.iter().find(other).copied() {
            Some(remote) => Err(CreateNetwork::LocalFamily { local, remote }),
            None => Ok(()),
        }
    }

    /// Without a cluster nobody tells the other hosts anything: what has to be the same there is to be said.
    fn check_static(&self, request: &NetworkCreate) -> Result<(), CreateNetwork> {
        if self.encap == Encap::Quic {
            return Err(CreateNetwork::StaticQuic);
        }
        if self.vni.is_none() {
            return Err(CreateNetwork::StaticVni);
        }
        if request.subnets.is_empty() && !request.without_addresses {
            return Err(CreateNetwork::StaticSubnet);
        }
        Ok(())
    }
}

fn read_vni(text: &str) -> Result<u32, CreateNetwork> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        // Kernel devices take 0 for "any".
        Ok(vni) if digits && (1..=Vni::MAX).contains(&vni) => Ok(vni),
        _ => Err(wrong(OPTION_VNI, text, "a number from 1 to 16777215")),
    }
}

fn read_remotes(text: &str) -> Result<Vec<IpAddr>, CreateNetwork> {
    let expected = "addresses of other hosts, as in 192.0.2.1,192.0.2.2";
    let mut remotes = Vec::new();
    for part in text.split(',') {
        let remote: IpAddr = part
            .trim()
            .parse()
            .map_err(|_| wrong(OPTION_REMOTE, text, expected))?;
        if remote.is_unspecified() || remote.is_multicast() || is_broadcast(remote) {
            return Err(wrong(OPTION_REMOTE, text, expected));
        }
        if !remotes.contains(&remote) {
            remotes.push(remote);
        }
    }
    if remotes.len() > REMOTES_MAX {
        return Err(CreateNetwork::TooManyRemotes(remotes.len()));
    }
    Ok(remotes)
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

fn wrong(name: &str, value: &str, expected: &'static str) -> CreateNetwork {
    CreateNetwork::OptionValue {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

/// Every frame to everybody is sent to each.
pub(super) const REMOTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Option<OverlayWish>, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        OverlayWish::read(&NetworkCreate {
            name: "n".into(),
            driver: Driver::Overlay,
            subnets: vec!["10.9.0.0/24".parse().unwrap()],
            options: options.iter().map(owned).collect(),
            ..NetworkCreate::default()
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn remotes_make_a_static_vxlan() {
        let wish = read(&[("vni", "7"), ("remote", "192.0.2.1, 2001:db8::1,192.0.2.1")]);
        let wish = wish.unwrap().unwrap();
        assert_eq!((wish.encap, wish.vni), (Encap::Vxlan, Some(7)));
        assert_eq!(wish.remotes.len(), 2);
    }

    #[test]
    fn without_remotes_the_cluster_is_meant_and_quic() {
        let wish = read(&[]).unwrap().unwrap();
        assert_eq!((wish.encap, wish.vni), (Encap::Quic, None));
        let wish = read(&[("encap", "vxlan")]).unwrap().unwrap();
        assert_eq!(wish.encap, Encap::Vxlan);
    }

    #[test]
    fn a_static_vxlan_has_a_subnet_or_says_that_it_has_none() {
        let request = |without_addresses| NetworkCreate {
            name: "n".into(),
            driver: Driver::Overlay,
            without_addresses,
            options: [("vni", "7"), ("remote", "192.0.2.1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..NetworkCreate::default()
        };
        assert!(OverlayWish::read(&request(true)).is_ok());
        let refused = OverlayWish::read(&request(false));
        assert!(matches!(refused, Err(CreateNetwork::StaticSubnet)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong: &[(&[(&str, &str)], &str)] = &[
            (&[("encap", "gre")], "gre"),
            (&[("vni", "0")], "vni=0"),
            (&[("vni", "16777216")], "16777215"),
            (&[("vni", "+1")], "vni=+1"),
            (&[("vni", "7"), ("remote", "host")], "remote=host"),
            (&[("vni", "7"), ("remote", "239.1.1.1")], "239.1.1.1"),
            (&[("vni", "7"), ("remote", "")], "remote="),
            (&[("remote", "192.0.2.1")], "vni"),
            (&[("dstport", "8472")], "encap=vxlan"),
            (&[("encap", "vxlan"), ("ttl", "300")], "ttl=300"),
            (&[("encap", "vxlan"), ("local", "192.0.2.1")], "remote"),
            (
                &[
                    ("vni", "7"),
                    ("remote", "2001:db8::1"),
                    ("local", "192.0.2.1"),
                ],
                "families",
            ),
            (
                &[("vni", "7"), ("remote", "192.0.2.1"), ("encap", "quic")],
                "cluster",
            ),
        ];
        for (options, part) in wrong {
            let refused = read(options).unwrap_err();
            assert!(refused.contains(part), "{options:?}: {refused}");
        }
    }
}
