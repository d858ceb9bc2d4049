/* The table: front rows, or the nearest misses where nothing is feasible. Lines are made as they come into view. */
const DesignTable = (tools) => {
  const { data, element, state, heads } = tools;
  const CHUNK = 60;
  const PRINTED = 200;
  const table = byId("table");
  const body = table.tBodies[0];
  const scroll = table.parentElement;
  const sorting = { at: -1, down: false };
  const lines = new Map();
  let order = tools.rows;
  let made = 0;

  const lineOf = (row) => {
    const cells = () => heads.map((head) => element("td", { class: head.kind }, head.text(row)));
    if (!lines.has(row)) lines.set(row, element("tr", { tabindex: "-1", "data-row": row }, ...cells()));
    const line = lines.get(row);
    line.setAttribute("aria-selected", String(row === state.chosen));
    line.classList.toggle("second", row === state.second);
    line.classList.toggle("hovered", row === state.hovered);
    return line;
  };
  const more = (least) => {
    const end = Math.min(Math.max(least, made + CHUNK), order.length);
    body.append(...order.slice(made, end).map(lineOf));
    made = end;
  };
  const fill = () => {
    while (made < order.length && scroll.scrollTop + scroll.clientHeight > scroll.scrollHeight - 400) more(0);
  };
  const entry = () => {
    const rows = [...body.rows];
    const first = lines.get(state.chosen);
    rows.forEach((line) => line.setAttribute("tabindex", "-1"));
    const tabbed = first && first.isConnected ? first : rows[0];
    if (tabbed) tabbed.setAttribute("tabindex", "0");
  };
  const arrange = () => {
    order = tools.rows.filter((row) => tools.keep.has(row));
    if (sorting.at >= 0) {
      const of = heads[sorting.at].of;
      order.sort((a, b) => {
        const [x, y] = [of(a), of(b)];
        return x === null || y === null || !sorting.down ? tools.order(x, y) : -tools.order(x, y);
      });
    }
    body.replaceChildren();
    scroll.scrollTop = 0;
    made = 0;
    more(0);
    fill();
    entry();
    byId("count").textContent = `${order.length} of ${tools.rows.length} shown.`;
  };
  const sortBy = (at) => {
    sorting.down = sorting.at === at && !sorting.down;
    sorting.at = at;
    [...table.tHead.rows[0].cells].forEach((th, index) => th.setAttribute("aria-sort", index !== at ? "none" : sorting.down ? "descending" : "ascending"));
    arrange();
  };
  const buildHead = () => {
    table.tHead.append(element("tr", {}, ...heads.map((head, at) => {
      const below = element("small", {}, head.unit || "\u00a0");
      const button = element("button", { type: "button", title: head.hint || `Sort by ${head.title}` }, head.title, below);
      button.addEventListener("click", () => sortBy(at));
      return element("th", { scope: "col", class: head.kind, "aria-sort": "none" }, button);
    })));
  };

  const rowOf = (event) => {
    const line = event.target.closest("tr[data-row]");
    return line ? Number(line.dataset.row) : -1;
  };
  const go = (line) => {
    if (line) line.focus();
  };
  const keyed = (event) => {
    const line = event.target.closest("tr[data-row]");
    if (!line) return;
    if (event.key === "ArrowDown" && !line.nextElementSibling) more(0);
    if (event.key === "End") more(order.length);
    if (event.key === "Enter" || event.key === " ") tools.pick(rowOf(event), event.shiftKey);
    else if (event.key === "ArrowDown") go(line.nextElementSibling);
    else if (event.key === "ArrowUp") go(line.previousElementSibling);
    else if (event.key === "Home") go(body.firstElementChild);
    else if (event.key === "End") go(body.lastElementChild);
    else return;
    event.preventDefault();
  };
  /* Scrolls the table alone: the page stays where the reader clicked. */
  const reveal = (row) => {
    const at = order.indexOf(row);
    if (at < 0) return;
    if (at >= made) more(at + 1);
    const [line, head] = [lines.get(row), table.tHead.offsetHeight];
    if (line.offsetTop - head < scroll.scrollTop) scroll.scrollTop = line.offsetTop - head;
    const foot = line.offsetTop + line.offsetHeight - scroll.clientHeight;
    if (foot > scroll.scrollTop) scroll.scrollTop = foot;
  };
  const marked = (scrolled) => {
    if (scrolled) reveal(state.chosen);
    [...body.rows].forEach((line) => lineOf(Number(line.dataset.row)));
    entry();
  };
  const hovered = () => {
    body.querySelectorAll(".hovered").forEach((line) => line.classList.remove("hovered"));
    if (lines.has(state.hovered)) lines.get(state.hovered).classList.add("hovered");
  };
  buildHead();
  arrange();
  body.addEventListener("click", (event) => { if (rowOf(event) >= 0) tools.pick(rowOf(event), event.shiftKey); });
  body.addEventListener("mousedown", (event) => { if (event.shiftKey) event.preventDefault(); });
  body.addEventListener("keydown", keyed);
  body.addEventListener("pointerover", (event) => tools.hover(rowOf(event)));
  body.addEventListener("pointerleave", () => tools.hover(-1));
  body.addEventListener("focusin", (event) => tools.hover(rowOf(event)));
  body.addEventListener("focusout", () => tools.hover(-1));
  scroll.addEventListener("scroll", fill);
  window.addEventListener("beforeprint", () => {
    if (made < PRINTED) more(PRINTED);
    byId("printed").textContent = made < order.length ? `${order.length - made} more designs are on the page itself and in front.csv.` : "";
  });
  return { kept: arrange, marked, hovered };
};

/* The table's columns: title, unit, how a row sorts and how it reads. */
const tableHeads = (tools) => {
  const { data, value } = tools;
  const unique = (names) => [...new Set(names)].filter((name) => data.columns[name] !== undefined);
  const column = (name, title, kind, more = {}) => ({ title, kind, unit: "", hint: "", of: (row) => value(name, row), text: (row) => tools.shown(name, row), ...more });
  const goals = unique([...data.objectives.map((o) => o.metric), ...data.limits.map((l) => l.metric), "usd_per_hour", "accelerators"]);
  const broken = tools.missed ? unique(["violation", "violations"]) : [];
  const label = (row) => data.label[row];
  const share = (name) => (row) => tools.percent(value(name, row));
  return [
    column("", "design", "text", { of: label, text: label }),
    ...broken.map((name) => column(name, name, name === "violations" ? "text" : "")),
    ...goals.map((name) => column(name, name, "", { unit: tools.unit(name), hint: data.metrics[name].description })),
    ...unique(["bottleneck"]).map((name) => column(name, name, "text")),
    ...data.robustness.map(({ name, title, description }) => column(name, title, "", { unit: "stays on front", hint: description, text: share(name) })),
    ...data.variables.filter((v) => v.varies).map((v) => column(v.name, v.short, "text", { hint: v.name })),
  ];
};
