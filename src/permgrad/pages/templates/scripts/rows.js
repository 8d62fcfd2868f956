"use strict";

/**
 * The tab Rows: any listed test row with its prediction, the parts of it, similar rows, images and words.
 *
 * Another script can explain rows instead of what is stored of them, with `Rows.explainBy((box, row, rows) => done)`.
 *
 * @typedef {{start: number, end: number, steps: {name: string, value: number, error?: number}[], label: string, startName?: string, endName?: string}} Steps
 */
const Rows = (() => {
  const { write, measured, percent } = Charts;
  const { element, unpack } = Page;
  const PAGE = document.documentElement.clientWidth < 960 ? 8 : 20;
  /** Two classes whose probabilities differ by less are a close call. */
  const CLOSE = 0.2;
  const STEPS = 12;

  // ---- data ---------------------------------------------------------------------------------------------------------
  const array = (/** @type {any} */ stored) => (Array.isArray(stored) ? stored : unpack(stored));

  /** A number of the reader's table: as it is, whole or with seven digits. */
  const plain = (/** @type {number} */ value) => {
    if (!Number.isFinite(value)) return "missing";
    return String(Number.isInteger(value) ? value : Number(value.toPrecision(7))).replace("-", "−");
  };

  /** A column: `number(row)`, for texts `code(row)`, and `text(row)` as it is shown. @param {any} stored */
  const columnOf = (stored) => {
    const group = stored.groups && array(stored.groups.codes);
    const groups = group && { names: stored.groups.names, code: (/** @type {number} */ row) => group[row] };
    if (stored.levels) {
      const codes = array(stored.codes);
      const code = (/** @type {number} */ row) => codes[row];
      const say = (/** @type {number} */ row) => stored.levels[codes[row]] ?? "missing";
      const photo = stored.photos ? (/** @type {number} */ row) => stored.photos[codes[row]] ?? "" : null;
      return { name: stored.name, levels: stored.levels, groups, code, number: () => NaN, text: say, photo };
    }
    const values = array(stored.values);
    const number = (/** @type {number} */ row) => values[row];
    return { name: stored.name, levels: null, groups, code: () => -1, number, text: (/** @type {number} */ row) => plain(values[row]) };
  };

  /** @type {Map<any, any>} */
  const cache = new Map();

  /** The listed rows with functions that answer for one of them, or null without any. @param {any} data */
  const read = (data) => {
    if (!data?.numbers) return null;
    if (cache.has(data)) return cache.get(data);
    const [truth, random] = [array(data.truth), array(data.random)];
    const predicted = unpack(data.predicted), called = data.called && unpack(data.called);
    const { classes, outputs } = data;
    const all = data.numbers.map((/** @type {number} */ _, /** @type {number} */ row) => row);
    const prediction = (/** @type {number} */ row, output = 0) => predicted[row * outputs + output] / (classes ? 65535 : 1);
    const order = (/** @type {number} */ row) =>
      Array.from({ length: outputs }, (_, k) => k).sort((a, b) => prediction(row, b) - prediction(row, a));
    const best = (/** @type {number} */ row) => (called ? called[row] : classes ? order(row)[0] : 0);
    const error = (/** @type {number} */ row) => (classes ? 1 - prediction(row, truth[row]) : Math.abs(prediction(row) - truth[row]));
    const errors = classes ? [] : all.map(error).sort((/** @type {number} */ a, /** @type {number} */ b) => a - b);
    const large = errors[Math.floor(0.9 * errors.length)];
    const wrong = (/** @type {number} */ row) => (classes ? best(row) !== truth[row] : error(row) >= large);
    const lead = (/** @type {number} */ row) => {
      const [first, second] = order(row);
      return prediction(row, first) - (second === undefined ? 0 : prediction(row, second));
    };
    const inside = data.inside && unpack(data.inside);
    const parts = partsOf(data.parts ?? []), changeable = new Set(data.whatIf?.form ? data.whatIf.rows : []);
    const made = {
      ...data, inside, all, truth, prediction, best, error, wrong, large,
      unsure: (/** @type {number} */ row) => Boolean(classes) && lead(row) < CLOSE,
      drawn: all.filter((/** @type {number} */ row) => random[row]),
      columns: data.columns.map(columnOf), identifiers: data.identifiers.map(columnOf),
      outcome: (/** @type {number} */ row, output = 0) => (classes ? Number(truth[row] === output) : truth[row]),
      parts, changeable, explained: (/** @type {number} */ row) => parts.has(row) || changeable.has(data.numbers[row]),
    };
    cache.set(data, made);
    return made;
  };

  /** The stored parts of predictions by row: for each the output, the base, the strongest features and the rest. */
  const partsOf = (/** @type {any[]} */ stored) => {
    /** @type {Map<number, any[]>} */
    const parts = new Map();
    for (const one of stored) {
      const [row, output, feature, value, rest, base] = ["row", "output", "feature", "value", "rest", "base"].map((key) => unpack(one[key]));
      const count = one.feature.shape[1];
      for (let at = 0; at < row.length; at += 1) {
        const steps = Array.from({ length: count }, (_, k) => ({ feature: one.features[feature[at * count + k]], value: value[at * count + k] }));
        const entry = { output: output[at], base: base[at], rest: rest[at], others: one.features.length - count, steps, about: one };
        parts.set(row[at], [...(parts.get(row[at]) ?? []).filter((/** @type {any} */ old) => old.output !== entry.output), entry]);
      }
    }
    return parts;
  };

  /** A text for the outcome of a row, or for a prediction. */
  const outcomeText = (/** @type {any} */ rows, /** @type {number} */ value) => (rows.classes ? rows.classes[value] : Charts.numeral(String(value)));
  const predictionText = (/** @type {any} */ rows, /** @type {number} */ row) => {
    if (!rows.classes) return measured(rows.prediction(row), 4);
    const best = rows.best(row);
    return `${rows.classes[best]} (${percent(rows.prediction(row, best))})`;
  };

  // ---- search -------------------------------------------------------------------------------------------------------
  const CONDITION = /^(.+?)\s*(<=|>=|=|<|>)\s*(.*)$/;
  const DATE = /^\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?)?$/;

  /** A text as a number, dates as milliseconds. @param {string} words */
  const amount = (words) => {
    if (DATE.test(words)) return Date.parse(words.length > 10 ? `${words.replace(" ", "T")}Z` : words);
    return words === "" ? NaN : Number(words.replace("−", "-"));
  };

  /**
   * A test of rows by words: `17` is a row's number, `age > 50` compares a column, and so does `day = 2024-05-31` (all
   * of that day), other words are searched in all values.
   * @param {any} rows @param {string} words
   */
  const matcher = (rows, words) => {
    const wanted = words.trim();
    if (!wanted) return () => true;
    const [, name, sign, value] = CONDITION.exec(wanted) ?? [];
    const columns = [...rows.identifiers, ...rows.columns];
    const column = name && columns.find((one) => one.name.toLowerCase() === name.trim().toLowerCase());
    if (column) {
      const asked = value.trim().toLowerCase();
      const number = amount(value.trim());
      return (/** @type {number} */ row) => {
        const there = column.levels ? amount(column.text(row)) : column.number(row);
        if (sign === "=") {
          const text = column.text(row).toLowerCase();
          return text === asked || there === number || (DATE.test(asked) && text.startsWith(asked));
        }
        if (!Number.isFinite(there) || !Number.isFinite(number)) return false;
        return { "<": there < number, ">": there > number, "<=": there <= number, ">=": there >= number }[sign] ?? false;
      };
    }
    const parts = wanted.toLowerCase().split(/\s+/);
    return (/** @type {number} */ row) =>
      parts.every((part) => String(rows.numbers[row]) === part || columns.some((one) => (one.levels || !/^[\d.−-]+$/.test(part)
        ? one.text(row).toLowerCase().includes(part)
        : one.text(row) === part.replace("-", "−"))));
  };

  /** How to search, where nothing is found. @param {any} rows @param {string} words */
  const hint = (rows, words) => {
    const name = CONDITION.exec(words.trim())?.[1].trim();
    const known = [...rows.identifiers, ...rows.columns].some((one) => one.name.toLowerCase() === name?.toLowerCase());
    if (name && !known) return `There is no column “${name}”.`;
    return words.trim() ? "Search for a row number, for values, or for one condition such as age > 50." : "";
  };

  /** The groups of a column as in the tab Trust, or ranges of the listed rows in a run that has stored none. */
  const segments = (/** @type {any} */ rows, /** @type {any} */ column) => column.groups ?? Features.groups(column, rows.all, 4);

  /**
   * Rows that match, in order.
   * @param {any} rows
   * @param {{words?: string, show?: string, explained?: boolean, truth?: string, best?: string, column?: any, group?: number, sort?: string}} wish
   */
  const search = (rows, wish) => {
    const matches = matcher(rows, wish.words ?? "");
    /** @type {Record<string, (row: number) => boolean>} */
    const kinds = {
      wrong: rows.wrong, right: (row) => !rows.wrong(row), unsure: rows.unsure,
      changeable: (row) => rows.changeable.has(rows.numbers[row]),
    };
    const kind = kinds[wish.show ?? ""] ?? (() => true);
    const cut = wish.column && wish.group !== undefined && wish.group >= 0 ? segments(rows, wish.column) : null;
    const fits = rows.all.filter((/** @type {number} */ row) => kind(row) && (!wish.explained || rows.explained(row))
      && (!wish.truth || rows.truth[row] === Number(wish.truth)) && (!wish.best || rows.best(row) === Number(wish.best))
      && (!cut || cut.code(row) === wish.group) && matches(row));
    if (wish.sort === "error") return fits.sort((/** @type {number} */ a, /** @type {number} */ b) => rows.error(b) - rows.error(a));
    const width = (/** @type {number} */ row) => rows.inside[2 * row + 1] - rows.inside[2 * row];
    if (wish.sort === "width") return fits.sort((/** @type {number} */ a, /** @type {number} */ b) => width(b) - width(a));
    if (wish.sort?.startsWith("output")) {
      const output = Number(wish.sort.slice(6));
      return fits.sort((/** @type {number} */ a, /** @type {number} */ b) => rows.prediction(b, output) - rows.prediction(a, output));
    }
    return fits.sort((/** @type {number} */ a, /** @type {number} */ b) => rows.numbers[a] - rows.numbers[b]);
  };

  // ---- one row ------------------------------------------------------------------------------------------------------
  /** @type {((box: HTMLElement, row: number, rows: any) => boolean)|null} */
  let source = null;
  /** @type {(() => void)|null} */
  let again = null;

  /** Let a script explain the rows that it can. @param {(box: HTMLElement, row: number, rows: any) => boolean} explain */
  const explainBy = (explain) => {
    source = explain;
    again?.();
  };

  /** The headings of columns, those of numbers above their numbers. @param {[string, boolean][]} columns */
  const headings = (columns) => element("thead", {}, element("tr", {}, ...columns.map(([name, number]) =>
    element("th", { scope: "col", class: number ? "number" : null }, name))));

  /** A cell of a table. Numbers and dates are not broken. @param {string} words */
  const cell = (words, look = "") => element("td", { class: `${/^[\d\s.,:−-]+$/.test(words) ? "whole " : words.length > 40 ? "long " : ""}${look}`.trim() }, words);

  /** The value of a feature in a row, or an empty text if it is not listed. */
  const valueText = (/** @type {any} */ rows, /** @type {string} */ name, /** @type {number} */ row) =>
    rows.columns.find((/** @type {any} */ column) => column.name === name)?.text(row) ?? "";

  /** The value of a feature in a row as it stands beside its name: numbers are rounded. */
  const valueInShort = (/** @type {any} */ rows, /** @type {string} */ name, /** @type {number} */ row) => {
    const number = rows.columns.find((/** @type {any} */ column) => column.name === name)?.number(row);
    return Number.isFinite(number) ? Charts.numeral(String(number)) : valueText(rows, name, row);
  };

  /** The strongest of some steps, and the sum of the others. Steps of 0 are not named. @param {{name: string, value: number, error?: number}[]} steps @param {{count: number, value: number}} [more] others that are not listed */
  const strongest = (steps, more = { count: 0, value: 0 }) => {
    const order = [...steps].sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    const least = 1e-9 * Math.abs(order[0]?.value ?? 0);
    const shown = order.slice(0, STEPS).filter((step) => Math.abs(step.value) > least);
    const others = more.count + order.length - shown.length;
    const rest = order.slice(shown.length).reduce((sum, step) => sum + step.value, more.value);
    if (others && Math.abs(rest) > least) shown.push({ name: `${others} other${others > 1 ? "s" : ""}`, value: rest });
    return shown;
  };

  /** What is stored of a row's output as steps from the baseline to the prediction. @param {any} rows @returns {(Steps & {words: string})|null} */
  const stored = (rows, /** @type {number} */ row, /** @type {number} */ output) => {
    const entries = rows.parts.get(row) ?? [];
    const entry = entries.find((/** @type {any} */ one) => one.output === output) ?? entries[0];
    if (!entry) return null;
    const steps = strongest(entry.steps.map((/** @type {any} */ step) => {
      const value = valueInShort(rows, step.feature, row);
      return { name: value ? `${step.feature} = ${value}` : step.feature, value: step.value };
    }), { count: entry.others, value: entry.rest });
    const { about } = entry;
    const unit = about.unit === "y" ? "" : about.unit;
    const whose = rows.classes && about.outputs.length > 1 ? `${unit || "output"} of ${about.outputs[entry.output]}` : unit || rows.target;
    const end = steps.reduce((sum, step) => sum + step.value, entry.base);
    const top = entry.steps[0];
    const words = `The strongest is ${top.feature}: it moves the ${whose} ${top.value >= 0 ? "up" : "down"} by ${write(Math.abs(top.value))}. ` +
      `The bars are ${about.method === "shapley" ? "Shapley values" : about.method} of the ${whose}. They add up from the baseline${about.baseline ? ` (${about.baseline})` : ""} to this row.${about.scale}`;
    return { start: entry.base, end, steps, label: whose, words };
  };

  /** The start of a text that is too long. @param {string} words @param {number} width */
  const ended = (words, width) => ([...words].length <= width ? words : `${[...words].slice(0, width - 1).join("").trimEnd()}…`);

  /** Shorten "name = value" with most of its letters for the name, which stays another than those beside it. */
  const stepName = (/** @type {string} */ words, /** @type {number} */ width, /** @type {string[]} */ names, /** @type {number} */ place) => {
    const at = words.indexOf(" = ");
    if (at < 0 || words.length <= width) return at < 0 ? Charts.labels(names, width)[place] : words;
    const value = ended(words.slice(at + 3), Math.max(Math.floor(width * 0.45), width - 3 - at));
    return `${Charts.labels(names, width - 3 - value.length)[place]} = ${value}`;
  };

  /** A waterfall as wide as there is room. @param {Steps} data */
  const drawSteps = (data) => {
    const width = Panels.wide(620);
    const left = Math.min(210, width * (width < 500 ? 0.47 : 0.42));
    const names = data.steps.map((step) => step.name.split(" = ")[0]);
    const steps = data.steps.map((step, at) => ({ name: stepName(step.name, Math.min(28, Math.floor((left - 10) / 6.5)), names, at), value: step.value, error: step.error }));
    return Charts.waterfall({ startName: "baseline", endName: "this row", ...data, label: Charts.shorten(data.label, 44), steps }, { left, width, right: width < 500 ? 50 : 74 });
  };

  /** What is stored of a row as a figure, or a sentence that nothing is. */
  const waterfall = (/** @type {any} */ rows, /** @type {number} */ row, /** @type {number} */ output) => {
    const steps = stored(rows, row, output);
    if (steps) {
      return Page.figure({
        anchor: `rows/${rows.numbers[row]}/stored`, drawing: drawSteps(steps), caption: steps.words,
        rows: () => [["feature", steps.label], ["baseline", steps.start], ...steps.steps.map((step) => [step.name, step.value]), ["this row", steps.end]],
      });
    }
    const some = rows.all.filter(rows.explained).length;
    return element("p", { class: "quiet" }, some
      ? `What drives this prediction is not stored. It is for ${some.toLocaleString("en-US")} of the listed rows: choose “only explained” above.`
      : "What drives predictions is not stored.");
  };

  /** The values of a row, with similar rows beside them. */
  const similarTable = (/** @type {any} */ rows, /** @type {number} */ row) => {
    const { similar } = rows;
    if (!similar?.near.shape[1]) return null;
    const count = similar.near.shape[1];
    const [near, distance, truth] = [unpack(similar.near), unpack(similar.distance), array(similar.truth)];
    const [beside, apart] = [unpack(similar.beside), unpack(similar.besideDistance)];
    const columns = similar.columns.map(columnOf);
    const places = Array.from({ length: count }, (_, k) => near[row * count + k]);
    const others = Array.from({ length: similar.beside.shape[1] }, (_, k) => beside[row * similar.beside.shape[1] + k]);
    const here = columns.map((/** @type {any} */ column) => valueText(rows, column.name, row));
    const side = (/** @type {number} */ at) => (columns[at].levels ? "" : "number");
    const cells = (/** @type {string[]} */ values) => values.map((value, at) => cell(value, `${side(at)} ${value === here[at] ? "quiet" : ""}`));
    const outcome = (/** @type {number} */ value) => cell(outcomeText(rows, value), rows.classes ? "" : "number");
    const lines = [
      element("tr", {}, element("td", { class: "text best" }, "this row"), outcome(rows.truth[row]),
        element("td", { class: "number" }, "–"), ...here.map((/** @type {string} */ value, /** @type {number} */ at) => cell(value, side(at)))),
      ...places.map((place, k) => element("tr", {}, element("td", { class: "text" }, `training row ${similar.numbers[place]}`),
        outcome(truth[place]), element("td", { class: "number" }, measured(distance[row * count + k])),
        ...cells(columns.map((/** @type {any} */ column) => column.text(place))))),
      ...others.map((other, k) => element("tr", {},
        element("td", { class: "text" }, element("button", { type: "button", class: "plain", click: () => Page.go("rows", String(rows.numbers[other])) }, `test row ${rows.numbers[other]}`)),
        outcome(rows.truth[other]), element("td", { class: "number" }, measured(apart[row * others.length + k])),
        ...cells(columns.map((/** @type {any} */ column) => valueText(rows, column.name, other))))),
    ];
    /** @type {[string, boolean][]} */
    const heads = [["row", false], [rows.target, !rows.classes], ["distance", true], ...columns.map((/** @type {any} */ column) => [column.name, !column.levels])];
    const searched = similar.searched < similar.of ? `${similar.searched.toLocaleString("en-US")} of ${similar.of.toLocaleString("en-US")} training rows were compared.` : "All training rows were compared.";
    const equal = places.some((_, k) => distance[row * count + k] === 0) ? " A distance of 0: equal in every feature." : "";
    return element("div", {}, element("h4", {}, "Similar rows"), element("p", {}, similarWords(rows, row, places.map((place) => truth[place]))),
      element("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Similar rows" },
        element("table", {}, element("caption", {}, element("span", {}, `Nearest rows in all features together. ${searched}${equal} Grey: as in this row.`)),
          headings(heads), element("tbody", {}, ...lines))));
  };

  /** What happened in the most similar training rows, in a sentence. */
  const similarWords = (/** @type {any} */ rows, /** @type {number} */ row, /** @type {number[]} */ truth) => {
    if (!rows.classes) return `The ${truth.length} most similar training rows have ${rows.target} ${truth.map((value) => write(value, 4)).join(", ")}. The model predicts ${write(rows.prediction(row), 4)}.`;
    const name = rows.classes[rows.best(row)];
    const same = truth.filter((code) => code === rows.best(row)).length;
    return `The model predicts ${name}. ${same} of the ${truth.length} most similar training rows ${same === 1 ? "is" : "are"} ${name}.`;
  };

  const valueTable = (/** @type {any} */ rows, /** @type {number} */ row, /** @type {boolean} */ computed) => {
    const entry = computed ? null : (rows.parts.get(row) ?? [])[0];
    const parts = new Map((entry?.steps ?? []).map((/** @type {any} */ step) => [step.feature, step.value]));
    const line = (/** @type {any} */ column) => element("tr", {}, element("td", { class: "text" }, column.name), cell(column.text(row)),
      ...(entry ? [element("td", { class: "number" }, parts.has(column.name) ? write(Number(parts.get(column.name))) : "–")] : []));
    return element("details", {}, element("summary", {}, `All ${rows.columns.length} listed values`),
      element("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Values of this row" }, element("table", {},
        element("thead", {}, element("tr", {}, ...["feature", "value", ...(entry ? ["part"] : [])].map((name) => element("th", { scope: "col" }, name)))),
        element("tbody", {}, ...[...rows.identifiers, ...rows.columns].map(line)))));
  };

  /** An image of the row, with what explains it laid over, as strong as the reader likes. */
  const picture = (/** @type {any} */ one) => {
    const over = element("img", { src: `data:image/png;base64,${one.over}`, alt: "", class: "over" });
    over.style.opacity = "0.6";
    const slider = /** @type {HTMLInputElement} */ (element("input", { type: "range", min: 0, max: 100, value: 60, input: () => { over.style.opacity = String(Number(slider.value) / 100); } }));
    return element("figure", { class: "stack" },
      element("div", { class: "layers" }, element("img", { src: `data:image/png;base64,${one.image}`, alt: `Image ${one.name} of this row` }), over),
      Panels.field("Overlay", slider), element("figcaption", {}, `${one.name}, ${one.method}. ${one.words}`));
  };

  /** The words of a row, each on the colour of its value. */
  const shaded = (/** @type {{words: string[], values: number[], more: number, name?: string, about?: string, error?: any}} */ text) => {
    const top = Math.max(...text.values.map(Math.abs), 1e-12);
    const spans = text.words.flatMap((word, at) => {
      const span = element("span", { title: write(text.values[at]) }, word);
      const share = Math.round((Math.abs(text.values[at]) / top) * 55);
      span.style.background = `color-mix(in srgb, var(--${text.values[at] >= 0 ? "positive" : "negative"}) ${share}%, transparent)`;
      return [span, " "];
    });
    const more = text.more > 0 ? ` ${text.more} more words are not shown.` : "";
    if (text.name) {
      const sum = write([...text.values].reduce((a, b) => a + b, 0));
      return element("figure", {}, element("h4", {}, text.name), element("p", { class: "shaded" }, ...spans), element("figcaption", {},
        `Words on the colour of their part of ${text.about}: blue moves it up, orange down. Point at a word for its part. They add up to ${sum}, what the text does against those of typical rows. Largest standard error of a word: ${write(text.error, 2)}.`));
    }
    return element("figure", {}, element("p", { class: "shaded" }, ...spans), element("figcaption", {}, `Words on the colour of their part: blue moves the output up, orange down.${more}`));
  };

  /** The interval, or the set of classes, of a row. */
  const insideWords = (/** @type {any} */ rows, /** @type {number} */ row) => {
    if (!rows.inside) return "";
    if (!rows.classes) {
      const [low, high] = [rows.inside[2 * row], rows.inside[2 * row + 1]];
      const side = rows.prediction(row) < low ? "below" : rows.prediction(row) > high ? "above" : "";
      const outside = side ? ` The prediction lies ${side} it, because the interval allows for the model's errors on other rows.` : "";
      return ` The ${rows.coverage} interval is ${write(low, 4)} to ${write(high, 4)}.${outside}`;
    }
    const names = rows.classes.filter((/** @type {string} */ _, /** @type {number} */ k) => rows.inside[row * rows.classes.length + k]);
    const without = names.length && !names.includes(rows.classes[rows.best(row)]) ? " The predicted class is not in it." : "";
    return ` Set of classes for ${rows.coverage}: ${names.join(", ") || "none"}.${without}`;
  };

  /** What is said first about a row. */
  const title = (/** @type {any} */ rows, /** @type {number} */ row) => {
    const marks = rows.classes
      ? `${rows.wrong(row) ? " Wrong." : " Right."}${rows.unsure(row) ? " A close call." : ""}`
      : ` Too ${rows.prediction(row) > rows.truth[row] ? "high" : "low"} by ${write(rows.error(row), 4)}.`;
    return `${rows.target}: ${outcomeText(rows, rows.truth[row])}. The model predicts ${predictionText(rows, row)}.${marks}${insideWords(rows, row)}`;
  };

  const rowPage = (/** @type {any} */ rows, /** @type {number} */ row, /** @type {(output: number) => void} */ choose, /** @type {number|null} */ output) => {
    const box = element("div", { class: "row-page", tabindex: "-1" });
    const named = rows.identifiers.map((/** @type {any} */ column) => `${column.name} ${column.text(row)}`).join(", ");
    box.append(element("h4", {}, `Row ${rows.numbers[row]}${named ? ` (${named})` : ""}`), element("p", {}, title(rows, row)));
    const shown = output ?? (rows.positive === null ? rows.best(row) : rows.positive);
    const why = element("div", {});
    box.append(why);
    const computed = Boolean(source?.(why, row, rows));
    if (!computed) {
      const outputs = rows.classes && rows.classes.length > 2 ? [...new Set([rows.best(row), rows.truth[row]])] : [];
      if (outputs.length > 1) {
        const select = Panels.choice(outputs.map((k) => [String(k), rows.classes[k]]), () => choose(Number(select.value)), String(shown));
        why.append(element("div", { class: "controls" }, Panels.field("Why class", select)));
      }
      why.append(waterfall(rows, row, shown));
    }
    const images = rows.pictures.filter((/** @type {any} */ one) => one.row === row);
    if (images.length) box.append(element("div", { class: "beside" }, ...images.map(picture)));
    for (const column of rows.columns) if (column.photo?.(row)) box.append(Photos.ofRow(rows, row, column));
    for (const text of rows.texts.filter((/** @type {any} */ one) => one.row === row)) box.append(shaded(text));
    const similar = similarTable(rows, row);
    if (similar) box.append(similar);
    box.append(valueTable(rows, row, computed));
    return box;
  };

  // ---- list ---------------------------------------------------------------------------------------------------------
  /** @type {((number: number, focus?: boolean) => void)|null} */
  let show = null;
  /** @type {(() => boolean)|null} */
  let unfold = null;

  /** The controls above the list. @param {any} rows @param {any} wish @param {() => void} draw */
  const controlsOf = (rows, wish, draw) => {
    const { choice, field } = Panels;
    const change = (/** @type {string} */ key) => (/** @type {number} */ _, /** @type {string} */ value) => {
      wish[key] = value;
      draw();
    };
    const words = /** @type {HTMLInputElement} */ (element("input", {
      type: "search", placeholder: "17, or a value, or name > 50", input: () => change("words")(0, words.value),
    }));
    const names = (rows.classes ?? []).map((/** @type {string} */ name, /** @type {number} */ k) => [String(k), name]);
    /** @type {[string, string][]} */
    const kinds = rows.classes
      ? [["", "all rows"], ["wrong", "wrong"], ["right", "right"], ["unsure", "unsure"]]
      : [["", "all rows"], ["wrong", "largest errors (one in ten)"]];
    const changeable = rows.numbers.filter((/** @type {number} */ number) => rows.changeable.has(number)).length;
    if (changeable && changeable < rows.all.length) kinds.push(["changeable", "can be changed"]);
    const group = element("select", { change: (/** @type {Event} */ event) => { wish.group = Number(/** @type {HTMLSelectElement} */ (event.target).value); draw(); } });
    const groupLabel = field("Value", group);
    groupLabel.hidden = true;
    const segment = choice([["", "all"], ...rows.columns.map((/** @type {any} */ column, /** @type {number} */ at) => [String(at), column.name])], () => {
      wish.column = segment.value === "" ? null : rows.columns[Number(segment.value)];
      wish.group = wish.column ? 0 : -1;
      const cut = wish.column ? segments(rows, wish.column).names : [];
      group.replaceChildren(...cut.map((name, at) => element("option", { value: at }, name)));
      groupLabel.hidden = !cut.length;
      draw();
    });
    /** @type {[string, string][]} */
    const sorts = [["", "row number"], ["error", "largest error first"], ...(rows.classes
      ? names.map(([k, name]) => [`output${k}`, `probability of ${name}`])
      : [["output0", "prediction"], ...(rows.inside ? [["width", "widest interval first"]] : [])])];
    const controls = element("div", { class: "controls" },
      field("Search", words),
      field("Show", choice(kinds, change("show"))));
    if (rows.classes) {
      controls.append(field(rows.target, choice([["", "any"], ...names], change("truth"))), field("Predicted", choice([["", "any"], ...names], change("best"))));
    }
    controls.append(field("Segment", segment), groupLabel, field("Order", choice(sorts, change("sort"))));
    if (rows.all.some(rows.explained) && !rows.all.every(rows.explained)) {
      const explained = element("input", { type: "checkbox", change: (/** @type {Event} */ event) => { wish.explained = /** @type {HTMLInputElement} */ (event.target).checked; draw(); } });
      controls.append(element("label", { class: "check" }, explained, element("span", {}, "only explained")));
    }
    return controls;
  };

  const drawExplorer = (/** @type {HTMLElement} */ box, /** @type {any} */ data) => {
    const rows = read(data);
    if (!rows) return false;
    /** @type {any} */
    const wish = { words: "", show: "", explained: false, truth: "", best: "", column: null, group: -1, sort: "" };
    const seen = rows.columns.find((/** @type {any} */ column) => column.photo);
    let [page, chosen, fits] = [0, /** @type {number} */ (-1), search(rows, wish)];
    const body = element("tbody");
    const count = element("span", { class: "count", role: "status" });
    const open = element("span");
    const detail = element("div", { class: "detail" });
    const side = rows.classes ? "" : "number";
    const turn = (/** @type {number} */ by) => () => { page += by; list(); };
    const [back, next] = [[-1, "‹ Previous"], [1, "Next ›"]].map(([by, words]) => element("button", { type: "button", class: "plain", click: turn(Number(by)) }, String(words)));
    const list = () => {
      page = Math.max(0, Math.min(page, Math.ceil(fits.length / PAGE) - 1));
      body.replaceChildren(...fits.slice(page * PAGE, (page + 1) * PAGE).map((/** @type {number} */ row) => element("tr", { class: row === chosen ? "chosen" : "" },
        element("td", { class: "number" }, element("button", { type: "button", class: "plain", "aria-current": row === chosen ? "true" : null, click: () => Page.go("rows", String(rows.numbers[row])) }, String(rows.numbers[row]))),
        ...(seen ? [element("td", { class: "thumb" }, seen.photo(row) ? element("img", { src: `data:image/jpeg;base64,${seen.photo(row)}`, alt: "", loading: "lazy" }) : "")] : []),
        cell(outcomeText(rows, rows.truth[row]), side), cell(predictionText(rows, row), side),
        element("td", { class: `${rows.wrong(row) ? "bad" : "quiet"} whole ${side}` }, mark(row)))));
      const some = rows.all.length < rows.of ? ` The list has ${rows.all.length.toLocaleString("en-US")} of ${rows.of.toLocaleString("en-US")} test rows: a random sample, and the clearest errors and doubts.` : "";
      const last = Math.min((page + 1) * PAGE, fits.length);
      const hidden = chosen >= 0 && !fits.slice(page * PAGE, last).includes(chosen);
      open.textContent = hidden ? `Row ${rows.numbers[chosen]} is open.` : "";
      count.textContent = fits.length ? `${page * PAGE + 1} to ${last} of ${fits.length.toLocaleString("en-US")} rows.${some}` : `No row matches. ${hint(rows, wish.words)}${some}`;
      back.hidden = page === 0;
      next.hidden = last >= fits.length;
    };
    const mark = (/** @type {number} */ row) => (rows.classes
      ? `${rows.wrong(row) ? "wrong" : "right"}${rows.unsure(row) ? ", unsure" : ""}`
      : measured(rows.truth[row] - rows.prediction(row)));
    const draw = () => {
      fits = search(rows, wish);
      page = 0;
      list();
    };
    const pick = (/** @type {number} */ row, output = /** @type {number|null} */ (null)) => {
      chosen = row;
      detail.replaceChildren(rowPage(rows, row, (one) => pick(row, one), output));
    };
    again = () => pick(chosen);
    show = (number, focus = true) => {
      const row = rows.numbers.indexOf(number);
      if (row < 0) {
        count.textContent = `Row ${number} is not listed.`;
        return;
      }
      pick(row);
      if (fits.includes(row)) page = Math.floor(fits.indexOf(row) / PAGE);
      list();
      const top = detail.getBoundingClientRect().top;
      if (focus && (top < 0 || top > innerHeight * 0.7)) detail.scrollIntoView();
    };
    const mayChange = (/** @type {number} */ row) => rows.changeable.has(rows.numbers[row]);
    unfold = () => {
      const row = mayChange(chosen) ? chosen : rows.all.find(mayChange);
      if (row === undefined) return false;
      if (row !== chosen) show?.(rows.numbers[row], false);
      const fold = /** @type {HTMLDetailsElement|null} */ (detail.querySelector("details.what-if-fold"));
      if (!fold) return false;
      fold.open = true;
      fold.scrollIntoView();
      return true;
    };
    /** @type {[string, boolean][]} */
    const heads = [["row", true], ...(seen ? [[seen.name, false]] : []), [rows.target, !rows.classes], ["predicted", !rows.classes], [rows.classes ? "" : "error", !rows.classes]];
    const save = element("button", { type: "button", class: "plain", click: () => Page.saveRows("rows", file(rows, fits)) }, "Save these rows as CSV");
    box.append(controlsOf(rows, wish, draw), element("div", { class: "explorer" },
      element("div", { class: "chooser" },
        element("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Test rows" }, element("table", {},
          headings(heads), body)),
        element("p", { class: "below" }, count, " ", open, " ", back, " ", next, " ", save)),
      detail));
    // A wrong one that is explained, and if possible one that can be changed.
    const told = rows.all.filter(rows.explained);
    const wrong = told.filter(rows.wrong);
    const divided = wrong.find((/** @type {number} */ row) => rows.patches.some((/** @type {any} */ one) => one.row === row));
    pick(divided ?? wrong.find(mayChange) ?? wrong[0] ?? told.find(mayChange) ?? told[0] ?? 0);
    page = Math.floor(fits.indexOf(chosen) / PAGE);
    list();
    return undefined;
  };

  /** Rows with their values as rows of a file. */
  const file = (/** @type {any} */ rows, /** @type {number[]} */ chosen) => {
    const columns = [...rows.identifiers, ...rows.columns];
    const value = (/** @type {any} */ column, /** @type {number} */ row) => (column.levels ? (column.levels[column.code(row)] ?? "") : column.number(row));
    const outputs = rows.classes ? rows.classes.map((/** @type {string} */ name) => `probability of ${name}`) : ["predicted"];
    return [["row", rows.target, ...outputs, ...columns.map((column) => column.name)],
      ...chosen.map((row) => [rows.numbers[row], rows.classes ? rows.classes[rows.truth[row]] : rows.truth[row],
        ...outputs.map((/** @type {string} */ _, /** @type {number} */ k) => Number(rows.prediction(row, k).toPrecision(6))), ...columns.map((column) => value(column, row))])];
  };

  Page.tab("rows", { live: { explorer: drawExplorer }, open: (path) => show?.(Number(path.split("/")[0])), reveal: (anchor) => anchor === "what-if" && Boolean(unfold?.()) });
  return { drawSteps, explainBy, file, hint, matcher, read, search, stepName, stored, strongest };
})();
