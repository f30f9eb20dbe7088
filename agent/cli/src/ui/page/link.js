// The link of the port that was chosen: what goes wrong at it, and, where the page may, a form that changes it.

import { fetchJson, maySetLinks, postJson, sendJson } from "/agent.js";
import { make } from "/elements.js";

export class Link {
  constructor() {
    this.section = make("section");
    this.of = null;
  }

  // Shows the link of `endpoint`, which is undefined where the port is no endpoint's.
  show(endpoint) {
    if (this.of === endpoint) return;
    this.of = endpoint;
    this.section.replaceChildren();
    if (endpoint) this.#look(endpoint);
  }

  async #look(endpoint) {
    try {
      const links = await fetchJson("/links");
      const link = links.find((one) => one.endpoint === endpoint);
      if (link && this.of === endpoint) this.#draw(link);
    } catch (error) {
      this.section.replaceChildren(make("p", { class: "hint" }, error.message));
    }
  }

  #draw(link) {
    const { to, from } = link.settings;
    const state = link.up ? "up" : "down";
    const told = make("p", { id: "link", class: "hint" }, `${state}; sends: ${words(from)}; receives: ${words(to)}`);
    this.section.replaceChildren(make("h3", {}, `Link ${link.link}`), told, ...(maySetLinks ? this.#form(link) : []));
  }

  #form(link) {
    const fields = FIELDS.map(([name, example]) => make("input", { name, placeholder: `${name}, ${example}`, "aria-label": name }));
    const ways = WAYS.map(([value, text]) => make("option", { value }, text));
    const way = make("select", { name: "way", "aria-label": "Which frames" }, ...ways);
    const why = make("p", { class: "dropping" });
    const change = async (ask) => {
      try {
        await ask();
        await this.#look(link.endpoint);
      } catch (error) {
        why.textContent = error.message;
      }
    };
    const set = (to, from) => change(() => sendJson("PATCH", `/endpoints/${link.endpoint}/link`, { to, from }));
    const submit = (event) => {
      event.preventDefault();
      const given = Object.fromEntries(fields.filter((one) => one.value !== "").map((one) => [one.name, one.value]));
      set(way.value === "from" ? undefined : given, way.value === "to" ? undefined : given);
    };
    const button = (text, onclick) => make("button", { type: "button", onclick }, text);
    const turn = link.up ? "down" : "up";
    return [
      make(
        "form",
        { id: "impairing", onsubmit: submit },
        ...fields,
        way,
        make("button", {}, "set"),
        button("reset", () => set({}, {})),
        button(turn, () => change(() => postJson(`/endpoints/${link.endpoint}/${turn}`))),
      ),
      why,
    ];
  }
}

const words = (impairment) =>
  Object.entries(impairment ?? {})
    .map(([name, value]) => `${name} ${value}`)
    .join(" ") || "as they come";

// As tc has them; `tapestry link set` knows more.
const FIELDS = [
  ["delay", "50ms"],
  ["jitter", "5ms"],
  ["loss", "1%"],
  ["rate", "10mbit"],
];

const WAYS = [
  ["from", "what it sends"],
  ["to", "what it receives"],
  ["both", "both ways"],
];
