// What the pages of runs share: numbers, the bar, what there is to say of a run.
import { element, text } from "/static/base.js";
import { visible } from "/static/visible.js";

const language = document.documentElement.lang;
const SVG = "http://www.w3.org/2000/svg";

export const number = (value) => value === null || value === undefined ? "–" : value.toLocaleString(language);

export function dollars(value) {
  if (value === null || value === undefined) return text("runs.unknown");
  const digits = value > 0 && value < 0.1 ? 4 : 2;
  return `$${value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function bytes(size) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
  return `${size.toLocaleString(language, { maximumFractionDigits: unit ? 1 : 0 })} ${units[unit]}`;
}

/** A path of a run's page. */
export const path = (name, rest = "") => `/runs/${encodeURIComponent(name)}${rest}`;

/** A text of strangers, which cannot turn round what stands beside it. */
export const foreign = (words, name = "bdi") => element(name, { dir: "auto" }, visible(words));

/** A bar of what is done, failed and left, drawn without a style attribute. */
export function bar(run) {
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", `0 0 ${Math.max(run.rows, 1)} 1`);
  drawn.setAttribute("preserveAspectRatio", "none");
  let begin = 0;
  for (const [name, count] of [["done", run.done], ["failed", run.failed]]) {
    const part = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries({ class: name, x: begin, y: 0, width: count, height: 1 })) part.setAttribute(key, value);
    begin += count;
    drawn.append(part);
  }
  return drawn;
}

/** A definition list's entries. */
export function figures(place, entries) {
  place.replaceChildren(...entries.filter(Boolean).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

/** How far a run is, in words. */
export function progress(run) {
  return text("runs.progress", { rows: number(run.rows), done: number(run.done), failed: number(run.failed), pending: number(run.pending) });
}

/** Chips that say what is going on. */
export function chips(run) {
  const found = [];
  if (run.worker !== null && run.worker !== undefined) found.push(element("span", { class: "chip live" }, text("runs.working")));
  else if (run.pending) found.push(element("span", { class: "chip" }, text("runs.unfinished")));
  else found.push(element("span", { class: "chip" }, text("runs.finished")));
  const { accepted, edited, rejected, stale } = run.decided;
  if (accepted || edited || rejected) found.push(element("span", { class: "chip" }, text("runs.decided", { accepted: number(accepted), edited: number(edited), rejected: number(rejected) })));
  if (stale) found.push(element("span", { class: "chip warn" }, text("runs.stale", { count: number(stale) })));
  return found;
}

/** Call something again and again, as long as somebody looks at the page. */
export function every(seconds, what) {
  let busy = false;
  setInterval(async () => {
    if (busy || document.hidden) return;
    busy = true;
    try { await what(); } catch { /* the next time will tell */ } finally { busy = false; }
  }, 1000 * seconds);
}
