// Keeps the end of a growing answer in sight, unless the reader has gone up to read.

const NEAR = 48; // pixels from the end that still count as being there

export class Follower {
  #area;
  #button;
  #follows = true;
  #last = 0; // where the area was last seen

  /** `button` takes the reader back to the end. */
  constructor(area, button) {
    this.#area = area;
    this.#button = button;
    area.addEventListener("scroll", () => this.#look(), { passive: true });
    area.addEventListener("load", () => this.keep(), true); // pictures have no size before
    button.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.keep()).observe(area);
  }

  /** Something has grown. */
  keep() {
    if (this.#follows) this.#area.scrollTop = this.#area.scrollHeight;
    this.#look();
  }

  toEnd() {
    this.#follows = true;
    this.keep();
  }

  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.#area;
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.#follows = true;
    else if (scrollTop < this.#last) this.#follows = false; // only a reader goes up
    this.#last = scrollTop;
    this.#button.hidden = this.#follows;
  }
}
