// Small values that the browser remembers: in this window ("sessionStorage") or for good ("localStorage"). Where it
// keeps none for this page, they last as long as the page.

const fallback = new Map();

/** What was remembered under a name; null for nothing. */
export function recall(name, where = "localStorage") {
  try {
    return window[where].getItem(name);
  } catch {
    return fallback.get(where + name) ?? null;
  }
}

/** Remembers a text; null forgets it. */
export function remember(name, text, where = "localStorage") {
  try {
    if (text === null) window[where].removeItem(name);
    else window[where].setItem(name, text);
  } catch {
    fallback.set(where + name, text);
  }
}
