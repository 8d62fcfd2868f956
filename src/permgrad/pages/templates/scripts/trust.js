"use strict";

/** The tab Trust: the scores of groups of rows, by any feature. Links such as #trust/age choose a feature. */
const Trust = (() => {
  const { measured, percent, shorten } = Charts;
  const { element, figure } = Page;
  const { field, choice, intervals, redraw, table } = Panels;
  /** @type {(name: string) => void} */
  let choose = () => {};

  /** What a group's numbers say. @param {any} group @param {(value: number|null) => string} say */
  const sentence = (group, say) =>
    `${group.group}: ${say(group.score)} (${say(group.low)} to ${say(group.high)}), ${group.rows.toLocaleString("en-US")} rows`;

  /** Why a group with a worse score is not clearly worse. @param {any} group */
  const why = (group) => {
    if (group.p_adjusted === null) return "too few rows or events to tell";
    return group.p_adjusted < 0.05 ? "as expected there, or less than 10 % above" : "as expected there, or chance";
  };

  /** The panel of groups. @param {HTMLElement} box @param {any} data */
  const segments = (box, data) => {
    const features = /** @type {any[]} */ (data.features ?? []);
    if (!features.length) return false;
    const share = data.score === "accuracy";
    const say = share ? percent : (/** @type {number|null} */ value) => measured(value);
    const label = share ? "accuracy" : "mean absolute error";
    let feature = features[0];
    const names = features.map((one) => {
      const worse = one.groups.filter((/** @type {any} */ group) => group.worse).length;
      return worse ? `${one.name} (${worse} clearly worse)` : one.name;
    });
    const list = choice(names, (at) => { feature = features[at]; show(); });
    const few = features.length < data.all ? ` ${features.length} of ${data.all.toLocaleString("en-US")} features are listed.` : "";
    const keys = ["group", "rows", "score", "low", "high", "rest", "p_adjusted", "observed", "predicted", "recall", "false_alarms"];
    const rows = () => [
      ["feature", "group", "rows", label, "interval from", "to", "other rows", "adjusted p", "observed", "predicted", "recall", "false alarms"],
      ...features.flatMap((one) => one.groups.map((/** @type {any} */ group) => [one.name, ...keys.map((key) => group[key] ?? null)])),
    ];
    const draw = () => intervals(
      feature.groups.map((/** @type {any} */ group) => ({
        name: group.group, value: group.score, low: group.low, high: group.high, marked: group.worse, title: sentence(group, say),
      })),
      {
        description: `${label} by ${feature.name}: ${feature.groups.map((/** @type {any} */ group) => sentence(group, say)).join(". ")}.`,
        label, write: share ? percent : Charts.write, line: data.overall, lineName: "all rows", width: 440,
      },
    );
    const shown = figure({ anchor: "trust-segments", drawing: draw(), caption: "", rows });
    const words = element("p", { role: "status" });
    const numbers = element("div", { class: "larger" });
    const p = (/** @type {number|null} */ value) => (value === null ? "not tested" : value < 0.001 ? "< 0.001" : value.toFixed(3));
    const show = () => {
      const worse = feature.groups.filter((/** @type {any} */ group) => group.worse);
      words.textContent = worse.length
        ? `Clearly worse: ${worse.map((/** @type {any} */ group) => `${feature.name} ${sentence(group, say)}, against ${say(group.rest)} on the other rows`).join("; ")}.`
        : feature.groups.every((/** @type {any} */ group) => group.p_adjusted === null)
          ? `No group of ${feature.name} has enough rows and events to tell whether it is worse.`
          : `No group of ${feature.name} is clearly worse than the other rows.`;
      const doubtful = feature.groups.filter((/** @type {any} */ group) => !group.worse && say(group.score) !== say(group.rest) && (share ? group.score < group.rest : group.score > group.rest));
      if (doubtful.length) {
        words.textContent += ` ${share ? "Lower" : "Larger"}, but not clearly: ${doubtful.map((/** @type {any} */ group) =>
          `${group.group} (${say(group.score)} against ${say(group.rest)}: ${why(group)})`).join(", ")}.`;
      }
      const copies = feature.groups.filter((/** @type {any} */ group) => group.same_as);
      if (copies.length) words.textContent += ` The same rows: ${copies.map((/** @type {any} */ group) => `${group.group} and ${group.same_as.join(" ")}`).join(", ")}.`;
      redraw(shown, draw(), `The ${label} with 95 % intervals, by ${feature.name}. Red and bold: clearly worse.${few}`);
      const outcome = data.positive === null ? data.target : `${data.positive}`;
      const heads = ["group", "rows", label, "other rows", "adjusted p"];
      const has = feature.groups.some((/** @type {any} */ group) => group.observed !== undefined);
      const rates = feature.groups.some((/** @type {any} */ group) => group.recall !== undefined);
      if (has) heads.push(share ? `are ${shorten(outcome, 14)}` : `mean ${shorten(outcome, 14)}`, "mean prediction");
      if (rates) heads.push("found", "false alarms");
      numbers.replaceChildren(table(`Groups of ${feature.name}.`, heads, feature.groups.map((/** @type {any} */ group) => [
        group.group, group.rows.toLocaleString("en-US"), say(group.score), say(group.rest), p(group.p_adjusted),
        ...(has ? [say(group.observed ?? null), say(group.predicted ?? null)] : []),
        ...(rates ? [percent(group.recall ?? null), percent(group.false_alarms ?? null)] : []),
      ])));
    };
    choose = (name) => {
      const at = features.findIndex((one) => one.name === name);
      if (at < 0) return;
      list.value = String(at);
      feature = features[at];
      show();
      box.scrollIntoView();
    };
    box.append(element("div", { class: "controls" }, field("Divide the test rows by", list)), words, element("div", { class: "pair" }, shown, numbers));
    show();
    Panels.follow(show);
    return undefined;
  };

  return { segments, sentence, open: (/** @type {string} */ name) => choose(name) };
})();

Page.tab("trust", { live: { segments: Trust.segments }, open: Trust.open });
