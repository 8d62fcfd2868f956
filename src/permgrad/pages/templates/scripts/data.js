"use strict";

/** The tab Data: a column in training and test rows, and how closely columns are related. #data/age chooses a column. */
const Data = (() => {
  const { node, colour, linear, band, axis, chart, write, percent, shorten, text } = Charts;
  const { element, figure } = Page;
  const { wide, field, choice, legend, redraw } = Panels;
  /** @type {(name: string) => void} */
  let choose = () => {};

  /** A date from seconds since 1970. @param {number} seconds */
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

  /** The outline of a histogram. @param {number[]} edges @param {number[]} shares @param {any} x @param {any} y */
  const outline = (edges, shares, x, y) =>
    `M${x(edges[0]).toFixed(1)} ${y(0).toFixed(1)}${shares.map((share, at) =>
      `V${y(share).toFixed(1)}H${x(edges[at + 1]).toFixed(1)}`).join("")}V${y(0).toFixed(1)}`;

  /** Numbers and dates: training rows as bars, test rows as an outline. @param {any} column */
  const histogram = (column) => {
    const { svg, frame } = chart({ width: wide(), height: 300, left: 58 }, `${column.name} in training and test rows.`);
    const x = linear([column.edges[0], column.edges[column.edges.length - 1]], [frame.left, frame.width - frame.right]);
    const y = linear([0, Math.max(...column.shares.flat(), 1e-9)], [frame.height - frame.bottom, frame.top]);
    const say = column.moment ? day : write;
    const count = column.moment || wide() < 480 ? 3 : 6;
    svg.append(
      axis(frame, x, { side: "x", label: shorten(column.name, 50), write: say, count, grid: false }),
      axis(frame, y, { side: "y", label: "share of rows", write: percent }),
      node("path", { d: outline(column.edges, column.shares[0], x, y), fill: colour("neutral"), "fill-opacity": 0.4 }),
      node("path", { d: outline(column.edges, column.shares[1], x, y), fill: "none", stroke: colour("tabular"), "stroke-width": 2 }),
    );
    return svg;
  };

  /** Levels: a bar of training and one of test rows for each. @param {any} column */
  const levels = (column) => {
    const width = wide();
    const left = Math.min(190, width * 0.4);
    const words = column.levels.map((/** @type {string} */ name, /** @type {number} */ at) =>
      `${name}: ${percent(column.shares[0][at])} of training, ${percent(column.shares[1][at])} of test rows`);
    const { svg, frame } = chart({ width, height: 60 + 34 * column.levels.length, left, right: 54 }, `${column.name}. ${words.join(". ")}.`);
    const x = linear([0, Math.max(...column.shares.flat(), 1e-9)], [left, width - frame.right]);
    const y = band(column.levels.map((/** @type {string} */ _, /** @type {number} */ at) => `${at}`), [frame.top, frame.height - frame.bottom]);
    svg.append(axis(frame, x, { side: "x", label: "share of rows", write: percent, count: 4 }));
    Charts.labels(column.levels, 60, left - 10).forEach((name, at) => {
      const top = y(`${at}`);
      const half = y.size / 2;
      svg.append(text(left - 8, top + half + 4, name, { "text-anchor": "end", fill: colour("ink") }));
      [0, 1].forEach((side) => {
        const share = column.shares[side][at];
        svg.append(
          node("rect", { x: left, y: top + side * half, width: Math.max(x(share) - left, 0.5), height: half - 1, fill: colour(side ? "tabular" : "neutral"), "fill-opacity": side ? 1 : 0.6 },
            node("title", {}, words[at])),
          text(x(share) + 5, top + side * half + half * 0.5 + 4, percent(share), { "font-size": 11 }),
        );
      });
    });
    return svg;
  };

  /** The panel of columns. @param {HTMLElement} box @param {any} data */
  const columns = (box, data) => {
    const list = /** @type {any[]} */ ((data.columns ?? []).filter((/** @type {any} */ one) => one.shares));
    if (!list.length) return false;
    let column = list[0];
    const menu = choice(list.map((one) => (one.clear ? `${one.name} (clearly different)` : one.name)), (at) => { column = list[at]; show(); });
    const draw = () => (column.edges ? histogram(column) : levels(column));
    const end = (/** @type {number} */ at) => (column.moment ? day(column.edges[at]) : column.edges[at]);
    const rows = () => [
      ["column", "from, or value", "to", "share of training rows", "share of test rows"],
      ...column.shares[0].map((/** @type {number} */ share, /** @type {number} */ at) => [
        column.name, column.edges ? end(at) : column.levels[at], column.edges ? end(at + 1) : null, share, column.shares[1][at],
      ]),
    ];
    const shown = figure({ anchor: "data-column", drawing: draw(), caption: "", rows });
    const words = element("p", { role: "status" });
    const few = list.length < data.all ? ` ${list.length} of ${data.all.toLocaleString("en-US")} columns are listed.` : "";
    const show = () => {
      const [train, test] = column.missing;
      const typical = column.typical[0] === null ? "" : `Typical (${column.edges ? "median" : "most frequent"}): ${column.typical[0]} in the training rows, ${column.typical[1] ?? "–"} in the test rows. `;
      const missing = train || test ? `Missing: ${percent(train)} and ${percent(test)}. ` : "";
      const differ = column.clear ? `The difference is clear. ${column.words}` : column.words ? "The difference is small, or can be chance." : "";
      words.textContent = `${typical}${missing}${differ}`;
      redraw(shown, draw(), `${column.name} in the training rows (grey) and the test rows (blue), as shares of the rows.${few}`);
    };
    choose = (name) => {
      const at = list.findIndex((one) => one.name === name);
      if (at < 0) return;
      menu.value = String(at);
      column = list[at];
      show();
      box.scrollIntoView();
    };
    box.append(element("div", { class: "controls" }, field("Column", menu)), words,
      legend([["training rows", "neutral"], ["test rows", "tabular"]]), shown);
    show();
    Panels.follow(show);
    return undefined;
  };

  return { day, columns, open: (/** @type {string} */ name) => choose(name) };
})();

Page.tab("data", { live: { columns: Data.columns }, open: Data.open });
