// The playground: a conversation, or two side by side, whose answers are shown part by part while they come.
import { element, say, text } from "./base.js";
import { visible } from "./visible.js";

const MODELS = JSON.parse(document.getElementById("columns").dataset.models);
const FIELDS = ["model", "way", "rounds", "best_of", "temperature", "top_p", "max_tokens", "seed", "system"];
const FOLDED = new Set(["thinking", "reflection"]);
const [places, form, question, send, stop, two, unfold] =
  ["columns", "ask", "question", "send", "stop", "two", "unfold"].map((id) => document.getElementById(id));
const saving = ["save-page", "save-json"].map((id) => document.getElementById(id));

let columns = [];
let aborting = null;

/** One conversation with its settings. */
class Column {
  constructor(way) {
    const made = document.getElementById("column").content.cloneNode(true);
    this.place = made.querySelector(".talk");
    this.log = made.querySelector(".turns");
    this.fields = Object.fromEntries(FIELDS.map((name) => [name, made.querySelector(`[name="${name}"]`)]));
    this.summary = made.querySelector("summary");
    this.turns = [];
    MODELS.forEach((name, place) => this.fields.model.append(element("option", { value: place }, visible(name))));
    this.fields.way.value = way;
    this.place.addEventListener("input", () => this.summarise());
    this.summarise();
    places.append(made);
  }

  get settings() {
    const number = (name) => (this.fields[name].value === "" ? null : Number(this.fields[name].value));
    const ours = this.fields.way.value === "rounds";
    return {
      reflect: ours ? "off" : this.fields.way.value,
      rounds: ours ? number("rounds") || 1 : 0,
      best_of: number("best_of") || 1,
      temperature: number("temperature"),
      top_p: number("top_p"),
      max_tokens: number("max_tokens"),
      seed: number("seed"),
      system: this.fields.system.value.trim(),
    };
  }

  get reflecting() {
    return this.fields.way.value !== "off" || this.settings.best_of > 1;
  }

  summarise() {
    const name = MODELS[this.fields.model.value] ?? "";
    this.fields.rounds.closest(".field").hidden = this.fields.way.value !== "rounds";
    this.summary.textContent = `${visible(name)} · ${this.fields.way.selectedOptions[0].text}`;
  }

  /** What is sent: the answers of earlier turns without what was thought before them. */
  get messages() {
    const said = this.turns.map((turn) => ({ role: turn.role, content: answerOf(turn) }));
    const { system } = this.settings;
    return system ? [{ role: "system", content: system }, ...said] : said;
  }

  async ask(words, signal) {
    const asked = { role: "user", parts: [{ kind: "text", text: words }], note: "" };
    this.turns.push(asked);
    const place = element("div", { class: "turn user", dir: "auto" }, element("div", { class: "part" }, visible(words)));
    this.log.append(place);
    const shown = new Answer(this.log, this.reflecting);
    try {
      await this.stream(shown, signal);
    } catch (problem) {
      if (problem.name === "AbortError") shown.end(text("playground.stopped"));
      else shown.fail(problem.message);
    }
    if (shown.turn.parts.length) this.turns.push(shown.turn);
    else {
      this.turns.pop();  // nothing was answered: asking again is not a second turn of the same person
      question.value = question.value || words;
    }
  }

  async stream(shown, signal) {
    const { reflect, rounds, best_of: bestOf, system, ...drawn } = this.settings;
    const body = { messages: this.messages, stream: true, stream_options: { include_usage: true }, reflectune: { reflect, rounds, best_of: bestOf } };
    for (const [name, value] of Object.entries(drawn)) if (value !== null) body[name] = value;
    const response = await fetch(`/api/playground/${this.fields.model.value}/chat?tags=parts`, {
      method: "POST", headers: { "Content-Type": "application/json", Accept: "text/event-stream" }, body: JSON.stringify(body), signal,
    });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error?.message ?? String(response.status));
    for await (const event of events(response.body)) {
      if (event.error) throw new Error(event.error.message);
      shown.take(event);
    }
    shown.end();
  }
}

/** An answer that is being written. */
class Answer {
  constructor(log, reflecting) {
    this.turn = { role: "assistant", parts: [], note: "" };
    this.began = performance.now();
    this.thought = null;
    this.last = null;
    this.usage = null;
    this.choice = {};
    this.reflecting = reflecting;
    this.place = element("div", { class: reflecting ? "turn reflecting" : "turn", "aria-busy": "true" });
    this.waiting = element("p", { class: "muted" }, text("playground.waiting"));
    this.place.append(this.waiting);
    log.append(this.place);
  }

  take(event) {
    if (event.usage) this.usage = event.usage;
    const choice = event.choices?.[0];
    if (!choice) return;
    if (choice.finish_reason) this.choice = choice;
    const { part, begins, content, reasoning_content: reasoning } = choice.delta;
    const words = content || reasoning || "";
    if (part && (words || begins)) this.add(part, words, begins);
  }

