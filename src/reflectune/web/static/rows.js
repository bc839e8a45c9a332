// Compare: search, filter and sort the rows of a run, look at one, decide about it; by mouse or by keys.
import { api, element, say, text } from "/static/base.js";
import { PAGE, asked, at, draw, fill, index, offer, ranged } from "/static/rows_list.js";
import { number, path } from "/static/runs_shared.js";

const $ = (name) => document.getElementById(name);
const name = $("rows").dataset.name;
const state = { critiques: true, offset: 0, rows: [], total: 0, current: null, place: -1, asking: null, revision: -1, marks: true };

async function list({ keep = false, around = null } = {}) {
  if (!keep) state.offset = 0;
  state.asking?.abort();
  const asking = state.asking = new AbortController();
  const query = asked();
  $("lines").setAttribute("aria-busy", "true");
  const more = new URLSearchParams(query);
  more.set("offset", state.offset);
  more.set("limit", PAGE);
  if (around !== null) more.set("around", around);
  try {
    const found = await api(`${at}/rows?${more}`, undefined, { signal: asking.signal });
    Object.assign(state, { rows: found.rows.map((line) => line.position), total: found.total, offset: found.offset });
    draw(found, query, state.offset);
    mark();
    if (found.index.revision !== state.revision) {
      state.revision = found.index.revision;
      offer(await api(`${at}/facets`));
    }
    if (found.index.working) setTimeout(soon, 1000);
    return found;
  } catch (problem) {
    if (problem.name !== "AbortError") throw problem;
  } finally {
    if (state.asking === asking) $("lines").removeAttribute("aria-busy");
  }
}

/** While the index is being made the list is brought up to date now and then. */
async function soon() {
  if (document.hidden) { setTimeout(soon, 1000); return; }
  if (!$("list").hidden) { await list({ keep: true }).catch(() => {}); return; }
  const found = await api(`${at}/rows?limit=1`).catch(() => null);
  if (!found) return;
  index(found.index);
  if (found.index.working) setTimeout(soon, 1000);
  else await placed();
}

/** Find the row that is shown in the list. */
async function placed() {
  await list({ around: state.current }).catch(() => {});
  state.place = state.rows.indexOf(state.current);
  told();
}

function mark() {
  for (const line of document.querySelectorAll("#lines tr")) line.classList.toggle("at", Number(line.dataset.position) === state.current);
}

function address(position) {
  const query = asked();
  return path(name, `/rows${position === null ? "" : `/${position}`}${query.size ? `?${query}` : ""}`);
}

async function open(position, { push = true } = {}) {
  const response = await fetch(path(name, `/rows/${position}/part`), { headers: { Accept: "text/html" } });
  if (!response.ok) { say(text("rows.gone")); return; }
  const made = new DOMParser().parseFromString(await response.text(), "text/html"); // its template escapes every text
  $("part").replaceChildren(...document.importNode(made.body, true).childNodes);
  Object.assign(state, { current: position, place: state.rows.indexOf(position) });
  $("list").hidden = true;
  $("one").hidden = false;
  $("marks").checked = state.marks;
  $("part").classList.toggle("unmarked", !state.marks);
  foldAll(state.critiques);
  told();
  if (push) history.pushState(null, "", address(position));
  scrollTo(0, 0);
}

/** Whether an edit was begun that is not saved. */
function unsaved() {
  const form = $("edit");
  return Boolean(form) && !form.hidden && [...form.querySelectorAll("textarea")].some((field) => field.value !== field.defaultValue);
}

/** Close the edit; asks first where it would be lost. Returns whether it is closed. */
function leave() {
  if (unsaved() && !confirm(text("rows.leave"))) return false;
  if ($("edit")) { $("edit").hidden = true; $("edit").reset(); }
  return true;
}

function told() {
  const found = state.place >= 0;
  $("place").textContent = found ? text("rows.of", { place: number(state.offset + state.place + 1), total: number(state.total) }) : "";
  $("previous").disabled = !found || state.offset + state.place <= 0;
  $("next").disabled = !found || state.offset + state.place + 1 >= state.total;
}

function back({ push = true } = {}) {
  if (push && !leave()) return;
  $("one").hidden = true;
  $("list").hidden = false;
  if (push) history.pushState(null, "", address(null));
  const line = document.querySelector(`#lines tr[data-position="${state.current}"]`);
  mark();
  line?.scrollIntoView({ block: "nearest" });
  line?.querySelector("a").focus({ preventScroll: true });
  list({ keep: true }).catch(() => {});
}

/** Go some rows on; from one page of the list to the next where need be. */
async function step(by) {
  if ($("one").hidden) {
    const place = Math.min(Math.max(state.rows.indexOf(state.current) + by, 0), state.rows.length - 1);
    state.current = state.rows[place] ?? null;
    mark();
    document.querySelector("#lines tr.at")?.scrollIntoView({ block: "nearest" });
    return;
  }
  let place = state.place + by;
  if (state.place < 0 || state.offset + place < 0 || state.offset + place >= state.total || !leave()) return;
  if (place < 0 || place >= state.rows.length) {
    state.offset += by * PAGE;
    await list({ keep: true });
    place = by > 0 ? 0 : state.rows.length - 1;
  }
  if (state.rows[place] !== undefined) await open(state.rows[place]);
}

