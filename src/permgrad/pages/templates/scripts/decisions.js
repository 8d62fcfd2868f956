"use strict";

/**
 * The tab Decisions: a threshold with its errors and costs for classes, a tolerance for predicted numbers.
 *
 * @typedef {{name: string, rows: number, positives: number, value: number[], called: number[], hits: number[],
 *   least: number[], start: number}} Points  counts at falling thresholds, see `operating_points` in Python
 */
const Decisions = (() => {
  const { node, colour, linear, axis, line, area, write, percent, chart, extent } = Charts;
  const { element, figure } = Page;
  const { wide, field, choice, amount, slider, table, facts, redraw } = Panels;

  /** Steps of the slider from a threshold of 0 to one of 1. */
  const STEPS = 100;

  // ---- numbers ------------------------------------------------------------------------------------------------------
  /** All counts and measures at one threshold. @param {Points} points @param {number} at */
  const measures = (points, at) => {
    const [called, hits] = [points.called[at], points.hits[at]];
    const negatives = points.rows - points.positives;
    const alarms = called - hits;
    const missed = points.positives - hits;
    const ratio = (/** @type {number} */ part, /** @type {number} */ whole) => (whole ? part / whole : null);
    return {
      called, hits, alarms, missed, passed: negatives - alarms, threshold: points.value[at],
      precision: ratio(hits, called), recall: ratio(hits, points.positives), specificity: ratio(negatives - alarms, negatives),
      f1: ratio(2 * hits, points.positives + called), accuracy: ratio(hits + negatives - alarms, points.rows),
      share: ratio(called, points.rows),
    };
  };

  /** The cost of all errors at one threshold. @param {Points} points @param {{alarm: number, miss: number}} cost */
  const total = (points, at, cost) => {
    const counts = measures(points, at);
    return counts.alarms * cost.alarm + counts.missed * cost.miss;
  };

  /** The position with the best score, the highest threshold if several are equally good. */
  const best = (/** @type {Points} */ points, /** @type {(at: number) => number} */ score) => {
    let chosen = 0;
    for (let at = 1; at < points.value.length; at += 1) if (score(at) > score(chosen) + 1e-12) chosen = at;
    return chosen;
  };

  /** The position at which just the rows with at least this probability are predicted. @param {Points} points */
  const place = (points, /** @type {number} */ threshold) => {
    let at = 0;
    while (at + 1 < points.least.length && points.least[at + 1] >= threshold) at += 1;
    return at;
  };

  /** The cost at every threshold: it stays the same up to the probability of a row, where it jumps. @param {Points} points @param {number[]} costs @returns {[number[], number[]]} */
  const stairs = (points, costs) => {
    /** @type {number[]} */
    const [xs, ys] = [[], []];
    costs.forEach((cost, at) => {
      const upper = at ? points.least[at] : 1;
      const lower = at + 1 < costs.length ? points.least[at + 1] : 0;
      xs.push(Math.min(upper, 1), Math.max(lower, 0));
      ys.push(cost, cost);
    });
    return [xs, ys];
  };

  /** The share of rising absolute errors within a tolerance. They have seven digits. */
  const within = (/** @type {ArrayLike<number>} */ sizes, /** @type {number} */ tolerance) => {
    const most = tolerance * (1 + 1e-6);
    let count = 0;
    while (count < sizes.length && sizes[count] <= most) count += 1;
    return count / sizes.length;
  };

  // ---- threshold ----------------------------------------------------------------------------------------------------
  /** A small chart of a curve with a marker that can be moved. */
  const curve = (/** @type {string} */ description, /** @type {string} */ xLabel, /** @type {string} */ yLabel, share = true) => {
    const { svg, frame } = chart({ width: wide(330), height: 240, left: 58, right: 20 }, description);
    const marker = node("circle", { r: 5, fill: colour("negative"), stroke: colour("paper"), "stroke-width": 1.5 });
    /** @type {any} */ let scales = null;
    const draw = (/** @type {number[]} */ xs, /** @type {number[]} */ ys, /** @type {[number, number]} */ range, diagonal = false) => {
      const x = linear([0, 1], [frame.left, frame.width - frame.right]);
      const y = linear(range, [frame.height - frame.bottom, frame.top]);
      scales = [x, y];
      svg.replaceChildren(
        axis(frame, x, { side: "x", label: xLabel, write: share ? percent : write, count: 4 }),
        axis(frame, y, { side: "y", label: yLabel, write: share ? percent : write }),
      );
      if (diagonal) svg.append(line([x(0), x(1)], [y(0), y(1)], { stroke: colour("neutral"), "stroke-width": 1, "stroke-dasharray": "4 3" }));
      svg.append(line(xs.map(x), ys.map(y)), marker);
    };
    const move = (/** @type {number|null} */ x, /** @type {number|null} */ y) => {
      const shown = x !== null && y !== null && Number.isFinite(x) && Number.isFinite(y);
      marker.setAttribute("visibility", shown ? "visible" : "hidden");
      if (shown) {
        marker.setAttribute("cx", scales[0](x).toFixed(1));
        marker.setAttribute("cy", scales[1](y).toFixed(1));
      }
    };
    return { svg, draw, move };
  };

  /** The panel of thresholds. @param {HTMLElement} box @param {any} data */
  const threshold = (box, data) => {
    const classes = /** @type {Points[]|undefined} */ (data.classes);
    if (!classes?.length) return false;
    const [falseAlarm, missedRow] = data.cost ?? [1, 1];
    const cost = { alarm: falseAlarm, miss: missedRow };
    let points = classes[0];
    let at = points.start;

    const bar = slider(STEPS, (step) => { at = place(points, step / STEPS); typed.value = String(step / STEPS); show(true); });
    const typed = amount(data.threshold, (value) => { at = place(points, value); show(true); }, { min: 0, max: 1, step: "any" });
    const alarm = amount(cost.alarm, (value) => { cost.alarm = value; costs(); }, { min: 0 });
    const miss = amount(cost.miss, (value) => { cost.miss = value; costs(); }, { min: 0 });
    const jump = (/** @type {string} */ words, /** @type {() => number} */ where) =>
      element("button", { type: "button", click: () => { at = where(); show(); } }, words);
    const controls = element("div", { class: "controls" });
    if (classes.length > 1) controls.append(field("Class", choice(classes.map((one) => one.name), (place) => pick(classes[place]))));
    controls.append(
      field("Threshold", bar), field("Value", typed), field("Cost of a false alarm", alarm), field("Cost of a miss", miss),
      jump("Lowest cost", () => best(points, (place) => -total(points, place, cost))),
      jump("Largest F1", () => best(points, (place) => measures(points, place).f1 ?? 0)),
      jump(data.threshold === 0.5 ? "0.5" : `This model (${write(data.threshold)})`, () => points.start),
    );
    const words = element("p", { role: "status" });
    const numbers = element("div", { class: "beside" });
    const precision = curve("Precision by recall.", "share found (recall)", "precision");
    const gain = curve("Share found by share predicted positive.", "share of rows predicted positive", "share found");
    const price = curve("Cost by threshold.", "threshold", "cost of all test rows", false);

    const rows = () => [
      ["threshold", "predicted positive", "found", "missed", "false alarms", "precision", "recall", "F1", "cost"],
      ...points.value.map((value, to) => {
        const one = measures(points, to);
        return [value, one.called, one.hits, one.missed, one.alarms, one.precision, one.recall, one.f1, total(points, to, cost)];
      }),
    ];
    const shown = {
      precision: figure({ anchor: "decisions-precision", drawing: precision.svg, caption: "", rows }),
      gain: figure({ anchor: "decisions-gain", drawing: gain.svg, caption: "", rows }),
      price: figure({ anchor: "decisions-cost", drawing: price.svg, caption: "", rows }),
    };

    const show = (keep = false) => {
      const one = measures(points, at);
      if (!keep) typed.value = String(Number(one.threshold.toPrecision(3)));
      bar.value = String(Math.round(Number(typed.value) * STEPS));
      bar.setAttribute("aria-valuetext", `threshold ${typed.value}`);
      const spent = total(points, at, cost);
      const count = (/** @type {number} */ value) => value.toLocaleString("en-US");
      const whose = /^[\d−-]/.test(points.name) ? `rows of class ${points.name}` : `${points.name} rows`;
      const right = one.precision === null ? "" : `, and ${percent(one.precision)} of those it predicts are right`;
      words.textContent = `With a threshold of ${keep ? write(Number(typed.value)) : write(one.threshold)}, the model finds `
        + `${percent(one.recall)} of the ${whose}${right}. Its ${count(one.alarms + one.missed)} ${one.alarms + one.missed === 1 ? "error" : "errors"} on `
        + `${count(points.rows)} test rows cost ${write(spent, 4)} (${write(spent / points.rows)} per row).`;
      numbers.replaceChildren(
        table("Confusion matrix: test rows at this threshold.", ["truth", `predicted ${Charts.shorten(points.name, 18)}`, "not predicted"], [
          [Charts.shorten(points.name, 24), count(one.hits), count(one.missed)],
          ["all others", count(one.alarms), count(one.passed)],
        ]),
        facts([
          ["precision", percent(one.precision)], ["recall", percent(one.recall)], ["specificity", percent(one.specificity)],
          ["F1", write(one.f1)], ["accuracy", percent(one.accuracy)], ["predicted positive", percent(one.share)],
        ]),
      );
      precision.move(one.recall, one.precision);
      gain.move(one.share, one.recall);
      price.move(Number(typed.value), spent);
      const lifted = one.recall !== null && one.share ? one.recall / one.share : null;
      const captions = {
        precision: one.precision === null ? "At this threshold no row is predicted." : `Precision is ${percent(one.precision)} where ${percent(one.recall)} are found.`,
        gain: one.precision === null ? "At this threshold no row is predicted." : `The ${percent(one.share)} of rows with the highest probability have ${percent(one.recall)} of the ${whose}`
          + (lifted === null ? "." : `, ${write(lifted)} times as many as chance (dashed).`),
        price: `The cost here is ${write(spent, 4)}. The lowest is ${write(total(points, best(points, (to) => -total(points, to, cost)), cost), 4)}.`,
      };
      for (const key of /** @type {("precision"|"gain"|"price")[]} */ (Object.keys(shown))) {
        const caption = shown[key].querySelector("figcaption");
        if (caption) caption.textContent = captions[key];
      }
    };
    const costs = () => {
      const spent = points.value.map((_, to) => total(points, to, cost));
      price.draw(...stairs(points, spent), extent(spent, [0]));
      show(true);
    };
    const pick = (/** @type {Points} */ chosen) => {
      points = chosen;
      at = points.start;
      const all = points.value.map((_, to) => measures(points, to));
      precision.draw(all.map((one) => one.recall ?? NaN), all.map((one) => one.precision ?? NaN), [0, 1]);
      gain.draw(all.map((one) => one.share ?? NaN), all.map((one) => one.recall ?? NaN), [0, 1], true);
      typed.value = String(Number(data.threshold.toPrecision(3)));
      costs();
    };
    box.append(controls, words, numbers, element("div", { class: "beside charts" }, shown.precision, shown.gain, shown.price));
    pick(points);
    return undefined;
  };

  // ---- tolerance ----------------------------------------------------------------------------------------------------
  /** Errors along the predictions: quantiles as bands, and the tolerance. @param {any} data @param {number} limit */
  const bands = (data, limit) => {
    const { svg, frame } = chart({ width: wide(560), height: 320, left: 66 }, `Errors of ${data.target} by prediction.`);
    const list = data.bands;
    const centres = list.map((/** @type {any} */ one) => one.centre);
    const edges = list.flatMap((/** @type {any} */ one) => [one.errors[0], one.errors[4]]);
    const x = linear(extent(centres), [frame.left + 4, frame.width - frame.right - 4]);
    const y = linear(extent(edges, [0]), [frame.height - frame.bottom, frame.top]);
    svg.append(axis(frame, x, { side: "x", label: `predicted ${Charts.shorten(data.target, 40)}`, count: wide() < 480 ? 3 : 6 }),
      axis(frame, y, { side: "y", label: "error (truth − prediction)" }));
    const at = centres.map(x);
    const quantile = (/** @type {number} */ place) => list.map((/** @type {any} */ one) => y(one.errors[place]));
    const clamp = (/** @type {number} */ value) => Math.min(Math.max(y(value), frame.top), frame.height - frame.bottom);
    svg.append(
      area(at, quantile(0), quantile(4)), area(at, quantile(1), quantile(3), { "fill-opacity": 0.3 }), line(at, quantile(2)),
      line([frame.left, frame.width - frame.right], [y(0), y(0)], { stroke: colour("ink"), "stroke-width": 1 }),
    );
    for (const side of [-limit, limit]) {
      svg.append(line([frame.left, frame.width - frame.right], [clamp(side), clamp(side)], { stroke: colour("negative"), "stroke-width": 1.4, "stroke-dasharray": "5 3" }));
    }
    return svg;
  };

  /** The share of rows within the tolerance along the predictions. @param {any} data @param {number} limit */
  const shares = (data, limit) => {
    const { svg, frame } = chart({ width: wide(560), height: 230, left: 66 }, "Share of rows within the tolerance by prediction.");
    const list = data.bands;
    const x = linear(extent(list.map((/** @type {any} */ one) => one.centre)), [frame.left + 4, frame.width - frame.right - 4]);
    const y = linear([0, 1], [frame.height - frame.bottom, frame.top]);
    svg.append(axis(frame, x, { side: "x", label: `predicted ${Charts.shorten(data.target, 40)}`, count: wide() < 480 ? 3 : 6 }),
      axis(frame, y, { side: "y", label: "within the tolerance", write: percent }));
    const values = list.map((/** @type {any} */ one) => within(one.sizes, limit));
    const at = list.map((/** @type {any} */ one) => x(one.centre));
    svg.append(line(at, values.map(y)));
    list.forEach((/** @type {any} */ one, /** @type {number} */ to) => {
      svg.append(node("circle", { cx: at[to], cy: y(values[to]), r: 4, fill: colour("tabular") },
        node("title", {}, `${write(one.low)} to ${write(one.high)}: ${percent(values[to])} of ${one.rows.toLocaleString("en-US")} rows`)));
    });
    return svg;
  };

  /** The panel of tolerances. @param {HTMLElement} box @param {any} data */
  const tolerance = (box, data) => {
    if (!data.bands?.length) return false;
    const steps = 200;
    const list = data.bands.map((/** @type {any} */ one) => ({ ...one, sizes: Page.unpack(one.sizes) }));
    const all = { ...data, bands: list };
    const count = list.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.rows, 0);
    const short = (/** @type {number} */ value) => Number(value.toPrecision(3));
    const largest = data.start[1] || 1;
    let limit = short(data.start[0]);
    const bar = slider(steps, (place) => { limit = short((place / steps) * largest); typed.value = String(limit); show(); });
    const typed = amount(limit, (value) => { limit = Math.abs(value); show(); }, { min: 0 });
    const words = element("p", { role: "status" });
    const rows = () => [
      ["predicted from", "to", "rows", "error 5 %", "error 25 %", "median error", "error 75 %", "error 95 %", "within the tolerance"],
      ...list.map((/** @type {any} */ one) => [one.low, one.high, one.rows, ...one.errors, within(one.sizes, limit)]),
    ];
    const first = figure({ anchor: "decisions-errors", drawing: bands(all, limit), caption: "", rows });
    const second = figure({ anchor: "decisions-within", drawing: shares(all, limit), caption: "", rows });
    const show = () => {
      bar.value = String(Math.round((limit / largest) * steps));
      bar.setAttribute("aria-valuetext", write(limit));
      const told = list.map((/** @type {any} */ one) => ({ ...one, share: within(one.sizes, limit) }));
      const share = told.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.rows * one.share, 0) / count;
      const sorted = told.filter((/** @type {any} */ one) => one.rows >= 10).sort((/** @type {any} */ a, /** @type {any} */ b) => a.share - b.share);
      const [worst, top] = [sorted[0], sorted[sorted.length - 1]];
      const about = data.exact ? "" : "About ";
      const range = (/** @type {any} */ one) => (one.low === one.high ? `${write(one.low, 4)}` : `${write(one.low)} to ${write(one.high)}`);
      words.textContent = `${about}${percent(share)} of the ${count.toLocaleString("en-US")} test rows are predicted to within ${write(limit, 4)}.`
        + (top && percent(top.share) !== percent(worst.share) ? ` The share is largest where predictions are ${range(top)} (${percent(top.share)}), and smallest at ${range(worst)} (${percent(worst.share)}).` : "");
      redraw(first, bands(all, limit), "Median error (line), the middle half and nine in ten of the errors (areas), by prediction. Dashed: the tolerance.");
      redraw(second, shares(all, limit), "Share of test rows within the tolerance, by prediction.");
    };
    box.append(element("div", { class: "controls" }, field("Tolerance", bar), field("Value", typed)), words, element("div", { class: "pair" }, first, second));
    show();
    Panels.follow(show);
    return undefined;
  };

  return { measures, total, best, place, within, threshold, tolerance };
})();

Page.tab("decisions", { live: { threshold: Decisions.threshold, tolerance: Decisions.tolerance } });
