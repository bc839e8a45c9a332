// One run, live: how far it is, what it cost, why rows failed; try them again, fetch the data.
import { api, element, say, text } from "/static/base.js";
import { bar, bytes, chips, dollars, every, figures, foreign, number, path, progress } from "/static/runs_shared.js";
import { visible } from "/static/visible.js";

const $ = (name) => document.getElementById(name);
const name = $("run").dataset.name;
const at = `/api/runs/${encodeURIComponent(name)}`;

function stages(run) {
  const list = [[text("runs.stage_recycle"), run.done + run.failed ? progress(run) : text("runs.not_yet")]];
  list.push([text("runs.stage_score"), run.scored ? text("runs.scored", { count: number(run.scored), student: run.student ?? "?" }) : text("runs.not_yet")]);
  const chosen = run.selected;
  list.push([text("runs.stage_select"), chosen ? text("runs.selected", { kept: number(chosen.kept), dropped: number(chosen.dropped), rule: chosen.rule }) : text("runs.not_yet")]);
  const marked = Object.entries(run.marked).map(([gate, count]) => `${gate} ${number(count)}${run.dropped.includes(gate) ? ` (${text("runs.left_out")})` : ""}`);
  list.push([text("runs.gates"), marked.join(", ") || text("runs.no_marks")]);
  $("stages").replaceChildren(...list.map(([what, came]) => element("li", {}, element("span", {}, what), foreign(came))));
}

function failures(run) {
  const reasons = Object.entries(run.reasons).sort((one, other) => other[1] - one[1]);
  $("retry").hidden = !reasons.length;
  $("no-failures").hidden = reasons.length > 0;
  const chosen = new Set([...document.querySelectorAll("#reasons input:checked")].map((box) => box.value));
  $("reasons").replaceChildren(...reasons.map(([reason, count], place) => element("tr", {},
    element("td", {}, element("input", { type: "checkbox", value: reason, id: `reason-${place}`, checked: chosen.has(reason) })),
    element("td", {}, element("label", { for: `reason-${place}` }, foreign(reason))),
    element("td", { class: "figure" }, number(count)),
    element("td", {}, element("a", { href: path(name, `/rows?status=failed&reason=${encodeURIComponent(reason)}`) }, text("runs.look"))))));
  const busy = run.worker !== null || Boolean(run.job?.working);
  $("again").disabled = busy;
  $("retry-hint").textContent = busy ? text("runs.retry_busy") : text("runs.retry_hint");
  $("write").disabled = busy;
}

function job(run) {
  $("job").hidden = !run.job;
  if (!run.job) return;
  $("job-name").textContent = text(`runs.job_${run.job.command}`);
  const state = run.job.working ? text("runs.job_working") : run.job.code === 0 ? text("runs.job_done") : text("runs.job_ended", { code: run.job.code });
  if ($("job-state").textContent !== state) $("job-state").textContent = state;
  $("job-state").className = run.job.working || run.job.code === 0 ? "good" : "warn";
  $("job-said").textContent = visible(run.job.said);
}

let before = "";
function draw(run) {
  const now = JSON.stringify(run);
  if (now === before) return;
  before = now;
  $("error").hidden = !run.error;
  $("facts").hidden = Boolean(run.error) || run.kind !== "rows";
  if (!run.error && run.kind !== "rows") { $("other").textContent = text(`runs.kind_${run.kind}`); $("other").hidden = false; return; }
  $("other").hidden = true;
  if (run.error) { $("error").replaceChildren(foreign(run.error)); return; }
  $("state").replaceChildren(...chips(run), element("span", { class: "muted" }, foreign([run.data, run.oracle].filter(Boolean).join(" · "))), ...(run.note ? [foreign(run.note)] : []));
  $("bar").replaceChildren(bar(run));
  $("bar").setAttribute("aria-label", progress(run));
  const { accepted, edited, rejected, mended } = run.decided;
  figures($("counts"), [
    [text("runs.rows"), number(run.rows)], [text("runs.done"), number(run.done)],
    [text("runs.failed"), number(run.failed)], [text("runs.pending"), number(run.pending)],
    accepted && [text("runs.accepted"), number(accepted)],
    edited && [text("runs.edited"), number(edited) + (mended ? ` (${text("runs.mended", { count: number(mended) })})` : "")],
    rejected && [text("runs.rejected"), number(rejected)],
  ]);
  figures($("spent"), [
    [text("runs.cost"), dollars(run.cost)], [text("runs.requests"), number(run.requests)],
    [text("runs.sent"), number(run.prompt_tokens)], [text("runs.received"), number(run.completion_tokens)],
  ]);
  $("behind").hidden = !run.behind.length;
  $("behind").firstElementChild.textContent = text("runs.behind", { files: run.behind.join(", ") });
  stages(run);
  failures(run);
  job(run);
  $("files").replaceChildren(...Object.entries(run.files).map(([file, size]) => element("li", {},
    element("a", { href: path(name, `/files/${encodeURIComponent(file)}`), download: true }, file), element("span", { class: "muted" }, bytes(size)))));
}

$("retry").addEventListener("submit", async (event) => {
  event.preventDefault();
  const reasons = [...document.querySelectorAll("#reasons input:checked")].map((box) => box.value);
  $("again").disabled = true;
  try {
    draw(await api(`${at}/retry`, { reasons }));
    say(text("runs.retry_started"));
  } catch { $("again").disabled = false; }
});

$("write").addEventListener("click", async () => {
  try { draw(await api(`${at}/write`, {})); } catch { /* it was said */ }
});

$("export").addEventListener("formdata", (event) => { if (!event.formData.get("to")) event.formData.delete("to"); });

draw(JSON.parse($("run").dataset.run));
every(2, async () => {
  const response = await fetch(at);
  if (response.ok) draw(await response.json());
});
