//! Arithmetic of blocks: aligned stretches of a subnet, each a power of two long.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The page of a subnet that an address is in: whoever changes a block in it changes the page.
pub fn page_of(subnet: IpNet, address: IpAddr) -> IpNet {
    let prefix = subnet.max_prefix_len() - PAGE_BITS.min(host_bits(subnet));
    net(address, prefix)
}

/// The pages that an address may be in, whatever its subnet.
pub fn pages_around(address: IpAddr) -> impl Iterator<Item = IpNet> {
    let max = IpNet::from(address).max_prefix_len();
    (0..=PAGE_BITS)
        .rev()
        .map(move |bits| net(address, max - bits))
}

/// How many bits of a block's addresses are its own: as many as leave [`BLOCKS_A_HOST`] blocks of the range for each host.
pub fn block_bits(range: IpNet, hosts: usize) -> u8 {
    let blocks = hosts.max(1).saturating_mul(BLOCKS_A_HOST);
    let bits = u32::from(host_bits(range)).saturating_sub(blocks.ilog2());
    u8::try_from(bits).map_or(BLOCK_BITS_MAX, |bits| bits.min(BLOCK_BITS_MAX))
}

/// The first block of `bits` in `range` that overlaps none of those `taken`, and `is_useful`.
pub fn find_free(
    range: IpNet,
    taken: &BTreeSet<IpNet>,
    bits: u8,
    is_useful: impl Fn(IpNet) -> bool,
) -> Option<IpNet> {
    if bits > host_bits(range) {
        return None;
    }
    let (size, end) = (1u128.checked_shl(bits.into())?, last(range));
    let mut candidate = first(range);
    let mut in_the_way = taken.iter().copied().peekable();
    while candidate <= end {
        let block = net(address(range, candidate), range.max_prefix_len() - bits);
        match in_the_way.peek() {
            Some(other) if is_before(*other, block) => {
                in_the_way.next();
            }
            Some(other) if overlap(*other, block) => {
                let past = last(*other).max(last(block));
                candidate = past.checked_add(1)?;
            }
            _ if is_useful(block) => return Some(block),
            _ => candidate = candidate.checked_add(size)?,
        }
    }
    None
}

/// The block of `bits` around an address.
pub fn around(subnet: IpNet, address: IpAddr, bits: u8) -> IpNet {
    net(
        address,
        subnet.max_prefix_len() - bits.min(host_bits(subnet)),
    )
}

/// What is left of a block without a part of it: one block of each size between the two.
pub fn without(block: IpNet, part: IpNet) -> Vec<IpNet> {
    if !block.contains(&part) {
        return vec![block];
    }
    let shorter = block.prefix_len() + 1..=part.prefix_len();
    shorter
        .map(|prefix| {
            let kept = net(part.addr(), prefix);
            let other = number(kept.network()) ^ size(kept);
            net(address(block, other), prefix)
        })
        .collect()
}

/// The second half of a block; `None` where it is one address.
pub fn upper_half(block: IpNet) -> Option<IpNet> {
    let prefix = block.prefix_len() + 1;
    (prefix <= block.max_prefix_len()).then(|| net(block.broadcast(), prefix))
}

pub fn host_bits(net: IpNet) -> u8 {
    net.max_prefix_len() - net.prefix_len()
}

/// How many addresses there are in a block; a block of all IPv6 addresses has one less.
pub fn size(block: IpNet) -> u128 {
    let size = 1u128.checked_shl(host_bits(block).into());
    size.unwrap_or(u128::MAX)
}

pub fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

pub(super) fn first(block: IpNet) -> u128 {
    number(block.network())
}

pub(super) fn last(block: IpNet) -> u128 {
    number(block.broadcast())
}

pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The inverse of [`number`], for a number inside the subnet.
pub(super) fn address(subnet: IpNet, number: u128) -> IpAddr {
    match subnet {
        IpNet::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

fn net(address: IpAddr, prefix: u8) -> IpNet {
    IpNet::new(address, prefix).map_or_else(|_| address.into(), |net| net.trunc())
}

fn is_before(one: IpNet, other: IpNet) -> bool {
    last(one) < first(other)
}

/// A range is divided into so many blocks for each host, at most.
pub const BLOCKS_A_HOST: usize = 8;
/// Larger ones would keep much from others that nobody needs: 64 addresses.
const BLOCK_BITS_MAX: u8 = 6;
/// 256 addresses, or all of a smaller subnet.
const PAGE_BITS: u8 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_are_as_large_as_the_range_and_the_hosts_allow() {
        for (range, hosts, bits) in [
            ("10.0.0.0/28", 4, 0),
            ("10.0.0.0/24", 31, 1),
            ("10.0.0.0/24", 3, 4),
            ("10.0.0.0/16", 3, 6),
            ("fd00::/64", 500, 6),
            ("10.0.0.0/30", 500, 0),
            ("10.0.0.0/24", 0, 5),
        ] {
            assert_eq!(block_bits(parse(range), hosts), bits, "{range} {hosts}");
        }
    }

    #[test]
    fn a_page_is_256_addresses_or_the_whole_subnet() {
        let page = |subnet, address: &str| page_of(parse(subnet), address.parse().unwrap());
        assert_eq!(page("10.0.0.0/16", "10.0.7.9"), parse("10.0.7.0/24"));
        assert_eq!(page("10.0.0.16/28", "10.0.0.20"), parse("10.0.0.16/28"));
        assert_eq!(page("fd00::/64", "fd00::1:203"), parse("fd00::1:200/120"));
    }

    #[test]
    fn the_first_free_block_is_found_between_others_of_any_size() {
        let taken = ["10.0.0.0/27", "10.0.0.34/32", "10.0.0.48/28"].map(parse);
        let free = |bits| find_free(parse("10.0.0.0/25"), &taken.into(), bits, |_| true);
        assert_eq!(free(0), Some(parse("10.0.0.32/32")));
        assert_eq!(free(2), Some(parse("10.0.0.36/30")));
        assert_eq!(free(4), Some(parse("10.0.0.64/28")));
        assert_eq!((free(6), free(7)), (Some(parse("10.0.0.64/26")), None));
        let all = BTreeSet::from([parse("fd00::/64")]);
        assert_eq!(find_free(parse("fd00::/64"), &all, 0, |_| true), None);
    }

    #[test]
    fn a_block_without_a_part_is_one_of_each_size_between() {
        let left = without(parse("10.0.0.0/29"), parse("10.0.0.5/32"));
        let expected = ["10.0.0.0/30", "10.0.0.6/31", "10.0.0.4/32"].map(parse);
        assert_eq!(left, expected);
        assert!(without(parse("10.0.0.0/29"), parse("10.0.0.0/29")).is_empty());
        assert_eq!(upper_half(parse("10.0.0.0/29")), Some(parse("10.0.0.4/30")));
        assert_eq!(upper_half(parse("10.0.0.1/32")), None);
    }

    proptest! {
        #[test]
        fn a_block_is_its_parts(bits in 0..8u8, inner in 0..8u8, at in any::<u8>(), v6 in any::<bool>()) {
            let subnet = parse(if v6 { "fd00::7:0/112" } else { "10.7.0.0/16" });
            let place = address(subnet, first(subnet) + u128::from(at));
            let block = around(subnet, place, bits);
            let part = around(subnet, place, inner.min(bits));
            let left = without(block, part);
            let total: u128 = left.iter().copied().map(size).sum();
            prop_assert_eq!(total + size(part), size(block));
            for (n, one) in left.iter().enumerate() {
                prop_assert!(block.contains(one) && !overlap(*one, part));
                prop_assert!(left[n + 1..].iter().all(|other| !overlap(*one, *other)));
            }
        }

        #[test]
        fn a_free_block_is_the_first_that_fits(
            taken in prop::collection::btree_set((any::<u8>(), 0..5u8), 0..12),
            bits in 0..6u8,
        ) {
            let range = parse("10.7.0.0/24");
            let place = |at: u128| address(range, first(range) + at);
            let taken: BTreeSet<IpNet> = taken
                .into_iter()
                .map(|(at, bits)| around(range, place(at.into()), bits))
                .collect();
            let fits = |block: &IpNet| taken.iter().all(|other| !overlap(*other, *block));
            let expected = (0..256 >> bits)
                .map(|n: u128| around(range, place(n << bits), bits))
                .find(fits);
            prop_assert_eq!(find_free(range, &taken, bits, |_| true), expected);
        }
    }
}
