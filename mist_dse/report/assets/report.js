"use strict";
/* The page of a report: reads the embedded data once; every text reaches the page as textContent, never as markup. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const ABSENT = "–";
  let chosen = -1;

  /* Values: a column is a list, or words with indices. */
  const value = (name, row) => {
    const column = data.columns[name];
    if (column === undefined) return null;
    if (Array.isArray(column)) return column[row];
    return column.at[row] < 0 ? null : column.words[column.at[row]];
  };
  const number = (x) => {
    if (Math.abs(x) >= 1000 && Math.abs(x) < 1e9) return Math.round(x).toLocaleString("en-US");
    return String(Number(x.toPrecision(3)));
  };
  const PREFIXES = ["n", "µ", "m", "", "k", "M", "G", "T", "P", "E"];
  const text = (x, unit = "") => {
    if (x === null || x === undefined) return ABSENT;
    if (typeof x !== "number") return String(x);
    if (unit.startsWith("USD")) return "$" + number(x) + unit.slice(3);
    if (data.scaled.includes(unit) && x !== 0) {
      const power = Math.min(Math.max(Math.floor(Math.log10(Math.abs(x)) / 3), -3), 6);
      return `${Number((x / 1000 ** power).toPrecision(3))} ${PREFIXES[power + 3]}${unit}`;
    }
    return `${number(x)} ${unit}`.trim();
  };
  const unit = (name) => (data.metrics[name] ? data.metrics[name].unit : "");
  const shown = (name, row) => text(value(name, row), unit(name));

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, item] of Object.entries(attributes)) made.setAttribute(name, item);
    made.append(...children);
    return made;
  };

  /* Theme: the system's, or what the reader chose; figures take their colours from the style sheet. */
  const themes = ["system", "light", "dark"];
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const figureColours = () => {
    const axis = { gridcolor: css("--line"), linecolor: css("--soft"), tickcolor: css("--soft"), showline: true };
    const layout = { "font.color": css("--ink"), "hoverlabel.bgcolor": css("--panel"), "hoverlabel.font.color": css("--ink"),
                     "hoverlabel.bordercolor": css("--line"), "hoverlabel.align": "left" };
    for (const [name, item] of Object.entries(axis)) {
      layout[`xaxis.${name}`] = item;
      layout[`yaxis.${name}`] = item;
    }
    layout["modebar.color"] = css("--soft");
    layout["modebar.activecolor"] = css("--accent");
    return layout;
  };
  const recolour = () => {
    for (const id of ["front", "breakdown"]) if (byId(id) && byId(id).data) Plotly.relayout(byId(id), figureColours());
    const traces = byId("front").data || [];
    traces.forEach((trace, at) => {
      if (trace.meta === "chosen") Plotly.restyle("front", { "marker.line.color": css("--ink") }, [at]);
      if (trace.meta === "line") Plotly.restyle("front", { "line.color": css("--accent") }, [at]);
      if (trace.meta !== "front") return;
      Plotly.restyle("front", trace.marker.colorscale ? { "marker.line.color": css("--soft") } : { "marker.color": css("--accent"), "marker.line.color": css("--paper") }, [at]);
    });
  };
  const setTheme = (name) => {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    byId("theme").textContent = `Theme: ${name}`;
    recolour();
  };

  /* The front. */
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const plane = { x: data.plane.start[0], y: data.plane.start[1], colour: data.plane.start[2] };
  const drawFront = () => {
    const figure = data.figures.front;
    figure.data.push({ type: "scatter", mode: "markers", meta: "chosen", x: [], y: [], hoverinfo: "skip", showlegend: false,
                       marker: { symbol: "circle-open", size: 19, color: css("--ink"), line: { width: 2.5, color: css("--ink") } } });
    return Plotly.newPlot("front", figure.data, figure.layout, config).then(() => {
      recolour();
      byId("front").on("plotly_click", (event) => {
        const row = event.points[0].customdata;
        if (row !== undefined) choose(row, false);
      });
    });
  };
  const column = (name, rows) => rows.map((row) => value(name, row));
  const staircase = (rows) => {
    const sign = [plane.x, plane.y].map((name) => (data.plane.axes[name].better === "max" ? -1 : 1));
    const points = rows.map((row) => [sign[0] * value(plane.x, row), sign[1] * value(plane.y, row)]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const corners = [];
    for (const [x, y] of points) {
      if (corners.length && y >= corners[corners.length - 1][1]) continue;
      if (corners.length) corners.push([x, corners[corners.length - 1][1]]);
      corners.push([x, y]);
    }
    return [corners.map((p) => sign[0] * p[0]), corners.map((p) => sign[1] * p[1])];
  };
  const redrawPlane = () => {
    const figure = byId("front");
    for (const trace of figure.data) {
      if (!trace.customdata) continue;
      trace.x = column(plane.x, trace.customdata);
      trace.y = column(plane.y, trace.customdata);
      if (trace.meta === "front" && plane.colour) {
        trace.marker.color = column(plane.colour, trace.customdata);
        trace.marker.colorbar.title.text = data.plane.axes[plane.colour].axis.title.text;
      }
    }
    const front = figure.data.find((trace) => trace.meta === "front");
    const line = figure.data.find((trace) => trace.meta === "line");
    if (front && line) [line.x, line.y] = staircase(front.customdata);
    const [x, y] = [data.plane.axes[plane.x], data.plane.axes[plane.y]];
    const layout = Object.assign({}, figure.layout, { xaxis: { ...x.axis }, yaxis: { ...y.axis }, shapes: [...x.x, ...y.y] });
    Plotly.react(figure, figure.data, layout, config).then(recolour).then(markChosen);
  };
  const axisChoices = () => {
    const names = Object.keys(data.plane.axes);
    if (names.length < 3) return;
    for (const [key, title] of [["x", "across"], ["y", "up"], ["colour", "colour"]]) {
      const select = element("select", { id: `axis-${key}` }, ...names.map((name) => new Option(name, name, false, name === plane[key])));
      select.addEventListener("change", () => {
        plane[key] = select.value;
        redrawPlane();
      });
      byId("axes").append(element("label", {}, `${title} `, select));
    }
  };
  const markChosen = () => {
    const at = byId("front").data.findIndex((trace) => trace.meta === "chosen");
    if (at >= 0 && chosen >= 0) Plotly.restyle("front", { x: [[value(plane.x, chosen)]], y: [[value(plane.y, chosen)]] }, [at]);
  };

  /* The table: front rows, or the nearest misses where nothing is feasible. */
  const tableRows = [...Array(data.rows).keys()].filter((row) => ["front", "infeasible"].includes(value("kind", row)));
  const missed = tableRows.some((row) => value("kind", row) === "infeasible");
  const unique = (names) => [...new Set(names)].filter((name) => data.columns[name] !== undefined);
  const headings = () => {
    const goals = unique([...data.objectives.map((o) => o.metric), ...data.limits.map((l) => l.metric), "usd_per_hour", "accelerators"]);
    return [
      { title: "design", unit: "", kind: "text", of: (row) => data.label[row] },
      ...(missed ? unique(["violation", "violations"]).map((name) => ({ title: name, unit: "", kind: name === "violations" ? "text" : "", of: (row) => value(name, row) })) : []),
      ...goals.map((name) => ({ title: name, unit: unit(name), kind: "", of: (row) => value(name, row) })),
      ...unique(["bottleneck"]).map((name) => ({ title: name, unit: "", kind: "text", of: (row) => value(name, row) })),
      ...data.variables.filter((v) => v.varies).map((v) => ({ title: v.short, name: v.name, unit: "", kind: "text", of: (row) => value(v.name, row) })),
    ];
  };
  const heads = headings();
  const compare = (a, b) => {
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const sorting = { at: -1, down: false };
  const lines = new Map();
  const cell = (head, row) => {
    const item = head.of(row);
    return element("td", { class: head.kind }, text(item, head.unit));
  };
  const buildTable = () => {
    const row = element("tr");
    heads.forEach((head, at) => {
      const button = element("button", { type: "button" }, head.title, element("small", {}, head.unit || "\u00a0"));
      button.addEventListener("click", () => sortBy(at));
      row.append(element("th", { scope: "col", class: head.kind, "aria-sort": "none" }, button));
    });
    byId("table").tHead.append(row);
    for (const at of tableRows) {
      const line = element("tr", { tabindex: "0", "aria-selected": "false", "data-row": at }, ...heads.map((head) => cell(head, at)));
      line.addEventListener("click", () => choose(at, false));
      line.addEventListener("keydown", (event) => keyed(event, line, at));
      lines.set(at, line);
    }
    byId("table").tBodies[0].append(...lines.values());
  };
  const keyed = (event, line, at) => {
    if (event.key === "Enter" || event.key === " ") choose(at, false);
    else if (event.key === "ArrowDown" && line.nextElementSibling) line.nextElementSibling.focus();
    else if (event.key === "ArrowUp" && line.previousElementSibling) line.previousElementSibling.focus();
    else return;
    event.preventDefault();
  };
  const sortBy = (at) => {
    sorting.down = sorting.at === at && !sorting.down;
    sorting.at = at;
    [...byId("table").tHead.rows[0].cells].forEach((th, index) => th.setAttribute("aria-sort", index !== at ? "none" : sorting.down ? "descending" : "ascending"));
    arrange();
  };
  const OPERATORS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
  const test = (word) => {
    const parts = /^([\w.*/]+)(<=|>=|<|>|=)(.+)$/.exec(word);
    if (parts && data.columns[parts[1]] !== undefined) {
      const wanted = Number(parts[3]);
      return (row) => {
        const item = value(parts[1], row);
        if (item === null) return false;
        return Number.isNaN(wanted) ? OPERATORS[parts[2]](String(item), parts[3]) : OPERATORS[parts[2]](Number(item), wanted);
      };
    }
    const low = word.toLowerCase();
    return (row) => lines.get(row).textContent.toLowerCase().includes(low);
  };
  const arrange = () => {
    const tests = byId("filter").value.split(/\s+/).filter(Boolean).map(test);
    const kept = tableRows.filter((row) => tests.every((passes) => passes(row)));
    if (sorting.at >= 0) {
      const of = heads[sorting.at].of;
      kept.sort((a, b) => {
        const [x, y] = [of(a), of(b)];
        return x === null || y === null || !sorting.down ? compare(x, y) : -compare(x, y);
      });
    }
    byId("table").tBodies[0].replaceChildren(...kept.map((row) => lines.get(row)));
    byId("count").textContent = `${kept.length} of ${tableRows.length} shown.`;
  };

  /* The chosen design's page. */
  const pairs = (items) => element("table", { class: "pair" }, element("tbody", {}, ...items.map(([name, item, hint]) =>
    element("tr", hint ? { title: hint } : {}, element("td", {}, name), element("td", {}, item)))));
  const part = (title, ...body) => element("div", {}, element("h3", {}, title), ...body);
  const hint = (name) => data.metrics[name].description;
  const STATISTIC = /^(.*)_(mean|p\d+)$/;
  const latencyTable = (names, row) => {
    const found = names.map((name) => STATISTIC.exec(name)).filter(Boolean);
    const [kinds, statistics] = [1, 2].map((group) => [...new Set(found.map((match) => match[group]))]);
    const head = element("tr", {}, element("th", { class: "text" }, ""), ...statistics.map((name) => element("th", { scope: "col" }, name)));
    const body = kinds.map((kind) => element("tr", {}, element("th", { class: "text", scope: "row" }, kind),
      ...statistics.map((name) => element("td", {}, data.metrics[`${kind}_${name}`] ? shown(`${kind}_${name}`, row) : ""))));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  };
  const poolTable = (row) => {
    const names = [...new Set(data.pools.map(([pool]) => pool))].filter((pool) => data.pools.some(([of, , name]) => of === pool && value(name, row) !== null));
    if (!names.length) return null;
    const quantities = [...new Set(data.pools.filter(([, , name]) => value(name, row) !== null).map(([, quantity]) => quantity))];
    const at = (pool, quantity) => data.pools.find(([of, kind]) => of === pool && kind === quantity);
    const entry = (pool, quantity) => {
      const [, , name, kind] = at(pool, quantity) || [];
      const item = name ? value(name, row) : null;
      if (typeof item !== "number" || kind !== "%") return element("td", {}, text(item, kind));
      const bar = element("i");
      bar.style.width = `${Math.min(Math.max(item, 0), 1) * 100}%`;
      return element("td", {}, element("span", { class: "meter", "aria-hidden": "true" }, bar), element("span", { class: "percent" }, `${number(100 * item)} %`));
    };
    const head = element("tr", {}, element("th", {}, ""), ...names.map((pool) => element("th", { scope: "col" }, pool)));
    const body = quantities.map((quantity) => element("tr", {}, element("th", { class: "text", scope: "row" }, quantity.replaceAll("_", " ")), ...names.map((pool) => entry(pool, quantity))));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  };
  const limitTags = (row) => data.limits.filter((limit) => typeof value(limit.metric, row) === "number").map((limit) => {
    const met = OPERATORS[limit.op](value(limit.metric, row), limit.value);
    return element("span", { class: met ? "tag" : "tag bad" }, `${met ? "✓" : "✗"} ${limit.text}`);
  });
  const drawBreakdown = (row) => {
    const cells = data.breakdown.filter(([, , name]) => value(name, row) !== null);
    if (!cells.length || !data.figures.breakdown) return;
    const place = element("div", { id: "breakdown", role: "img", "aria-label": "Mean time of a request by stage and cause, in seconds" });
    byId("breakdown-part").append(place);
    const figure = data.figures.breakdown;
    const stages = [...new Set(cells.map(([stage]) => stage))];
    const traces = figure.data.map((trace) => {
      const x = stages.map((stage) => {
        const found = data.breakdown.find(([of, cause]) => of === stage && cause === trace.meta);
        return found ? value(found[2], row) || 0 : 0;
      });
      return { ...trace, x, y: trace.y.filter((_, at) => stages.includes(trace.customdata[at])), visible: x.some((seconds) => seconds > 0) };
    });
    Plotly.newPlot(place, traces, structuredClone(figure.layout), { ...config, displayModeBar: false }).then(() => Plotly.relayout(place, figureColours()));
  };
  const designPage = (row) => {
    const names = Object.keys(data.metrics).filter((name) => data.columns[name] !== undefined);
    const goals = new Set(data.objectives.map((o) => o.metric));
    const latency = names.filter((name) => unit(name) === "s" && STATISTIC.test(name));
    const cost = names.filter((name) => !latency.includes(name) && /usd|joules|watts|energy|accelerators|power/.test(name));
    const rest = names.filter((name) => !latency.includes(name) && !cost.includes(name));
    const list = (items) => pairs(items.map((name) => [name + (goals.has(name) ? " ◆" : ""), shown(name, row), hint(name)]));
    const tags = [element("span", { class: "tag" }, value("kind", row)), element("span", { class: "tag" }, text(value("fidelity", row))), ...limitTags(row)];
    const wrong = value("violations", row);
    const variables = data.variables.filter((v) => value(v.name, row) !== null).map((v) => [v.short, text(value(v.name, row)), v.name]);
    const pools = poolTable(row);
    const bottleneck = value("bottleneck", row);
    const page = [
      element("p", { class: "name" }, data.label[row]), element("p", { class: "caption" }, `id ${text(value("design_id", row))}`), element("div", {}, ...tags),
      ...(wrong ? [element("p", { class: "notice" }, `Violated: ${wrong}`)] : []),
      element("div", { id: "breakdown-part" }, element("h3", {}, "Where a request's time goes")),
      ...(latency.length ? [part("Latency", latencyTable(latency, row))] : []),
      ...(pools || bottleneck ? [part("Pools", ...(bottleneck ? [element("p", {}, `Bottleneck: ${bottleneck}`)] : []), ...(pools ? [pools] : []))] : []),
      element("div", { class: "columns" }, ...(cost.length ? [part("Cost and energy", list(cost))] : []), ...(rest.length ? [part("Throughput and service", list(rest))] : [])),
      ...(variables.length ? [part("Design variables", pairs(variables))] : []),
    ];
    byId("design").replaceChildren(...page);
    drawBreakdown(row);
    if (!byId("breakdown")) byId("breakdown-part").remove();
  };
  const choose = (row, quiet) => {
    if (lines.has(chosen)) lines.get(chosen).setAttribute("aria-selected", "false");
    chosen = row;
    if (lines.has(row)) {
      lines.get(row).setAttribute("aria-selected", "true");
      if (!quiet) lines.get(row).scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    designPage(row);
    markChosen();
  };

  const ready = () => { performance.mark("ready"); document.body.dataset.ready = "yes"; };
  byId("theme").addEventListener("click", () => setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme || "system") + 1) % themes.length]));
  system.addEventListener("change", recolour);
  byId("filter").addEventListener("input", arrange);
  buildTable();
  arrange();
  axisChoices();
  if (data.rows) drawFront().then(() => { choose(tableRows.length ? tableRows[0] : 0, true); ready(); });
  else { byId("plot").hidden = true; ready(); }
  window.addEventListener("beforeprint", () => {
    const before = document.documentElement.dataset.theme || "system";
    setTheme("light");
    window.addEventListener("afterprint", () => setTheme(before), { once: true });
  });
})();
