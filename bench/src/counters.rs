//! What the kernel counts on links and at sockets: what was sent, and what was dropped.

use crate::netns::Netns;
use crate::trouble::Trouble;

/// Frames dropped at any link of the namespace, in both directions (`/proc/net/dev`).
pub(crate) fn link_drops(netns: &Netns) -> Result<u64, Trouble> {
    Ok(parse_links(&netns.read("dev")?))
}

/// Datagrams that found the socket's buffer full (`/proc/net/snmp`).
pub(crate) fn socket_drops(netns: &Netns) -> Result<u64, Trouble> {
    Ok(snmp(&netns.read("snmp")?, "RcvbufErrors").unwrap_or(0))
}

/// Whether a link of this name is there.
pub(crate) fn has_link(netns: &Netns, link: &str) -> Result<bool, Trouble> {
    let table = netns.read("dev")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, _)| name.trim() == link))
}

/// What a namespace has sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Over the link, of every protocol.
    pub(crate) packets: u64,
    /// Datagrams, over all links.
    pub(crate) datagrams: u64,
}

/// What a namespace has sent over one of its links, and how much of it as datagrams.
pub(crate) fn sent(netns: &Netns, link: &str) -> Result<Sent, Trouble> {
    let datagrams = snmp(&netns.read("snmp")?, "OutDatagrams");
    Ok(Sent {
        packets: sent_over(&netns.read("dev")?, link).unwrap_or(0),
        datagrams: datagrams.unwrap_or(0),
    })
}

/// Packets sent are the tenth column after the name.
fn sent_over(table: &str, link: &str) -> Option<u64> {
    let mut links = table.lines().filter_map(|line| line.split_once(':'));
    let (_, counts) = links.find(|(name, _)| name.trim() == link)?;
    counts.split_whitespace().nth(9)?.parse().ok()
}

/// Receive drops are the fourth column after the name, transmit drops the twelfth.
fn parse_links(table: &str) -> u64 {
    table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(_, counts)| {
            let counts: Vec<u64> = counts
                .split_whitespace()
                .map_while(|count| count.parse().ok())
                .collect();
            counts.get(3).unwrap_or(&0) + counts.get(11).unwrap_or(&0)
        })
        .sum()
}

/// What is counted of UDP under a name.
fn snmp(table: &str, what: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.starts_with("Udp:"));
    let (names, counts) = (lines.next()?, lines.next()?);
    let place = names.split(' ').position(|name| name == what)?;
    counts.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_of_every_link_are_summed() {
        let table = "Inter-|   Receive                    |  Transmit\n face |bytes packets errs drop ...\n    \
                     lo:  10 1 0 0 0 0 0 0  10 1 0 0 0 0 0 0\n  eth0: 10 1 0 3 0 0 0 0 10 1 0 4 0 0 0 0\n";
        assert_eq!(parse_links(table), 7);
    }

    #[test]
    fn packets_are_those_that_one_link_has_sent() {
        let table = "under0: 10 1 0 0 0 0 0 0 90 7 0 0 0 0 0 0\n    lo: 10 1 0 3 0 0 0 0 10 2 0 4 0 0 0 0\n";
        assert_eq!(sent_over(table, "under0"), Some(7));
        assert_eq!(sent_over(table, "eth0"), None);
    }

    #[test]
    fn the_column_is_found_by_name() {
        let table = "Tcp: A\nTcp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 9 0 5 8 5\n";
        assert_eq!(snmp(table, "RcvbufErrors"), Some(5));
        assert_eq!(snmp(table, "OutDatagrams"), Some(8));
    }
}
