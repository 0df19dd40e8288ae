// One message as it is shown.

import { element, iconButton, readable } from "./dom.js";
import { MarkdownView } from "./markdown.js";

const ENDINGS = {
  left: "The page was left before the answer was complete.",
  length: "The answer reached the most tokens that it may have.",
  loop: "The answer was ended because it went on repeating itself.",
  stopped: "Stopped.",
};

export class Card {
  #context;
  #parts;
  #view = null; // of an answer's text
  #thoughts = null; // of its reasoning

  /** `context` has `answers`, `media` and `actions`. */
  constructor(node, context) {
    this.node = node;
    this.#context = context;
    const isQuestion = node.role === "user";
    this.article = element("article", { class: isQuestion ? "question" : "reply", "aria-label": "You" });
    this.#parts = isQuestion ? this.#questionParts() : this.#replyParts();
    this.article.append(...Object.values(this.#parts));
  }

  /** Shows what the message is now. */
  update(conversation) {
    if (this.node.role === "assistant") this.#updateReply();
    const { number, count } = conversation.version(this.node);
    const versions = this.#parts.actions.firstChild;
    versions.hidden = count < 2;
    const [back, label, on] = versions.children;
    label.textContent = `${number}/${count}`;
    back.disabled = number === 1;
    on.disabled = number === count;
  }

  /** The seconds that an answer has been waited or thought for. */
  tellTime() {
    const { waiting, thinking } = this.#parts;
    const seconds = Math.floor(this.#context.answers.seconds(this.node));
    const time = seconds > 1 ? ` ${readable(seconds)} s` : "";
    waiting.lastChild.textContent = `Reading${time}`;
    if (!this.node.text) thinking.firstChild.textContent = `Thinking…${time}`;
  }

  /** Puts a field with the message's text in its place. */
  edit() {
    if (this.article.querySelector(".editor")) return;
    const { node } = this;
    const area = element("textarea", { "aria-label": "The changed message", rows: "3" });
    area.value = node.text;
    const send = element("button", { type: "button", class: "main", text: "Send" });
    const cancel = element("button", { type: "button", text: "Cancel" });
    const editor = element("div", { class: "editor" }, area, element("div", { class: "buttons" }, cancel, send));
    const end = () => {
      editor.remove();
      this.article.classList.remove("edited");
      this.#parts.actions.querySelector('[data-action="edit"]').focus();
    };
    const finish = () => {
      if (!area.value.trim() && node.media.length === 0) return;
      end();
      this.#context.actions["send-edited"](node, area.value);
    };
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") end();
      else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) finish();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    cancel.addEventListener("click", end);
    send.addEventListener("click", finish);
    this.article.classList.add("edited");
    this.article.append(editor);
    area.focus();
  }

  #questionParts() {
    const media = element("div", { class: "media", hidden: this.node.media.length === 0 });
    for (const medium of this.node.media) this.#addMedium(media, medium);
    return {
      media,
      text: element("div", { class: "text", text: this.node.text, hidden: !this.node.text }),
      actions: element(
        "div", { class: "actions" }, versionSwitch(), iconButton("copy", "Copy the message", "copy"),
        iconButton("edit", "Edit the message", "edit"),
      ),
    };
  }

  async #addMedium(place, medium) {
    const shown =
      medium.kind === "image"
        ? element("img", { alt: medium.name })
        : element("video", { controls: true, "aria-label": medium.name });
    place.append(shown);
    const address = await this.#context.media.show(medium);
    if (address) shown.src = address;
    else shown.replaceWith(element("p", { text: `${medium.name} is not in this browser any more.` }));
  }

  #replyParts() {
    const thinking = element("details", { class: "thinking", hidden: true }, element("summary"), element("div"));
    thinking.addEventListener("toggle", () => this.#showThoughts());
    const hurry = element("button", {
      type: "button", class: "hurry", "data-action": "answer-now", title: "End the thinking", text: "Answer now", hidden: true,
    });
    const again = element("button", { type: "button", "data-action": "retry", text: "Try again" });
    const dots = element("span", { class: "dots", "aria-hidden": "true" });
    return {
      name: element("p", { class: "name" }),
      thinking,
      hurry,
      answer: element("div", { class: "markdown" }),
      waiting: element("p", { class: "waiting", hidden: true }, dots, "Reading"),
      ending: element("p", { class: "note", hidden: true }),
      failure: element("p", { class: "failure", hidden: true }, element("span"), again),
      actions: element(
        "div", { class: "actions" }, versionSwitch(), iconButton("copy", "Copy the answer", "copy"),
        iconButton("retry", "Answer again", "retry"), element("span", { class: "figures" }),
      ),
    };
  }

  #updateReply() {
    const { node } = this;
    const { name, thinking, hurry, answer, waiting, ending, failure, actions } = this.#parts;
    const isRunning = this.#context.answers.isRunning(node);
    name.textContent = node.model || "Answer";
    this.article.setAttribute("aria-label", name.textContent);
    this.article.classList.toggle("running", isRunning);
    thinking.hidden = !node.reasoning;
    thinking.firstChild.textContent = thought(node.thoughtSeconds);
    hurry.hidden = !this.#context.answers.isThinking(node);
    waiting.hidden = !isRunning || Boolean(node.reasoning || node.text);
    if (isRunning) this.tellTime();
    this.#showThoughts();
    this.#view ??= new MarkdownView(answer);
    this.#view.update(node.text);
    ending.textContent = isRunning ? "" : (ENDINGS[node.ending] ?? "");
    ending.hidden = !ending.textContent;
    failure.hidden = !node.failure;
    failure.firstChild.textContent = node.failure?.message ?? "";
    actions.lastChild.textContent = node.figures ? figuresText(node.figures) : "";
  }

  /** Reasoning is folded; nothing is drawn of it before it is opened. */
  #showThoughts() {
    const { thinking } = this.#parts;
    if (!thinking.open || !this.node.reasoning) return;
    this.#thoughts ??= new MarkdownView(thinking.lastChild);
    this.#thoughts.update(this.node.reasoning);
  }
}

function versionSwitch() {
  return element(
    "div", { class: "versions", role: "group", "aria-label": "Versions" },
    iconButton("left", "The version before", "back"), element("span"), iconButton("right", "The next version", "on"),
  );
}

function thought(seconds) {
  return seconds >= 1 ? `Thought for ${readable(seconds)} s` : "Thought";
}

function figuresText({ tokens, perSecond, firstSeconds, costs }) {
  const parts = [`${readable(tokens)} ${tokens === 1 ? "token" : "tokens"}`];
  if (perSecond !== null) parts.push(`${readable(perSecond, perSecond < 100 ? 1 : 0)} tokens/s`);
  if (firstSeconds !== null) parts.push(`first after ${readable(firstSeconds, 2)} s`);
  for (const { where, amount, currency } of costs) {
    parts.push(`${where} ${amount.toLocaleString(undefined, { maximumSignificantDigits: 3 })} ${currency}`);
  }
  return parts.join(" · ");
}
