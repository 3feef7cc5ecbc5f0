/** Elements and words. Strings only ever become text nodes or attributes: nothing here reads HTML. */

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; strings among the children are shown as they are. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A button that does something. */
export function button(words, action, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, words);
  made.addEventListener("click", action);
  return made;
}

const number = new Intl.NumberFormat("en-GB");

/** 12,345 */
export const whole = (count) => number.format(count);

/** "1 text", "12,345 texts" */
export const counted = (count, thing) => `${whole(count)} ${thing}${count === 1 ? "" : "s"}`;

/** A probability in percent; what is not quite certain is never shown as certain. */
export function percent(probability) {
  if (probability > 0.999 && probability < 1) return "> 99.9\u00a0%";
  if (probability > 0 && probability < 0.001) return "< 0.1\u00a0%";
  return `${(100 * probability).toFixed(1)}\u00a0%`;
}

/** Characters as the server counts them: an emoji is one, though JavaScript's length says two. */
export function characters(text) {
  let count = text.length;
  for (const _ of text.matchAll(/[\ud800-\udbff][\udc00-\udfff]/g)) count -= 1;
  return count;
}

/** A message that began with a small letter and without a full stop, as a sentence. */
export const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}`.replace(/[^.!?…]$/, "$&.");
