// A conversation is a tree: a message that was edited, or an answer that was asked for again, stands beside the one
// before it. One branch is shown.

import { newId } from "./dom.js";

const ROOT = "root";
const TITLE_LENGTH = 60;

/** What the head of a conversation tells about it in the list. */
export class Conversation {
  constructor(head, nodes) {
    Object.assign(this, head); // id, title, isNamed, updated
    this.nodes = nodes;
  }

  static begin() {
    const head = { id: newId(), title: "New chat", isNamed: false, updated: Date.now() };
    return new Conversation(head, { [ROOT]: { id: ROOT, parent: null, children: [], shown: 0 } });
  }

  get head() {
    return { id: this.id, title: this.title, isNamed: this.isNamed, updated: this.updated };
  }

  get tree() {
    return { id: this.id, nodes: this.nodes };
  }

  get isEmpty() {
    return this.nodes[ROOT].children.length === 0;
  }

  /** The messages that are shown, in order. */
  get path() {
    const found = [];
    let node = this.nodes[ROOT];
    while (node.children.length) {
      node = this.nodes[node.children[node.shown]];
      found.push(node);
    }
    return found;
  }

  /** The id of what a new message follows. */
  get end() {
    return this.path.at(-1)?.id ?? ROOT;
  }

  /** Adds a message after `parent`, beside those that follow it already, and shows it. */
  add(parent, fields) {
    const node = { id: newId(), parent, children: [], shown: 0, text: "", media: [], ...fields };
    this.nodes[node.id] = node;
    const above = this.nodes[parent];
    above.shown = above.children.push(node.id) - 1;
    this.updated = Date.now();
    if (node.role === "user" && !this.isNamed && parent === ROOT) this.title = titleOf(node);
    return node;
  }

  /** Takes out a message that nothing follows. */
  drop(node) {
    const above = this.nodes[node.parent];
    above.children.splice(above.children.indexOf(node.id), 1);
    above.shown = Math.max(0, above.children.length - 1);
    delete this.nodes[node.id];
  }

  /** Ends the answers that were under way when the page was left. */
  endAnswers() {
    for (const node of Object.values(this.nodes)) {
      if (node.role === "assistant" && !node.ending && !node.failure) node.ending = "left";
    }
  }

  rename(title) {
    this.title = title.trim() || "New chat";
    this.isNamed = Boolean(title.trim());
  }

  /** Which of how many versions a message is, counted from 1. */
  version(node) {
    const { children } = this.nodes[node.parent];
    return { number: children.indexOf(node.id) + 1, count: children.length };
  }

  /** Shows the version that is so many steps after this one. */
  turn(node, steps) {
    const above = this.nodes[node.parent];
    above.shown = Math.min(Math.max(above.children.indexOf(node.id) + steps, 0), above.children.length - 1);
  }

  /** The branch up to `last` as the API takes it. `addressOf` gives a medium's contents as a `data:` address. */
  async messages(last, system, addressOf) {
    const path = [];
    for (let node = this.nodes[last]; node.parent !== null; node = this.nodes[node.parent]) path.unshift(node);
    const messages = await Promise.all(path.map((node) => message(node, addressOf)));
    return system ? [{ role: "system", content: system }, ...messages] : messages;
  }

  /** The shown branch as text. */
  markdown() {
    const sections = this.path.map((node) => {
      const media = node.media.map((medium) => `[${medium.name}]\n\n`).join("");
      return `## ${node.role === "user" ? "You" : node.model || "Answer"}\n\n${media}${node.text}\n`;
    });
    return [`# ${this.title}\n`, ...sections].join("\n");
  }
}

async function message(node, addressOf) {
  if (node.media.length === 0) return { role: node.role, content: node.text };
  const parts = await Promise.all(
    node.media.map(async (medium) => {
      const type = `${medium.kind}_url`;
      return { type, [type]: { url: await addressOf(medium) } };
    }),
  );
  return { role: node.role, content: node.text ? [...parts, { type: "text", text: node.text }] : parts };
}

function titleOf(node) {
  const line = node.text.trim().split("\n", 1)[0] || node.media.map((medium) => medium.name).join(", ");
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH).trimEnd()}…` : line;
}
