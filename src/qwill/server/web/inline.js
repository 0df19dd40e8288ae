// The inline structure of Markdown: a text becomes a flat list of tokens.
//
// Tokens have one of: `text`; `code`; `formula`; `isBreak`; `open`, the name of an element that encloses what follows
// up to the `close` that belongs to it (with `href` and `title` for links); `address` and `text` for a link that is
// written out. Emphasis follows CommonMark, and also works beside Chinese, Japanese and Korean letters, between which
// there are no spaces.

const PLAIN = /[^\\`*_~[\]!<&\n$h]+/y;
const ASCII_PUNCTUATION = /[!-/:-@[-`{-~]/;
const ESCAPED = /\\([!-/:-@[-`{-~])/g;
const ENTITY = /&(?:(amp|lt|gt|quot|apos|nbsp)|#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6}));/;
const ENTITY_HERE = new RegExp(ENTITY.source, "y");
const ENTITIES = new RegExp(ENTITY.source, "g");
const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const IN_ANGLES = /<(?:([a-z][a-z0-9+.-]{1,31}:[^\s<>]*)|([^\s<>@]+@[^\s<>@.]+\.[^\s<>@]+))>/iy;
const LINE_BREAK = /<br[ \t]*\/?>/iy;
const BARE_ADDRESS = /https?:\/\/[^\s<>"`|\u3000-\u303f\uff00-\uffef]+/iy;
const DOLLARS = /\$(?![\s$])(?:[^$\\\n]|\\[^\n])+\$(?!\d)/y;
const TITLE = /"((?:[^"\\]|\\[^])*)"|'((?:[^'\\]|\\[^])*)'|\(((?:[^()\\]|\\[^])*)\)/y;
const SPACE = /\s/;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;
const LONGEST_ADDRESS = 4096;
const MOST_PARENTHESES = 32; // open at a time in an address
const PROTOCOLS = ["http:", "https:", "mailto:"];

/** The tokens of a text. */
export function parseInline(text) {
  return new InlineParser(text).tokens();
}

/** The address of a link in its normal form; null for all that is not surely harmless. */
export function safeAddress(text) {
  let address;
  try {
    address = new URL(text);
  } catch {
    return null;
  }
  return PROTOCOLS.includes(address.protocol) ? address.href : null;
}

class InlineParser {
  #text;
  #at = 0;
  #parts = []; // tokens, runs of delimiters, brackets
  #runs = [];
  #brackets = [];
  #missing = new Set(); // what does not come any more; searching again for it would take too long
  #fences = null; // by their lengths: where runs of backticks begin, the next one last

  constructor(text) {
    this.#text = text;
  }

  tokens() {
    const readers = {
      "\\": this.#escape, "`": this.#code, "*": this.#run, "_": this.#run, "~": this.#run, "[": this.#bracket,
      "!": this.#bracket, "]": this.#link, "<": this.#angle, "&": this.#entity, "\n": this.#break, $: this.#dollars,
      h: this.#bareAddress,
    };
    while (this.#at < this.#text.length) {
      if (!readers[this.#text[this.#at]]?.call(this)) this.#plain();
    }
    this.#pair(0);
    return this.#parts.flatMap(partTokens);
  }

  #plain() {
    const found = this.#match(PLAIN);
    this.#add({ text: found ? found[0] : this.#text[this.#at] }, found ? found[0].length : 1);
  }

  #escape() {
    const next = this.#text[this.#at + 1];
    if (next === "\n") return this.#break(2);
    if (next === "(" || next === "[") {
      const end = this.#find(next === "(" ? "\\)" : "\\]", this.#at + 2);
      if (end >= 0) return this.#add({ formula: this.#text.slice(this.#at, end + 2) }, end + 2 - this.#at);
    }
    return next !== undefined && ASCII_PUNCTUATION.test(next) && this.#add({ text: next }, 2);
  }

  #code() {
    const length = this.#lengthOf("`");
    this.#fences ??= backticks(this.#text);
    const places = this.#fences.get(length) ?? [];
    while (places.at(-1) <= this.#at) places.pop();
    const end = places.at(-1);
    if (end === undefined) return this.#add({ text: "`".repeat(length) }, length);
    let code = this.#text.slice(this.#at + length, end).replaceAll("\n", " ");
    if (code.startsWith(" ") && code.endsWith(" ") && code.trim()) code = code.slice(1, -1);
    return this.#add({ code }, end + length - this.#at);
  }

