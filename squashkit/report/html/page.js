"use strict";
(() => {
  const images = JSON.parse(document.getElementById("data").textContent);
  const colours = ["#77aadd", "#ee8866", "#eedd88", "#ffaabb", "#99ddff", "#44bb99", "#bbcc33", "#aaaa00", "#dddddd"];
  const shapes = ["", "/", "\\", "x", "-", "|", "+", "."];
  const config = { displayModeBar: false, responsive: false, displaylogo: false };
  const drawn = new Map();

  // plotly reads tags and entities in its texts: none of an image's names may be one.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const cut = (text, width) => (text.length <= width ? text : text.slice(0, width - 1) + "…");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function element(tag, text, attributes) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    return made;
  }

  function sizeText(value) {
    const units = ["B", "KB", "MB", "GB", "TB", "PB"];
    let at = 0;
    while (value >= 999.5 && at < units.length - 1) { value /= 1000; at += 1; }
    return `${at && value < 9.95 && value % 1 ? value.toFixed(1) : value.toFixed(0)} ${units[at]}`;
  }

  // Layouts

  function layout(more) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false,
      font: { family: "system-ui, sans-serif", size: 13, color: style("--text") },
      hoverlabel: { align: "left", font: { size: 13, color: style("--text") }, bgcolor: style("--chip"), bordercolor: style("--dim") },
      ...more,
    };
  }

  function ticks(most, number) {
    let step = Math.pow(10, Math.max(0, Math.floor(Math.log10(most / number))));
    for (const factor of [1, 2, 5, 10]) {
      if (most / (step * factor) <= number) { step *= factor; break; }
    }
    const values = [];
    for (let at = 0; at <= most; at += step) values.push(at);
    return { tickvals: values, ticktext: values.map(sizeText) };
  }

  function drawBars(place) {
    const { layers, base } = images[place.dataset.image];
    const width = place.clientWidth, isNarrow = width < 560;
    const room = isNarrow ? 15 : Math.floor(width * 0.3 / 7);
    const most = Math.max(1, ...layers.map((one) => one.shown + one.dead));
    const rows = layers.map((_, index) => index);
    const text = layers.map((one, index) =>
      `layer ${index}: ${plain(cut(one.step, isNarrow ? 40 : 90))}<br>files: ${one.texts[2]}<br>` +
      `containers see: ${one.texts[0]}<br>dead: ${one.texts[1]}`);
    const bar = (name, key, marker) => ({
      type: "bar", orientation: "h", name, y: rows, x: layers.map((one) => one[key]), marker,
      hovertext: text, hoverinfo: "text",
    });
    const tells = layers.map((one, index) => ({
      x: one.shown + one.dead, y: index, xanchor: "left", showarrow: false, font: { size: 12 },
      text: one.dead ? `${one.texts[2]}, ${one.texts[1]} dead` : one.texts[2],
    }));
    const line = base && base < layers.length
      ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: base - 0.5, y1: base - 0.5, line: { dash: "dash", width: 1.5, color: style("--dim") } }]
      : [];
    const note = line.length
      ? [{ xref: "paper", x: 1, xanchor: "right", y: base - 0.5, yanchor: "bottom", showarrow: false, text: "above this line: the base", font: { size: 11, color: style("--dim") } }]
      : [];
    Plotly.react(place, [
      bar("containers see it", "shown", { color: style("--shown") }),
      bar("dead", "dead", { color: style("--dead"), pattern: { shape: "/", fillmode: "replace", bgcolor: style("--dead"), fgcolor: style("--panel"), size: 7, solidity: 0.2 } }),
    ], layout({
      barmode: "stack", bargap: 0.3, annotations: [...tells, ...(isNarrow ? [] : note)], shapes: line,
      height: (isNarrow ? 100 : 84) + layers.length * 30, width,
      margin: { l: 10, r: 10, t: isNarrow ? 52 : 36, b: 36 },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal" },
      xaxis: {
        range: [0, most * (isNarrow ? 1.75 : 1.25)], fixedrange: true, gridcolor: style("--line"), zeroline: false,
        ...ticks(most, isNarrow ? 2 : 5),
      },
      yaxis: {
        range: [layers.length - 0.5, -0.5], fixedrange: true, automargin: true, tickvals: rows, ticklabelstandoff: 6,
        ticktext: layers.map((one, index) => `${index}  ${plain(cut(one.step, room))}`),
      },
    }), config);
  }

  // A tree is shown from one of its directories on, the same in the picture and in the list.

  class Tree {
    constructor(section) {
      this.place = section.querySelector(".chart");
      this.crumbs = section.querySelector(".crumbs");
      this.rows = section.querySelector(".rows");
      this.status = section.querySelector(".status");
      this.image = images[this.place.dataset.image];
      this.data = this.image[this.place.dataset.chart];
      this.level = 0;
      this.below = this.data.parents.map(() => []);
      this.data.parents.forEach((parent, node) => { if (parent >= 0) this.below[parent].push(node); });
      this.tell();
    }

    // Everything of a node's layers in words.
    layers(node) {
      const most = this.data.layers[node];
      return most.map(([layer, size]) => (most.length > 1 ? `layer ${layer}: ${size}` : `layer ${layer}`)).join(", ");
    }

    path(node) {
      const parts = [];
      for (let at = node; at > 0; at = this.data.parents[at]) parts.unshift(this.data.names[at]);
      return "/" + parts.join("");
    }

    // The path, or which small ones in it.
    where(node) {
      const { data } = this;
      return data.kinds[node] === "s" ? `${data.names[node]} in ${this.path(data.parents[node])}` : this.path(node);
    }

    files(node) {
      const number = this.data.files[node];
      return `${number.toLocaleString("en")} file${number === 1 ? "" : "s"}`;
    }

    share(node, of) {
      const whole = this.data.bytes[of];
      return `${(whole ? 100 * this.data.bytes[node] / whole : 0).toFixed(1)} %`;
    }

    show(node) {
      if (!this.below[node].length) return;
      this.level = node;
      this.draw();
      this.tell();
    }

    draw() {
      const { data } = this;
      const nodes = data.names.map((_, node) => node);
      const top = nodes.map((node) => (data.layers[node].length ? data.layers[node][0][0] : 0));
      const shades = top.map((layer) => colours[layer % colours.length]);
      const isNarrow = this.place.clientWidth < 560;
      const hover = nodes.map((node) => [
        `<b>${plain(cut(this.where(node), 80))}</b>`, `${data.sizes[node]}, ${this.share(node, 0)} of all`,
        this.files(node), this.layers(node),
      ].join("<br>"));
      Plotly.react(this.place, [{
        type: "treemap", branchvalues: "total", sort: true, level: String(this.level), maxdepth: isNarrow ? 3 : 4,
        ids: nodes.map(String), labels: data.names.map((name) => plain(cut(name, 24))),
        parents: data.parents.map((parent) => (parent < 0 ? "" : String(parent))), values: data.bytes,
        text: nodes.map((node) => data.sizes[node]), textinfo: "label+text",
        hovertext: hover, hoverinfo: "text", textfont: { size: 13, color: "#111111" },
        pathbar: { visible: false }, tiling: { packing: "squarify", pad: 1 },
        marker: {
          colors: shades, pad: { t: 20, l: 2, r: 2, b: 2 },
          line: { width: 1, color: style("--panel") },
          ...(top.some((layer) => layer >= colours.length) && { pattern: {
            shape: top.map((layer) => shapes[Math.floor(layer / colours.length) % shapes.length]),
            fillmode: "replace", bgcolor: shades, fgcolor: "#888888", size: 6, solidity: 0.2,
          } }),
        },
      }], layout({
        width: this.place.clientWidth, height: this.place.clientHeight, margin: { l: 0, r: 0, t: 0, b: 0 },
        uniformtext: { minsize: 11, mode: "hide" },
      }), config);
      if (!this.heard) {
        this.heard = true;
        this.place.on("plotly_treemapclick", (event) => {
          const next = event.nextLevel;
          const node = next === undefined || next === "" ? 0 : Number(next);
          if (node === this.level && node > 0) this.show(this.data.parents[node]);
          else this.show(node);
          return false; // the list follows, and nothing moves about
        });
      }
    }

    tell() {
      const { data, level } = this;
      const way = [];
      for (let at = level; at >= 0; at = data.parents[at]) way.unshift(at);
      this.crumbs.replaceChildren(...way.map((node) => {
        const button = element("button", data.names[node], { type: "button" });
        if (node === level) button.setAttribute("aria-current", "location");
        button.addEventListener("click", () => { this.show(node); this.focus(); });
        return button;
      }));
      this.status.textContent = `${this.path(level)}: ${data.sizes[level]}, ${this.share(level, 0)} of all, ${this.files(level)}; ${this.layers(level)}`;
      const table = element("table");
      const head = element("tr");
      for (const title of ["What", "Size", "Share", "Files", "Most in"]) {
        head.append(element("th", title, { scope: "col", class: ["Size", "Share", "Files"].includes(title) ? "number" : "" }));
      }
      const body = element("tbody");
      for (const node of this.below[level]) {
        const row = element("tr");
        const name = element("th", undefined, { scope: "row" });
        if (this.below[node].length) {
          const button = element("button", data.names[node], { type: "button", "aria-label": `Open ${data.names[node]}` });
          button.addEventListener("click", () => { this.show(node); this.focus(); });
          name.append(button);
        } else {
          name.append(element("bdi", data.names[node]));
        }
        row.append(
          name, element("td", data.sizes[node], { class: "number" }), element("td", this.share(node, level), { class: "number" }),
          element("td", data.files[node].toLocaleString("en"), { class: "number" }),
          element("td", data.layers[node].length ? `layer ${data.layers[node][0][0]}` : ""),
        );
        body.append(row);
      }
      const top = element("thead");
      top.append(head);
      table.append(top, body);
      const wide = element("div", undefined, { class: "wide", role: "region", "aria-label": "The directory as a list", tabindex: "0" });
      wide.append(table);
      this.rows.replaceChildren(wide);
    }

    focus() {
      this.crumbs.lastElementChild.focus();
    }
  }

  // Findings

  const FIRST = 50;

  function findings(section) {
    const table = section.querySelector("table.findings");
    if (!table) return;
    const body = table.tBodies[0], rows = Array.from(body.rows);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const search = section.querySelector("input"), kind = section.querySelector("select");
    const status = section.querySelector(".filters .status"), more = section.querySelector(".all");
    let isWhole = false;

    function filter() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const place = new Map(rows.map((row, index) => [row, index]));
      let found = 0, bytes = 0;
      for (const row of body.rows) {
        const text = texts[place.get(row)];
        const fits = (!kind.value || row.dataset.kind === kind.value) && words.every((word) => text.includes(word));
        if (fits) { found += 1; bytes += Number(row.dataset.bytes); }
        row.hidden = !fits || (!isWhole && found > FIRST);
      }
      status.textContent = `${found.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows, ${sizeText(bytes)}`;
      more.hidden = isWhole || found <= FIRST;
      more.textContent = `Show all ${found.toLocaleString("en")} rows`;
    }

    function key(row, column) {
      if (column === "where") return row.cells[5].textContent;
      if (column === "why") return row.cells[2].textContent;
      const value = row.dataset[column];
      return value === "" ? -1 : Number(value);
    }

    for (const head of table.tHead.rows[0].cells) {
      const button = element("button", head.textContent, { type: "button" });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const column = head.dataset.column, isText = column === "where" || column === "why";
        const old = head.getAttribute("aria-sort");
        const up = old === "none" ? isText : old === "descending";
        for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const keyed = rows.map((row, index) => [key(row, column), index, row]);
        keyed.sort(([a, i], [b, j]) => (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1) || i - j);
        body.append(...keyed.map(([, , row]) => row));
        filter();
      });
    }
    search.addEventListener("input", filter);
    kind.addEventListener("change", filter);
    more.addEventListener("click", () => { isWhole = true; filter(); search.focus(); });
    section.querySelector(".filters").hidden = false;
    filter();
  }

  // What is not seen is not drawn yet: a page of many images opens as fast as one of one.

  const draw = new Map();

  function drawNow(place) {
    drawn.set(place, place.clientWidth);
    draw.get(place)();
    place.dataset.drawn = "yes";
  }

  for (const section of document.querySelectorAll("[data-tree]")) {
    const tree = new Tree(section);
    draw.set(tree.place, () => tree.draw());
  }
  for (const place of document.querySelectorAll('[data-chart="bars"]')) draw.set(place, () => drawBars(place));
  document.querySelectorAll("article section").forEach(findings);

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting && !drawn.has(entry.target)) drawNow(entry.target);
    }
  }, { rootMargin: "400px" });
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (drawn.has(target) && drawn.get(target) !== target.clientWidth) drawNow(target);
    }
  });
  for (const place of draw.keys()) { seen.observe(place); resized.observe(place); }
  addEventListener("beforeprint", () => { for (const place of draw.keys()) if (!drawn.has(place)) drawNow(place); });

  // Light and dark

  const root = document.documentElement, button = document.getElementById("theme");
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefers.matches);
  function themed() {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    for (const place of drawn.keys()) drawNow(place);
  }
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; themed(); });
  prefers.addEventListener("change", themed);
  button.hidden = false;
  themed();
})();
