/* Stored values as text: a column is a list, or words with indices; units as in the terminal's tables. */
const Values = (data) => {
  const ABSENT = "–";
  const PREFIXES = ["n", "µ", "m", "", "k", "M", "G", "T", "P", "E"];
  const thousands = new Intl.NumberFormat("en-US");
  const value = (name, row) => {
    const column = data.columns[name];
    if (column === undefined || row < 0) return null;
    if (Array.isArray(column)) return column[row];
    return column.at[row] < 0 ? null : column.words[column.at[row]];
  };
  const number = (x) => {
    if (Math.abs(x) >= 1000 && Math.abs(x) < 1e9) return thousands.format(Math.round(x));
    return String(Number(x.toPrecision(3)));
  };
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
  return { value, number, text, unit, shown: (name, row) => text(value(name, row), unit(name)),
           percent: (x) => (x === null ? ABSENT : `${number(100 * x)} %`) };
};

/* An element; every text reaches the page as textContent, never as markup. */
const elementIn = (space) => (tag, attributes = {}, ...children) => {
  const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, item] of Object.entries(attributes)) made.setAttribute(name, item);
  made.append(...children);
  return made;
};
const byId = (id) => document.getElementById(id);
