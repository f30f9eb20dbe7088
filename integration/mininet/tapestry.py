"""Mininet on tapestry networks: `mn --custom tapestry.py --switch tapestry --link tapestry,delay=10ms,loss=1`.

Theory of operation: a switch is a network of the agent without addresses; a link of a host to it is an endpoint, whose
interface the agent makes in its own namespace and this file moves to the host, where mininet addresses it; a link between
two switches is a patch; a link between two hosts is a network of two ports that passes every frame on. What a link's
parameters ask for is set at endpoints, so there is no tc, no netem and no Open vSwitch.

mn has to run in the agent's network namespace, and may have a PID namespace of its own. The agent's socket is
TAPESTRY_SOCKET, as the command has it. All that is made here has a label, by which `mn --clean --custom tapestry.py` finds it.
"""

import http.client
import json
import os
import socket
import sys

from mininet.clean import addCleanupCallback
from mininet.link import Intf, Link, OVSLink, TCLink, TCULink
from mininet.node import Switch
from mininet.util import quietRun

SOCKET = os.environ.get("TAPESTRY_SOCKET") or "/run/tapestry/agent.sock"
LABEL = "mininet"
# mininet's words, the second for frames, by those of the API.
TRANSLATED = {"bw": "rate", "max_queue_size": "limit"}
WORDS = ("delay", "jitter", "jitter_correlation", "distribution", "loss", "duplicate", "corrupt", "reorder", "gap", "rate",
         "burst", "limit", "slot")
NUMBERS = ("gap", "limit")
# Of the interface, and mininet's choice among ways of tc that are one here.
OTHERS = ("mac", "ip", "ifconfig", "up", "use_htb")


class Refused(Exception):
    """The agent's answer, in its words."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the agent's socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def ask(method, path, body=None):
    """The answer to a request, as JSON says it. Raises Refused; ends the program where there is no agent."""
    connection = UnixConnection("tapestry")
    try:
        # The agent reads no body where there is nothing to say, and may have closed before it is written.
        text = None if body is None else json.dumps(body)
        connection.request(method, "/v1/" + path, text, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read().decode()
    except OSError as error:
        sys.exit("tapestry: no agent at %s (%s); start it, or name its socket in TAPESTRY_SOCKET" % (SOCKET, error.strerror or error))
    finally:
        connection.close()
    answer = json.loads(text) if text else None
    if reply.status != 200:
        raise Refused(answer["message"])
    return answer


def create_network(name, transparent):
    """A segment as labs have them: nobody but its hosts is on it."""
    options = {"transparent": "true" if transparent else "false", "dhcp": "container", "ra": "allow", "bum": "off"}
    request = {"name": name, "without_addresses": True, "internal": True, "options": options, "labels": {LABEL: "true"}}
    ask("POST", "networks", request)


def remove_all():
    """For `mn --clean`, and where mn fails: every network with the label, and what is on it."""
    for network in ask("GET", "networks"):
        if LABEL not in network["labels"]:
            continue
        detail = ask("GET", "networks/" + network["id"])
        for other in detail["patches"]:
            ask("DELETE", "networks/%s/patches/%s" % (network["id"], other))
        for endpoint in detail["endpoints"]:
            ask("DELETE", "endpoints/" + endpoint["id"])
        ask("DELETE", "networks/" + network["id"])


def impairment(parameters):
    """What the API calls the parameters of a link, empty where nothing is to go wrong. Unknown ones are refused."""
    wanted = {}
    for name, value in parameters.items():
        word = TRANSLATED.get(name, name)
        if name in OTHERS:
            continue
        if word not in WORDS:
            known = ", ".join((*TRANSLATED, *WORDS))
            raise Refused("a tapestry link has no parameter %r; it has %s" % (name, known))
        if not value:
            continue
        if name == "bw":
            value = "%gmbit" % value
        wanted[word] = value if word in NUMBERS else str(value)
    return wanted


class TapestrySwitch(Switch):
    """A learning switch in the agent. It has no OpenFlow, and needs no controller."""

    @classmethod
    def setup(cls):
        ask("GET", "version")

    def __init__(self, name, **params):
        params["inNamespace"] = False
        Switch.__init__(self, name, **params)
        self.network = "mininet-" + name
        create_network(self.network, transparent=False)

    def addIntf(self, intf, port=None, moveIntfFn=None):
        if intf.name != "lo" and not isinstance(intf, PortIntf):
            raise Refused("%s cannot have %s: its links have to be tapestry's; add --link tapestry" % (self.name, intf.name))
        Switch.addIntf(self, intf, port=port)

    def ends(self):
        return [intf for intf in self.intfList() if isinstance(intf, PortIntf)]

    def start(self, controllers):
        for port in self.ends():
            port.ifconfig("up")

    def stop(self, deleteIntfs=True):
        for port in self.ends():
            port.ifconfig("down")
        Switch.stop(self, deleteIntfs)
        if deleteIntfs:
            ask("DELETE", "networks/" + self.network)

    def connected(self):
        return True


class ImpairedIntf(Intf):
    """An end of a link. Its parameters are for what it sends, as with mininet's TCIntf."""

    impaired = False

    def config(self, mac=None, ip=None, ifconfig=None, up=True, **params):
        result = Intf.config(self, mac=mac, ip=ip, ifconfig=ifconfig, up=up)
        wanted = impairment(params)
        if wanted or self.impaired:
            self.impair(wanted)
        self.impaired = bool(wanted)
        return result


