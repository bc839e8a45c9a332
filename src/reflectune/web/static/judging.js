// Judge blind: show a pair, take a verdict by key or button, show the next one.

import { api, element, say, text } from "/static/base.js";

const place = (id) => document.getElementById(id);
const KEYS = { 1: "left", ArrowLeft: "left", 2: "tie", t: "tie", 3: "right", ArrowRight: "right" };

let current = null;
let busy = false;
let ended = false;

function answer(id, words) {
  const box = place(id);
  box.replaceChildren(words.trim() ? words : element("span", { class: "empty" }, text("judging.empty")));
}

function show(state) {
  current = state.pair;
  place("bar").max = Math.max(state.total, 1);
  place("bar").value = state.done;
  place("far").textContent = text("judging.progress", { done: state.done, total: state.total });
  place("skipped").textContent = state.skipped ? text("judging.skipped", { count: state.skipped }) : "";
  place("pair").hidden = !current;
  place("all-done").hidden = Boolean(current) || ended;
  place("finished").hidden = !ended;
  for (const button of document.querySelectorAll("[data-said], #skip")) button.disabled = !current;
  place("undo").disabled = ended || !state.done;
  place("finish").disabled = ended;
  if (!current) return;
  place("before").replaceChildren(
    ...current.before.map((turn) =>
      element("div", { class: "turn text", dir: "auto" }, element("b", {}, text(`judging.${turn.role}`)), turn.content),
    ),
  );
  place("instruction").textContent = current.instruction;
  place("given").hidden = !current.input.trim();
  place("input").textContent = current.input;
  answer("left", current.left);
  answer("right", current.right);
  scrollTo({ top: 0 });
}

async function ask(path, body) {
  if (busy || ended) return null;
  busy = true;
  try {
    return await api(`/judging/${path}`, body);
  } catch {
    return null;
  } finally {
    busy = false;
  }
}

async function judge(said) {
  const state = current && (await ask("say", { number: current.number, said }));
  if (state) show(state);
}

async function skip() {
  const state = current && (await ask("skip", { number: current.number }));
  if (state) show(state);
}

async function undo() {
  const state = place("undo").disabled ? null : await ask("undo", {});
  if (!state) return say(text("judging.nothing_to_undo"));
  show(state);
  return say(text("judging.undone"));
}

async function finish() {
  const state = await ask("finish", {});
  if (!state) return;
  ended = true;
  show(state);
}

for (const button of document.querySelectorAll("[data-said]")) {
  button.addEventListener("click", () => judge(button.dataset.said));
}
place("skip").addEventListener("click", skip);
place("undo").addEventListener("click", undo);
place("finish").addEventListener("click", finish);

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  const said = KEYS[event.key];
  const key = event.key.toLowerCase();
  if (said) {
    event.preventDefault();
    judge(said);
  } else if (key === "u") undo();
  else if (key === "s") skip();
});

api("/judging/state").then(show, () => {});
