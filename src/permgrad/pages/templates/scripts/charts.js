"use strict";

/**
 * Charts of the page as SVG, a few helpers that every tab uses. Colours are names of the page's CSS variables
 * ("tabular", "series-1"), so that they follow light and dark. Data only become text nodes and attributes.
 *
 * @typedef {(value: number) => number} Scale  A position in pixels, with `domain` and `range`.
 * @typedef {{width: number, height: number, left: number, right: number, top: number, bottom: number}} Frame
 */
const Charts = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  /**
   * Make an SVG element with attributes and children. Texts become text nodes. Attributes that are null are left out.
   * @param {string} name
   * @param {Record<string, any>} [attributes]
   * @param {...(Node|string)} children
   * @returns {SVGElement}
   */
  const node = (name, attributes = {}, ...children) => {
    const element = /** @type {SVGElement} */ (document.createElementNS(SVG, name));
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) element.setAttribute(key, String(value));
    }
    element.append(...children);
    return element;
  };

  /** The colour of a CSS variable of the page. @param {string} name */
  const colour = (name) => `var(--${name})`;

  /**
   * A chart's SVG with a description for screen readers. It shrinks with its place and keeps its proportions.
   * @param {Partial<Frame>} size
   * @param {string} description
   */
  const chart = (size, description) => {
    const frame = { width: 640, height: 300, left: 52, right: 12, top: 10, bottom: 40, ...size };
    const svg = node("svg", {
      viewBox: `0 0 ${frame.width} ${frame.height}`, role: "img", "aria-label": description, class: "chart",
    });
    svg.style.setProperty("--natural", `${frame.width}px`);
    return { svg, frame };
  };

  /**
   * A linear scale.
   * @param {[number, number]} domain
   * @param {[number, number]} range
   */
  const linear = (domain, range) => {
    const [low, high] = domain;
    const size = high - low || 1;
    const scale = (/** @type {number} */ value) => range[0] + ((value - low) / size) * (range[1] - range[0]);
    scale.domain = domain;
    scale.range = range;
    scale.invert = (/** @type {number} */ place) => low + ((place - range[0]) / (range[1] - range[0])) * size;
    return scale;
  };

  /**
   * A scale of names, each with a band of equal size.
   * @param {string[]} names
   * @param {[number, number]} range
   */
  const band = (names, range, gap = 0.25) => {
    const step = (range[1] - range[0]) / Math.max(names.length, 1);
    const place = new Map(names.map((name, at) => [name, range[0] + (at + gap / 2) * step]));
    const scale = (/** @type {string} */ name) => place.get(name) ?? NaN;
    scale.domain = names;
    scale.range = range;
    scale.size = step * (1 - gap);
    return scale;
  };

  /** Smallest and largest finite value, widened to include others. @returns {[number, number]} */
  const extent = (/** @type {Iterable<number>} */ values, /** @type {number[]} */ include = []) => {
    let [low, high] = [Infinity, -Infinity];
    for (const list of [values, include]) {
      for (const value of list) {
        if (!Number.isFinite(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high) return [0, 1];
    return low === high ? [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2] : [low, high];
  };

  /** Round numbers inside a domain, about as many as asked for. */
  const ticks = (/** @type {[number, number]} */ [low, high], count = 5) => {
    const rough = (high - low) / Math.max(count, 1);
    if (!(rough > 0) || !Number.isFinite(rough)) return [low];
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = ([1, 2, 5, 10].find((times) => times * power >= rough * 0.999) ?? 10) * power;
    const first = Math.ceil(low / step - 1e-9);
    const last = Math.floor(high / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
  };

  const UNITS = /** @type {[number, string][]} */ ([[1e12, " tn"], [1e9, " bn"], [1e6, " M"]]);

  /** Round halves away from 0, by the first twelve digits, as `permgrad.base.numerals` does. @param {Intl.NumberFormatOptions} digits */
  const rounded = (/** @type {number} */ value, digits) =>
    (Number(value.toPrecision(12)) || 0).toLocaleString("en-US", digits).replace(/^-0$/, "0").replace("-", "−");

  /**
   * Write a number with at most `digits` significant digits (four of a large one), separated thousands, and a unit from
   * a million on. It writes what `permgrad.base.numerals.number` writes, without zeros at the end.
   * @param {number|null|undefined} value
   */
  const write = (value, digits = 3, zeros = false) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Number(Math.abs(value).toPrecision(Math.max(digits, 4)));
    if (size && (size >= 1e16 || size < 1e-4)) return value.toExponential(digits - 1).replace(/\.?0*e\+?/, "e").replaceAll("-", "−");
    const unit = UNITS.find(([least]) => size >= least);
    const scaled = unit ? value / unit[0] : value;
    const large = Math.abs(scaled) >= 1000 ? Math.max(digits, 4) : digits;
    const least = zeros && value !== 0 ? { minimumSignificantDigits: digits } : {};
    return rounded(scaled, { ...least, maximumSignificantDigits: large }) + (unit ? unit[1] : "");
  };

  /** Write a measured number with the zeros at its end, as the sentences of Python do. @param {number|null|undefined} value */
  const measured = (value, digits = 3) => write(value, digits, true);

  /** Write numbers with equally many decimals, as `permgrad.base.numerals.numbers` does. @param {number[]} values @returns {string[]} */
  const column = (values, digits = 3) => {
    const most = Math.max(0, ...values.filter(Number.isFinite).map(Math.abs));
    if (most < 1e-5 || most >= 1e4) return values.map((value) => measured(value, digits));
    const small = values.some((value) => value !== 0 && Math.abs(value) < 0.5 && Math.abs(value) >= 1e-9 * most);
    const decimals = Math.max(small ? 1 : 0, digits - 1 - Math.floor(Math.log10(most)));
    const places = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    return values.map((value) => (Math.abs(value) < 1e-9 * most ? "0" : rounded(value, places)));
  };

  /** A label as it is, or, if it is a number, as numbers are written. Years have no comma. @param {string} label */
  const numeral = (label) => {
    const value = Number(label);
    if (label.trim() === "" || !Number.isFinite(value)) return label;
    return Number.isInteger(value) && Math.abs(value) < 1e4 ? String(value).replace("-", "−") : write(value, 4);
  };

  /** Write a share as a percentage, with a decimal if it is below 1 %. */
  const percent = (/** @type {number|null} */ share, decimals = share && Math.abs(share) < 0.01 ? 1 : 0) =>
    share === null || !Number.isFinite(share)
      ? "–"
      : `${rounded(share * 100, { minimumFractionDigits: decimals, maximumFractionDigits: decimals })}\u00a0%`;

  /** The texts of the marks of an axis, with enough digits that they differ. @param {number[]} marks @param {(value: any) => string} say */
  const markTexts = (marks, say) => {
    const texts = marks.map((mark) => say(mark));
    if (new Set(texts).size === texts.length || marks.length < 2) return texts;
    const power = Math.floor(Math.log10(Math.abs(marks[1] - marks[0])) + 1e-9);
    const largest = Math.floor(Math.log10(Math.max(...marks.map(Math.abs))));
    return texts[0].endsWith("%") ? marks.map((mark) => percent(mark, Math.max(0, -power - 2))) : marks.map((mark) => write(mark, largest - power + 1));
  };

  /** The width of a chart: of its place on a narrow screen, so that its letters stay readable. */
  const wide = (most = 640) => Math.min(most, Math.max(300, document.documentElement.clientWidth - 40));

  /** Shorten a long name in the middle. */
  const shorten = (/** @type {string} */ name, width = 26) => {
    const letters = [...name];
    if (letters.length <= width) return name;
    const head = Math.ceil((width - 1) * 0.55);
    return `${letters.slice(0, head).join("")}…${letters.slice(letters.length - (width - 1 - head)).join("")}`;
  };

  /** @type {CanvasRenderingContext2D|null} */
  let pen = null;

  /** How wide a text is with letters of 12 pixels. @param {string} words */
  const widthOf = (words) => {
    if (!pen) {
      pen = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
      pen.font = `12px ${getComputedStyle(document.body).getPropertyValue("--sans") || "sans-serif"}`;
    }
    return pen.measureText(words).width;
  };

  /**
   * Shorten names that are shown together, also until they fit into some pixels. Where two would look the same, they show
   * where they differ, or get a number, as those of `permgrad.pages.words.labels_of`.
   * @param {string[]} names @returns {string[]}
   */
  const labels = (names, width = 26, room = Infinity) => {
    const short = names.map((name) => shorten(name, width));
    const alike = (/** @type {string} */ label) => [...short.keys()].filter((at) => short[at] === label);
    for (const label of new Set(short)) {
      const places = alike(label), full = places.map((at) => [...names[at]]), head = Math.floor(width / 2);
      const start = places.length > 1 ? full[0].findIndex((letter, at) => full.every((other) => at < other.length) && full.some((other) => other[at] !== letter)) : -1;
      if (start > head) places.forEach((at, k) => {
        const end = full[k].slice(start - 2), left = width - head;
        short[at] = [...full[k].slice(0, head - 1), "…", ...(end.length <= left ? end : [...end.slice(0, left - 1), "…"])].join("");
      });
    }
    const words = short.map((label, at) => {
      const places = alike(label), mark = `·${places.indexOf(at) + 1}`;
      return places.length > 1 && label !== names[at] ? [...label].slice(0, width - mark.length).join("") + mark : label;
    });
    return width > 4 && room < Infinity && words.some((one) => widthOf(one) > room) ? labels(names, width - 1, room) : words;
  };

  /**
   * Ticks whose texts stand apart below an axis: fewer of them where they would touch, two at least where there is room.
   * @param {any} scale @param {number} count @param {(value: any) => string} say
   */
  const apart = (scale, count, say) => {
    const fits = (/** @type {number[]} */ marks) =>
      marks.length > 1 && Math.abs(scale(marks[1]) - scale(marks[0])) >= Math.max(...markTexts(marks, say).map(widthOf)) + 8;
    // A single one says nothing of the scale: then rather more than were asked for.
    for (const further of Array.from({ length: 2 * count }, (_, at) => (at < count ? -at : at - count + 1))) {
      const marks = ticks(scale.domain, count + further);
      if (fits(marks)) return marks;
    }
    for (let further = 0; further < 2 * count; further += 1) {
      const marks = ticks(scale.domain, count + further);
      const ends = [marks[0], marks[marks.length - 1]];
      if (marks.length > 1 && fits(ends)) return ends;
    }
    return ticks(scale.domain, count).slice(0, 1);
  };

  /** Ticks beside an axis, two at least: a single one says nothing of the scale. @param {[number, number]} domain */
  const several = (domain, count = 5) => {
    for (let asked = count; asked < 3 * count; asked += 1) {
      const marks = ticks(domain, asked);
      if (marks.length > 1) return marks;
    }
    return ticks(domain, count);
  };

  /** A text at a place. @param {Record<string, any>} [attributes] */
  const text = (/** @type {number} */ x, /** @type {number} */ y, /** @type {string} */ words, attributes = {}) =>
    node("text", { x, y, fill: colour("muted"), "font-size": 12, ...attributes }, words);

  /** Where a mark's text is centred so that the picture's right edge does not cut it; a character is 7 wide. */
  const inside = (/** @type {number} */ at, /** @type {string} */ words, /** @type {Frame} */ frame) =>
    Math.min(at, frame.width - 3.5 * words.length);

  /**
   * Draw the axis below ("x") or at the left ("y") of a frame, with faint lines across.
   * @param {Frame} frame
   * @param {any} scale  made by `linear` or `band`
   * @param {{side: "x"|"y", label?: string, count?: number, write?: (value: any) => string, grid?: boolean, letters?: number,
   *   marks?: any[], texts?: string[], slanted?: boolean}} options  `marks` and `texts`: places, and what is written there
   */
  const axis = (frame, scale, options) => {
    const { side, label = "", count = 5, grid = true, slanted = false } = options;
    const named = scale.size !== undefined;
    const say = options.write ?? write;
    const across = side === "x";
    const marks = options.marks ?? (named ? scale.domain : across ? apart(scale, count, say) : several(scale.domain, count));
    const [bottom, right] = [frame.height - frame.bottom, frame.width - frame.right];
    const texts = options.texts ?? (named ? labels(marks, options.letters) : markTexts(marks, say));
    const group = node("g", { class: "axis", "aria-hidden": "true" });
    for (const [place, mark] of marks.entries()) {
      const at = scale(mark) + (named ? scale.size / 2 : 0);
      if (grid && !named) {
        const ends = across ? { x1: at, x2: at, y1: frame.top, y2: bottom } : { x1: frame.left, x2: right, y1: at, y2: at };
        group.append(node("line", { ...ends, stroke: colour("rule"), "stroke-width": 0.8 }));
      }
      group.append(
        across
          ? slanted
            ? text(0, 0, texts[place], { "text-anchor": "end", transform: `translate(${at + 4} ${bottom + 14}) rotate(-38)` })
            : text(named ? at : inside(at, texts[place], frame), bottom + 17, texts[place], { "text-anchor": "middle" })
          : text(frame.left - 7, at + 4, texts[place], { "text-anchor": "end" }),
      );
    }
    if (label) {
      group.append(
        across
          ? text((frame.left + right) / 2, frame.height - 5, label, { "text-anchor": "middle" })
          : text(0, 0, label, { "text-anchor": "middle", transform: `translate(12 ${(frame.top + bottom) / 2}) rotate(-90)` }),
      );
    }
    return group;
  };

  /** The path through points, broken where one is not finite. */
  const path = (/** @type {ArrayLike<number>} */ x, /** @type {ArrayLike<number>} */ y) => {
    let words = "";
    let pen = "M";
    for (let at = 0; at < x.length; at += 1) {
      if (!Number.isFinite(x[at]) || !Number.isFinite(y[at])) {
        pen = "M";
        continue;
      }
      words += `${pen}${x[at].toFixed(1)} ${y[at].toFixed(1)}`;
      pen = "L";
    }
    return words;
  };

  /** A line through points in pixels. @param {Record<string, any>} [attributes] */
  const line = (/** @type {ArrayLike<number>} */ x, /** @type {ArrayLike<number>} */ y, attributes = {}) =>
    node("path", {
      d: path(x, y), fill: "none", stroke: colour("tabular"), "stroke-width": 2, "stroke-linejoin": "round", ...attributes,
    });

  /** The area between two lines in pixels. @param {Record<string, any>} [attributes] */
  const area = (
    /** @type {ArrayLike<number>} */ x, /** @type {ArrayLike<number>} */ low, /** @type {ArrayLike<number>} */ high,
    attributes = {},
  ) => {
    const back = Array.from(x).reverse();
    const d = `${path(x, high)}${path(back, Array.from(low).reverse()).replace("M", "L")}Z`;
    return node("path", { d, fill: colour("tabular"), "fill-opacity": 0.18, stroke: "none", ...attributes });
  };

  /**
   * Horizontal bars from zero, with whiskers where there are ends, and a title each.
   * @param {{name: string, value: number, low?: number|null, high?: number|null, colour?: string}[]} rows
   * @param {any} x  linear
   * @param {any} y  band of the names
   */
  const bars = (rows, x, y, say = write) => {
    const group = node("g");
    for (const row of rows) {
      const [from, to] = [x(0), x(row.value)];
      const [top, middle] = [y(row.name), y(row.name) + y.size / 2];
      const ends = [row.low, row.high].every((end) => Number.isFinite(end ?? NaN));
      const interval = ends ? ` (${say(row.low ?? null)} to ${say(row.high ?? null)})` : "";
      group.append(
        node("rect", {
          x: Math.min(from, to), y: top, width: Math.abs(to - from), height: y.size, fill: colour(row.colour ?? "tabular"),
        }, node("title", {}, `${row.name}: ${say(row.value)}${interval}`)),
      );
      if (ends) {
        group.append(node("line", {
          x1: x(row.low), x2: x(row.high), y1: middle, y2: middle, stroke: colour("ink"), "stroke-width": 1.2,
        }));
      }
    }
    return group;
  };

  /**
   * Vertical bars of a histogram: `edges` has one more number than `heights`.
   * @param {ArrayLike<number>} edges
   * @param {ArrayLike<number>} heights
   * @param {any} x  linear
   * @param {any} y  linear
   */
  const histogram = (edges, heights, x, y, attributes = {}) => {
    const group = node("g", { fill: colour("neutral"), "fill-opacity": 0.45, ...attributes });
    for (let at = 0; at < heights.length; at += 1) {
      const [left, right] = [x(edges[at]), x(edges[at + 1])];
      const top = y(heights[at]);
      group.append(node("rect", { x: left, y: top, width: Math.max(right - left - 0.6, 0.4), height: Math.max(y(0) - top, 0) }));
    }
    return group;
  };

  /** Dots at places in pixels. @param {Record<string, any>} [attributes] */
  const dots = (/** @type {ArrayLike<number>} */ x, /** @type {ArrayLike<number>} */ y, attributes = {}) => {
    const group = node("g", { fill: colour("tabular"), "fill-opacity": 0.6, ...attributes });
    for (let at = 0; at < x.length; at += 1) {
      if (Number.isFinite(x[at]) && Number.isFinite(y[at])) {
        group.append(node("circle", { cx: x[at].toFixed(1), cy: y[at].toFixed(1), r: attributes.r ?? 2.5 }));
      }
    }
    return group;
  };

  /**
   * From a start to an end, feature by feature: a whole chart.
   * @param {{start: number, end: number, startName: string, endName: string, label?: string,
   *   steps: {name: string, value: number, error?: number}[]}} data  steps in the order drawn, from the top, `error`: half
   *   the width of the interval
   */
  const waterfall = (data, size = {}) => {
    const names = data.steps.map((step, at) => `${at}`);
    const { svg, frame } = chart({ height: 64 + 24 * (names.length + 2), left: 190, right: 74, ...size }, [
      `${data.startName} ${write(data.start)}.`,
      ...data.steps.map((step) => `${step.name} ${write(step.value)}.`),
      `${data.endName} ${write(data.end)}.`,
    ].join(" "));
    const sums = [data.start];
    for (const step of data.steps) sums.push(sums[sums.length - 1] + step.value);
    const ends = data.steps.flatMap((step, at) => [-1, 1].map((side) => sums[at + 1] + side * (step.error || 0)));
    const x = linear(extent(sums, [data.end, ...ends]), [frame.left + 8, frame.width - frame.right - 8]);
    let [startWords, endWords] = column([data.start, data.end]);
    for (let digits = 4; digits < 12 && startWords === endWords && data.start !== data.end; digits += 1) [startWords, endWords] = column([data.start, data.end], digits);
    const sizes = column(data.steps.map((step) => step.value));
    const y = band(["start", ...names, "end"], [frame.top, frame.height - frame.bottom]);
    svg.append(axis(frame, x, { side: "x", label: data.label ?? "" }));
    const mark = (/** @type {string} */ key, /** @type {number} */ value, /** @type {string} */ name, /** @type {string} */ written) => {
      const at = y(key);
      svg.append(
        node("line", { x1: x(value), x2: x(value), y1: at, y2: at + y.size, stroke: colour("ink"), "stroke-width": 2 }),
        text(frame.left - 8, at + y.size * 0.72, name, { "text-anchor": "end", fill: colour("ink") }),
        text(x(value) + 6, at + y.size * 0.72, written, { fill: colour("ink") }),
      );
    };
    mark("start", data.start, data.startName, startWords);
    const words = labels(data.steps.map((step) => step.name), 28, frame.left - 10);
    data.steps.forEach((step, at) => {
      const [from, to] = [x(sums[at]), x(sums[at + 1])];
      const top = y(names[at]);
      const up = step.value >= 0;
      svg.append(
        node("line", { x1: from, x2: from, y1: top - y.size / 3, y2: top + y.size, stroke: colour("rule") }),
        node("rect", {
          x: Math.min(from, to), y: top, width: Math.max(Math.abs(to - from), 0.8), height: y.size,
          fill: colour(up ? "positive" : "negative"),
        }, node("title", {}, `${step.name}: ${write(step.value)}`)),
        text(frame.left - 8, top + y.size * 0.72, words[at], { "text-anchor": "end" }),
      );
      const whisker = ends.slice(2 * at, 2 * at + 2).map(x);
      if (step.error) {
        const middle = top + y.size / 2;
        svg.append(node("line", { x1: whisker[0], x2: whisker[1], y1: middle, y2: middle, stroke: colour("ink"), "stroke-width": 1.2 }));
      }
      svg.append(text(Math.max(from, ...whisker) + 5, top + y.size * 0.72, (up ? "+" : "") + sizes[at], { fill: colour("ink") }));
    });
    mark("end", data.end, data.endName, endWords);
    return svg;
  };

  return {
    node, colour, chart, linear, band, extent, ticks, several, write, measured, column, numeral, percent, shorten, labels, text, axis, path, line, area, bars,
    histogram, dots, waterfall, wide, widthOf,
  };
})();