class HostIntf(ImpairedIntf):
    """The interface of a node that is no switch of the agent's: an endpoint."""

    endpoint = None

    def attach(self, network, node, name, mac):
        """The agent makes the link; it is moved and renamed here."""
        request = {"network": network, "name": name, "mac": mac, "impairments": self.impairments}
        made = ask("POST", "endpoints", request)
        self.endpoint = made["id"]
        netns = "netns %s " % node.pid if node.inNamespace else ""
        failure = quietRun("ip link set dev %s %sname %s" % (made["link"], netns, name))
        if failure:
            ask("DELETE", "endpoints/" + self.endpoint)
            raise Refused("%s cannot have its link %s: %s; run mn in the agent's network namespace"
                          % (node.name, made["link"], failure.strip()))
        self.attached = (network, node, name)
        self.mac = mac

    def __init__(self, name, node=None, network=None, mac=None, **params):
        self.impairments = {}
        self.attach(network, node, name, mac)
        Intf.__init__(self, name, node=node, mac=mac, **params)

    def setMAC(self, macstr):
        """A port bears its endpoint's address, so another address is another endpoint."""
        if macstr == self.mac:
            return ""
        ask("DELETE", "endpoints/" + self.endpoint)
        self.attach(*self.attached, macstr)
        return self.ifconfig("up")

    def impair(self, wanted, direction="from"):
        self.impairments[direction] = wanted
        ask("PATCH", "endpoints/%s/link" % self.endpoint, {direction: wanted})

    def set_up(self, up):
        ask("POST", "endpoints/%s/%s" % (self.endpoint, "up" if up else "down"))

    def delete(self):
        ask("DELETE", "endpoints/" + self.endpoint)
        self.node.delIntf(self)
        self.link = None


class PortIntf(ImpairedIntf):
    """A switch's end of a link. There is no interface; what is asked of it is asked of the agent."""

    up = True

    def ifconfig(self, *args):
        words = " ".join(args)
        if words in ("up", "down"):
            if self.up != (words == "up"):
                self.up = words == "up"
                self.link.set_up(self)
            return ""
        if words:
            raise Refused("%s is a port of a tapestry network; it can be up or down, not %r" % (self.name, words))
        return "%s: %s" % (self.name, "UP" if self.up else "DOWN")

    def setMAC(self, macstr):
        self.mac = macstr

    def setIP(self, ipstr, prefixLen=None):
        raise Refused("%s is a port of a tapestry network and cannot have the address %s" % (self.name, ipstr))

    def impair(self, wanted):
        self.link.impair_from(self, wanted)

    def status(self):
        return "OK"

    def delete(self):
        self.node.delIntf(self)
        self.link = None


class TapestryLink(Link):
    """A host's link to a switch, a link between two switches, or one between two hosts."""

    intf1 = intf2 = cable = None
    patched = False

    def __init__(self, node1, node2, port1=None, port2=None, intfName1=None, intfName2=None, addr1=None, addr2=None,
                 params1=None, params2=None, intf=None, cls1=None, cls2=None, fast=True, **params):
        # mininet's classes of interfaces are for interfaces of the kernel's.
        del intf, cls1, cls2, fast
        self.impairments = {}
        ends = []
        for node, port, name, mac, own in ((node1, port1, intfName1, addr1, params1), (node2, port2, intfName2, addr2, params2)):
            own = dict(own or {}, **params)
            port = own.pop("port", None) if port is None else port
            port = node.newPort() if port is None else port
            impairment(own)
            ends.append((node, dict(own, name=name or self.intfName(node, port), node=node, port=port, mac=mac, link=self)))
        networks = [node.network for node, _ in ends if isinstance(node, TapestrySwitch)]
        if not networks:
            self.cable = "mininet-%s-%s" % (ends[0][1]["name"], ends[1][1]["name"])
            create_network(self.cable, transparent=True)
            networks = [self.cable]
        self.networks = networks
        if len(networks) == 2:
            self.patch(True)
        # A switch's end speaks for the other one, which has to be there.
        for index in sorted((0, 1), key=lambda index: isinstance(ends[index][0], TapestrySwitch)):
            node, settings = ends[index]
            if isinstance(node, TapestrySwitch):
                made = PortIntf(**settings)
            else:
                made = HostIntf(network=networks[0], moveIntfFn=self._ignore, **settings)
            setattr(self, "intf%d" % (index + 1), made)

    def other(self, intf):
        """The host at the other end of a switch's; None where that is a switch too."""
        found = [end for end in (self.intf1, self.intf2) if isinstance(end, HostIntf)]
        return found[0] if found else None

    def patch(self, wanted):
        if wanted != self.patched:
            one, other = self.networks
            if wanted:
                ask("POST", "networks/%s/patches" % one, {"network": other, "impairments": self.impairments})
            else:
                ask("DELETE", "networks/%s/patches/%s" % (one, other))
            self.patched = wanted

    def set_up(self, intf):
        host = self.other(intf)
        if host:
            host.set_up(intf.up)
        else:
            ends = [end for end in (self.intf1, self.intf2) if end]
            self.patch(all(end.up for end in ends))

    def impair_from(self, intf, wanted):
        host = self.other(intf)
        if host:
            host.impair(wanted, "to")
        else:
            # Seen from the first switch. Its end is made before it is kept here, and the second one's after.
            self.impairments["from" if self.intf1 and intf is not self.intf1 else "to"] = wanted
            if self.patched:
                ask("PATCH", "networks/%s/patches/%s/link" % tuple(self.networks), self.impairments)

    def delete(self):
        if len(self.networks) == 2:
            self.patch(False)
        Link.delete(self)
        if self.cable:
            ask("DELETE", "networks/" + self.cable)


addCleanupCallback(remove_all)
switches = {"tapestry": TapestrySwitch}
# mn 2.3 does not read `links` (its list of names lacks a comma), but any other name replaces one of its own.
LINKS = {"default": Link, "tc": TCLink, "tcu": TCULink, "ovs": OVSLink, "tapestry": TapestryLink}
