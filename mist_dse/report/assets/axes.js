/* Parallel axes: what stands on them, and where a row lies, from 0 at the foot to 1 at the head. */
const ParallelAxes = (tools) => {
  const { data, value } = tools;
  const WIDE = 20;
  const FEW = 12;
  const FOOT = 0.09;
  const known = (name) => tools.rows.map((row) => value(name, row)).filter((item) => item !== null);
  const absent = (name) => tools.rows.some((row) => value(name, row) === null);

  const stepped = (items, foot) => {
    const order = [...new Set(items)].sort(tools.order);
    const at = (item) => (order.length < 2 ? 0.5 : foot + ((1 - foot) * order.indexOf(item)) / (order.length - 1));
    return { at: (item) => (order.includes(item) ? at(item) : null), ticks: order.map((item) => ({ at: at(item), item })), steps: order.map(at) };
  };
  const nice = (low, high) => {
    const rough = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
    const first = Math.ceil(low / step - 1e-9);
    return [...Array(Math.floor(high / step + 1e-9) - first + 1).keys()].map((at) => (first + at) * step);
  };
  const decades = (low, high) => {
    const powers = [...Array(Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low)) + 1).keys()].map((at) => at + Math.floor(Math.log10(low)));
    const digits = high / low > 1e3 ? [1] : [1, 2, 5];
    return powers.flatMap((power) => digits.map((digit) => digit * 10 ** power)).filter((item) => item >= low * 0.999 && item <= high * 1.001);
  };
  const scaled = (items, foot) => {
    const [low, high] = [items.reduce((a, b) => Math.min(a, b)), items.reduce((a, b) => Math.max(a, b))];
    if (low === high) return { at: (item) => (item === low ? 0.5 : item < low ? foot : 1), ticks: [{ at: 0.5, item: low }], steps: null };
    const log = low > 0 && high / low > WIDE;
    const along = log ? Math.log : (x) => x;
    const at = (item) => foot + ((1 - foot) * (along(Math.max(item, log ? low / 10 : item)) - along(low))) / (along(high) - along(low));
    return { at, ticks: (log ? decades(low, high) : nice(low, high)).map((item) => ({ at: at(item), item })), steps: null };
  };
  const axis = (name, title, owner, unit, metric) => {
    const items = known(name);
    const foot = absent(name) ? FOOT : 0;
    const numeric = items.every((item) => typeof item === "number") && (metric || new Set(items).size > FEW);
    const made = (numeric ? scaled : stepped)(items, foot);
    const none = foot ? [{ at: 0, item: null }] : [];
    const text = (item) => tools.text(item, unit);
    return {
      name, title, owner, unit, better: metric ? data.metrics[name].direction : "",
      ticks: [...none, ...made.ticks].map((tick) => ({ at: tick.at, label: tick.item === null ? "none" : text(tick.item) })),
      steps: made.steps && [...none.map((tick) => tick.at), ...made.steps],
      at: (row) => {
        const item = value(name, row);
        return item === null ? (foot ? 0 : null) : made.at(item);
      },
    };
  };
  const metrics = [...new Set([...data.objectives, ...data.limits].map((goal) => goal.metric))];
  const varied = data.variables.filter((v) => new Set(tools.rows.map((row) => value(v.name, row))).size > 1);
  return [
    ...metrics.filter((name) => data.columns[name] !== undefined && known(name).length).map((name) => axis(name, name, "", tools.unit(name), true)),
    ...varied.map((v) => {
      const words = v.short.split(" ");
      return axis(v.name, words[words.length - 1], words.slice(0, -1).join(" "), "", false);
    }),
  ];
};
