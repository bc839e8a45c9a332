// The list of runs, live.
import { element, text } from "/static/base.js";
import { bar, chips, dollars, every, foreign, number, path, progress } from "/static/runs_shared.js";

const place = document.getElementById("runs");

const spent = (run) => text("runs.took", { cost: dollars(run.cost), tokens: number(run.prompt_tokens + run.completion_tokens) });

/** A folder of another command, which has no rows to look at. */
function other(run) {
  const told = [element("p", {}, text(`runs.kind_${run.kind}`))];
  if (run.requests) told.push(element("p", { class: "muted" }, spent(run)));
  if (run.evaluated) told.push(element("p", { class: "row links" }, element("a", { href: "/evaluation" }, text("runs.to_evaluation"))));
  return element("article", { class: "card run" }, element("h2", {}, foreign(run.name)), ...told);
}

function card(run) {
  if (!run.error && run.kind !== "rows") return other(run);
  const name = element("h2", {}, element("a", { href: path(run.name) }, foreign(run.name)));
  if (run.error) return element("article", { class: "card run" }, name, element("p", { class: "bad" }, foreign(run.error)));
  const drawn = element("div", { class: "bar", role: "img", "aria-label": progress(run) }, bar(run));
  const origin = [run.data, run.oracle].filter(Boolean).map((words) => foreign(words));
  const from = element("span", { class: "muted" }, ...(origin.length === 2 ? [origin[0], " · ", origin[1]] : origin));
  return element("article", { class: "card run" },
    element("div", { class: "row" }, name, element("span", { class: "row" }, ...chips(run))),
    from, drawn,
    element("p", { class: "row" }, progress(run), element("span", { class: "muted" }, spent(run))),
    element("p", { class: "row links" }, element("a", { href: path(run.name, "/rows") }, text("runs.look"))));
}

let before = "";
function draw(runs) {
  const now = JSON.stringify(runs);
  if (now === before) return;
  before = now;
  const focused = document.activeElement?.getAttribute("href");
  place.replaceChildren(...runs.map(card));
  if (focused) place.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  document.getElementById("none").hidden = runs.length > 0;
}

draw(JSON.parse(place.dataset.runs));
every(2, async () => {
  const response = await fetch("/api/runs");
  if (response.ok) draw(await response.json());
});
