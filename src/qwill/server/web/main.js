// The page: conversations, the one that is shown, and what its buttons do.

import { Answers } from "./answers.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { copyText, find, readable, saveFile } from "./dom.js";
import { recall, remember } from "./kept.js";
import { Media } from "./media.js";
import { MessagesView } from "./messages.js";
import { Follower } from "./scroll.js";
import { Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { fetchModels, UNAUTHORIZED } from "./stream.js";
import { changeTheme, theme } from "./theme.js";

const LAST = "qwill.last"; // the conversation that was shown last
const SAVE_EVERY = 1500; // milliseconds, while answers are written

class Page {
  #store;
  #media;
  #heads = new Map();
  #open = new Map(); // conversations that were shown since the page was loaded
  #shown = Conversation.begin();
  #wanted = null; // the id of the conversation that was asked for last
  #models = [];
  #areModelsMissing = false;
  #answers = new Answers((conversation, node) => this.#answerChanged(conversation, node));
  #settings = new Settings(() => this.#loadModels());
  #follower = new Follower(find("#scroller"), find("#to-end"));
  #view;
  #composer;
  #sidebar;

  async start() {
    this.#store = await openStore();
    this.#media = new Media(this.#store);
    this.#view = new MessagesView(find("#messages"), this.#follower, {
      answers: this.#answers, media: this.#media, actions: this.#messageActions(),
    });
    this.#composer = new Composer(this.#media, {
      send: (text, media) => this.#send(text, media), stop: () => this.#stop(), tell: (text) => this.#tell(text),
    });
    this.#sidebar = new Sidebar({ open: (id) => this.#show(id), begin: () => this.#begin() });
    this.#listen();
    this.#showThinking();
    this.#showTheme();
    for (const head of (await this.#store?.heads()) ?? []) this.#heads.set(head.id, head);
    if (!this.#store) this.#tell("This browser keeps nothing for this page: conversations are gone when you leave it.");
    const models = this.#loadModels();
    const last = recall(LAST, "sessionStorage");
    if (this.#heads.has(last)) await this.#show(last);
    else this.#draw();
    this.#composer.focus();
    await models;
  }

  #listen() {
    find("#model").addEventListener("change", (event) => {
      this.#settings.set("model", event.target.value);
      this.#showContext();
    });
    find("#thinking").addEventListener("click", () => {
      this.#settings.set("thinking", !this.#settings.get("thinking"));
      this.#showThinking();
    });
    find("#theme").addEventListener("click", () => {
      changeTheme();
      this.#showTheme();
    });
    find("#open-settings").addEventListener("click", () => this.#settings.open());
    find("#title").addEventListener("change", (event) => this.#rename(event.target.value));
    find("#title").addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#composer.focus();
    });
    find("#rename").addEventListener("click", () => this.#leaveMenu(() => find("#title").select()));
    find("#export-text").addEventListener("click", () => this.#leaveMenu(() => this.#exportText()));
    find("#export-json").addEventListener("click", () => this.#leaveMenu(() => this.#exportMessages()));
    const deleteShown = () => this.#delete([this.#shown.id], "this conversation");
    find("#delete").addEventListener("click", () => this.#leaveMenu(deleteShown));
    find("#delete-all").addEventListener("click", () => this.#delete([...this.#heads.keys()], "all conversations"));
    find("#close-notice").addEventListener("click", () => this.#tell(""));
    document.addEventListener("keydown", (event) => this.#keyPressed(event));
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#saveRunning() : this.#catchUp()));
    setInterval(() => this.#saveRunning(), SAVE_EVERY);
  }

  #keyPressed(event) {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      this.#begin();
    } else if (event.key === "Escape" && !document.querySelector("dialog[open], :popover-open")) {
      if (this.#sidebar.isShown) this.#sidebar.show(false);
      else this.#stop();
    }
  }

  #messageActions() {
    return {
      "copy": (node, button) => this.#copy(node.text, button),
      "copy-code": (_, button) => this.#copy(button.closest(".code").querySelector("code").textContent, button),
      "edit": (node) => this.#view.edit(node),
      "send-edited": (node, text) => {
        this.#ask(node.parent, text.trim(), node.media);
        this.#composer.focus();
      },
      "retry": (node) => this.#retry(node),
      "answer-now": (node, button) => this.#answerNow(node, button),
      "back": (node) => this.#turn(node, -1),
      "on": (node) => this.#turn(node, 1),
    };
  }

  // Asking

  #send(text, media) {
    this.#media.keep(media, this.#shown.id).catch((error) => this.#tellUnsaved(error));
    this.#ask(this.#shown.end, text, media);
  }

  #ask(parent, text, media) {
    const question = this.#shown.add(parent, { role: "user", text, media });
    this.#answer(question);
  }

  #retry(node) {
    const question = this.#shown.nodes[node.parent];
    if (node.failure && !node.text && !node.reasoning) this.#shown.drop(node);
    this.#answer(question);
  }

  #answer(question) {
    const conversation = this.#shown;
    const model = find("#model").value || undefined;
    const node = conversation.add(question.id, { role: "assistant", model });
    const prepare = async () => ({
      model,
      messages: await this.#messages(conversation, question.id),
      stream: true,
      stream_options: { include_usage: true },
      ...this.#settings.request,
    });
    this.#open.set(conversation.id, conversation);
    this.#tell("");
    this.#answers.run(conversation, node, prepare, this.#settings.key);
    this.#save(conversation);
    this.#draw();
    this.#follower.toEnd();
  }

  /** A conversation up to a message, as the API takes it. */
  #messages(conversation, last) {
    const system = this.#settings.get("system");
    return conversation.messages(last, system, (medium) => this.#media.dataAddress(medium));
  }

  #stop() {
    for (const node of this.#shown.path) this.#answers.stop(node);
  }

  async #answerNow(node, button) {
    button.disabled = true;
    try {
      await this.#answers.answerNow(node);
    } catch (error) {
      if (this.#answers.isThinking(node)) this.#tell(error.message);
    }
    button.disabled = false;
  }

  #answerChanged(conversation, node) {
    if (conversation === this.#shown) this.#view.refresh(node);
    if (this.#answers.isRunning(node)) return;
    conversation.updated = Date.now();
    this.#save(conversation);
    if (conversation === this.#shown) this.#draw();
    else this.#list();
    if (node.failure?.status === UNAUTHORIZED) this.#askForKey(node.failure.message);
    else if (!this.#model?.max_model_len) this.#loadModels(); // the model has been loaded since
  }

  #turn(node, steps) {
    this.#shown.turn(node, steps);
    this.#save(this.#shown);
    this.#draw();
  }

  // Conversations

  #begin() {
    this.#shown = Conversation.begin();
    this.#wanted = null;
    remember(LAST, null, "sessionStorage");
    this.#sidebar.show(false);
    this.#draw();
    this.#composer.focus();
  }

  async #show(id) {
    this.#wanted = id;
    this.#sidebar.show(false);
    const conversation = this.#open.get(id) ?? (await this.#load(id));
    if (this.#wanted !== id) return;
    if (!conversation) {
      this.#heads.delete(id);
      this.#tell("That conversation has been deleted.");
    } else {
      this.#shown = conversation;
      this.#open.set(id, conversation);
      remember(LAST, id, "sessionStorage");
    }
    this.#draw();
    this.#follower.toEnd();
  }

  async #load(id) {
    const [head, tree] = this.#store ? await Promise.all([this.#store.head(id), this.#store.tree(id)]) : [];
    if (!head || !tree) return null;
    const conversation = new Conversation(head, tree.nodes);
    conversation.endAnswers();
    return conversation;
  }

  #rename(title) {
    this.#shown.rename(title);
    if (!this.#shown.isEmpty) this.#save(this.#shown);
    this.#draw();
  }

  async #delete(ids, what) {
    if (!(await confirmed(`Delete ${what}?`))) return;
    for (const id of ids) {
      this.#answers.stopAll(id);
      this.#open.delete(id);
      this.#heads.delete(id);
      await this.#store?.remove(id).catch((error) => this.#tellUnsaved(error));
    }
    if (ids.includes(this.#shown.id)) this.#begin();
    this.#draw();
  }

  #exportText() {
    saveFile(`${fileName(this.#shown.title)}.md`, "text/markdown", this.#shown.markdown());
  }

  async #exportMessages() {
    const { title, end } = this.#shown;
    const messages = await this.#messages(this.#shown, end);
    saveFile(`${fileName(title)}.json`, "application/json", JSON.stringify({ title, messages }, null, 2));
  }

  #save(conversation) {
    const isDeleted = !this.#open.has(conversation.id);
    if (isDeleted) return;
    this.#heads.set(conversation.id, conversation.head);
    if (conversation === this.#shown) remember(LAST, conversation.id, "sessionStorage");
    this.#store?.save(conversation.head, conversation.tree).catch((error) => this.#tellUnsaved(error));
  }

  #saveRunning() {
    for (const conversation of this.#answers.conversations) this.#save(conversation);
  }

  /** Takes over what other windows have changed meanwhile. */
  async #catchUp() {
    if (!this.#store) return;
    this.#heads = new Map((await this.#store.heads()).map((head) => [head.id, head]));
    for (const [id, conversation] of this.#open) {
      const isNewer = this.#heads.get(id)?.updated > conversation.updated;
      if (isNewer && !this.#answers.isRunningIn(id)) this.#open.delete(id);
    }
    if (!this.#shown.isEmpty && !this.#open.has(this.#shown.id)) await this.#show(this.#shown.id);
    else this.#draw();
  }

  // What is shown

  #draw() {
    const conversation = this.#shown;
    this.#view.show(conversation);
    find("#welcome").hidden = !conversation.isEmpty;
    find("#title").value = conversation.title;
    document.title = conversation.isEmpty ? "qwill" : `${conversation.title} · qwill`;
    for (const button of document.querySelectorAll("#menu-items button")) button.disabled = conversation.isEmpty;
    this.#composer.isBusy = conversation.path.some((node) => this.#answers.isRunning(node));
    this.#list();
    this.#showContext();
  }

  #list() {
    this.#sidebar.list([...this.#heads.values()], this.#shown.id, (id) => this.#answers.isRunningIn(id));
  }

  get #model() {
    return this.#models.find((model) => model.id === find("#model").value);
  }

  async #loadModels() {
    try {
      this.#models = await fetchModels(this.#settings.key);
    } catch (error) {
      this.#areModelsMissing = true;
      if (error.status === UNAUTHORIZED) this.#askForKey(error.message);
      else this.#tell(error.message);
      return;
    }
    if (this.#areModelsMissing) this.#tell("");
    this.#areModelsMissing = false;
    const picker = find("#model");
    const chosen = picker.value || this.#settings.get("model");
    picker.replaceChildren(...this.#models.map(({ id }) => new Option(id, id, false, id === chosen)));
    this.#showContext();
  }

  #showContext() {
    const used = this.#shown.path.findLast((node) => node.figures)?.figures.context ?? 0;
    const most = this.#model?.max_model_len;
    find("#context").hidden = !used || !most;
    if (!used || !most) return;
    find("#context meter").max = most;
    find("#context meter").value = used;
    find("#context span").textContent = `${readable(used)} of ${readable(most)}`;
  }

  #showThinking() {
    find("#thinking").setAttribute("aria-pressed", String(this.#settings.get("thinking")));
  }

  #showTheme() {
    find("#theme span").textContent = `Theme: ${theme()}`;
  }

  async #copy(text, button) {
    await copyText(text);
    button.classList.add("done");
    this.#announce("Copied");
    setTimeout(() => button.classList.remove("done"), 1500);
  }

  #leaveMenu(action) {
    find("#menu-items").hidePopover();
    action();
  }

  #askForKey(message) {
    this.#tell(`${message} Enter it in the settings.`);
    find("#key-notice").textContent = message;
    this.#settings.askForKey();
  }

  #tellUnsaved(error) {
    this.#tell(`The conversation could not be kept in this browser (${error?.message ?? "it gave no reason"}).`);
  }

  /** A line for what is of no message; an empty one takes it away. */
  #tell(text) {
    find("#notice span").textContent = text;
    find("#notice").hidden = !text;
    if (!text) find("#key-notice").textContent = "";
  }

  #announce(text) {
    find("#announcement").textContent = text;
  }
}

/** Asks before something is lost for good. */
function confirmed(question) {
  const dialog = find("#confirm");
  find("#confirm-question").textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const answer = (event) => dialog.close(event.currentTarget.value);
    for (const button of dialog.querySelectorAll("button")) button.onclick = answer;
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
  });
}

function fileName(title) {
  return title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "conversation";
}

new Page().start();
