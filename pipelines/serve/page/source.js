/** Where many texts come from: pasted lines, or a column of a CSV file. */

import { byId, counted, element, whole } from "./dom.js";
import { CsvError, readCsv } from "./csv.js";

const LARGEST = 20 * 1024 ** 2; // bytes; larger files are for `hpo predict --file`
const LIKELY = /^(text|sentence|review|comment|message|content|body|tweet)s?$/i;
const PREVIEWED = 3;

let table = null; // { name, rows } of the file that was taken

/** Connect the inputs; `onChange` is called with each new source. */
export function startSource(onChange) {
  byId("lines").addEventListener("input", onChange);
  for (const id of ["column", "header"]) byId(id).addEventListener("change", () => { describe(); onChange(); });
  byId("file").addEventListener("change", async ({ target }) => {
    if (target.files.length) await take(target.files[0]);
    target.value = "";
    onChange();
  });
  byId("file-remove").addEventListener("click", () => { leave(); onChange(); byId("lines").focus(); });
  letDrop(byId("many"), async (file) => { await take(file); onChange(); });
}

/** What is to be classified: `texts`, and the table they stand in as `names` and `rows`. */
export function source() {
  if (!table) {
    const texts = byId("lines").value.split(/\r\n|\n|\r/).filter((line) => line.trim());
    return { texts, names: ["text"], rows: texts.map((text) => [text]), numbers: texts.map((_, place) => place + 1) };
  }
  const hasHeader = byId("header").checked;
  const rows = hasHeader ? table.rows.slice(1) : table.rows;
  const column = Number(byId("column").value);
  return { texts: rows.map((row) => row[column]), names: names(), rows, numbers: rows.map((_, place) => place + 1 + Number(hasHeader)) };
}

const names = () => table.rows[0].map((name, place) => (byId("header").checked ? name : `column ${place + 1}`));

async function take(file) {
  leave();
  try {
    table = { name: file.name, rows: await read(file) };
  } catch (error) {
    byId("many-problem").textContent = `${file.name} was not taken: ${error.message}.`;
    return;
  }
  byId("header").checked = true;
  describe(likelyColumn());
  byId("paste").hidden = byId("drop").hidden = true;
  byId("table").hidden = false;
  byId("file-name").textContent = file.name;
}

async function read(file) {
  if (file.size > LARGEST) throw new CsvError(`it is larger than ${whole(LARGEST / 1024 ** 2)} MiB; \`hpo predict --file\` takes files of any size`);
  let content;
  try {
    content = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new CsvError("it is not UTF-8; save it as “CSV UTF-8” and take it again");
  }
  const rows = readCsv(content);
  if (!rows.length) throw new CsvError("it is empty");
  return rows;
}

function leave() {
  table = null;
  byId("many-problem").textContent = "";
  byId("paste").hidden = byId("drop").hidden = false;
  byId("table").hidden = true;
}

/** Say what the file holds, with the texts of a column. */
function describe(column = byId("column").value) {
  const named = (name, place) => element("option", { value: String(place) }, name || `column ${place + 1}`);
  byId("column").replaceChildren(...names().map(named));
  byId("column").value = String(column);
  const { rows, texts } = source();
  byId("file-size").textContent = `${counted(rows.length, "row")}, ${counted(names().length, "column")}`;
  byId("preview").replaceChildren(...texts.slice(0, PREVIEWED).map((text) => element("li", {}, text)));
}

/** A column with a telling name, else the one with the longest cells. */
function likelyColumn() {
  const named = names().findIndex((name) => LIKELY.test(name.trim()));
  if (named >= 0) return named;
  const lengths = names().map((_, column) => table.rows.slice(1, 50).reduce((sum, row) => sum + row[column].length, 0));
  return lengths.indexOf(Math.max(...lengths));
}

function letDrop(place, onFile) {
  let depth = 0; // each child that the pointer enters sends its own events
  const over = (change) => (event) => {
    event.preventDefault();
    depth = Math.max(0, depth + change);
    byId("drop").classList.toggle("over", depth > 0);
  };
  place.addEventListener("dragenter", over(+1));
  place.addEventListener("dragleave", over(-1));
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    over(-depth)(event);
    if (event.dataTransfer.files.length) onFile(event.dataTransfer.files[0]);
  });
}
