/** Many texts: cut into requests that the server takes, sent one after the other, with every text's own fate. */

import { characters } from "./dom.js";
import { predict, Refused, served } from "./server.js";

const MARGIN = 64; // bytes of a request's body around its texts

/**
 * Classify texts in their order, with `how` as `{ signal, onAnswer, onWait }`. Calls `onAnswer(place, result)` once for
 * each text, where a result is `{ prediction, model }`, or `{ problem }` for a text that cannot be classified, and
 * `onWait(error)` while the server is busy or away. Throws an AbortError once `signal` says so.
 */
export async function classifyAll(texts, how) {
  const askable = [];
  texts.forEach((text, place) => {
    const problem = fault(text);
    if (problem) how.onAnswer(place, { problem });
    else askable.push(place);
  });
  for (const places of chunks(askable, texts)) await classifyChunk(places, texts, how);
}

function fault(text) {
  const { limits } = served.model;
  if (!text.trim()) return "blank";
  if (text.includes("\0")) return "has a NUL character";
  if (characters(text) > limits.characters) return `longer than ${limits.characters} characters`;
  return null;
}

/** Lists of places whose texts fit into one request. */
export function* chunks(places, texts) {
  const { texts: most, body_bytes: room } = served.model.limits;
  let chunk = [];
  let bytes = MARGIN;
  for (const place of places) {
    const size = new Blob([JSON.stringify(texts[place])]).size + 1;
    if (chunk.length && (chunk.length >= most || bytes + size > room)) {
      yield chunk;
      [chunk, bytes] = [[], MARGIN];
    }
    chunk.push(place);
    bytes += size;
  }
  if (chunk.length) yield chunk;
}

/** One refused text must not cost the others their answer: it is taken out, or looked for by halves. */
async function classifyChunk(places, texts, how) {
  try {
    const { predictions, model } = await predict({ texts: places.map((place) => texts[place]) }, how);
    places.forEach((place, number) => how.onAnswer(place, { prediction: predictions[number], model }));
  } catch (error) {
    const bad = Number(/^texts\[(\d+)\]/.exec(error.where ?? "")?.[1] ?? NaN);
    if (!(error instanceof Refused) || (!(bad < places.length) && error.status < 500)) throw error;
    if (places.length === 1) how.onAnswer(places[0], { problem: error.message });
    else for (const part of parts(places, bad)) await classifyChunk(part, texts, how);
  }
}

function parts(places, bad) {
  if (bad < places.length) return [[places[bad]], places.toSpliced(bad, 1)];
  const half = places.length >> 1;
  return [places.slice(0, half), places.slice(half)];
}
