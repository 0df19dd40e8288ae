// Markdown as nodes. Whatever a model writes ends as text nodes in a few harmless kinds of elements.

import { isLoose, parseBlocks } from "./blocks.js";
import { element } from "./dom.js";
import { parseInline } from "./inline.js";

const MOST_NESTED = 32; // elements of emphasis inside each other; deeper ones show their text alone

/** Shows a text that grows. What is complete is never touched again, so that long answers stay quick. */
export class MarkdownView {
  #target;
  #settledLength = 0; // of the text, up to the first block that may still change
  #settledBlocks = 0;
  #drawn = null; // the pieces of that block as they were drawn last

  constructor(target) {
    this.#target = target;
  }

  /** `text` begins with what was shown before. */
  update(text) {
    const target = this.#target;
    const { blocks, offsets } = parseBlocks(text.slice(this.#settledLength));
    blocks.forEach((block, index) => {
      const old = target.childNodes[this.#settledBlocks + index];
      if (index === 0) this.#drawFirst(old, block);
      else if (old) morph(old, blockNode(block));
      else target.append(blockNode(block));
    });
    while (target.childNodes.length > this.#settledBlocks + blocks.length) target.lastChild.remove();
    // The last line may go on. A block that was noticed before it has ended all blocks above.
    const settled = blocks.findLastIndex((block) => block.noticed < offsets.length - 1);
    if (settled > 0) {
      this.#settledBlocks += settled;
      this.#settledLength += offsets[blocks[settled].line];
      this.#drawn = null;
    }
  }

  /** Draws the block that has been growing; of a list, table or quote no more than the pieces that are other ones. */
  #drawFirst(old, block) {
    const { common, pieces, pieceNode, place } = divided(block);
    const drawn = { common: JSON.stringify(common), pieces: pieces.map((piece) => JSON.stringify(piece)) };
    const before = this.#drawn;
    this.#drawn = drawn;
    if (!old) {
      this.#target.append(blockNode(block));
    } else if (!before?.pieces.length || before.common !== drawn.common || before.pieces.length > pieces.length) {
      morph(old, blockNode(block));
    } else {
      const inside = place(old);
      pieces.forEach((piece, index) => {
        if (index >= before.pieces.length) inside.append(pieceNode(piece));
        else if (before.pieces[index] !== drawn.pieces[index]) morph(inside.childNodes[index], pieceNode(piece));
      });
    }
  }
}

/** A block that may become long: what all its pieces have in common, the pieces, and how and where to show one. */
function divided(block) {
  if (block.type === "list") {
    const loose = isLoose(block);
    const common = [block.type, block.kind, block.start, loose];
    return { common, pieces: block.children, pieceNode: (item) => itemNode(item, loose), place: (node) => node };
  }
  if (block.type === "table") {
    const { titles, alignments, rows } = block;
    const pieceNode = (row) => rowNode("td", row, alignments);
    const place = (node) => node.querySelector("tbody");
    return { common: [block.type, titles, alignments], pieces: rows, pieceNode, place };
  }
  if (block.type === "quote") {
    return { common: [block.type], pieces: block.children, pieceNode: blockNode, place: (node) => node };
  }
  return { common: [block.type], pieces: [] };
}

function blockNode(block) {
  switch (block.type) {
    case "heading":
      return withInline(element(`h${Math.min(block.level + 2, 6)}`), block.text); // below the page's own headings
    case "paragraph":
      return withInline(element("p"), block.lines.join("\n").trimEnd());
    case "quote":
      return element("blockquote", {}, ...block.children.map(blockNode));
    case "list":
      return listNode(block);
    case "code":
      return codeNode(block.lines.join("\n"), block.language);
    case "indented":
      return codeNode(block.lines.join("\n").replace(/\n[ \n]*$/, ""), "");
    case "formula":
      return element("div", { class: "formula", text: block.lines.join("\n") });
    case "table":
      return tableNode(block);
    default:
      return element("hr");
  }
}

function listNode(list) {
  const loose = isLoose(list);
  const start = list.ordered && list.start !== 1 ? list.start : undefined;
  return element(list.ordered ? "ol" : "ul", { start }, ...list.children.map((item) => itemNode(item, loose)));
}

function itemNode(item, loose) {
  const made = element("li");
  for (const block of item.children) {
    if (block.type === "paragraph") {
      const text = withTask(block === item.children[0], block.lines.join("\n").trimEnd());
      if (loose) made.append(withInline(element("p"), text));
      else withInline(made, text);
    } else {
      made.append(blockNode(block));
    }
  }
  return made;
}

/** Boxes to tick are characters here. */
function withTask(isFirst, text) {
  const found = isFirst && /^\[([ xX])\][ \t]+/.exec(text);
  return found ? `${found[1] === " " ? "☐" : "☑"} ${text.slice(found[0].length)}` : text;
}

function codeNode(code, language) {
  const copy = element("button", { type: "button", class: "copy", "data-action": "copy-code", text: "Copy" });
  const bar = element("div", { class: "bar" }, element("span", { text: language || "text" }), copy);
  const box = element("pre", { tabindex: "0" }, element("code", { text: code })); // wide code scrolls by keys, too
  return element("div", { class: "code" }, bar, box);
}

function tableNode({ titles, alignments, rows }) {
  const head = element("thead", {}, rowNode("th", titles, alignments));
  const body = rows.length ? [element("tbody", {}, ...rows.map((cells) => rowNode("td", cells, alignments)))] : [];
  return element("div", { class: "table", tabindex: "0" }, element("table", {}, head, ...body));
}

function rowNode(name, cells, alignments) {
  const made = cells.map((cell, column) => withInline(element(name, { class: alignments[column] || undefined }), cell));
  return element("tr", {}, ...made);
}

/** Puts the nodes of a text with emphasis, links and code into `parent`. */
function withInline(parent, text) {
  const open = [{ node: parent, isLink: false }];
  for (const token of parseInline(text)) {
    const { node, isLink } = open.at(-1);
    if (token.open) {
      const isNested = open.length > MOST_NESTED || (token.open === "a" && isLink);
      const inside = isNested ? node : node.appendChild(token.open === "a" ? link(token) : element(token.open));
      open.push({ node: inside, isLink: isLink || token.open === "a" });
    } else if (token.close) {
      open.pop();
    } else {
      addToken(node, isLink, token);
    }
  }
  return parent;
}

function addToken(node, isLink, token) {
  if (token.isBreak) node.append(element("br"));
  else if (token.code !== undefined) node.append(element("code", { text: token.code }));
  else if (token.formula !== undefined) node.append(element("span", { class: "formula", text: token.formula }));
  else if (token.address !== undefined && !isLink) node.append(link({ href: token.address }, token.text));
  else if (node.lastChild?.nodeType === Node.TEXT_NODE) node.lastChild.appendData(token.text);
  else if (token.text) node.append(token.text);
}

function link({ href, title }, text) {
  return element("a", { href, title: title || undefined, target: "_blank", rel: "noopener noreferrer", text });
}

/** Makes `old` equal to `fresh` and keeps what is equal already, with its selection and scroll position. */
function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
    return;
  }
  for (const { name } of Array.from(old.attributes)) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const [had, wanted] = [Array.from(old.childNodes), Array.from(fresh.childNodes)];
  wanted.forEach((child, index) => (index < had.length ? morph(had[index], child) : old.append(child)));
  for (const child of had.slice(wanted.length)) child.remove();
}
