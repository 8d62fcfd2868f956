"use strict";

/**
 * The tab Features: a list that can be searched, sorted and saved, and a card for each of the strongest features.
 *
 * @typedef {{name: string, colour: string, entries: {level: string, rows: number, outcome: number|null, low: number|null,
 *   high: number|null, predicted: number|null}[]}} Series  outcomes by level, of all rows or of one segment
 */
const Features = (() => {
  const { node, colour, linear, band, extent, write, measured, percent, shorten, text, axis, line, histogram } = Charts;
  const { element } = Page;
  const { wide, field, choice, pText, legend } = Panels;
  const SHOWN = 60;
  /** Colours of series. */
  const COLOURS = 8;
  /** Words, or levels, that are shown at each end. */
  const ENDS = 10;
  /** Two figures of a card stand side by side. */
  const ROOM = 560;

  // ---- numbers ------------------------------------------------------------------------------------------------------
  /**
   * Positions in the list that match, in order.
   * @param {any} list @param {{words?: string, clear?: boolean, key?: string, rising?: boolean}} wish
   */
  const search = (list, wish) => {
    const words = (wish.words ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const places = list.name
      .map((/** @type {string} */ _, /** @type {number} */ at) => at)
      .filter((/** @type {number} */ at) => !wish.clear || list.clear[at])
      .filter((/** @type {number} */ at) => words.every((word) => list.name[at].toLowerCase().includes(word)));
    const key = wish.key ?? "rank";
    if (key === "rank") return wish.rising === false ? places.reverse() : places;
    const of = (/** @type {number} */ at) => valueOf(list, key, at);
    return places.sort((/** @type {number} */ a, /** @type {number} */ b) => {
      const [left, right] = [of(a), of(b)];
      if (left === null || right === null) return (left === null ? 1 : 0) - (right === null ? 1 : 0);
      const order = typeof left === "string" ? left.localeCompare(right, undefined, { numeric: true }) : left - right;
      return wish.rising === false ? -order : order;
    });
  };

  /** A number or name of a feature by the key of its column; `class:2` is the importance for the third class. */
  const valueOf = (/** @type {any} */ list, /** @type {string} */ key, /** @type {number} */ at) =>
    key.startsWith("class:") ? list.byClass[at][Number(key.slice(6))] : (list[key]?.[at] ?? null);

  /** The list as rows of a file. @param {any} data */
  const table = (data) => {
    const { list } = data;
    const keys = ["name", "importance", "low", "high", "p", "adjusted", "clear"];
    const heads = [data.level, data.quantity, "interval from", "interval to", "p", "adjusted p", "clearly matters"];
    const classes = list.outputs.map((/** @type {string} */ name) => `importance on rows of ${name}`);
    return [
      ["rank", ...heads, ...classes],
      ...list.name.map((/** @type {string} */ _, /** @type {number} */ at) => [
        at + 1, ...keys.map((key) => (key === "clear" ? (list.clear[at] ? "yes" : "no") : valueOf(list, key, at))),
        ...list.outputs.map((/** @type {string} */ __, /** @type {number} */ k) => list.byClass[at][k]),
      ]),
    ];
  };

  /** Curves as numbers, `at(row, point, output)`. @param {any} packed */
  const curvesOf = (packed) => {
    const steps = Page.unpack(packed);
    const [rows, points, outputs] = packed.shape;
    const size = (packed.high - packed.low) / 65535;
    const at = (/** @type {number} */ row, /** @type {number} */ point, /** @type {number} */ output) =>
      packed.low + steps[(row * points + point) * outputs + output] * size;
    return { rows, points, outputs, at };
  };

  /** 95 % interval of a mean: of shares by Wilson (1927), of numbers by the normal distribution. */
  const interval = (/** @type {number[]} */ values, /** @type {boolean} */ share) => {
    const count = values.length;
    const mean = values.reduce((sum, value) => sum + value, 0) / count;
    const z = 1.959964;
    if (share) {
      const middle = (mean + (z * z) / (2 * count)) / (1 + (z * z) / count);
      const half = (z * Math.sqrt((mean * (1 - mean)) / count + (z * z) / (4 * count * count))) / (1 + (z * z) / count);
      return { mean, low: Math.max(0, Math.min(middle - half, mean)), high: Math.min(1, Math.max(middle + half, mean)) };
    }
    if (count < 2) return { mean, low: null, high: null };
    const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1) / count);
    return { mean, low: mean - z * spread, high: mean + z * spread };
  };

  /**
   * The groups of a column as in the tab Trust. In a run that has stored none, at most `most` groups of the listed rows:
   * ranges of a number, frequent levels of all else.
   * @param {any} column  of Rows.read @param {number[]} rows
   */
  const groups = (column, rows, most = 3) => {
    if (column.groups && column.groups.names.length <= COLOURS) return column.groups;
    if (!column.levels) {
      const values = rows.map((row) => column.number(row)).filter(Number.isFinite).sort((a, b) => a - b);
      const edges = [...new Set(Array.from({ length: most - 1 }, (_, at) =>
        values[Math.floor(((at + 1) * values.length) / most)]))].filter((edge) => edge > values[0]);
      const names = edges.length
        ? [`below ${write(edges[0], 4)}`, ...edges.slice(1).map((edge, at) => `${write(edges[at], 4)} to below ${write(edge, 4)}`),
          `from ${write(edges[edges.length - 1], 4)}`]
        : ["all"];
      const code = (/** @type {number} */ row) => {
        const value = column.number(row);
        return Number.isFinite(value) ? edges.filter((edge) => value >= edge).length : -1;
      };
      return { names, code };
    }
    const counts = new Map();
    for (const row of rows) counts.set(column.code(row), (counts.get(column.code(row)) ?? 0) + 1);
    const order = [...counts].filter(([code]) => code < column.levels.length).sort((a, b) => b[1] - a[1]).map(([code]) => code);
    const shown = order.length > most ? order.slice(0, most - 1) : order;
    const names = shown.map((code) => column.levels[code]);
    if (order.length > shown.length) names.push(`${order.length - shown.length} others`);
    const code = (/** @type {number} */ row) => {
      const level = column.code(row);
      const at = shown.indexOf(level);
      return level >= column.levels.length ? -1 : at < 0 ? shown.length : at;
    };
    return { names, code };
  };

  /**
   * Outcomes by value in each segment, from the listed rows that were drawn at random.
   * @param {any} rows  Rows.read @param {any} feature @param {any} split @param {number} output
   * @returns {Series[]}
   */
  const bySegment = (rows, feature, split, output) => {
    const drawn = rows.drawn;
    const cut = groups(feature, drawn, 5);
    const parts = groups(split, drawn, 3);
    return parts.names.map((name, part) => ({
      name, colour: `series-${part}`,
      entries: cut.names.map((level, at) => {
        const member = drawn.filter((/** @type {number} */ row) => cut.code(row) === at && parts.code(row) === part);
        const outcomes = member.map((/** @type {number} */ row) => rows.outcome(row, output));
        const guesses = member.map((/** @type {number} */ row) => rows.prediction(row, output));
        const { mean, low, high } = interval(outcomes, Boolean(rows.classes));
        return {
          level, rows: member.length, outcome: member.length ? mean : null, low: member.length ? low : null,
          high: member.length ? high : null, predicted: member.length ? interval(guesses, false).mean : null,
        };
      }),
    }));
  };

  /** The ends of an axis. Of probabilities near 0 or 1 it reaches these. @param {any} data @param {[number, number]} ends @returns {[number, number]} */
  const reaching = (data, [low, high]) => {
    if (!data.classes || high - low < 0.1) return [low, high];
    return [low < 0.02 && low > 0 ? 0 : low, high > 0.98 && high < 1 ? 1 : high];
  };

  // ---- charts -------------------------------------------------------------------------------------------------------
  const say = (/** @type {any} */ data, /** @type {number|null} */ value) => (data.classes ? percent(value) : write(value));

  /**
   * Predictions by the value of a feature: their mean, single rows, and how often each value occurs.
   * @param {any} data @param {any} card @param {{output: number, single: boolean, parts: {name: string, rows: number[]}[]}} wish
   */
  const effectChart = (data, card, wish) => {
    const curves = curvesOf(card.curves);
    const { svg, frame } = Charts.chart({ width: wide(ROOM), height: 330, left: 70, bottom: 56 }, effectWords(data, card, wish.output));
    const points = Array.from({ length: curves.points }, (_, at) => at);
    const mean = card.mean.map((/** @type {number[]} */ outputs) => outputs[wish.output]);
    const rows = Array.from({ length: curves.rows }, (_, at) => at);
    const values = wish.single || wish.parts.length
      ? rows.flatMap((row) => points.map((point) => curves.at(row, point, wish.output)))
      : mean;
    const ale = Locals.of(card, wish.output);
    const y = linear(reaching(data, extent(values, ale ? [...mean, ...ale.low, ...ale.high] : mean)), [frame.height - frame.bottom - 36, frame.top]);
    const edges = card.values.edges;
    const x = card.numeric
      ? linear(extent(card.at, edges ?? []), [frame.left, frame.width - frame.right])
      : band(card.label.map((/** @type {string} */ _, /** @type {number} */ at) => String(at)), [frame.left, frame.width - frame.right]);
    const place = points.map((point) => (card.numeric ? x(card.at[point]) : x(String(point)) + x.size / 2));
    const unit = data.classes ? `probability of ${data.classes[wish.output]}` : `predicted ${data.target}`;
    svg.append(axis(frame, y, { side: "y", label: shorten(unit, 38), write: (value) => say(data, value) }));
    svg.append(...density(card, x, frame));
    svg.append(...valueLabels(card, x, place, frame));
    svg.append(text((frame.left + frame.width - frame.right) / 2, frame.height - 6, shorten(card.name, 60), { "text-anchor": "middle" }));
    if (wish.single) {
      const group = node("g", { "stroke-opacity": 0.45 });
      for (const row of rows) {
        group.append(line(place, points.map((point) => curves.at(row, point, wish.output)).map(y), { stroke: colour("neutral"), "stroke-width": 1 }));
      }
      svg.append(group);
    }
    wish.parts.forEach((part, at) => {
      const means = points.map((point) =>
        part.rows.reduce((sum, row) => sum + curves.at(row, point, wish.output), 0) / part.rows.length);
      svg.append(line(place, means.map(y), { stroke: colour(`series-${at}`), "stroke-width": 2.5 }));
    });
    if (ale) svg.append(...Locals.drawn(ale, card.numeric ? x : (at) => place[0] + at * (place[1] - place[0]), y));
    if (!wish.parts.length) {
      svg.append(line(place, mean.map(y), { "stroke-width": 3 }), Charts.dots(place, mean.map(y), { "fill-opacity": 1, r: 3.5 }));
    }
    return svg;
  };

  /** How often each value occurs, as bars along the bottom. */
  const density = (/** @type {any} */ card, /** @type {any} */ x, /** @type {any} */ frame) => {
    const bottom = frame.height - frame.bottom;
    const counts = card.values.counts;
    if (!counts) return [];
    const y = linear([0, Math.max(...counts, 1)], [bottom, bottom - 32]);
    if (card.numeric) return card.values.edges ? [histogram(card.values.edges, counts, x, y)] : [];
    const group = node("g", { fill: colour("neutral"), "fill-opacity": 0.45 });
    card.label.forEach((/** @type {string} */ name, /** @type {number} */ at) => {
      const rows = counts[card.values.levels?.indexOf(name) ?? -1];
      if (rows) group.append(node("rect", { x: x(String(at)), width: x.size, y: y(rows), height: bottom - y(rows) }, node("title", {}, `${name}: ${rows.toLocaleString("en-US")} rows`)));
    });
    return [group];
  };

  /** What the places on the axis of values are called. */
  const valueLabels = (/** @type {any} */ card, /** @type {any} */ x, /** @type {number[]} */ place, /** @type {any} */ frame) => {
    if (card.numeric && !card.dates) return [axis(frame, x, { side: "x", count: frame.width < 500 ? 4 : 6, write: (value) => write(value, 4) })];
    const bottom = frame.height - frame.bottom;
    const letters = card.numeric ? 12 : Math.max(4, Math.floor(x.size / 6.2));
    const shown = card.numeric ? [0, Math.floor((place.length - 1) / 2), place.length - 1] : place.map((_, at) => at);
    const words = Charts.labels(card.label, letters);
    return [...new Set(shown)].map((at) =>
      text(place[at], bottom + 17, words[at], { "text-anchor": "middle" }));
  };

  /** What the mean curve says, in a sentence. */
  const effectWords = (/** @type {any} */ data, /** @type {any} */ card, /** @type {number} */ output) => {
    const mean = card.mean.map((/** @type {number[]} */ outputs) => outputs[output]);
    const what = data.classes ? `the mean probability of ${data.classes[output]}` : `the mean prediction of ${data.target}`;
    if (card.numeric && !card.said) {
      const last = mean.length - 1;
      const [from, to] = [card.label[0], card.label[last]].map((label) => (card.dates ? label : Charts.numeral(label)));
      const [first, end] = [say(data, mean[0]), say(data, mean[last])];
      const [low, high] = [Math.min(...mean), Math.max(...mean)].map((value) => say(data, value));
      const between = [first, end].includes(low) && [first, end].includes(high) ? "" : `, and is between ${low} and ${high} on the way`;
      return `If ${card.name} goes from ${from} to ${to} and nothing else changes, ${what} ` +
        `${first === end ? `is ${first} at both ends` : `goes from ${first} to ${end}`}${between}.`;
    }
    const [low, high] = [mean.indexOf(Math.min(...mean)), mean.indexOf(Math.max(...mean))];
    const some = card.levels > mean.length ? ` Of ${card.levels} levels the ${mean.length} most frequent ones are shown.` : "";
    if (say(data, mean[low]) === say(data, mean[high])) return `If only ${card.name} changes, ${what} stays at ${say(data, mean[low])}.`;
    return `If only ${card.name} changes, ${what} is lowest at ${card.label[low]} (${say(data, mean[low])}) and highest at ` +
      `${card.label[high]} (${say(data, mean[high])}).${some}`;
  };

  /**
   * Outcomes and predictions by value, with intervals, one line for each level.
   * @param {any} data @param {Series[]} series @param {string} [words] what is said of it @param {number[]} [from] values that the axis has
   */
  const outcomeChart = (data, series, words = outcomeWords(data, series), from = []) => {
    const levels = series[0].entries.map((entry) => entry.level);
    const high = 22 + 10 * (series.length - 1);
    const width = wide(ROOM);
    const left = Math.min(170, width * 0.38);
    const { svg, frame } = Charts.chart({ width, height: 56 + (high + 10) * levels.length, left, right: 90, bottom: 44 }, words);
    const all = series.flatMap((one) => one.entries.flatMap((entry) => [entry.outcome, entry.low, entry.high, entry.predicted]));
    const x = linear(reaching(data, extent(/** @type {number[]} */ (all.filter((value) => value !== null)), from)), [frame.left + 8, frame.width - frame.right]);
    const y = band(levels.map((_, at) => String(at)), [frame.top, frame.height - frame.bottom]);
    svg.append(axis(frame, x, { side: "x", count: width < 500 ? 4 : 5, write: (value) => say(data, value) }));
    const names = Charts.labels(levels, 60, left - 10);
    levels.forEach((level, at) => {
      const top = y(String(at));
      svg.append(text(frame.left - 8, top + y.size / 2 + 4, names[at], { "text-anchor": "end" }));
      series.forEach((one, part) => {
        const entry = one.entries[at];
        const middle = top + (y.size * (part + 1)) / (series.length + 1);
        if (series.length === 1) {
          svg.append(text(frame.width - frame.right + 10, middle + 4, `${entry.rows.toLocaleString("en-US")} rows`));
        }
        if (entry.outcome === null) return;
        const words = `${level}${series.length > 1 ? `, ${one.name}` : ""}: ${say(data, entry.outcome)} of ${entry.rows.toLocaleString("en-US")} rows${entry.predicted === null ? "" : `, predicted ${say(data, entry.predicted)}`}`;
        const group = node("g", {}, node("title", {}, words));
        if (entry.low !== null && entry.high !== null) {
          group.append(node("line", { x1: x(entry.low), x2: x(entry.high), y1: middle, y2: middle, stroke: colour(one.colour), "stroke-width": 1.6 }));
        }
        group.append(node("circle", { cx: x(entry.outcome), cy: middle, r: 4.5, fill: colour(one.colour) }));
        if (entry.predicted !== null) {
          const at2 = x(entry.predicted);
          group.append(node("path", { d: `M${at2} ${middle - 6}L${at2 + 6} ${middle}L${at2} ${middle + 6}L${at2 - 6} ${middle}Z`, fill: "none", stroke: colour("ink"), "stroke-width": 1.3 }));
        }
        svg.append(group);
      });
    });
    return svg;
  };

  /** Where outcomes are highest and lowest, in a sentence. */
  const outcomeWords = (/** @type {any} */ data, /** @type {Series[]} */ series, name = "the value") => {
    const what = data.classes ? `share of ${data.classes[data.output ?? 0]}` : `mean of ${data.target}`;
    return series.map((one) => {
      const entries = one.entries.filter((entry) => entry.outcome !== null && entry.rows > 0);
      if (!entries.length) return "";
      const order = [...entries].sort((a, b) => Number(a.outcome) - Number(b.outcome));
      const [low, high] = [order[0], order[order.length - 1]];
      const whose = series.length > 1 ? `${one.name}: ` : "";
      return `${whose}The ${what} is highest where ${name} is ${high.level} (${say(data, high.outcome)}, ${high.rows.toLocaleString("en-US")} rows) and lowest where it is ` +
        `${low.level} (${say(data, low.outcome)}, ${low.rows.toLocaleString("en-US")} rows).`;
    }).filter(Boolean).join(" ");
  };

  // ---- views --------------------------------------------------------------------------------------------------------
  /** A small bar with a whisker, on a scale that the list shares. */
  const spark = (/** @type {any} */ list, /** @type {string} */ key, /** @type {number} */ at, /** @type {any} */ x) => {
    const value = valueOf(list, key, at);
    const svg = node("svg", { viewBox: "0 0 150 16", preserveAspectRatio: "none", class: "spark", "aria-hidden": "true" });
    if (value === null) return svg;
    svg.append(node("rect", { x: Math.min(x(0), x(value)), y: 4, width: Math.abs(x(value) - x(0)), height: 8, fill: colour(list.clear[at] ? "tabular" : "neutral") }));
    const [low, high] = [list.low[at], list.high[at]];
    if (key === "importance" && low !== null && high !== null) {
      svg.append(node("line", { x1: x(low), x2: x(high), y1: 8, y2: 8, stroke: colour("ink"), "stroke-width": 1.2 }));
    }
    return svg;
  };

  const drawList = (/** @type {HTMLElement} */ box, /** @type {any} */ data) => {
    const { list } = data;
    if (!list) return false;
    const wish = { words: "", clear: false, key: "rank", rising: true };
    let whose = "importance";
    let most = SHOWN;
    const carded = new Map(data.cards.map((/** @type {any} */ card, /** @type {number} */ at) => [card.place, at]));
    const input = element("input", { type: "search", placeholder: "Search names", input: () => { wish.words = query.value; draw(); } });
    const query = /** @type {HTMLInputElement} */ (input);
    const clear = /** @type {HTMLInputElement} */ (element("input", { type: "checkbox", change: () => { wish.clear = clear.checked; draw(); } }));
    const classes = choice([["importance", "all rows"], ...list.outputs.map((/** @type {string} */ name, /** @type {number} */ k) => [`class:${k}`, `rows of ${name}`])],
      () => { whose = classes.value; draw(); });
    const count = element("span", { class: "count", role: "status" });
    const body = element("tbody");
    const heads = [["rank", "rank", "number"], ["name", data.level, "text"], ["value", data.loss ? data.quantity : "importance", "number"], ["", "", "text"],
      ["low", `${data.confidence} interval`, "number"], ["adjusted", "adjusted\u00a0p", "number"]];
    if (data.loss) heads.splice(4, 0, ["without", `${data.loss.metric} without it`, "number"]);
    const row = element("tr");
    for (const [key, name, kind] of heads) {
      const head = element("th", { scope: "col", class: kind, "data-key": key });
      if (key && name) {
        head.append(element("button", { type: "button", click: () => {
          wish.rising = wish.key === key ? !wish.rising : kind === "text" || key === "adjusted";
          wish.key = key;
          draw();
        } }, name));
      }
      row.append(head);
    }
    row.children[3].classList.add("sparks");
    const more = element("button", { type: "button", class: "plain", click: () => { most = Infinity; draw(); } });
    const draw = () => {
      const key = wish.key === "value" ? whose : wish.key;
      const places = search(list, { ...wish, key });
      const values = places.map((/** @type {number} */ at) => valueOf(list, whose, at)).filter((/** @type {any} */ value) => value !== null);
      const ends = whose === "importance" ? places.slice(0, most).flatMap((/** @type {number} */ at) => [list.low[at], list.high[at]]) : [];
      const x = linear(extent(values, [0, ...ends.filter((/** @type {any} */ end) => end !== null)]), [2, 148]);
      for (const head of row.children) {
        if (/** @type {HTMLElement} */ (head).dataset.key === wish.key && wish.key !== "rank") head.setAttribute("aria-sort", wish.rising ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      }
      body.replaceChildren(...places.slice(0, most).map((/** @type {number} */ at) => {
        const parts = Page.breakable(list.name[at]);
        const name = carded.has(at) ? [element("button", { type: "button", class: "plain", click: () => Page.go("features", String(at + 1)) }, ...parts)] : parts;
        const both = list.low[at] !== null && whose === "importance";
        return element("tr", {},
          element("td", { class: "number quiet" }, list.ranks?.[at] ?? String(at + 1)),
          element("td", { class: `text${list.clear[at] ? " best" : ""}` }, ...name),
          element("td", { class: "number" }, measured(valueOf(list, whose, at))),
          element("td", { class: "sparks" }, spark(list, whose, at, x)),
          ...(data.loss ? [element("td", { class: "number" }, whose === "importance" ? measured(data.loss.model + list.importance[at]) : "–")] : []),
          element("td", { class: "number" }, both ? `${measured(list.low[at])} to ${measured(list.high[at])}` : "–"),
          element("td", { class: "number" }, whose === "importance" ? pText(list.adjusted?.[at] ?? null) : "–"));
      }));
      const shown = Math.min(most, places.length);
      count.textContent = `${shown.toLocaleString("en-US")} of ${data.of.toLocaleString("en-US")} shown.`;
      more.textContent = `Show all ${places.length.toLocaleString("en-US")}`;
      more.hidden = shown === places.length;
    };
    const save = element("button", { type: "button", class: "plain", click: () => Page.saveRows("features", table(data)) }, "Save as CSV");
    const controls = element("div", { class: "controls" }, field("Search", query), element("label", { class: "check" }, clear, element("span", {}, "only those that clearly matter")));
    if (list.outputs.length) controls.append(field("In the table: importance on", classes));
    const some = !data.cards.some((/** @type {any} */ card) => card.place < data.of) ? "" : data.cards.length < data.of ? ` The ${data.cards.length} strongest have a card: click a name.` : " Click a name for its card.";
    box.append(controls,
      element("div", { class: list.name.length > 30 ? "table tall" : "table", tabindex: "0", role: "group", "aria-label": "List of features" },
        element("table", { class: "features" },
          element("caption", {}, element("span", {}, `Bold: clearly matters (adjusted p below 0.05).${list.ranks ? ` ${data.ranks}` : ""}${data.cards.length ? some : ""}`)),
          element("thead", {}, row), body)),
      element("p", { class: "below" }, count, " ", more, " ", save));
    draw();
    return undefined;
  };

  /** @type {((place: number) => void)|null} */
  let show = null;

  const drawCard = (/** @type {HTMLElement} */ box, /** @type {any} */ data) => {
    const cards = data.cards ?? [];
    if (!cards.length) return false;
    const rows = Rows.read(Page.data("rows"));
    const state = { at: 0, output: 0, chosen: false, single: true, split: "" };
    const pick = choice(cards.map((/** @type {any} */ card, /** @type {number} */ at) => [String(at), `${card.place < data.of ? `${card.place + 1}. ` : ""}${card.name}`]),
      () => Page.go("features", String(cards[Number(pick.value)].place + 1)));
    const step = (/** @type {number} */ by) => () => Page.go("features", String(cards[(state.at + by + cards.length) % cards.length].place + 1));
    const outputs = choice((data.classes ?? []).map((/** @type {string} */ name, /** @type {number} */ k) => [String(k), name]),
      () => { state.output = Number(outputs.value); state.chosen = true; draw(); });
    const single = /** @type {HTMLInputElement} */ (element("input", { type: "checkbox", checked: true, change: () => { state.single = single.checked; draw(); } }));
    const split = choice([["", "nothing"], ...(rows?.columns ?? []).map((/** @type {any} */ column, /** @type {number} */ at) => [String(at), column.name])],
      () => { state.split = split.value; draw(); });
    const place = element("div", { class: "card" });
    const draw = () => {
      pick.value = String(state.at);
      if (!state.chosen) state.output = cards[state.at].most ?? 0;
      outputs.value = String(state.output);
      place.replaceChildren(...cardOf({ ...data, output: state.output }, cards[state.at], state, rows));
    };
    const controls = element("div", { class: "controls" }, field("Feature", pick),
      element("span", {},
        element("button", { type: "button", click: step(-1), "aria-label": "Previous feature" }, "‹"), " ",
        element("button", { type: "button", click: step(1), "aria-label": "Next feature" }, "›")));
    if ((data.classes ?? []).length > 1) controls.append(field("Class", outputs));
    if (rows && rows.drawn.length) controls.append(field("Split by", split));
    const drawn = cards.some((/** @type {any} */ card) => card.curves?.shape[0]);
    if (drawn) controls.append(element("label", { class: "check" }, single, element("span", {}, "curves of single rows")));
    box.append(controls, place);
    show = (wanted) => {
      const at = cards.findIndex((/** @type {any} */ card) => card.place === wanted);
      if (at < 0) return;
      state.at = at;
      draw();
    };
    draw();
    return undefined;
  };

  /** How important a feature is, or that a column is only important as one of a group. @param {any} data @param {any} card */
  const rankWords = (data, card) => {
    const { list } = data;
    const at = card.place;
    const missing = card.values?.missing ? ` ${card.values.missing.toLocaleString("en-US")} of ${data.rows.toLocaleString("en-US")} test rows have no value.` : "";
    if (at >= data.of) return `One column of a group. The importance is that of the whole group.${missing}`;
    const { model, constant, metric } = data.loss ?? { model: 0, constant: Infinity, metric: "" };
    const spoken = (/** @type {number} */ value) => measured(model + value);
    const ends = list.low[at] === null ? "" : ` (${data.confidence} interval ${spoken(list.low[at])} to ${spoken(list.high[at])})`;
    const lost = model + list.importance[at] > constant ? `, worse than that of a constant (${measured(constant)})` : "";
    const importance = metric ? `When it is shuffled, the ${metric} is ${spoken(list.importance[at])}${ends} instead of ${measured(model)}${lost}` : `${data.quantity} ${spoken(list.importance[at])}${ends}`;
    const sure = list.adjusted ? (list.clear[at] ? " It clearly matters." : " It does not clearly matter.") : "";
    return `Number ${at + 1} of ${data.of.toLocaleString("en-US")}. ${importance}.${sure}${missing}`;
  };

  /** The parts of a card. @param {any} data @param {any} card @param {any} state @param {any} rows */
  const cardOf = (data, card, state, rows) => {
    const at = card.place;
    const parts = [element("h4", { id: `feature-${at + 1}` }, card.name), element("p", {}, rankWords(data, card))];
    if (!card.values) {
      parts.push(element("p", {}, "This feature is made of several columns, so there is no single value to change or to count."));
      return parts;
    }
    const feature = rows?.columns.find((/** @type {any} */ column) => column.name === card.name);
    const chosen = state.split === "" ? null : rows?.columns[Number(state.split)];
    const segment = card.outcome && chosen && feature && chosen !== feature ? chosen : null;
    const figures = [];
    if (card.picture) figures.push(Photos.places(data, card, state.output, (value) => say(data, value)));
    else if (card.effects) figures.push(...effectsFigure(data, card, state));
    if (card.examples?.length) figures.push(Photos.examples(card, state.output));
    if (card.curves) figures.push(effectFigure(data, card, state, segment, rows));
    const series = segment
      ? bySegment(rows, feature, segment, rows.classes && data.classes ? rows.classes.indexOf(data.classes[state.output]) : 0)
      : [{ name: "all", colour: "tabular", entries: (card.outcome ?? []).map((/** @type {any} */ entry) => ({
        level: entry.level, rows: entry.rows, outcome: entry.outcome[state.output], low: entry.low[state.output],
        high: entry.high[state.output], predicted: entry.predicted[state.output],
      })) }];
    if (series[0].entries.length) figures.push(outcomeFigure(data, card, series, segment, rows));
    const { list } = data;
    if (list.outputs.length > 2 && at < data.of) {
      const bars = list.outputs.map((/** @type {string} */ name, /** @type {number} */ k) => ({ name, value: list.byClass[at][k] ?? 0 }));
      figures.push(classFigure(data, card, bars));
    }
    parts.push(element("div", { class: "pair" }, ...figures));
    if (card.notes.length) parts.push(element("ul", {}, ...card.notes.map((/** @type {string} */ note) => element("li", {}, note))));
    if (card.related.length) parts.push(element("p", {}, `Related features: ${card.related.join(", ")}. Importance may be shared between them.`));
    return parts;
  };

  /** What the words of a text do, or the levels of a category of many: the largest and the smallest. */
  const effectsFigure = (/** @type {any} */ data, /** @type {any} */ card, /** @type {any} */ state) => {
    const out = state.output;
    const what = data.classes ? `the probability of ${data.classes[out]}` : data.target;
    const sure = card.effects.filter((/** @type {any} */ entry) => entry.clear[out]);
    const looked = `${card.effects.length} ${card.words ? "words and pairs of words that stand in at least 10 test rows" : "levels"}`;
    if (card.words && data.list.clear[card.place] === false) return [element("p", {}, "The words of a text that does not clearly matter are not listed.")];
    if (card.words && !sure.length) return [element("p", {}, `${looked} were looked at. None clearly changes ${what}.`)];
    const order = [...(card.words ? sure : card.effects)].sort((a, b) => b.effect[out] - a.effect[out]);
    const shown = order.length > 2 * ENDS ? [...order.slice(0, ENDS), ...order.slice(-ENDS)] : order;
    const entries = shown.map((entry) => ({
      level: entry.level, rows: entry.rows, outcome: entry.effect[out], low: entry.low[out], high: entry.high[out], predicted: null,
    }));
    const [top, last] = [shown[0], shown[shown.length - 1]];
    const said = `${top.level} (${say(data, top.effect[out])})${last === top ? "" : `, and lowest for ${last.level} (${say(data, last.effect[out])})`}`;
    const caption = card.words
      ? `What a word does to ${what}: the mean prediction with it minus that without it, over test rows that have it. It is highest for ${said}. ` +
        `${looked} were looked at. Those with an adjusted p below 0.05 are shown (${sure.length}${order.length > shown.length ? `, of which the ${shown.length} at both ends` : ""}). Lines: 95\u00a0% intervals of the mean.`
      : `What a level does to ${what}: the mean prediction with it minus that with a level never seen. It is highest for ${said}. ` +
        `${shown.length} of ${card.scored.toLocaleString("en-US")} levels that occur at least twice are shown, with their number of training rows` +
        `${card.pooled ? `; ${card.pooled.toLocaleString("en-US")} that occur once count as never seen` : ""}. Lines: 95\u00a0% intervals, as of a mixed model: the fewer rows, the nearer to 0 and the wider.`;
    return [Page.figure({
      anchor: `features/${card.place + 1}/${card.words ? "words" : "levels"}`, drawing: outcomeChart(data, [{ name: "all", colour: "tabular", entries }], caption, [0]), caption,
      rows: () => [[card.words ? "word" : "level", "rows", "effect", "interval from", "interval to"], ...order.map((entry) =>
        [entry.level, entry.rows, entry.effect[out], entry.low[out], entry.high[out]])],
    })];
  };

  const effectFigure = (/** @type {any} */ data, /** @type {any} */ card, /** @type {any} */ state, /** @type {any} */ segment, /** @type {any} */ rows) => {
    const count = data.curveRows.length;
    /** @type {{name: string, rows: number[]}[]} */
    let parts = [];
    if (segment) {
      const cut = groups(segment, rows.drawn, 3);
      parts = cut.names.map((name, part) => ({
        name, rows: data.curveRows.slice(0, count).flatMap((/** @type {number} */ row, /** @type {number} */ at) => (row >= 0 && cut.code(row) === part ? [at] : [])),
      })).filter((part) => part.rows.length);
    }
    const drawing = effectChart(data, card, { output: state.output, single: state.single, parts });
    const means = parts.length ? `Thick lines: means of the rows by ${segment.name} (${parts.map((part) => `${part.name}: ${part.rows.length}`).join(", ")}).` : `Thick line: the mean of ${count} test rows.`;
    const figure = Page.figure({
      anchor: `features/${card.place + 1}/effect`, drawing,
      caption: `${effectWords(data, card, state.output)} ${means}${state.single ? " Thin lines: single rows." : ""}${card.ale ? ` ${Locals.WORDS}` : ""} Bars: how often each value occurs in ${data.rows.toLocaleString("en-US")} test rows.`,
      rows: () => {
        const curves = curvesOf(card.curves);
        const heads = Array.from({ length: curves.rows }, (_, row) => `row ${data.curveRows[row] >= 0 && rows ? rows.numbers[data.curveRows[row]] : row + 1}`);
        return [[card.name, "mean", ...heads], ...card.label.map((/** @type {string} */ name, /** @type {number} */ point) =>
          [name, card.mean[point][state.output], ...heads.map((_, row) => Number(curves.at(row, point, state.output).toPrecision(6)))]), ...Locals.rows(card, state.output)];
      },
    });
    if (card.leaves) figure.append(element("p", { class: "warned" }, card.leaves[state.output]));
    if (parts.length) figure.prepend(legend(parts.map((part, at) => [part.name, `series-${at}`])));
    return figure;
  };

  const outcomeFigure = (/** @type {any} */ data, /** @type {any} */ card, /** @type {Series[]} */ series, /** @type {any} */ segment, /** @type {any} */ rows) => {
    const source = segment
      ? `From ${rows.drawn.length.toLocaleString("en-US")} test rows drawn at random, by ${segment.name}.`
      : `From ${data.rows.toLocaleString("en-US")} test rows.`;
    const figure = Page.figure({
      anchor: `features/${card.place + 1}/outcome`, drawing: outcomeChart(data, series),
      caption: `${outcomeWords(data, series, card.name)} Dot: what happened, with its 95\u00a0% interval. Diamond: the mean prediction. ${source} A difference is not an effect: other features differ too.`,
      rows: () => [
        ["segment", card.name, "rows", "outcome", "interval from", "interval to", "mean prediction"],
        ...series.flatMap((one) => one.entries.map((entry) => [one.name, entry.level, entry.rows, entry.outcome, entry.low, entry.high, entry.predicted])),
      ],
    });
    if (series.length > 1) figure.prepend(legend(series.map((one) => [one.name, one.colour])));
    return figure;
  };

  const classFigure = (/** @type {any} */ data, /** @type {any} */ card, /** @type {{name: string, value: number}[]} */ bars) => {
    const { svg, frame } = Charts.chart({ width: wide(ROOM), height: 58 + 22 * bars.length, left: 130, right: 60 }, bars.map((bar) => `${bar.name} ${write(bar.value)}.`).join(" "));
    const x = linear(extent(bars.map((bar) => bar.value), [0]), [frame.left, frame.width - frame.right]);
    const y = band(bars.map((bar) => bar.name), [frame.top, frame.height - frame.bottom]);
    svg.append(axis(frame, x, { side: "x", count: 4, label: shorten(data.quantity, 50) }), axis(frame, y, { side: "y", letters: 18 }), Charts.bars(bars, x, y));
    const top = [...bars].sort((a, b) => b.value - a.value)[0];
    return Page.figure({
      anchor: `features/${card.place + 1}/classes`, drawing: svg,
      caption: `Importance of ${card.name} on the rows of each class. It is largest for ${top.name} (${write(top.value)}).`,
      rows: () => [["class", data.quantity], ...bars.map((bar) => [bar.name, bar.value])],
    });
  };

  const open = (/** @type {string} */ path) => {
    const place = Number(path.split("/")[0]) - 1;
    if (!Number.isInteger(place) || !show) return;
    show(place);
    (document.getElementById(`features/${path}`) ?? document.getElementById("one-by-one"))?.scrollIntoView();
  };

  Page.tab("features", { live: { list: drawList, card: drawCard }, open });
  return { bySegment, curvesOf, groups, interval, search, table };
})();
