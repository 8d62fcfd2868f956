"use strict";

/**
 * *What if*: what a listed row's prediction comes from, and inputs for its features. Each change shows the new prediction
 * and how it comes about. The model runs here, see network.js and shares.js.
 *
 * `WhatIf.show(box, place)` fills a box for the row at a place among those that can be changed. Values are shown after a few walks, and made
 * more exact while the reader waits.
 *
 * @typedef {{name: string, label: string, kind: string, values?: any, codes?: any, kinds?: any}} Column
 */
const WhatIf = (() => {
  /** Features whose inputs are shown at first. */
  const FIRST = 12;
  /** Refined until the standard errors are below this share of the range, for about so many milliseconds at a time. */
  const EXACT = 0.001, SLICE = 20;
  /** Standard errors on each side of a value that make its 95 % interval. */
  const SURE = 2;
  /** @type {any} */
  let model = null;
  let turn = 0;

  /** @param {any} content */
  const loaded = (content) => {
    if (!model) {
      model = Shares.make(content);
      model.columns = content.columns.map((/** @type {any} */ column) => ({
        ...column,
        form: model.encoder.columns.get(column.name),
        values: Page.unpack(column.values),
        kinds: column.missing ? Page.unpack(column.missing) : null,
      }));
    }
    return model;
  };

  /** A cell of a listed row. @param {any} column @param {number} place @returns {number|string|[number]} */
  const cellOf = (column, place) => {
    const kind = column.kinds ? column.kinds[place] : 0;
    if (kind) return [kind];
    const value = column.values[place];
    if (column.form.levels) return column.form.levels[value]?.[0] ?? OTHER;
    return Network.formOf(column.form).shown?.(value) ?? value;
  };

  /** Stands for a level that training did not have, or had rarely. */
  const OTHER = "\u0000other";

  /** What a cell says. @param {any} form @param {any} cell @returns {string} */
  const words = (form, cell) => {
    if (Array.isArray(cell)) return missingWords(form, cell[0]);
    if (cell.covered !== undefined) return "a patch covered";
    if (cell.without) return `${cell.words} word${cell.words > 1 ? "s" : ""} out`;
    const { others, choices, moment } = Network.formOf(form);
    if (cell === OTHER) return others ? "another level" : `its ${form.kind}`;
    if (choices) return form.words ? form.words[cell] : cell ? "yes" : "no";
    if (moment) return dateText(cell).replace("T", " ");
    return typeof cell === "number" ? String(cell).replace("-", "−") : cell;
  };

  /** What a cell says beside the name of its column: numbers are rounded. @param {any} form @param {any} cell @returns {string} */
  const inShort = (form, cell) => {
    const { choices, moment } = Network.formOf(form);
    return typeof cell === "number" && !choices && !moment ? Charts.numeral(String(cell)) : words(form, cell);
  };

  /** A text, or a level that the page cannot set, as the list of rows has it. @param {any} column @param {number} number */
  const writtenIn = (column, number) => {
    const rows = Rows.read(Page.data("rows"));
    const listed = rows?.columns.find((/** @type {any} */ one) => one.name === column.label);
    const row = rows ? rows.numbers.indexOf(number) : -1;
    return listed && row >= 0 ? Charts.shorten(listed.text(row).trim(), 24).replace(/ …|… /, "…") : words(column.form, OTHER);
  };

  /** A note on a value that no training row comes near, or an empty text. @param {any} form @param {any} cell */
  const outside = (form, cell) => {
    const [low, high] = form.range ?? [-Infinity, Infinity];
    const slack = 1e-6 * Math.max(Math.abs(low), Math.abs(high));
    if (typeof cell !== "number" || (cell >= low - slack && cell <= high + slack)) return "";
    const [from, to] = [low, high].map((end) => (Network.formOf(form).moment ? words(form, end) : Charts.write(end, 4)));
    return `Outside the range of the training rows: ${from} to ${to}.`;
  };

  /** @param {any} form @param {number} kind */
  const missingWords = (form, kind) => {
    const code = form.codes.find((/** @type {any[]} */ [each]) => each === kind);
    return code ? `missing (${code[1]})` : "missing";
  };

  /** What a date says, as Python writes it (`words_of` in calendar.py). @param {any} column @param {string} part @param {any} cell */
  const partWords = (column, part, cell) => {
    if (part === "missing") return typeof cell === "number" ? "present" : "missing";
    if (typeof cell !== "number" || part === "trend") return words(column.form, cell);
    const date = new Date(Math.floor(cell) * 1000);
    const say = (/** @type {Intl.DateTimeFormatOptions} */ form) => date.toLocaleString("en-GB", { ...form, timeZone: "UTC" });
    if (part === "time of day") return date.toISOString().slice(11, 16);
    if (part === "weekday") return say({ weekday: "long" });
    return part === "season" ? say({ day: "numeric", month: "long" }) : String(date.getUTCDate());
  };

  /** A date as its input wants it. @param {number} seconds */
  const dateText = (seconds) => {
    const text = new Date(seconds * 1000).toISOString().slice(0, 19);
    return text.endsWith("T00:00:00") ? text.slice(0, 10) : text.replace(/:00$/, "");
  };

  // ---- inputs -------------------------------------------------------------------------------------------------------

  /**
   * The input of a feature.
   * @param {any} column @param {any} cell @param {string} id @param {(cell: any) => void} changed
   */
  const inputOf = (column, cell, id, changed) => {
    const form = column.form, { choices, moment } = Network.formOf(form);
    if (form.levels || choices) return choice(form, cell, id, changed);
    const input = /** @type {HTMLInputElement} */ (Page.element("input", {
      id, type: moment ? (dates(form) ? "datetime-local" : "date") : "number", step: "any", autocomplete: "off",
      placeholder: "missing", "aria-describedby": `${id}-was`,
    }));
    const show = (/** @type {any} */ value) => {
      input.value = Array.isArray(value) ? "" : moment ? dateInput(input, value) : String(value);
    };
    show(cell);
    // A kind of missing with a code stays until a value is typed.
    const empty = Array.isArray(cell) ? cell : [1];
    input.addEventListener("input", () => {
      const number = moment ? Date.parse(`${input.value}${input.value.includes("T") ? "" : "T00:00"}Z`) / 1000 : input.valueAsNumber;
      const bad = input.validity.badInput;
      input.setAttribute("aria-invalid", String(bad));
      // A code that stands for a missing value is one.
      const code = form.codes.find((/** @type {any[]} */ [, , numbers]) => numbers.includes(number));
      if (!bad) changed(code ? [code[0]] : Number.isFinite(number) ? number : empty);
    });
    return { input, show };
  };

  /** Whether a date has hours. @param {any} form */
  const dates = (form) => Object.keys(form.value).some((part) => /^(hour|minute)/.test(part));

  /** @param {HTMLInputElement} input @param {number} seconds */
  const dateInput = (input, seconds) => new Date(seconds * 1000).toISOString().slice(0, input.type === "date" ? 10 : 19);

  /** @param {any} form @param {any} cell @param {string} id @param {(cell: any) => void} changed */
  const choice = (form, cell, id, changed) => {
    const { others, choices } = Network.formOf(form);
    /** @type {any[]} */
    const cells = choices ? choices(form) : form.levels.map((/** @type {any[]} */ [text]) => text);
    if (others || cell === OTHER) cells.push(OTHER);
    const kinds = new Set([1, ...Object.keys(form.missing).map(Number), ...(Array.isArray(cell) ? cell : [])]);
    for (const kind of [...kinds].sort((a, b) => a - b)) cells.push([kind]);
    const input = /** @type {HTMLSelectElement} */ (Page.element("select", { id, "aria-describedby": `${id}-was` }));
    cells.forEach((each, at) => {
      const text = each === OTHER && others && form.other === null ? "a level never seen" : words(form, each);
      input.append(Page.element("option", { value: at }, text));
    });
    const show = (/** @type {any} */ value) => {
      input.value = String(cells.findIndex((each) => String(each) === String(value) && Array.isArray(each) === Array.isArray(value)));
    };
    show(cell);
    input.addEventListener("change", () => changed(cells[Number(input.value)]));
    return { input, show };
  };

  /**
   * The words of a text, each of which can be taken out and put back.
   * @param {any} column @param {number} place @param {(cell: any) => void} changed
   */
  const wordsOf = (column, place, changed) => {
    const texts = model.texts.get(column.name), parts = texts?.parts.get(place);
    if (!parts) {
      const why = texts ? `Words can be taken out in ${texts.parts.size} other rows.` : "Words cannot be taken out: this page cannot read what is left.";
      return { box: Page.element("p", { class: "quiet" }, why), show: () => {} };
    }
    /** @type {Set<number>} */
    const gone = new Set();
    const box = Page.element("p", { class: "what-if-words", role: "group", "aria-label": `Words of ${column.label}` });
    /** @type {HTMLElement[]} */
    const buttons = [];
    const mark = () => buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(gone.has(at))));
    parts.forEach((/** @type {any} */ part, /** @type {number} */ at) => {
      if (at % 2 === 0) return box.append(part);
      const word = buttons.length;
      buttons.push(Page.element("button", { type: "button", title: "Take out, or put back", click: () => {
        if (!gone.delete(word)) gone.add(word);
        mark();
        const count = [...gone].reduce((sum, one) => sum + (parts[2 * one + 1].length + 1) / 2, 0);
        changed(gone.size ? { without: [...gone], words: count } : OTHER);
      } }, part.join("")));
      return box.append(buttons[word]);
    });
    mark();
    return { box, show: (/** @type {any} */ cell) => {
      gone.clear();
      for (const at of cell.without ?? []) gone.add(at);
      mark();
    } };
  };

  /**
   * The patches of a row's image, of which one can be covered.
   * @param {any} column @param {number} place @param {number} number @param {(cell: any) => void} changed
   */
  const patchesOf = (column, place, number, changed) => {
    const rows = Rows.read(Page.data("rows")), row = rows ? rows.numbers.indexOf(number) : -1;
    const image = row < 0 ? "" : rows.columns.find((/** @type {any} */ one) => one.name === column.label)?.photo(row);
    const known = model.photos.get(column.name)?.rows ?? [];
    if (!image || !known.includes(place)) {
      return { box: Page.element("p", { class: "quiet" }, known.length ? `Its patches can be covered in ${known.length} other rows.` : "What covering its patches does was not computed."), show: () => {} };
    }
    /** @type {HTMLElement[]} */
    const patches = [];
    const mark = (/** @type {number} */ covered) => patches.forEach((patch, at) => patch.setAttribute("aria-pressed", String(at === covered)));
    const box = Photos.patched(image, `${column.label} of this row`, (at) => {
      patches.push(Page.element("button", { type: "button", title: `Cover ${Photos.placeOf(at)}, or uncover it`, "aria-label": Photos.placeOf(at), click: () => {
        const covers = patches[at].getAttribute("aria-pressed") !== "true";
        mark(covers ? at : -1);
        changed(covers ? { covered: at } : OTHER);
      } }));
      return patches[at];
    });
    mark(-1);
    return { box, show: (/** @type {any} */ cell) => mark(cell.covered ?? -1) };
  };

  // ---- the panel ----------------------------------------------------------------------------------------------------

  /**
   * Fill a box for a listed row.
   * @param {HTMLElement} box @param {number} place @param {any} [content]
   */
  const show = (box, place, content = Page.data("rows").whatIf) => {
    box.replaceChildren();
    if (!content) return false;
    if (!content.form) {
      box.append(Page.element("p", { class: "quiet" }, content.reason));
      return true;
    }
    if (place < 0 || place >= content.rows.length) {
      box.append(Page.element("p", { class: "quiet" }, `Only ${content.rows.length} of the test rows can be changed here. Choose Show: can be changed.`));
      return true;
    }
    loaded(content);
    panel(box, place, content);
    return true;
  };

  /** @param {HTMLElement} box @param {number} place @param {any} content */
  const panel = (box, place, content) => {
    const mine = ++turn;
    /** @type {Record<string, any>} */
    const changes = {};
    const before = model.explain(model.encode(place, {}), model.walks[0]);
    const classes = model.result.classes;
    let output = classes ? startOutput(before, classes, content) : 0;
    const original = { predicted: model.network.predicted(before.outputs), values: before };
    const computed = computedOf(content, place, before);

    const result = Page.element("p", { class: "what-if-result", role: "status" });
    const picture = Page.element("div", { class: "what-if-figure" });
    /** @type {any[][]} the figure as rows of a file */
    let table = [];
    const inputs = Page.element("div", { class: "what-if-inputs" });
    const reset = Page.element("button", { type: "button", disabled: true, click: () => undo() }, "Reset all");
    const more = Page.element("details", {}, Page.element("summary", {}, ""));
    /** @type {Map<string, {show: () => void, mark: () => void, cell: any, put: (cell: any) => void}>} */
    const controls = new Map();

    const undo = (/** @type {Record<string, any>} */ instead = {}) => {
      for (const [name, control] of controls) {
        delete changes[name];
        control.show();
        if (name in instead) control.put(changes[name] = instead[name]);
        control.mark();
      }
      update();
    };

    model.columns.forEach((/** @type {any} */ column, /** @type {number} */ at) => {
      const cell = cellOf(column, place), id = `what-if-${at}`;
      const was = Page.element("span", { class: "quiet", id: `${id}-was` });
      const back = Page.element("button", { type: "button", class: "back", hidden: true, "aria-label": `Reset ${column.label}` }, "↺");
      const mark = () => {
        const changed = column.name in changes;
        line.classList.toggle("changed", changed);
        back.toggleAttribute("hidden", !changed);
        const now = changed ? changes[column.name] : cell;
        if (changed && (now.without || now.covered !== undefined)) {
          was.textContent = `Now ${now.without ? words(column.form, now) : `${Photos.placeOf(now.covered)} covered`}.`;
          return;
        }
        const note = changed && Array.isArray(now) ? `Now ${missingWords(column.form, now[0])}.` : outside(column.form, now);
        was.textContent = (changed ? `was ${words(column.form, cell)}${note && ". "}` : "") + note;
      };
      const set = (/** @type {any} */ now) => {
        if (String(now) === String(cell) && Array.isArray(now) === Array.isArray(cell)) delete changes[column.name];
        else changes[column.name] = now;
        mark();
        update();
      };
      const made = inputOf(column, cell, id, (/** @type {any} */ now) => { inside?.show(now); set(now); });
      const part = (/** @type {any} */ now) => { made.show(cell); set(now); };
      const inside = cell !== OTHER ? null : Network.formOf(column.form).photo ? patchesOf(column, place, content.rows[place], part)
        : model.texts.has(column.name) ? wordsOf(column, place, part) : null;
      const restore = () => { made.show(cell); inside?.show(cell); };
      back.addEventListener("click", () => {
        restore();
        made.input.focus();
        set(cell);
      });
      const line = Page.element("div", { class: inside ? "what-if-line wide" : "what-if-line" },
        Page.element("label", { for: id }, ...Page.breakable(column.label)), made.input, back, was, inside ? inside.box : "");
      controls.set(column.name, { show: restore, mark, cell, put: made.show });
      mark();
      (at < FIRST ? inputs : more).append(line);
    });
    const further = model.columns.length - FIRST;
    if (further > 0) /** @type {HTMLElement} */ (more.firstElementChild).textContent = `${further} more features`;

    /** Show what is predicted now, and refine it while nothing else is to be done. What Python computed of the row stays as it is. */
    const update = () => {
      const now = ++turn, unchanged = !Object.keys(changes).length;
      reset.toggleAttribute("disabled", unchanged);
      if (unchanged && computed) {
        draw(computed);
        return;
      }
      const row = model.encode(place, changes);
      let step = 0;
      while (step + 1 < model.walks.length && model.ready(row, model.walks[step + 1], 0)) step += 1;
      explained(row, step, now, 200);
    };

    /** Draw what so many walks say, and take more of them later. @param {Float32Array} row @param {number} step @param {number} now @param {number} wait */
    const explained = (row, step, now, wait) => {
      const found = model.explain(row, model.walks[step]);
      draw(found);
      if (step + 1 < model.walks.length && !exact(found)) setTimeout(() => refine(row, step + 1, now), wait);
    };

    /** @param {Float32Array} row @param {number} step @param {number} now */
    const refine = (row, step, now) => {
      if (now !== turn || !box.isConnected) return;
      if (model.ready(row, model.walks[step], SLICE)) explained(row, step, now, 60);
      else setTimeout(() => refine(row, step, now));
    };

    const exact = (/** @type {any} */ found) => {
      const outputs = found.prediction.length;
      return model.players.every((/** @type {string} */ _, /** @type {number} */ p) => found.errors[p * outputs + output] <= EXACT * model.range[Math.min(output, model.range.length - 1)]);
    };

    /** @param {any} found */
    const draw = (found) => {
      const outputs = found.prediction.length;
      const predicted = model.network.predicted(found.outputs);
      const name = classes ? classes[output] : "the prediction";
      const [was, is] = [original.predicted[output], predicted[output]];
      const changed = Object.keys(changes).length;
      const best = model.network.decided(predicted), before = model.network.decided(original.predicted);
      result.replaceChildren(
        Page.element("strong", {}, classes ? `Probability of ${name}: ${Charts.percent(is)}` : `Prediction: ${Charts.measured(is, 4)}`),
        changed ? ` (was ${classes ? Charts.percent(was) : Charts.measured(was, 4)})` : "",
        ".", classes ? ` ${decision(classes[best], changed ? classes[before] : "")}.` : "",
      );
      const scale = classes ? 100 : 1, unit = classes ? " percentage points" : "";
      const row = { ...changes };
      const told = (/** @type {string} */ player) => {
        const [source, part] = model.dated[player] ?? [player, ""];
        const column = model.columns.find((/** @type {any} */ one) => one.name === source);
        if (!column) return player;
        const cell = source in row ? row[source] : cellOf(column, place);
        if (part) return `${player} = ${partWords(column, part, cell)}`;
        return `${column.label} = ${cell === OTHER && !(player in row) ? writtenIn(column, content.rows[place]) : inShort(column.form, cell)}`;
      };
      const steps = Rows.strongest(model.players.map((/** @type {string} */ player, /** @type {number} */ p) => ({
        name: told(player), value: scale * found.values[p * outputs + output], error: SURE * scale * (found.whole[p * outputs + output] || 0),
      })));
      const label = classes ? `probability of ${name} (%)` : "prediction";
      const [start, end] = [scale * found.base[output], scale * found.prediction[output]];
      const ends = { startName: "typical rows", endName: changed ? "changed row" : "this row" };
      const drawing = Rows.drawSteps({ start, end, steps, label, ...ends });
      table = [["feature", label], [ends.startName, start], ...steps.map((/** @type {any} */ step) => [step.name, step.value]), [ends.endName, end]];
      const top = steps[0];
      const [size, error] = [Math.abs(top?.value ?? 0), top?.error || 0];
      // An error of rounding says nothing.
      const sureness = error > 1e-6 * size ? ` (±\u00a0${Charts.write(error, 2)})` : "";
      const moved = () => `The strongest is ${top.name}: it moves ${classes ? `the probability of ${name}` : name} ${top.value >= 0 ? "up" : "down"} by ${Charts.write(size)}${unit}${sureness}. `;
      const first = size > error && top.name !== "all other features" ? moved() : "No single feature stands out. ";
      // The error after one walk for each background row also holds how these rows differ.
      const sure = `Whiskers are 95 % intervals of the sampling error${found.compared < model.shares.donors.length ? " of a first estimate, which is being refined" : ""}.`;
      const caption = `${first}The bars are Shapley values. They add up from the mean prediction${model.result.calibration ? ", before calibration," : ""} of ${found.compared} typical training rows to ${ends.endName}. ${sure}`;
      const [plot, line] = [picture.querySelector(".plot"), picture.querySelector("figcaption")];
      plot?.replaceChildren(drawing);
      if (line) line.textContent = caption;
      else picture.append(Page.figure({ anchor: `rows/${content.rows[place]}/parts`, drawing, caption, rows: () => table }));
      box.dataset.walks = String(found.walks);
    };

    if (classes && classes.length > 2) {
      const select = /** @type {HTMLSelectElement} */ (Page.element("select", { id: "what-if-class", change: () => {
        output = Number(select.value);
        update();
      } }, ...classes.map((/** @type {string} */ name, /** @type {number} */ at) => Page.element("option", { value: at }, name))));
      select.value = String(output);
      box.append(Page.element("p", {}, Page.element("label", { for: "what-if-class" }, "Class explained "), select));
    }
    const fold = /** @type {HTMLDetailsElement} */ (Page.element("details", { class: "what-if-fold", open },
      Page.element("summary", {}, "What if? Change this row"), inputs, further > 0 ? more : "", Page.element("p", {}, reset)));
    const ways = Alternatives.panel({
      model, place, predicted: original.predicted, cellOf, words: (column, cell) => words(column.form, cell), other: OTHER,
      fill: (found) => { fold.open = true; undo(found); },
    });
    fold.addEventListener("toggle", () => { open = fold.open; });
    box.append(Page.element("div", { class: "what-if" }, result, picture, ways, fold));
    if (mine === turn) update();
  };

  /** What Python computed of a row, in the place of what this page would, or null. @param {any} content @param {number} place @param {any} before */
  const computedOf = (content, place, before) => {
    const at = content.computed ? content.computed.rows.indexOf(place) : -1;
    if (at < 0) return null;
    const part = (/** @type {any} */ all) => {
      const numbers = Page.unpack(all), each = numbers.length / content.computed.rows.length;
      return numbers.slice(at * each, (at + 1) * each);
    };
    const errors = part(content.computed.errors);
    return { ...before, values: part(content.computed.values), errors, whole: errors, base: part(content.computed.base),
      walks: 0, compared: model.shares.donors.length };
  };

  /** The predicted class in words, and the one before a change. @param {string} now @param {string} was */
  const decision = (now, was) => {
    if (!was) return `Predicted: ${now}`;
    return now === was ? `Still predicted: ${now}` : `Now predicted: ${now}, was ${was}`;
  };

  /** The class explained first: the positive one of two, else the most probable one. @param {any} before @param {string[]} classes @param {any} content */
  const startOutput = (before, classes, content) => {
    if (classes.length === 2) return content.positive ?? 1;
    return before.prediction.indexOf(Math.max(...before.prediction));
  };

  /** Whether the reader has unfolded the inputs, which stay so from row to row. */
  let open = false;

  /**
   * Explain a row in its page, if it is one of those that can be changed.
   * @param {HTMLElement} box @param {number} number the row's number in its file @param {any} [content]
   */
  const explain = (box, number, content = Page.data("rows").whatIf) => {
    const place = content?.form ? content.rows.indexOf(number) : -1;
    return place >= 0 && show(box, place, content);
  };

  return { OTHER, cellOf, decision, explain, loaded, show };
})();

Rows.explainBy((box, row, rows) => WhatIf.explain(box, rows.numbers[row]));
