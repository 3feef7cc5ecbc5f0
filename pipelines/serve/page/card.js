/**
 * A model card's Markdown as elements: headings, paragraphs, lists, tables, code, emphasis. Everything else is text,
 * links and HTML included: a card is written from other people's names and words.
 */

import { element } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^\s{0,3}(?:([-*+])|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^\s*\|?(?:\s*:?-+:?\s*\|)+\s*(?::?-+:?\s*)?$/;
const INLINE = /\\([!-/:-@[-`{-~])|&(amp|lt|gt|quot);|(`+)(.+?)\3(?!`)|\*\*(?=\S)(.+?)\*\*|(?<![\w*])([*_])(?=\S)(.+?)\6(?!\w)/gs;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"' };

/** Elements for a Markdown text; its highest heading becomes an h3. */
export function renderCard(markdown) {
  const lines = markdown.replace(/\r\n?/g, "\n").replace(/^---\n[\s\S]*?\n---(?:\n|$)/, "").split("\n");
  const blocks = [];
  while (lines.length) {
    if (!lines[0].trim()) lines.shift();
    else blocks.push(nextBlock(lines));
  }
  return blocks;
}

/** The element of the block that begins with the first line; takes its lines away. */
function nextBlock(lines) {
  if (FENCE.test(lines[0])) return code(lines);
  if (HEADING.test(lines[0])) return heading(lines.shift());
  if (isTable(lines)) return table(lines);
  if (ITEM.test(lines[0])) return list(lines);
  return element("p", {}, ...inline(takeWhile(lines, (line) => line.trim() && !beginsOther(line)).join("\n")));
}

const beginsOther = (line) => FENCE.test(line) || HEADING.test(line) || ITEM.test(line);
const isTable = (lines) => lines[0].includes("|") && RULE.test(lines[1] ?? "");

/** At least one line, whatever `fits` says of it: so every block makes the text shorter. */
function takeWhile(lines, fits) {
  const taken = [lines.shift()];
  while (lines.length && fits(lines[0])) taken.push(lines.shift());
  return taken;
}

function code(lines) {
  const [, fence] = FENCE.exec(lines.shift());
  const end = lines.findIndex((line) => line.trim().startsWith(fence));
  const content = lines.splice(0, end < 0 ? lines.length : end + 1);
  if (end >= 0) content.pop();
  return element("pre", { tabindex: "0" }, element("code", {}, content.join("\n")));
}

function heading(line) {
  const [, marks, words] = HEADING.exec(line);
  return element(`h${Math.min(6, marks.length + 2)}`, {}, ...inline(words));
}

function list(lines) {
  const isNumbered = ITEM.exec(lines[0])[1] === undefined;
  const items = [];
  for (const line of takeWhile(lines, (next) => ITEM.test(next) || /^\s{2,}\S/.test(next))) {
    if (ITEM.test(line)) items.push(ITEM.exec(line)[2]);
    else items.push(`${items.pop()}\n${line.trim()}`);
  }
  return element(isNumbered ? "ol" : "ul", {}, ...items.map((item) => element("li", {}, ...inline(item))));
}

function table(lines) {
  const [head, , ...body] = takeWhile(lines, (line) => line.includes("|") && line.trim()).map(cells);
  const row = (tag, values, scope) => element("tr", {}, ...values.map((value) => element(tag, scope, ...inline(value))));
  const shown = element("table", {},
    element("thead", {}, row("th", head, { scope: "col" })), element("tbody", {}, ...body.map((values) => row("td", values))));
  return element("div", { class: "wide", role: "region", "aria-label": "Table", tabindex: "0" }, shown);
}

function cells(line) {
  const within = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return [...`${within}|`.matchAll(/((?:\\.|[^\\|])*)\|/g)].map(([, cell]) => cell.trim());
}

function inline(text) {
  const parts = [];
  let place = 0;
  for (const found of text.matchAll(INLINE)) {
    parts.push(text.slice(place, found.index), marked(found));
    place = found.index + found[0].length;
  }
  return [...parts, text.slice(place)].filter((part) => part !== "");
}

function marked([, escaped, entity, , code_, strong, , emphasis]) {
  if (escaped) return escaped;
  if (entity) return ENTITIES[entity];
  if (code_) return element("code", {}, code_);
  return strong ? element("strong", {}, ...inline(strong)) : element("em", {}, ...inline(emphasis));
}
