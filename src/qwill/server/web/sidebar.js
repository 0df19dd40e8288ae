// The list of conversations.

import { element, find } from "./dom.js";

export class Sidebar {
  #bar = find("#sidebar");
  #list = find("#history");
  #menu = find("#menu");

  /** `actions`: `open` with a conversation's id, and `begin`. */
  constructor(actions) {
    find("#new").addEventListener("click", () => actions.begin());
    this.#list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) actions.open(button.dataset.id);
    });
    this.#menu.addEventListener("click", () => this.show(!this.isShown));
    find("#shade").addEventListener("click", () => this.show(false));
  }

  /** Whether it lies over the page, on narrow screens; wide ones always have it beside. */
  get isShown() {
    return this.#bar.classList.contains("shown");
  }

  show(shown) {
    if (shown === this.isShown) return;
    this.#bar.classList.toggle("shown", shown);
    this.#menu.setAttribute("aria-expanded", String(shown));
    find("#shade").hidden = !shown;
    if (shown) find("#new").focus();
    else this.#menu.focus();
  }

  /** Lists heads, the newest first. */
  list(heads, current, isRunning) {
    const focused = document.activeElement?.dataset.id;
    const items = heads
      .toSorted((one, other) => other.updated - one.updated)
      .map(({ id, title }) => {
        const isShown = id === current ? "true" : undefined;
        const dots = element("span", { class: "dots", role: "img", "aria-label": "is answered" });
        dots.hidden = !isRunning(id);
        const attributes = { type: "button", "data-id": id, title, "aria-current": isShown };
        return element("li", {}, element("button", attributes, element("span", { text: title }), dots));
      });
    this.#list.replaceChildren(...items);
    if (focused) this.#list.querySelector(`[data-id="${focused}"]`)?.focus();
  }
}
