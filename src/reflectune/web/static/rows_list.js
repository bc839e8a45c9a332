// The list of a run's rows: what is asked for, and one page of what was found.
import { element, text } from "/static/base.js";
import { number, path } from "/static/runs_shared.js";

const $ = (name) => document.getElementById(name);
const rows = $("rows");
const name = rows.dataset.name;
export const at = `/api/runs/${encodeURIComponent(name)}`;
export const PAGE = 50;
const RANGED = new Set(["position", "instruction_before", "instruction_after", "response_before", "response_after", "score", "score_after", "ifd_before", "ifd_after", "rifd_before", "rifd_after", "change"]);
const RATIO = new Set(["ifd_before", "ifd_after", "rifd_before", "rifd_after"]);
const COLUMNS = ["position", "title", "status", "response_before", "response_after", "score", "ifd_after", "rifd_after", "change", "won"];
const filters = JSON.parse(rows.dataset.filters);

/** What is asked for now, as the query of an address; without what is so anyway. */
export function asked() {
  const query = new URLSearchParams();
  for (const field of $("ask").elements) {
    if (!field.name || !field.value || (field.closest("#range")?.hidden)) continue;
    if ("limit" in field.dataset && $("sort").value === "change") {
      query.append(field.name, Number((field.value / 100).toFixed(9))); // shown as a percentage, asked for as a share
      continue;
    }
    if ((field.name === "sort" && field.value === "position") || (field.name === "order" && field.value === "asc")) continue;
    query.append(field.name, field.value);
  }
  return query;
}

/** Fill the form in from an address. */
export function fill(query) {
  $("ask").reset();
  for (const field of $("ask").elements) {
    const value = field.name && query.get(field.name);
    if (!value) continue;
    if (field.dataset.filter && ![...field.options].some((option) => option.value === value)) field.append(option(field.dataset.filter, value));
    field.value = "limit" in field.dataset && query.get("sort") === "change" ? Number((100 * value).toFixed(7)) : value;
  }
  ranged();
}

/** The limits are there for what is a number. */
export function ranged() {
  $("range").hidden = !RANGED.has($("sort").value);
  for (const unit of document.querySelectorAll("#range .unit")) unit.hidden = $("sort").value !== "change";
}

function option(filter, value, count) {
  const told = named(filter, value);
  return element("option", { value }, count === undefined ? told : `${told} (${number(count)})`);
}

/** What a reason is called. */
function reason(name) {
  const told = text(`rows.why_${name}`);
  return told === `rows.why_${name}` ? (name === "none" ? text("rows.none") : name) : told;
}

/** Whether people decided otherwise since `select` spoke of a row; a marked row is left out whoever wrote it. */
function outdated(line) {
  if (line.kept === null || (line.human === "edit" && line.gates && line.why.startsWith("gate-"))) return false;
  if (line.human === "reject") return Boolean(line.kept);
  return line.why === "rejected-by-hand" || (line.human === "edit") !== (line.why === "edited-by-hand");
}

/** What a value of a filter is called. */
function named(filter, value) {
  const known = { status: `rows.${value}`, human: value === "none" ? "rows.undecided" : `rows.human_${value}`, won: `rows.version_${value}` }[filter];
  const told = known && text(known);
  if (told && told !== known) return told;
  if (filter === "reason" || filter === "why") return reason(value);
  return value === "none" ? text("rows.none") : value;
}

/** Offer what there is to filter by; what has but one value is no choice. */
export function offer(facets) {
  for (const filter of filters) {
    const field = document.querySelector(`[data-filter="${filter}"]`);
    const chosen = field.value;
    const found = Object.entries(facets[filter] ?? {});
    field.replaceChildren(element("option", { value: "" }, text("rows.any")), ...found.map(([value, count]) => option(filter, value, count)));
    if (chosen && !(chosen in (facets[filter] ?? {}))) field.append(option(filter, chosen));
    field.value = chosen;
    field.closest(".filter").hidden = found.length < 2 && !chosen;
  }
}

function heading(column, sort, order) {
  if (column === "title") return element("th", {}, text("rows.question"));
  const button = element("button", { type: "button", "data-sort": column }, text(`rows.short_${column}`));
  const way = column === sort ? (order === "desc" ? "descending" : "ascending") : null;
  if (way) button.append(way === "descending" ? " ↓" : " ↑");
  return element("th", { "aria-sort": way, class: RANGED.has(column) ? "figure" : null, title: text(`rows.by_${column}`) }, button);
}

function figure(column, value) {
  if (value === null || value === "") return "";
  if (RATIO.has(column)) return value.toFixed(3);
  if (column === "change") return `${Math.round(100 * value)}%`;
  if (column === "position") return number(value);
  return column === "score" ? value.toFixed(1) : number(value);
}

function cell(column, line, query) {
  if (column === "title") {
    const address = path(name, `/rows/${line.position}${query.size ? `?${query}` : ""}`);
    return element("td", { class: "title" }, element("a", { href: address }, element("bdi", { dir: "auto" }, line.title || line.id)));
  }
  if (column === "status") {
    const made = element("td", { class: "status" });
    const kind = { rewritten: "good", failed: "bad" }[line.status] ?? "";
    made.append(element("span", { class: kind }, text(`rows.${line.status}`)));
    if (line.reason) made.append(" ", element("bdi", { title: line.reason }, reason(line.reason)));
    if (line.human) made.append(" ", element("span", { class: "chip" }, text(`rows.human_${line.human}`)));
    return made;
  }
  if (column === "won") {
    const told = line.won && text(`rows.version_${line.won}`);
    const words = line.kept === null ? "" : line.kept ? told : text("rows.not_kept");
    return element("td", { class: words ? "" : "empty", "data-name": text("rows.short_won"), title: line.why && reason(line.why) }, words, outdated(line) ? element("span", { class: "chip warn", title: text("rows.to_update") }, text("rows.outdated")) : null);
  }
  const words = figure(column, line[column]);
  return element("td", { class: words ? "figure" : "figure empty", "data-name": text(`rows.short_${column}`) }, words);
}

/** Show a page of rows. */
export function draw(found, query, offset) {
  const sort = $("sort").value;
  const there = COLUMNS.filter((column) => column !== "won" || sort === "won" || found.rows.some((line) => line.kept !== null));
  const columns = COLUMNS.includes(sort) || sort === "id" || sort === "human" ? there : [...there, sort];
  $("head").replaceChildren(...columns.map((column) => heading(column, sort, $("order").value)));
  $("lines").replaceChildren(...found.rows.map((line) => {
    return element("tr", { "data-position": line.position }, ...columns.map((column) => cell(column, line, query)));
  }));
  $("total").textContent = text("rows.total", { count: number(found.total) });
  $("nothing").hidden = found.total > 0 || found.index.working;
  $("table").hidden = !found.total;
  $("where").textContent = found.total ? text("rows.where", { from: number(offset + 1), to: number(offset + found.rows.length), total: number(found.total) }) : "";
  $("earlier").disabled = offset <= 0;
  $("later").disabled = offset + found.rows.length >= found.total;
  index(found.index);
}

/** Say how far the index is. */
export function index(state) {
  const told = state.error ? text("rows.index_failed", { why: state.error })
    : state.working && state.changed ? text("rows.indexing", { done: number(state.done), changed: number(state.changed) }) : "";
  $("index").textContent = told;
  $("index").hidden = !told;
  $("index").className = state.error ? "bad" : "muted";
}
