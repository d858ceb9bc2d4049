/* What stands beside the pointer: the whole design, its objectives with measured error, and how often it stays on the front. */
const Hint = (tools) => {
  const { data, value, element } = tools;
  const place = byId("hint");
  const metrics = [...new Set([...data.objectives, ...data.limits].map((goal) => goal.metric))].filter((name) => data.columns[name] !== undefined);
  const entry = (name, item) => element("div", {}, element("dt", {}, name), element("dd", {}, item));
  const metricText = (name, row) => {
    const interval = tools.interval(name, row);
    return tools.shown(name, row) + (interval ? ` (${interval.map((end) => tools.text(end, tools.unit(name))).join(" to ")})` : "");
  };
  const content = (row) => {
    const label = data.label[row];
    const others = data.variables.filter((v) => !v.name.startsWith("pools.") && value(v.name, row) !== null)
      .map((v) => [v.short, tools.text(value(v.name, row))]).filter(([, item]) => !label.includes(item));
    const [wrong, coverage] = [value("violations", row), tools.coverage(row)];
    const measured = coverage ? `Bars and brackets: where ${tools.percent(coverage)} of like measurements lay.` : "";
    return [
      element("p", {}, label),
      element("dl", {}, ...metrics.map((name) => entry(name, metricText(name, row))),
        ...tools.shares(row).map(([name, share]) => entry(`on the front, ${name}`, share)),
        ...others.map(([name, item]) => entry(name, item)), ...(wrong ? [entry("violated", wrong)] : [])),
      ...(measured ? [element("p", { class: "small" }, measured)] : []),
    ];
  };
  const show = (row, point) => {
    place.hidden = row < 0 || !point;
    if (place.hidden) return;
    place.replaceChildren(...content(row));
    const box = place.getBoundingClientRect();
    const left = point.x + 18 + box.width < window.innerWidth ? point.x + 18 : point.x - 18 - box.width;
    place.style.left = `${Math.max(left, 4)}px`;
    place.style.top = `${Math.min(Math.max(point.y - box.height / 2, 4), Math.max(window.innerHeight - box.height - 4, 4))}px`;
  };
  return { hovered: show };
};
