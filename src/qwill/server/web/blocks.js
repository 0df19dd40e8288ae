// The block structure of Markdown: lines become plain objects, of which `markdown.js` makes nodes.
//
// Follows CommonMark, line by line, with tables and formulas. HTML and link definitions are no structure here: they
// stay the text that they are.

const MOST_CONTAINERS = 20; // quotes and lists inside each other; what lies deeper stays text
const QUOTE = /^ {0,3}> ?/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const FENCE = /^( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const MARKER = /^ {0,3}([-+*]|(\d{1,9})[.)])(?=[ \t]|$)/;
const FORMULA = /^ {0,3}(\$\$|\\\[)[ \t]*$/;
const DIVIDER = /^\|?[ \t]*:?-+:?(?:[ \t]*\|[ \t]*:?-+:?)*[ \t]*\|?$/;
const CONSUMED = Symbol("the line is used up");

/**
 * The blocks of a text, and at which character each of its lines begins. A block's `line` is its first line, `noticed`
 * the one that tells that it begins there (the second one of a table), and `last` its last one that is not blank.
 */
export function parseBlocks(text) {
  const parser = new BlockParser();
  const offsets = [];
  let offset = 0;
  for (const line of text.split("\n")) {
    parser.add(line.endsWith("\r") ? line.slice(0, -1) : line, offsets.length);
    offsets.push(offset);
    offset += line.length + 1;
  }
  return { blocks: parser.root.children, offsets };
}

/** Whether a list's items stand apart: then their texts are paragraphs. */
export function isLoose(list) {
  const apart = (blocks) => blocks.some((block, index) => index > 0 && block.line - blocks[index - 1].last > 1);
  return apart(list.children) || list.children.some((item) => apart(item.children));
}

class BlockParser {
  #number = 0;
  #containers;
  #matched = 1; // so many containers go on with the current line
  #leaf = null; // the block that takes text: paragraph, table, code, indented, formula

  constructor() {
    this.root = { type: "root", children: [], line: 0, last: 0 };
    this.#containers = [this.root];
  }

  add(source, number) {
    this.#number = number;
    let rest = expandTabs(source);
    this.#matched = 1;
    while (this.#matched < this.#containers.length) {
      const inside = continued(this.#containers[this.#matched], rest);
      if (inside === null) break;
      rest = inside;
      this.#matched += 1;
    }
    if (this.#allMatched && this.#fillLeaf(rest)) return;
    while (rest.trim()) {
      const inside = this.#open(rest);
      if (inside === CONSUMED) return;
      if (inside === null) break;
      rest = inside;
    }
    this.#addText(rest);
  }

  get #tip() {
    return this.#containers.at(-1);
  }

  get #allMatched() {
    return this.#matched === this.#containers.length;
  }

  /** The paragraph that a line of text would go on with; one outside of which the line stands does not count. */
  get #paragraph() {
    return this.#allMatched && this.#leaf?.type === "paragraph" ? this.#leaf : null;
  }

  /** Gives the line to a leaf that takes anything up to its end. */
  #fillLeaf(rest) {
    const leaf = this.#leaf;
    if (leaf?.type === "code") {
      const isEnd = closesFence(leaf, rest);
      if (!isEnd) leaf.lines.push(withoutIndent(rest, leaf.indent));
      this.#touch();
      if (isEnd) this.#leaf = null;
      return true;
    }
    if (leaf?.type === "formula" && rest.trim()) {
      leaf.lines.push(withoutIndent(rest, leaf.indent).trimEnd());
      this.#touch();
      if (rest.trimEnd().endsWith(leaf.closing)) this.#leaf = null;
      return true;
    }
    if (leaf?.type !== "indented") return false;
    if (rest.trim() && indentOf(rest) < 4) {
      this.#leaf = null;
      return false;
    }
    leaf.lines.push(rest.slice(4));
    if (rest.trim()) this.#touch();
    return true;
  }

  /** Begins a block: returns what remains of the line inside a container, CONSUMED, or null where none begins. */
  #open(rest) {
    if (indentOf(rest) >= 4) {
      if (this.#leaf?.type === "paragraph") return null;
      this.#place({ type: "indented", lines: [rest.slice(4)] }, true);
      return CONSUMED;
    }
    const mayNest = this.#matched <= MOST_CONTAINERS;
    let found = QUOTE.exec(rest);
    if (found && mayNest) {
      this.#place({ type: "quote", children: [] });
      this.#enter();
      return expandTabs(rest.slice(found[0].length));
    }
    if ((found = HEADING.exec(rest))) {
      this.#place({ type: "heading", level: found[1].length, text: headingText(rest.slice(found[0].length)) });
      return CONSUMED;
    }
    if ((found = FENCE.exec(rest))) {
      const [, indent, fence, info] = found;
      const [language] = info.trim().split(/\s/, 1);
      this.#place({ type: "code", indent: indent.length, fence, language, lines: [] }, true);
      return CONSUMED;
    }
    if ((found = FORMULA.exec(rest))) {
      const closing = found[1] === "$$" ? "$$" : "\\]";
      this.#place({ type: "formula", indent: indentOf(rest), closing, lines: [rest.trim()] }, true);
      return CONSUMED;
    }
    if (this.#paragraph && this.#toHeading(rest)) return CONSUMED;
    if (RULE.test(rest)) {
      this.#place({ type: "rule" });
      return CONSUMED;
    }
    found = MARKER.exec(rest);
    const inside = found && mayNest ? this.#openItem(found, rest) : null;
    if (inside !== null) return inside;
    return this.#paragraph && this.#toTable(rest) ? CONSUMED : null;
  }

  #openItem([head, marker, digits], rest) {
    const text = expandTabs(rest.slice(head.length));
    const gap = indentOf(text);
    // In the midst of a paragraph a lone dash or a number other than one is more likely a part of its text.
    if (this.#paragraph && (gap < 0 || (digits !== undefined && Number(digits) !== 1))) return null;
    const kind = marker.at(-1);
    this.#end();
    if (this.#tip.type !== "list" || this.#tip.kind !== kind) {
      this.#place({ type: "list", kind, ordered: digits !== undefined, start: Number(digits ?? 1), children: [] });
      this.#enter();
    }
    const space = gap < 0 || gap > 4 ? 1 : gap;
    this.#place({ type: "item", width: head.length + space, children: [] });
    this.#enter();
    return text.slice(space);
  }

  /** A line of dashes or equals signs makes a heading of the paragraph before it. */
  #toHeading(rest) {
    const found = UNDERLINE.exec(rest);
    if (!found) return false;
    const paragraph = this.#leaf;
    paragraph.type = "heading";
    paragraph.level = found[1][0] === "=" ? 1 : 2;
    paragraph.text = paragraph.lines.join("\n").trimEnd();
    this.#touch();
    this.#leaf = null;
    return true;
  }

  /** A line that divides columns makes a table's head of the paragraph's last line. */
  #toTable(rest) {
    const paragraph = this.#leaf;
    const head = paragraph.lines.at(-1);
    const divider = rest.trim();
    if (paragraph.isLazy || !(head + divider).includes("|") || !DIVIDER.test(divider)) return false;
    const titles = cells(head);
    const marks = cells(divider);
    if (titles.length !== marks.length) return false;
    paragraph.lines.pop();
    if (paragraph.lines.length) paragraph.last -= 1;
    else this.#tip.children.pop();
    this.#place({ type: "table", titles, alignments: marks.map(alignment), rows: [] }, true);
    this.#leaf.line = this.#number - 1;
    return true;
  }

  /** The rest of a line in which no block begins. */
  #addText(rest) {
    const text = rest.trimStart();
    const leaf = this.#leaf;
    if (!text) {
      this.#end();
      this.#leaf = null;
      const quote = this.#containers.findLastIndex((one) => one.type === "quote");
      this.#touch(quote + 1); // outside of it, its mark makes the line no blank one
    } else if (leaf?.type === "paragraph") {
      leaf.lines.push(text);
      leaf.isLazy = !this.#allMatched; // its containers' marks are missing
      this.#touch();
    } else if (leaf?.type === "table" && this.#allMatched && cells(text).length) {
      const row = cells(text);
      leaf.rows.push(leaf.titles.map((_, column) => row[column] ?? ""));
      this.#touch();
    } else {
      this.#place({ type: "paragraph", lines: [text] }, true);
    }
  }

  /** Ends the containers that do not go on. */
  #end() {
    if (this.#allMatched) return;
    this.#containers.length = this.#matched;
    this.#leaf = null;
  }

  #place(block, takesText = false) {
    this.#end();
    if (this.#tip.type === "list" && block.type !== "item") {
      this.#containers.pop();
      this.#matched -= 1;
    }
    block.line = block.noticed = block.last = this.#number;
    this.#tip.children.push(block);
    this.#leaf = null;
    this.#touch();
    if (takesText) this.#leaf = block;
  }

  #enter() {
    this.#containers.push(this.#tip.children.at(-1));
    this.#matched = this.#containers.length;
  }

  /** Notes that the line belongs to what is open, or to so many of the containers. */
  #touch(count = this.#containers.length) {
    for (const container of this.#containers.slice(0, count)) container.last = this.#number;
    if (this.#leaf) this.#leaf.last = this.#number;
  }
}

