"use strict";

/**
 * The page: its tabs, links into them (`#rows/17`), the data of each tab, and what can be taken away of a figure.
 * Without this script all tabs are shown one below the other.
 *
 * A tab's script registers what it draws:
 *
 *     Page.tab("rows", {
 *       live: { explorer(box, data) { box.append(...); } },  // fills <div data-live="explorer">, once
 *       open(path, data) { ... },                            // called with "17" for the link #rows/17
 *       reveal(anchor) { ... },                              // a link to a section: true if it showed something better
 *     });
 *
 * `box` is empty and `data` is what the tab's `data` function returned in Python. A view that returns false
 * leaves nothing in its place. Scripts never write data as HTML: use `Page.element` and `Charts.node`.
 *
 * @typedef {{live?: Record<string, (box: HTMLElement, data: any) => (void|false)>,
 *   open?: (path: string, data: any) => void, reveal?: (anchor: string) => boolean}} TabScript
 */
const Page = (() => {
  /** @type {Map<string, TabScript>} */
  const scripts = new Map();
  /** @type {Record<string, any>|null} */
  let content = null;

  /** The data of a tab, or an empty object. @param {string} name */
  const data = (name) => content?.[name] ?? {};

  /** The bytes of a text in base64. @param {string} text */
  const bytes = (text) => {
    const letters = atob(text), made = new Uint8Array(letters.length);
    for (let at = 0; at < made.length; at++) made[at] = letters.charCodeAt(at);
    return made;
  };

  /** Read the data of the page, which are compressed. */
  const read = async () => {
    const stream = new DecompressionStream("deflate"), writer = stream.writable.getWriter();
    writer.write(bytes(document.getElementById("page-data")?.textContent ?? ""));
    writer.close();
    return new Response(stream.readable).json();
  };

  const ARRAYS = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array };

  /**
   * Turn what `page_data.packed` wrote into a typed array. Rows come one after the other, as `shape` says. The text has
   * the first bytes of all numbers, then the second ones.
   * @param {{type: "f4"|"f8"|"i4"|"u1"|"u2", shape: number[], base64: string}} packed
   */
  const unpack = (packed) => {
    const planes = bytes(packed.base64), numbers = new Uint8Array(planes.length);
    const size = ARRAYS[packed.type].BYTES_PER_ELEMENT, count = planes.length / size;
    for (let at = 0; at < count; at++) {
      for (let byte = 0; byte < size; byte++) numbers[at * size + byte] = planes[byte * count + at];
    }
    return new ARRAYS[packed.type](numbers.buffer);
  };

  /**
   * Make an HTML element. Attributes that are null or false are left out, true ones are empty, and functions are
   * listeners: `{click: () => …}`. Texts become text nodes.
   * @param {string} name
   * @param {Record<string, any>} [attributes]
   * @param {...(Node|string)} children
   * @returns {HTMLElement}
   */
  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") made.addEventListener(key, value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : String(value));
    }
    made.append(...children);
    return made;
  };

  /** A text with places where it may be broken: behind signs, and before a capital inside a word. @param {string} words */
  const breakable = (words) =>
    words.split(/(?<=[_.=/])|(?<=[a-z\d])(?=[A-Z]\S)/).flatMap((part, at) => (at ? [document.createElement("wbr"), part] : [part]));

  // ---- files to take away -------------------------------------------------------------------------------------------
  const FORMULA = /^(?![=+\-@\t\r\n＝＋－＠]$|[+-](?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$)'*[=+\-@\t\r\n＝＋－＠]/;

  /** Write rows as CSV. Texts that a spreadsheet would take for formulas are quoted. @param {any[][]} rows */
  const csv = (rows) => {
    const cell = (/** @type {any} */ value) => {
      if (value === null || value === undefined || Number.isNaN(value)) return "";
      if (typeof value === "number") return String(value);
      const words = FORMULA.test(String(value)) ? `'${value}` : String(value);
      return /[",\r\n]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words;
    };
    return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
  };

  /** Let the reader save a file. @param {string} name @param {Blob} blob */
  const save = (name, blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(/** @type {HTMLAnchorElement} */ (link).href), 10000);
  };

  /** Let the reader save rows as CSV. @param {string} name @param {any[][]} rows */
  const saveRows = (name, rows) => save(`${name}.csv`, new Blob([`\ufeff${csv(rows)}`], { type: "text/csv" }));

  const LOOKS = [
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity",
    "font-family", "font-size", "font-weight", "text-anchor", "visibility", "display", "stop-color", "paint-order",
  ];

  /** A picture complete in itself: with the page's fonts, and colours instead of variables. @param {SVGElement} svg */
  const standalone = (svg) => {
    const copy = /** @type {SVGElement} */ (svg.cloneNode(true));
    const box = svg.getAttribute("viewBox")?.split(/[\s,]+/).map(Number) ?? [0, 0, svg.clientWidth, svg.clientHeight];
    const [before, after] = [svg, copy].map((root) => [root, ...root.querySelectorAll("*")]);
    before.forEach((old, at) => {
      const looks = getComputedStyle(old);
      const style = LOOKS.map((name) => `${name}:${looks.getPropertyValue(name)}`).join(";");
      after[at].setAttribute("style", style);
      for (const name of ["fill", "stroke"]) after[at].removeAttribute(name);
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", String(box[2]));
    copy.setAttribute("height", String(box[3]));
    const paper = getComputedStyle(document.body).backgroundColor;
    copy.prepend(Charts.node("rect", { x: box[0], y: box[1], width: box[2], height: box[3], fill: paper }));
    return { markup: new XMLSerializer().serializeToString(copy), width: box[2], height: box[3] };
  };

  /** Draw a picture as PNG, with `times` pixels per CSS pixel. @param {string} address */
  const png = (address, width = 0, height = 0, times = 2) =>
    new Promise((done, fail) => {
      const image = new Image();
      image.addEventListener("load", () => {
        const canvas = document.createElement("canvas");
        canvas.width = (width || image.naturalWidth) * times;
        canvas.height = (height || image.naturalHeight) * times;
        canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
        canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("no picture"))), "image/png");
      });
      image.addEventListener("error", () => fail(new Error("no picture")));
      image.src = address;
    });

  /** The address of a place of this page. @param {string} anchor */
  const address = (anchor) => `${location.href.split("#")[0]}#${encodeURIComponent(anchor).replaceAll("%2F", "/")}`;

  /**
   * Put links under a figure: to the figure itself, its picture (PNG, SVG), and its numbers (CSV).
   * @param {HTMLElement} figure
   * @param {{anchor: string, rows?: () => any[][]}} about  `rows` with headings first
   */
  const tools = (figure, about) => {
    if (figure.querySelector(":scope > .tools")) return;
    const drawing = () => /** @type {SVGElement|HTMLImageElement|null} */ (figure.querySelector(".plot svg, .plot img"));
    const name = about.anchor.replace(/[^\w.-]+/g, "-");
    const say = element("span", { class: "done", role: "status" });
    const button = (/** @type {string} */ words, /** @type {string} */ title, /** @type {() => any} */ work) =>
      element("button", {
        type: "button", title, "aria-label": `${title}`,
        click: async () => {
          say.textContent = "";
          try {
            say.textContent = (await work()) ?? "";
          } catch {
            say.textContent = "This browser cannot do that.";
          }
        },
      }, words);
    const bar = element("div", { class: "tools" });
    bar.append(button("Link", "Copy a link to this figure", async () => {
      const link = address(about.anchor);
      history.replaceState(null, "", link);
      try {
        await navigator.clipboard.writeText(link);
        return "Link copied.";
      } catch {
        return "The link is in the address bar.";
      }
    }));
    const picture = drawing();
    if (picture instanceof SVGElement) {
      bar.append(
        button("PNG", "Save this figure as a picture (PNG)", async () => {
          const { markup, width, height } = standalone(/** @type {SVGElement} */ (drawing()));
          save(`${name}.png`, await png(`data:image/svg+xml;charset=utf-8,${encodeURIComponent(markup)}`, width, height));
        }),
        button("SVG", "Save this figure as a drawing (SVG)", () =>
          save(`${name}.svg`, new Blob([standalone(/** @type {SVGElement} */ (drawing())).markup], { type: "image/svg+xml" }))),
      );
    } else if (picture) {
      bar.append(button("PNG", "Save this figure as a picture (PNG)", async () =>
        save(`${name}.png`, await png(/** @type {HTMLImageElement} */ (picture).src))));
    }
    const rows = about.rows;
    if (rows) {
      bar.append(button("CSV", "Save the numbers of this figure (CSV)", () =>
        saveRows(name, rows())));
    }
    bar.append(say);
    figure.append(bar);
  };

  /**
   * A figure with its sentence and its links.
   * @param {{anchor: string, drawing: Node, caption: string, rows?: () => any[][]}} about
   */
  const figure = (about) => {
    const made = element("figure", { id: about.anchor },
      element("div", { class: "plot", tabindex: "0", role: "group", "aria-label": "Figure, scrolls sideways on narrow screens" }, about.drawing),
      element("figcaption", {}, about.caption));
    tools(made, about);
    return made;
  };

  /** Draw again when the width of charts changes, as when a phone is turned. @param {() => void} again */
  const resized = (again) => {
    let last = Charts.wide(900);
    addEventListener("resize", () => {
      if (Charts.wide(900) === last) return;
      last = Charts.wide(900);
      again();
    });
  };

  // ---- tabs ---------------------------------------------------------------------------------------------------------
  const panels = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-tab]")]);

  /** Draw what is not drawn yet in a panel, once the data are there. @param {HTMLElement} panel */
  const fill = (panel) => {
    if (!content) return;
    const name = panel.dataset.tab ?? "";
    for (const place of /** @type {NodeListOf<HTMLElement>} */ (panel.querySelectorAll("[data-live]:not([data-drawn])"))) {
      const draw = scripts.get(name)?.live?.[place.dataset.live ?? ""];
      if (!draw) continue;
      place.dataset.drawn = "no";
      const box = element("div", { class: "lively" });
      place.append(box);
      try {
        if (draw(box, data(name)) === false) box.remove();
        else place.dataset.drawn = "yes";
      } catch (problem) {
        box.replaceChildren(element("p", {}, "This browser cannot draw this part."));
        console.error(problem);
      }
    }
  };

  /** Show a tab. @param {string} name */
  const select = (name) => {
    for (const panel of panels()) {
      const chosen = panel.dataset.tab === name;
      // Hidden panels are still searched by the browser, see "beforematch".
      if (chosen) panel.removeAttribute("hidden");
      else panel.setAttribute("hidden", "until-found");
      const tab = document.getElementById(`tab-${panel.dataset.tab}`);
      tab?.setAttribute("aria-selected", String(chosen));
      tab?.setAttribute("tabindex", chosen ? "0" : "-1");
      if (chosen) fill(panel);
    }
  };

  /** Show what the address names: a tab, a place in a tab, or a tab and what its script calls by that name. */
  const follow = (jump = true) => {
    const all = panels();
    if (!all.length) return;
    let words = location.hash.slice(1);
    try {
      words = decodeURIComponent(words);
    } catch {
      // An address that is not well-formed names nothing.
    }
    const [name, ...rest] = words.split("/");
    const panel = all.find((one) => one.dataset.tab === name);
    if (panel) {
      select(name);
      if (rest.length && content) scripts.get(name)?.open?.(rest.join("/"), data(name));
      return;
    }
    let place = words ? document.getElementById(words) : null;
    const inside = place?.closest("[data-tab]");
    if (inside instanceof HTMLElement) {
      select(inside.dataset.tab ?? "");
      for (let fold = place?.closest("details"); fold; fold = fold.parentElement?.closest("details")) fold.open = true;
      if (jump && !(content && scripts.get(inside.dataset.tab ?? "")?.reveal?.(words))) place?.scrollIntoView();
      return;
    }
    if (content && words && words !== "main") {
      // The place may be in a view that is drawn when its tab is first shown.
      for (const one of all) fill(one);
      place = document.getElementById(words);
      if (place?.closest("[data-tab]")) {
        follow(jump);
        return;
      }
    }
    if (!all.some((one) => !one.hasAttribute("hidden")) || !document.querySelector("[aria-selected=true]")) {
      select(all[0].dataset.tab ?? "");
    }
  };

  /** Go to a tab, and to what its script calls by `path`. The reader can go back. */
  const go = (/** @type {string} */ name, path = "") => {
    const anchor = path ? `${name}/${path}` : name;
    if (address(anchor) !== location.href) history.pushState(null, "", address(anchor));
    follow();
    const bar = document.querySelector("nav.tabs");
    if (bar && bar.getBoundingClientRect().top <= 0) {
      scrollTo({ top: scrollY + (document.getElementById("main")?.getBoundingClientRect().top ?? 0) - bar.clientHeight });
    }
  };

  /** Say of what is wider than its place that it can be scrolled, and fade its edge as long as it continues. */
  const hint = () => {
    const wide = new ResizeObserver((entries) => entries.forEach((entry) => fade(/** @type {HTMLElement} */ (entry.target))));
    const fade = (/** @type {HTMLElement} */ one) => {
      one.classList.toggle("wider", one.clientWidth < one.scrollWidth - 4);
      one.classList.toggle("further", one.scrollLeft + one.clientWidth < one.scrollWidth - 4);
      one.classList.toggle("deeper", one.scrollTop + one.clientHeight < one.scrollHeight - 4);
    };
    const seen = new WeakSet();
    const look = () => {
      for (const one of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".plot, .table"))) {
        fade(one);
        if (seen.has(one)) continue;
        seen.add(one);
        wide.observe(one);
        one.addEventListener("scroll", () => fade(one), { passive: true });
      }
    };
    let due = 0;
    new MutationObserver(() => {
      cancelAnimationFrame(due);
      due = requestAnimationFrame(look);
    }).observe(document.body, { childList: true, subtree: true });
    look();
  };

  /** Turn the list of contents into tabs. */
  const build = () => {
    const list = document.querySelector("nav.tabs ol");
    if (!list) return;
    document.documentElement.classList.add("tabbed");
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", "Parts of the report");
    const links = /** @type {HTMLAnchorElement[]} */ ([...list.querySelectorAll("a")]);
    links.forEach((link, at) => {
      const name = link.hash.slice(1);
      link.parentElement?.setAttribute("role", "presentation");
      for (const [key, value] of Object.entries({ role: "tab", id: `tab-${name}`, "aria-controls": name })) link.setAttribute(key, value);
      link.addEventListener("click", (event) => {
        event.preventDefault();
        go(name);
      });
      link.addEventListener("keydown", (event) => {
        /** @type {Record<string, number>} */
        const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: links.length - 1, " ": at };
        if (!(event.key in moves)) return;
        event.preventDefault();
        const next = links[(moves[event.key] + links.length) % links.length];
        next.focus();
        go(next.hash.slice(1));
      });
    });
    for (const panel of panels()) {
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", `tab-${panel.dataset.tab}`);
      panel.addEventListener("beforematch", () => go(panel.dataset.tab ?? ""));
    }
    // Links into other tabs. The browser's own way would stop at the section, before the tab is drawn.
    document.getElementById("main")?.addEventListener("click", (event) => {
      const link = event.target instanceof Element ? /** @type {HTMLAnchorElement|null} */ (event.target.closest('a[href^="#"]')) : null;
      if (!link) return;
      event.preventDefault();
      history.pushState(null, "", link.href);
      follow();
    });
    addEventListener("hashchange", () => follow());
    // Back to an address that names nothing is back to the first tab.
    addEventListener("popstate", () => (location.hash ? follow() : select(panels()[0]?.dataset.tab ?? "")));
    follow();
  };

  /** Register what a tab draws. @param {string} name @param {TabScript} script */
  const tab = (name, script) => {
    const before = scripts.get(name);
    scripts.set(name, { ...before, ...script, live: { ...before?.live, ...script.live } });
  };

  /** @type {Promise<void>|null} */
  let started = null;

  /** Show the tabs, and what their scripts draw as soon as the data are there. Later calls wait for the first. */
  const start = () => (started ??= open());
  const open = async () => {
    build();
    for (const text of document.querySelectorAll("pre.paste")) {
      const copy = () => {
        getSelection()?.selectAllChildren(text);
        document.execCommand("copy"); // works in files, too
      };
      text.after(element("div", { class: "tools" }, element("button", { type: "button", click: copy }, "copy")));
    }
    try {
      content = await read();
    } catch (problem) {
      console.error(problem); // what stands in the page remains
      return;
    }
    for (const cell of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("td.text, td.short"))) {
      const dated = (cell.textContent ?? "").split(/(\d{4}-\d{2}-\d{2})/);
      if (dated.length > 1) cell.replaceChildren(...dated.map((words, at) => (at % 2 ? element("span", { class: "whole" }, words) : words)));
      if (dated.length > 1 || !/[^\s]{14}/.test(cell.textContent ?? "")) continue;
      cell.classList.add("parted");
      cell.replaceChildren(...breakable(cell.textContent ?? ""));
    }
    const described = data("figures");
    for (const one of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("figure[id]"))) {
      const own = one.querySelector(".plot script")?.textContent;
      const figured = own ? JSON.parse(own) : described[one.id];
      const draw = () => {
        try {
          const plot = one.querySelector(".plot");
          plot?.replaceChildren(Figures.draw(figured, plot.clientWidth));
        } catch (problem) {
          console.error(problem); // its words remain
        }
      };
      if (figured) {
        draw();
        resized(draw);
      }
      tools(one, { anchor: one.id, rows: figured ? () => Figures.rows(figured) : undefined });
    }
    addEventListener("beforeprint", () => {
      for (const panel of panels()) fill(panel);
      for (const fold of document.querySelectorAll("details")) fold.open = true;
    });
    if (panels().length) follow();
    hint();
  };

  return { address, breakable, csv, data, element, figure, go, png, resized, saveRows, select, standalone, start, tab, tools, unpack };
})();
