"use strict";

/**
 * The tab Together: pairs of features with their intervals, and the prediction by the values of two features.
 * Links such as #together/2 choose the second pair with an effect.
 */
const Together = (() => {
  const { node, colour, linear, write, measured, percent, text, axis } = Charts;
  const { element, figure } = Page;
  const { wide, field, choice, pText, redraw } = Panels;
  const SHOWN = 10;

  const named = (/** @type {string[]} */ pair) => pair.join(" × ");
  const ends = (/** @type {any} */ data, /** @type {number} */ at) =>
    (data.low[at] === null ? "no interval" : `${measured(data.low[at])} to ${measured(data.high[at])}`);

  /** The position of the effect of a pair, or −1. @param {any} data @param {string[]} pair */
  const effectAt = (data, pair) => data.effects.findIndex((/** @type {any} */ one) => named(one.pair) === named(pair));

  // ---- all pairs ----------------------------------------------------------------------------------------------------
  /** @param {HTMLElement} box @param {any} data */
  const drawPairs = (box, data) => {
    if (!data.pairs?.length) return false;
    const count = data.clear.filter(Boolean).length;
    const body = element("tbody");
    let most = Math.max(SHOWN, count);
    const more = element("button", { type: "button", class: "plain", click: () => { most = Infinity; list(); } });
    const list = () => {
      const places = data.pairs.map((/** @type {any} */ _, /** @type {number} */ at) => at).slice(0, most);
      body.replaceChildren(...places.map((/** @type {number} */ at) => {
        const effect = effectAt(data, data.pairs[at]);
        const words = Page.breakable(named(data.pairs[at]));
        const name = effect < 0 ? words
          : [element("button", { type: "button", class: "plain", click: () => Page.go("together", String(effect + 1)) }, ...words)];
        return element("tr", {},
          element("th", { scope: "row", class: `text${data.clear[at] ? " best" : ""}` }, ...name),
          element("td", { class: "number" }, measured(data.value[at])),
          element("td", { class: "number" }, ends(data, at)),
          element("td", { class: "number" }, pText(data.p[at])));
      }));
      more.textContent = `Show all ${data.pairs.length.toLocaleString("en-US")}`;
      more.hidden = places.length === data.pairs.length;
    };
    const heads = ["pair", "interaction", `${data.confidence} interval`, "adjusted\u00a0p"];
    const caption = `Pairs, the strongest first. Bold: clear.${data.effects.length ? " Click a name for the effect of both." : ""}`;
    box.append(
      element("div", { class: "table tall", tabindex: "0", role: "group", "aria-label": "List of pairs" },
        element("table", {}, element("caption", {}, element("span", {}, caption)),
          element("thead", {}, element("tr", {}, ...heads.map((head, at) => element("th", { scope: "col", class: at ? "number" : "text" }, head)))), body)),
      element("p", { class: "below" }, more));
    list();
    return undefined;
  };

  // ---- one pair -----------------------------------------------------------------------------------------------------
  /** The mean prediction of one output, `[first][second]`. @param {any} effect @param {number} output */
  const meanOf = (effect, output) => {
    const numbers = Page.unpack(effect.mean);
    const [rows, columns, outputs] = effect.shape;
    return Array.from({ length: rows }, (_, row) =>
      Array.from({ length: columns }, (__, column) => numbers[(row * columns + column) * outputs + output]));
  };

  const average = (/** @type {number[]} */ values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  /** What a joint effect has beyond the sum of both single ones. @param {number[][]} mean */
  const beyond = (mean) => {
    const rows = mean.map(average);
    const columns = mean[0].map((_, at) => average(mean.map((row) => row[at])));
    const all = average(rows);
    return mean.map((row, at) => row.map((value, to) => value - rows[at] - columns[to] + all));
  };

  /** All choices of two places, of numbers only the first and the last. @param {any} one */
  const twos = (one) => {
    const last = one.at.length - 1;
    if (one.numeric && !one.circle) return [[0, last]];
    return one.at.flatMap((/** @type {number} */ _, /** @type {number} */ a) =>
      one.at.slice(a + 1).map((/** @type {number} */ __, /** @type {number} */ b) => [a, a + 1 + b]));
  };

  /** What an effect says, see `effect_words` in Python. @param {any} effect @param {number[][]} mean @param {(value: number) => string} say */
  const words = (effect, mean, say) => {
    const [first, second] = effect.axes;
    let best = { size: -1, rows: [0, 0], columns: [0, 0] };
    for (const rows of twos(first)) {
      for (const columns of twos(second)) {
        const [[a, b], [c, d]] = [rows, columns];
        const size = Math.abs(mean[b][d] - mean[a][d] - mean[b][c] + mean[a][c]);
        if (size > best.size) best = { size, rows, columns };
      }
    }
    const [from, to] = best.rows;
    const value = (/** @type {any} */ one, /** @type {number} */ at) => (one.numeric && !one.dates ? Charts.numeral(one.label[at]) : one.label[at]);
    const parts = best.columns.map((at) => `${say(mean[to][at] - mean[from][at])} where ${effect.pair[1]} is ${value(second, at)}`);
    return `From ${value(first, from)} to ${value(first, to)}, ${effect.pair[0]} changes the mean prediction by ${parts[0]}, and by ${parts[1]}.`;
  };

  /** The edges of cells around points. @param {any} one @returns {number[]} */
  const edges = (one) => {
    const [first, last] = [one.at[0], one.at[one.at.length - 1]];
    const middles = one.at.slice(1).map((/** @type {number} */ value, /** @type {number} */ at) => (value + one.at[at]) / 2);
    return one.numeric ? [first, ...middles, last] : [first - 0.5, ...middles, last + 0.5];
  };

  /** @param {any} effect @param {number[][]} table @param {{signed: boolean, say: (value: number|null) => string, what: string}} about */
  const chart = (effect, table, about) => {
    const [first, second] = effect.axes;
    const [columns, rows] = [edges(first), edges(second)];
    const { svg, frame } = Charts.chart({ width: wide(), height: 380, left: 96, bottom: 62, top: 14 }, about.what);
    const x = linear([columns[0], columns[columns.length - 1]], [frame.left, frame.width - frame.right]);
    const y = linear([rows[0], rows[rows.length - 1]], [frame.height - frame.bottom, frame.top]);
    const all = table.flat();
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const most = Math.max(...all.map(Math.abs)) || 1;
    table.forEach((line, at) => line.forEach((value, to) => {
      const share = about.signed ? Math.abs(value) / most : (value - low) / (high - low || 1);
      svg.append(node("rect", {
        x: x(columns[at]), y: y(rows[to + 1]), width: Math.max(x(columns[at + 1]) - x(columns[at]), 0.5),
        height: Math.max(y(rows[to]) - y(rows[to + 1]), 0.5),
        fill: colour(about.signed && value < 0 ? "negative" : "positive"), "fill-opacity": (0.04 + 0.7 * share).toFixed(3),
      }, node("title", {}, `${effect.pair[0]} ${first.label[at]}, ${effect.pair[1]} ${second.label[to]}: ${about.say(value)}`)));
    }));
    const dots = Page.unpack(effect.dots);
    const half = dots.length / 2;
    svg.append(Charts.dots(Array.from(dots.slice(0, half), x), Array.from(dots.slice(half), y), { fill: colour("ink"), "fill-opacity": 0.4, r: 1.8 }));
    const shown = (/** @type {any} */ one) => (one.numeric ? [0, one.at.length - 1] : one.at.map((/** @type {any} */ _, /** @type {number} */ at) => at));
    if (first.numeric && !first.dates) svg.append(axis(frame, x, { side: "x", grid: false, count: frame.width < 500 ? 4 : 6, write: (value) => write(value, 4) }));
    else {
      const letters = Math.max(4, Math.floor((frame.width - frame.left) / shown(first).length / 7));
      for (const at of shown(first)) svg.append(text(x(first.at[at]), frame.height - frame.bottom + 17, Charts.labels(first.label, letters)[at], { "text-anchor": at ? (first.numeric ? "end" : "middle") : (first.numeric ? "start" : "middle") }));
    }
    if (second.numeric && !second.dates) svg.append(axis(frame, y, { side: "y", grid: false, write: (value) => write(value, 4) }));
    else for (const at of shown(second)) svg.append(text(frame.left - 7, y(second.at[at]) + 4, Charts.labels(second.label, 10)[at], { "text-anchor": "end" }));
    const sides = Charts.labels(effect.pair, 40);
    svg.append(
      text((frame.left + frame.width - frame.right) / 2, frame.height - 8, sides[0], { "text-anchor": "middle", fill: colour("ink") }),
      text(0, 0, sides[1], { "text-anchor": "middle", fill: colour("ink"), transform: `translate(13 ${(frame.top + frame.height - frame.bottom) / 2}) rotate(-90)` }),
    );
    return svg;
  };

  /** @type {(place: number) => void} */
  let choose = () => {};

  /** @param {HTMLElement} box @param {any} data */
  const drawEffect = (box, data) => {
    if (!data.effects?.length) return false;
    const outputs = /** @type {string[]} */ (data.classes ?? []);
    const state = { at: 0, output: 0, chosen: false, signed: false };
    const say = data.classes ? percent : (/** @type {number|null} */ value) => write(value);
    const list = choice(data.effects.map((/** @type {any} */ one) => named(one.pair)), (at) => Page.go("together", String(at + 1)));
    const whose = choice(outputs, (at) => { state.output = at; state.chosen = true; show(); });
    const sides = choice(["the mean prediction", "what the pair adds to both single effects"], (at) => { state.signed = at === 1; show(); });
    const table = () => {
      const mean = meanOf(data.effects[state.at], state.output);
      return { mean, more: beyond(mean) };
    };
    const change = data.classes ? (/** @type {number} */ value) => `${percent(value).replace("\u00a0%", "")} percentage points` : say;
    const said = () => words(data.effects[state.at], table().mean, change);
    const drawn = () => {
      const { mean, more } = table();
      return chart(data.effects[state.at], state.signed ? more : mean, { signed: state.signed, say, what: said() });
    };
    const what = () => (data.classes ? `mean probability of ${outputs[state.output]}` : `mean prediction of ${data.target}`);
    const shown = figure({
      anchor: "together-effect", drawing: drawn(), caption: "",
      rows: () => {
        const effect = data.effects[state.at];
        const { mean, more } = table();
        return [[...effect.pair, what(), "beyond both single effects"], ...mean.flatMap((line, at) => line.map((value, to) =>
          [effect.axes[0].label[at], effect.axes[1].label[to], value, more[at][to]]))];
      },
    });
    /** The class whose probability the pair moves most. @param {any} effect @returns {number} */
    const mostMoved = (effect) => {
      const ranges = outputs.map((_, at) => { const all = meanOf(effect, at).flat(); return Math.max(...all) - Math.min(...all); });
      return Math.max(ranges.indexOf(Math.max(...ranges)), 0);
    };
    const show = () => {
      const effect = data.effects[state.at];
      if (!state.chosen) state.output = mostMoved(effect);
      whose.value = String(state.output);
      const { mean, more } = table();
      list.value = String(state.at);
      const numbers = (state.signed ? more : mean).flat();
      const range = `from ${say(Math.min(...numbers))} to ${say(Math.max(...numbers))}`;
      const shades = state.signed
        ? `Shades: what the pair adds to both single effects, ${range} (orange: below 0, blue: above 0).`
        : `Shades: the ${what()} over ${effect.rows.toLocaleString("en-US")} rows where both are set to these values, ${range}, dark is high.`;
      redraw(shown, drawn(), `${said()} ${shades}${effect.dots.shape[1] ? " Dots: the rows' own values." : ""}`);
    };
    choose = (place) => {
      if (!data.effects[place]) return;
      state.at = place;
      show();
      document.getElementById("pair-effects")?.scrollIntoView();
    };
    const controls = element("div", { class: "controls" }, field("Pair", list), field("Show", sides));
    if (outputs.length > 1) controls.append(field("Class", whose));
    box.append(controls, shown);
    show();
    Panels.follow(show);
    return undefined;
  };

  const open = (/** @type {string} */ path) => choose(Number(path) - 1);

  Page.tab("together", { live: { pairs: drawPairs, effect: drawEffect }, open });
  return { beyond, effectAt, twos, words };
})();
