"""The graph by mininet: `mininet.py lxbr|ovs SWITCHES HOSTS_OF_A_SWITCH CHAIN`. Says `up`; then, for each line that comes,
runs it on the first host and says its status; takes the graph away at the end of its input."""

import sys
from functools import partial

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import OVSBridge
from mininet.nodelib import LinuxBridge

setLogLevel("error")
# What it would set at first is the whole machine's.
Mininet.inited = True
kind, switches, hosts, chain = sys.argv[1], *map(int, sys.argv[2:])
switch = LinuxBridge if kind == "lxbr" else partial(OVSBridge, datapath="user")
net = Mininet(switch=switch, controller=None, waitConnected=False)
all_hosts = [net.addHost("h%d" % index) for index in range(switches * hosts)]
all_switches = [net.addSwitch("s%d" % index) for index in range(switches)]
for index, host in enumerate(all_hosts):
    net.addLink(host, all_switches[index // hosts])
for index in range(chain):
    net.addLink(all_hosts[index], all_hosts[index + 1])
net.start()
print("up", flush=True)
for line in sys.stdin:
    print(all_hosts[0].cmd("(%s) >/dev/null 2>&1; echo $?" % line.strip()).strip(), flush=True)
net.stop()
