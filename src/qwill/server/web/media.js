// Pictures and videos: from files to what is shown, kept and sent.

import { newId } from "./dom.js";

export const KINDS = ["image", "video"];

/** The media of this page's conversations, in memory and in the store. */
export class Media {
  #store;
  #blobs = new Map();
  #shown = new Map(); // `blob:` addresses

  constructor(store) {
    this.#store = store;
  }

  /** A new medium, or null for a file of another kind. */
  add(file) {
    const kind = KINDS.find((name) => file.type.startsWith(`${name}/`));
    if (!kind) return null;
    const medium = { id: newId(), kind, name: file.name || kind };
    this.#blobs.set(medium.id, file);
    return medium;
  }

  /** Keeps media for as long as their conversation. */
  async keep(media, conversation) {
    if (!this.#store) return;
    await Promise.all(media.map(({ id }) => this.#store.saveMedium(id, conversation, this.#blobs.get(id))));
  }

  /** An address under which this page can show it; null if its bytes are gone. */
  async show(medium) {
    if (!this.#shown.has(medium.id)) {
      const blob = await this.#blob(medium);
      if (!blob) return null;
      this.#shown.set(medium.id, URL.createObjectURL(blob));
    }
    return this.#shown.get(medium.id);
  }

  /** Its contents as a `data:` address. */
  async dataAddress(medium) {
    const blob = await this.#blob(medium);
    if (!blob) throw new Error(`${medium.name} is not in this browser any more; send it again.`);
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(new Error(`${medium.name} cannot be read (${reader.error.message}).`));
      reader.readAsDataURL(blob);
    });
  }

  async #blob(medium) {
    if (!this.#blobs.has(medium.id) && this.#store) {
      const blob = await this.#store.medium(medium.id);
      if (blob) this.#blobs.set(medium.id, blob);
    }
    return this.#blobs.get(medium.id);
  }
}
