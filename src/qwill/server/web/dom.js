// Small helpers for nodes. Text becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** The first element that a selector finds; it has to be there. */
export function find(selector, root = document) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`nothing is ${selector}`);
  return found;
}

/** A new element. Properties are attributes; `text` is its text. */
export function element(name, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** A picture from the sprite in the page. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button with a picture, named for those who do not see it. */
export function iconButton(name, label, action) {
  const attributes = { type: "button", class: "quiet", "aria-label": label, title: label, "data-action": action };
  return element("button", attributes, icon(name));
}

/** Puts a text on the clipboard, also where the page came without encryption and may not use the newer way. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = element("textarea", { class: "unseen" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Has the browser save a text as a file. */
export function saveFile(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** A short text that no other one is equal to. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A number as people write it. */
export function readable(number, digits = 0) {
  return number.toLocaleString(undefined, { maximumFractionDigits: digits });
}
