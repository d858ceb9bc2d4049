/* What is inside the chosen design: where a request's time goes, what its servers are asked for, rooflines, shares of cost and power,
   how far measurements lay from such predictions, sources, and designs one change away. Drawn from stored numbers only. */
const DesignSections = (() => {
  const SERIES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#606060"];
  const FLOW = ["prefill", "handoff", "decode"];
  const STEPS = { decode: "steps of decodes", prompts: "steps with prompts" };
  const STYLE = `
    #design .inside { display: grid; grid-template-columns: minmax(min-content, max-content) minmax(60px, 1fr) max-content minmax(min-content, max-content); gap: 3px 10px; align-items: center; font-size: 13px; }
    #design .used { grid-template-columns: minmax(0, max-content) minmax(60px, 1fr) max-content; margin-top: 12px; }
    #design .inside > .head { color: var(--soft); font-size: 12px; } #design .inside .right { text-align: right; font-variant-numeric: tabular-nums; }
    .bar-track { position: relative; height: 12px; background: var(--line); border-radius: 2px; min-width: 60px; }
    .bar-track i { position: absolute; top: 0; bottom: 0; background: var(--accent); border-radius: 2px; }
    .bar-track i.binds { background: #d55e00; } .bar-track i.range { background: var(--accent); opacity: 0.45; }
    .bar-track b { position: absolute; top: -2px; bottom: -2px; width: 3px; margin-left: -1px; background: var(--ink); border-radius: 1px; }
    .share-bar { display: flex; height: 22px; border-radius: 3px; overflow: hidden; margin: 3px 0; gap: 1px; }
    .share-bar span { font-size: 11px; line-height: 22px; color: #fff; overflow: hidden; text-align: center; white-space: nowrap; min-width: 1px; }
    .key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px; }
    .better { color: var(--better); } .worse { color: var(--warn); }
    :root { --better: #00694c; } :root[data-theme="dark"] { --better: #4fd1a8; }
    @media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) { --better: #4fd1a8; } }
    #design .near td, #design .near th { white-space: nowrap; text-align: right; } #design .near td:first-child, #design .near th:first-child { text-align: left; white-space: normal; }
    #design .near button { all: unset; cursor: pointer; color: var(--accent); text-decoration: underline; } #design .near button:focus-visible { outline: 2px solid var(--accent); }
    #design .operators td { white-space: nowrap; } #design .operators td:first-child { white-space: normal; }
    #design .tabs { display: flex; gap: 6px; margin: 4px 0; } #design .tabs [aria-pressed="true"] { border-color: var(--accent); font-weight: 600; }
    #design .wide { overflow-x: auto; } #design .tall { max-height: 460px; overflow: auto; } #design details p { margin: 4px 0; overflow-wrap: anywhere; }
    @media print { #design .tall { max-height: none; } #design .tabs { display: none !important; } .bar-track i, .bar-track b, .share-bar span, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }`;

  const detail = (row, { data }) => (data.details || {})[row] || {};
  const note = (tools) => tools.element("p", { class: "caption missing" }, (tools.data.details || {}).note || "Not stored in this run.");
  const section = (tools, id, title, ...body) => tools.element("div", { id: `design-${id}` }, tools.element("h3", {}, title), ...body);
  const caption = (tools, words) => tools.element("p", { class: "caption" }, words);
  const percent = (share, digits = 3) => `${Number((100 * share).toPrecision(digits))} %`;
  const escaped = (words) => words.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const cell = (tools, words, kind = "") => tools.element("span", kind ? { class: kind } : {}, words);
  const folded = (tools, title, ...body) => tools.element("details", {}, tools.element("summary", {}, title), ...body);

  /* A request's way: every stage and cause begins where the one before it ends. */
  const way = (row, { data, value }) => {
    const cells = data.breakdown.filter(([, , name]) => value(name, row) !== null);
    const stored = detail(row, { data }).stages || [...new Set(cells.map(([stage]) => stage).filter((stage) => !FLOW.includes(stage))), ...FLOW];
    const place = (stage) => (stored.includes(stage) ? stored.indexOf(stage) : stored.length);
    const stages = [...new Set(cells.map(([stage]) => stage))].sort((a, b) => place(a) - place(b));
    const waits = (cause) => (cause.startsWith("queue") ? 0 : 1);
    const causes = data.figures.breakdown ? data.figures.breakdown.data.map((trace) => trace.meta) : [];
    const parts = [];
    let now = 0;
    for (const stage of stages) {
      for (const [, cause, name] of cells.filter(([of]) => of === stage).sort((a, b) => waits(a[1]) - waits(b[1]) || causes.indexOf(a[1]) - causes.indexOf(b[1]))) {
        parts.push({ stage, cause, begin: now, seconds: value(name, row) });
        now += value(name, row);
      }
    }
    return { stages, parts, total: now };
  };
  const waterfall = (row, tools) => {
    const { data, element } = tools;
    const { parts, total } = way(row, tools);
    if (!parts.length || !data.figures.breakdown) return [];
    const longest = parts.reduce((most, part) => (part.seconds > most.seconds ? part : most));
    const words = `${tools.text(total, "s")} from arrival to last token in the mean; ${percent(longest.seconds / total)} of it is ${longest.stage}, ${longest.cause}.`;
    return [element("div", { id: "breakdown-part" }, element("h3", {}, "Where a request's time goes"), caption(tools, words),
      element("div", { id: "breakdown", role: "img", "aria-label": `Mean time of a request by stage and cause, in seconds: ${words}` }))];
  };
  const drawWaterfall = (row, tools) => {
    if (!byId("breakdown")) return;
    const { stages, parts } = way(row, tools);
    const figure = tools.data.figures.breakdown;
    const at = (stage, cause) => parts.find((part) => part.stage === stage && part.cause === cause);
    const label = new Map(figure.data.length ? figure.data[0].customdata.map((stage, index) => [stage, figure.data[0].y[index]]) : []);
    const traces = figure.data.map((trace) => ({ ...trace, y: stages.map((stage) => label.get(stage)), customdata: stages,
      x: stages.map((stage) => (at(stage, trace.meta) || { seconds: 0 }).seconds), base: stages.map((stage) => (at(stage, trace.meta) || { begin: 0 }).begin),
      hovertemplate: "%{y}, %{fullData.name}: %{x:.3s}s, from %{base:.3s}s on<extra></extra>" }))
      .map((trace) => ({ ...trace, visible: trace.x.some((seconds) => seconds > 0) }));
    const layout = structuredClone(figure.layout);
    layout.barmode = "overlay";
    layout.height = 130 + 40 * stages.length;
    layout.xaxis.title = { text: "time since arrival, mean request (s)", font: { size: 13 } };
    layout.yaxis.title.font = { size: 13 };
    plot("breakdown", traces, layout, tools);
  };
  const plot = (id, traces, layout, tools) => Plotly.newPlot(id, traces, layout, { ...tools.config, displayModeBar: false }).then(() => Plotly.relayout(id, tools.figureColours()));

  /* Servers: what is asked of each resource, and how much more load it takes until one is full. */
  const servers = (row, { data, value }) => {
    const found = new Map();
    for (const [pool, quantity, name] of data.pools) {
      if (value(name, row) === null) continue;
      if (!found.has(pool)) found.set(pool, {});
      found.get(pool)[quantity] = value(name, row);
    }
    const flow = detail(row, { data }).stages || FLOW;
    return new Map([...found].sort(([a], [b]) => (flow.includes(a) ? flow.indexOf(a) : flow.length) - (flow.includes(b) ? flow.indexOf(b) : flow.length)));
  };
  const demands = (of) => {
    const found = Object.entries(of).filter(([name]) => name.startsWith("demand ")).map(([name, item]) => [name.slice(7), item]);
    if (typeof of.demand === "number" && found.every(([, item]) => item < of.demand)) found.push([found.length ? "step time" : "demand", of.demand]);
    return found.sort((a, b) => b[1] - a[1]);
  };
  const headroom = (demand) => 1 / demand - 1;
  const room = (demand) => (demand >= 1 ? "saturated" : demand < 0.1 ? `× ${Math.floor(1 / demand)}` : `+${percent(headroom(demand))}`);
  const grown = (demand) => (demand >= 1 ? "is asked more than it can give" : `can take ${percent(headroom(demand))} more load`);
  const [ROWS, LINKS] = [16, 6];
  const demandRows = (row, tools) => {
    const rows = [...servers(row, tools)].flatMap(([server, of]) => demands(of).map(([resource, demand]) => ({ server, resource, demand })));
    const least = Math.max(5e-4, (rows.map((item) => item.demand).sort((a, b) => b - a)[ROWS] || 0) * 1.000001);
    return rows.filter((item) => item.demand >= least);
  };
  const load = (row, tools) => {
    const { value, element } = tools;
    const rows = demandRows(row, tools);
    const bottleneck = value("bottleneck", row);
    if (!rows.length && !bottleneck) return [];
    const most = rows.reduce((a, b) => (b.demand > a.demand ? b : a), { demand: 0 });
    const scale = Math.max(1, most.demand);
    const bars = rows.map((item, at) => {
      const fill = element("i", item === most ? { class: "binds" } : {});
      fill.style.width = `${100 * item.demand / scale}%`;
      const first = !at || rows[at - 1].server !== item.server;
      return [cell(tools, `${first ? `${item.server}: ` : "\u2003"}${item.resource}`), element("span", { class: "bar-track", "aria-hidden": "true" }, fill),
              cell(tools, percent(item.demand), "right"), cell(tools, room(item.demand), "right headroom")];
    });
    const heads = ["asked of what it can give", "", "demand", "headroom"].map((words) => cell(tools, words, words === "demand" || words === "headroom" ? "head right" : "head"));
    const limit = most.server ? `At this load ${most.server} ${grown(most.demand)} before its ${most.resource} saturates${servers(row, tools).size > 1 ? "; every other server has more room" : ""}.` : "";
    return [section(tools, "load", "Servers and headroom", ...(bottleneck ? [element("p", {}, `Bottleneck of the run: ${bottleneck}.${limit ? ` ${limit}` : ""}`)] : [caption(tools, limit)]),
      ...(rows.length ? [element("div", { class: "inside demand" }, ...heads, ...bars.flat())] : []), ...use(row, tools), folded(tools, "All that is stored of each server", poolTable(row, tools)))];
  };
  const use = (row, tools) => {
    const { pools, links } = detail(row, tools);
    if (!pools) return [];
    const wires = [...Object.entries(pools).filter(([, pool]) => pool.interconnect).map(([name, pool]) => [`${name}, ${pool.interconnect.name}`, pool.interconnect]), ...Object.entries(links).sort(([, a], [, b]) => b.utilisation - a.utilisation).slice(0, LINKS)];
    const line = (name, words, share) => {
      const fill = tools.element("i");
      fill.style.width = `${100 * Math.min(share, 1)}%`;
      return [tools.element("span", {}, name, tools.element("small", {}, ` ${words}`)), tools.element("span", { class: "bar-track", "aria-hidden": "true" }, fill), cell(tools, percent(share), "right")];
    };
    const resources = Object.entries(pools).flatMap(([name, pool]) => [line(`${name}: step under way`, "", pool.use.busy),
      line("\u2003compute", `of ${tools.text(Math.max(...Object.values(pool.peaks)), "FLOP/s")}`, pool.use.compute), line("\u2003memory bandwidth", `of ${tools.text(pool.bandwidth, "B/s")}`, pool.use["memory bandwidth"])]);
    const heads = ["in use over the run, mean of a device or link", "", "share"].map((words, at) => cell(tools, words, at > 1 ? "head right" : "head"));
    return [tools.element("div", { class: "inside used" }, ...heads, ...resources.flat(),
      ...wires.flatMap(([name, link]) => line(`link ${name}`, `${tools.text(link.bytes_per_s, "B/s")} of ${tools.text(link.capacity, "B/s")}`, link.bytes_per_s / link.capacity)))];
  };
  const poolTable = (row, tools) => {
    const { data, value, text, element } = tools;
    const names = [...servers(row, tools).keys()];
    const quantities = [...new Set(data.pools.filter(([, , name]) => value(name, row) !== null).map(([, quantity]) => quantity))];
    const entry = (pool, quantity) => {
      const [, , name, kind] = data.pools.find(([of, item]) => of === pool && item === quantity) || [];
      const item = name ? value(name, row) : null;
      if (typeof item !== "number" || kind !== "%") return element("td", {}, text(item, { usd_per_hour: "USD/h", watts: "W" }[quantity] || kind));
      return element("td", {}, element("span", { class: "percent" }, percent(item)));
    };
    const head = element("tr", {}, element("th", {}, ""), ...names.map((pool) => element("th", { scope: "col" }, pool)));
    const body = quantities.map((quantity) => element("tr", {}, element("th", { class: "text", scope: "row" }, quantity.replaceAll("_", " ")), ...names.map((pool) => entry(pool, quantity))));
    return element("div", { class: "wide" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
  };

  /* Rooflines: operators by FLOP per byte and FLOP per second, under what the device can do. */
  const operators = (pool) => pool.operators.map(([name, step, dtype, flop, bytes, seconds, share]) => ({ name, step, dtype, flop, bytes, seconds, share }));
  const stepWords = (pool, tools) => Object.entries(pool.steps).map(([kind, step]) => {
    const work = [...(step.decodes >= 0.05 ? [`${tools.number(step.decodes)} sequences of ${tools.number(step.context)} tokens`] : []), ...(step.prompt_tokens ? [`${tools.number(step.prompt_tokens)} prompt tokens`] : [])];
    return `${percent(step.share)} are ${STEPS[kind]}, ${tools.text(step.seconds, "s")} each: ${work.join(" and ")} a rank`;
  }).join("; ");
  const roofline = (row, tools) => {
    const { element } = tools;
    const { pools } = detail(row, tools);
    if (!pools) return [section(tools, "missing", "Roofline, certainty and sources", note(tools))];
    const names = Object.keys(pools);
    const place = element("div", { id: "roofline", role: "img" });
    const words = caption(tools, "");
    const rest = element("p", { class: "caption" });
    const table = element("div", { class: "wide" });
    const buttons = names.map((name) => element("button", { type: "button", "aria-pressed": String(name === names[0]), "data-pool": name }, `${name}: ${pools[name].accelerator}`));
    const show = (name) => {
      const pool = pools[name];
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.pool === name));
      words.textContent = `Steps of ${name}, one device: ${stepWords(pool, tools)}. The run's mean step took ${tools.text(pool.step_seconds, "s")}.`;
      const off = new Map();
      for (const item of operators(pool).filter((one) => !one.flop)) off.set(item.name, (off.get(item.name) || 0) + item.share);
      rest.textContent = `Areas go by share of the pool's time. Without FLOP, so not in the plot: ${[...off].sort((a, b) => b[1] - a[1]).map(([item, share]) => `${item} ${percent(share, 2)}`).join(", ")}.`;
      place.setAttribute("aria-label", `Roofline of ${name}: FLOP per second against FLOP per byte of each operator; the table below holds the same numbers`);
      table.replaceChildren(operatorTable(pool, tools));
      if (place.isConnected) drawRoofline(pool, tools);
    };
    buttons.forEach((button) => button.addEventListener("click", () => show(button.dataset.pool)));
    show(names[0]);
    return [section(tools, "roofline", "Roofline", ...(names.length > 1 ? [element("div", { class: "tabs", role: "group", "aria-label": "Pool" }, ...buttons)] : []), words, place, rest, folded(tools, "Operators as a table", table))];
  };
  const operatorTable = (pool, { element, text }) => {
    const head = element("tr", {}, ...["operator", "time a step", "share", "FLOP", "bytes"].map((name, at) => element("th", { scope: "col", class: at ? "" : "text" }, name)));
    const body = operators(pool).sort((a, b) => b.share - a.share).map((item) => element("tr", {}, element("td", { class: "text" }, `${item.name}${item.dtype ? `, ${item.dtype}` : ""} ${Object.keys(pool.steps).length > 1 ? ` (${STEPS[item.step]})` : ""}`),
      element("td", {}, text(item.seconds, "s")), element("td", {}, percent(item.share, 2)), element("td", {}, item.flop ? text(item.flop, "FLOP/s").replace("/s", "") : "–"), element("td", {}, item.bytes ? text(item.bytes, "B") : "–")));
    return element("table", { class: "operators" }, element("thead", {}, head), element("tbody", {}, ...body));
  };
  const drawRoofline = (pool, tools) => {
    const points = operators(pool).filter((item) => item.flop > 0 && item.bytes > 0);
    const peaks = Object.entries(pool.peaks).filter(([dtype]) => points.some((item) => item.dtype === dtype));
    const top = Math.max(...peaks.map(([, peak]) => peak));
    const x = points.map((item) => item.flop / item.bytes);
    const ridge = top / pool.bandwidth;
    const [low, high] = [Math.min(...x, ridge) / 3, Math.max(...x, ridge) * 4];
    const floor = Math.min(...points.map((item) => item.flop / item.seconds), top / 100) / 3;
    const roofs = peaks.map(([dtype, peak]) => ({ type: "scatter", mode: "lines", meta: "roof", name: dtype, showlegend: false, hoverinfo: "skip", line: { color: tools.css("--soft"), width: 1.5 },
      x: [low, peak / pool.bandwidth, high], y: [low * pool.bandwidth, peak, peak] }));
    const marks = Object.keys(STEPS).map((step, number) => [step, points.filter((item) => item.step === step), number]).filter(([, items]) => items.length).map(([step, items, number]) => ({
      type: "scatter", mode: "markers", meta: step, name: STEPS[step], hoverinfo: "text", x: items.map((item) => item.flop / item.bytes), y: items.map((item) => item.flop / item.seconds),
      marker: { color: SERIES[number], symbol: number ? "square" : "circle", opacity: 0.8, size: items.map((item) => 8 + 26 * Math.sqrt(item.share)), line: { width: 1, color: "#ffffff" } },
      hovertext: items.map((item) => [`<b>${escaped(item.name)}</b>, ${escaped(item.dtype)}`, `${tools.text(item.seconds, "s")} a step, ${percent(item.share)} of the pool's time`,
        `${tools.text(item.flop / item.seconds, "FLOP/s")}, ${percent(item.flop / item.seconds / pool.peaks[item.dtype], 2)} of the peak`,
        `${tools.text(item.bytes / item.seconds, "B/s")}, ${percent(item.bytes / item.seconds / pool.bandwidth, 2)} of the bandwidth`].join("<br>")) }));
    const axis = (title, ends) => ({ title: { text: title, font: { size: 13 } }, type: "log", range: ends.map(Math.log10), dtick: 1, exponentformat: "SI", ticks: "outside", zeroline: false, automargin: true });
    const tens = [...Array(7).keys()].map((at) => 10 ** (Math.floor(Math.log10(3 * top)) - at)).filter((tick) => tick >= floor);
    const same = new Map();
    for (const [dtype, peak] of peaks) same.set(peak, [...(same.get(peak) || []), dtype]);
    const label = (words, at, y, anchor) => ({ text: words, x: Math.log10(at), y: Math.log10(y), xanchor: anchor, yanchor: "bottom", showarrow: false, font: { size: 12 } });
    const annotations = [...[...same].map(([peak, dtypes]) => label(`${dtypes.join(", ")} ${tools.text(peak, "FLOP/s")}`, high, peak, "right")),
      label(`memory ${tools.text(pool.bandwidth, "B/s")}`, ridge ** 0.6 * low ** 0.4, ridge ** 0.6 * low ** 0.4 * pool.bandwidth, "right")];
    plot("roofline", [...roofs, ...marks], { ...tools.data.figures.front.layout, shapes: [], height: 360, margin: { l: 72, r: 16, t: 8, b: 52 }, hovermode: "closest", dragmode: false, annotations,
      xaxis: axis("arithmetic intensity (FLOP/B)", [low, high]), yaxis: { ...axis("attained by one device (FLOP/s)", [floor, 3 * top]), tickmode: "array", tickvals: tens, ticktext: tens.map((tick) => tools.text(tick, "FLOP/s").replace("FLOP/s", "")) }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, showlegend: true }, tools);
  };

  /* Who pays and who draws power. */
  const shares = (row, tools) => {
    const { element, text } = tools;
    const { charges } = detail(row, tools);
    const all = [...servers(row, tools)];
    const bars = [["usd_per_hour", "USD/h", "Cost"], ["watts", "W", "Power"]].flatMap(([quantity, unit, title]) => {
      const found = all.filter(([, of]) => typeof of[quantity] === "number" && of[quantity] > 0);
      const total = found.reduce((sum, [, of]) => sum + of[quantity], 0);
      if (!total) return [];
      const parts = found.map(([name, of], at) => {
        const share = of[quantity] / total;
        const piece = element("span", { title: `${name}: ${text(of[quantity], unit)}, ${percent(share)}`, "data-share": share }, share > 0.16 ? `${name} ${percent(share, 2)}` : "");
        piece.style.cssText = `flex: ${share} 1 0; background: ${SERIES[[0, 5, 2, 7, 3][at % 5]]}`;
        return piece;
      });
      return [element("p", { class: "caption" }, `${title}: ${text(total, unit)}; ${found.map(([name, of]) => `${name} ${text(of[quantity], unit)}`).join(", ")}`), element("div", { class: "share-bar", role: "img", "aria-label": `${title} by pool`, "data-quantity": quantity }, ...parts)];
    });
    const paid = (charges || []).map((one) => `${one.payer}: ${tools.number(one.amount)} × ${one.item} at ${text(one.usd_per_hour, "USD/h")}`);
    return bars.length ? [section(tools, "shares", "Cost and power by pool", ...bars, ...(paid.length ? [caption(tools, `Charged: ${paid.join("; ")}.`)] : []))] : [];
  };

  /* How far measurements lay from such predictions, on one logarithmic scale. */
  const intervals = (row, tools) => {
    const { element, value, text } = tools;
    const { intervals: ends, basis, pools } = detail(row, tools);
    if (!pools) return [];
    const wanted = Object.keys(ends || {}).filter((name) => /_(mean|p90)$/.test(name) && value(name, row) !== null);
    if (!wanted.length) return [section(tools, "intervals", "How sure are the latencies?", caption(tools, "Nobody has measured such pipelines, so the error of these predictions is not known."))];
    const bars = wanted.flatMap((name) => {
      const [low, high] = ends[name];
      const least = Math.log(Math.min(...wanted.map((one) => Math.min(ends[one][0], value(one, row)))));
      const most = Math.log(Math.max(...wanted.map((one) => Math.max(ends[one][1], value(one, row)))));
      const at = (seconds) => 100 * (Math.log(seconds) - least) / (most - least || 1);
      const [range, mark] = [element("i", { class: "range" }), element("b")];
      range.style.cssText = `left: ${at(low)}%; width: ${at(high) - at(low)}%`;
      mark.style.left = `${at(value(name, row))}%`;
      return [cell(tools, name), element("span", { class: "bar-track", "data-metric": name, role: "img", "aria-label": `${name}: ${text(low, "s")} to ${text(high, "s")}` }, range, mark),
              cell(tools, text(value(name, row), "s"), "right"), cell(tools, `${text(low, "s")} to ${text(high, "s")}`, "right")];
    });
    const heads = ["latency, log scale", "", "predicted", "measured, of such"].map((words, at) => cell(tools, words, at > 1 ? "head right" : "head"));
    const { accelerator, family, grade, pooled } = basis.subject;
    const wider = (one) => (one.width > 1 ? `, ${tools.number(one.width)} times as wide for ${accelerator} on ${family} (${grade === "class default" ? "datasheet and class defaults" : grade}${pooled ? ", pooled profile" : ""})` : "");
    const rests = [...new Set(Object.values(basis.basis).map((one) => `${one.rows} held-out measurements of ${one.group}${wider(one)}`))];
    return [section(tools, "intervals", "How sure are the latencies?", element("div", { class: "inside intervals" }, ...heads, ...bars),
      caption(tools, `${percent(basis.coverage)} of measurements lay within the bars around predictions of such designs: ${rests.join("; ")}. Percentiles borrow the error of the mean.`))];
  };

  /* Sources. */
  const provenance = (row, tools) => {
    const { element } = tools;
    const found = detail(row, tools);
    if (!found.pools) return [];
    const said = tools.data.details.sources[found.sources];
    const pools = Object.entries(said.pools).map(([name, one]) => {
      const kinds = new Map();
      for (const [part, words] of Object.entries(one).filter(([part]) => !["engine", "power", "memory", "compute"].includes(part))) kinds.set(words, [...(kinds.get(words) || []), part]);
      const fits = [...kinds].map(([words, parts]) => `${words} (${parts.join(", ")})`).join("; ");
      return element("p", {}, element("b", {}, `${name}: `), `operator times: ${fits}. Memory: ${one.memory}. Power: ${one.power}.${one.compute ? ` Compute: ${one.compute}.` : ""}`);
    });
    const list = (title, items) => Object.entries(items).map(([name, words]) => element("p", {}, element("b", {}, `${title} ${name}: `), words || "no source"));
    const prices = `${said.prices.source} (${said.prices.date}). ${Object.entries(said.prices.items).map(([item, words]) => `${item}: ${words}`).join("; ")}.`;
    return [section(tools, "sources", "Where the numbers come from", ...pools,
      folded(tools, "Datasheets, engines and prices", ...list("Accelerator", said.accelerators), ...list("Engine", said.engines), element("p", {}, element("b", {}, `Prices ${said.prices.book}: `), prices), ...list("Price of", said["price rules"]), ...list("Power of", said.power)))];
  };

  /* One change away: stored designs that differ in one variable. */
  const around = (row, tools) => {
    const { data, value } = tools;
    const stored = detail(row, tools).neighbours;
    if (stored) return stored;
    const names = data.variables.map((item) => item.name).filter((name) => data.columns[name] !== undefined);
    const found = [];
    for (let other = 0; other < data.rows; other += 1) {
      if (other === row || value("fidelity", other) !== value("fidelity", row)) continue;
      const changed = names.filter((name) => value(name, other) !== value(name, row));
      if (changed.length === 1) found.push({ row: other, variable: changed[0], before: value(changed[0], row), after: value(changed[0], other), values: data.objectives.map((goal) => value(goal.metric, other)), violations: value("violations", other) || "" });
    }
    return found.sort((a, b) => names.indexOf(a.variable) - names.indexOf(b.variable) || (a.after > b.after ? 1 : -1)).slice(0, 40);
  };
  const gain = (goal, after, before, { element }) => {
    if (typeof after !== "number" || typeof before !== "number" || before === 0) return element("td", {}, "–");
    const change = after / before - 1;
    if (Math.abs(change) < 5e-4) return element("td", {}, "same");
    const better = (change < 0) === (goal.direction === "min");
    return element("td", { class: better ? "better" : "worse", "data-change": change }, `${better ? "▲" : "▼"} ${change > 0 ? "+" : "−"}${percent(Math.abs(change), Math.abs(change) < 0.1 ? 2 : 3)}`);
  };
  const nearby = (row, tools) => {
    const { data, element, text, value } = tools;
    const found = around(row, tools);
    const title = "One change away";
    const scope = detail(row, tools).neighbours ? "all stored designs" : "the designs of this page";
    if (!found.length) return [section(tools, "near", title, caption(tools, `None of ${scope} differs from this one in exactly one variable.`))];
    const short = (name) => (data.variables.find((item) => item.name === name) || { short: name }).short;
    const head = element("tr", {}, element("th", { scope: "col" }, "change"), ...data.objectives.map((goal) => element("th", { scope: "col" }, goal.metric)));
    const body = found.map((item) => {
      const words = `${short(item.variable)} ${text(item.before)} → ${text(item.after)}`;
      const button = element("button", { type: "button" }, words);
      button.addEventListener("click", () => tools.choose(item.row, false));
      return element("tr", { "data-row": item.row }, element("td", {}, item.row >= 0 ? button : words, ...(item.violations ? [element("small", { class: "worse" }, ` infeasible: ${item.violations}`)] : [])),
        ...data.objectives.map((goal, at) => gain(goal, item.values[at], value(goal.metric, row), tools)));
    });
    return [section(tools, "near", title, caption(tools, `Of ${scope}, those that differ in one variable; ▲ better, ▼ worse. A name that is underlined can be chosen.`),
      element("div", { class: "wide tall", tabindex: "-1" }, element("table", { class: "near" }, element("thead", {}, head), element("tbody", {}, ...body))))];
  };

  const styled = (tools) => {
    if (!byId("design-style")) document.head.append(tools.element("style", { id: "design-style" }, STYLE));
  };
  return {
    sections: (row, tools) => {
      styled(tools);
      return [waterfall, load, roofline, shares, intervals, nearby, provenance].flatMap((part) => part(row, tools));
    },
    drawn: (row, tools) => {
      drawWaterfall(row, tools);
      const { pools } = detail(row, tools);
      if (pools && byId("roofline")) drawRoofline(pools[Object.keys(pools)[0]], tools);
    },
    recolour: (tools) => {
      for (const id of ["breakdown", "roofline"]) if (byId(id) && byId(id).data) Plotly.relayout(id, tools.figureColours());
      const place = byId("roofline");
      if (place && place.data) Plotly.restyle(place, { "line.color": tools.css("--soft") }, place.data.map((trace, at) => (trace.meta === "roof" ? at : -1)).filter((at) => at >= 0));
    },
  };
})();
