// What a plot's mark says beside it, marks by arrow keys, and legend entries that show and hide their series. Without this
// file titles, links and the table do.
for (const figure of document.querySelectorAll("figure[data-plot]")) {
  const svg = figure.querySelector(".plot svg");
  const marks = [...svg.querySelectorAll(".mark")];
  const links = marks.filter((mark) => mark.tagName === "a");
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  // The mark's own name is read out; the same words a second time would be too.
  tip.setAttribute("aria-hidden", "true");
  figure.append(tip);
  for (const mark of marks) {
    const title = mark.querySelector("title");
    mark.dataset.said = title.textContent;
    if (mark.tagName === "a") title.remove();
  }
  // One stop of the Tab key, the arrows from there.
  links.forEach((link, place) => link.setAttribute("tabindex", place ? "-1" : "0"));

  const show = (event) => {
    const mark = event.target.closest(".mark");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.said;
    const at = mark.getBoundingClientRect();
    const frame = figure.getBoundingClientRect();
    const middle = at.left + at.width / 2 - frame.left - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(8, Math.min(middle, frame.width - tip.offsetWidth - 8))}px`;
    tip.style.top = `${at.top - frame.top - tip.offsetHeight - 8}px`;
  };
  const hide = () => (tip.hidden = true);
  svg.addEventListener("pointerover", show);
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("focusin", show);
  svg.addEventListener("focusout", hide);
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const seen = links.filter((link) => link.getClientRects().length);
    const place = seen.indexOf(event.target.closest("a.mark"));
    if (!step || place < 0) return;
    event.preventDefault();
    const next = seen[(place + step + seen.length) % seen.length];
    event.target.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
  for (const button of figure.querySelectorAll("button[data-toggle]")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", shown);
      for (const series of svg.querySelectorAll(`[data-series="${button.dataset.toggle}"]`)) {
        series.style.display = shown ? "" : "none";
      }
    });
  }
}
