// What all pages share: texts, requests to the app, what is said to the reader, language and theme.

const TEXTS = JSON.parse(document.getElementById("texts").textContent);

/** A text of the page, with {{name}} replaced by the values. */
export function text(name, values = {}) {
  return (TEXTS[name] ?? name).replace(/\{\{\s*(\w+)\s*\}\}/g, (_, key) => String(values[key] ?? ""));
}

/** Say something to the reader, also to one who listens. */
export function say(words) {
  const place = document.getElementById("said");
  place.textContent = words;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.textContent = ""; }, 6000);
}

/** Ask the app for JSON: GET without a body, POST with one. Says what went wrong, and throws it. */
export async function api(path, body, options = {}) {
  const how = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, { ...how, ...options, headers: { Accept: "application/json", ...how.headers } });
  } catch (problem) {
    if (problem.name !== "AbortError") say(text("base.unreachable"));
    throw problem;
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) {
    const why = found.error?.message ?? `${response.status}`;
    say(text("base.failed", { why }));
    throw new Error(why);
  }
  return found;
}

/** Make an element: its attributes, then its children; text is always text, never HTML. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function remember(name, value) {
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=strict`;
}

document.querySelector("[data-lang-switch]").addEventListener("click", (event) => {
  remember("lang", event.currentTarget.dataset.langSwitch);
  location.reload();
});

document.querySelector("[data-theme-switch]").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remember("theme", root.dataset.theme);
});
