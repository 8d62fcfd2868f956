"use strict";

/**
 * The figures that Python describes as arrays (`permgrad.pages.charts`): drawn here on every screen and on paper, and
 * written as rows of a file.
 */
const Figures = (() => {
  const { node, colour, chart, linear, extent, ticks, several, write, percent, labels, text, axis, line, area, wide, widthOf } = Charts;

  const signed = (/** @type {number} */ value) => (value < 0 ? "negative" : "positive");
  const known = (/** @type {number|null|undefined} */ value) => value !== null && value !== undefined && Number.isFinite(value);
  const day = (/** @type {number} */ seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

  /** Names of colours in one or more lines: the entries, and the height. @param {{name: string, colour: string, shape?: string, thin?: boolean, pale?: boolean}[]} entries */
  const legend = (entries, width = 600, left = 0) => {
    const group = node("g", { class: "legend" });
    let [x, y] = [left, 10];
    for (const one of entries) {
      const room = widthOf(one.name) + 34;
      if (x > left && x + room > width) [x, y] = [left, y + 18];
      group.append(
        one.shape ? shape(one.shape, x + 8, y - 4, 4.5, one.colour) : node("rect", { x, y: y - (one.thin ? 6 : 9), width: 16, height: one.thin ? 3 : 9, rx: 1.5, fill: colour(one.colour), "fill-opacity": one.pale ? 0.4 : 1 }),
        text(x + 21, y, one.name, { fill: colour("ink") }),
      );
      x += room;
    }
    return { group, height: entries.length ? y + 12 : 0 };
  };

  /** A mark at a place. */
  const shape = (/** @type {string} */ form, /** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ r, /** @type {string} */ hue) => {
    const look = form === "dot" ? { fill: colour(hue) } : { fill: colour("paper"), stroke: colour(hue), "stroke-width": 1.2 };
    if (form === "square") return node("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, ...look });
    if (form === "diamond") return node("path", { d: `M${x} ${y - r * 1.4}L${x + r * 1.4} ${y}L${x} ${y + r * 1.4}L${x - r * 1.4} ${y}Z`, fill: colour(hue), stroke: colour("paper") });
    if (form === "cross") return node("path", { d: `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`, stroke: colour(hue), "stroke-width": 1.6 });
    return node("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r, ...look });
  };

  // ---- bars ---------------------------------------------------------------------------------------------------------
  /** @param {any} data @param {number} width */
  const bars = (data, width) => {
    const count = data.names.length, step = data.step ?? 24, start = data.start ?? 0;
    const side = data.side ?? [];
    const texts = data.texts ?? [];
    const column = (/** @type {string[]} */ words) => (words.length ? Math.max(...words.map(widthOf)) + 10 : 0);
    const right = 8 + column(texts) + column(side);
    const longest = Math.max(...data.names.map(widthOf));
    const left = Math.min(longest + 12, Math.max(90, (width - right) * (width < 480 ? 0.5 : 0.42)));
    const parts = data.parts ?? [], marks = data.marks ?? [];
    const key = legend([...parts, ...marks.map((/** @type {any} */ one) => ({ ...one, colour: one.colour ?? "ink" }))], width, left);
    const top = key.height + (side.length ? 22 : 8), foot = data.hidden ? 60 : 44;
    const { svg, frame } = chart({ width, height: top + step * count + foot, left, right, top, bottom: foot }, data.words);
    const [low, high] = [data.names.map(() => start), data.names.map(() => start)];
    const pieces = parts.map((/** @type {any} */ part) => part.values.map((/** @type {number|null} */ value, /** @type {number} */ at) => {
      const ends = (value ?? 0) < 0 ? low : high, from = ends[at];
      ends[at] += value ?? 0;
      return [from, ends[at]];
    }));
    const all = [data.values, data.low, data.high, ...(parts.length ? [low, high] : []), ...marks.map((/** @type {any} */ one) => one.values), ...(data.spread ?? []).flat()].flat().filter(known);
    const x = linear(extent(all, data.zero === false ? [] : [start]), [left + 6, width - right - 6]);
    const middle = (/** @type {number} */ at) => top + (at + 0.5) * step;
    svg.append(key.group, axis(frame, x, { side: "x", label: Charts.shorten(data.label ?? "", Math.floor((width - left) / 6.2)), write: data.share ? percent : write, count: width < 480 ? 4 : 5 }));
    if (x.domain[0] <= start && x.domain[1] >= start) svg.append(node("line", { x1: x(start), x2: x(start), y1: top, y2: top + step * count, stroke: colour("muted"), "stroke-width": 0.8 }));
    const words = labels(data.names, 60, left - 10);
    const half = step * 0.29;
    data.names.forEach((/** @type {string} */ name, /** @type {number} */ at) => {
      const value = data.values[at], y = middle(at), quiet = data.quiet?.[at];
      const hue = quiet ? "neutral" : data.colours?.[at] ?? (data.form === "dots" ? (value < 0 ? "negative" : "positive") : signed(value - start));
      const interval = known(data.low?.[at]) && known(data.high?.[at]);
      const said = `${name}: ${texts[at] ?? write(value)}${interval ? ` (${write(data.low[at])} to ${write(data.high[at])})` : ""}`;
      const row = node("g", {}, node("title", {}, said));
      const bar = (/** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ fill, opacity = 1) =>
        row.append(node("rect", { x: Math.min(x(from), x(to)), y: y - half, width: Math.abs(x(to) - x(from)), height: 2 * half, fill: colour(fill), "fill-opacity": opacity }));
      if (parts.length) parts.forEach((/** @type {any} */ part, /** @type {number} */ k) => bar(...pieces[k][at], quiet ? "neutral" : part.colour, quiet ? 0.6 ** k : 1));
      else if (data.form !== "dots" && known(value)) bar(start, value, hue);
      if (interval) row.append(node("line", { x1: x(data.low[at]), x2: x(data.high[at]), y1: y, y2: y, stroke: colour(data.form === "dots" ? hue : "ink"), "stroke-width": data.form === "dots" ? 2 : 1.2 }));
      for (const one of data.spread?.[at] ?? []) if (known(one)) row.append(node("circle", { cx: x(one), cy: y, r: 3, fill: colour(hue), "fill-opacity": 0.45 }));
      if (known(value) && (data.form === "dots" || parts.length)) row.append(shape(data.spread ? "diamond" : "dot", x(value), y, parts.length ? 2.4 : 4.5, parts.length ? "ink" : hue));
      for (const mark of marks) if (known(mark.values[at])) row.append(shape(mark.shape, x(mark.values[at]), y, 3.6, "ink"));
      row.append(text(left - 8, y + 4, words[at], { "text-anchor": "end", fill: colour("ink") }));
      if (texts[at]) row.append(text(width - column(side), y + 4, texts[at], { "text-anchor": "end" }));
      if (side.length) row.append(text(width, y + 4, side[at + 1], { "text-anchor": "end" }));
      svg.append(row);
    });
    if (side.length) svg.append(text(width, top - 6, side[0], { "text-anchor": "end" }));
    const rest = data.rest ? `${data.hidden} more ${data.rest}` : `${data.hidden} more not shown`;
    if (data.hidden) svg.append(text(0, frame.height - 22, rest, { "font-size": 11 }));
    return svg;
  };

  const barRows = (/** @type {any} */ data) => [
    ["name", data.label || "value", "interval from", "interval to", ...[...(data.parts ?? []), ...(data.marks ?? [])].map((one) => one.name)],
    ...data.names.map((/** @type {string} */ name, /** @type {number} */ at) =>
      [name, data.values[at], data.low?.[at] ?? null, data.high?.[at] ?? null, ...[...(data.parts ?? []), ...(data.marks ?? [])].map((one) => one.values[at])]),
  ];

  // ---- panels -------------------------------------------------------------------------------------------------------
  /** Round numbers of a logarithmic axis. @param {[number, number]} domain  of logarithms */
  const decades = ([low, high]) => {
    const marks = [];
    for (let power = Math.floor(low); power <= high; power += 1) {
      for (const times of high - low > 2.2 ? [1] : [1, 2, 5]) marks.push(power + Math.log10(times));
    }
    return marks.filter((mark) => mark >= low - 1e-9 && mark <= high + 1e-9);
  };

  /** The scale of an axis, the texts on it, and the place of a value. @param {any} about @param {number[]} values @param {[number, number]} range */
  const scaled = (about, values, range) => {
    const turn = about.log ? Math.log10 : (/** @type {number} */ value) => value;
    const [low, high] = extent(values.filter(known).map(turn));
    const room = (high - low) * 0.05;
    const domain = about.names ? [-0.6, about.names.length - 0.4] : (about.domain?.map(turn) ?? [low - room, high + room]);
    const scale = linear(/** @type {[number, number]} */ (domain), range);
    const say = about.log ? (/** @type {number} */ value) => write(10 ** value, 2) : about.dates ? day : about.share ? percent : write;
    return { scale, say, place: (/** @type {number|null} */ value) => (known(value) ? scale(turn(/** @type {number} */ (value))) : NaN) };
  };

  const X = ["x", "edges"], Y = ["y", "low", "high"];
  const values = (/** @type {any} */ panel, /** @type {string[]} */ keys) =>
    panel.marks.flatMap((/** @type {any} */ mark) => (mark.as === "rule" ? [] : keys.flatMap((key) => mark[key] ?? [])));

  /** Dots as few paths, so that thousands of them stay light. */
  const cloud = (/** @type {number[]} */ x, /** @type {number[]} */ y, /** @type {any} */ look) => {
    const many = 12, paths = Array.from({ length: many }, () => "");
    x.forEach((at, k) => { if (Number.isFinite(at) && Number.isFinite(y[k])) paths[k % many] += `M${at.toFixed(1)} ${y[k].toFixed(1)}h0`; });
    return node("g", { fill: "none", "stroke-linecap": "round", ...look }, ...paths.filter(Boolean).map((d) => node("path", { d })));
  };

  /** Points along a line, a few pixels apart. @param {number[]} x @param {number[]} y */
  const between = (x, y) => x.slice(1).flatMap((right, k) => {
    const count = Math.ceil(Math.hypot(right - x[k], y[k + 1] - y[k]) / 4);
    if (!Number.isFinite(count)) return [];
    return Array.from({ length: count + 1 }, (_, step) => [x[k] + ((right - x[k]) * step) / count, y[k] + ((y[k + 1] - y[k]) * step) / count]);
  });

  /**
   * A name beside its point, where it hides no other and, if there is such a place, no line. Without room it is shown
   * under the pointer, and in the CSV file.
   * @param {string} words @param {number} x @param {number} y @param {any} frame
   */
  const nameOf = (words, x, y, frame) => {
    const short = labels([words], 40, frame.width - frame.left - frame.right)[0], wide = widthOf(short);
    const sides = [8, -8 - wide, -wide / 2, frame.width - 4 - wide - x];
    const places = [16, -8, 24, -14, 36, -26, 48, -38].flatMap((down) => sides.map((right) => [x + right, y + down]))
      .filter(([left, foot]) => left > x || left + wide < x || foot < y - 12 || foot > y + 18);
    const free = places.filter(([left, foot]) => left >= frame.left - 4 && left + wide <= frame.width && foot >= 10 && foot <= frame.height - frame.bottom - 2
      && !frame.taken.some((/** @type {number[]} */ [otherLeft, otherFoot, otherLength]) =>
        left < otherLeft + otherLength && otherLeft < left + wide && Math.abs(foot - otherFoot) < 14));
    const crossed = ([/** @type {number} */ left, /** @type {number} */ foot]) => frame.lines.some((/** @type {number[]} */ [across, down]) =>
      across > left - 2 && across < left + wide + 2 && down > foot - 10 && down < foot + 3);
    const [left, foot] = free.find((place) => !crossed(place)) ?? free[0] ?? [];
    if (left !== undefined) {
      frame.taken.push([left, foot, wide]);
      return text(left, foot, short, { fill: colour("ink"), "font-size": 11, "paint-order": "stroke", stroke: colour("paper"), "stroke-width": 3 });
    }
    return node("circle", { cx: x, cy: y, r: 8, fill: "transparent" }, node("title", {}, words));
  };

  /** @param {any} mark @param {(value: number|null) => number} x @param {(value: number|null) => number} y @param {any} frame */
  const drawn = (mark, x, y, frame) => {
    const hue = mark.colour ?? "tabular", stroke = colour(hue);
    const look = { stroke, "stroke-width": mark.width ?? 1.8, "stroke-dasharray": mark.dashed ? "6 4" : null, "stroke-opacity": mark.opacity ?? null };
    if (mark.as === "rule") {
      const [a, b] = known(mark.x) ? [x(mark.x), x(mark.x)] : [frame.left, frame.width - frame.right];
      const [c, d] = known(mark.x) ? [frame.top, frame.height - frame.bottom] : [y(mark.y), y(mark.y)];
      return [node("line", { x1: a, x2: b, y1: c, y2: d, ...look, "stroke-width": 1 })];
    }
    const at = (mark.x ?? []).map(x);
    if (mark.as === "line") {
      frame.lines.push(...between(at, mark.y.map(y)));
      return [line(at, mark.y.map(y), look)];
    }
    if (mark.as === "area") return [area(at, mark.low.map(y), mark.high.map(y), { fill: stroke, "fill-opacity": mark.opacity ?? 0.16 })];
    if (mark.as === "steps") {
      const gap = at.length > 1 ? (at[1] - at[0]) / 2 : 8;
      return [line(at.flatMap((/** @type {number} */ one) => [one - gap, one + gap]), mark.y.flatMap((/** @type {number|null} */ one) => [y(one), y(one)]), look)];
    }
    if (mark.as === "bars") return [Charts.histogram(mark.edges, mark.y, x, y, { fill: stroke, "fill-opacity": mark.opacity ?? 0.45 })];
    const up = mark.y.map(y), size = mark.size ?? 3.2;
    const made = [];
    if (mark.low) mark.low.forEach((/** @type {number} */ low, /** @type {number} */ k) => made.push(node("line", { x1: at[k], x2: at[k], y1: y(low), y2: y(mark.high[k]), stroke, "stroke-width": 1.4 })));
    if (mark.shape || at.length < 60) at.forEach((/** @type {number} */ one, /** @type {number} */ k) => { if (Number.isFinite(one + up[k])) made.push(shape(mark.shape ?? "dot", one, up[k], size, hue)); });
    else made.push(cloud(at, up, { stroke, "stroke-width": 2 * size, "stroke-opacity": mark.opacity ?? 0.6 }));
    (mark.texts ?? []).forEach((/** @type {string} */ words, /** @type {number} */ k) => made.push(nameOf(words, at[k], up[k], frame)));
    return made;
  };

  /** @param {any} data @param {number} width */
  const plot = (data, width) => {
    const columns = Math.max(1, Math.min(data.columns, data.panels.length, Math.floor(width / 205)));
    const lines = Math.ceil(data.panels.length / columns), each = width / columns;
    const named = new Map();
    for (const mark of data.panels.flatMap((/** @type {any} */ panel) => panel.marks)) {
      if (mark.name && !named.has(mark.name)) named.set(mark.name, {
        name: mark.name, colour: mark.colour ?? "tabular", shape: mark.as === "dots" ? mark.shape ?? "dot" : undefined,
        thin: mark.as === "line" || mark.as === "steps", pale: mark.as === "area" || mark.as === "bars",
      });
    }
    const key = legend([...named.values()], width, 4);
    const leaning = data.panels.map((/** @type {any} */ panel) => panel.x.names?.length > 0 && Math.max(...labels(panel.x.names, 14).map(widthOf)) > (each - 70) / (panel.x.some ? 14 : panel.x.names.length));
    // Panels side by side have one height.
    const slants = leaning.map((/** @type {boolean} */ _, /** @type {number} */ at) => leaning.slice(at - (at % columns), at - (at % columns) + columns).some(Boolean));
    // A note stands beside its title where both have room, else below it.
    const below = data.panels.some((/** @type {any} */ panel) => panel.title && panel.note && 1.1 * widthOf(titled(panel, each)) + widthOf(panel.note) > each - 82);
    const notes = data.panels.map((/** @type {any} */ panel) => (below ? inLines(panel.note ?? "", each - 70) : [panel.note ?? ""]));
    const noted = below ? 15 * Math.max(...notes.map((/** @type {string[]} */ note) => note.length)) : 0;
    const tall = data.height < 220 ? 3 : 5;
    const heights = Array.from({ length: lines }, (_, line) => data.height + (slants[line * columns] ? 40 : 0) + noted);
    const tops = heights.map((_, line) => key.height + heights.slice(0, line).reduce((sum, one) => sum + one, 0));
    const { svg } = chart({ width, height: tops[lines - 1] + heights[lines - 1] }, data.words);
    svg.append(key.group);
    data.panels.forEach((/** @type {any} */ panel, /** @type {number} */ at) => {
      const slanted = slants[at], height = heights[Math.floor(at / columns)];
      const frame = { width: each, height, left: 56, right: 14, top: panel.title || panel.note ? 26 + noted : 10, bottom: (panel.x.label ? 40 : 24) + (slanted ? 40 : 0), taken: [], lines: [] };
      const up = scaled(panel.y, values(panel, Y), [frame.height - frame.bottom, frame.top]);
      const upright = panel.y.log || panel.y.names ? [] : several(up.scale.domain, tall);
      frame.left = Math.max(frame.left, 30 + Math.max(0, ...upright.map((mark) => widthOf(up.say(mark)))));
      const across = scaled(panel.x, values(panel, X), [frame.left, frame.width - frame.right]);
      const box = node("g", { transform: `translate(${(at % columns) * each} ${tops[Math.floor(at / columns)]})` });
      if (panel.title) box.append(text(frame.left, 14, titled(panel, each), { fill: colour("ink"), "font-weight": 600 }));
      for (const [side, about, own] of /** @type {["x"|"y", any, any][]} */ ([["x", panel.x, across], ["y", panel.y, up]])) {
        const room = side === "x" ? each - frame.left : frame.height - frame.bottom - frame.top;
        const options = { side, label: labels([about.label ?? ""], 80, room)[0], write: own.say, count: side === "x" ? Math.max(3, Math.min(6, Math.floor(each / 60))) : tall };
        if (about.names) Object.assign(options, places(about, each - frame.left), { slanted: side === "x" && slanted, grid: false });
        else if (about.log) Object.assign(options, { marks: decades(own.scale.domain) });
        else if (about.whole) Object.assign(options, { marks: ticks(own.scale.domain, 6).filter(Number.isInteger) });
        box.append(axis(frame, own.scale, options));
      }
      for (const mark of panel.marks) box.append(...drawn(mark, across.place, up.place, frame));
      const look = { "text-anchor": below ? "start" : "end", "font-size": 11 };
      notes[at].forEach((/** @type {string} */ note, /** @type {number} */ k) => box.append(text(below ? frame.left : frame.width - frame.right, below ? 29 + 15 * k : 14, note, look)));
      svg.append(box);
    });
    return svg;
  };

  /** The parts of a note, each on its own line where it is too wide for one. @param {string} note @param {number} width */
  const inLines = (note, width) => (0.92 * widthOf(note) > width ? note.split("; ") : [note]);

  /** A panel's title as its width has room for. @param {any} panel @param {number} width */
  const titled = (panel, width) => labels([panel.title], 60, width - 70)[0];

  /** The named places of an axis: all, or some that are evenly spread. @param {any} about @param {number} room */
  const places = (about, room) => {
    const most = about.some ? Math.max(2, Math.min(14, Math.floor(room / 40))) : about.names.length;
    const count = Math.min(most, about.names.length);
    const marks = [...new Set(Array.from({ length: count }, (_, at) => Math.round((at * (about.names.length - 1)) / Math.max(count - 1, 1))))];
    return { marks, texts: labels(marks.map((at) => about.names[at]), 14) };
  };

  const plotRows = (/** @type {any} */ data) => [
    ["panel", "series", "x", "y", "from", "to"],
    ...data.panels.flatMap((/** @type {any} */ panel, /** @type {number} */ at) => panel.marks.flatMap((/** @type {any} */ mark) => {
      if (mark.as === "rule") return [];
      const name = (/** @type {any} */ about, /** @type {any} */ value) => about.names?.[value] ?? (about.dates && known(value) ? day(value) : value ?? null);
      const xs = mark.edges ? mark.edges.slice(0, -1) : mark.x;
      return xs.map((/** @type {number} */ x, /** @type {number} */ k) =>
        [panel.title || panel.y.label || at + 1, mark.name ?? mark.as, name(panel.x, x), name(panel.y, mark.y?.[k]), mark.low?.[k] ?? null, mark.high?.[k] ?? null]);
    })),
  ];

  // ---- cells --------------------------------------------------------------------------------------------------------
  /** A table of coloured cells: shades from 0 to `most`, negative ones orange. @param {any} data @param {number} width */
  const cells = (data, width) => {
    const { rows, columns, texts } = data;
    const named = Math.max(...rows.map(widthOf));
    const left = Math.min(named + 14, Math.max(84, width * 0.34)) + (data.y ? 18 : 0);
    const heads = labels(columns, 40, 96);
    const longest = Math.max(...heads.map(widthOf));
    const room = (/** @type {number} */ beside) => Math.max(9, Math.min(86, (width - left - beside) / columns.length));
    const slanted = Math.max(40, 0.77 * longest + 4);
    const upright = room(slanted) < 21; // slanted names would cover each other
    const reach = upright ? 4 : slanted;
    const size = room(reach);
    const tall = Math.max(9, Math.min(size, rows.length > 4 ? 34 : 60));
    const flat = longest < size - 4;
    const turn = upright ? -90 : -40;
    const headroom = upright ? 16 + longest : Math.min(92, 20 + 0.7 * longest);
    const top = (flat ? 26 : headroom) + (data.x ? 16 : 0);
    const whole = Math.max(width, left + size * columns.length + (flat ? 4 : reach));
    const { svg } = chart({ width: whole, height: top + tall * rows.length + 6 }, data.words);
    const framed = new Set((data.framed ?? []).map(String));
    if (data.x) svg.append(text(left + (size * columns.length) / 2, 12, data.x, { "text-anchor": "middle" }));
    if (data.y) svg.append(text(0, 0, data.y, { "text-anchor": "middle", transform: `translate(12 ${top + (tall * rows.length) / 2}) rotate(-90)` }));
    heads.forEach((name, at) => {
      const x = left + (at + 0.5) * size;
      svg.append(flat ? text(x, top - 8, name, { "text-anchor": "middle" }) : text(0, 0, name, { transform: `translate(${x + (upright ? 4 : 0)} ${top - 6}) rotate(${turn})`, "font-size": Math.min(12, size + 1) }));
    });
    const sides = labels(rows, 60, left - 12 - (data.y ? 18 : 0));
    const wordsOf = (/** @type {number} */ at, /** @type {number} */ to) => texts?.[at][to] ?? write(data.values[at][to], 2);
    const all = rows.flatMap((/** @type {string} */ _, /** @type {number} */ at) => columns.map((/** @type {string} */ __, /** @type {number} */ to) => wordsOf(at, to)));
    // All numbers are written, or none: among empty cells, those that are short would stand out.
    const letters = Math.min(12, (12 * (size - 4)) / Math.max(...all.map(widthOf)));
    const written = letters >= 11 && tall > 15;
    rows.forEach((/** @type {string} */ row, /** @type {number} */ at) => {
      const y = top + at * tall;
      svg.append(text(left - 8, y + tall / 2 + 4, sides[at], { "text-anchor": "end", fill: colour("ink"), "font-size": Math.min(12, tall + 1) }));
      columns.forEach((/** @type {string} */ column, /** @type {number} */ to) => {
        const value = data.values[at][to];
        if (!known(value)) return;
        const words = wordsOf(at, to);
        svg.append(node("rect", {
          x: left + to * size + 1, y: y + 1, width: size - 2, height: tall - 2, fill: colour(signed(value)),
          "fill-opacity": (0.06 + 0.54 * Math.min(1, Math.abs(value) / data.most)).toFixed(3),
          ...(framed.has(`${at},${to}`) ? { stroke: colour("ink"), "stroke-width": 1.6 } : {}),
        }, node("title", {}, `${row}, ${column}: ${words}`)));
        if (written) svg.append(text(left + (to + 0.5) * size, y + tall / 2 + 4, words, { "text-anchor": "middle", "font-size": letters.toFixed(1), fill: colour("ink"), "pointer-events": "none" }));
      });
    });
    return svg;
  };

  const cellRows = (/** @type {any} */ data) => [
    ["", ...data.columns], ...data.rows.map((/** @type {string} */ row, /** @type {number} */ at) => [row, ...data.values[at]]),
  ];

  // ---- rows ---------------------------------------------------------------------------------------------------------
  const SHADES = ["tabular", "series-4", "series-7", "image", "negative", "neutral"], BINS = 110;

  /** A point for each row and name, stacked where they are dense. @param {any} data @param {number} width */
  const swarm = (data, width) => {
    const step = 36, left = Math.min(Math.max(...data.names.map(widthOf)) + 12, width * 0.36);
    // Where no value has an order, all points have one colour, which needs no key.
    const shown = new Set(data.shades.flat());
    const ordered = shown.size > 1 || !shown.has(SHADES.length - 1);
    const entries = ordered ? [{ name: "low value", colour: SHADES[0] }, { name: "middle", colour: SHADES[2] }, { name: "high value", colour: SHADES[4] }] : [];
    if (ordered && shown.has(SHADES.length - 1)) entries.push({ name: "no order", colour: SHADES[5] });
    const key = legend(entries, width, left);
    const { svg, frame } = chart({ width, height: key.height + step * data.names.length + 46, left, top: key.height, right: 10 }, data.words);
    const x = linear(extent(data.values.flat().filter(known), [0]), [left + 6, width - 16]);
    svg.append(key.group, axis(frame, x, { side: "x", label: labels([data.label], 90, width - left)[0], count: width < 480 ? 3 : 5 }),
      node("line", { x1: x(0), x2: x(0), y1: frame.top, y2: frame.height - frame.bottom, stroke: colour("muted"), "stroke-width": 0.8 }));
    const words = labels(data.names, 60, left - 10);
    data.names.forEach((/** @type {string} */ _, /** @type {number} */ at) => {
      const middle = frame.top + (at + 0.5) * step;
      svg.append(text(left - 8, middle + 4, words[at], { "text-anchor": "end", fill: colour("ink") }));
      const bin = data.values[at].map((/** @type {number|null} */ value) => (known(value) ? Math.round(((x(value) - left) / (width - left)) * BINS) : NaN));
      const counts = new Map();
      const nth = bin.map((/** @type {number} */ one) => { counts.set(one, (counts.get(one) ?? -1) + 1); return counts.get(one); });
      const gap = Math.min(3.2, (step * 0.8) / (Math.max(...nth) + 1));
      const up = nth.map((/** @type {number} */ one) => middle + Math.ceil(one / 2) * (one % 2 ? 1 : -1) * gap);
      SHADES.forEach((hue, shade) => {
        const own = data.shades[at].map((/** @type {number} */ one, /** @type {number} */ k) => (one === shade ? k : -1)).filter((/** @type {number} */ k) => k >= 0);
        if (own.length) svg.append(cloud(own.map((/** @type {number} */ k) => (known(data.values[at][k]) ? x(data.values[at][k]) : NaN)), own.map((/** @type {number} */ k) => up[k]), { stroke: colour(hue), "stroke-width": 3.6, "stroke-opacity": 0.85 }));
      });
    });
    return svg;
  };

  const swarmRows = (/** @type {any} */ data) => [data.names, ...data.values[0].map((/** @type {any} */ _, /** @type {number} */ row) => data.values.map((/** @type {any} */ one) => one[row]))];

  const steps = (/** @type {any} */ data, /** @type {number} */ width) => {
    const longest = Math.max(60, ...data.steps.map((/** @type {any} */ step) => widthOf(step.name)));
    return Charts.waterfall(data, { width, left: Math.min(longest + 14, width * 0.42), right: 62 });
  };
  const stepRows = (/** @type {any} */ data) => [
    ["step", data.label], [data.startName, data.start], ...data.steps.map((/** @type {any} */ step) => [step.name, step.value]), [data.endName, data.end],
  ];

  // ---- a network ----------------------------------------------------------------------------------------------------
  /** The layers of a network: branches above each other, the head behind them, and a sum where branches stand beside it. @param {any} data */
  const blocks = (data) => {
    const [step, wide_, tall, lane] = [150, 122, 84, 118];
    const branches = data.lanes.slice(0, -1), head = data.lanes[data.lanes.length - 1];
    const longest = Math.max(0, ...branches.map((/** @type {any} */ one) => one.blocks.length));
    const height = Math.max(branches.length, 1) * lane;
    const places = branches.map((/** @type {any} */ _, /** @type {number} */ at) => (at + 0.5) * lane + 8);
    // Among the branches that lead into it: lines of the others pass below.
    const feeding = places.filter((/** @type {number} */ _, /** @type {number} */ at) => !branches[at].added);
    const middleOfAll = feeding.length ? feeding.reduce((/** @type {number} */ sum, /** @type {number} */ place) => sum + place, 0) / feeding.length : height / 2 + 8;
    const ends = step * (longest + head.blocks.length);
    const added = branches.some((/** @type {any} */ one) => one.added);
    const { svg } = chart({ width: ends + (added ? 24 : 0), height }, data.words);
    const arrow = (/** @type {number[]} */ [x1, y1], /** @type {number[]} */ [x2, y2]) => {
      const turn = Math.atan2(y2 - y1, x2 - x1);
      const tips = [2.7, -2.7].map((side) => `L${x2 + 8 * Math.cos(turn + side)} ${y2 + 8 * Math.sin(turn + side)}`);
      svg.append(node("path", { d: `M${x1} ${y1}L${x2} ${y2}${tips[0]}M${x2} ${y2}${tips[1]}`, fill: "none", stroke: colour("muted"), "stroke-width": 1 }));
    };
    const draw = (/** @type {any} */ one, /** @type {number} */ left, /** @type {number} */ middle) => {
      svg.append(text(left, middle - tall / 2 - 6, one.name));
      one.blocks.forEach((/** @type {any} */ block, /** @type {number} */ at) => {
        const x = left + at * step;
        if (at) arrow([x - step + wide_, middle], [x, middle]);
        const more = labels([block.more.join(" · ")], 80, wide_ - 8)[0];
        const lines = [block.title, block.shape, more, block.count ? `${block.count.toLocaleString("en-US")} parameters` : ""].filter(Boolean);
        svg.append(node("rect", { x, y: middle - tall / 2, width: wide_, height: tall, rx: 5, fill: colour(one.colour), "fill-opacity": 0.22, stroke: colour("muted"), "stroke-width": 0.7 },
          node("title", {}, [block.title, block.shape, block.more.join(" · ")].join(", "))));
        lines.forEach((words, k) => svg.append(text(x + wide_ / 2, middle + 4 + (k - (lines.length - 1) / 2) * 17, words, {
          "text-anchor": "middle", fill: colour("ink"), "font-weight": k ? null : 600, "font-size": k < 2 ? 12 : 11,
        })));
      });
    };
    branches.forEach((/** @type {any} */ one, /** @type {number} */ at) => {
      draw(one, 0, places[at]);
      const from = [(one.blocks.length - 1) * step + wide_, places[at]];
      if (one.added) {  // below the head, and up or down to the sum
        svg.append(node("line", { x1: from[0], x2: ends + 11, y1: from[1], y2: from[1], stroke: colour("muted"), "stroke-width": 1 }));
        arrow([ends + 11, from[1]], [ends + 11, middleOfAll + 11 * Math.sign(from[1] - middleOfAll)]);
      } else arrow(from, [longest * step, middleOfAll]);
    });
    draw(head, longest * step, middleOfAll);
    if (added) {
      arrow([ends - step + wide_, middleOfAll], [ends, middleOfAll]);
      svg.append(node("circle", { cx: ends + 11, cy: middleOfAll, r: 11, fill: "none", stroke: colour("muted"), "stroke-width": 0.7 }));
      svg.append(text(ends + 11, middleOfAll + 5, "+", { "text-anchor": "middle", fill: colour("ink"), "font-size": 16 }));
    }
    return svg;
  };
  const blockRows = (/** @type {any} */ data) => [
    ["part", "layer", "shape", "parameters"],
    ...data.lanes.flatMap((/** @type {any} */ one) => one.blocks.map((/** @type {any} */ block) => [one.name, [block.title, ...block.more].join(" · "), block.shape, block.count])),
  ];

  /** @type {Record<string, [(data: any, width: number) => SVGElement, (data: any) => any[][]]>} */
  const KINDS = { bars: [bars, barRows], plot: [plot, plotRows], cells: [cells, cellRows], swarm: [swarm, swarmRows], steps: [steps, stepRows], blocks: [blocks, blockRows] };

  /** The drawing of a figure's arrays, no wider than its place, so that its letters stay readable. @param {any} data @param {number} room  0: not known */
  const draw = (data, room = 0) => KINDS[data.kind][0](data, Math.min(wide(data.width), Math.max(room || Infinity, 300)));
  /** Its numbers, headings first. @param {any} data */
  const rows = (data) => KINDS[data.kind][1](data);

  return { draw, rows };
})();
