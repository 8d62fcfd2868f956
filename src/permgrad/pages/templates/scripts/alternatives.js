"use strict";

/**
 * *What would have to differ?*: few changes of a listed row with which the model of the page predicts something else.
 *
 * Cells take values that listed rows have, and never become missing. One column is changed, then two and three, going on
 * from the rows that came nearest to the goal. Then numbers are brought back towards the row as far as the goal allows.
 * Columns that are one feature, such as the dummies of a category, change together, to what a listed row has in all of them.
 * Distances are those of `pg.counterfactuals`: of numbers and dates in median absolute deviations, of other cells 1.
 *
 * @typedef {(outputs: Float64Array) => number} Margin  by how much a row reaches the goal, or falls short of it (negative)
 * @typedef {{changes: Record<string, any>, row: Float32Array, distance: number, margin: number}} Found
 */
const Alternatives = (() => {
  /** Values of a column that are tried, changes at most, results, rows of one step, rows predicted at once. */
  const TRIED = 16, MOST = 3, SHOWN = 4, BUDGET = 1000, BATCH = 64;
  /** Columns that stay, from row to row. @type {Set<string>} */
  const fixed = new Set();

  /**
   * The columns that can change: their different cells in rising order, and the unit of distances (0: no numbers).
   * @param {any} model @param {(column: any, place: number) => any} cellOf @param {any} other a cell that is no value
   */
  const columnsOf = (model, cellOf, other) => {
    const blocks = (model.together ?? []).map((/** @type {string[]} */ names) => ({ names, members: names.map((name) => model.columns.find((/** @type {any} */ column) => column.name === name)) }));
    const inside = new Set(blocks.flatMap((/** @type {any} */ block) => block.names));
    const single = singlesOf(model, cellOf, other).filter((/** @type {any} */ one) => !inside.has(one.column.name));
    // A block of which this page cannot set all columns stays as it is.
    return [...single, ...blocks.filter((/** @type {any} */ block) => block.members.every(Boolean)).flatMap((/** @type {any} */ block) => blockOf(model, block.members, cellOf, other))];
  };

  /** Columns that change together, as one whose cells are those of all of them. @param {any} model @param {any[]} members @param {(column: any, place: number) => any} cellOf @param {any} other */
  const blockOf = (model, members, cellOf, other) => {
    const rows = Array.from(model.rows, (_, place) => members.map((column) => cellOf(column, place)));
    const whole = rows.filter((cells) => cells.every((cell) => !Array.isArray(cell) && cell !== other));
    const values = [...new Map(whole.map((cells) => [JSON.stringify(cells), cells])).values()];
    const column = { name: JSON.stringify(members.map((one) => one.name)), label: members.map((one) => one.label).join(", ") };
    return values.length ? [{ column, members, ordered: false, values, unit: 0 }] : [];
  };

  /** The cell of a row, or those of columns that change together. @param {any} one @param {number} place @param {(column: any, place: number) => any} cellOf */
  const ownOf = (one, place, cellOf) => (one.members ? one.members.map((/** @type {any} */ column) => cellOf(column, place)) : cellOf(one.column, place));

  /** The columns of an entry, each with its cell. @param {any} one @param {any} cell @returns {[any, any][]} */
  const cellsOf = (one, cell) => (one.members ? one.members.map((/** @type {any} */ column, /** @type {number} */ at) => [column, cell[at]]) : [[one.column, cell]]);

  /** @param {any} model @param {(column: any, place: number) => any} cellOf @param {any} other */
  const singlesOf = (model, cellOf, other) => model.columns.flatMap((/** @type {any} */ column) => {
    const { ordered = false, choices } = Network.formOf(column.form);
    if (!ordered && !column.form.levels && !choices) return [];
    const cells = Array.from(model.rows, (_, place) => cellOf(column, place)).filter((/** @type {any} */ cell) => !Array.isArray(cell) && cell !== other);
    const values = [...new Set(cells)].sort((a, b) => (ordered ? a - b : 0));
    return values.length ? [{ column, ordered, values, unit: ordered ? spread(cells, values) : 0 }] : [];
  });

  /** The median absolute deviation, where it is 0 the mean one; of two values their difference. @param {number[]} cells @param {number[]} values */
  const spread = (cells, values) => {
    if (values.length < 3) return values[values.length - 1] - values[0] || 1;
    const middle = median(cells), apart = cells.map((cell) => Math.abs(cell - middle));
    return median(apart) || apart.reduce((sum, one) => sum + one, 0) / apart.length;
  };

  /** @param {number[]} values */
  const median = (values) => {
    const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };

  /** How far a cell is from another one. @param {any} one of columnsOf @param {any} cell @param {any} own */
  const apart = (one, cell, own) => (one.ordered && !Array.isArray(own) ? Math.abs(cell - own) / one.unit : 1);

  /**
   * Search, with a pause after each batch of rows. Returns up to four results, few changes first, each with another set
   * of columns.
   * @param {any} model @param {any[]} columns of columnsOf @param {number} place @param {(column: any, place: number) => any} cellOf
   * @param {Margin} margin
   * @yields {undefined} a pause
   * @returns {Generator<undefined, Found[], any>}
   */
  function* search(model, columns, place, cellOf, margin) {
    const own = new Map(columns.map((one) => [one.column.name, ownOf(one, place, cellOf)]));
    const differs = (/** @type {any} */ one, /** @type {any} */ cell) => {
      const before = own.get(one.column.name);
      return one.members ? JSON.stringify(cell) !== JSON.stringify(before) : Array.isArray(before) || cell !== before;
    };
    const options = columns.flatMap((one) => {
      const count = Math.min(one.values.length, TRIED), last = one.values.length - 1;
      const tried = Array.from({ length: count }, (_, at) => one.values[count > 1 ? Math.floor((at * last) / (count - 1)) : 0]);
      return tried.filter((cell) => differs(one, cell)).map((cell) => ({ one, cell }));
    });
    const changed = (/** @type {any} */ state, /** @type {any} */ one, /** @type {any} */ cell) => {
      const row = state.row.slice(), name = one.column.name;
      for (const [column, value] of cellsOf(one, cell)) model.encoder.write(row, column.form, value);
      const changes = { ...state.changes, [name]: cell };
      const distance = columns.reduce((sum, each) => sum + (each.column.name in changes ? apart(each, changes[each.column.name], own.get(each.column.name)) : 0), 0);
      return { changes, row, distance, margin: -Infinity };
    };
    /**
     * Say of rows by how much each reaches the goal.
     * @param {any[]} rows
     * @yields {undefined}
     */
    function* judge(rows) {
      for (let start = 0; start < rows.length; start += BATCH) {
        const some = rows.slice(start, start + BATCH), wide = model.network.encoded, all = new Float32Array(some.length * wide);
        some.forEach((one, at) => all.set(one.row, at * wide));
        const outputs = model.network.outputs(all), each = outputs.length / some.length;
        some.forEach((one, at) => { one.margin = margin(outputs.subarray(at * each, (at + 1) * each)); });
        yield;
      }
      return rows;
    }
    /**
     * Bring numbers of a result back towards the row.
     * @param {Found} found
     * @yields {undefined}
     */
    function* nearer(found) {
      let best = found;
      for (const one of columns.filter((each) => each.ordered && each.column.name in found.changes && !Array.isArray(own.get(each.column.name)))) {
        const name = one.column.name, [from, to] = [own.get(name), best.changes[name]];
        let steps = one.values.filter((/** @type {number} */ value) => (value - from) * (to - value) > 0);
        if (to < from) steps.reverse();
        while (steps.length) {  // the first of some steps that does, then the steps before it
          const between = Array.from({ length: Math.min(TRIED, steps.length) }, (_, at) => Math.floor(((at + 1) * steps.length) / (Math.min(TRIED, steps.length) + 1)));
          const rows = yield* judge(between.map((at) => changed(best, one, steps[at])));
          const first = rows.findIndex((row) => row.margin >= 0), next = between[first];
          if (first >= 0) best = rows[first];
          const low = first < 0 ? between[between.length - 1] : first ? between[first - 1] : -1;
          steps = steps.slice(low + 1, first < 0 ? undefined : next);
        }
      }
      return best;
    }
    /** @type {Map<string, Found>} */
    const results = new Map();
    let states = [{ changes: {}, row: model.encode(place, {}), distance: 0, margin: -Infinity }];
    for (let size = 1; size <= Math.min(MOST, columns.length) && results.size < SHOWN; size++) {
      const sets = [...results.values()].map(({ changes }) => Object.keys(changes));
      const rows = yield* judge(distinct(states.flatMap((state) => options.filter(({ one }) => !(one.column.name in state.changes)).map(({ one, cell }) => changed(state, one, cell)))));
      const reached = rows.filter((row) => row.margin >= 0 && !sets.some((set) => set.every((name) => name in row.changes)));
      reached.sort((a, b) => a.distance - b.distance);
      const first = inTurn(reached, 1).slice(0, SHOWN - results.size);
      for (const found of first) {
        const near = yield* nearer(found);
        results.set(keyOf(near), near);
      }
      states = inTurn(rows.filter((row) => row.margin < 0).sort((a, b) => b.margin - a.margin)).slice(0, Math.max(1, Math.floor(BUDGET / Math.max(1, options.length))));
    }
    const sorted = [...results.values()].sort((a, b) => Object.keys(a.changes).length - Object.keys(b.changes).length || a.distance - b.distance);
    return sorted.map((found) => ({ ...found, changes: byColumn(columns, found.changes, own) }));
  }

  /** Changes by column: of those that change together the ones that differ. @param {any[]} columns @param {Record<string, any>} changes @param {Map<string, any>} own */
  const byColumn = (columns, changes, own) => {
    /** @type {Record<string, any>} */
    const single = {};
    for (const one of columns.filter((each) => each.column.name in changes)) {
      const before = cellsOf(one, own.get(one.column.name));
      cellsOf(one, changes[one.column.name]).forEach(([column, cell], at) => {
        if (!one.members || JSON.stringify(cell) !== JSON.stringify(before[at][1])) single[column.name] = cell;
      });
    }
    return single;
  };

  /** The columns that are changed. @param {{changes: Record<string, any>}} row */
  const keyOf = (row) => JSON.stringify(Object.keys(row.changes).sort());

  /** Rows with the same changes once. @param {any[]} rows */
  const distinct = (rows) => [...new Map(rows.map((row) => [JSON.stringify(Object.entries(row.changes).sort()), row])).values()];

  /** Rows in an order in which each set of columns has its turn before any has its next one. @param {any[]} rows @param {number} most how often each has one */
  const inTurn = (rows, most = Infinity) => {
    const counts = new Map();
    const numbered = rows.map((row) => {
      const key = keyOf(row), turn = counts.get(key) ?? 0;
      counts.set(key, turn + 1);
      return { row, turn };
    });
    return numbered.filter(({ turn }) => turn < most).sort((a, b) => a.turn - b.turn).map(({ row }) => row);
  };

  /**
   * The button, what it takes, and what it finds.
   * @param {{model: any, place: number, predicted: number[], cellOf: (column: any, place: number) => any, words: (column: any, cell: any) => string,
   *   other: any, fill: (changes: Record<string, any>) => void}} about
   */
  const panel = (about) => {
    const { model, place, predicted } = about, { element } = Page, classes = model.result.classes;
    const columns = columnsOf(model, about.cellOf, about.other);
    if (!columns.length) return element("div", {});
    const now = classes ? model.network.decided(predicted) : 0, write = (/** @type {number} */ value) => Charts.write(value, 4);
    const answer = element("div", { role: "status" });
    const goals = classes ? classes.flatMap((/** @type {string} */ name, /** @type {number} */ k) => (k === now ? [] : [[String(k), name]])) : [["1", "at least"], ["-1", "at most"]];
    const goal = Panels.choice(goals), start = Number((predicted[0] + model.range[0] / 10).toPrecision(3));
    const limit = /** @type {HTMLInputElement} */ (element("input", { type: "number", step: "any", value: start, "aria-label": "The wanted prediction" }));
    const stay = columns.map(({ column }) => element("label", { class: "check" }, element("input", { type: "checkbox", checked: fixed.has(column.name), change: (/** @type {any} */ event) => { if (event.target.checked) fixed.add(column.name); else fixed.delete(column.name); } }), element("span", {}, column.label)));
    let turn = 0;
    const run = () => {
      const mine = ++turn, wish = Number(goal.value), to = limit.valueAsNumber;
      if (!classes && !Number.isFinite(to)) return answer.replaceChildren(element("p", {}, "Type the prediction that is wanted."));
      const said = (/** @type {number[]} */ found) => (classes ? `${classes[wish]}: ${Charts.percent(found[wish])}` : `Prediction: ${write(found[0])}`);
      const what = classes ? classes[wish] : `${wish > 0 ? "at least" : "at most"} ${write(to)}`;
      const margin = (/** @type {Float64Array} */ outputs) => {
        const found = model.network.predicted(outputs);
        return classes ? model.network.margin(found, wish) : wish * (found[0] - to);
      };
      if (margin(model.network.outputs(model.encode(place, {}))) >= 0) return answer.replaceChildren(element("p", {}, "The model predicts so already."));
      answer.replaceChildren(element("p", { class: "quiet" }, "Searching …"));
      const steps = search(model, columns.filter(({ column }) => !fixed.has(column.name)), place, about.cellOf, margin);
      const go = () => {
        if (mine !== turn || !answer.isConnected) return;
        const { done, value } = steps.next();
        if (done) show(value, what, said);
        else setTimeout(go);
      };
      return go();
    };
    const show = (/** @type {Found[]} */ found, /** @type {string} */ what, /** @type {(found: number[]) => string} */ said) => {
      if (!found.length) return answer.replaceChildren(element("p", {}, `No change of up to three columns was found with which the model predicts ${what}. Values that listed rows have were tried.`));
      const lines = found.map(({ changes }) => {
        const parts = columns.flatMap((one) => one.members ?? [one.column]).filter((column) => column.name in changes).map((column) => `${column.label}: ${about.words(column, about.cellOf(column, place))} → ${about.words(column, changes[column.name])}`);
        return element("li", {}, `${parts.join("; ")}. ${said(model.network.predicted(model.network.outputs(model.encode(place, changes))))}. `, element("button", { type: "button", class: "plain", click: () => about.fill(changes) }, "Fill in"));
      });
      return answer.replaceChildren(
        element("p", {}, `With one of these changes the model predicts ${what}:`), element("ul", {}, ...lines),
        element("p", { class: "quiet" }, "All values are of listed rows. This says what the model predicts, not what would happen if someone changed these things."));
    };
    const controls = element("div", { class: "controls" });
    if (!classes || classes.length > 2) controls.append(Panels.field("Wanted prediction", goal), classes ? "" : limit);
    controls.append(element("button", { type: "button", class: "differ", click: run }, "What would have to differ?"));
    return element("div", { class: "what-if-ways" }, controls, element("details", {}, element("summary", {}, "Columns that stay"), ...stay), answer);
  };

  return { columnsOf, fixed, panel, search };
})();
