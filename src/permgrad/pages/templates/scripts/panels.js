"use strict";

/** What the panels of several tabs share: labelled controls, small tables, and a figure that is drawn again. */
const Panels = (() => {
  const { node, colour, text, wide } = Charts;
  const { element } = Page;

  /** A control with its label. @param {string} words @param {HTMLElement} control */
  const field = (words, control) => element("label", {}, element("span", {}, words), control);

  /**
   * A list to choose from. Its values are positions, or come before the names.
   * @param {(string | [string, string])[]} options @param {(place: number, value: string) => void} chosen
   */
  const choice = (options, chosen = () => {}, value = "") => {
    const list = /** @type {HTMLSelectElement} */ (element("select", { change: () => chosen(list.selectedIndex, list.value) }));
    const pairs = options.map((one, at) => (typeof one === "string" ? [String(at), one] : one));
    // What a narrow screen has no room for would be cut a second time.
    const letters = Math.min(44, Math.floor((document.documentElement.clientWidth - 90) / 8.2));
    const words = Charts.labels(pairs.map(([, name]) => name), letters);
    pairs.forEach(([own], at) => list.append(element("option", { value: own, selected: own === value }, words[at])));
    return list;
  };

  /** Write a p-value. */
  const pText = (/** @type {number|null} */ p) => (p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));

  /** A box for a number. @param {number} value @param {(value: number) => void} changed */
  const amount = (value, changed, attributes = {}) => {
    const box = /** @type {HTMLInputElement} */ (element("input", {
      type: "number", value, step: "any", ...attributes,
      input: () => {
        const wanted = box.value === "" ? NaN : Number(box.value);
        const allowed = Number.isFinite(wanted) && box.validity.valid;
        box.setAttribute("aria-invalid", String(!allowed));
        if (allowed) changed(wanted);
      },
    }));
    return box;
  };

  /** A slider over whole numbers from 0. @param {number} last @param {(place: number) => void} moved */
  const slider = (last, moved) => {
    const bar = /** @type {HTMLInputElement} */ (element("input", {
      type: "range", min: 0, max: last, step: 1, input: () => moved(Number(bar.value)),
    }));
    return bar;
  };

  /** A small table. The first cell of each row is its heading. @param {string} caption @param {string[]} heads @param {string[][]} rows */
  const table = (caption, heads, rows) =>
    element("div", { class: "table", tabindex: "0", role: "group", "aria-label": caption },
      element("table", {},
        element("caption", {}, element("span", {}, caption)),
        element("thead", {}, element("tr", {}, ...heads.map((head, at) => element("th", { scope: "col", class: at ? "number" : "text" }, head)))),
        element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell, at) =>
          at ? element("td", { class: "number" }, cell) : element("th", { scope: "row", class: "text" }, cell)))))));

  /** Names and values in a row of small figures. @param {[string, string][]} pairs */
  const facts = (pairs) =>
    element("dl", { class: "facts small" }, ...pairs.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value))));

  /** Replace the drawing and the sentence of a figure. @param {HTMLElement} figure @param {Node} drawing */
  const redraw = (figure, drawing, caption = "") => {
    figure.querySelector(".plot")?.replaceChildren(drawing);
    const words = figure.querySelector("figcaption");
    if (words && caption) words.textContent = caption;
  };

  /** A legend of colours. @param {[string, string][]} entries  name and colour */
  const legend = (entries) =>
    element("p", { class: "legend" }, ...entries.map(([name, hue]) => {
      const mark = element("span", { class: "mark", "aria-hidden": "true" });
      mark.style.background = colour(hue);
      return element("span", {}, mark, name);
    }));

  /**
   * Points with intervals, one row for each name, and a line at a value for comparison.
   * @param {{name: string, value: number, low: number|null, high: number|null, marked?: boolean, title?: string}[]} rows
   * @param {{description: string, label: string, write: (value: number|null) => string, line?: number, lineName?: string, width?: number}} about
   */
  const intervals = (rows, about) => {
    const width = wide(about.width);
    const left = Math.min(190, width * 0.4);
    const { svg, frame } = Charts.chart({ width, height: 74 + 30 * rows.length, left, top: 26, right: 22 }, about.description);
    const ends = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]);
    const x = Charts.linear(Charts.extent(ends, about.line === undefined ? [] : [about.line]), [left + 6, width - frame.right - 6]);
    const y = Charts.band(rows.map((_, at) => `${at}`), [frame.top, frame.height - frame.bottom]);
    svg.append(Charts.axis(frame, x, { side: "x", label: about.label, write: about.write, count: width < 480 ? 3 : 5 }));
    if (about.line !== undefined) {
      const at = x(about.line);
      const side = at > (left + width) / 2 ? "end" : "start";
      svg.append(
        node("line", { x1: at, x2: at, y1: frame.top - 6, y2: frame.height - frame.bottom, stroke: colour("neutral"), "stroke-dasharray": "4 3" }),
        text(at, frame.top - 12, about.lineName ?? "", { "text-anchor": side }),
      );
    }
    const words = Charts.labels(rows.map((row) => row.name), 60, left - 10);
    rows.forEach((row, at) => {
      const middle = y(`${at}`) + y.size / 2;
      const hue = colour(row.marked ? "negative" : "tabular");
      svg.append(text(left - 8, middle + 4, words[at], {
        "text-anchor": "end", fill: colour("ink"), "font-weight": row.marked ? 600 : null,
      }));
      if (row.low !== null && row.high !== null) {
        svg.append(node("line", { x1: x(row.low), x2: x(row.high), y1: middle, y2: middle, stroke: hue, "stroke-width": 2.2 }));
      }
      svg.append(node("circle", { cx: x(row.value), cy: middle, r: 4.5, fill: hue }, node("title", {}, row.title ?? row.name)));
    });
    return svg;
  };

  return { wide, field, choice, pText, amount, slider, table, facts, follow: Page.resized, redraw, legend, intervals };
})();
