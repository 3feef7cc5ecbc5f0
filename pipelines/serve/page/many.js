/** Many texts at once: classify, watch, cancel, look, download. */

import { Bars } from "./bars.js";
import { classifyAll } from "./batches.js";
import { writeCsv } from "./csv.js";
import { byId, counted, element, percent, sentence, whole } from "./dom.js";
import { Away, served, server } from "./server.js";
import { source, startSource } from "./source.js";

const SHOWN = 100; // rows of the table; the download has them all

const shares = new Bars(byId("shares"));
let running = null; // AbortController
let done = null; // { source, results, model }

/** Connect the view. */
export function startMany() {
  startSource(offer);
  server.addEventListener("model", offer);
  byId("many-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) classify();
  });
  byId("cancel").addEventListener("click", () => running?.abort());
  byId("download").addEventListener("click", download);
}

function offer() {
  const { length } = source().texts;
  byId("classify").disabled = !served.model || !length || running !== null;
  byId("classify").textContent = length ? `Classify ${counted(length, "text")}` : "Classify";
}

async function classify() {
  const wanted = source();
  done = { source: wanted, results: new Array(wanted.texts.length).fill(null) };
  begin(wanted.texts.length);
  let why = "";
  try {
    const told = progress(wanted.texts.length);
    const onAnswer = (place, result) => { done.results[place] = result; told(); };
    await classifyAll(wanted.texts, { signal: running.signal, onAnswer, onWait });
  } catch (error) {
    why = running.signal.aborted ? "Cancelled." : sentence(error.message);
  }
  end(why);
}

function begin(count) {
  running = new AbortController();
  byId("many-problem").textContent = "";
  byId("results").hidden = true;
  byId("running").hidden = byId("cancel").hidden = false;
  byId("progress").max = count;
  byId("progress").value = 0;
  byId("progress-words").textContent = "";
  byId("cancel").focus();
  offer();
}

/** Called after each answer; says how far it is and, once that can be known, how long it will take. */
function progress(count) {
  const start = performance.now();
  let answered = 0;
  return () => {
    answered += 1;
    const seconds = (performance.now() - start) / 1000;
    const left = Math.ceil((seconds / answered) * (count - answered));
    byId("progress").value = answered;
    byId("progress-words").textContent = `${whole(answered)} of ${whole(count)}${seconds > 2 && left ? ` · about ${left} s left` : ""}`;
  };
}

function onWait(error) {
  byId("progress-words").textContent = error instanceof Away
    ? "The server does not answer. Trying again …"
    : `${sentence(error.message)} Trying again …`;
}

function end(why) {
  const hadFocus = document.activeElement === byId("cancel");
  running = null;
  byId("running").hidden = byId("cancel").hidden = true;
  byId("many-problem").textContent = why;
  offer();
  const answered = done.results.filter((result) => result?.prediction);
  if (done.results.some((result) => result)) showResults(answered);
  if (hadFocus) (byId("results").hidden ? byId("classify") : byId("results-title")).focus();
}

function showResults(answered) {
  const problems = done.results.filter((result) => result?.problem).length;
  const missing = done.results.length - answered.length - problems;
  const said = [
    problems && `${counted(problems, "text")} could not be classified: the download says why.`,
    missing && `${counted(missing, "text")} not classified yet.`,
    done.results.length > SHOWN && `Here are the first ${SHOWN} rows, the download has them all.`,
  ].filter(Boolean);
  byId("results").hidden = false;
  byId("results-title").textContent = `${counted(answered.length, "text")} classified`;
  byId("results-note").textContent = said.join(" ");
  byId("many-spoken").textContent = `${byId("results-title").textContent}. ${said.join(" ")}`;
  showShares(answered);
  byId("rows").replaceChildren(...done.results.slice(0, SHOWN).map(tableRow));
}

function showShares(answered) {
  const counts = Object.fromEntries(served.model.labels.map((label) => [label, 0]));
  for (const { prediction } of answered) counts[prediction.label] = (counts[prediction.label] ?? 0) + 1;
  const parts = Object.fromEntries(Object.entries(counts).map(([label, count]) => [label, count / (answered.length || 1)]));
  const first = Object.keys(counts).reduce((best, label) => (counts[label] > counts[best] ? label : best));
  shares.show(parts, { first, words: (part, label) => `${whole(counts[label])} · ${percent(part)}` });
}

function tableRow(result, place) {
  const { texts, numbers } = done.source;
  const cells = result?.prediction
    ? [element("td", {}, result.prediction.label), element("td", {}, percent(result.prediction.probability))]
    : [element("td", { class: "quiet", colspan: "2" }, result?.problem ?? "not yet")];
  return element("tr", {}, element("td", { class: "quiet" }, whole(numbers[place])),
    element("td", { class: "text" }, element("span", {}, texts[place])), ...cells);
}

/** All rows as they came, and behind them what the model says. */
function download() {
  const url = URL.createObjectURL(new Blob([writeCsv(resultTable(done))], { type: "text/csv;charset=utf-8" }));
  const link = element("a", { href: url, download: "results.csv" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function resultTable({ source: { names, rows }, results }) {
  const labels = Object.keys(results.find((result) => result?.prediction)?.prediction.probabilities ?? {});
  const added = ["label", "probability", ...labels.map((label) => `probability of ${label}`), "model", "problem"];
  const head = [...names, ...added.map((name) => (names.includes(name) ? `predicted ${name}` : name))];
  return [head, ...rows.map((row, place) => [...row, ...resultCells(results[place], labels)])];
}

function resultCells(result, labels) {
  if (!result?.prediction) return ["", "", ...labels.map(() => ""), "", result?.problem ?? "not classified"];
  const { prediction: { label, probability, probabilities, truncated }, model } = result;
  const remark = truncated ? "longer than the model reads" : "";
  return [label, probability, ...labels.map((one) => probabilities[one]), `${model.name}/${model.version}`, remark];
}
