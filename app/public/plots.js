// What a plot's mark says beside it, marks by arrow keys, legend entries that show and hide their series, a part of the plot by
// dragging over it, and what is of one case lit together. Without this file titles, links, forms and the table do.
for (const figure of document.querySelectorAll("figure[data-plot]")) {
  const svg = figure.querySelector(".plot svg");
  if (!svg) continue;
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
  const form = figure.querySelector("form[data-zoom]");
  if (form) zoom(svg, form, hide);
}

// A rectangle drawn over a plot goes to the address of that part, as the form of the range would.
function zoom(svg, form, hide) {
  const axes = ["x", "y"].map((name) => {
    const numbers = (what) => svg.dataset[name + what].split(" ").map(Number);
    const [from, to] = numbers("Pixels");
    const [low, high] = numbers("Values");
    const value = (pixel) => {
      const along = (pixel - from) / (to - from);
      return svg.dataset[name + "Scale"] === "log" ? low * (high / low) ** along : low + along * (high - low);
    };
    return { name, ends: [Math.min(from, to), Math.max(from, to)], value };
  });
  // In the drawing's own units, within its axes.
  const place = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return axes.map(({ name, ends }) => Math.max(ends[0], Math.min(at[name], ends[1])));
  };
  // A value to a part of a pixel, without the digits that the pointer does not tell.
  const written = (axis, pixel) => {
    const value = axis.value(pixel);
    const apart = Math.abs(axis.value(pixel + 1) - value);
    return String(Number(value.toFixed(Math.min(20, Math.max(0, 1 - Math.floor(Math.log10(apart)))))));
  };
  let begin, box, sides, dragged;
  const drop = () => {
    box?.remove();
    begin = box = undefined;
  };
  svg.addEventListener("pointerdown", (event) => {
    dragged = false;
    // A finger scrolls.
    if (event.button === 0 && event.pointerType !== "touch") begin = place(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!begin) return;
    // Let go outside, where the drawing is not told.
    if (!(event.buttons & 1)) return drop();
    const end = place(event);
    sides = begin.map((from, axis) => [Math.min(from, end[axis]), Math.max(from, end[axis])]);
    // What is thin is a range of one axis only, and what is small is a click.
    const wide = sides.map(([from, to]) => to - from > 8);
    if (!box) {
      if (!wide.includes(true)) return;
      dragged = true;
      svg.setPointerCapture(event.pointerId);
      box = svg.appendChild(document.createElementNS(svg.namespaceURI, "rect"));
      box.setAttribute("class", "zoom");
      hide();
    }
    sides = sides.map((side, axis) => (wide[axis] ? side : undefined));
    const [x, y] = sides.map((side, axis) => side ?? axes[axis].ends);
    const drawn = { x: x[0], y: y[0], width: x[1] - x[0], height: y[1] - y[0] };
    for (const [name, size] of Object.entries(drawn)) box.setAttribute(name, size);
  });
  svg.addEventListener("pointerup", () => {
    const chosen = box && sides;
    drop();
    if (!chosen?.some(Boolean)) return;
    const query = new URLSearchParams(new FormData(form));
    chosen.forEach((side, place) => {
      if (!side) return;
      const axis = axes[place];
      const ends = side.map((pixel) => written(axis, pixel)).sort((a, b) => a - b);
      query.set(`${axis.name}_from`, ends[0]);
      query.set(`${axis.name}_to`, ends[1]);
    });
    for (const [name, value] of [...query]) if (!value) query.delete(name);
    location.assign(`${form.action}?${query}`);
  });
  svg.addEventListener("pointercancel", drop);
  document.addEventListener("keydown", (event) => event.key === "Escape" && drop());
  // A mark is neither followed nor carried off by a drag. A key's click has no number.
  svg.addEventListener("click", (event) => dragged && event.detail && event.preventDefault(), true);
  svg.addEventListener("dragstart", (event) => event.preventDefault());
}

// What is of one case: marks that lead to it, and rows of tables that do.
const cases = new Map();
for (const link of document.querySelectorAll('figure[data-plot] a.mark[href^="/cases/"], tr a[href^="/cases/"]')) {
  const thing = link.closest("tr") ?? link;
  const id = (thing.dataset.case ??= link.getAttribute("href"));
  cases.set(id, (cases.get(id) ?? new Set()).add(thing));
}
let lit;
const light = (event) => {
  const of = (element) => element?.closest?.("[data-case]")?.dataset.case;
  const id = of(event.target) ?? of(document.activeElement);
  if (id === lit) return;
  for (const thing of cases.get(lit) ?? []) thing.classList.remove("lit");
  for (const thing of cases.get(id) ?? []) thing.classList.add("lit");
  lit = id;
};
document.addEventListener("pointerover", light);
document.addEventListener("focusin", light);
