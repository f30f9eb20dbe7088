#!/bin/sh
# The host's way out is r1, and r2 once r1 has gone.
cd "$(dirname "$0")" || exit
. ../within.sh

has() { tapestry lab exec . "$1" -- ip address show dev eth1 | grep -w 10.0.0.254; }
lacks() { ! has "$1"; }
leaves() { tapestry lab exec . pc -- ping -c1 -W1 10.9.9.1; }

within 20 "r1 has the address" has r1
within 5 "r2 does not" lacks r2
within 10 "pc finds its way out" leaves
tapestry link set clab-vrrp-r1 eth1 --loss 100%
within 10 "r2 has the address" has r2
within 10 "pc finds its way out again" leaves
tapestry link reset clab-vrrp-r1 eth1
within 10 "r1 has it back" lacks r2
