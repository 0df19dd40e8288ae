// Light or dark: as the system has it, or as chosen here. Loaded first, so that no page flashes in the other colours.

import { recall, remember } from "./kept.js";

const NAME = "qwill.theme";
const CHOICES = ["system", "light", "dark"];

/** The choice: system, light or dark. */
export function theme() {
  const kept = recall(NAME);
  return CHOICES.includes(kept) ? kept : CHOICES[0];
}

/** Takes the next choice. */
export function changeTheme() {
  remember(NAME, CHOICES[(CHOICES.indexOf(theme()) + 1) % CHOICES.length]);
  apply();
}

function apply() {
  document.documentElement.dataset.theme = theme();
}

apply();
