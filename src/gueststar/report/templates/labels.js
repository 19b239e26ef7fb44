const header = JSON.parse(document.getElementById("header").textContent);
const gallery = document.getElementById("gallery");
const all = [...gallery.querySelectorAll("figure")];
const place = `gueststar labels ${header.data_hash} ${header.labels}`;
const kept = (() => {
  // A browser may forbid storage to a local file; decisions then last as long as the page is open.
  try { return new Map(JSON.parse(localStorage.getItem(place) ?? "[]")); } catch { return new Map(); }
})();
const control = (id) => document.getElementById(id);

const save = () => {
  try { localStorage.setItem(place, JSON.stringify([...kept])); } catch { /* the page still holds them */ }
};
const mark = (figure) => {
  const to = kept.get(figure.dataset.row);
  figure.classList.toggle("done", to !== undefined);
  for (const button of figure.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.to === to));
};
const count = () => {
  const here = all.filter((figure) => kept.has(figure.dataset.row));
  const changed = here.filter((figure) => !["keep", figure.dataset.label].includes(kept.get(figure.dataset.row)));
  control("count").textContent = `${here.length} of ${all.length} decided, ${changed.length} labels changed`;
};
const decide = (figure, to) => {
  if (to === undefined) kept.delete(figure.dataset.row); else kept.set(figure.dataset.row, to);
  mark(figure); count(); save();
};
const shown = () => [...gallery.children].filter((figure) => !figure.hidden);
const go = (figure, step) => {
  const list = shown();
  const next = list[list.indexOf(figure) + step];
  if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
};
const arrange = () => {
  const by = control("sort").value;
  const numeric = by !== "chip" && by !== "image";
  const value = (figure) => (numeric ? parseFloat(figure.dataset[by]) : figure.dataset[by]);
  const sign = by === "score" || by === "snr" ? -1 : 1;
  const order = [...all].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    // Rows without a number come last, whichever way it is sorted.
    if (numeric && (isNaN(x) || isNaN(y))) return isNaN(x) - isNaN(y);
    return (numeric ? sign * (x - y) : x.localeCompare(y)) || a.dataset.rank - b.dataset.rank;
  });
  gallery.append(...order);
  const wanted = control("show").value, chip = control("chip")?.value ?? "";
  const fits = {
    all: () => true, open: (f) => !kept.has(f.dataset.row), done: (f) => kept.has(f.dataset.row),
    suspect: (f) => f.dataset.suspect === "1", 0: (f) => f.dataset.label === "0", 1: (f) => f.dataset.label === "1",
  }[wanted];
  for (const figure of all) figure.hidden = !fits(figure) || (chip !== "" && figure.dataset.chip !== chip);
};
const decisions = () => all.filter((figure) => kept.has(figure.dataset.row)).map((figure) => {
  const to = kept.get(figure.dataset.row);
  return {
    row: Number(figure.dataset.row), candidate_id: figure.dataset.candidate, label: to === "keep" ? "keep" : Number(to),
    reason: figure.querySelector(".why").textContent,
  };
});
const download = (name, type, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
};

gallery.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const figure = event.target.closest("figure");
  if (button) decide(figure, button.getAttribute("aria-pressed") === "true" ? undefined : button.dataset.to);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
  const figure = document.activeElement.closest("figure") ?? shown()[0];
  if (!figure) return;
  const to = { r: "1", 1: "1", a: "0", 0: "0", n: "-1", k: "keep", p: figure.dataset.proposed }[event.key];
  if (to !== undefined) { decide(figure, to); go(figure, 1); }
  else if (event.key === "u") decide(figure, undefined);
  else if (event.key === "ArrowRight") go(figure, figure === document.activeElement.closest("figure") ? 1 : 0);
  else if (event.key === "ArrowLeft") go(figure, -1);
  else return;
  event.preventDefault();
});
for (const id of ["sort", "show", "chip"]) control(id)?.addEventListener("change", arrange);
control("json").addEventListener("click", () => {
  download("decisions.json", "application/json", JSON.stringify({ ...header, decisions: decisions() }, null, 1) + "\n");
});
control("csv").addEventListener("click", () => {
  const cell = (value) => `"${String(value).replaceAll('"', '""')}"`;
  const rows = decisions().map((item) => [item.row, item.label, cell(item.candidate_id), cell(item.reason)].join(","));
  download("decisions.csv", "text/csv", ["row,label,candidate_id,reason", ...rows].join("\n") + "\n");
});
control("clear").addEventListener("click", () => {
  if (!confirm("Forget all decisions of this page?")) return;
  all.forEach((figure) => { kept.delete(figure.dataset.row); mark(figure); });
  count(); save();
});
all.forEach(mark);
count();
