"use strict";

/** Predictions of changed rows, divided among their features by Shapley values. */
const Shares = (() => {
  const { Encoder, Predictor, Texts } = Network;
  /** Rows that are predicted at once. */
  const BATCH = 48;

  /**
   * Shapley values against a few background rows, from walks: players join in a stored order and in its reverse, each
   * time the background row is turned into the row explained. Walk w starts from background row w modulo their number.
   * After an edit only those steps are predicted again that hold an edited player, and only in walks that are asked for.
   */
  class Game {
    /** @param {any} network @param {number[][]} players encoded columns of each @param {Float32Array} background `(rows, encoded)` @param {Uint16Array} ranks `(walks, players)` each player's place */
    constructor(network, players, background, ranks) {
      this.network = network;
      this.players = players;
      this.count = players.length;
      this.wide = network.encoded;
      this.donors = Array.from({ length: background.length / this.wide }, (_, b) => this.point(background.slice(b * this.wide, (b + 1) * this.wide)));
      this.walks = ranks.length / this.count;
      this.ranks = ranks;
      this.orders = Uint16Array.from(ranks);
      for (let w = 0; w < this.walks; w++) for (let p = 0; p < this.count; p++) this.orders[w * this.count + ranks[w * this.count + p]] = p;
      this.empty = this.donors.map((donor) => this.read(donor));
      /** @type {Float64Array[]} the outputs along each walk, both ways */
      this.paths = [];
      /** @type {Float32Array[]} the encoded row that each walk holds for */
      this.held = [];
      this.scratch = network.images ? network.images.copy(network.images.blank) : null;
      const [units, pixels] = [network.entry?.size ?? 0, network.images?.units ?? 0];
      this.sum = new Float64Array(units);
      this.tables = new Float32Array(BATCH * units);
      this.pictures = new Float32Array(BATCH * pixels);
      this.encoded = new Float32Array(BATCH * this.wide);
      /** @type {any} */
      this.row = null;
      this.evaluations = 0;
      /** Of the error of a mean over the background rows, which were drawn from more. */
      this.remains = 0;
    }

    /** What the first layers make of an encoded row, player by player. @param {Float32Array} encoded */
    point(encoded) {
      const { entry, images } = this.network;
      const parts = entry && this.players.map((columns) => this.part(encoded, columns));
      const sum = entry && entry.start();
      if (sum && parts) for (const part of parts) for (let i = 0; i < sum.length; i++) sum[i] += part[i];
      const picture = images && images.copy(images.blank);
      if (images && picture) images.show(picture, encoded);
      return { encoded, parts, sum, picture };
    }

    /** @param {Float32Array} encoded @param {number[]} columns */
    part(encoded, columns) {
      const part = new Float64Array(this.network.entry?.size ?? 0);
      this.network.entry?.add(part, encoded, columns);
      return part;
    }

    /** The outputs explained at one point. @param {any} point */
    read(point) {
      this.evaluations += 1;
      const outputs = this.network.finish(this.network.entry && this.network.entry.whole(point.sum, point.encoded), point.picture && Float32Array.from(point.picture.entered), point.encoded, 1);
      return { outputs, values: this.network.explained(outputs) };
    }

    /** Explain a row from now on. Returns its outputs and what is explained of them. @param {Float32Array} encoded */
    show(encoded) {
      const { entry, images } = this.network, before = this.row;
      const edited = before ? this.edited(before.point.encoded, encoded) : [];
      if (before && !edited.length) return before.full;
      const point = before ? before.point : this.point(encoded.slice());
      if (before) {
        for (const p of edited) {
          if (!entry) continue;
          const part = this.part(encoded, this.players[p]);
          for (let i = 0; i < part.length; i++) point.sum[i] += part[i] - point.parts[p][i];
          point.parts[p] = part;
        }
        if (images) images.show(point.picture, encoded);
        point.encoded = encoded.slice();
      }
      const differs = this.donors.map((donor) => this.players.map((columns) => columns.some((column) => donor.encoded[column] !== encoded[column])));
      this.row = { point, differs, full: this.read(point) };
      return this.row.full;
    }

    /** The players in which two rows differ. @param {Float32Array} one @param {Float32Array} other */
    edited(one, other) {
      return Array.from(this.players.keys()).filter((p) => this.players[p].some((column) => one[column] !== other[column]));
    }

    /**
     * Bring the first walks up to date, for about so many milliseconds. Returns whether all of them hold.
     * @param {number} walks @param {number} [time]
     */
    ready(walks, time = Infinity) {
      const { encoded } = this.row.point, end = performance.now() + time;
      /** @type {Map<Float32Array, number[]>} */
      const edits = new Map();
      let w = 0;
      for (; w < walks; w++) {
        const then = this.held[w];
        if (then && !edits.has(then)) edits.set(then, then === encoded ? [] : this.edited(then, encoded));
        const edited = edits.get(then) ?? null;
        if (edited?.length !== 0) {
          if (performance.now() >= end) break;
          this.walk(w, edited);
        }
        this.held[w] = encoded;
      }
      this.flush();
      return w === walks;
    }

    /** Queue the steps of a walk that are not known. @param {number} w @param {number[]|null} edited */
    walk(w, edited) {
      const n = this.count, values = this.row.full.values.length, b = w % this.donors.length;
      const differs = this.row.differs[b], donor = this.donors[b];
      this.paths[w] ??= new Float64Array(2 * (n + 1) * values);
      for (let way = 0; way < 2; way++) {
        const order = (/** @type {number} */ place) => this.orders[w * n + (way ? n - 1 - place : place)];
        const at = (/** @type {number} */ size) => (way * (n + 1) + size) * values;
        const path = this.paths[w];
        let last = n;
        while (last > 0 && !differs[order(last - 1)]) last -= 1;
        let first = 0;
        if (edited) while (first < n && !edited.includes(order(first))) first += 1;
        else path.set(this.empty[b].values, at(0));
        /** @type {number[]} */
        let waiting = [];
        let begun = false;
        for (let size = 1; size <= n; size++) {
          const player = order(size - 1);
          if (differs[player]) waiting.push(player);
          if (size <= first) continue;
          if (size >= last) path.set(this.row.full.values, at(size));
          else if (!differs[player]) {
            this.queue.push({ path, to: at(size), from: at(size - 1) });
          } else {
            this.step(donor, waiting, begun);
            this.queue.push({ path, to: at(size), from: -1 });
            begun = true;
            waiting = [];
          }
        }
      }
    }

    /** Let players join the state, which begins at a background row. Its first layers are put among the rows to predict. @param {any} donor @param {number[]} joining @param {boolean} begun */
    step(donor, joining, begun) {
      const { entry, images } = this.network, point = this.row.point;
      if (!begun) {
        this.mixed = donor.encoded.slice();
        if (entry) this.sum.set(donor.sum);
        if (images && this.scratch) images.become(this.scratch, donor.picture);
      }
      for (const p of joining) {
        for (const column of this.players[p]) this.mixed[column] = point.encoded[column];
        if (!entry) continue;
        const [now, then] = [point.parts[p], donor.parts[p]];
        for (let i = 0; i < this.sum.length; i++) this.sum[i] += now[i] - then[i];
      }
      if (images && this.scratch) images.show(this.scratch, this.mixed);
      if (this.rows === BATCH) this.predict();
      if (entry) this.tables.set(entry.whole(this.sum, this.mixed), this.rows * entry.size);
      if (images && this.scratch) this.pictures.set(this.scratch.entered, this.rows * images.units);
      this.encoded.set(this.mixed, this.rows * this.wide);
      this.rows += 1;
    }

    mixed = new Float32Array(0);
    rows = 0;
    /** @type {{path: Float64Array, to: number, from: number}[]} */
    queue = [];
    done = 0;

    /** Predict the rows that wait. */
    predict() {
      const { entry, images } = this.network, count = this.rows;
      if (!count) return;
      // What waits may be overwritten: it is not needed again.
      const table = entry && this.tables.subarray(0, count * entry.size);
      const outputs = this.network.finish(table, images && this.pictures.subarray(0, count * images.units), this.encoded, count);
      const wide = outputs.length / count;
      this.evaluations += count;
      for (let row = 0; row < count; this.done++) {
        const { path, to, from } = this.queue[this.done];
        if (from >= 0) continue;
        path.set(this.network.explained(outputs.subarray(row * wide, (row + 1) * wide)), to);
        row += 1;
      }
      this.rows = 0;
    }

    /** Predict all that waits, and fill in steps that change nothing. */
    flush() {
      this.predict();
      const values = this.row.full.values.length;
      for (const { path, to, from } of this.queue) if (from >= 0) path.copyWithin(to, from, from + values);
      this.queue = [];
      this.done = 0;
    }

    /**
     * Values `(players, outputs)` from so many walks, their standard errors, and the base they start from. `whole`: the
     * errors with that of drawing the background rows.
     * @param {number} walks a multiple of the number of background rows, or fewer than there are: the first of them
     */
    explain(walks) {
      this.ready(walks);
      const n = this.count, outputs = this.row.full.values.length, strata = Math.min(walks, this.donors.length), rounds = walks / strata;
      const one = new Float64Array(n * outputs);
      const means = Array.from({ length: strata }, () => new Float64Array(n * outputs));
      const squares = new Float64Array(n * outputs);
      for (let w = 0; w < walks; w++) {
        const round = Math.floor(w / strata), mean = means[w % strata];
        this.contributions(w, one);
        for (let i = 0; i < one.length; i++) {
          const change = one[i] - mean[i];
          mean[i] += change / (round + 1);
          squares[i] += change * (one[i] - mean[i]);
        }
      }
      const average = (/** @type {number} */ i) => means.reduce((sum, mean) => sum + mean[i], 0) / strata;
      const values = one.map((_, i) => average(i));
      const sampled = one.map((_, i) => {
        if (rounds > 1) return Math.sqrt(squares[i] / (strata * strata * rounds * (rounds - 1)));
        if (strata === 1) return NaN;
        return Math.sqrt(means.reduce((sum, mean) => sum + (mean[i] - values[i]) ** 2, 0) / (strata - 1) / strata);
      });
      const moves = (/** @type {number} */ i) => squares[i] !== 0 || means.some((mean) => mean[i] !== 0);
      const errors = moderated(sampled, outputs, strata * (rounds - 1) || strata - 1, moves);
      // Between background rows values differ by chance of the orders, too.
      const between = (/** @type {number} */ i) => means.reduce((sum, mean) => sum + (mean[i] - values[i]) ** 2, 0) / Math.max(strata - 1, 1) / strata;
      const remains = strata < this.donors.length ? 1 : this.remains;
      const drawn = sampled.map((error, i) => Math.max(error, remains * Math.sqrt(between(i))));
      const whole = remains ? moderated(drawn, outputs, strata - 1, moves) : errors;
      const base = this.row.full.values.map((/** @type {number} */ _, /** @type {number} */ k) => this.empty.slice(0, strata).reduce((sum, { values: v }) => sum + v[k], 0) / strata);
      return { values, errors, whole, base, prediction: this.row.full.values, outputs: this.row.full.outputs, walks, compared: strata };
    }

    /** What each player adds along a walk, both ways averaged. @param {number} w @param {Float64Array} into */
    contributions(w, into) {
      const n = this.count, outputs = into.length / n, path = this.paths[w];
      for (let p = 0; p < n; p++) {
        const place = this.ranks[w * n + p], there = place * outputs, back = (2 * n - place) * outputs;
        for (let k = 0; k < outputs; k++) {
          into[p * outputs + k] = (path[there + outputs + k] - path[there + k] + path[back + outputs + k] - path[back + k]) / 2;
        }
      }
    }
  }

  /**
   * Errors pulled towards those of the row, as in Python (``moderated``): a variance of 0 from a few walks is not certain.
   * @param {Float64Array} errors `(players, outputs)`
   * @param {number} outputs
   * @param {number} freedom
   * @param {(place: number) => boolean} changed whether any walk changed this output
   */
  function moderated(errors, outputs, freedom, changed) {
    const players = errors.length / outputs;
    const moves = Array.from({ length: players }, (_, p) =>
      Array.from({ length: outputs }, (__, k) => changed(p * outputs + k)).some(Boolean));
    const count = Math.max(1, moves.filter(Boolean).length);
    const shared = Array.from({ length: outputs }, (_, k) =>
      moves.reduce((sum, moved, p) => sum + (moved ? errors[p * outputs + k] ** 2 : 0), 0) / count);
    return errors.map((error, i) =>
      moves[Math.floor(i / outputs)] ? Math.sqrt((freedom * error ** 2 + shared[i % outputs]) / (freedom + 1)) : error);
  }

  /**
   * The model of a page, from what Python put there.
   * @param {any} content
   */
  const make = (content) => {
    const form = JSON.parse(content.form);
    const network = new Predictor(form.network, /** @type {Float32Array} */ (Page.unpack(content.weights)));
    const encoder = new Encoder(form.encoder, network.encoded);
    const columns = form.players.map((/** @type {[string, number[]]} */ [, places]) => places);
    const shares = new Game(network, columns, /** @type {Float32Array} */ (Page.unpack(content.background)), /** @type {Uint16Array} */ (Page.unpack(content.orders)));
    shares.remains = form.remains ?? 0;
    const numeric = Page.unpack(content.numeric), numbers = Page.unpack(content.numbers), flags = Page.unpack(content.flags);
    const places = Array.from({ length: network.encoded }, (_, column) => column);
    const seen = new Set(numeric), other = places.filter((column) => !seen.has(column));
    /** Columns of text: their texts, or null where the page cannot read them. @type {Map<string, any>} */
    const texts = new Map(Object.entries(content.texts ?? {}).map(([name, one]) =>
      [name, one && new Texts(one, encoder.columns.get(name).scores.length)]));
    /** Columns of images: rows, and their scores with one of 4 × 4 patches covered. @type {Map<string, any>} */
    const photos = new Map(Object.entries(content.photos ?? {}).map(([name, one]) => [name, { rows: one.rows, scores: Page.unpack(one.scores) }]));
    /** A cell without some of its words, or with a patch covered, as the encoder takes it. @param {string} name @param {number} place @param {any} cell @returns {Cell} */
    const read = (name, place, cell) => {
      if (cell?.without) return texts.get(name).without(place, cell.without);
      if (cell?.covered === undefined) return cell;
      const { rows, scores } = photos.get(name), wide = encoder.columns.get(name).scores.length;
      const at = (rows.indexOf(place) * 16 + cell.covered) * wide;
      return { text: "image", scores: scores.subarray(at, at + wide) };
    };
    return {
      network, encoder, shares, texts, photos, range: form.range, result: form.network.result, rows: content.rows,
      /** Names of columns that are one feature and change together. @type {string[][]} */
      together: content.together ?? [],
      /** Walks after which values may be shown. @type {number[]} */
      walks: form.walks,
      /** Names of the players, in the order of values. @type {string[]} */
      players: form.players.map((/** @type {[string, number[]]} */ [name]) => name),
      /** The column of each player that is what a date says, and what it says. @type {Record<string, [string, string]>} */
      dated: form.dated ?? {},
      /** A listed row as the network sees it, with some of its cells changed. @param {number} place @param {Record<string, any>} changes */
      encode: (place, changes) => {
        const row = new Float32Array(network.encoded);
        numeric.forEach((/** @type {number} */ column, /** @type {number} */ at) => (row[column] = numbers[place * numeric.length + at]));
        other.forEach((column, at) => (row[column] = flags[place * other.length + at]));
        for (const [name, cell] of Object.entries(changes)) {
          const column = encoder.columns.get(name);
          if (column) encoder.write(row, column, read(name, place, cell));
        }
        return row;
      },
      /** Compute for about so many milliseconds what explaining takes, and return whether all is there. @param {Float32Array} row @param {number} walks @param {number} time */
      ready: (row, walks, time) => {
        shares.show(row);
        return shares.ready(walks, time);
      },
      /** Predict an encoded row and divide its prediction. @param {Float32Array} row @param {number} walks */
      explain: (row, walks) => {
        shares.show(row);
        return shares.explain(walks);
      },
    };
  };

  return { make };
})();
