// The messages of the conversation that is shown.

import { Card } from "./card.js";

const PAUSE = 4; // after each drawing, at least so many times as long as it took: typing and scrolling come first

export class MessagesView {
  #root;
  #context;
  #follower;
  #conversation = null;
  #cards = [];
  #dirty = new Set();
  #isDrawing = false;

  /** `context` is what cards need to know and do; its `actions` are called with a message. */
  constructor(root, follower, context) {
    this.#root = root;
    this.#follower = follower;
    this.#context = context;
    root.addEventListener("click", (event) => this.#act(event));
    setInterval(() => this.#tick(), 1000);
  }

  /** Shows a conversation's branch. Messages that stand there already stay as they are. */
  show(conversation) {
    const isOther = conversation !== this.#conversation;
    if (isOther) this.#root.setAttribute("aria-live", "off"); // what was said before is no news
    this.#conversation = conversation;
    const path = conversation.path;
    let same = 0;
    while (same < path.length && this.#cards[same]?.node === path[same]) same += 1;
    for (const card of this.#cards.splice(same)) card.article.remove();
    for (const node of path.slice(same)) {
      const card = new Card(node, this.#context);
      this.#cards.push(card);
      this.#root.append(card.article);
    }
    for (const card of this.#cards) card.update(conversation);
    this.#tellBusy();
    this.#follower.keep();
  }

  /** A message has changed; it is drawn again soon, if it is shown at all. */
  refresh(node) {
    const card = this.#cards.find((one) => one.node === node);
    if (!card) return;
    this.#root.setAttribute("aria-live", "polite");
    this.#dirty.add(card);
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => this.#draw());
  }

  edit(node) {
    this.#cards.find((card) => card.node === node)?.edit();
  }

  #draw() {
    const started = performance.now();
    for (const card of this.#dirty) if (this.#cards.includes(card)) card.update(this.#conversation);
    this.#dirty.clear();
    this.#tellBusy();
    this.#follower.keep();
    const took = performance.now() - started;
    setTimeout(() => {
      this.#isDrawing = false;
      for (const card of this.#dirty) this.refresh(card.node);
    }, took * PAUSE);
  }

  /** Screen readers wait for the whole answer. */
  #tellBusy() {
    const isBusy = this.#cards.some((card) => this.#context.answers.isRunning(card.node));
    this.#root.setAttribute("aria-busy", String(isBusy));
  }

  #tick() {
    for (const card of this.#cards) if (this.#context.answers.isRunning(card.node)) card.tellTime();
  }

  #act(event) {
    const button = event.target.closest("[data-action]");
    const card = button && this.#cards.find((one) => one.article.contains(button));
    if (card) this.#context.actions[button.dataset.action](card.node, button);
  }
}