async function decide(verdict, version = null) {
  const shown = document.querySelector("#part .one");
  if (!shown) return;
  const body = { verdict, version, note: $("note").value, seen: shown.dataset.hash || null };
  try {
    await api(`${at}/rows/${shown.dataset.position}/decision`, body);
    say(text(`rows.said_${verdict}`));
    state.revision = -1;
    await open(Number(shown.dataset.position), { push: false });
  } catch { /* it was said */ }
}

function press(verdict) {
  const button = document.querySelector(`#part [data-verdict="${verdict}"]`);
  if (!button || button.disabled) return;
  if (verdict === "edit") {
    $("edit").hidden = false;
    $("edit").elements.response.focus();
    return;
  }
  if (leave()) decide(verdict);
}

function unmark() {
  state.marks = !state.marks;
  $("marks").checked = state.marks;
  $("part").classList.toggle("unmarked", !state.marks);
}

function foldAll(open) {
  state.critiques = open;
  for (const critique of document.querySelectorAll("#part details.critique")) critique.open = open;
}

const save = () => {
  const { instruction, input, response } = $("edit").elements;
  return decide("edit", { instruction: instruction.value, input: input.value, response: response.value });
};

async function whole(button) {
  const side = button.closest("[data-side]").dataset.side;
  const field = button.dataset.more;
  const query = new URLSearchParams({ version: side, field });
  const found = await api(`${at}/rows/${state.current}/text?${query}`);
  const place = button.previousElementSibling;
  place.replaceChildren(found.text);
  button.remove();
}

$("part").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.verdict) press(button.dataset.verdict);
  else if (button.id === "cancel") leave();
  else if (button.dataset.copy) navigator.clipboard.writeText(button.dataset.copy).then(() => say(text("rows.copied")), () => {});
  else if (button.dataset.more) whole(button).catch(() => {});
  else if (button.role === "tab" || button.getAttribute("role") === "tab") {
    for (const tab of document.querySelectorAll("#part [role=tab]")) tab.setAttribute("aria-selected", String(tab === button));
    for (const side of document.querySelectorAll("#part .side")) side.classList.toggle("current", side.dataset.side === button.dataset.side);
  }
});
$("part").addEventListener("change", (event) => { if (event.target.id === "marks") unmark(); });
$("part").addEventListener("submit", (event) => { event.preventDefault(); save(); });
$("part").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest("#edit")) save();
});

$("lines").addEventListener("click", (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  const line = event.target.closest("tr");
  if (!line) return;
  event.preventDefault();
  open(Number(line.dataset.position)).catch(() => {});
});
$("head").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const same = $("sort").value === button.dataset.sort;
  $("order").value = same && $("order").value === "asc" ? "desc" : "asc";
  $("sort").value = button.dataset.sort;
  changed();
});

function changed() {
  ranged();
  history.replaceState(null, "", address(null));
  list().catch(() => {});
}

let typing = 0;
$("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(changed, 100); });
$("ask").addEventListener("change", (event) => { if (event.target !== $("search")) changed(); });
$("ask").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); changed(); });
$("clear").addEventListener("click", () => setTimeout(changed)); // once the form is empty
$("earlier").addEventListener("click", () => { state.offset = Math.max(0, state.offset - PAGE); list({ keep: true }).then(() => scrollTo(0, 0)); });
$("later").addEventListener("click", () => { state.offset += PAGE; list({ keep: true }).then(() => scrollTo(0, 0)); });
$("back").addEventListener("click", () => back());
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", () => $("help").showModal());

const KEYS = {
  j: () => step(1), k: () => step(-1), a: () => press("accept"), r: () => press("reject"), e: () => press("edit"), u: () => press("undo"),
  d: () => { if (!$("one").hidden) unmark(); },
  c: () => { if (!$("one").hidden) foldAll(!state.critiques); },
  "/": () => { if ($("list").hidden) back(); if ($("list").hidden) return; $("search").focus(); $("search").select(); },
  "?": () => $("help").showModal(),
  Enter: () => { if (!$("list").hidden && state.current !== null) open(state.current); },
  Escape: () => { if (!$("one").hidden) back(); },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || event.isComposing) return;
  const writes = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (writes) {
    if (event.key === "Escape") { if (!writes.closest("#edit") || leave()) writes.blur(); }
    return;
  }
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  const what = KEYS[event.key];
  if (!what) return;
  event.preventDefault();
  what();
});

addEventListener("beforeunload", (event) => { if (unsaved()) event.preventDefault(); });

addEventListener("popstate", async () => {
  if (!leave()) { history.pushState(null, "", address(state.current)); return; }
  fill(new URLSearchParams(location.search));
  const found = location.pathname.match(/\/rows\/(\d+)$/);
  if (found) await open(Number(found[1]), { push: false });
  else back({ push: false });
});

fill(new URLSearchParams(location.search));
const position = $("rows").dataset.position;
if (position !== "") {
  $("list").hidden = true;
  $("one").hidden = false;
  state.current = Number(position);
  await Promise.all([placed(), open(state.current, { push: false })]);
  state.place = state.rows.indexOf(state.current);
  told();
} else {
  await list().catch(() => {});
}
