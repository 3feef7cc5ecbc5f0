/** One model's answer to one text: label, probabilities, what each word does, and a way to say that it is wrong. */

import { Bars } from "./bars.js";
import { button, counted, element, percent } from "./dom.js";
import { ask, served } from "./server.js";

const NOTHING = 0.005; // half a point of probability: smaller effects are not shown

/** A card that stays while the answers in it change. */
export class AnswerCard {
  #label = element("p", { class: "label" });
  #probability = element("p", { class: "probability" });
  #bars = new Bars(element("ul", { class: "bars", "aria-label": "Probability of each label" }));
  #notes = element("div", { class: "notes" });
  #influence = element("div", { class: "influence" });
  #report = element("div", { class: "report" });

  constructor(title, { mayReport }) {
    this.mayReport = mayReport;
    this.title = element("p", { class: "kicker" }, title);
    const head = element("div", { class: "answer-head" }, this.#label, this.#probability);
    this.root = element("article", { class: "card answer", "aria-label": title || "Answer" },
      this.title, head, this.#bars.list, this.#notes, this.#influence, this.#report);
    this.title.hidden = !title;
  }

  /** The old answer stays legible while a new one is on its way. */
  wait() {
    this.root.setAttribute("aria-busy", "true");
  }

  /** Show what is predicted of a text; what its words do stays as it was until `explain`. */
  show(text, prediction) {
    this.root.removeAttribute("aria-busy");
    this.#label.textContent = prediction.label;
    this.#probability.textContent = percent(prediction.probability);
    this.#bars.show(prediction.probabilities, { first: prediction.label });
    this.#notes.replaceChildren(...notes(prediction));
    if (this.mayReport && served.model.reports) this.#report.replaceChildren(...reporting(text, prediction));
  }

  /** The text, until its words have been measured. */
  explainLater(text) {
    this.#influence.replaceChildren(influenceTitle(), element("p", { class: "words pending" }, text));
  }

  /** Show what each word does; null: it could not be measured. */
  explain(text, influence) {
    const shown = influence
      ? [words(text, influence.words), ...legend(text, influence)]
      : [element("p", { class: "quiet" }, "Not available for this text just now.")];
    this.#influence.replaceChildren(influenceTitle(), ...shown);
  }
}

function notes(prediction) {
  const said = [];
  if (prediction.truncated) said.push(`The text is longer than the ${served.model.max_length} tokens that the model reads: the rest did not count.`);
  if (!served.model.calibrated) said.push("This model’s probabilities are not calibrated.");
  return said.map((words) => element("p", { class: "quiet" }, words));
}

const influenceTitle = () => element("h3", {}, "What the words do");

/** The text with each word marked by its effect: colour, kind of underline, and signed points below it. */
function words(text, effects) {
  const shown = element("p", { class: "words" });
  const largest = Math.max(...effects.map(({ effect }) => Math.abs(effect)), NOTHING);
  let place = 0;
  for (const { start, end, effect } of effects) {
    shown.append(text.slice(place, start), word(text.slice(start, end), effect, Math.abs(effect) / largest));
    place = end;
  }
  shown.append(text.slice(place));
  return shown;
}

function word(letters, effect, strength) {
  if (Math.abs(effect) < NOTHING) return element("span", { class: "word" }, letters);
  const marked = element("span", { class: `word ${effect > 0 ? "for" : "against"}` }, element("span", { class: "letters" }, letters));
  marked.style.setProperty("--strength", strength.toFixed(3));
  marked.append(element("span", { class: "points" }, points(effect)));
  return marked;
}

const magnitude = (effect) => Math.max(1, Math.round(100 * Math.abs(effect)));
const points = (effect) => `${effect > 0 ? "+" : "−"}${magnitude(effect)}`;

function legend(text, { label, words: effects }) {
  const rest = text.slice(effects.at(-1)?.end ?? 0);
  const said = [`leave-one-out: how the probability changes without the word. ${exampleOf(text, effects)}`];
  if (/[\p{L}\p{N}]/u.test(rest)) said.push(`Measured for the first ${effects.length} words.`);
  const key = element("p", { class: "legend" }, keyOf("for", "+", `speaks for ${label}`), keyOf("against", "−", "speaks against it"));
  return [key, ...said.map((words) => element("p", { class: "quiet" }, words))];
}

const keyOf = (kind, sign, meaning) =>
  element("span", { class: "entry" }, element("span", { class: `key ${kind}` }, element("span", { class: "letters" }, sign)), ` ${meaning}`);

/** What a figure means, said of the strongest word. */
function exampleOf(text, effects) {
  const strongest = effects.reduce((best, one) => (Math.abs(one.effect) > Math.abs(best.effect) ? one : best), { effect: 0 });
  if (Math.abs(strongest.effect) < NOTHING) return "No single word changes it by half a point.";
  const change = `${strongest.effect > 0 ? "falls" : "rises"} by ${counted(magnitude(strongest.effect), "point")}`;
  return `Without “${text.slice(strongest.start, strongest.end)}” it ${change}.`;
}

/** A button, and behind it a choice of the right label. */
function reporting(text, { label: predicted }) {
  const labels = served.model.labels.filter((label) => label !== predicted);
  const said = element("p", { class: "quiet", role: "status" });
  const choice = element("div", { class: "choices", role: "group", "aria-label": "What it should have been", hidden: "" },
    element("p", { class: "quiet" }, "It should be:"),
    ...labels.map((label) => button(label, () => send(label), { class: "chip" })));
  const wrong = button("Wrong?", () => {
    choice.hidden = !choice.hidden;
    wrong.setAttribute("aria-expanded", String(!choice.hidden));
    if (!choice.hidden) choice.querySelector("button")?.focus();
  }, { class: "quiet-button", "aria-expanded": "false" });

  async function send(label) {
    try {
      await ask("/v1/reports", { body: { text, predicted, label } });
      choice.remove();
      wrong.remove();
      said.textContent = `Thank you. The text was kept as an example of ${label}.`;
    } catch (error) {
      said.textContent = `This could not be kept: ${error.message}.`;
    }
  }
  return [wrong, choice, said];
}
