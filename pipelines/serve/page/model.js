/** What the model is and how good: facts, scores on locked rows, card. */

import { renderCard } from "./card.js";
import { byId, element, whole } from "./dom.js";
import { served, server } from "./server.js";

/** Show the model whenever it is new. */
export function startModel() {
  server.addEventListener("model", () => {
    byId("facts").replaceChildren(...facts(served.model));
    byId("scores").replaceChildren(...scores(served.model));
    byId("card").replaceChildren(...renderCard(served.model.card));
  });
}

function facts(model) {
  const rows = {
    version: [model.version, model.alias].filter(Boolean).join(", "),
    labels: model.labels.join(", "),
    "base model": model.base_model,
    study: model.study,
    "reads at most": `${whole(model.max_length)} tokens of a text`,
    probabilities: model.calibrated ? "calibrated" : "not calibrated",
    runtime: model.runtime,
  };
  const known = Object.entries(rows).filter(([, value]) => value);
  return known.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
}

function scores({ scores: mine, challenger, version }) {
  const theirs = challenger?.scores ?? {};
  const all = [...new Set([...Object.keys(mine), ...Object.keys(theirs)])];
  if (!all.length) return [element("p", { class: "quiet" }, "No scores on locked test rows are known of this version.")];
  const [overall, byClass] = [all.filter((name) => !name.includes(".")), all.filter((name) => name.includes("."))];
  const heads = challenger ? [`version ${version}`, `challenger, version ${challenger.version}`] : [`version ${version}`];
  const columns = challenger ? [mine, theirs] : [mine];
  const title = element("h3", {}, "Scores");
  const lead = element("p", { class: "lead" }, "On test rows that were locked until the model had been chosen.");
  const more = byClass.length && element("details", {}, element("summary", {}, "By class"), scoreTable(byClass, heads, columns));
  return [title, lead, scoreTable(overall, heads, columns), more].filter(Boolean);
}

function scoreTable(names, heads, columns) {
  const head = element("tr", {}, ...["score", ...heads].map((name) => element("th", { scope: "col" }, name)));
  const rows = names.map((name) => element("tr", {}, element("th", { scope: "row" }, name.replaceAll("_", " ")), ...columns.map((column) => score(column[name]))));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
  return element("div", { class: "wide", role: "region", "aria-label": "Scores", tabindex: "0" }, table);
}

function score(known) {
  if (!known) return element("td", {}, "–");
  const { value, low, high } = known;
  const hasInterval = typeof low === "number" && typeof high === "number";
  return element("td", {}, digits(value), ...(hasInterval ? [element("small", {}, `${digits(low)} to ${digits(high)}`)] : []));
}

const digits = (value) => (Number.isInteger(value) ? whole(value) : value.toFixed(3));