  add(kind, words, begins) {
    this.waiting.remove();
    if (begins || this.last?.kind !== kind) this.begin(kind);
    this.last.piece.text += words;
    this.last.node.appendData(visible(words));
    if (this.thought) this.count();
  }

  begin(kind) {
    const node = document.createTextNode("");
    const piece = { kind, text: "" };
    const place = element("div", { class: `part ${kind}`, dir: "auto", "data-name": text(`playground.${kind}`) });
    place.append(node);
    if (FOLDED.has(kind)) this.box().append(place);
    else {
      this.place.append(place);
      if (kind === "output" && this.thought && !unfold.checked) this.thought.open = false;
    }
    this.turn.parts.push(piece);
    this.last = { kind, node, piece };
  }

  /** Where thinking is shown: open while it comes, folded as soon as the answer begins. */
  box() {
    if (!this.thought) {
      this.thought = element("details", { class: "thought", open: true }, element("summary"));
      this.place.append(this.thought);
    }
    return this.thought;
  }

  count() {
    const all = this.turn.parts.filter((piece) => FOLDED.has(piece.kind)).map((piece) => piece.text).join(" ");
    const words = (all.match(/[\p{Script=Han}]|[\p{L}\p{N}]+/gu) ?? []).length;
    this.thought.querySelector("summary").textContent = `${text("playground.thinking")} · ${text("playground.words", { count: words })}`;
  }

  end(note = "") {
    this.waiting.remove();
    this.place.setAttribute("aria-busy", "false");
    const seconds = ((performance.now() - this.began) / 1000).toFixed(1);
    const { finish_reason: reason, reflectune } = this.choice;
    const told = [
      note,
      this.usage ? text("playground.told", { tokens: this.usage.completion_tokens, seconds }) : "",
      reason === "length" ? text("playground.cut") : "",
      this.reflecting && !note && !this.turn.parts.some((piece) => piece.kind === "output") ? text("playground.no_output") : "",
      reflectune?.faults?.length ? text("playground.faults", { faults: reflectune.faults.join(", ") }) : "",
    ].filter(Boolean);
    this.turn.note = told.join(" · ");
    if (this.thought && !answerOf(this.turn)) this.thought.open = true;
    const copy = element("button", { type: "button", class: "quiet" }, text("playground.copy"));
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(answerOf(this.turn));
      say(text("playground.copied"));
    });
    this.place.append(element("div", { class: "foot" }, ...told.map((words) => element("span", {}, words)), copy));
  }

  fail(why) {
    this.end(text("playground.failed", { why: visible(why) }));
    this.place.querySelector(".foot span").classList.add("bad");
  }
}

/** The answer in a turn: what stands in the output, else what stands in no tag. */
function answerOf(turn) {
  const of = (kind) => turn.parts.filter((piece) => piece.kind === kind).map((piece) => piece.text).join("");
  return of("output") || of("text");
}

/** The events of a stream of `data:` lines. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}

async function ask(words) {
  aborting = new AbortController();
  send.disabled = true;
  stop.hidden = false;
  question.value = "";
  try {
    await Promise.all(columns.map((column) => column.ask(words, aborting.signal)));
  } finally {
    aborting = null;
    send.disabled = false;
    stop.hidden = true;
    const talked = columns.some((column) => column.turns.length);
    for (const button of saving) button.disabled = !talked;
    question.focus();
  }
}

function begin() {
  aborting?.abort();
  places.replaceChildren();
  columns = (two.checked ? ["off", "prompt"] : ["prompt"]).map((way) => new Column(way));
  if (two.checked && MODELS.length > 1) {
    columns[1].fields.model.value = 1;
    columns[1].summarise();
  }
  for (const button of saving) button.disabled = true;
}

function conversation() {
  return {
    columns: columns.map((column) => ({ model: MODELS[column.fields.model.value], settings: column.settings, turns: column.turns })),
  };
}

function download(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = question.value.trim();
  if (words && !aborting) ask(words);
});
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
stop.addEventListener("click", () => aborting?.abort());
two.addEventListener("change", begin);
unfold.addEventListener("change", () => {
  for (const box of document.querySelectorAll(".thought")) box.open = unfold.checked;
});
document.getElementById("new").addEventListener("click", begin);
document.getElementById("save-json").addEventListener("click", () => {
  download(new Blob([JSON.stringify(conversation(), null, 2)], { type: "application/json" }), "reflectune-conversation.json");
});
document.getElementById("save-page").addEventListener("click", async () => {
  const response = await fetch("/api/playground/share", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(conversation()),
  });
  if (response.ok) download(await response.blob(), "reflectune-conversation.html");
  else say(text("base.failed", { why: response.status }));
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => {
    question.value = button.dataset.example;
    question.focus();
  });
}
begin();
