"use strict";

/**
 * The layers and trees of the trained model, from what Python wrote of them (`assess/network_form.py`).
 *
 * A change of a row is carried through the layers that are linear in it: the table's first layer, and the convolutions
 * pixel by pixel. The layers behind are computed for many rows at once.
 *
 * @typedef {{at: number, shape: number[]}} Place  where an array lies among the weights
 */
const Layers = (() => {
  // ---- numbers ------------------------------------------------------------------------------------------------------

  /** Powers of two from 2⁻¹³⁰ to 2¹³⁰. */
  const POWERS = Float64Array.from({ length: 261 }, (_, k) => 2 ** (k - 130));

  /** The exponential function, within 1e-8 of its value between −88 and 88: three times as fast as `Math.exp`. @param {number} x */
  const exp = (x) => {
    const bounded = x < -88 ? -88 : x > 88 ? 88 : x;
    const power = Math.floor(bounded * Math.LOG2E + 0.5), r = bounded - power * Math.LN2;
    const series = 1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r / 5040))))));
    return POWERS[power + 130] * series;
  };

  const SERIES = Float64Array.of(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
    -0.82215223, 0.17087277);

  /** The error function, within 2e-7 (Numerical Recipes, section 6.2). @param {number} x */
  const erf = (x) => {
    const t = 1 / (1 + 0.5 * Math.abs(x));
    let sum = 0;
    for (let k = SERIES.length - 1; k >= 0; k--) sum = sum * t + SERIES[k];
    const rest = t * exp(sum - x * x);
    return x >= 0 ? 1 - rest : rest - 1;
  };

  /** @type {Record<string, (x: number) => number>} */
  const ACTIVATIONS = {
    "": (x) => x,
    relu: (x) => (x > 0 ? x : 0),
    silu: (x) => x / (1 + exp(-x)),
    gelu: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
    mish: (x) => {
      if (x > 20) return x;
      const e = exp(x), n = e * (e + 2);  // tanh(log(1 + e)) = n / (n + 2)
      return (x * n) / (n + 2);
    },
    selu: (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)),
    tanh: Math.tanh,
    rate: (x) => Math.exp(Math.min(Math.max(x, -30), 30)),
  };

  /** Apply an activation to the first numbers of an array. @param {string} name @param {Float32Array} values @param {number} count */
  const activate = (name, values, count) => {
    if (name === "relu") {
      for (let i = 0; i < count; i++) if (values[i] < 0) values[i] = 0;
    } else if (name === "silu") {
      for (let i = 0; i < count; i++) values[i] /= 1 + exp(-values[i]);
    } else {
      const rule = ACTIVATIONS[name];
      for (let i = 0; i < count; i++) values[i] = rule(values[i]);
    }
  };

  /**
   * A dense layer for many rows: its matrix lies in strips of four outputs, so that 16 products share eight reads.
   */
  class Dense {
    /** @param {Float32Array} weight `(outputs, inputs)` @param {number} outputs @param {Float32Array|null} bias */
    constructor(weight, outputs, bias) {
      this.outputs = outputs;
      this.inputs = weight.length / outputs;
      this.bias = bias;
      const wide = Math.ceil(outputs / 4) * 4;
      this.strips = new Float32Array(wide * this.inputs);
      for (let out = 0; out < outputs; out++) {
        const start = (out >> 2) * 4 * this.inputs + (out & 3);
        for (let p = 0; p < this.inputs; p++) this.strips[start + 4 * p] = weight[out * this.inputs + p];
      }
      this.panel = new Float32Array(4 * this.inputs);
      this.tile = new Float32Array(4 * wide);
    }

    /** Products `(rows, outputs)` of rows `(rows, inputs)`. @param {Float32Array} rows @param {number} count */
    apply(rows, count) {
      const { inputs, outputs, panel, tile, bias } = this;
      const result = new Float32Array(count * outputs);
      for (let row = 0; row < count; row += 4) {
        const height = Math.min(4, count - row);
        for (let q = 0; q < 4; q++) {
          const from = (row + q) * inputs;
          if (q < height) for (let p = 0; p < inputs; p++) panel[4 * p + q] = rows[from + p];
          else for (let p = 0; p < inputs; p++) panel[4 * p + q] = 0;
        }
        multiply(panel, this.strips, tile, inputs, outputs);
        for (let q = 0; q < height; q++) {
          const to = (row + q) * outputs;
          if (bias) for (let out = 0; out < outputs; out++) result[to + out] = tile[4 * out + q] + bias[out];
          else for (let out = 0; out < outputs; out++) result[to + out] = tile[4 * out + q];
        }
      }
      return result;
    }
  }

  /** Multiply four rows by all strips. @param {Float32Array} a @param {Float32Array} b @param {Float32Array} c @param {number} depth @param {number} outputs */
  const multiply = (a, b, c, depth, outputs) => {
    const end = 4 * depth;
    for (let out = 0, at = 0; out < outputs; out += 4) {
      let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
      let c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0;
      for (let p = 0; p < end; p += 4, at += 4) {
        const a0 = a[p], a1 = a[p + 1], a2 = a[p + 2], a3 = a[p + 3];
        const b0 = b[at], b1 = b[at + 1], b2 = b[at + 2], b3 = b[at + 3];
        c00 += a0 * b0; c01 += a0 * b1; c02 += a0 * b2; c03 += a0 * b3;
        c10 += a1 * b0; c11 += a1 * b1; c12 += a1 * b2; c13 += a1 * b3;
        c20 += a2 * b0; c21 += a2 * b1; c22 += a2 * b2; c23 += a2 * b3;
        c30 += a3 * b0; c31 += a3 * b1; c32 += a3 * b2; c33 += a3 * b3;
      }
      const o = 4 * out;
      c[o] = c00; c[o + 1] = c10; c[o + 2] = c20; c[o + 3] = c30;
      c[o + 4] = c01; c[o + 5] = c11; c[o + 6] = c21; c[o + 7] = c31;
      c[o + 8] = c02; c[o + 9] = c12; c[o + 10] = c22; c[o + 11] = c32;
      c[o + 12] = c03; c[o + 13] = c13; c[o + 14] = c23; c[o + 15] = c33;
    }
  };

  /** The transpose of a matrix with so many columns. @param {Float32Array} matrix @param {number} columns */
  const transposed = (matrix, columns) => {
    const rows = matrix.length / columns;
    const result = new Float32Array(matrix.length);
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result[j * rows + i] = matrix[i * columns + j];
    return result;
  };

  /**
   * The matrix `(members, units, inputs)` of members that share one `(units, inputs)` and scale its inputs.
   * @param {Float32Array} matrix @param {number} members @param {number} units @param {Float32Array|null} scale
   */
  const scaled = (matrix, members, units, scale) => {
    if (!scale) return matrix;
    const inputs = matrix.length / units;
    const result = new Float32Array(members * matrix.length);
    for (let i = 0; i < result.length; i++) result[i] = matrix[i % matrix.length] * scale[Math.floor(i / matrix.length) * inputs + (i % inputs)];
    return result;
  };

  // ---- layers on rows -----------------------------------------------------------------------------------------------

  /**
   * Read layers that act on each row's numbers: functions of rows and their count.
   * @param {any[]} forms @param {(place: Place) => Float32Array} take @param {number} members
   * @returns {((rows: Float32Array, count: number) => Float32Array)[]}
   */
  const readLayers = (forms, take, members) =>
    forms.map((form) => {
      if (form.kind === "dense") {
        const dense = new Dense(take(form.weight), form.weight.shape[0], take(form.bias));
        return (rows, count) => dense.apply(rows, count);
      }
      if (form.kind === "members") return ofMembers(take(form.weight), form.weight.shape, take(form.bias), members);
      if (form.kind === "activation") {
        return (rows) => {
          activate(form.name, rows, rows.length);
          return rows;
        };
      }
      if (form.kind === "affine") {
        const [scale, shift] = [take(form.scale), take(form.shift)];
        return (rows) => {
          for (let i = 0; i < rows.length; i++) rows[i] = rows[i] * scale[i % scale.length] + shift[i % scale.length];
          return rows;
        };
      }
      const [weight, bias] = [take(form.weight), take(form.bias)];
      return (rows, count) => normalise(rows, count, weight, bias, form.epsilon);
    });

  /** Layer normalisation. @param {Float32Array} rows @param {number} count @param {Float32Array} weight @param {Float32Array} bias @param {number} epsilon */
  const normalise = (rows, count, weight, bias, epsilon) => {
    const width = weight.length;
    for (let row = 0; row < count; row++) {
      const start = row * width;
      let mean = 0, square = 0;
      for (let i = 0; i < width; i++) mean += rows[start + i] / width;
      for (let i = 0; i < width; i++) square += (rows[start + i] - mean) ** 2 / width;
      const factor = 1 / Math.sqrt(square + epsilon);
      for (let i = 0; i < width; i++) rows[start + i] = (rows[start + i] - mean) * factor * weight[i] + bias[i];
    }
    return rows;
  };

  /**
   * A matrix for each member. Rows of one row's members are neighbours.
   * @param {Float32Array} weight @param {number[]} shape `(members, outputs, inputs)` @param {Float32Array|null} bias @param {number} members
   */
  const ofMembers = (weight, [, outputs, inputs], bias, members) => (/** @type {Float32Array} */ rows, /** @type {number} */ count) => {
    const result = new Float32Array(count * outputs);
    for (let row = 0; row < count; row++) {
      const member = row % members;
      for (let out = 0; out < outputs; out++) {
        const at = (member * outputs + out) * inputs;
        let sum = bias ? bias[member * outputs + out] : 0;
        for (let i = 0; i < inputs; i++) sum += weight[at + i] * rows[row * inputs + i];
        result[row * outputs + out] = sum;
      }
    }
    return result;
  };

  // ---- the table's first layer --------------------------------------------------------------------------------------

  /** The first layer of the table branch, column by column: `(members, units)` before the activation. */
  class Entry {
    /** @param {any} form @param {(place: Place) => Float32Array} take @param {number} members */
    constructor(form, take, members) {
      const first = form.layers[0];
      this.members = members;
      this.units = first.weight.shape[0];
      this.wide = first.weight.shape[1];
      this.size = members * this.units;
      this.matrix = transposed(take(first.weight), this.wide);
      this.scale = form.scale ? take(form.scale) : null;
      this.bias = take(first.bias);
      const embedding = form.embedding;
      this.embedding = embedding && {
        size: embedding.size, frequencies: embedding.frequency.shape[1],
        frequency: take(embedding.frequency), phase: take(embedding.phase), weight: take(embedding.weight), bias: take(embedding.bias),
      };
      /** @type {Map<number, [number, boolean]>} where a column is read, and whether it is embedded */
      this.places = new Map();
      const embedded = embedding ? embedding.columns : [];
      embedded.forEach((/** @type {number} */ column, /** @type {number} */ at) => this.places.set(column, [at, true]));
      const before = embedding ? embedded.length * embedding.size : 0;
      form.other.forEach((/** @type {number} */ column, /** @type {number} */ at) => this.places.set(column, [before + at, false]));
      /** @type {number[][]} slopes, each with the column that it is multiplied by, and perhaps one to which it is added */
      this.products = form.products;
      this.apart = new Set(this.products.flatMap(([slope, , into = slope]) => [slope, into]));
    }

    /** The layer's output with what slopes add. @param {Float64Array} sum of the columns @param {Float32Array} row */
    whole(sum, row) {
      const all = Float64Array.from(sum);
      for (const [slope, number, into] of this.products) {
        const added = row[slope] * row[number];
        if (into === undefined) this.enter(all, slope, added);
        else this.enter(all, into, row[into] + added);
      }
      return Float32Array.from(all);
    }

    /** The layer's output where every column is absent. */
    start() {
      const sum = new Float64Array(this.size);
      for (let i = 0; i < this.size; i++) sum[i] = this.bias[i % this.units];
      return sum;
    }

    /** Add what some columns of a row contribute, but for slopes, which are no column's alone. @param {Float64Array} sum @param {Float32Array} row @param {ArrayLike<number>} columns */
    add(sum, row, columns) {
      for (let k = 0; k < columns.length; k++) if (!this.apart.has(columns[k])) this.enter(sum, columns[k], row[columns[k]]);
    }

    /** @param {Float64Array} sum @param {number} column @param {number} value */
    enter(sum, column, value) {
      const [at, embedded] = this.places.get(column) ?? [0, false], embedding = this.embedding;
      if (!embedded || !embedding) {
        this.read(sum, at, value);
        return;
      }
      const { size, frequencies: count } = embedding;
      this.read(sum, at * size, value);
      const mixed = Float64Array.from({ length: size - 1 }, (_, s) => embedding.bias[at * (size - 1) + s]);
      for (let f = 0; f < count; f++) {
        const wave = Math.cos(2 * Math.PI * (value * embedding.frequency[at * count + f] + embedding.phase[at * count + f]));
        for (let s = 0; s < size - 1; s++) mixed[s] += wave * embedding.weight[(at * count + f) * (size - 1) + s];
      }
      for (let s = 0; s < size - 1; s++) this.read(sum, at * size + 1 + s, mixed[s]);
    }

    /** @param {Float64Array} sum @param {number} column @param {number} value */
    read(sum, column, value) {
      if (value === 0) return;
      const { units, matrix, scale } = this;
      for (let member = 0; member < this.members; member++) {
        const factor = scale ? value * scale[member * this.wide + column] : value;
        for (let unit = 0, to = member * units, from = column * units; unit < units; unit++) sum[to + unit] += factor * matrix[from + unit];
      }
    }
  }

  // ---- the image ----------------------------------------------------------------------------------------------------

  /** Random kernels: of each map the share above 0, softly, and the largest, over parts of the picture. */
  class Kernels {
    /** @param {any} form @param {(place: Place) => Float32Array} take @param {number} high @param {number} wide */
    constructor(form, take, high, wide) {
      this.high = high;
      this.wide = wide;
      this.centre = form.centre;
      this.sharpness = form.sharpness;
      this.groups = form.groups.map((/** @type {any} */ { weight, bias, dilation }) => ({ weight: take(weight), kernel: weight.shape.slice(1), bias: take(bias), dilation }));
      this.matrix = take(form.weight);
      this.offset = take(form.bias);
      this.outputs = this.offset.length;
      // Parts may overlap by a line, as torch's do.
      const ends = (/** @type {number} */ side) =>
        Array.from({ length: form.parts }, (_, at) => [Math.floor((at * side) / form.parts), Math.ceil(((at + 1) * side) / form.parts)]);
      this.parts = ends(high).flatMap((rows) => ends(wide).map((columns) => [...rows, ...columns]));
      this.map = new Float64Array(high * wide);
      this.seen = new Float64Array(this.matrix.length / this.outputs);
    }

    /** @param {Float64Array} pixels */
    say(pixels) {
      const { seen, matrix, outputs, parts } = this;
      let start = 0;
      for (const group of this.groups) {
        const count = group.bias.length;
        for (let kernel = 0; kernel < count; kernel++) {
          this.convolve(pixels, group, kernel);
          parts.forEach((part, at) => {
            const place = start + kernel * parts.length + at;
            [seen[place], seen[place + count * parts.length]] = this.read(part);
          });
        }
        start += 2 * count * parts.length;
      }
      const said = new Float64Array(outputs);
      for (let out = 0; out < outputs; out++) {
        said[out] = this.offset[out];
        for (let i = 0; i < seen.length; i++) said[out] += matrix[out * seen.length + i] * seen[i];
      }
      return said;
    }

    /** @param {Float64Array} pixels @param {any} group @param {number} kernel */
    convolve(pixels, { weight, kernel: [channels, tall, broad], bias, dilation }, kernel) {
      const { high, wide, map, centre } = this;
      map.fill(bias[kernel]);
      for (let line = 0; line < channels * tall; line++) {
        const ky = line % tall, start = ((line - ky) / tall) * high * wide;
        for (let kx = 0; kx < broad; kx++) {
          const factor = weight[(kernel * channels * tall + line) * broad + kx];
          if (factor === 0) continue;  // the kernel does not read this channel
          const down = (ky - (tall >> 1)) * dilation, along = (kx - (broad >> 1)) * dilation;
          for (let y = Math.max(0, -down); y < Math.min(high, high - down); y++) {
            const from = start + (y + down) * wide + along, last = Math.min(wide, wide - along);
            for (let x = Math.max(0, -along); x < last; x++) map[y * wide + x] += factor * (pixels[from + x] - centre);
          }
        }
      }
    }

    /** @param {number[]} part */
    read([top, bottom, left, right]) {
      let often = 0, most = -Infinity;
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) {
          const value = this.map[y * this.wide + x];
          often += 1 / (1 + exp(-this.sharpness * value));
          if (value > most) most = value;
        }
      }
      return [often / ((bottom - top) * (right - left)), most];
    }
  }

  /**
   * The image of a row and all that the convolutions make of it, up to the first dense layer.
   * @typedef {{pixels: Float64Array, maps: {sums: Float64Array, pooled: Float64Array}[], entered: Float64Array}} Picture
   */
  class Images {
    /** @param {any} form @param {(place: Place) => Float32Array} take @param {{weight: Float32Array, units: number, bias: Float32Array|null}} first */
    constructor(form, take, first) {
      const [high, wide] = form.pixels;
      this.high = high;
      this.wide = wide;
      this.area = high * wide;
      this.numbers = form.channels * high * wide; // one channel behind the other
      this.overlap = form.overlap;
      this.top = form.top;
      this.place = form.place;
      this.minimum = take(form.minimum);
      this.factor = take(form.factor);
      this.kernel = form.kernel && { side: form.kernel.shape[0], numbers: take(form.kernel) };
      let size = [high, wide];
      this.blocks = form.blocks.map((/** @type {any} */ block) => {
        const [outputs, inputs, ...kernel] = block.weight.shape, window = kernel[0] * kernel[1], { pool } = block;
        const weight = take(block.weight);
        // Of one cell and one pixel of the kernel, all outputs lie side by side.
        const ordered = new Float32Array(weight.length);
        for (let o = 0; o < outputs; o++) {
          for (let i = 0; i < inputs; i++) {
            for (let k = 0; k < window; k++) ordered[(k * inputs + i) * outputs + o] = weight[(o * inputs + i) * window + k];
          }
        }
        const made = {
          size, after: size.map((side, axis) => Math.floor(side / pool[axis])), pool, inputs, outputs, kernel, weight: ordered, bias: take(block.bias),
          rule: ACTIVATIONS[block.activation], scale: block.scale ? take(block.scale) : null, shift: block.shift ? take(block.shift) : null,
          stamp: new Int32Array(size[0] * size[1]),
        };
        size = made.after;
        return made;
      });
      this.stamp = 0;
      const channels = this.blocks[this.blocks.length - 1].outputs;
      this.kernels = form.kernels && new Kernels(form.kernels, take, high, wide);
      // What the kernels say stands behind the units of the first dense layer.
      this.inner = first.units;
      this.units = first.units + (this.kernels ? this.kernels.outputs : 0);
      // Flattened by channel in Python, by cell here.
      const cells = size[0] * size[1], { means } = form;
      this.matrix = new Float32Array(first.units * cells * channels);
      for (let unit = 0; unit < first.units; unit++) {
        for (let c = 0; c < channels; c++) {
          for (let cell = 0; cell < cells; cell++) {
            const weight = means ? first.weight[unit * channels + c] / means : first.weight[unit * cells * channels + c * cells + cell];
            this.matrix[(cell * channels + c) * first.units + unit] = weight;
          }
        }
      }
      this.blank = this.dark(first.bias);
      this.drawn = new Float64Array(this.numbers);
      this.counts = new Float64Array(this.numbers);
    }

    /** The picture without any light. @param {Float32Array|null} bias @returns {Picture} */
    dark(bias) {
      const maps = this.blocks.map((block) => ({
        sums: new Float64Array(block.size[0] * block.size[1] * block.outputs).map((_, i) => block.bias[i % block.outputs]),
        pooled: new Float64Array(block.after[0] * block.after[1] * block.outputs),
      }));
      const entered = new Float64Array(this.units).map((_, unit) => (bias && unit < this.inner ? bias[unit] : 0));
      const picture = { pixels: new Float64Array(this.numbers), maps, entered };
      const everywhere = new Set(Array.from({ length: this.area }, (_, cell) => cell));
      let touched = everywhere;
      this.blocks.forEach((block, at) => {
        const changed = this.pool(picture, at, touched);
        touched = at + 1 < this.blocks.length ? this.convolve(picture, at + 1, changed) : this.enter(picture, changed);
      });
      this.listen(picture);
      return picture;
    }

    /** @param {Picture} picture @returns {Picture} */
    copy(picture) {
      const maps = picture.maps.map(({ sums, pooled }) => ({ sums: sums.slice(), pooled: pooled.slice() }));
      return { pixels: picture.pixels.slice(), maps, entered: picture.entered.slice() };
    }

    /** Overwrite a picture by another. @param {Picture} picture @param {Picture} other */
    become(picture, other) {
      picture.pixels.set(other.pixels);
      picture.entered.set(other.entered);
      picture.maps.forEach((map, at) => {
        map.sums.set(other.maps[at].sums);
        map.pooled.set(other.maps[at].pooled);
      });
    }

    /** Draw an encoded row, as the renderer in Python. @param {Float32Array} row */
    draw(row) {
      const { high, wide, area, drawn, counts, kernel, overlap } = this;
      const largest = overlap === "maximum";
      drawn.fill(0);
      counts.fill(0);
      for (let column = 0; column < this.place.length; column++) {
        if (this.place[column] < 0) continue; // it has no pixel
        let value = (row[column] - this.minimum[column]) * this.factor[column];
        if (this.top !== null) value = Math.min(Math.max(value, 0), this.top);
        const at = this.place[column];
        if (!kernel) {
          if (overlap === "last") drawn[at] = value;
          else if (overlap === "mean") drawn[at] += value;
          else drawn[at] = counts[at] ? Math.max(drawn[at], value) : value;
          counts[at] += 1;
          continue;
        }
        const reach = (kernel.side - 1) / 2, y = Math.floor((at % area) / wide), x = at % wide, start = at - y * wide - x;
        for (let dy = -reach; dy <= reach; dy++) {
          if (y + dy < 0 || y + dy >= high) continue;
          for (let dx = -reach; dx <= reach; dx++) {
            const weight = kernel.numbers[(dy + reach) * kernel.side + dx + reach];
            if (!(weight > 0) || x + dx < 0 || x + dx >= wide) continue;
            const pixel = start + (y + dy) * wide + x + dx;
            if (largest) drawn[pixel] = Math.max(drawn[pixel], value * weight);
            else drawn[pixel] += value * weight;
            if (value > 0) counts[pixel] += 1;
          }
        }
      }
      if (!largest && (kernel || overlap === "mean")) {
        for (let pixel = 0; pixel < drawn.length; pixel++) drawn[pixel] /= Math.max(counts[pixel], 1);
      }
      return drawn;
    }

    /** Show a row: only what changes is computed anew. @param {Picture} picture @param {Float32Array} row */
    show(picture, row) {
      const drawn = this.draw(row), block = this.blocks[0];
      const touched = new Set(), moved = new Float64Array(block.inputs);
      for (let pixel = 0; pixel < drawn.length; pixel++) {
        const change = drawn[pixel] - picture.pixels[pixel];
        if (change === 0) continue;
        picture.pixels[pixel] = drawn[pixel];
        moved.fill(0)[Math.floor(pixel / this.area)] = change;
        this.spread(picture.maps[0].sums, block, pixel % this.area, moved, touched);
      }
      let cells = touched;
      for (let at = 0; at < this.blocks.length && cells.size; at++) {
        const changed = this.pool(picture, at, cells);
        cells = at + 1 < this.blocks.length ? this.convolve(picture, at + 1, changed) : this.enter(picture, changed);
      }
      if (touched.size) this.listen(picture);
    }

    /** Let the kernels say what they see. @param {Picture} picture */
    listen(picture) {
      if (this.kernels) picture.entered.set(this.kernels.say(picture.pixels), this.inner);
    }

    /** Add the change of one cell to all sums that read it. @param {Float64Array} sums @param {any} block @param {number} cell @param {ArrayLike<number>} change @param {Set<number>} touched */
    spread(sums, block, cell, change, touched) {
      const { size: [high, wide], kernel, inputs, outputs, weight } = block;
      const [tall, broad] = kernel.map((/** @type {number} */ side) => (side - 1) / 2);
      const y = Math.floor(cell / wide), x = cell % wide;
      for (let dy = -tall; dy <= tall; dy++) {
        const row = y - dy;
        if (row < 0 || row >= high) continue;
        for (let dx = -broad; dx <= broad; dx++) {
          const column = x - dx;
          if (column < 0 || column >= wide) continue;
          const to = (row * wide + column) * outputs, from = ((dy + tall) * kernel[1] + dx + broad) * inputs * outputs;
          for (let i = 0; i < inputs; i++) {
            const moved = change[i];
            if (moved === 0) continue;
            for (let o = 0; o < outputs; o++) sums[to + o] += moved * weight[from + i * outputs + o];
          }
          touched.add(row * wide + column);
        }
      }
    }

    /** Pool touched cells anew, and return the cells whose results changed, with the changes. @param {Picture} picture @param {number} at @param {Set<number>} touched */
    pool(picture, at, touched) {
      const block = this.blocks[at], { sums, pooled } = picture.maps[at];
      const { size, after, pool, outputs, rule, scale, shift, stamp } = block;
      this.stamp += 1;
      /** @type {[number, Float64Array][]} */
      const changed = [];
      for (const cell of touched) {
        const y = Math.floor(Math.floor(cell / size[1]) / pool[0]), x = Math.floor((cell % size[1]) / pool[1]);
        const small = y * after[1] + x;
        if (y >= after[0] || x >= after[1] || stamp[small] === this.stamp) continue;
        stamp[small] = this.stamp;
        const change = new Float64Array(outputs);
        let any = false;
        for (let o = 0; o < outputs; o++) {
          let best = -Infinity;
          for (let dy = 0; dy < pool[0]; dy++) {
            for (let dx = 0; dx < pool[1]; dx++) {
              let value = rule(sums[((y * pool[0] + dy) * size[1] + x * pool[1] + dx) * outputs + o]);
              if (scale && shift) value = value * scale[o] + shift[o];
              if (value > best) best = value;
            }
          }
          change[o] = best - pooled[small * outputs + o];
          any ||= change[o] !== 0;
          pooled[small * outputs + o] = best;
        }
        if (any) changed.push([small, change]);
      }
      return changed;
    }

    /** @param {Picture} picture @param {number} at @param {[number, Float64Array][]} changed */
    convolve(picture, at, changed) {
      const touched = new Set();
      for (const [cell, change] of changed) this.spread(picture.maps[at].sums, this.blocks[at], cell, change, touched);
      return touched;
    }

    /** @param {Picture} picture @param {[number, Float64Array][]} changed */
    enter(picture, changed) {
      const { entered } = picture, { inner: units, matrix } = this;
      for (const [cell, change] of changed) {
        for (let c = 0; c < change.length; c++) {
          const moved = change[c], from = (cell * change.length + c) * units;
          if (moved !== 0) for (let unit = 0; unit < units; unit++) entered[unit] += moved * matrix[from + unit];
        }
      }
      return new Set();
    }
  }

  // ---- trees --------------------------------------------------------------------------------------------------------

  /** Sums of trees over encoded rows, see `models/branches/tree_form.py`. */
  class Trees {
    /** @param {any} form @param {(place: Place) => Float32Array} take @param {number} encoded */
    constructor(form, take, encoded) {
      this.encoded = encoded;
      this.width = form.width;
      this.roots = form.roots;
      this.base = form.base;
      this.feature = Int32Array.from(take(form.feature));
      this.number = take(form.number);
      this.values = form.values ? take(form.values) : null;
      this.left = new Int32Array(this.feature.length);
      const starts = new Set(this.roots);
      let root = 0, asked = 0;
      for (let node = 0; node < this.left.length; node++) {
        if (starts.has(node)) [root, asked] = [node, 0];
        if (this.feature[node] >= 0) this.left[node] = root + 1 + 2 * asked++;
      }
    }

    /** The sums `(count, outputs)`. @param {Float32Array} rows `(count, encoded)` @param {number} count */
    apply(rows, count) {
      const { encoded, feature, number, left, values, width, base, roots } = this, outputs = base.length;
      const sums = new Float64Array(count * outputs);
      for (let i = 0; i < sums.length; i++) sums[i] = base[i % outputs];
      for (let tree = 0; tree < roots.length; tree++) {
        for (let row = 0; row < count; row++) {
          const from = row * encoded, to = row * outputs;
          let node = roots[tree], column = feature[node];
          while (column >= 0) {
            node = left[node] + (rows[from + column] > number[node] ? 1 : 0);
            column = feature[node];
          }
          if (values) for (let k = 0; k < width; k++) sums[to + k] += values[number[node] * width + k];
          else sums[to + (tree % outputs)] += number[node];
        }
      }
      return sums;
    }
  }

  return { Dense, Entry, Images, Trees, erf, ofMembers, rate: ACTIVATIONS.rate, readLayers, scaled };
})();
