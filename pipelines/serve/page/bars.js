/** Shares of one, as bars. */

import { button, element, percent } from "./dom.js";

const MANY = 8; // more labels than that: the largest come first, and the others wait behind a button

/** A list of bars that keeps its rows between updates, so that they grow and shrink instead of jumping. */
export class Bars {
  #rows = new Map();
  #showsAll = false;
  #more = button("", () => this.#showAll(), { class: "quiet-button more" });

  constructor(list) {
    this.list = list;
  }

  /** Show a share of each label; `words` says it (percent by default), `first` is set off. */
  show(shares, { first = null, words = percent } = {}) {
    let entries = Object.entries(shares);
    if (entries.length > MANY) entries = entries.toSorted((one, other) => other[1] - one[1]);
    const rows = entries.map(([label, share]) => this.#row(label, share, { first, words }));
    if (rows.length !== this.list.children.length || rows.some((row, place) => row !== this.list.children[place])) {
      this.list.replaceChildren(...rows);
    }
    this.#fold(rows);
  }

  #row(label, share, { first, words }) {
    if (!this.#rows.has(label)) this.#rows.set(label, newRow(label));
    const row = this.#rows.get(label);
    row.classList.toggle("first", label === first);
    row.querySelector(".fill").style.setProperty("--share", String(share));
    row.querySelector(".value").textContent = words(share, label);
    return row;
  }

  #fold(rows) {
    const folds = rows.length > MANY && !this.#showsAll;
    rows.forEach((row, place) => { row.hidden = folds && place >= MANY; });
    this.#more.textContent = `Show all ${rows.length} labels`;
    if (folds) this.list.after(this.#more);
    else this.#more.remove();
  }

  #showAll() {
    this.#showsAll = true;
    this.#fold([...this.list.children]);
  }
}

function newRow(label) {
  const track = element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "fill" }));
  return element("li", {}, element("span", { class: "label" }, label), track, element("span", { class: "value" }));
}
