// What the reader has chosen: how answers are asked for, and the key.

import { find } from "./dom.js";
import { recall, remember } from "./kept.js";

const NAME = "qwill.settings";
const KEY = "qwill.key";
const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];

export class Settings {
  #values = { model: "", system: "", thinking: true };
  #dialog = find("#settings");
  #key = find("#key");
  #keepKey = find("#keep-key");

  /** `keyChanged` is called when another key is to be used. */
  constructor(keyChanged) {
    try {
      Object.assign(this.#values, JSON.parse(recall(NAME) ?? "{}"));
    } catch {
      remember(NAME, null); // not what this page wrote
    }
    const kept = recall(KEY);
    this.#key.value = kept ?? recall(KEY, "sessionStorage") ?? "";
    this.#keepKey.checked = kept !== null;
    for (const field of this.#fields) {
      field.value = this.#values[field.name] ?? "";
      field.addEventListener("input", () => this.#take(field));
    }
    this.#key.addEventListener("change", () => {
      this.#rememberKey();
      keyChanged();
    });
    this.#keepKey.addEventListener("change", () => this.#rememberKey());
    find("#close-settings").addEventListener("click", () => this.#dialog.close());
    this.#key.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#dialog.close();
    });
  }

  get key() {
    return this.#key.value.trim();
  }

  get(name) {
    return this.#values[name];
  }

  set(name, value) {
    this.#values[name] = value;
    remember(NAME, JSON.stringify(this.#values));
  }

  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** Opens them where the key is entered. */
  askForKey() {
    this.open();
    this.#key.focus();
  }

  /** The fields of a request that the reader has set; the server knows what the others are by default. */
  get request() {
    const given = NUMBERS.filter((name) => typeof this.#values[name] === "number");
    return {
      ...Object.fromEntries(given.map((name) => [name, this.#values[name]])),
      chat_template_kwargs: { enable_thinking: this.#values.thinking },
      loop_detection: true,
    };
  }

  get #fields() {
    return this.#dialog.querySelectorAll("[name]");
  }

  #take(field) {
    const isNumber = NUMBERS.includes(field.name);
    const wrong = isNumber && !field.validity.valid ? field.validationMessage : "";
    field.setAttribute("aria-invalid", String(Boolean(wrong)));
    find(`#${field.getAttribute("aria-describedby")}`).textContent = wrong;
    if (wrong) return;
    this.set(field.name, isNumber ? (field.value === "" ? null : Number(field.value)) : field.value);
  }

  #rememberKey() {
    remember(KEY, this.#keepKey.checked && this.key ? this.key : null);
    remember(KEY, this.key || null, "sessionStorage");
  }
}
