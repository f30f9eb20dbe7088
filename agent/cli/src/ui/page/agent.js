// The agent, as the page asks it: through the server that the page is from, with the token that is in the address.

const [token, right] = location.hash.slice(1).split("/");

// Whether the server lets the page change links; it is asked with each change.
export const maySetLinks = right === "links";

// What is asked is not shown in the browser's history, nor sent to anybody as part of an address.
export const hasToken = token !== "";

export async function ask(path, options = {}) {
  const headers = { authorization: `Bearer ${token}`, ...options.headers };
  const answer = await fetch(`/v1${path}`, { ...options, headers, cache: "no-store" });
  if (answer.ok) return answer;
  const text = await answer.text();
  let why = text;
  try {
    why = JSON.parse(text).message;
  } catch {
    // Not the agent's own words.
  }
  throw new Error(why || `status ${answer.status}`);
}

export const fetchJson = async (path) => (await ask(path)).json();

export const postJson = (path, body) => sendJson("POST", path, body);

export async function sendJson(method, path, body) {
  const headers = { "content-type": "application/json" };
  const answer = await ask(path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

// Lines as they come, until `signal` ends it.
export async function* lines(path, signal) {
  const answer = await ask(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts.filter((line) => line !== "");
  }
}
