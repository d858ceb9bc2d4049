/* Light and dark: the system's, or what the reader chose; figures take their colours from the style sheet. */
const Theme = (stops, changed) => {
  const names = ["system", "light", "dark"];
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const current = () => document.documentElement.dataset.theme || "system";
  const dark = () => current() === "dark" || (current() === "system" && system.matches);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const set = (name) => {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    byId("theme").textContent = `Theme: ${name}`;
    changed();
  };

  const figureColours = () => {
    const axis = { gridcolor: css("--line"), linecolor: css("--soft"), tickcolor: css("--soft"), showline: true };
    const layout = { "font.color": css("--ink"), "hoverlabel.bgcolor": css("--panel"), "hoverlabel.font.color": css("--ink"),
                     "hoverlabel.bordercolor": css("--line"), "hoverlabel.align": "left",
                     "modebar.color": css("--soft"), "modebar.activecolor": css("--accent") };
    for (const [name, item] of Object.entries(axis)) {
      layout[`xaxis.${name}`] = item;
      layout[`yaxis.${name}`] = item;
    }
    return layout;
  };

  /* The colour scale without the end that the paper swallows: its darkest quarter on dark, its lightest tenth on white. */
  const hex = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const along = (share) => {
    const above = Math.max(stops.findIndex(([at]) => at >= share), 1);
    const [[low, from], [high, to]] = [stops[above - 1], stops[above]];
    const part = (share - low) / (high - low);
    const mixed = hex(from).map((level, at) => Math.round(level + part * (hex(to)[at] - level)));
    return `rgb(${mixed.join(", ")})`;
  };
  const ramp = (share) => (dark() ? along(0.25 + 0.75 * share) : along(0.9 * share));
  const scale = () => [...Array(11).keys()].map((at) => [at / 10, ramp(at / 10)]);

  byId("theme").addEventListener("click", () => set(names[(names.indexOf(current()) + 1) % names.length]));
  system.addEventListener("change", changed);
  window.addEventListener("beforeprint", () => {
    const before = current();
    set("light");
    window.addEventListener("afterprint", () => set(before), { once: true });
  });
  return { css, figureColours, ramp, scale };
};
