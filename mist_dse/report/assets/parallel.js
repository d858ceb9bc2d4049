/* Linked parallel coordinates: a line per design of the table; a range on any axis keeps the designs within it everywhere. */
const ParallelPlot = (tools) => {
  const { data, state } = tools;
  const svg = elementIn("http://www.w3.org/2000/svg");
  const place = byId("parallel");
  const axes = ParallelAxes(tools);
  const TOP = 92;
  const HEIGHT = 250;
  const MARGIN = 56;
  const LEAST = 64;
  const NEAR = 10;
  const ranges = axes.map(() => [0, 1]);
  let spacing = LEAST;
  const across = (index) => MARGIN + index * spacing;
  const down = (at) => TOP + HEIGHT * (1 - Math.min(Math.max(at, -0.04), 1.04));
  const places = new Map(tools.rows.map((row) => [row, axes.map((axis) => axis.at(row))]));

  /* Lines: one path per shade, and one for all that are not kept. */
  const line = (row) => {
    let pen = "M";
    return (places.get(row) || axes.map((axis) => axis.at(row))).map((at, index) => {
      if (at === null) { pen = "M"; return ""; }
      const part = `${pen}${across(index).toFixed(1)} ${down(at).toFixed(1)}`;
      pen = "L";
      return part;
    }).join("");
  };
  const layers = { lines: svg("g", { class: "lines" }), axes: svg("g"), marks: svg("g", { class: "marks" }) };
  const drawLines = () => {
    const shades = new Map();
    const dropped = [];
    for (const row of tools.rows) {
      if (!tools.keep.has(row)) { dropped.push(line(row)); continue; }
      const colour = tools.colour(row);
      if (!shades.has(colour)) shades.set(colour, []);
      shades.get(colour).push(line(row));
    }
    const crowd = Math.min(Math.max(12 / Math.sqrt(tools.rows.length), 0.35), 0.9);
    const made = [...shades].map(([colour, paths]) => svg("path", { d: paths.join(""), stroke: colour, "stroke-opacity": crowd }));
    layers.lines.replaceChildren(...(dropped.length ? [svg("path", { class: "dropped", d: dropped.join("") })] : []), ...made);
  };
  const mark = () => {
    const marks = [["chosen", state.chosen, "A"], ["second", state.second, "B"], ["hovered", state.hovered, ""]].filter(([, row]) => row >= 0);
    layers.marks.replaceChildren(...marks.flatMap(([name, row, letter]) => {
      const first = axes[0].at(row);
      const path = svg("path", { class: name, "data-row": row, d: line(row) });
      return letter && state.second >= 0 && first !== null ? [path, svg("text", { class: name, x: across(0) - 14, y: down(first) + 4 }, letter)] : [path];
    }));
  };

  /* Ranges. */
  const constrained = (index) => ranges[index][0] > 0 || ranges[index][1] < 1;
  const brush = (index, low, high) => {
    ranges[index] = [Math.max(low, 0), Math.min(high, 1)];
    const [from, to] = ranges[index];
    drawRange(index);
    tools.keep.brush(axes[index].name, constrained(index) && ((row) => {
      const at = axes[index].at(row);
      return at !== null && (from <= 0 || at >= from - 1e-9) && (to >= 1 || at <= to + 1e-9);
    }));
  };
  const clear = () => axes.forEach((_, index) => { if (constrained(index)) brush(index, 0, 1); });
  const endText = (index, at) => {
    const axis = axes[index];
    let [best, found] = [Infinity, -1];
    for (const row of tools.rows) {
      const far = Math.abs(axis.at(row) - at);
      if (far < best) [best, found] = [far, row];
    }
    return tools.shown(axis.name, found);
  };
  const drawRange = (index) => {
    const [low, high] = ranges[index];
    const holder = layers.axes.children[index];
    const box = holder.querySelector(".range");
    box.setAttribute("y", down(high));
    box.setAttribute("height", down(low) - down(high));
    holder.classList.toggle("constrained", constrained(index));
    [...holder.querySelectorAll(".end")].forEach((handle, end) => {
      handle.setAttribute("transform", `translate(${across(index)} ${down(ranges[index][end])})`);
      handle.setAttribute("aria-valuenow", ranges[index][end].toFixed(3));
      handle.setAttribute("aria-valuetext", endText(index, ranges[index][end]));
    });
    byId("unbrush").hidden = !axes.some((_, at) => constrained(at));
  };
  const stepped = (index, end, way) => {
    const now = ranges[index][end];
    const steps = axes[index].steps;
    if (!steps) return now + 0.02 * way;
    const next = way > 0 ? steps.find((at) => at > now + 1e-9) : steps.findLast((at) => at < now - 1e-9);
    return next === undefined ? now : next;
  };
  const moved = (index, end, at) => {
    const range = [...ranges[index]];
    range[end] = end === 0 ? Math.min(at, range[1]) : Math.max(at, range[0]);
    brush(index, ...range);
  };
  const keyed = (event, index, end) => {
    const ends = [...layers.axes.querySelectorAll(".end")];
    const here = 2 * index + end;
    const side = { ArrowRight: 2, ArrowLeft: -2 }[event.key];
    const way = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
    if (side) focusOn(ends[Math.min(Math.max(here + side, end), ends.length - 2 + end)]);
    else if (event.key === "Enter" || event.key === " ") focusOn(ends[2 * index + 1 - end]);
    else if (way) for (let count = 0; count < Math.abs(way); count += 1) moved(index, end, stepped(index, end, Math.sign(way)));
    else if (event.key === "Home" || event.key === "End") moved(index, end, event.key === "Home" ? 0 : 1);
    else if (event.key === "Escape" && constrained(index)) brush(index, 0, 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const focusOn = (handle) => {
    layers.axes.querySelectorAll(".end").forEach((other) => other.setAttribute("tabindex", other === handle ? "0" : "-1"));
    handle.focus();
  };

  /* Axes. */
  const LETTER = 7.2;
  const short = (title, room) => (title.length * LETTER > room ? `${title.slice(0, Math.max(Math.floor(room / LETTER) - 1, 3))}…` : title);
  const drawAxis = (axis, index) => {
    const [x, high, low] = [across(index), down(1), down(0)];
    const better = { min: "lower is better", max: "higher is better" }[axis.better] || "";
    const staggered = spacing < 130;
    const top = staggered && index % 2 === 0 ? 16 : 52;
    const arrow = { min: " ↓", max: " ↑" }[axis.better] || "";
    const room = (staggered ? 2 : 1) * (spacing || 200) - 10;
    const heads = [svg("text", { class: "head", x, y: top }, short(axis.title, room)),
                   svg("text", { class: "sub", x, y: top + 15 }, short(`${axis.unit || axis.owner}${arrow}`, room)),
                   svg("line", { class: "leader", x1: x, x2: x, y1: top + 20, y2: high - 9 })];
    heads[0].append(svg("title", {}, `${axis.name}${axis.unit && `, ${axis.unit}`}${better && `, ${better}`}`));
    const ticks = axis.ticks.flatMap((tick) => [svg("line", { x1: x - 4, x2: x + 4, y1: down(tick.at), y2: down(tick.at) }),
      svg("text", { class: "tick", x: x + 8, y: down(tick.at) + 4 }, short(tick.label, Math.max(spacing, 70) - 8))]);
    const ends = ["lowest", "highest"].map((name, end) => {
      const handle = svg("g", { class: "end", role: "slider", tabindex: index + end === 0 ? "0" : "-1", "aria-orientation": "vertical",
                                "aria-label": `${name} ${axis.owner} ${axis.title}`, "aria-valuemin": "0", "aria-valuemax": "1" },
        svg("path", { d: end ? "M-8 0L8 0L5 -7L-5 -7Z" : "M-8 0L8 0L5 7L-5 7Z" }));
      handle.addEventListener("keydown", (event) => keyed(event, index, end));
      return handle;
    });
    return svg("g", { class: "axis" }, svg("line", { class: "stem", x1: x, x2: x, y1: high, y2: low }), ...ticks,
      svg("rect", { class: "range", x: x - 7, width: 14 }), ...heads, ...ends);
  };
  const root = svg("svg", { role: "group", "aria-label": "Parallel coordinates of the designs in the table" }, layers.lines, layers.axes, layers.marks);
  const draw = () => {
    const width = Math.max(place.clientWidth, 2 * MARGIN + LEAST * (axes.length - 1));
    spacing = axes.length > 1 ? (width - 2 * MARGIN - 24) / (axes.length - 1) : 0;
    root.setAttribute("viewBox", `0 0 ${width} ${TOP + HEIGHT + 16}`);
    root.setAttribute("width", width);
    root.setAttribute("height", TOP + HEIGHT + 16);
    layers.axes.replaceChildren(...axes.map(drawAxis));
    axes.forEach((_, index) => drawRange(index));
    drawLines();
    mark();
  };

  /* Pointer: near an axis it draws, moves or clears a range; elsewhere it hovers and chooses the nearest line. */
  const spot = (event) => {
    const box = root.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const index = spacing ? Math.round((x - MARGIN) / spacing) : 0;
    const near = index >= 0 && index < axes.length && Math.abs(x - across(index)) <= NEAR && y > TOP - 10;
    return { x, y, at: Math.min(Math.max(1 - (y - TOP) / HEIGHT, 0), 1), axis: near ? index : -1 };
  };
  const nearest = ({ x, y }) => {
    const left = Math.min(Math.max(Math.floor((x - MARGIN) / (spacing || 1)), 0), axes.length - 2);
    const share = (x - across(left)) / spacing;
    let [best, found] = [NEAR, -1];
    for (const row of tools.rows) {
      const [from, to] = [places.get(row)[left], places.get(row)[left + 1]];
      if (from === null || to === null || from === undefined || to === undefined || !tools.keep.has(row)) continue;
      const far = Math.abs(down(from) + share * (down(to) - down(from)) - y);
      if (far < best) [best, found] = [far, row];
    }
    return found;
  };
  let drag = null;
  const grab = (event) => {
    const { axis, at } = spot(event);
    if (axis < 0 || event.button !== 0) return;
    const [low, high] = ranges[axis];
    const reach = NEAR / HEIGHT;
    const kind = Math.abs(at - high) < reach ? 1 : Math.abs(at - low) < reach ? 0 : constrained(axis) && at > low && at < high ? "move" : "new";
    drag = { axis, at, kind, low, high, moved: false };
    root.setPointerCapture(event.pointerId);
    event.preventDefault();
  };
  const dragged = (at) => {
    const { axis, kind, low, high } = drag;
    if (Math.abs(at - drag.at) > 0.01) drag.moved = true;
    if (!drag.moved) return;
    if (kind === "new") brush(axis, Math.min(at, drag.at), Math.max(at, drag.at));
    else if (kind === "move") brush(axis, Math.min(Math.max(low + at - drag.at, 0), 1 - (high - low)), Math.max(Math.min(high + at - drag.at, 1), high - low));
    else moved(axis, kind, at);
  };
  const listen = () => {
    root.addEventListener("pointerdown", grab);
    root.addEventListener("pointermove", (event) => {
      const here = spot(event);
      if (drag && !event.buttons) drag = null;
      if (drag) return dragged(here.at);
      root.style.cursor = here.axis >= 0 ? "ns-resize" : "";
      const row = here.axis >= 0 || axes.length < 2 ? -1 : nearest(here);
      return tools.hover(row, { x: event.clientX, y: event.clientY });
    });
    root.addEventListener("pointerup", () => {
      if (drag && !drag.moved && (drag.kind === "new" || drag.kind === "move")) brush(drag.axis, 0, 1);
    });
    root.addEventListener("click", (event) => {
      if (!drag && state.hovered >= 0) tools.pick(state.hovered, event.shiftKey);
      drag = null;
    });
    root.addEventListener("pointerleave", () => { if (!drag) tools.hover(-1); });
    byId("unbrush").addEventListener("click", () => { clear(); focusOn(layers.axes.querySelector(".end")); });
    new ResizeObserver(() => { if (Math.abs(Number(root.getAttribute("width")) - place.clientWidth) > 1) draw(); }).observe(place);
  };
  if (!axes.length || !tools.rows.length) {
    byId("parallel-part").hidden = true;
    return {};
  }
  place.append(root);
  listen();
  draw();
  return { recolour: drawLines, kept: drawLines, marked: mark, hovered: mark, clear };
};
