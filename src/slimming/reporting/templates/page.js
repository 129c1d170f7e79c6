// What the page knows, how it writes numbers, and what works everywhere: theme, addresses, and the panel of a record.
const page = JSON.parse(document.getElementById("data").textContent);
const stages = Object.keys(page.stages);

const digits = (options) => (value) => new Intl.NumberFormat("en", options).format(value);
const count = digits({ maximumFractionDigits: 0 });
const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
const short = digits({ minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
const percent = (value) => `${digits({ minimumFractionDigits: 2, maximumFractionDigits: 2 })(100 * value)} %`;
const FIGURES = {
  accuracy: ["Accuracy", percent],
  accuracy_top5: ["Top-5 accuracy", percent],
  accuracy_best: ["Accuracy, best epoch", percent],
  loss: ["Loss", short],
  parameters: ["Parameters", count],
  macs: ["Operations (MACs)", count],
  compression_ratio: ["Compression ratio", short],
  speedup: ["Theoretical speed-up", short],
  bytes: ["Bytes", count],
  channels: ["Channels", count],
  ratio_of: ["Ratio is a share of", String],
  ratio_reached: ["Share removed", percent],
  compression_seconds: ["Time of compression", (value) => `${short(value)} s`],
  latency_ms: ["Latency, one image", (value) => `${short(value)} ms`],
  epochs: ["Epochs", count],
  seconds: ["Time", (value) => `${short(value)} s`],
  device: ["Device", String],
  threads: ["Threads", count],
};

for (const row of page.rows) {
  row.run = [row.dataset, row.network, row.method, `seed${row.seed}`].join("/");
  row.id = `${row.run}/${row.stage}${row.stage === "trained" ? "" : `-${row.ratio}`}`;
  row.removed = `${+(100 * row.ratio).toPrecision(6)} %`;
  row.names = Object.fromEntries(Object.entries(page.labels).map(([column, names]) => [column, names[row[column]]]));
}
const rows = new Map(page.rows.map((row) => [row.id, row]));

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const step = (row) => page.stages[row.stage] + (row.stage === "trained" ? "" : `, ${row.removed} of ${page.counted} removed`);

// The panel of a record

const panel = document.getElementById("record");
const slot = (name) => panel.querySelector(`[data-slot="${name}"]`);
const definitions = (pairs) => pairs.map(([term, ...text]) =>
  element("div", {}, element("dt", {}, term), element("dd", {}, ...text)));

function showRecord(id) {
  const row = rows.get(id);
  for (const part of panel.querySelectorAll("[data-slot]")) part.replaceChildren();
  panel.toggleAttribute("data-empty", !row);
  if (row) {
    const { dataset, network, method } = row.names;
    slot("stage").append(step(row));
    slot("title").append(`${method} · ${network} · ${dataset} · seed ${row.seed}`);
    const measured = Object.entries(FIGURES).filter(([column]) => row[column] !== null);
    slot("measured").append(...definitions(measured.map(([column, [name, write]]) => [name, write(row[column])])));
    showCommands(row);
    slot("record").append(...definitions(origin(row)));
    const made = Object.entries({ ...page.made, ...row.made }).filter(([item]) => item !== "commit");
    slot("made").append(...definitions(made));
    const settings = page.settings[[row.dataset, row.network, row.method].join("/")] ?? {};
    slot("settings").append(...definitions(Object.entries(settings)));
    if (row.log) slot("log").append(log(row.log));
  } else {
    slot("title").append(`This ledger has no record ${id}`);
  }
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  slot("title").focus();
}

// A row and what it was made from, the trained network first.
const ancestors = (row) => {
  const parent = page.rows.find((other) => other.run === row.run && other.stage === page.parents[row.stage]
    && (other.stage === "trained" || other.ratio === row.ratio));
  return parent ? [...ancestors(parent), row] : [row];
};

const folded = (command) => command.replaceAll(" --", " \\\n  --");

function showCommands(row) {
  const chain = ancestors(row);
  slot("recorded").append(chain.every((made) => made.href)
    ? "As the records have it, at the commit below."
    : "Not all records are here: what is missing follows from the settings, with files where the workflow has them.");
  slot("commands").append(...chain.map((made) => element("li", {}, element("pre", { tabindex: 0 }, folded(made.command)))));
}

function origin(row) {
  const parent = ancestors(row).at(-2);
  const record = row.href
    ? element("a", { href: row.href }, row.record)
    : `${row.record} (not beside the ledger that this page was made from)`;
  const { commit } = { ...page.made, ...row.made };
  return [
    ["Record", record],
    ...(row.checkpoint ? [["Checkpoint", row.checkpoint]] : []),
    ["SHA-256 of the checkpoint", element("span", { class: "hash" }, row.checkpoint_sha256)],
    ...(parent ? [["Made from", element("a", { href: `#record/${parent.id}` }, step(parent))]] : []),
    ["Commit", commit?.replace(/\+$/, " with changes that were not committed") ?? "the record says which of those under Origin"],
    ...(row.warnings ?? []).map((warning) => ["Warning", warning]),
  ];
}

function log(columns) {
  const names = Object.keys(columns);
  const line = (index) => element("tr", {}, ...names.map((name) => element("td", { class: "number" }, String(columns[name][index] ?? "–"))));
  const head = element("tr", {}, ...names.map((name) => element("th", { class: "number", scope: "col" }, name.replace("_", " "))));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...columns[names[0]].map((_, index) => line(index))));
  const scroll = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Log of the training" }, table);
  return element("details", {}, element("summary", {}, `Log: ${counted(columns[names[0]].length, "epoch")}`), scroll);
}

const copy = document.getElementById("copy");
copy.hidden = !navigator.clipboard; // browsers withhold it from pages that came unencrypted
copy.addEventListener("click", async () => {
  const lines = [...slot("commands").querySelectorAll("pre")].map((line) => line.textContent);
  await navigator.clipboard.writeText(lines.join("\n"));
  copy.textContent = "Copied";
  setTimeout(() => { copy.textContent = "Copy the commands"; }, 1500);
});
panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
panel.addEventListener("close", () => {
  if (location.hash.startsWith("#record/")) history.replaceState(null, "", location.href.split("#")[0]);
});

// Addresses: #record/<data set>/<network>/<method>/seed<n>/<stage>-<ratio> and #ledger?<column>=<value>

function follow() {
  const [place, query] = location.hash.slice(1).split("?");
  if (place.startsWith("record/")) showRecord(decodeURIComponent(place.slice("record/".length)));
  else if (panel.open) panel.close();
  if (place === "ledger" && query) {
    choose(new URLSearchParams(query));
    document.getElementById("ledger").scrollIntoView();
  }
}

// Theme: the reader's, until they choose

const root = document.documentElement;
const theme = document.getElementById("theme");
const preference = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preference.matches);
const showTheme = () => theme.setAttribute("aria-pressed", isDark());
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; showTheme(); });
preference.addEventListener("change", showTheme);
showTheme();
