// What a reader does with the trials of a study: filter, brush, sort, point, choose. The form is
// the only state of the filters; a brush writes into it, and whatever changes it calls `refresh`.
// A trial is known by its place in the lists of `data`, whose shape is that of explorer_section.py.

const section = document.querySelector(".explorer");
const find = (selector) => section.querySelector(selector);
const data = JSON.parse(find("script").textContent);
const { names, columns, colors, curves, metrics } = data;
const NONE = "–";
const HIT = 0.01; // of an axis: how exactly a hand points
const APART = 2.5; // pixels between the lines of arms that were trained with the same values
const DASHES = [[], [6, 3], [2, 2], [9, 2, 2, 2]];
const form = find("form");
const columnOf = (key) => columns.find((column) => column.key === key);
const arm = columnOf("arm");
const axes = columns.filter((column) => column.axis).sort((a, b) => Boolean(a.better) - Boolean(b.better));
const trials = names.map((_, trial) => trial);
const chosen = new Set(arm.options.map((_, option) => arm.cells.indexOf(option)));
let pointed = -1;

const color = (trial) => colors[arm.options[arm.cells[trial]]];

function text({ cells, options }, trial) {
  const cell = cells[trial];
  if (cell === null) return NONE;
  return options ? options[cell] : String(Number.isInteger(cell) ? cell : Number(cell.toPrecision(4)));
}

function title(trial) {
  const [group, stage, seed] = ["arm", "stage", "seed"].map((key) => text(columnOf(key), trial));
  return `${names[trial]}, ${group}, ${stage}, seed ${seed}`;
}

// Filters ---------------------------------------------------------------------------------------

const filters = columns.filter((column) => column.filtered).map((column) => {
  const inputs = [...form.elements].filter((input) => input.name === column.key);
  const [low, high] = inputs;
  const boxes = column.options && new Map(inputs.map((box) => [box.value, box]));
  const isActive = () => boxes ? inputs.some((box) => !box.checked) : inputs.some((end) => end.value !== "");
  const passes = (trial) => {
    const cell = column.cells[trial];
    if (boxes) return boxes.get(String(cell ?? "")).checked;
    if (cell === null) return !isActive();
    return !(cell < low.valueAsNumber) && !(cell > high.valueAsNumber); // an empty field is NaN
  };
  return { column, boxes, low, high, isActive, passes };
});

function isShown(trial, wanted) {
  return names[trial].toLowerCase().includes(wanted) && filters.every(({ passes }) => passes(trial));
}

/** Put what was dragged over on an axis into its fields; a click without a drag empties them. */
function brush(axis, from, to) {
  const { column, boxes, low, high } = filters.find((filter) => filter.column === axes[axis]);
  const isClick = to - from < HIT;
  const inside = trials.filter((trial) => {
    const place = column.axis.places[trial];
    return isClick || (from - HIT <= place && place <= to + HIT);
  });
  const cells = inside.map((trial) => column.cells[trial]);
  if (boxes) {
    const met = new Set(cells.map((cell) => String(cell ?? "")));
    boxes.forEach((box, value) => { box.checked = isClick || met.has(value); });
  } else {
    const numbers = cells.filter((cell) => cell !== null);
    low.value = isClick || !numbers.length ? "" : Math.min(...numbers);
    high.value = isClick || !numbers.length ? "" : Math.max(...numbers);
  }
  refreshSoon();
}

/** What the fields keep of each axis, from the lowest to the highest trial that passes there. */
function brushes() {
  return axes.flatMap(({ axis: { places } }, place) => {
    const filter = filters.find(({ column }) => column === axes[place]);
    if (!filter.isActive()) return [];
    const kept = trials.filter(filter.passes).map((trial) => places[trial]);
    const spans = filter.boxes ? [...new Set(kept)].map((at) => [at]) : kept.length ? [kept] : [];
    return spans.map((span) => ({ axis: place, low: Math.min(...span), high: Math.max(...span) }));
  });
}

// Parallel coordinates --------------------------------------------------------------------------

const foot = Math.min(0, ...axes.map(({ axis }) => Math.min(...axis.places)));
const down = (place) => (1 - place) / (1 - foot); // share of the height, from the top
const HEIGHT = 280;
const ACROSS = { signal: `width / ${Math.max(axes.length - 1, 1)}` };

/** A name broken after `_` where a line gets long. */
const inLines = (name) => name.match(/.{1,13}(_|$)|[^_]+_?/g);

const line = (name, source, extra) => ({
  type: "path", name, from: { data: source }, interactive: name === "hit",
  encode: {
    enter: { path: { field: "path" }, stroke: { field: "color" } },
    update: { y: { field: "offset" }, scaleX: ACROSS, scaleY: { signal: "height" }, ...extra },
  },
});

