"use strict";

/** Images of rows with their 4 × 4 patches, in the tabs Rows and Features. */
const Photos = (() => {
  const { write } = Charts;
  const { element } = Page;

  /** An image with patches over it. @param {string} image JPEG in base64 @param {string} alt @param {(at: number) => HTMLElement} [made] makes a patch */
  const patched = (image, alt, made) => element("div", { class: "patched" }, element("img", { src: `data:image/jpeg;base64,${image}`, alt }),
    element("div", {}, ...(made ? Array.from({ length: 16 }, (_, at) => made(at)) : [])));

  /** An image with patches on the colour of their values. @param {string} image @param {string} alt @param {number[]} values @param {(at: number) => string} words */
  const tinted = (image, alt, values, words) => {
    const top = Math.max(...values.map(Math.abs), 1e-12);
    const box = patched(image, alt, (at) => {
      const patch = element("span", { title: `${placeOf(at)}: ${words(at)}` });
      patch.style.background = `color-mix(in srgb, var(--${values[at] >= 0 ? "positive" : "negative"}) ${Math.round((Math.abs(values[at]) / top) * 65)}%, transparent)`;
      return patch;
    });
    box.classList.add("tinted");
    return box;
  };

  /** The place of a patch in words. @param {number} at */
  const placeOf = (at) => `row ${Math.floor(at / 4) + 1}, column ${(at % 4) + 1}`;

  /** An image of a row, and once more with the parts of its patches where these were computed. @param {any} rows @param {number} row @param {any} column */
  const ofRow = (rows, row, column) => {
    const parts = rows.patches.find((/** @type {any} */ one) => one.row === row && one.name === column.name);
    const alt = `${column.name} of this row`, images = [patched(column.photo(row), alt)];
    let words = column.text(row);
    if (parts) {
      images.push(tinted(column.photo(row), `Patches of ${alt}`, parts.values, (at) => write(parts.values[at])));
      const sum = write(parts.values.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b, 0));
      words += `. Patches on the colour of their part of ${parts.about}: blue moves it up, orange down. Point at a patch for its part. They add up to ${sum}, what the image does against those of training rows. Largest standard error of a patch: ${write(parts.error, 2)}.`;
    }
    return element("figure", { class: "photo" }, element("h4", {}, column.name), element("div", { class: "beside" }, ...images), element("figcaption", {}, words));
  };

  /** What the places of images do, over their mean. @param {any} data @param {any} card @param {number} output @param {(value: number) => string} say */
  const places = (data, card, output, say) => {
    const effects = [...card.effects].sort((a, b) => a.level - b.level), values = effects.map((one) => one.effect[output]);
    const what = data.classes ? `the probability of ${data.classes[output]}` : data.target;
    const words = (/** @type {number} */ at) => `${say(values[at])} (95\u00a0% interval ${say(effects[at].low[output])} to ${say(effects[at].high[output])})`;
    const best = values.reduce((top, value, at) => (Math.abs(value) > Math.abs(values[top]) ? at : top), 0);
    const alt = `The mean image of ${card.name}`;
    return element("figure", { class: "photo" }, element("div", { class: "beside" }, patched(card.picture, alt), tinted(card.picture, `Places of ${alt}`, values, words)), element("figcaption", {},
      `The mean image of ${card.name}. Colours: what each place does to ${what}, which is the mean prediction minus that with the place covered by the image's mean colour, in ${effects[0].rows} test rows. Blue moves it up, orange down. ` +
      `Strongest: ${placeOf(best)} with ${words(best)}. ${effects.filter((one) => one.clear[output]).length} of 16 places have an adjusted p below 0.05. Point at a place for its effect.`));
  };

  /** The images with the smallest and the largest scores. @param {any} card */
  const examples = (card) => card.examples.map((/** @type {{name: string, low: string[], high: string[]}} */ { name, low, high }) => {
    const some = (/** @type {string[]} */ images) => element("div", { class: "beside" }, ...images.map((image) => patched(image, "")));
    return element("figure", { class: "photo" }, some(high), element("figcaption", {}, `The images of ${card.name} that speak most for ${name}, among test rows.`),
      some(low), element("figcaption", {}, `And those that speak least for it.`));
  });

  return { examples, ofRow, patched, placeOf, places };
})();
