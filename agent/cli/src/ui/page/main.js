// Asks once a second, and shows what came. A page that nobody looks at does not ask.

import { fetchJson, hasToken } from "/agent.js";
import { NetworkMap } from "/map.js";
import { bits, network } from "/model.js";
import { Panel } from "/panel.js";

const byId = (id) => document.getElementById(id);
const [search, summary, state] = ["search", "summary", "state"].map(byId);

let networks = [];
let chosen = null;
let askedAt = 0;
// An address may name what is chosen: /?network=NAME&port=OWNER#TOKEN.
let named = new URLSearchParams(location.search);

const map = new NetworkMap(byId("map"), choose);
const panel = new Panel(byId("detail"), choose);

function choose(what) {
  chosen = what;
  named = null;
  show();
}

function find(names) {
  const one = networks.find((network) => network.name === names.get("network"));
  const port = one?.ports.find((port) => port.name === names.get("port"));
  return one ? { network: one.id, port: port?.key } : null;
}

function show() {
  if (named) chosen = find(named);
  const words = search.value.trim();
  map.show(networks, words, chosen);
  panel.show(networks, words, chosen);
  const ports = networks.reduce((all, one) => all + one.shown.length, 0);
  const rate = networks.reduce((all, one) => all + one.bits, 0);
  const drops = networks.reduce((all, one) => all + one.dropRate, 0);
  summary.textContent = `${networks.length} networks, ${ports} ports, ${bits(rate)}, ${drops.toFixed(0)} drops/s`;
}

async function look() {
  const now = performance.now();
  const seconds = askedAt ? (now - askedAt) / 1000 : 0;
  const known = new Map(networks.map((one) => [one.id, one]));
  const listed = (await fetchJson("/networks")).filter((one) => !["host", "null"].includes(one.driver));
  const looked = listed.map(async ({ id }) => {
    const [detail, ports] = await Promise.all([fetchJson(`/networks/${id}?counters=false`), fetchJson(`/networks/${id}/ports`)]);
    return network(detail, ports, known.get(id), seconds);
  });
  // One that goes meanwhile is missing, and nothing else.
  const settled = await Promise.allSettled(looked);
  networks = settled.filter((one) => one.status === "fulfilled").map((one) => one.value);
  askedAt = now;
}

async function go() {
  for (;;) {
    if (!document.hidden) {
      try {
        await look();
        state.textContent = "";
        show();
      } catch (error) {
        state.textContent = error.message;
      }
    }
    await new Promise((after) => setTimeout(after, PERIOD_MS));
  }
}

const PERIOD_MS = 1000;

search.addEventListener("input", show);
if (hasToken) go();
else state.textContent = "The address lacks its token: open it as `tapestry ui` printed it.";