const ticks = (look) => ({
  type: "text", from: { data: "ticks" }, interactive: false,
  encode: { update: {
    x: { scale: "x", field: "axis", offset: 6 }, y: { signal: "datum.y * height" },
    text: { field: "label" }, baseline: { value: "middle" }, limit: { signal: `${ACROSS.signal} - 14` },
    ...look,
  } },
});

const parallelSpec = {
  description: "Parallel coordinates: a line per trial through its searched values and the objective",
  height: HEIGHT, autosize: "none", padding: { left: 55, right: 55, top: 46, bottom: 24 },
  signals: [
    { name: "pointed", value: -1, on: [
      { events: "@hit:pointerover", update: "datum.trial" }, { events: "@hit:pointerout", update: "-1" }] },
    { name: "picked", value: -1, on: [{ events: "@hit:click", update: "datum.trial", force: true }] },
    { name: "start", value: null, on: [
      { events: "@brush_area:pointerdown", update: "{axis: datum.axis, y: y()}" }] },
    { name: "brush", value: null, on: [
      { events: "@brush_area:pointerdown", update: "{axis: datum.axis, top: y(), bottom: y()}" },
      { events: "[@brush_area:pointerdown, window:pointerup] > window:pointermove",
        update: "{axis: start.axis, top: min(start.y, y()), bottom: max(start.y, y())}" }] },
  ],
  data: [
    { name: "lines", values: trials.map((trial) => ({
      trial, color: color(trial), shown: true, chosen: false,
      offset: (arm.cells[trial] - (arm.options.length - 1) / 2) * APART,
      path: `M${axes.map(({ axis }, place) => `${place},${down(axis.places[trial])}`).join("L")}`,
    })) },
    { name: "pointed", source: "lines", transform: [{ type: "filter", expr: "datum.trial === pointed" }] },
    { name: "axes", values: axes.map(({ name }, axis) => ({ axis, title: inLines(name) })) },
    { name: "ticks", values: axes.flatMap(({ axis, cells }, place) => [
      ...axis.ticks.map(([at, label]) => ({ axis: place, y: down(at), label })),
      ...(cells.includes(null) ? [{ axis: place, y: 1, label: "none" }] : [])]) },
    { name: "brushes", values: [] },
  ],
  scales: [{ name: "x", type: "linear", domain: [0, Math.max(axes.length - 1, 1)], range: "width" }],
  marks: [
    line("line", "lines", {
      zindex: { signal: "!datum.shown ? 0 : datum.chosen ? 2 : 1" },
      stroke: { signal: "datum.shown ? datum.color : '#eee'" },
      strokeOpacity: { signal: "datum.chosen || !datum.shown ? 1 : 0.55" },
      strokeWidth: { signal: "datum.chosen ? 2.5 : 1.2" },
    }),
    line("over", "pointed", { strokeWidth: { value: 4 } }),
    line("hit", "lines", { strokeWidth: { signal: "datum.shown ? 7 : 0" } }),
    { type: "rule", from: { data: "axes" }, interactive: false, encode: { update: {
      x: { scale: "x", field: "axis" }, y2: { signal: `height * ${down(0)}` },
      stroke: { value: "#333" } } } },
    { type: "text", from: { data: "axes" }, interactive: false, encode: { update: {
      x: { scale: "x", field: "axis" }, y: { signal: "-12 - 12 * (length(datum.title) - 1)" },
      text: { field: "title" }, align: { value: "center" }, fontSize: { value: 12 },
      fontWeight: { value: "bold" } } } },
    ticks({ stroke: { value: "#fff" }, strokeWidth: { value: 3 }, strokeOpacity: { value: 0.85 } }),
    ticks({ fill: { value: "#222" } }),
    { type: "rect", from: { data: "brushes" }, interactive: false, encode: { update: {
      x: { scale: "x", field: "axis", offset: -7 }, width: { value: 14 },
      y: { signal: "datum.top * height - 5" }, y2: { signal: "datum.bottom * height + 5" },
      fill: { value: "#333" }, fillOpacity: { value: 0.2 }, stroke: { value: "#333" } } } },
    { type: "rect", name: "brush_area", from: { data: "axes" }, encode: { update: {
      x: { scale: "x", field: "axis", offset: -14 }, width: { value: 28 }, y: { value: -8 },
      y2: { signal: "height + 8" }, fill: { value: "transparent" } } } },
  ],
};

// Curves of chosen trials -----------------------------------------------------------------------

const drawn = () => trials.filter((trial) => chosen.has(trial) && curves[trial]);

