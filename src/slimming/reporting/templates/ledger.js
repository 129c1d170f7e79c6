// The ledger as a table that can be sorted and filtered.
const source = JSON.parse(document.getElementById("datatables").textContent);
const { default: DataTable } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));

// Rows are in the order of methods and stages already; sorting by them goes by place, not by alphabet.
const place = Object.fromEntries(["method", "stage"].map((column) => [column, [...new Set(page.rows.map((row) => row[column]))]]));
place.stage = stages;
// Seeds are text, because JavaScript's numbers hold 16 digits and seeds 19; filled up with zeros they sort as numbers.
const SEED_DIGITS = 19;
const key = (row, column) => (place[column] ? place[column].indexOf(row[column])
  : column === "seed" ? row.seed.padStart(SEED_DIGITS, "0") : row[column]);
const named = (title, column, write) => ({
  title,
  data: null,
  visible: column !== "dataset" || Object.keys(page.labels.dataset).length > 1,
  render: (row, kind) => (kind === "sort" ? key(row, column)
    : kind === "filter" ? `${write(row)} ${row[column]}` : element("span", {}, write(row)).innerHTML),
});
const number = (column, title = FIGURES[column][0]) => ({
  title,
  data: null,
  className: "number",
  render: (row, kind) => {
    if (kind !== "display") return row[column];
    if (row[column] === null) return "";
    const link = element("a", { href: `#record/${row.id}`, tabindex: column === "accuracy" ? 0 : -1 }, FIGURES[column][1](row[column]));
    link.setAttribute("aria-label", `${link.textContent}: record of ${describe(row).slice(0, 3).join(", ")}`);
    return link.outerHTML;
  },
});

const table = new DataTable("#measurements", {
  data: page.rows,
  columns: [
    named("Data set", "dataset", (row) => row.names.dataset),
    named("Network", "network", (row) => row.names.network),
    named("Method", "method", (row) => row.names.method),
    named("Seed", "seed", (row) => row.seed),
    named("Removed", "ratio", (row) => row.removed),
    named("Stage", "stage", (row) => page.stages[row.stage]),
    number("accuracy"), number("loss"), number("parameters"), number("macs", "MACs"), number("bytes"), number("latency_ms", "Latency"),
  ],
  order: [],
  pageLength: 25,
  autoWidth: false,
  deferRender: true,
  layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: "paging" },
});

// Wide tables move inside the page; their controls stay.
const frame = table.table().container().querySelector(".dt-layout-table");
frame.classList.add("scroll");
for (const [name, value] of [["tabindex", 0], ["role", "region"], ["aria-labelledby", "ledger-title"]]) frame.setAttribute(name, value);

const filters = document.getElementById("filters");
const asked = () => Object.fromEntries([...new FormData(filters)].filter(([, value]) => value));
table.search.fixed("asked", (_, row) =>
  Object.entries(asked()).every(([column, value]) => column === "text"
    || (column === "ratio" ? row.ratio === Number(value) : row[column] === value)));
const apply = () => table.search(asked().text ?? "").draw();
filters.addEventListener("input", apply);
filters.addEventListener("reset", () => setTimeout(apply));
filters.addEventListener("submit", (event) => event.preventDefault());

function choose(query) {
  filters.reset();
  for (const [column, value] of query) if (filters.elements[column] && value) filters.elements[column].value = value;
  apply();
}

addEventListener("hashchange", follow);
await draw();
follow();
root.dataset.ready = "";
