"use strict";

/**
 * The trained model in the page: cells are encoded and predicted as Python does.
 *
 * @typedef {number|string|[number]|{text: string, scores: ArrayLike<number>}} Cell  a number, a text, the kind of missing, or what is read with other scores
 */
const Network = (() => {
  const { Dense, Entry, Images, Trees, ofMembers, rate, readLayers, scaled } = Layers;

  // ---- the network --------------------------------------------------------------------------------------------------

  /**
   * Branches beside the head, by the kind that the `form` of each in `models/branches/` names.
   * @type {Record<string, (branch: any, take: (place: Place) => Float32Array, form: any) => {apply(rows: Float32Array, count: number): ArrayLike<number>}>}
   */
  const BRANCHES = {
    linear: (branch, take, form) => new Dense(take(branch.weight), form.outputs, take(branch.bias)),
    trees: (branch, take, form) => new Trees(branch, take, form.encoded),
  };

  class Predictor {
    /** @param {any} form  the network as Python describes it @param {Float32Array} weights */
    constructor(form, weights) {
      const take = (/** @type {Place} */ { at, shape }) => weights.subarray(at, at + shape.reduce((a, b) => a * b, 1));
      this.form = form;
      this.members = form.members;
      this.encoded = form.encoded;
      this.entry = form.table ? new Entry(form.table, take, form.members) : null;
      this.tableLayers = form.table ? readLayers(form.table.layers.slice(1), take, form.members) : [];
      /** What is added to the outputs: functions of encoded rows and their count. @type {((rows: Float32Array, count: number) => ArrayLike<number>)[]} */
      this.beside = form.beside.map((/** @type {any} */ branch) => {
        const made = BRANCHES[branch.kind](branch, take, form);
        return (/** @type {Float32Array} */ rows, /** @type {number} */ count) => made.apply(rows, count);
      });
      this.headLayers = /** @type {((rows: Float32Array, count: number) => Float32Array)[]} */ ([]);
      this.bias = new Float32Array(0);
      this.units = 0;
      this.tableShare = /** @type {((rows: Float32Array, count: number) => Float32Array)|null} */ (null);
      this.images = /** @type {any} */ (null);
      this.imageLayers = /** @type {((rows: Float32Array, count: number) => Float32Array)[]} */ ([]);
      this.imageShare = /** @type {any} */ (null);
      if (form.head) this.readHead(form, take);
    }

    /** Read what joins the branches. @param {any} form @param {(place: Place) => Float32Array} take */
    readHead(form, take) {
      const { first, layers } = form.head;
      this.headLayers = readLayers(layers, take, form.members);
      this.bias = take(first.bias);
      this.units = this.bias.length / form.members;
      if (first.tabular) {
        const shape = first.tabular.shape.slice(-3);
        const each = shape.length === 3 && shape[0] > 1;
        const dense = each ? null : new Dense(take(first.tabular), shape[shape.length - 2], null);
        this.tableShare = dense
          ? (/** @type {Float32Array} */ rows, /** @type {number} */ count) => dense.apply(rows, count)
          : ofMembers(take(first.tabular), shape, null, form.members);
      }
      const last = first.image && { weight: scaled(take(first.image), form.members, this.units, first.scale && take(first.scale)), units: this.bias.length, bias: null };
      const dense = form.image?.layers[0];
      const whole = dense ? { weight: take(dense.weight), units: dense.weight.shape[0], bias: take(dense.bias) } : last;
      this.images = form.image ? new Images(form.image, take, whole) : null;
      this.imageLayers = dense ? readLayers(form.image.layers.slice(1), take, 1) : [];
      // Without a dense layer behind the convolutions, they enter the head directly.
      this.imageShare = last && dense ? new Dense(last.weight, last.units, null) : null;
    }

    /**
     * Outputs `(count, outputs)` of encoded rows, from what the first layers make of them.
     * @param {Float32Array|null} table `(count, members, units)` @param {Float32Array|null} image `(count, units)` @param {Float32Array} encoded `(count, encoded)` @param {number} count
     */
    finish(table, image, encoded, count) {
      const result = this.form.head ? this.joined(table, image, count) : new Float64Array(count * this.form.outputs);
      for (const say of this.beside) {
        const said = say(encoded, count);
        for (let i = 0; i < result.length; i++) result[i] += this.form.rates ? rate(said[i]) : said[i];
      }
      return result;
    }

    /** What the head says. @param {Float32Array|null} table @param {Float32Array|null} image @param {number} count */
    joined(table, image, count) {
      const { members, units, bias } = this, all = count * members;
      let joined = new Float32Array(all * units);
      if (table && this.tableShare) {
        let rows = table;
        for (const layer of this.tableLayers) rows = layer(rows, all);
        joined = this.tableShare(rows, all);
      }
      const wide = members * units;
      /** @type {Float32Array|null} */
      let share = null;
      const said = image && this.images ? this.images.units - this.images.inner : 0;
      if (image) {
        share = said ? inner(image, count, said) : image;
        for (const layer of this.imageLayers) share = layer(share, count);
        if (this.imageShare) share = this.imageShare.apply(share, count);
      }
      for (let row = 0; row < count; row++) {
        for (let i = 0; i < wide; i++) joined[row * wide + i] += bias[i] + (share ? share[row * wide + i] : 0);
      }
      let rows = joined;
      for (const layer of this.headLayers) rows = layer(rows, all);
      const outputs = rows.length / all;
      const result = new Float64Array(count * outputs);
      for (let row = 0; row < all; row++) {
        for (let out = 0; out < outputs; out++) result[Math.floor(row / members) * outputs + out] += rows[row * outputs + out] / members;
      }
      if (image && said) {
        const whole = image.length / count;
        for (let row = 0; row < count; row++) for (let out = 0; out < said; out++) result[row * outputs + out] += image[(row + 1) * whole - said + out];
      }
      return result;
    }

    /** Outputs of encoded rows `(rows, encoded)`. @param {Float32Array} encoded */
    outputs(encoded) {
      const count = encoded.length / this.encoded;
      const columns = Array.from({ length: this.encoded }, (_, column) => column);
      const table = this.entry && new Float32Array(count * this.entry.size);
      const image = this.images && new Float32Array(count * this.images.units);
      for (let row = 0; row < count; row++) {
        const numbers = encoded.subarray(row * this.encoded, (row + 1) * this.encoded);
        if (this.entry && table) {
          const sum = this.entry.start();
          this.entry.add(sum, numbers, columns);
          table.set(this.entry.whole(sum, numbers), row * sum.length);
        }
        if (this.images && image) {
          const picture = this.images.copy(this.images.blank);
          this.images.show(picture, numbers);
          image.set(picture.entered, row * picture.entered.length);
        }
      }
      return this.finish(table, image, encoded, count);
    }

    /** What explanations explain: the network's probabilities, or numbers in units of y. @param {Float64Array} outputs of one row */
    explained(outputs) {
      const { task, mean, scale } = this.form.result;
      if (task === "regression") return [outputs[0] * scale + mean];
      return softmax(logits(outputs));
    }

    /** What the model predicts: calibrated probabilities, or a number in units of y. @param {Float64Array} outputs of one row */
    predicted(outputs) {
      const calibration = this.form.result.calibration;
      if (!calibration) return this.explained(outputs);
      let scores = logits(outputs);
      if (calibration.curves.length) return isotonic(scores, calibration.curves);
      if (calibration.shift.length) scores = scores.map((score, k) => score - calibration.shift[k]);
      return softmax(scores.map((score) => score / calibration.temperature));
    }

    /** By how much a row is predicted as a class, or falls short of it (negative). @param {number[]} predicted @param {number} wish */
    margin(predicted, wish) {
      const decision = this.form.result.decision;
      // Where several classes are equally probable, the first is predicted.
      if (!decision) return predicted[wish] - Math.max(...predicted.filter((_, k) => k !== wish)) - 1e-9;
      const above = predicted[decision.positive] - decision.threshold;
      return wish === decision.positive ? above : -above - 1e-9;
    }

    /** The position of the class that the model predicts: of two by its threshold. @param {number[]} predicted */
    decided(predicted) {
      const decision = this.form.result.decision;
      if (!decision) return predicted.indexOf(Math.max(...predicted));
      return predicted[decision.positive] >= decision.threshold ? decision.positive : 1 - decision.positive;
    }
  }

  /** Rows without their last numbers. @param {Float32Array} rows @param {number} count @param {number} last */
  const inner = (rows, count, last) => {
    const wide = rows.length / count, kept = new Float32Array(count * (wide - last));
    for (let row = 0; row < count; row++) kept.set(rows.subarray(row * wide, (row + 1) * wide - last), row * (wide - last));
    return kept;
  };

  /** One logit for each class. @param {ArrayLike<number>} outputs @returns {number[]} */
  const logits = (outputs) => (outputs.length === 1 ? [0, outputs[0]] : Array.from(outputs));

  /** @param {number[]} scores @returns {number[]} */
  const softmax = (scores) => {
    const top = Math.max(...scores);
    const parts = scores.map((score) => Math.exp(score - top));
    const total = parts.reduce((a, b) => a + b, 0);
    return parts.map((part) => part / total);
  };

  /** Calibrated probabilities by rising curves of the log odds. @param {number[]} scores @param {[number[], number[]][]} curves */
  const isotonic = (scores, curves) => {
    const odds = scores.map((score, k) => {
      const others = scores.filter((_, j) => j !== k), top = Math.max(...others);
      return score - top - Math.log(others.reduce((sum, other) => sum + Math.exp(other - top), 0));
    });
    if (curves.length === 1) {
      const share = between(odds[1], ...curves[0]);
      return [1 - share, share];
    }
    const shares = curves.map((curve, k) => between(odds[k], ...curve));
    const total = shares.reduce((a, b) => a + b, 0);
    return shares.map((share) => (total > 0 ? share / total : 1 / shares.length));
  };

  /** The value of a line through rising knots, constant beyond its ends, at equal knots that of the last. @param {number} x @param {number[]} knots @param {number[]} values */
  const between = (x, knots, values) => {
    if (x < knots[0]) return values[0];
    const last = knots.length - 1;
    if (x >= knots[last]) return values[last];
    let low = 0, high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (knots[middle] <= x) low = middle;
      else high = middle;
    }
    return values[low] + ((x - knots[low]) / (knots[high] - knots[low])) * (values[high] - values[low]);
  };

  // ---- cells --------------------------------------------------------------------------------------------------------

  /**
   * The forms of columns, those of kinds of columns in Python (`PageForm`): how a cell is written into an encoded row, whether cells are
   * `ordered`, and which `choices` there are. `moment`: cells are dates. `others`: a cell may be a level that the page does not list.
   * `shown`: a cell as it was, as far as readers need it.
   *
   * @type {Record<string, {write: (encoder: Encoder, row: Float32Array, column: any, cell: any, missing: number) => void, ordered?: boolean,
   *   moment?: boolean, others?: boolean, photo?: boolean, choices?: (column: any) => any[], shown?: (value: number) => number}>}
   */
  const FORMS = {
    number: { write: (encoder, row, column, cell, missing) => encoder.writeParts(row, column, cell, missing), ordered: true, shown: (value) => Number(value.toPrecision(7)) },
    date: { write: (encoder, row, column, cell, missing) => encoder.writeParts(row, column, cell, missing), ordered: true, moment: true },
    boolean: { write: (encoder, row, column, cell, missing) => encoder.writeSwitch(row, column, cell, missing), choices: () => [0, 1] },
    category: { write: (encoder, row, column, cell, missing) => encoder.writeLevel(row, column, cell, missing), others: true },
    text: { write: () => {} },
    image: { write: () => {}, photo: true },
  };

  /** The form of a column. @param {any} column */
  const formOf = (column) => {
    const form = FORMS[column.kind];
    if (!form) throw new Error(`This page cannot encode columns of the form ${column.kind}.`);
    return form;
  };

  class Encoder {
    /** @param {any} form  the encoder as Python describes it @param {number} encoded */
    constructor(form, encoded) {
      form.columns.forEach(formOf);
      this.scaling = form.scaling;
      this.encoded = encoded;
      /** @type {Map<string, any>} */
      this.columns = new Map(form.columns.map((/** @type {any} */ column) => [column.name, column]));
    }

    /** Encode a row of cells by column. @param {Record<string, Cell>} cells @returns {Float32Array} */
    encode(cells) {
      const row = new Float32Array(this.encoded);
      for (const [name, column] of this.columns) this.write(row, column, cells[name]);
      return row;
    }

    /** The kind of missing that a cell stands for, or 0. @param {any} column @param {Cell|undefined} cell */
    missing(column, cell) {
      if (Array.isArray(cell)) return cell[0];
      if (typeof cell === "object") cell = cell.text.trim();
      if (cell === undefined || cell === "" || (typeof cell === "number" && Number.isNaN(cell))) return 1;
      for (const [kind, label, numbers] of column.codes) {
        if (typeof cell === "number" ? numbers.includes(cell) : cell.trim() === label) return kind;
      }
      return 0;
    }

    /** Write the encoded columns of one raw column. @param {Float32Array} row @param {any} column @param {Cell|undefined} cell */
    write(row, column, cell) {
      const missing = this.missing(column, cell);
      for (const place of Object.values(column.missing)) row[place] = 0;
      if (column.scores) {
        const scores = /** @type {any} */ (cell)?.scores ?? column.levels.find((/** @type {[string, number[]]} */ [text]) => text === String(cell))?.[1];
        column.scores.forEach((/** @type {number} */ place, /** @type {number} */ k) => (row[place] = missing ? 0 : scores?.[k] ?? 0));
        if (missing && column.missing[missing] !== undefined) row[column.missing[missing]] = 1;
        if (!column.value) return;
      }
      formOf(column).write(this, row, column, cell, missing);
    }

    /** @param {Float32Array} row @param {any} column @param {any} cell @param {number} missing */
    writeLevel(row, column, cell, missing) {
      for (const [, place] of column.levels) row[place] = 0;
      if (column.other !== null) row[column.other] = 0;
      const level = column.levels.find((/** @type {[string, number]} */ [text]) => text === cell);
      const place = missing ? column.missing[missing] : level ? level[1] : column.other;
      if (place !== undefined && place !== null) row[place] = 1;
    }

    /** @param {Float32Array} row @param {any} column @param {any} cell @param {number} missing */
    writeSwitch(row, column, cell, missing) {
      if (missing && column.missing[missing] !== undefined) row[column.missing[missing]] = 1;
      const value = missing ? roundEven(column.fill) : Number(cell);
      if (column.value.value !== undefined) row[column.value.value] = Math.min(Math.max(value, 0), 1);
    }

    /** @param {Float32Array} row @param {any} column @param {any} cell @param {number} missing */
    writeParts(row, column, cell, missing) {
      if (missing && column.missing[missing] !== undefined) row[column.missing[missing]] = 1;
      const value = missing ? column.fill : Number(cell);
      for (const [part, place] of Object.entries(column.value)) {
        if (part === "held") row[place] = Math.min(Math.max(this.scaled(column, value), column.held[0]), column.held[1]);
        else row[place] = part === "value" || part === "time" ? this.scaled(column, value) : calendar(part, value, column);
      }
    }

    /** @param {any} column @param {number} value */
    scaled(column, value) {
      if (column.knots) return normalScore(value, column.knots);
      let z = (value * 0.25 - column.center * 0.25) * column.factor;
      z = Math.min(Math.max(z, -1e30), 1e30);
      return this.scaling === "robust" ? z / Math.hypot(1, z / 3) : z;
    }
  }

  /** Round halves to even, as NumPy. @param {number} value */
  const roundEven = (value) => (Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));

  /** A part of a date. @param {string} part @param {number} seconds @param {any} column */
  const calendar = (part, seconds, { years }) => {
    const date = new Date(Math.floor(seconds) * 1000), days = Math.floor(seconds / 86400), weekday = (date.getUTCDay() + 6) % 7;
    if (part === "year") return years ? (date.getUTCFullYear() - years[0]) / (years[1] - years[0]) : 0;
    if (part === "weekend") return weekday > 4 ? 1 : 0;
    const [period, which, times] = part.split(" ");
    /** @type {Record<string, [number, number]>} */
    const places = { month: [date.getUTCMonth(), 12], yearday: [days - Math.floor(new Date(date).setUTCMonth(0, 1) / 86400000), 366], day: [date.getUTCDate() - 1, 31], weekday: [weekday, 7], hour: [date.getUTCHours(), 24], minute: [60 * date.getUTCHours() + date.getUTCMinutes(), 1440] };
    if (!places[period]) throw new Error(`This page cannot encode ${part}.`);
    const [place, length] = places[period];
    if (which !== "sin" && which !== "cos") return place === Number(which) ? 1 : 0;
    const angle = (2 * Math.PI * Number(times ?? 1) * place) / length;
    return which === "sin" ? Math.sin(angle) : Math.cos(angle);
  };

  /** The normal score of a value among quantiles. @param {number} value @param {number[]} knots */
  const normalScore = (value, knots) => {
    const levels = knots.map((_, i) => i / (knots.length - 1));
    // Up and down averaged: a value that fills several quantiles gets the middle of them.
    const up = between(value, knots, levels);
    const down = between(-value, knots.map((knot) => -knot).reverse(), levels.map((level) => -level).reverse());
    return probit(Math.min(Math.max(0.5 * (up - down), 1e-7), 1 - 1e-7));
  };

  /** The quantile of the normal distribution (Wichura 1988, algorithm AS 241). @param {number} p */
  const probit = (p) => {
    const ratio = (/** @type {number} */ r, /** @type {number[]} */ a, /** @type {number[]} */ b) =>
      a.reduceRight((sum, factor) => sum * r + factor, 0) / b.reduceRight((sum, factor) => sum * r + factor, 0);
    const q = p - 0.5;
    if (Math.abs(q) <= 0.425) {
      return q * ratio(0.180625 - q * q, [3.3871328727963665, 133.14166789178438, 1971.5909503065513,
        13731.69376550946, 45921.95393154987, 67265.7709270087, 33430.57558358813, 2509.0809287301227],
      [1, 42.31333070160091, 687.1870074920579, 5394.196021424751, 21213.794301586597,
        39307.89580009271, 28729.085735721943, 5226.495278852546]);
    }
    const r = Math.sqrt(-Math.log(q < 0 ? p : 1 - p));
    const tail = r <= 5
      ? ratio(r - 1.6, [1.4234371107496835, 4.630337846156546, 5.769497221460691, 3.6478483247632045,
        1.2704582524523684, 0.2417807251774506, 0.022723844989269184, 0.0007745450142783414],
      [1, 2.053191626637759, 1.6763848301838038, 0.6897673349851, 0.14810397642748008,
        0.015198666563616457, 0.0005475938084995345, 1.0507500716444169e-09])
      : ratio(r - 5, [6.657904643501103, 5.463784911164114, 1.7848265399172913, 0.29656057182850487,
        0.026532189526576124, 0.0012426609473880784, 2.7115555687434876e-05, 2.0103343992922881e-07],
      [1, 0.599832206555888, 0.1369298809227358, 0.014875361290850615, 0.0007868691311456133,
        1.8463183175100548e-05, 1.421511758316446e-07, 2.0442631033899397e-15]);
    return q < 0 ? -tail : tail;
  };

  // ---- texts --------------------------------------------------------------------------------------------------------

  /** The texts of a column without some of their words, scored as Python scores them (`Words` in designs.py). */
  class Texts {
    /** @param {any} form  what `text_forms` returns for the column @param {number} outputs */
    constructor(form, outputs) {
      this.outputs = outputs;
      this.mean = Page.unpack(form.mean);
      /** What a text consists of, by place of its row: what is before a word, the word, what is between, … @type {Map<number, any[]>} */
      this.parts = new Map(form.rows.map((/** @type {number} */ row, /** @type {number} */ at) => [row, form.texts[at]]));
      this.vocabularies = ["words", "pieces"].filter((part) => form[part]).map((part) => ({
        part, numbers: Page.unpack(form[part].numbers),
        at: new Map(form[part].entries.map((/** @type {string} */ entry, /** @type {number} */ at) => [entry, at])),
      }));
    }

    /** What is left of a row's text without some of its words, and its scores. As a whole it was no level. @param {number} row @param {number[]} gone */
    without(row, gone) {
      /** @type {string[]} */
      const words = [];
      const text = (this.parts.get(row) ?? []).map((part, at) => {
        if (at % 2 === 0) return part;
        if (gone.includes((at - 1) / 2)) return " ";
        words.push(...part.filter((/** @type {string} */ _, /** @type {number} */ k) => k % 2 === 0).map((/** @type {string} */ word) => word.toLowerCase()));
        return part.join("");
      }).join("");
      /** @type {Record<string, string[]>} */
      const found = { words: [...words, ...words.slice(1).map((word, k) => `${words[k]} ${word}`)], pieces: pieces(text) };
      const scores = new Float64Array(this.outputs), wide = 1 + this.outputs;
      let known = false;
      for (const { part, numbers, at } of this.vocabularies) {
        const counts = new Map(), sums = new Float64Array(this.outputs);
        for (const entry of found[part]) if (at.has(entry)) counts.set(at.get(entry), (counts.get(at.get(entry)) ?? 0) + 1);
        let squares = 0;
        for (const [place, count] of counts) {
          const weight = (1 + Math.log(count)) * numbers[place * wide];
          squares += weight ** 2;
          for (let k = 0; k < this.outputs; k++) sums[k] += weight * numbers[place * wide + 1 + k];
        }
        known ||= counts.size > 0;
        if (squares > 0) sums.forEach((sum, k) => (scores[k] += sum / Math.sqrt(squares)));
      }
      return { text, scores: known ? scores.map((score, k) => score - this.mean[k]) : scores };
    }
  }

  /** The pieces of two to five signs of the words of a text, with a space before and behind each. @param {string} text */
  const pieces = (text) => text.toLowerCase().split(" ").filter(Boolean).flatMap((word) => {
    const signs = Array.from(` ${word} `), found = [];
    for (let size = 2; size <= 5; size++) {
      for (let at = 0; at === 0 || at + size <= signs.length; at++) found.push(signs.slice(at, at + size).join(""));
      if (size >= signs.length) break;
    }
    return found;
  });

  return { Encoder, Predictor, Texts, formOf, probit };
})();
