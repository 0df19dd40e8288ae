// Where messages are written: text, pictures, videos.

import { element, find, icon } from "./dom.js";

export class Composer {
  #area = find("#question");
  #list = find("#attachments");
  #send = find("#send");
  #stop = find("#stop");
  #media;
  #actions;
  #attached = [];

  /** `actions`: `send` with a text and media, `stop`, and `tell` with what went wrong. */
  constructor(media, actions) {
    this.#media = media;
    this.#actions = actions;
    const picker = find("#files");
    find("#attach").addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      this.#attach(picker.files);
      picker.value = "";
    });
    this.#send.addEventListener("click", () => this.#submit());
    this.#stop.addEventListener("click", () => actions.stop());
    this.#area.addEventListener("input", () => this.#look());
    this.#area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    this.#area.addEventListener("paste", (event) => {
      const { files, types } = event.clipboardData;
      const isText = types.includes("text/html") && types.includes("text/plain"); // office programs add a picture of it
      if (files.length === 0 || isText) return;
      event.preventDefault();
      this.#attach(files);
    });
    this.#takeDrops();
    this.#look();
  }

  /** Shows whether there is an answer to stop. */
  set isBusy(busy) {
    const hadFocus = document.activeElement === (busy ? this.#send : this.#stop);
    this.#stop.hidden = !busy;
    this.#send.hidden = busy;
    if (hadFocus) this.focus(); // the button that had it is gone
  }

  focus() {
    this.#area.focus();
  }

  #submit() {
    const text = this.#area.value.trim();
    if (this.#send.hidden || (!text && this.#attached.length === 0)) return;
    const attached = this.#attached;
    this.#area.value = "";
    this.#attached = [];
    this.#list.replaceChildren();
    this.#look();
    this.#actions.send(text, attached);
  }

  #attach(files) {
    for (const file of files) {
      const medium = this.#media.add(file);
      if (medium) this.#add(medium);
      else this.#actions.tell(`${file.name} is neither a picture nor a video.`);
    }
    this.#look();
    this.focus();
  }

  async #add(medium) {
    this.#attached.push(medium);
    const remove = element(
      "button", { type: "button", "aria-label": `Remove ${medium.name}`, title: "Remove" }, icon("close"),
    );
    const item = element("li", {}, remove);
    remove.addEventListener("click", () => {
      this.#attached = this.#attached.filter((one) => one !== medium);
      item.remove();
      this.#look();
      this.focus();
    });
    this.#list.append(item);
    const address = await this.#media.show(medium);
    const preview =
      medium.kind === "image"
        ? element("img", { src: address, alt: medium.name })
        : element("video", { src: address, "aria-label": medium.name });
    preview.addEventListener("error", () => preview.replaceWith(element("span", { text: medium.name })));
    item.prepend(preview);
  }

  #takeDrops() {
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const show = (event, isOver) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      document.body.classList.toggle("dropping", isOver);
    };
    document.addEventListener("dragover", (event) => show(event, true));
    document.addEventListener("dragleave", (event) => show(event, event.relatedTarget !== null));
    document.addEventListener("drop", (event) => {
      show(event, false);
      if (hasFiles(event)) this.#attach(event.dataTransfer.files);
    });
  }

  /** Sizes the field to its text, and offers to send what there is. */
  #look() {
    this.#area.parentElement.dataset.text = this.#area.value;
    this.#send.disabled = !this.#area.value.trim() && this.#attached.length === 0;
  }
}