/** What a line has inside a container that it goes on with, else null. */
function continued(container, rest) {
  if (container.type === "list") return rest; // its items tell
  if (container.type === "quote") {
    const found = QUOTE.exec(rest);
    return found && expandTabs(rest.slice(found[0].length));
  }
  if (rest.search(/[^ ]|$/) >= container.width) return rest.slice(container.width);
  return !rest.trim() && container.children.length ? "" : null;
}

function closesFence(code, rest) {
  const closing = rest.trim();
  return closing.length >= code.fence.length && indentOf(rest) < 4 && closing === code.fence[0].repeat(closing.length);
}

/** The text of a heading without the number signs that may close it. */
function headingText(rest) {
  const text = rest.trim();
  let end = text.length;
  while (end > 0 && text[end - 1] === "#") end -= 1;
  return end === 0 || /[ \t]/.test(text[end - 1]) ? text.slice(0, end).trimEnd() : text;
}

/** The cells of a table's row. */
function cells(row) {
  const text = row.trim();
  if (text === "|") return [];
  const found = [""];
  for (let index = text[0] === "|" ? 1 : 0; index < text.length; index += 1) {
    if (text[index] === "|") {
      found.push("");
    } else if (text[index] === "\\" && index + 1 < text.length) {
      index += 1;
      found[found.length - 1] += text[index] === "|" ? "|" : `\\${text[index]}`;
    } else {
      found[found.length - 1] += text[index];
    }
  }
  if (found.length > 1 && !found.at(-1).trim()) found.pop();
  return found.map((cell) => cell.trim());
}

function alignment(mark) {
  const end = mark.endsWith(":");
  if (mark.startsWith(":")) return end ? "center" : "left";
  return end ? "right" : "";
}

/** Spaces at the beginning; -1 for a line of nothing else. */
function indentOf(line) {
  return line.search(/[^ ]/);
}

function withoutIndent(line, most) {
  const indent = indentOf(line);
  return line.slice(Math.min(most, indent < 0 ? line.length : indent));
}

/** The line with its leading tabs as spaces, four columns apart. */
function expandTabs(line) {
  if (!/^ *\t/.test(line)) return line;
  let index = 0;
  let width = 0;
  for (; line[index] === " " || line[index] === "\t"; index += 1) width += line[index] === " " ? 1 : 4 - (width % 4);
  return " ".repeat(width) + line.slice(index);
}
