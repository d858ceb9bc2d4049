/* The chosen design's page: what it is, its limits, its metrics and variables; figures of its inside follow from design.js. */
const ChosenDesign = (tools) => {
  const { data, value, text, unit, shown, element, state } = tools;
  const pairs = (items) => element("table", { class: "pair" }, element("tbody", {}, ...items.map(([name, item, hint]) =>
    element("tr", hint ? { title: hint } : {}, element("td", {}, name), element("td", {}, item)))));
  const part = (title, ...body) => element("div", {}, element("h3", {}, title), ...body);
  const STATISTIC = /^(.*)_(mean|p\d+)$/;
  const latencyTable = (names, row) => {
    const found = names.map((name) => STATISTIC.exec(name)).filter(Boolean);
    const [kinds, statistics] = [1, 2].map((group) => [...new Set(found.map((match) => match[group]))]);
    const head = element("tr", {}, element("th", { class: "text" }, ""), ...statistics.map((name) => element("th", { scope: "col" }, name)));
    const body = kinds.map((kind) => element("tr", {}, element("th", { class: "text", scope: "row" }, kind),
      ...statistics.map((name) => element("td", {}, data.metrics[`${kind}_${name}`] ? shown(`${kind}_${name}`, row) : ""))));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  };
  const limitTags = (row) => data.limits.filter((limit) => typeof value(limit.metric, row) === "number").map((limit) => {
    const met = tools.keep.meets(limit, row);
    return element("span", { class: met ? "tag" : "tag bad" }, `${met ? "✓" : "✗"} ${limit.text}`);
  });
  const robust = (row) => {
    const shares = tools.shares(row);
    const words = "Share of draws in which the design is still on the front, as one thing changes.";
    return shares.length ? [part("Stays on the front", element("p", { class: "caption" }, words), pairs(shares))] : [];
  };
  const page = (row) => {
    const names = Object.keys(data.metrics).filter((name) => data.columns[name] !== undefined);
    const goals = new Set(data.objectives.map((o) => o.metric));
    const latency = names.filter((name) => unit(name) === "s" && STATISTIC.test(name));
    const cost = names.filter((name) => !latency.includes(name) && /usd|joules|watts|energy|accelerators|power/.test(name));
    const rest = names.filter((name) => !latency.includes(name) && !cost.includes(name));
    const list = (items) => pairs(items.map((name) => [name + (goals.has(name) ? " ◆" : ""), shown(name, row), data.metrics[name].description]));
    const tags = [element("span", { class: "tag" }, value("kind", row)), element("span", { class: "tag" }, text(value("fidelity", row))), ...limitTags(row)];
    const wrong = value("violations", row);
    const twin = value("same_as", row);
    const variables = data.variables.filter((v) => value(v.name, row) !== null).map((v) => [v.short, text(value(v.name, row)), v.name]);
    return [
      element("p", { class: "name" }, data.label[row]),
      element("p", { class: "caption" }, `id ${text(value("design_id", row))}`),
      ...(twin ? [element("p", { class: "caption" }, `Not simulated: of the same outcome as ${twin}.`)] : []),
      element("div", {}, ...tags),
      ...(wrong ? [element("p", { class: "notice" }, `Violated: ${wrong}`)] : []),
      ...(latency.length ? [part("Latency", latencyTable(latency, row))] : []),
      ...DesignSections.sections(row, tools),
      element("div", { class: "columns" }, ...[["Cost and energy", cost], ["Throughput and service", rest]]
        .filter(([, items]) => items.length).map(([title, items]) => part(title, list(items)))),
      ...robust(row),
      ...(variables.length ? [part("Design variables", pairs(variables))] : []),
    ];
  };
  let drawn = -1;
  const marked = () => {
    byId("pick").hidden = data.rows < 2;
    byId("pick").setAttribute("aria-pressed", String(state.picking));
    byId("pick").textContent = state.picking ? "Choose the second design …" : "Compare with another";
    if (state.chosen < 0 || state.chosen === drawn) return;
    drawn = state.chosen;
    byId("design").replaceChildren(...page(drawn));
    DesignSections.drawn(drawn, tools);
  };
  byId("pick").addEventListener("click", () => tools.picking(!state.picking));
  return { marked, recolour: () => { if (drawn >= 0) DesignSections.recolour(tools); } };
};
