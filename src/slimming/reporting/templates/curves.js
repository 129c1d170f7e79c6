// Curves: a chart for every network and stage. Lines are means over seeds; every point is a seed and leads to its record.
const AXES = {
  ratio: { title: `${page.counted[0].toUpperCase()}${page.counted.slice(1)} removed`, format: "~%", scale: { type: "linear", nice: false } },
  parameters: { title: "Parameters", format: "~s", scale: { type: "log", nice: false } },
  macs: { title: "Multiply-accumulate operations", format: "~s", scale: { type: "log", nice: false } },
};
const slugs = page.rows.map((row) => row.method).filter((slug, place, all) => all.indexOf(slug) === place);
const colour = (slug) => `var(--method-${slugs.indexOf(slug)})`;
const look = (range) => ({ field: "method", scale: { domain: slugs, range: slugs.map(range) }, legend: null });
const CONFIG = {
  font: getComputedStyle(document.body).fontFamily,
  view: { stroke: null },
  axis: {
    domain: false, ticks: false, grid: true, gridColor: "var(--rule)", labelColor: "var(--soft)", titleColor: "var(--soft)",
    labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", labelPadding: 6, titlePadding: 8, labelFlush: false,
  },
  axisX: { grid: false, domain: true, domainColor: "var(--rule)" },
};

const settings = document.getElementById("view");
const figures = [...document.querySelectorAll("figure")];
const tip = document.body.appendChild(element("div", { id: "tip", role: "status", hidden: "" }));
let charts = [];
let drawn = Promise.resolve();

const spread = (all, column) => [Math.min(...all.map((row) => row[column])), Math.max(...all.map((row) => row[column]))];
const chosen = () => {
  const form = new FormData(settings);
  return { axis: form.get("axis"), dataset: form.get("dataset") ?? page.rows[0].dataset, methods: form.getAll("method") };
};

function specification(points, axis, domains) {
  const mean = (field) => ({ op: "mean", field, as: field });
  const { title, format, scale } = AXES[axis];
  return {
    width: "container", height: 190, background: "transparent", config: CONFIG,
    autosize: { type: "fit", contains: "padding" },
    data: { name: "points", values: points },
    encoding: {
      x: { field: axis, type: "quantitative", title, scale: { ...scale, domain: domains.x, padding: 8 }, axis: { format, tickCount: 5 } },
      y: { field: "accuracy", type: "quantitative", title: null, scale: { domain: domains.y, nice: true }, axis: { format: "~%", tickCount: 5 } },
    },
    layer: [
      {
        transform: [{ aggregate: [mean("accuracy"), ...(axis === "ratio" ? [] : [mean(axis)])], groupby: ["method", "ratio"] }],
        mark: { type: "line", strokeWidth: 1.6, aria: false },
        encoding: { color: look(colour), strokeDash: look((slug) => page.looks[slug].dash), order: { field: "ratio" } },
      },
      {
        mark: { type: "point", size: 30, strokeWidth: 1.3, aria: false },
        encoding: {
          shape: look((slug) => page.looks[slug].symbol),
          stroke: look(colour),
          fill: look((slug) => `color-mix(in srgb, ${colour(slug)} ${100 * page.looks[slug].filled}%, var(--paper))`),
        },
      },
      {
        // What the pointer and the keyboard find: larger than the point, and seen only then.
        name: "targets",
        mark: { type: "circle", size: 240, opacity: 0 },
        encoding: { color: look(colour), tooltip: { field: "id" }, description: { field: "description" } },
      },
    ],
  };
}

const describe = (row) => [
  row.names.method, `${row.names.network}, ${row.names.dataset}, seed ${row.seed}`, step(row),
  `Accuracy ${percent(row.accuracy)}`, counted(row.parameters, "parameter"),
];
const point = (row) => ({
  id: row.id, method: row.method, ratio: row.ratio, parameters: row.parameters, macs: row.macs, accuracy: row.accuracy,
  description: describe(row).join(", "),
});

async function draw() {
  const { axis, dataset, methods } = chosen();
  const here = page.rows.filter((row) => row.dataset === dataset);
  for (const { view } of charts) view.finalize();
  charts = await Promise.all(figures.map(async (figure) => {
    const { stage, network } = figure.dataset;
    const shown = here.filter((row) => row.stage === "trained" || row.stage === stage);
    const own = here.filter((row) => row.network === network);
    const points = shown.filter((row) => row.network === network).map(point);
    figure.hidden = !points.length;
    const domains = { x: spread(own, axis), y: spread(shown, "accuracy") };
    const visible = points.filter((row) => methods.includes(row.method));
    const { view } = await vegaEmbed(figure.querySelector(".chart"), specification(visible, axis, domains), {
      renderer: "svg", actions: false, defaultStyle: false,
      tooltip: (_, event, item, id) => showTip(id, event?.clientX, event?.clientY),
    });
    view.addEventListener("click", (_, item) => { if (item?.datum?.id) location.hash = `record/${item.datum.id}`; });
    return { view, points };
  }));
}

function showTip(id, x, y) {
  tip.hidden = !id;
  if (!id) return;
  const [method, ...lines] = describe(rows.get(id));
  tip.replaceChildren(element("b", {}, method), ...lines.flatMap((line) => [line, element("br")]));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${y - height - 14 > 8 ? y - height - 14 : y + 18}px`;
}

settings.addEventListener("change", ({ target }) => {
  if (target.name !== "method") {
    drawn = drawn.then(draw);
    return;
  }
  const { methods } = chosen();
  for (const { view, points } of charts) view.data("points", points.filter((row) => methods.includes(row.method))).run();
});

for (const chart of document.querySelectorAll(".chart")) {
  const idOf = (path) => path?.__data__?.datum.id;
  chart.addEventListener("keydown", (event) => {
    const targets = [...chart.querySelectorAll(".targets_marks path")];
    const place = targets.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      const next = targets[Math.max(0, Math.min(place + step, targets.length - 1))];
      next?.setAttribute("tabindex", -1);
      next?.focus();
    } else if (place >= 0 && (event.key === "Enter" || event.key === " ")) {
      location.hash = `record/${idOf(targets[place])}`;
    } else return;
    event.preventDefault();
  });
  chart.addEventListener("focusin", ({ target }) => {
    const { right, top } = target.getBoundingClientRect();
    showTip(idOf(target), right, top);
  });
  chart.addEventListener("focusout", () => showTip());
}
