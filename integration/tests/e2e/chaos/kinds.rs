//! What a container can set on its eth0 itself: how, and how it shows.

/// One kind: its name, the script that sets it, and the script whose output has to stay as it is.
pub(super) type Kind = (&'static str, &'static str, &'static str);

/// In this order: some need what is set before them.
pub(super) const KINDS: &[Kind] = &[
    (
        "an address",
        "ip addr add 10.77.0.9/24 dev eth0",
        "ip -o addr show dev eth0 | grep 10.77",
    ),
    (
        "an address with a label",
        "ip addr add 10.78.0.9/24 dev eth0 label eth0:web",
        "ip -o addr show label eth0:web",
    ),
    (
        "an address with a peer",
        "ip addr add 10.79.0.1 peer 10.79.0.2 dev eth0",
        "ip -o addr show dev eth0 | grep peer",
    ),
    (
        "an address without a route",
        "ip addr add 10.80.0.9/24 dev eth0 noprefixroute",
        "ip -o addr show dev eth0 | grep 10.80; ip route show 10.80.0.0/24",
    ),
    (
        "an address with a metric",
        "ip addr add 10.81.0.9/24 dev eth0 metric 77",
        "ip route show 10.81.0.0/24",
    ),
    (
        "an address of scope host",
        "ip addr add 10.82.0.9/32 dev eth0 scope host",
        "ip -o addr show dev eth0 scope host",
    ),
    (
        "an IPv6 address",
        "ip addr add fd00:9::9/64 dev eth0 nodad",
        "ip -o -6 addr show dev eth0 | grep fd00:9::9/",
    ),
    (
        "an IPv6 home address",
        "ip addr add fd00:9::10/64 dev eth0 nodad home",
        "ip -o -6 addr show dev eth0 | grep fd00:9::10/",
    ),
    (
        "a route",
        "ip route add 10.90.0.0/16 via 10.77.0.1 dev eth0 proto static metric 50",
        "ip route show 10.90.0.0/16",
    ),
    (
        "a route in a table of its own",
        "ip route add default via 10.77.0.1 dev eth0 table 100",
        "ip route show table 100",
    ),
    (
        "a route with an MTU",
        "ip route add 10.91.0.0/16 dev eth0 mtu 1300 advmss 1200",
        "ip route show 10.91.0.0/16",
    ),
    (
        "a route to an off-link gateway",
        "ip route add 10.92.0.0/16 via 192.0.2.77 dev eth0 onlink",
        "ip route show 10.92.0.0/16",
    ),
    (
        "a route over two gateways",
        "ip route add 10.93.0.0/16 nexthop via 10.77.0.1 dev eth0 nexthop via 10.77.0.3 dev eth0",
        "ip route show 10.93.0.0/16",
    ),
    (
        "a route for multicast",
        "ip route add 239.1.0.0/16 dev eth0",
        "ip route show 239.1.0.0/16",
    ),
    (
        "an IPv6 route",
        "ip route add fd00:90::/48 via fd00:9::1 dev eth0",
        "ip -6 route show fd00:90::/48",
    ),
    (
        "an IPv6 route with a preference",
        "ip -6 route add fd00:91::/48 dev eth0 pref high",
        "ip -6 route show fd00:91::/48",
    ),
    (
        "a next hop",
        "ip nexthop add id 7 via 10.77.0.1 dev eth0 && ip route add 10.94.0.0/16 nhid 7",
        "ip nexthop show id 7; ip route show 10.94.0.0/16",
    ),
    (
        "a rule for what comes in",
        "ip rule add iif eth0 table 100 pref 500",
        "ip rule show pref 500",
    ),
    (
        "a rule for what goes out",
        "ip rule add oif eth0 to 10.95.0.0/16 table 100 pref 501",
        "ip rule show pref 501",
    ),
    (
        "an IPv6 rule",
        "ip -6 rule add iif eth0 to fd00:95::/48 table 100 pref 500",
        "ip -6 rule show pref 500",
    ),
    (
        "an IPv6 address label",
        "ip addrlabel add prefix fd00:9::/64 dev eth0 label 99",
        "ip addrlabel list | grep 'label 99'",
    ),
    (
        "a permanent neighbour",
        "ip neigh add 10.77.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
        "ip neigh show 10.77.0.77",
    ),
    (
        "a permanent IPv6 neighbour",
        "ip neigh add fd00:9::77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
        "ip -6 neigh show fd00:9::77",
    ),
    (
        "a neighbour that it answers for",
        "ip neigh add proxy 10.77.0.99 dev eth0",
        "ip neigh show proxy",
    ),
    (
        "a multicast MAC address",
        "ip maddr add 01:00:5e:11:12:13 dev eth0",
        "ip maddr show dev eth0 | grep 01:00:5e:11:12:13",
    ),
    (
        "a queue length",
        "ip link set eth0 txqueuelen 77",
        "ip -o link show eth0 | grep -o 'qlen 77'",
    ),
    (
        "an MTU",
        "ip link set eth0 mtu 1400",
        "ip -o link show eth0 | grep -o 'mtu 1400'",
    ),
    (
        "an alias",
        "ip link set eth0 alias front-door",
        "ip link show eth0 | grep front-door",
    ),
    (
        "another name",
        "ip link property add dev eth0 altname front-door",
        "ip link show front-door | grep altname",
    ),
    (
        "promiscuity",
        "ip link set eth0 promisc on",
        "ip link show eth0 | grep -o PROMISC",
    ),
    (
        "all multicast",
        "ip link set eth0 allmulticast on",
        "ip link show eth0 | grep -o ALLMULTI",
    ),
    (
        "a group",
        "ip link set eth0 group 7",
        "ip link show eth0 | grep -o 'group 7'",
    ),
    (
        "a limit on segments",
        "ip link set eth0 gso_max_segs 30",
        "ip -d link show eth0 | grep -o 'gso_max_segs [0-9]*'",
    ),
    (
        "a limit on superframes",
        "ip link set eth0 gso_max_size 30000",
        "ip -d link show eth0 | grep -o 'gso_max_size [0-9]*'",
    ),
    (
        "settings of IPv4",
        "cd /proc/sys/net/ipv4/conf/eth0; echo 2 >rp_filter; echo 2 >arp_announce; echo 1 >proxy_arp",
        "cd /proc/sys/net/ipv4/conf/eth0; cat rp_filter arp_announce proxy_arp",
    ),
    (
        "settings of IPv6",
        "cd /proc/sys/net/ipv6/conf/eth0; echo 0 >accept_ra; echo 2 >use_tempaddr",
        "cd /proc/sys/net/ipv6/conf/eth0; cat accept_ra use_tempaddr",
    ),
    (
        "settings of neighbours",
        "echo 77 >/proc/sys/net/ipv4/neigh/eth0/gc_stale_time",
        "cat /proc/sys/net/ipv4/neigh/eth0/gc_stale_time",
    ),
    (
        "how it makes addresses",
        "ip link set eth0 addrgenmode none",
        "ip -d link show eth0 | grep -o 'addrgenmode none'",
    ),
    (
        "a queueing discipline",
        "tc qdisc replace dev eth0 root handle 1: htb default 7",
        "tc qdisc show dev eth0 root",
    ),
    (
        "a class of it",
        "tc class add dev eth0 parent 1: classid 1:7 htb rate 900mbit quantum 1500",
        "tc class show dev eth0",
    ),
    (
        "a hook for classifiers",
        "tc qdisc add dev eth0 clsact",
        "tc qdisc show dev eth0 clsact",
    ),
    (
        "a macvlan on top of it",
        "ip link add link eth0 name top0 type macvlan mode bridge",
        "ip -o link show top0",
    ),
    (
        "a macvtap on top of it",
        "ip link add link eth0 name top1 type macvtap mode bridge",
        "ip -o link show top1",
    ),
    (
        "a VXLAN over it",
        "ip link add top2 type vxlan id 7 dev eth0 dstport 4999 group 239.1.1.1",
        "ip -d -o link show top2 | grep -o 'vxlan id .* dstport 4999'",
    ),
    (
        "a packet filter's rule by index",
        "nft 'add table inet own; add chain inet own in; add rule inet own in iif eth0 counter'",
        "nft -s list table inet own",
    ),
    (
        "a packet filter's hook",
        "nft 'add table netdev own; add chain netdev own in { type filter hook ingress device eth0 priority 0; }'",
        "nft list table netdev own",
    ),
    (
        "receive offload",
        "ethtool -K eth0 gro off",
        "ethtool -k eth0 | grep generic-receive",
    ),
    (
        "segmentation offload",
        "ethtool -K eth0 tso off",
        "ethtool -k eth0 | grep tcp-segmentation-offload",
    ),
    (
        "coalescing",
        "ethtool -C eth0 rx-frames 7",
        "ethtool -c eth0 | grep rx-frames:",
    ),
];
