/* Which rows the reader keeps: those that match every word of the filter and lie within every brush of the parallel axes. */
const Keep = (tools, changed) => {
  const { data, value } = tools;
  const OPERATORS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
  const texts = new Map();
  const rowText = (row) => {
    if (!texts.has(row)) texts.set(row, tools.heads.map((head) => head.text(row)).join(" ").toLowerCase());
    return texts.get(row);
  };
  /* "500ms", "1.2s", "3k": prefixes as cells show them, units left aside. */
  const PREFIX = { n: 1e-9, u: 1e-6, "µ": 1e-6, m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
  const quantity = (wanted) => {
    const [, digits, prefix] = /^\$?([-+]?[\d.]+(?:e[-+]?\d+)?)([numkMGTPµ]?)(?:s|W|B|J)?$/.exec(wanted) || [];
    return digits === undefined ? NaN : Number(digits) * (PREFIX[prefix] || 1);
  };
  const wordTest = (word) => {
    const parts = /^([\w.*/]+)(<=|>=|<|>|=)(.+)$/.exec(word);
    if (!parts || data.columns[parts[1]] === undefined) return (row) => rowText(row).includes(word.toLowerCase());
    const [, name, operator, wanted] = parts;
    const wantedNumber = quantity(wanted);
    return (row) => {
      const item = value(name, row);
      if (item === null) return false;
      return Number.isNaN(wantedNumber) ? OPERATORS[operator](String(item), wanted) : OPERATORS[operator](Number(item), wantedNumber);
    };
  };

  const brushes = new Map();
  let words = [];
  let kept = new Uint8Array(data.rows).fill(1);
  const renew = () => {
    const tests = [...words, ...brushes.values()];
    kept = new Uint8Array(data.rows);
    for (let row = 0; row < data.rows; row += 1) kept[row] = tests.every((passes) => passes(row)) ? 1 : 0;
    changed();
  };
  const read = () => {
    words = byId("filter").value.split(/\s+/).filter(Boolean).map(wordTest);
    renew();
  };
  for (const kind of ["input", "change"]) byId("filter").addEventListener(kind, read);
  return {
    has: (row) => kept[row] === 1,
    any: () => words.length > 0 || brushes.size > 0,
    meets: (limit, row) => OPERATORS[limit.op](value(limit.metric, row), limit.value),
    brush: (name, passes) => {
      if (passes) brushes.set(name, passes);
      else brushes.delete(name);
      renew();
    },
  };
};