/** Solid for an arm's first chosen trial, then dashed. */
function dash(trial) {
  const arms = drawn().filter((other) => color(other) === color(trial));
  return DASHES[arms.indexOf(trial) % DASHES.length];
}

/** Correlations are spaced by Fisher's z: near 1 differences count for more. */
const SCALES = {
  linear: { type: "linear", through: (value) => value },
  log: { type: "log", through: (value) => value },
  correlation: { type: "linear", through: (value) => Math.atanh(Math.max(Math.min(value, 0.9999), -0.9999)) },
};
const ROUND = [0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999];

/** The vertical axis of the curves; too short for round correlations it has what Vega chooses. */
function verticalAxis({ label, scale }, values) {
  const axis = { orient: "left", scale: "y", title: label, grid: true, tickCount: 5, labelOverlap: "greedy" };
  if (scale !== "correlation") return axis;
  const ticks = [...ROUND.slice(1).map((tick) => -tick), ...ROUND].map(Math.atanh)
    .filter((tick) => tick >= Math.min(...values) && tick <= Math.max(...values));
  const text = { signal: "format((exp(2 * datum.value) - 1) / (exp(2 * datum.value) + 1), '.4~g')" };
  return { ...axis, encode: { labels: { update: { text } } }, ...(ticks.length > 2 && { values: ticks }) };
}

function curvesSpec(metric) {
  const { label, scale, baseline } = metrics[metric];
  const { type, through } = SCALES[scale];
  const points = drawn().flatMap((trial) => {
    const [epochs, ...values] = curves[trial];
    const look = { trial, color: color(trial), dash: dash(trial) };
    return epochs
      .map((epoch, place) => ({ ...look, epoch, value: values[metric][place] }))
      .filter(({ value }) => value !== null)
      .map((point) => ({ ...point, value: through(point.value) }));
  });
  const reference = baseline === null ? [] : [{ value: through(baseline) }];
  return {
    description: `${label} by epoch of the chosen trials`,
    height: 260, autosize: { type: "fit", contains: "padding" }, padding: 8,
    data: [{ name: "points", values: points }, { name: "reference", values: reference }],
    scales: [
      { name: "x", type: "linear", domain: [0, data.horizon], range: "width" },
      { name: "y", type, zero: false, nice: true, range: "height",
        domain: { fields: [{ data: "points", field: "value" }, { data: "reference", field: "value" }] } },
    ],
    axes: [
      { orient: "bottom", scale: "x", title: "epoch", tickMinStep: 1, format: "d" },
      verticalAxis(metrics[metric], [...points, ...reference].map(({ value }) => value)),
    ],
    marks: [
      { type: "rule", from: { data: "reference" }, encode: { update: {
        x: { value: 0 }, x2: { signal: "width" }, y: { scale: "y", field: "value" },
        stroke: { value: "black" }, strokeDash: { value: [6, 3] } } } },
      { type: "text", from: { data: "reference" }, encode: { update: {
        x: { value: 6 }, y: { scale: "y", field: "value", offset: -4 },
        text: { value: "interpolation" }, fill: { value: "#333" } } } },
      { type: "group", from: { facet: { name: "curve", data: "points", groupby: "trial" } }, marks: [
        { type: "line", from: { data: "curve" }, encode: { update: {
          x: { scale: "x", field: "epoch" }, y: { scale: "y", field: "value" },
          stroke: { field: "color" }, strokeDash: { field: "dash" }, strokeWidth: { value: 2 } } } }] },
    ],
  };
}

// Views and table -------------------------------------------------------------------------------

/** Draw a specification; expressions are interpreted, as the page's policy forbids `eval`. */
function view(spec, container) {
  const runtime = vega.parse(spec, null, { ast: true });
  return new vega.View(runtime, { expr: expressionInterpreter, renderer: "svg", container }).run();
}

section.hidden = false; // what is hidden has no width to draw in
section.previousElementSibling.hidden = true; // is for readers without this
const room = (container) => find(container).parentElement.clientWidth - 2; // without a border
const parallelWidth = () => Math.max(room("#parallel"), 100 * axes.length) - 110;
const parallel = view({ ...parallelSpec, width: parallelWidth() }, find("#parallel"));
let curvesView;

const tableRows = trials.map((trial) => {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = names[trial];
  button.addEventListener("click", () => choose(trial));
  head.append(button);
  row.append(head, ...columns.map((column) => {
    const cell = document.createElement("td");
    cell.classList.toggle("number", !column.options);
    cell.textContent = text(column, trial);
    return cell;
  }));
  row.addEventListener("pointerenter", () => point(trial));
  row.addEventListener("pointerleave", () => point(-1));
  row.addEventListener("focusin", () => point(trial));
  row.addEventListener("focusout", () => point(-1));
  return row;
});
find("tbody").append(...tableRows);

