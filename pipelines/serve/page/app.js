/** Starts the page: which model answers, which view is shown, the token, and what is said when the server is away. */

import { byId, sentence } from "./dom.js";
import { startMany } from "./many.js";
import { startModel } from "./model.js";
import { Away, letAskForToken, loadModel, served, server } from "./server.js";
import { startTrying } from "./try.js";

const VIEWS = ["try", "many", "model"];

/** The view that the address names; an unknown one changes nothing. */
function showView(event) {
  const named = location.hash.slice(1);
  const view = VIEWS.includes(named) ? named : null;
  if (!view && event) return;
  for (const one of VIEWS) byId(one).hidden = one !== (view ?? "try");
  for (const link of document.querySelectorAll(".views a")) {
    if (link.hash === `#${view ?? "try"}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (event) byId(`${view}-title`).focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** One line above everything, with a button where there is something to do about it. */
function showBanner(words, action = null) {
  byId("banner").hidden = !words;
  byId("banner-text").textContent = words;
  byId("banner-button").hidden = !action;
  if (!action) return;
  byId("banner-button").textContent = action.words;
  byId("banner-button").onclick = action.act;
}

function introduce() {
  const { name, version, alias, labels, reports, notice } = served.model;
  document.title = `${name}: text classifier`;
  byId("name").textContent = name;
  byId("about").textContent = [`version ${version}`, alias, labels.length > 4 ? `${labels.length} labels` : labels.join(" or ")].filter(Boolean).join(" · ");
  byId("unless").hidden = !reports;
  byId("notice").hidden = !notice;
  byId("notice").textContent = notice ? sentence(notice) : "";
}

const goOn = () => server.dispatchEvent(new Event("now"));

let isAway = false;
let isLoading = false;

function showAway() {
  if (isAway) return;
  isAway = true;
  showBanner("The server does not answer. What you wrote is kept, and this page tries again by itself.", { words: "Try now", act: goOn });
  load(); // it might be that nobody else asks
}

function showBack() {
  if (!isAway) return;
  isAway = false;
  showBanner("");
}

/** Ask for the model until it is there; without a token there is none. */
async function load() {
  if (isLoading) return;
  if (!served.model) byId("name").textContent = "Loading the model …";
  isLoading = true;
  try {
    await loadModel((error) => {
      if (error instanceof Away) return;
      if (!served.model) byId("name").textContent = "No model yet";
      showBanner(`${sentence(error.message)} Trying again …`, { words: "Try now", act: goOn });
    });
    showBanner("");
  } catch (error) {
    if (!served.model) byId("name").textContent = "Not available";
    const action = error.status === 401 ? { words: "Enter the token", act: load } : { words: "Try again", act: load };
    showBanner(sentence(error.message), action);
  } finally {
    isLoading = false;
  }
}

/** The dialogue for a token: what was typed, or null. */
function askForToken(wasWrong) {
  const dialog = byId("token-dialog");
  byId("token").value = "";
  byId("token-problem").textContent = wasWrong ? "That token was not accepted." : "";
  dialog.showModal();
  return new Promise((resolve) => {
    let given = null;
    byId("token-form").onsubmit = (event) => {
      event.preventDefault();
      given = byId("token").value.trim();
      // A request's header holds nothing else.
      if (/^[\x21-\x7e]+$/.test(given)) dialog.close();
      else byId("token-problem").textContent = "A token has letters, digits and signs of the ASCII set only.";
    };
    byId("token-cancel").onclick = () => { given = null; dialog.close(); };
    dialog.oncancel = () => { given = null; };
    dialog.onclose = () => resolve(given);
  });
}

letAskForToken(askForToken);
server.addEventListener("model", introduce);
server.addEventListener("away", showAway);
server.addEventListener("back", showBack);
addEventListener("online", goOn);
addEventListener("hashchange", showView);
showView();
startTrying();
startMany();
startModel();
load();
