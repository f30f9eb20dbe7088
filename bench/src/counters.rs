//! Drops that the kernel counts: on links and at sockets.

use crate::netns::Netns;
use crate::trouble::Trouble;

/// Frames dropped at any link of the namespace, in both directions (`/proc/net/dev`).
pub(crate) fn link_drops(netns: &Netns) -> Result<u64, Trouble> {
    Ok(parse_links(&netns.read("dev")?))
}

/// Datagrams that found the socket's buffer full (`/proc/net/snmp`).
pub(crate) fn socket_drops(netns: &Netns) -> Result<u64, Trouble> {
    Ok(parse_snmp(&netns.read("snmp")?).unwrap_or(0))
}

/// Whether a link of this name is there.
pub(crate) fn has_link(netns: &Netns, link: &str) -> Result<bool, Trouble> {
    let table = netns.read("dev")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, _)| name.trim() == link))
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

fn parse_snmp(table: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.starts_with("Udp:"));
    let (names, counts) = (lines.next()?, lines.next()?);
    let place = names.split(' ').position(|name| name == "RcvbufErrors")?;
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
    fn the_column_is_found_by_name() {
        let table = "Tcp: A\nTcp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 9 0 5 8 5\n";
        assert_eq!(parse_snmp(table), Some(5));
    }
}
