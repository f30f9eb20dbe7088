// What is told of the thing that was chosen: a network's ports, one port and its link, the names that are asked for, a trace.

import { lines, postJson } from "/agent.js";
import { make } from "/elements.js";
import { Link } from "/link.js";
import { bits, matches } from "/model.js";

const COLUMNS = [
  ["name", (port) => port.name, ""],
  ["sends", (port) => bits(port.sendBits), "number", (port) => port.sendBits],
  ["receives", (port) => bits(port.receiveBits), "number", (port) => port.receiveBits],
  ["drops/s", (port) => port.dropRate.toFixed(0), "number", (port) => port.dropRate],
  ["dropped", (port) => String(port.dropped), "number", (port) => port.dropped],
];

export class Panel {
  constructor(aside, choose) {
    this.aside = aside;
    this.choose = choose;
    this.order = 0;
    this.of = null;
    this.watched = null;
  }

  show(networks, words, chosen) {
    const network = networks.find((one) => one.id === chosen?.network);
    if (!network) return;
    if (this.of !== network.id) this.#open(network);
    const port = network.ports.find((one) => one.key === chosen.port);
    this.port.replaceChildren(...(port ? this.#port(port) : []));
    this.link.show(port?.endpoint);
    this.table.replaceChildren(...this.#table(network, words, chosen));
  }

  #open(network) {
    this.of = network.id;
    this.watched?.abort();
    [this.port, this.table, this.names, this.trace] = [0, 0, 0, 0].map(() => make("section"));
    this.link = new Link();
    const subnets = network.subnets.join(", ") || "no addresses";
    this.aside.replaceChildren(
      make("h2", {}, `${network.name} · ${network.driver}`),
      make("p", { class: "hint" }, `${subnets} · MTU ${network.mtu}`),
      this.port,
      this.link.section,
      this.trace,
      this.names,
      this.table,
    );
    this.#watchNames(network);
    this.#offerTrace(network);
  }

  #port(port) {
    const reasons = Object.entries(port.drops).filter(([, count]) => count > 0);
    const rows = [
      ["addresses", port.addresses.join(", ") || "none"],
      ["MAC", port.mac || "none"],
      ["port", `${port.port} (${port.kind}, ${port.state}${port.link ? `, ${port.link}` : ""})`],
      ["sent", `${port.rx_frames} frames, ${port.rx_bytes} bytes`],
      ["received", `${port.tx_frames} frames, ${port.tx_bytes} bytes`],
      ["dropped", reasons.map(([reason, count]) => `${reason}: ${count}`).join(", ") || "nothing"],
    ];
    const lines = rows.map(([term, value]) => make("tr", {}, make("th", {}, term), make("td", {}, value)));
    return [make("h3", { "data-chosen": port.name }, port.name), make("table", {}, make("tbody", {}, ...lines))];
  }

  #table(network, words, chosen) {
    const [, , , key] = COLUMNS[this.order];
    const shown = network.ports.filter((port) => matches(port, words) || matches(network, words));
    shown.sort((a, b) => (key ? key(b) - key(a) : a.name.localeCompare(b.name)));
    const head = COLUMNS.map(([title, , css], at) =>
      make("th", { class: css, onclick: () => ((this.order = at), this.choose(chosen)) }, title + (at === this.order ? " ▾" : "")),
    );
    const body = shown.map((port) =>
      make(
        "tr",
        {
          class: port.key === chosen.port ? "chosen" : "",
          onclick: () => this.choose({ network: network.id, port: port.key }),
        },
        ...COLUMNS.map(([, text, css], at) => make("td", { class: at > 2 && port.dropRate > 0 ? `${css} dropping` : css }, text(port))),
      ),
    );
    return [
      make("h3", {}, `${shown.length} ports`),
      make("table", { id: "ports" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)),
    ];
  }

  async #watchNames(network) {
    const log = make("pre", { id: "names" });
    this.names.replaceChildren(make("h3", {}, "Names that are asked for"), log);
    this.watched = new AbortController();
    const kept = [];
    try {
      for await (const line of lines(`/networks/${network.id}/dns/log`, this.watched.signal)) {
        const one = JSON.parse(line);
        const at = new Date(one.at_ms).toLocaleTimeString();
        kept.unshift(`${at} ${one.endpoint ?? one.source} ${one.record_type} ${one.name} ${one.outcome} ${one.code} ${one.took_us} µs`);
        kept.length = Math.min(kept.length, NAMES_SHOWN);
        log.textContent = kept.join("\n");
      }
    } catch (error) {
      if (error.name !== "AbortError") log.textContent = error.message;
    }
  }

  #offerTrace(network) {
    const from = make("select", { name: "from", "aria-label": "From" });
    for (const port of network.ports) from.append(make("option", {}, port.kind === "edge" ? "gateway" : port.name));
    const to = make("input", { name: "to", placeholder: "to: name, IP or MAC", required: "" });
    const result = make("pre", { id: "trace", hidden: "" });
    const submit = async (event) => {
      event.preventDefault();
      result.hidden = false;
      try {
        const report = await postJson(`/networks/${network.id}/trace`, { from: from.value, to: to.value });
        result.textContent = report.frames.map(told).join("\n\n");
      } catch (error) {
        result.textContent = error.message;
      }
    };
    this.trace.replaceChildren(
      make("h3", {}, "Trace"),
      make("form", { id: "tracing", onsubmit: submit }, from, to, make("button", {}, "trace")),
      result,
    );
  }
}

function told(frame) {
  const steps = frame.steps.map((step) => `${step.stage.padEnd(10)} ${step.result.padEnd(8)} ${step.detail}`);
  const { result, reason, ports } = frame.verdict;
  const end = ports ? ports.map((port) => `port ${port.port} (${port.owner})`).join(", ") : reason ?? "";
  return [frame.packet ?? frame.link, ...steps, `${result}: ${end}`].join("\n");
}

const NAMES_SHOWN = 200;
