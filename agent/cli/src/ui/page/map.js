// The map: networks as hubs, their ports around them. It is laid out anew only when what is there has changed, not when rates have.

import { bits, extent, matches, places } from "/model.js";

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, parent = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

function label(text, attributes, parent) {
  element("text", attributes, parent).textContent = text;
}

export class NetworkMap {
  constructor(svg, choose) {
    this.svg = svg;
    this.choose = choose;
    this.hubs = new Map();
    this.spots = new Map();
    this.shape = "";
    this.view = null;
    this.#moves();
  }

  // Draws `networks`; `words` are looked for, `chosen` is marked.
  show(networks, words, chosen) {
    const shape = JSON.stringify(networks.map((one) => [one.id, one.shown.map((port) => [port.key, port.name, port.kind])]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.#lay(networks);
    }
    for (const one of networks) this.#mark(one, words, chosen);
  }

  #lay(networks) {
    this.svg.replaceChildren();
    this.hubs.clear();
    this.spots.clear();
    const wires = element("g", {}, this.svg);
    const columns = Math.ceil(Math.sqrt(networks.length)) || 1;
    const size = 2 * Math.max(...networks.map((one) => extent(one.shown.length)), 140);
    const at = new Map();
    networks.forEach((one, index) => {
      const [x, y] = [(index % columns) * size, Math.floor(index / columns) * size];
      places(one.shown.length).forEach((place, nth) => {
        const port = one.shown[nth];
        const spot = { x: x + place.x, y: y + place.y };
        const wire = element("line", { class: "wire", x1: x, y1: y, x2: spot.x, y2: spot.y }, wires);
        this.#spot(one, port, spot, wire);
        if (port.kind === "tap") at.set(port.name, [...(at.get(port.name) ?? []), spot]);
      });
      this.#hub(one, x, y);
    });
    // Who is on several networks is one, though drawn on each.
    for (const [first, ...others] of at.values()) {
      for (const other of others) {
        element("path", { class: "same", d: `M${first.x} ${first.y} L${other.x} ${other.y}` }, wires);
      }
    }
    const rows = Math.ceil(networks.length / columns) || 1;
    this.view ??= { x: -size / 2, y: -size / 2, width: columns * size, height: rows * size };
    this.#look();
  }

  #hub(one, x, y) {
    const hub = element("g", { class: "hub", "data-network": one.name, transform: `translate(${x} ${y})` }, this.svg);
    element("circle", { r: 40 }, hub);
    label(one.name.length > 11 ? `${one.name.slice(0, 10)}…` : one.name, { y: 0 }, hub);
    label("", { y: 16, class: "rate" }, hub);
    hub.style.cursor = "pointer";
    hub.addEventListener("click", () => this.choose({ network: one.id }));
    this.hubs.set(one.id, hub);
  }

  #spot(one, port, { x, y }, wire) {
    const spot = element("g", { class: "spot", "data-port": port.key, transform: `translate(${x} ${y})` }, this.svg);
    // Squares are ways to elsewhere: the host, other hosts, other networks.
    const mark = port.kind === "tap" ? ["circle", { r: 9 }] : ["rect", { x: -9, y: -9, width: 18, height: 18 }];
    element(mark[0], { ...mark[1], class: port.kind === "tap" ? "port" : "port host" }, spot);
    label(port.name.length > 12 ? `${port.name.slice(0, 11)}…` : port.name, { y: 22 }, spot);
    element("title", {}, spot);
    spot.addEventListener("click", () => this.choose({ network: one.id, port: port.key }));
    this.spots.set(`${one.id} ${port.key}`, { spot, wire });
  }

  #mark(one, words, chosen) {
    const hub = this.hubs.get(one.id);
    const isSought = matches(one, words);
    hub.classList.toggle("other", !isSought && !one.shown.some((port) => matches(port, words)));
    hub.querySelector(".rate").textContent = bits(one.bits);
    for (const port of one.shown) {
      const { spot, wire } = this.spots.get(`${one.id} ${port.key}`);
      const rate = port.sendBits + port.receiveBits;
      spot.classList.toggle("other", !isSought && !matches(port, words));
      spot.classList.toggle("dropping", port.dropRate > 0);
      spot.classList.toggle("chosen", chosen?.network === one.id && chosen.port === port.key);
      spot.querySelector(".port").classList.toggle("down", port.state !== "up");
      spot.querySelector("title").textContent = `${port.name} ${port.addresses.join(" ")}: ${bits(rate)}`;
      wire.classList.toggle("busy", rate > 0);
      // A line more with every tenfold rate.
      wire.style.strokeWidth = rate > 0 ? String(1 + Math.log10(1 + rate) / 2) : "1";
    }
  }

  #look() {
    const { x, y, width, height } = this.view;
    this.svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    // Names that nobody can read only hide what is below.
    this.svg.classList.toggle("far", width / (this.svg.clientWidth || 1) > 1.9);
  }

  #moves() {
    let from = null;
    this.svg.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, y: event.clientY };
    });
    addEventListener("pointerup", () => {
      from = null;
    });
    addEventListener("pointermove", (event) => {
      if (!from || !this.view) return;
      const scale = Math.max(this.view.width / this.svg.clientWidth, this.view.height / this.svg.clientHeight);
      this.view.x -= (event.clientX - from.x) * scale;
      this.view.y -= (event.clientY - from.y) * scale;
      from = { x: event.clientX, y: event.clientY };
      this.#look();
    });
    this.svg.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (!this.view) return;
        const factor = Math.exp(event.deltaY / 500);
        const box = this.svg.getBoundingClientRect();
        const [across, down] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
        this.view.x += this.view.width * across * (1 - factor);
        this.view.y += this.view.height * down * (1 - factor);
        this.view.width *= factor;
        this.view.height *= factor;
        this.#look();
      },
      { passive: false },
    );
  }
}