  /** A run of delimiters, which may open or close emphasis. */
  #run() {
    const char = this.#text[this.#at];
    const size = this.#lengthOf(char);
    if (char === "~" && size !== 2) return this.#add({ text: char.repeat(size) }, size);
    const before = characterBefore(this.#text, this.#at);
    const after = characterAt(this.#text, this.#at + size);
    const [markBefore, markAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
    const isSpace = (one) => !one || SPACE.test(one);
    const left = !isSpace(after) && (!markAfter || isSpace(before) || markBefore || CJK.test(before));
    const right = !isSpace(before) && (!markBefore || isSpace(after) || markAfter || CJK.test(after));
    const isWordly = char === "_"; // underscores inside words are letters
    const run = {
      char, size, count: size, opens: [], closes: [], order: this.#runs.length,
      mayOpen: left && (!isWordly || !right || markBefore), mayClose: right && (!isWordly || !left || markAfter),
    };
    this.#runs.push(run);
    return this.#add(run, size);
  }

  #bracket() {
    const isImage = this.#text[this.#at] === "!";
    if (isImage && this.#text[this.#at + 1] !== "[") return false;
    const mark = isImage ? "![" : "[";
    const bracket = { bracket: mark, link: null, runs: this.#runs.length, parts: this.#parts.length + 1 };
    this.#brackets.push(bracket);
    return this.#add(bracket, mark.length);
  }

  /** A closing bracket: the end of a link's text if a harmless address follows. Pictures are links to them. */
  #link() {
    const opener = this.#brackets.pop();
    const target = opener ? this.#target(this.#at + 1) : null;
    if (!target) return this.#add({ text: "]" }, 1);
    this.#pair(opener.runs);
    opener.link = target;
    if (this.#parts.length === opener.parts) this.#add({ text: target.href }, 0);
    if (opener.bracket === "[") this.#brackets.length = 0; // no link encloses another
    return this.#add({ close: true }, target.end - this.#at);
  }

  /** The address and title in parentheses at `at`; null unless they are complete and safe. */
  #target(at) {
    const text = this.#text;
    const skip = (from) => {
      let to = from;
      while (to < text.length && SPACE.test(text[to])) to += 1;
      return to;
    };
    if (text[at] !== "(") return null;
    const start = skip(at + 1);
    let end = start;
    let address;
    if (text[start] === "<") {
      end = this.#find(">", start);
      address = text.slice(start + 1, end);
      if (end < 0 || address.includes("\n")) return null;
      end += 1;
    } else {
      end = endOfAddress(text, start);
      address = text.slice(start, end);
    }
    let next = skip(end);
    TITLE.lastIndex = next;
    const found = next > end ? TITLE.exec(text) : null;
    if (found) next = skip(next + found[0].length);
    const href = safeAddress(plainText(address));
    if (text[next] !== ")" || href === null) return null;
    return { href, title: plainText(found?.[1] ?? found?.[2] ?? found?.[3] ?? ""), end: next + 1 };
  }

  #angle() {
    const found = this.#match(LINE_BREAK);
    if (found) return this.#add({ isBreak: true }, found[0].length);
    const written = this.#match(IN_ANGLES);
    const address = written && safeAddress(written[1] ?? `mailto:${written[2]}`);
    return address ? this.#add({ address, text: written[0].slice(1, -1) }, written[0].length) : false;
  }

  #bareAddress() {
    if (/\w/.test(this.#text[this.#at - 1] ?? "")) return false;
    const found = this.#match(BARE_ADDRESS);
    const text = found && withoutTrailing(found[0]);
    const address = text && safeAddress(text);
    return address ? this.#add({ address, text }, text.length) : false;
  }

  #entity() {
    const found = this.#match(ENTITY_HERE);
    return found ? this.#add({ text: decoded(...found) }, found[0].length) : false;
  }

  #break(length = 1) {
    const last = this.#parts.at(-1);
    if (last?.text !== undefined) last.text = last.text.replace(/(?<! ) +$/, "");
    return this.#add({ isBreak: true }, length);
  }

