/* Two designs side by side: what is built differently, and what that changes in every metric. */
const Comparison = (tools) => {
  const { data, value, element, state } = tools;
  const place = byId("comparison");
  const SAME = 0.001;
  const change = (name, a, b) => {
    if (a === null || b === null) return ["", ""];
    if (a === b) return ["same", ""];
    const share = a === 0 ? null : b / a - 1;
    if (share !== null && Math.abs(share) < SAME) return ["same", ""];
    const better = (b < a) === (data.metrics[name].direction === "min");
    const percent = `${share > 0 ? "+" : "−"}${Number(Math.abs(100 * share).toPrecision(2))} %`;
    const size = share === null ? "" : Math.abs(share) < 1 ? percent : `${tools.number(b / a)} ×`;
    return [`${size} ${better ? "better" : "worse"}`.trim(), better ? "good" : "bad"];
  };
  const line = (name, a, b, [words, kind], title) => element("tr", title ? { title } : {}, element("th", { class: "text", scope: "row" }, ...name.split(/(?<=_)/).flatMap((part) => [element("wbr"), part])),
    element("td", {}, a), element("td", {}, b), element("td", { class: kind }, words));
  const metricLine = (name) => {
    const [a, b] = [value(name, state.chosen), value(name, state.second)];
    const goal = data.objectives.some((o) => o.metric === name) ? " ◆" : "";
    return line(name + goal, tools.shown(name, state.chosen), tools.shown(name, state.second), change(name, a, b), data.metrics[name].description);
  };
  const head = (...titles) => element("thead", {}, element("tr", {},
    ...titles.map((title, at) => element("th", { scope: "col", class: at ? "" : "text" }, title))));
  const content = () => {
    const [a, b] = [state.chosen, state.second];
    const goals = data.objectives.map((o) => o.metric);
    const metrics = [...new Set([...goals, ...data.limits.map((l) => l.metric), ...Object.keys(data.metrics)])]
      .filter((name) => data.metrics[name] && data.columns[name] !== undefined && (value(name, a) !== null || value(name, b) !== null));
    const variables = data.variables.filter((v) => value(v.name, a) !== value(v.name, b));
    const same = data.variables.filter((v) => value(v.name, a) !== null && value(v.name, a) === value(v.name, b)).length;
    const bottleneck = data.columns.bottleneck ? [line("bottleneck", tools.shown("bottleneck", a), tools.shown("bottleneck", b), ["", ""])] : [];
    const rest = same ? `${same} variable${same > 1 ? "s are" : " is"} the same.` : "";
    return [
      element("p", { class: "sides" }, element("b", { class: "side chosen" }, "A"), ` ${data.label[a]}`, element("br"),
        element("b", { class: "side second" }, "B"), ` ${data.label[b]}`),
      ...(variables.length ? [element("table", { class: "versus" }, head("built differently", "A", "B", ""), element("tbody", {},
        ...variables.map((v) => line(v.short, tools.text(value(v.name, a)), tools.text(value(v.name, b)), ["", ""], v.name)))) ] : []),
      element("p", { class: "caption" }, variables.length ? rest : "Both have the same variables."),
      element("table", { class: "versus" }, head("metric", "A", "B", "B against A"), element("tbody", {}, ...metrics.map(metricLine), ...bottleneck)),
    ];
  };
  const marked = () => {
    place.hidden = state.second < 0 || state.chosen < 0;
    if (!place.hidden) byId("versus").replaceChildren(...content());
  };
  byId("swap").addEventListener("click", () => tools.swap());
  byId("uncompare").addEventListener("click", () => tools.compare(-1));
  return { marked };
};
