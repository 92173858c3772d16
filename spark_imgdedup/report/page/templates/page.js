"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const number = (n) => (n === null ? "–" : n.toLocaleString("en-US"));
  const put = (id, text) => { document.getElementById(id).textContent = text; };

  // The slider: numbers that were counted when the page was made.
  const slider = document.getElementById("level");
  if (slider) {
    const { rows, levels } = JSON.parse(document.getElementById("levels").textContent);
    const show = () => {
      const at = levels[Number(slider.value)];
      put("at-eps", String(at.eps));
      put("at-score", at.score_from.toFixed(6));
      put("at-removed", at.removed === null ? "not searched" : number(at.removed));
      put("at-share", at.removed === null || !rows ? "" : `${((100 * at.removed) / rows).toFixed(2)} %`);
      put("at-groups", number(at.groups));
      put("at-largest", number(at.largest));
      put("at-near", number(at.near));
      slider.setAttribute("aria-valuetext", `eps ${at.eps}`);
      for (const name of ["x1", "x2"]) document.getElementById("cursor").setAttribute(name, at.x);
      document.getElementById("dot").setAttribute("cx", at.x);
      document.getElementById("dot").setAttribute("cy", at.y);
    };
    slider.addEventListener("input", show);
    document.getElementById("own")?.addEventListener("click", (event) => {
      slider.value = event.currentTarget.dataset.level;
      show();
    });
    slider.value = slider.defaultValue; // browsers remember the last place
    show();
  }

  // Bands of pairs: one at a time.
  const tabs = all('[role="tab"]');
  const choose = (tab, focus) => {
    for (const each of tabs) {
      const chosen = each === tab;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
      document.getElementById(each.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (focus) tab.focus();
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => choose(tab, false));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose(tabs[(place + step + tabs.length) % tabs.length], true);
    });
  });
  if (tabs.length) {
    // First the pairs that are just within eps: they tell most about it.
    const inside = tabs.filter((tab) => tab.classList.contains("inside"));
    choose(inside.length ? inside[inside.length - 1] : tabs[0], false);
  }

  // Side by side, flip and difference.
  const view = (card, name) => {
    const again = card.dataset.view === name;
    card.classList.toggle("second", name === "flip" && (again ? !card.classList.contains("second") : true));
    card.dataset.view = name;
    for (const button of all(".tools button", card)) {
      button.setAttribute("aria-pressed", String(button.dataset.view === name));
    }
  };
  for (const card of all(".pair")) {
    view(card, "side");
    for (const button of all(".tools button", card)) {
      button.addEventListener("click", () => view(card, button.dataset.view));
    }
    all(".frames", card).forEach((frames) => frames.addEventListener("click", () => view(card, "flip")));
  }
  const shown = () => all(".pair").filter((card) => card.offsetParent !== null);
  const current = () => document.activeElement?.closest?.(".pair") ?? document.querySelector(".pair:hover");
  const go = (step) => {
    const cards = shown();
    if (!cards.length) return;
    const at = cards.indexOf(current());
    const next = cards[at < 0 ? 0 : Math.min(Math.max(at + step, 0), cards.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, textarea, select")) return;
    const key = event.key.toLowerCase();
    if (key === "j") go(1);
    else if (key === "k") go(-1);
    else if (key === "f" || key === "d" || key === "s") {
      const card = current() ?? shown()[0];
      if (card) view(card, { f: "flip", d: "diff", s: "side" }[key]);
    } else return;
    event.preventDefault();
  });

  // Where one is. In a frame of a notebook a fragment may lead out of it, so links scroll by hand.
  const links = all("nav a");
  for (const link of all('a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      const target = document.querySelector(link.getAttribute("href"));
      if (!target) return;
      event.preventDefault();
      target.scrollIntoView();
      if (target.id === "main") target.focus();
    });
  }
  const mark = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      for (const link of links) {
        const here = link.getAttribute("href") === `#${entry.target.id}`;
        if (here) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  all("main > section").forEach((section) => mark.observe(section));
})();
