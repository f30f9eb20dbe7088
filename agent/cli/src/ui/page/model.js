// What the page knows: networks with their ports, and rates from what two looks a moment apart have counted. Nothing here draws or asks.

const sum = (counts) => Object.values(counts ?? {}).reduce((all, one) => all + one, 0);

// One port of a network, with its rates since the port as it was `before`, `seconds` ago.
function port(now, before, seconds, endpoints) {
  const endpoint = endpoints.find((one) => one.port === now.port);
  const rate = (key) => (before && seconds > 0 ? Math.max(0, now[key] - before[key]) / seconds : 0);
  const drops = sum(now.drops);
  return {
    ...now,
    key: String(now.port),
    name: now.owner,
    addresses: endpoint?.addresses ?? [],
    mac: endpoint?.mac ?? "",
    endpoint: endpoint?.id,
    // The switch's view: what comes in is what its owner sends.
    sendBits: rate("rx_bytes") * 8,
    receiveBits: rate("tx_bytes") * 8,
    frames: rate("rx_frames") + rate("tx_frames"),
    dropRate: before && seconds > 0 ? Math.max(0, drops - sum(before.drops)) / seconds : 0,
    dropped: drops,
  };
}

// A network as it is now: what the agent tells of it and of its ports.
export function network(detail, ports, before, seconds) {
  const known = new Map((before?.ports ?? []).map((one) => [one.port, one]));
  const seen = ports.map((one) => port(one, known.get(one.port), seconds, detail.endpoints));
  const edge = (one) => one.kind === "edge";
  return {
    ...detail,
    ports: seen,
    shown: seen.filter((one) => !edge(one)),
    bits: seen.reduce((all, one) => all + one.sendBits, 0),
    dropRate: seen.reduce((all, one) => all + one.dropRate, 0),
  };
}

// Whether a port or a network is what somebody looks for.
export const matches = (thing, words) =>
  words === "" ||
  [thing.name, thing.mac, thing.link, ...(thing.addresses ?? []), ...(thing.subnets ?? [])].some((text) =>
    String(text ?? "").toLowerCase().includes(words.toLowerCase()),
  );

// 12.3 Mbit/s, as network engineers write it.
export function bits(perSecond) {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
  let at = 0;
  while (perSecond >= 1000 && at < units.length - 1) {
    perSecond /= 1000;
    at += 1;
  }
  return `${perSecond < 10 && at > 0 ? perSecond.toFixed(1) : Math.round(perSecond)} ${units[at]}`;
}

// Where ports stand around their network: rings that are filled from within, so that a thousand find room.
export function places(count) {
  const found = [];
  for (let ring = 0; found.length < count; ring += 1) {
    const radius = FIRST_RING + ring * BETWEEN_RINGS;
    const room = Math.min(Math.floor((2 * Math.PI * radius) / BETWEEN_PORTS), count - found.length);
    for (let at = 0; at < room; at += 1) {
      // Odd rings are turned by half a step: names stand beside one another.
      const angle = (2 * Math.PI * (at + (ring % 2) / 2)) / room - Math.PI / 2;
      found.push({ x: radius * Math.cos(angle), y: radius * Math.sin(angle) });
    }
  }
  return found;
}

export const extent = (count) => Math.max(FIRST_RING, ...places(count).map(({ x, y }) => Math.hypot(x, y))) + MARGIN;

const FIRST_RING = 90;
const BETWEEN_RINGS = 46;
const BETWEEN_PORTS = 54;
const MARGIN = 50;
