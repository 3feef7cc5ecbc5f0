/** The HTTP service: questions, refusals, tokens, and patience with a server that is busy or away. */

const SLOWEST = 30_000; // ms; the server gives up earlier itself
const WAITS = [1, 2, 4, 8, 15]; // seconds between attempts, where the server does not say how long
const STORED_TOKEN = "hpo-token";

/** "model": `served.model` is new. "away", "back": the server does not answer, and does again. "now": do not wait. */
export const server = new EventTarget();

/** What `/v1/model` said last. */
export const served = { model: null };

const tell = (type) => server.dispatchEvent(new Event(type));

/** The server said no: `status`, `code`, `where`, and `wait` in seconds where it said when to come back. */
export class Refused extends Error {
  constructor(status, error, wait) {
    super(error?.message ?? `the server answered ${status}`);
    Object.assign(this, { status, code: error?.code ?? "unknown", where: error?.where ?? null, wait });
  }

  /** Whether the same question may be answered later: the server says when, and it was not the question's fault. */
  get isBusy() {
    return [429, 503].includes(this.status) && this.wait !== null && this.code !== "no_answer_in_time";
  }
}

/** There was no answer at all. */
export class Away extends Error {
  constructor() {
    super("The server does not answer");
  }
}

let askForToken = async () => null;
let asking = null;

/** Say who asks the user for a token: called with whether the last one was wrong, gives a token, or null. */
export function letAskForToken(ask) {
  askForToken = ask;
}

// Storage may be forbidden; then a token lasts as long as the page.
let token = null;
try { token = sessionStorage.getItem(STORED_TOKEN); } catch { /* see above */ }

/** The answer to one request, as JSON. Throws `Refused`, `Away`, or an AbortError once `signal` says so. */
export async function ask(path, { body, signal } = {}) {
  for (;;) {
    const used = token;
    const response = await reach(path, { body, signal, used });
    if (response.ok) return await response.json();
    const error = await refusal(response);
    if (error.status !== 401 || !(await haveToken(used))) throw error;
  }
}

async function reach(path, { body, signal, used }) {
  const headers = { Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  if (used) headers.Authorization = `Bearer ${used}`;
  const limit = AbortSignal.timeout(SLOWEST);
  try {
    const response = await fetch(path, {
      method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers, cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    tell("back");
    return response;
  } catch (error) {
    if (signal?.aborted) throw error;
    tell("away");
    throw new Away();
  }
}

async function refusal(response) {
  const wait = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  const told = await response.json().catch(() => null);
  if (!told && response.status >= 502) return new Away(); // a proxy says so, not the server
  return new Refused(response.status, told?.error, Number.isFinite(wait) ? wait : null);
}

/** Whether there is another token to try than the one that was refused; one dialogue for all who wait. */
async function haveToken(refused) {
  if (token !== refused) return true;
  asking ??= askForToken(refused !== null).finally(() => { asking = null; });
  const given = await asking;
  if (given === null) return false;
  token = given;
  try { sessionStorage.setItem(STORED_TOKEN, given); } catch { /* see above */ }
  return true;
}

/** Sleep, unless told to go on at once; throws once `signal` says so. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const end = (settle) => () => {
      clearTimeout(timer);
      server.removeEventListener("now", go);
      signal?.removeEventListener("abort", stop);
      settle(signal?.reason);
    };
    const go = end(resolve);
    const stop = end(reject);
    const timer = setTimeout(go, 1000 * seconds);
    server.addEventListener("now", go);
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
  });
}

/** Ask until there is an answer, as long as the server is only busy or away; `onWait` gets each such error. */
export async function patiently(path, { body, signal, onWait = () => {} } = {}) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await ask(path, { body, signal });
    } catch (error) {
      if (!(error instanceof Away) && !error.isBusy) throw error;
      onWait(error);
      await pause(error.wait ?? WAITS[Math.min(attempt, WAITS.length - 1)], signal);
    }
  }
}

/** Learn which model is served; also when an answer shows that it has changed. */
export async function loadModel(onWait) {
  served.model = await patiently("/v1/model", { onWait });
  tell("model");
}

/** `/v1/predict`, patiently. */
export async function predict(body, { signal, onWait }) {
  const answer = await patiently("/v1/predict", { body, signal, onWait });
  const changed = body.alias ? served.model.challenger?.version : served.model.version;
  if (answer.model.version !== changed) loadModel().catch(() => {});
  return answer;
}
