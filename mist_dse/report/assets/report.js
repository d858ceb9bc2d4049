/* The page starts here: reads the embedded data once, and links its views by what is chosen, compared, hovered and kept. */
(() => {
  const data = JSON.parse(byId("data").textContent);
  const state = { chosen: -1, second: -1, hovered: -1, picking: false };
  const views = [];
  const tell = (what, ...items) => views.forEach((view) => view[what] && view[what](...items));
  const values = Values(data);
  const { value } = values;
  const ofKind = (...kinds) => [...Array(data.rows).keys()].filter((row) => kinds.includes(value("kind", row)));
  const fronts = ofKind("front");
  const rows = ofKind("front", "infeasible");
  const missed = rows.length > fronts.length;
  const theme = Theme(data.scale, () => tell("recolour"));
  const plane = { x: data.plane.start[0], y: data.plane.start[1], colour: data.plane.start[2] };
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"] };
  const say = (words) => { byId("said").textContent = words; };
  const collator = new Intl.Collator("en", { numeric: true });
  const order = (a, b) => {
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
  };

  /* What is chosen. */
  const choose = (row, quiet) => {
    Object.assign(state, { chosen: row, second: state.second === row ? -1 : state.second, picking: false });
    tell("marked", !quiet);
    say(`Chosen: ${data.label[row]}`);
  };
  const compare = (row) => {
    if (row === state.chosen && row >= 0) return;
    Object.assign(state, { second: row, picking: false });
    tell("marked", false);
    say(row < 0 ? "Comparison closed" : `Compared: A ${data.label[state.chosen]}; B ${data.label[row]}`);
  };
  const picking = (on) => {
    state.picking = on;
    tell("marked", false);
    if (on) say("Choose the second design: a point, a line or a row");
  };
  const pick = (row, beside) => (beside || state.picking ? compare(row) : choose(row, false));
  const swap = () => {
    [state.chosen, state.second] = [state.second, state.chosen];
    tell("marked", false);
  };
  const hover = (row, point) => {
    if (row === state.hovered && !point) return;
    state.hovered = row;
    tell("hovered", row, point);
  };

  /* What is known of a row beside its metrics. */
  const shares = (row) => data.robustness.filter(({ name }) => value(name, row) !== null)
    .map(({ name, title, description }) => [title, values.percent(value(name, row)), description]);
  const coverage = (row) => ((data.details[row] || {}).basis || {}).coverage || null;
  const certainty = (row) => data.robustness.reduce((least, item) => Math.min(least, value(item.name, row) ?? 1), 1);
  const interval = (metric, row) => {
    const found = (data.details[row] || {}).intervals || {};
    return found[metric] || null;
  };
  const colour = (row) => {
    if (missed) return theme.css("--warn");
    const item = plane.colour ? value(plane.colour, row) : null;
    return item === null ? theme.css("--accent") : theme.ramp(Math.round(SHADES * (item - span.low) / (span.high - span.low || 1)) / SHADES);
  };
  const SHADES = 24;
  const span = {};
  const measureSpan = () => {
    const known = fronts.map((row) => (plane.colour ? value(plane.colour, row) : null)).filter((item) => item !== null);
    Object.assign(span, { low: known.reduce((a, b) => Math.min(a, b), Infinity), high: known.reduce((a, b) => Math.max(a, b), -Infinity) });
  };
  const recolour = () => {
    measureSpan();
    tell("recolour");
  };

  const tools = { data, ...values, element: elementIn(null), css: theme.css, figureColours: theme.figureColours, ramp: theme.ramp, scale: theme.scale, config,
                  state, plane, rows, fronts, missed, order, choose, compare, pick, picking, swap, hover, say, recolour,
                  shares, certainty, interval, coverage, colour };
  tools.heads = tableHeads(tools);
  tools.keep = Keep(tools, () => tell("kept"));

  const typing = (event) => event.target.closest("input, select, textarea");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
    if (event.key === "c") {
      const focused = event.target.closest("tr[data-row]");
      const row = focused ? Number(focused.dataset.row) : state.hovered;
      if (row >= 0 && row !== state.chosen) compare(row);
      else picking(!state.picking);
    } else if (event.key === "Escape") {
      if (state.picking) picking(false);
      else if (state.second >= 0) compare(-1);
    }
  });
  const ready = () => { performance.mark("ready"); document.body.dataset.ready = "yes"; };
  performance.mark("data");
  measureSpan();
  views.push(DesignTable(tools), Hint(tools));
  performance.mark("table");
  if (!data.rows) {
    byId("plot").hidden = true;
    byId("chosen").hidden = true;
    ready();
    return;
  }
  const front = FrontPlot(tools);
  views.push(ParallelPlot(tools));
  performance.mark("parallel");
  front.start().then(() => {
    performance.mark("front");
    views.push(front, ChosenDesign(tools), Comparison(tools));
    choose(rows.length ? rows[0] : 0, true);
    ready();
  });
})();