  #dollars() {
    const isDisplayed = this.#text[this.#at + 1] === "$";
    const end = isDisplayed ? this.#find("$$", this.#at + 2) : -1;
    if (isDisplayed && end < 0) return this.#add({ text: "$$" }, 2);
    const formula = isDisplayed ? this.#text.slice(this.#at, end + 2) : this.#match(DOLLARS)?.[0];
    return formula && !/\s\$$/.test(formula.slice(-2)) ? this.#add({ formula }, formula.length) : false;
  }

  /** Finds what belongs together among the runs from `first` on, and forgets them. */
  #pair(first) {
    const openers = [];
    const barren = new Map(); // for each kind of closer: before which run nothing opens for it
    for (const run of this.#runs.slice(first)) {
      if (run.mayClose) closeRuns(run, openers, barren);
      if (run.mayOpen && run.count > 0) openers.push(run);
    }
    this.#runs.length = first;
  }

  #add(part, length) {
    this.#parts.push(part);
    this.#at += length;
    return true;
  }

  #match(pattern) {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#text);
  }

  #find(what, from) {
    const found = this.#missing.has(what) ? -1 : this.#text.indexOf(what, from);
    if (found < 0) this.#missing.add(what);
    return found;
  }

  #lengthOf(char) {
    let end = this.#at;
    while (this.#text[end] === char) end += 1;
    return end - this.#at;
  }
}

/** Marks the openers that a run closes, innermost first; those between stay text. */
function closeRuns(closer, openers, barren) {
  const kind = `${closer.char}${closer.mayOpen}${closer.size % 3}`;
  while (closer.count > 0) {
    let index = openers.length - 1;
    while (index >= 0 && openers[index].order >= (barren.get(kind) ?? 0) && !fit(openers[index], closer)) index -= 1;
    if (index < 0 || !fit(openers[index], closer)) {
      barren.set(kind, closer.order);
      return;
    }
    const opener = openers[index];
    const used = Math.min(2, opener.count, closer.count);
    const name = closer.char === "~" ? "del" : used === 2 ? "strong" : "em";
    openers.length = index + 1;
    opener.opens.push({ open: name });
    closer.closes.push({ close: true });
    opener.count -= used;
    closer.count -= used;
    if (opener.count === 0) openers.pop();
  }
}

/** CommonMark's rules 9 and 10: whether one run opens what the other closes. */
function fit(opener, closer) {
  if (opener.char !== closer.char) return false;
  if (!opener.mayClose && !closer.mayOpen) return true;
  return (opener.size + closer.size) % 3 !== 0 || (opener.size % 3 === 0 && closer.size % 3 === 0);
}

function partTokens(part) {
  if (part.closes) return [...part.closes, { text: part.char.repeat(part.count) }, ...part.opens.reverse()];
  if (!part.bracket) return [part];
  return part.link ? [{ open: "a", href: part.link.href, title: part.link.title }] : [{ text: part.bracket }];
}

function backticks(text) {
  const places = new Map();
  for (const found of text.matchAll(/`+/g)) {
    const length = found[0].length;
    if (!places.has(length)) places.set(length, []);
    places.get(length).push(found.index);
  }
  for (const found of places.values()) found.reverse();
  return places;
}

/** Where an address without angle brackets ends: at white space, or at a parenthesis that it did not open. */
function endOfAddress(text, start) {
  let depth = 0;
  let at = start;
  for (; at < text.length && at - start < LONGEST_ADDRESS && depth < MOST_PARENTHESES; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (SPACE.test(text[at])) break;
    else if (text[at] === "(") depth += 1;
    else if (text[at] === ")" && depth-- === 0) break;
  }
  return at;
}

/** A written address without the punctuation of the sentence around it. */
function withoutTrailing(text) {
  let end = text.length;
  let closing = text.split(")").length - text.split("(").length; // parentheses that are closed, but not opened
  for (; end > 0; end -= 1) {
    const last = text[end - 1];
    if (last === ")" && closing > 0) closing -= 1;
    else if (!"?!.,:;*_~'\"]}".includes(last)) break;
  }
  return text.slice(0, end);
}

function plainText(text) {
  return text.replace(ESCAPED, "$1").replace(ENTITIES, decoded);
}

function decoded(_, name, decimal, hexadecimal) {
  if (name) return NAMED[name];
  const code = decimal ? parseInt(decimal, 10) : parseInt(hexadecimal, 16);
  const isCharacter = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return String.fromCodePoint(isCharacter ? code : 0xfffd);
}

function characterAt(text, at) {
  return at < text.length ? String.fromCodePoint(text.codePointAt(at)) : "";
}

function characterBefore(text, at) {
  const isPair = at > 1 && /[\udc00-\udfff]/.test(text[at - 1]);
  return at > 0 ? text.slice(isPair ? at - 2 : at - 1, at) : "";
}
