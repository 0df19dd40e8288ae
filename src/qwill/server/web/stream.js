// The server's answers, piece by piece: server-sent events, read by hand.

export const UNAUTHORIZED = 401;

/** Why there is no answer, in a plain line. `status` is 0 where no answer of the server came at all. */
export class Failure extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Takes the text of an event stream in any pieces and gives the data of the events that are complete. */
export class EventReader {
  #rest = "";
  #data = [];

  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/); // a \r at the end may be half of a line's end
    this.#rest = lines.pop();
    const events = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) events.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line === "data" || line.startsWith("data:")) {
        this.#data.push(line.slice(5).replace(/^ /, ""));
      }
    }
    return events;
  }
}

/** The chunks of a chat completion as they come. Throws Failure, and AbortError when `signal` ends it. */
export async function* completionChunks(body, key, signal) {
  const sent = JSON.stringify(body);
  const response = await ask("v1/chat/completions", key, { method: "POST", body: sent, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = new EventReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw signal.aborted ? error : new Failure("The connection broke off before the answer was complete.");
    });
    if (done) throw new Failure("The connection ended before the answer was complete.");
    for (const data of events.push(value)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Failure(sentence(chunk.error.message), response.status);
      yield chunk;
    }
  }
}

/** The models that the server has. Throws Failure. */
export async function fetchModels(key) {
  const response = await ask("v1/models", key, {});
  return (await response.json()).data;
}

/** Has an answer under way, of that id, end its reasoning. Returns whether that changed anything. Throws Failure. */
export async function answerNow(id, key) {
  const response = await ask("control/answer-now", key, { method: "POST", body: JSON.stringify({ id }) });
  return (await response.json()).effect;
}

async function ask(path, key, options) {
  const headers = new Headers();
  if (options.body) headers.set("content-type", "application/json");
  if (/[^ -~]/.test(key)) throw new Failure("An API key is made of ASCII letters.", UNAUTHORIZED);
  if (key) headers.set("authorization", `Bearer ${key}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    const megabytes = Math.round((options.body?.length ?? 0) / 1e6);
    const size = megabytes > 10 ? ` What was sent has ${megabytes} MB, which may be too much for it.` : "";
    throw new Failure(`The server cannot be reached.${size}`);
  }
  if (response.ok) return response;
  throw await failureOf(response, key);
}

async function failureOf(response, key) {
  const body = await response.json().catch(() => ({}));
  const told = body.error?.message;
  const said = told ? sentence(told) : `The server answered with status ${response.status}.`;
  const wait = response.headers.get("retry-after");
  switch (response.status) {
    case UNAUTHORIZED:
      return new Failure(key ? "The server refuses this API key." : "The server asks for an API key.", UNAUTHORIZED);
    case 413:
      return new Failure(`That is too much for the server: ${said}`, 413);
    case 429:
      return new Failure(`The server is busy: ${said}${wait ? ` Try again in ${wait} s.` : ""}`, 429);
    default:
      return new Failure(said, response.status);
  }
}

function sentence(text) {
  const trimmed = String(text).trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?…]$/.test(trimmed) ? "" : ".");
}
