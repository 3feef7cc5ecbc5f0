/** Type and see: the answers follow the text, and those to older texts are dropped. */

import { AnswerCard } from "./answer.js";
import { Bars } from "./bars.js";
import { button, byId, characters, counted, element, percent, sentence, whole } from "./dom.js";
import { Away, pause, predict, served, server } from "./server.js";

const DEBOUNCE = 0.2; // seconds
const LATE = 400; // ms; if the words' influence takes longer, the words are shown without it
const EXAMPLES = [
  "one of the year’s best films",
  "a dull, lifeless two hours",
  "The plot is thin, but what a performance!",
  "I wanted to like it more than I did",
];

const box = byId("text");
let cards = new Map(); // alias (undefined: the served model) -> AnswerCard
let latest = new AbortController();

/** Connect the view; answers begin once the model is known. */
export function startTrying() {
  byId("examples").append(...EXAMPLES.map((text) => element("li", {}, button(text, () => take(text), { class: "chip" }))));
  box.addEventListener("input", answer);
  byId("compare").addEventListener("change", () => { seatModels(); answer(); });
  server.addEventListener("model", () => { seatModels(); answer(); });
  showEmpty();
}

function take(text) {
  box.value = text;
  answer();
}

/** A card for each model that is asked. The examples are for models of sentiment alone. */
function seatModels() {
  const { alias, challenger, labels, version } = served.model;
  byId("proposals").hidden = !labels.some((label) => /^(pos|good)/i.test(label));
  const hasRival = challenger !== null && challenger.version !== version;
  byId("compare-choice").hidden = !hasRival;
  if (!hasRival) byId("compare").checked = false;
  else byId("compare-words").textContent = `Compare with the challenger, version ${challenger.version}`;
  const compares = byId("compare").checked;
  const servedAs = alias ?? "served model";
  cards = new Map([[undefined, new AnswerCard(compares ? `${servedAs} · version ${version}` : "", { mayReport: true })]]);
  if (compares) cards.set("challenger", new AnswerCard(`challenger · version ${challenger.version}`, { mayReport: false }));
  byId("desk").classList.toggle("compares", compares);
  showEmpty();
}

function showEmpty() {
  byId("verdict").hidden = true;
  const labels = new Bars(element("ul", { class: "bars", "aria-label": "Labels" }));
  labels.show(Object.fromEntries((served.model?.labels ?? []).map((label) => [label, 0])), { words: () => "" });
  byId("answers").replaceChildren(element("div", { class: "card empty" },
    element("p", {}, "The answer appears here while you write: label, probabilities, and what each word does."), labels.list));
}

async function answer() {
  latest.abort();
  latest = new AbortController();
  const { signal } = latest;
  const text = box.value;
  if (!looksFine(text) || !served.model) return;
  try {
    await pause(DEBOUNCE, signal);
    for (const card of cards.values()) card.wait();
    await classify(text, signal);
    await Promise.all([...cards].map(([alias, card]) => explain(text, { alias, card, signal })));
  } catch (error) {
    if (!signal.aborted) complain(error.message);
  }
}

/** Whether the text can be asked about; says so where it cannot. */
function looksFine(text) {
  const limit = served.model?.limits.characters ?? Infinity;
  const count = characters(text);
  const isTooLong = count > limit;
  byId("text-count").textContent = count && served.model ? `${whole(count)} of ${whole(limit)} characters` : "";
  byId("text-problem").textContent = isTooLong ? `That is ${counted(count - limit, "character")} too many for one text.` : "";
  box.setAttribute("aria-invalid", String(isTooLong));
  if (!text.trim()) showEmpty();
  return text.trim() !== "" && !isTooLong;
}

/** All models' labels and probabilities, shown at once. */
async function classify(text, signal) {
  const answers = await Promise.all([...cards.keys()].map((alias) => predict({ text, alias }, { signal, onWait })));
  const predictions = answers.map((answer) => answer.predictions[0]);
  byId("text-problem").textContent = "";
  [...cards.values()].forEach((card, place) => card.show(text, predictions[place]));
  const roots = [...cards.values()].map((card) => card.root);
  if (!roots[0].isConnected) byId("answers").replaceChildren(...roots);
  conclude(predictions);
}

/** The words come after the label: measuring them takes a pass of the model for each. */
async function explain(text, { alias, card, signal }) {
  const isLate = setTimeout(() => card.explainLater(text), LATE);
  try {
    const answer = await predict({ text, alias, influence: true }, { signal });
    card.explain(text, answer.predictions[0].influence);
  } catch (error) {
    if (!signal.aborted) card.explain(text, null);
  } finally {
    clearTimeout(isLate);
  }
}

function conclude(predictions) {
  const spoken = predictions.map(({ label, probability }) => `${label}, ${percent(probability)}`);
  if (predictions.length === 1) byId("spoken").textContent = spoken[0];
  else compare(predictions, spoken);
}

function compare([champion, challenger], [first, second]) {
  const name = served.model.alias ?? "served model";
  const agree = champion.label === challenger.label;
  const verdict = byId("verdict");
  verdict.hidden = false;
  verdict.classList.toggle("disagree", !agree);
  verdict.textContent = agree
    ? `Both say ${champion.label}.`
    : `They disagree: the ${name} says ${champion.label}, the challenger ${challenger.label}.`;
  byId("spoken").textContent = `${verdict.textContent} The ${name}: ${first}. The challenger: ${second}.`;
}

function onWait(error) {
  if (!(error instanceof Away)) complain(`${sentence(error.message)} Trying again …`);
}

function complain(words) {
  byId("text-problem").textContent = sentence(words);
  for (const { root } of cards.values()) root.removeAttribute("aria-busy");
}