function point(trial) {
  if (trial === pointed) return;
  tableRows[pointed]?.classList.remove("pointed");
  tableRows[trial]?.classList.add("pointed");
  pointed = trial;
  parallel.signal("pointed", trial).runAsync();
  if (trial < 0) return; // what was told stays to be read
  const values = columns.filter(({ filtered, options, axis }) => filtered && (axis || !options));
  const said = values.map((column) => `${column.name} ${text(column, trial)}`);
  find(".readout").textContent = `${title(trial)}: ${said.join(", ")}`;
}

function choose(trial) {
  if (!chosen.delete(trial)) chosen.add(trial);
  showChosen();
}

function showChosen() {
  trials.forEach((trial) => {
    tableRows[trial].classList.toggle("picked", chosen.has(trial));
    tableRows[trial].querySelector("button").setAttribute("aria-pressed", chosen.has(trial));
  });
  find("ul").replaceChildren(...drawn().map((trial) => {
    const item = document.createElement("li");
    item.innerHTML = '<svg viewBox="0 0 36 8" aria-hidden="true"><path d="M0,4H36" stroke-width="3"/></svg> ';
    item.querySelector("path").setAttribute("stroke", color(trial));
    item.querySelector("path").setAttribute("stroke-dasharray", dash(trial).join(" "));
    item.append(title(trial));
    return item;
  }));
  redraw();
  drawCurves();
}

function drawCurves() {
  curvesView?.finalize();
  const spec = { ...curvesSpec(Number(find("select").value)), width: room("#curves") };
  curvesView = view(spec, find("#curves"));
}

/** Redraw the lines and brushes after the filters or the choice have changed. */
function redraw() {
  const shown = (trial) => !tableRows[trial].hidden;
  const changes = vega.changeset();
  parallel.data("lines").forEach((item) => {
    const now = { shown: shown(item.trial), chosen: chosen.has(item.trial) };
    for (const [key, value] of Object.entries(now)) {
      if (item[key] !== value) changes.modify(item, key, value);
    }
  });
  const kept = brushes().map(({ axis, low, high }) => ({ axis, top: down(high), bottom: down(low) }));
  parallel.change("lines", changes).data("brushes", kept).runAsync();
}

function refresh() {
  const wanted = form.elements.name.value.trim().toLowerCase();
  trials.forEach((trial) => { tableRows[trial].hidden = !isShown(trial, wanted); });
  const count = tableRows.filter((row) => !row.hidden).length;
  find("output").textContent = `${count} of ${trials.length} trials`;
  redraw();
}

let waiting = false;

/** Once for all that happens before the next picture: a hand moves faster than lines are drawn. */
function refreshSoon() {
  if (!waiting) requestAnimationFrame(() => { waiting = false; refresh(); });
  waiting = true;
}

/** Order the table by a column: what has no value goes last, either way. */
function sort(header) {
  const which = find(`[data-sort="${header}"]`).closest("th");
  const column = columns[header];
  const before = which.getAttribute("aria-sort");
  const falls = before ? before === "ascending" : column?.better === "max";
  find("[aria-sort]")?.removeAttribute("aria-sort");
  which.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const sign = falls ? -1 : 1;
  const cells = column?.cells;
  const order = column
    ? (a, b) => (cells[a] === null) - (cells[b] === null) || sign * (cells[a] - cells[b])
    : (a, b) => sign * names[a].localeCompare(names[b]);
  find("tbody").append(...[...trials].sort(order).map((trial) => tableRows[trial]));
}

form.addEventListener("input", refreshSoon);
form.addEventListener("reset", refreshSoon); // the fields are emptied after the event
form.addEventListener("submit", (event) => event.preventDefault());
section.querySelectorAll("[data-sort]").forEach((button) => {
  button.addEventListener("click", () => sort(button.dataset.sort));
});
find("select").addEventListener("change", drawCurves);
find("button.none").addEventListener("click", () => { chosen.clear(); showChosen(); });
parallel.addSignalListener("pointed", (_, trial) => point(trial));
parallel.addSignalListener("picked", (_, trial) => choose(trial));
parallel.addSignalListener("brush", (_, { axis, top, bottom }) => {
  const place = (y) => 1 - (y / HEIGHT) * (1 - foot);
  brush(axis, place(bottom), place(top));
});
new ResizeObserver(() => {
  if (parallel.width() === parallelWidth()) return; // only the height has changed
  parallel.width(parallelWidth()).run();
  drawCurves();
}).observe(section);
refresh();
showChosen();
