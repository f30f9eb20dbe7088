//! Routes to single stations behind a link.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteAttribute;
use nix::errno::Errno;

use super::error::NetlinkError;
use super::link::LinkEntry;
use super::nic::Nic;
use super::route::{Route, route_request};
use super::socket::{Netlink, Request};

impl Netlink {
    /// Has routes through the link to these stations and no others, each with the address that the host speaks to it from.
    /// `anew`: also where there is a route already, since those addresses changed.
    pub fn lead_to_stations(
        &mut self,
        link: &LinkEntry,
        stations: &BTreeMap<IpAddr, Option<IpAddr>>,
        anew: bool,
    ) -> Result<(), NetlinkError> {
        let routes = self.routes()?.into_iter();
        let own = routes.filter(|route| route.link_index == Some(link.index));
        let single = own.filter(|route| route.destination == IpNet::from(route.destination.addr()));
        let present: BTreeSet<IpAddr> = single.map(|route| route.destination.addr()).collect();
        let surplus = present
            .iter()
            .filter(|station| !stations.contains_key(station));
        for station in surplus {
            let request = station_request(link.index, *station, None, false);
            self.carry_out(link, *station, request)?;
        }
        let missing = stations.iter();
        let missing = missing.filter(|(station, _)| anew || !present.contains(station));
        for (station, source) in missing {
            let request = station_request(link.index, *station, *source, true);
            self.carry_out(link, *station, request)?;
        }
        Ok(())
    }

    /// A link as its uplink needs to know it.
    pub fn nic(&mut self, name: &str) -> Result<Nic, NetlinkError> {
        let link = self.link_by_name(name)?;
        let addresses = self.addresses_of(link.index)?;
        Ok(Nic {
            link: link.name,
            index: link.index,
            mac: link.mac,
            mtu: link.mtu,
            up: link.up,
            addresses,
        })
    }

    fn carry_out(
        &mut self,
        link: &LinkEntry,
        station: IpAddr,
        request: Request,
    ) -> Result<(), NetlinkError> {
        match self.apply(vec![request])? {
            // It has gone with an address.
            Some(refused) if refused.refusal.errno != Errno::ESRCH => Err(NetlinkError::AddRoute {
                link: link.name.clone(),
                destination: station.into(),
                gateway: None,
                refusal: refused.refusal,
            }),
            _ => Ok(()),
        }
    }
}

fn station_request(index: u32, station: IpAddr, source: Option<IpAddr>, add: bool) -> Request {
    let route = Route {
        destination: station.into(),
        gateway: None,
        metric: 0,
    };
    let mut request = route_request(index, &route, &[]);
    let RouteNetlinkMessage::NewRoute(mut message) = request.message else {
        return request;
    };
    // IPv6 chooses by itself, and takes an address of another link for no source here.
    if let Some(source @ IpAddr::V4(_)) = source {
        message
            .attributes
            .push(RouteAttribute::PrefSource(source.into()));
    }
    request.message = match add {
        true => RouteNetlinkMessage::NewRoute(message),
        false => RouteNetlinkMessage::DelRoute(message),
    };
    request.flags = match add {
        true => NLM_F_CREATE | NLM_F_REPLACE,
        false => 0,
    };
    request
}
