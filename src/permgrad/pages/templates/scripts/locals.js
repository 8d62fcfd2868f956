"use strict";

/** Accumulated local effects (ALE) in the effect's chart of a feature. */
const Locals = (() => {
  const { node, colour, line } = Charts;
  const WORDS = "Dashed line: the accumulated local effect (ALE) with its 95\u00a0% interval. For it, rows only move between values near their own.";

  /**
   * The effect on one output: places on the card's axis, means and ends of intervals, or null.
   * @param {any} card @param {number} output
   * @returns {{at: number[], mean: number[], low: (number|null)[], high: (number|null)[]}|null}
   */
  const of = (card, output) => {
    if (!card.ale) return null;
    const [mean, low, high] = ["mean", "low", "high"].map((key) => card.ale[key].map((/** @type {number[]} */ outputs) => outputs[output]));
    return { at: card.ale.at, mean, low, high };
  };

  /** Its band, and its line. @param {any} effect @param {(at: number) => number} x @param {(value: number) => number} y */
  const drawn = (effect, x, y) => {
    const along = effect.at.map(x);
    const [high, low] = [effect.high, effect.low].map((end) => along.map((/** @type {number} */ at, /** @type {number} */ k) => `${at.toFixed(1)},${y(end[k]).toFixed(1)}`));
    const band = node("polygon", { points: [...high, ...low.reverse()].join(" "), fill: colour("image"), "fill-opacity": 0.22 });
    const dashed = line(along, effect.mean.map(y), { stroke: colour("image"), "stroke-width": 2.5, "stroke-dasharray": "7 4" });
    return effect.low.includes(null) ? [dashed] : [band, dashed];
  };

  /** It as rows of a file. @param {any} card @param {number} output */
  const rows = (card, output) => {
    const effect = of(card, output);
    if (!effect) return [];
    const named = (/** @type {number} */ at) => (card.numeric ? at : card.label[at] ?? at);
    return [[card.name, "ALE", "interval from", "interval to"], ...effect.at.map((at, k) => [named(at), effect.mean[k], effect.low[k], effect.high[k]])];
  };

  return { WORDS, drawn, of, rows };
})();
