#!/bin/sh
# One of two cables forwards, and the other one takes over when it is cut.
cd "$(dirname "$0")" || exit
. ../within.sh

port() { # SWITCH PORT ROLE STATE
    tapestry lab exec . "$1" -- ovs-vsctl get port "$2" rstp_status |
        grep "port_role=$3.*port_state=$4"
}
pings() { tapestry lab exec . s1 -- ping -c1 -W1 10.0.0.2; }

within 30 "s2 reaches the root by eth1" port s2 eth1 Root Forwarding
within 30 "s2 keeps eth2 silent" port s2 eth2 Alternate Discarding
within 10 "s1 reaches s2" pings
tapestry link down clab-rstp-s1 eth1 && tapestry link down clab-rstp-s2 eth1
within 10 "s2 reaches the root by eth2" port s2 eth2 Root Forwarding
within 10 "s1 reaches s2 again" pings
