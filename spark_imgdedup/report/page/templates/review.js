"use strict";
(() => {
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("data").textContent);
  const { header, pairs, images } = data;
  const key = `spark-imgdedup review ${header.page}`;
  const words = { same: "Same", different: "Different", unsure: "Unsure" };
  // at: the pair that is shown. decided: by pair, a decision and its time. done: what to undo, the latest last.
  let state = { at: 0, decided: {}, done: [] };
  let isKept = true;
  let isTaken = true;

  const load = () => {
    try {
      const found = JSON.parse(localStorage.getItem(key) ?? "null");
      if (found && found.at in pairs && typeof found.decided === "object" && Array.isArray(found.done)) state = found;
      localStorage.setItem(key, JSON.stringify(state));
    } catch {
      isKept = false;
    }
    element("unsaved").hidden = isKept;
  };
  const keep = () => {
    isTaken = false;
    try {
      localStorage.setItem(key, JSON.stringify(state));
      isKept = true;
    } catch {
      isKept = false;
    }
    element("unsaved").hidden = isKept;
  };

  const put = (side, number) => {
    const { uri, name, problem } = images[number];
    const [image, none] = [element(side), element(`${side}-problem`)];
    image.hidden = !uri;
    none.hidden = Boolean(uri);
    if (uri) image.src = uri;
    else image.removeAttribute("src");
    image.alt = `${side} picture: ${name}`;
    none.textContent = problem;
    element(`${side}-name`).textContent = name;
  };
  const flip = (is) => {
    const frames = element("frames").parentElement;
    const again = is && frames.dataset.view === "flip";
    frames.dataset.view = is ? "flip" : "side";
    frames.classList.toggle("second", is && !(again && frames.classList.contains("second")));
    element("flip").setAttribute("aria-pressed", String(is));
  };
  const lines = () => {
    const told = [header];
    pairs.forEach((pair, number) => {
      const said = state.decided[number];
      if (!said) return;
      const band = header.bands[pair.band];
      told.push({
        one: pair.one, other: pair.other, decision: said.decision, time: said.time, band: pair.band,
        band_name: band.name, band_pairs: band.pairs, band_drawn: band.drawn, page: header.page,
      });
    });
    return `${told.map((each) => JSON.stringify(each)).join("\n")}\n`;
  };
  const show = () => {
    const pair = pairs[state.at];
    const n = Object.keys(state.decided).length;
    put("left", pair.left);
    put("right", pair.right);
    element("place").textContent = String(state.at + 1);
    element("decided").textContent = String(n);
    element("progress").value = n;
    element("previous").disabled = state.at === 0;
    element("next").disabled = state.at === pairs.length - 1;
    element("undo").disabled = !state.done.length;
    for (const button of document.querySelectorAll("[data-decide]")) {
      button.setAttribute("aria-pressed", String(button.dataset.decide === state.decided[state.at]?.decision));
    }
    if (element("copy").open) element("lines").value = lines();
    return n;
  };
  const say = (text) => { element("said").textContent = text; };

  const open = () => {
    for (let step = 1; step <= pairs.length; step += 1) {
      const place = (state.at + step) % pairs.length;
      if (!(place in state.decided)) return place;
    }
    return state.at;
  };
  const decide = (decision) => {
    const at = state.at;
    state.done.push({ at, before: state.decided[at] ?? null });
    state.decided[at] = { decision, time: new Date().toISOString() };
    state.at = open();
    keep();
    flip(false);
    const n = show();
    say(n === pairs.length
      ? `${words[decision]}. All ${n} pairs are decided: download your decisions.`
      : `Pair ${at + 1}: ${words[decision].toLowerCase()}.`);
  };
  const undo = () => {
    const last = state.done.pop();
    if (!last) return;
    if (last.before) state.decided[last.at] = last.before;
    else delete state.decided[last.at];
    state.at = last.at;
    keep();
    flip(false);
    show();
    say(`Undone: pair ${last.at + 1}.`);
  };
  const go = (step) => {
    const at = Math.min(Math.max(state.at + step, 0), pairs.length - 1);
    if (at === state.at) return;
    state.at = at;
    const taken = isTaken;
    keep();
    isTaken = taken;
    flip(false);
    show();
    say("");
  };
  const download = () => {
    const url = URL.createObjectURL(new Blob([lines()], { type: "application/jsonl" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = `decisions-${header.page}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    isTaken = true;
    say("Downloaded.");
  };

  const keys = {
    s: () => decide("same"), d: () => decide("different"), u: () => decide("unsure"), z: undo, f: () => flip(true),
    escape: () => flip(false), j: () => go(1), k: () => go(-1), arrowright: () => go(1), arrowleft: () => go(-1), backspace: undo,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, textarea, select")) return;
    const act = keys[event.key.toLowerCase()];
    if (!act || event.repeat) return;
    act();
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("[data-decide]")) {
    button.addEventListener("click", () => decide(button.dataset.decide));
  }
  element("previous").addEventListener("click", () => go(-1));
  element("next").addEventListener("click", () => go(1));
  element("flip").addEventListener("click", () => flip(true));
  element("side").addEventListener("click", () => flip(false));
  element("undo").addEventListener("click", undo);
  element("download").addEventListener("click", download);
  element("copy").addEventListener("toggle", () => { element("lines").value = lines(); });
  addEventListener("storage", (event) => { // the same page in another window
    if (event.key !== key) return;
    load();
    show();
  });
  addEventListener("beforeunload", (event) => {
    if (!isKept && !isTaken) event.preventDefault();
  });
  load();
  flip(false);
  show();
})();
