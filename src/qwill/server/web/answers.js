// Answers that are being written. Any number may be under way, in conversations that are shown or not.

import { answerNow, completionChunks } from "./stream.js";

export class Answers {
  #running = new Map(); // by the message's id
  #changed;

  /** `changed` is called with a conversation and its message whenever there is more of it, and when it has ended. */
  constructor(changed) {
    this.#changed = changed;
  }

  isRunning(node) {
    return this.#running.has(node.id);
  }

  /** Whether an answer is under way in the conversation of that id. */
  isRunningIn(conversation) {
    return [...this.#running.values()].some((one) => one.conversation.id === conversation);
  }

  /** How long an answer has been under way, in seconds. */
  seconds(node) {
    return (performance.now() - this.#running.get(node.id).started) / 1000;
  }

  stop(node) {
    this.#running.get(node.id)?.control.abort();
  }

  /** Whether an answer is under way that the server has named and the model still thinks about. */
  isThinking(node) {
    return Boolean(this.#running.get(node.id)?.id && node.reasoning && !node.text);
  }

  /** Ends the reasoning, so that the answer follows. Throws Failure. */
  async answerNow(node) {
    const answer = this.#running.get(node.id);
    if (answer) await answerNow(answer.id, answer.key);
  }

  stopAll(conversation) {
    for (const one of this.#running.values()) {
      if (one.conversation.id === conversation) one.control.abort();
    }
  }

  /** The conversations that wait for answers. */
  get conversations() {
    return new Set([...this.#running.values()].map((one) => one.conversation));
  }

  /** Fills `node` with the answer to what `prepare` makes. Never throws: what went wrong stands in `node.failure`. */
  async run(conversation, node, prepare, key) {
    const control = new AbortController();
    const answer = { conversation, control, key, id: null, started: performance.now(), first: 0, last: 0 };
    this.#running.set(node.id, answer);
    this.#changed(conversation, node);
    try {
      const body = await prepare();
      for await (const chunk of completionChunks(body, key, control.signal)) {
        this.#take(node, chunk, answer);
        this.#changed(conversation, node);
      }
    } catch (error) {
      if (control.signal.aborted) node.ending = "stopped";
      else node.failure = { message: error.message, status: error.status ?? 0 };
    }
    if (node.reasoning && !node.thoughtSeconds) node.thoughtSeconds = (answer.last - answer.first) / 1000;
    this.#running.delete(node.id);
    this.#changed(conversation, node);
  }

  #take(node, chunk, answer) {
    node.model ??= chunk.model;
    answer.id ??= chunk.id;
    const choice = chunk.choices?.[0];
    const { content, reasoning_content: reasoning } = choice?.delta ?? {};
    if (content || reasoning) {
      answer.last = performance.now();
      answer.first ||= answer.last;
    }
    if (reasoning) node.reasoning = (node.reasoning ?? "") + reasoning;
    if (content) {
      if (node.reasoning && !node.text) node.thoughtSeconds = (answer.last - answer.first) / 1000;
      node.text += content;
    }
    if (choice?.finish_reason) node.ending = choice.stop_reason === "loop" ? "loop" : choice.finish_reason;
    if (chunk.usage) node.figures = figures(chunk.usage, answer);
  }
}

/** What is told of a complete answer. The first token's time is the prompt's, so the pace counts the others. */
function figures(usage, answer) {
  const seconds = (answer.last - answer.first) / 1000;
  const tokens = usage.completion_tokens;
  return {
    tokens,
    context: usage.total_tokens,
    perSecond: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null,
    firstSeconds: answer.first ? (answer.first - answer.started) / 1000 : null,
    costs: costs(usage.cost),
  };
}

/** What the answer costs here and would cost elsewhere, where the server tells it. */
function costs(cost) {
  const here = cost?.own ? [{ where: "here", ...cost.own }] : [];
  return [...here, ...(cost?.providers ?? []).map(({ provider, ...amount }) => ({ where: provider, ...amount }))];
}
