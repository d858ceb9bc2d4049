/* The front in a plane of two objectives: a third in colour, what it dominates behind it, marks over it for chosen, second and hovered. */
const FrontPlot = (tools) => {
  const { data, value, element, plane, state } = tools;
  const place = byId("front");
  const figure = data.figures.front;
  const svg = elementIn("http://www.w3.org/2000/svg");
  const column = (name, rows) => rows.map((row) => value(name, row));
  const staircase = (rows) => {
    const sign = [plane.x, plane.y].map((name) => (data.plane.axes[name].better === "max" ? -1 : 1));
    const known = rows.filter((row) => value(plane.x, row) !== null && value(plane.y, row) !== null);
    const points = known.map((row) => [sign[0] * value(plane.x, row), sign[1] * value(plane.y, row)]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const corners = [];
    for (const [x, y] of points) {
      if (corners.length && y >= corners[corners.length - 1][1]) continue;
      if (corners.length) corners.push([x, corners[corners.length - 1][1]]);
      corners.push([x, y]);
    }
    return { x: corners.map((p) => sign[0] * p[0]), y: corners.map((p) => sign[1] * p[1]) };
  };

  /* Drawn anew as a whole: the theme, the plane, the rows kept. */
  const marker = (trace) => {
    if (trace.meta !== "front") return trace.marker;
    const opacity = trace.customdata.map((row) => 0.4 + 0.6 * tools.certainty(row));
    if (!plane.colour) return { ...trace.marker, opacity, color: tools.css("--accent"), line: { width: 1, color: tools.css("--paper") } };
    const title = { text: data.plane.axes[plane.colour].axis.title.text, side: "right" };
    return { ...trace.marker, opacity, color: column(plane.colour, trace.customdata), colorscale: tools.scale(), showscale: true,
             colorbar: { title, thickness: 14, outlinewidth: 0 }, line: { width: 1, color: tools.css("--soft") } };
  };
  const traces = () => figure.data.map((trace) => {
    if (trace.meta === "line") return { ...trace, ...staircase(tools.fronts), line: { ...trace.line, color: tools.css("--accent") } };
    const rows = trace.customdata;
    const selectedpoints = tools.keep.any() ? [...rows.keys()].filter((at) => tools.keep.has(rows[at])) : null;
    return { ...trace, x: column(plane.x, rows), y: column(plane.y, rows), hoverinfo: "none", marker: marker(trace),
             selectedpoints, selected: { marker: {} }, unselected: { marker: { opacity: 0.08 } } };
  });
  const layout = () => {
    const [x, y] = [data.plane.axes[plane.x], data.plane.axes[plane.y]];
    const made = structuredClone({ ...figure.layout, xaxis: x.axis, yaxis: y.axis, shapes: [...x.x, ...y.y], uirevision: `${plane.x} ${plane.y}` });
    for (const [path, colour] of Object.entries(tools.figureColours())) {
      const [outer, ...inner] = path.split(".");
      const last = inner.pop();
      const holder = inner.reduce((at, name) => (at[name] ??= {}), (made[outer] ??= {}));
      holder[last] = colour;
    }
    return made;
  };
  const draw = () => Plotly.react(place, traces(), layout(), tools.config);
  let waiting = 0;
  const drawSoon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 60);
  };

  /* Marks lie in a layer of their own, so that none redraws thousands of points. */
  const position = (row) => {
    const { xaxis, yaxis } = place._fullLayout;
    const [x, y] = [value(plane.x, row), value(plane.y, row)];
    if (x === null || y === null) return null;
    const at = { x: xaxis._offset + xaxis.d2p(x), y: yaxis._offset + yaxis.d2p(y) };
    const within = (axis, pixel) => pixel >= axis._offset - 1 && pixel <= axis._offset + axis._length + 1;
    return within(xaxis, at.x) && within(yaxis, at.y) ? at : null;
  };
  const bars = (row, at, name) => {
    const { xaxis, yaxis } = place._fullLayout;
    const within = (axis, item) => axis._offset + Math.min(Math.max(axis.d2p(item), 0), axis._length);
    const [across, up] = [tools.interval(plane.x, row), tools.interval(plane.y, row)];
    const lines = [];
    if (across) lines.push([...across.map((end) => within(xaxis, end)), at.y, at.y]);
    if (up) lines.push([at.x, at.x, ...up.map((end) => within(yaxis, end))]);
    return lines.map(([x1, x2, y1, y2]) => svg("line", { class: `interval ${name}`, x1, x2, y1, y2 }));
  };
  const ring = (row, name, letter) => {
    const at = row >= 0 && position(row);
    if (!at) return [];
    const made = [...bars(row, at, name), svg("circle", { class: name, "data-row": row, cx: at.x, cy: at.y, r: name === "hovered" ? 8 : 10 })];
    return letter ? [...made, svg("text", { class: name, x: at.x + 13, y: at.y - 9 }, letter)] : made;
  };
  const mark = () => {
    if (!place._fullLayout) return;
    const letters = state.second >= 0 ? ["A", "B"] : ["", ""];
    const rings = [ring(state.chosen, "chosen", letters[0]), ring(state.second, "second", letters[1]), ring(state.hovered, "hovered", "")];
    byId("front-marks").replaceChildren(...rings.flat());
  };

  const axisChoices = () => {
    const names = Object.keys(data.plane.axes);
    if (names.length < 3) return;
    for (const [key, title] of [["x", "across"], ["y", "up"], ["colour", "colour"]]) {
      const select = element("select", { id: `axis-${key}` }, ...names.map((name) => new Option(name, name, false, name === plane[key])));
      select.addEventListener("change", () => {
        plane[key] = select.value;
        tools.recolour();
      });
      byId("axes").append(element("label", {}, `${title} `, select));
    }
  };
  const keyed = (event) => {
    const order = tools.rows.filter((row) => tools.keep.has(row) && position(row)).sort((a, b) => value(plane.x, a) - value(plane.x, b));
    const at = order.indexOf(state.hovered);
    const next = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: order.length - 1 }[event.key];
    if (next !== undefined && order.length) {
      const row = order[Math.min(Math.max(next, 0), order.length - 1)];
      const box = place.getBoundingClientRect();
      const spot = position(row);
      tools.hover(row, { x: box.left + spot.x, y: box.top + spot.y });
      tools.say(data.label[row]);
    } else if ((event.key === "Enter" || event.key === " ") && state.hovered >= 0) tools.choose(state.hovered, false);
    else return;
    event.preventDefault();
  };
  const listen = () => {
    const row = (event) => event.points[0].customdata;
    place.on("plotly_hover", (event) => {
      if (row(event) === undefined) return;
      const box = place.getBoundingClientRect();
      const spot = position(row(event));
      tools.hover(row(event), spot && { x: box.left + spot.x, y: box.top + spot.y });
    });
    place.on("plotly_unhover", () => tools.hover(-1));
    place.on("plotly_click", (event) => { if (row(event) !== undefined) tools.pick(row(event), event.event.shiftKey); });
    place.on("plotly_afterplot", mark);
    place.on("plotly_relayouting", mark);
    place.addEventListener("keydown", keyed);
    place.addEventListener("blur", () => tools.hover(-1));
  };
  axisChoices();
  return { start: () => draw().then(listen).then(mark), recolour: draw, kept: drawSoon, marked: mark, hovered: mark };
};
