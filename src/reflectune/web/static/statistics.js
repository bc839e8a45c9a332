// Statistics on their way: how far they are, and the page anew when they are there.

import { api } from "/static/base.js";

const place = document.getElementById("statistics");
const address = `/api/runs/${encodeURIComponent(place.dataset.name)}/statistics`;
const EVERY = 700;

async function look() {
  let state;
  try {
    state = await api(address);
  } catch {
    return;
  }
  if (state.ended) {
    location.reload();
    return;
  }
  const bar = document.getElementById("bar");
  document.getElementById("what").textContent = state.what ? `${state.what} ${state.done.toLocaleString()} / ${state.of.toLocaleString()}` : "";
  if (state.of) {
    bar.max = state.of;
    bar.value = state.done;
  }
  setTimeout(look, EVERY);
}

if ("working" in place.dataset) {
  try {
    await api(address, {});
    setTimeout(look, EVERY);
  } catch {
    // base.js says why
  }
}

document.getElementById("anew")?.addEventListener("click", async (event) => {
  event.currentTarget.disabled = true;
  await api(address, { anew: true });
  location.reload();
});
