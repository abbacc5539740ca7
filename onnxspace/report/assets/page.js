"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { names, ranks } = data;
  const values = data.values || data.matrix;
  const find = (id) => document.getElementById(id);
  let target = data.target;
  const { panels, interval, inWords, number, mostBars } = charts(data, () => target);

  /* The library sets a few styles as attributes, which the page's policy forbids; set by script they are allowed. */
  const setAttribute = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };

  const present = Object.keys(panels).filter((key) => find("chart-" + key));
  const following = new Set(["sources", "tree", "map"].filter((key) => present.includes(key)));

  /* ---- drawing ---- */
  const look = () => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return { paper: of("--paper"), ink: of("--ink"), soft: of("--soft"), grid: of("--grid"), accent: of("--accent"), second: of("--second"), fill: of("--fill") };
  };
  const config = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false, showTips: false };
  const wired = new Set();
  const draw = async (key) => {
    const element = find("chart-" + key);
    const [traces, layout] = panels[key].draw(Math.max(260, element.clientWidth), look());
    element.setAttribute("aria-label", panels[key].label());
    await Plotly.react(element, traces, layout, config);
    if (!wired.has(key)) {
      wired.add(key);
      element.on("plotly_click", (event) => {
        const model = panels[key].choose(event.points[0]);
        if (model !== undefined) choose(model);
      });
    }
    element.dataset.drawn = "yes";
  };
  /* Running it takes longer than all the rest, so the page is on the screen before. */
  const load = () => {
    if (typeof Plotly !== "undefined") return;
    const script = document.createElement("script");
    script.textContent = find("library").textContent;
    document.body.append(script);
  };
  const drawAll = async () => {
    load();
    for (const key of present) {
      await draw(key);
      await new Promise((done) => setTimeout(done, 0));
    }
    document.documentElement.dataset.drawn = "yes";
  };

  /* ---- choosing a target ---- */
  const cell = (row, text, kind) => {
    const made = document.createElement(kind === "th" ? "th" : "td");
    if (kind === "th") made.scope = "row";
    if (kind === "number") made.className = "number";
    made.textContent = text;
    row.append(made);
  };
  const fillRanking = () => {
    const body = document.querySelector("#ranking tbody");
    body.replaceChildren(...ranks[target].map((source, place) => {
      const row = document.createElement("tr"), known = interval(source);
      cell(row, String(data.places[target][place]), "number");
      cell(row, names[source], "th");
      cell(row, number(values[target][source]), "number");
      cell(row, String(data.brackets[target][place]), "number");
      cell(row, inWords(known), "number");
      cell(row, known.ahead === null ? "" : Math.round(100 * known.ahead) + " %", "number");
      return row;
    }));
    find("ranking-target").textContent = names[target];
    find("ranking-by").textContent = data.rankedBy[target];
  };
  const sayBest = () => {
    const [best] = ranks[target], sure = data.sure[target];
    const count = sure ? sure.settled + " of " + sure.images + " images" : "";
    const early = sure && sure.settled <= 0.75 * sure.images;
    const settled = !sure ? "" : early ? " The ranking no longer changes after " + count + "." :
      " The ranking still changed with image " + count.replace(" images", "") + "; more images may change it again.";
    const first = data.kin[target] ? "Most alike to " : "Best source for ";
    find("said").textContent = best === undefined ? "No source has a value for " + names[target] + "." : first + names[target] + " by " + data.rankedBy[target] + ": " + names[best] + " (" + number(values[target][best]) + ")." + settled;
    find("ranking-notes").replaceChildren(...data.notes[target].map((note) => {
      const line = document.createElement("li");
      line.textContent = note;
      return line;
    }));
    find("whiskers").textContent = sure ? Math.round(100 * sure.level) + " % intervals from drawing the images again" : data.errors ? "1.96 standard errors of fingerprints" : "none, since nothing is known of them";
    find("cut").textContent = ranks[target].length > mostBars ? " The first " + mostBars + " of " + ranks[target].length + " are drawn." : "";
  };
  const orderGallery = () => {
    const table = find("maps");
    if (!table || !find("target")) return;
    const place = new Map([target, ...ranks[target]].map((model, i) => [model, i]));
    const rows = Array.from(table.tBodies[0].rows);
    const at = (row) => place.get(Number(row.dataset.model)) ?? Infinity;
    rows.sort((a, b) => at(a) - at(b));
    table.tBodies[0].append(...rows);
    const own = data.gallery.models.indexOf(target);
    for (const row of rows) {
      const model = data.gallery.models.indexOf(Number(row.dataset.model));
      row.classList.toggle("chosen", model === own);
      row.querySelectorAll("td span").forEach((span, image) => {
        span.textContent = own < 0 ? "" : model === own ? "target" : number(data.gallery.cosines[image][own][model], 2);
      });
    }
  };
  const choose = (model) => {
    target = model;
    find("target").value = String(model);
    fillRanking();
    sayBest();
    orderGallery();
    following.forEach(draw);
    document.querySelectorAll("details.behind[open]").forEach(fill);
  };

  /* ---- the data behind a picture ---- */
  const table = (rows, caption) => {
    const made = document.createElement("table");
    made.createCaption().textContent = caption;
    const head = made.createTHead().insertRow();
    for (const text of rows[0]) {
      const title = document.createElement("th");
      title.scope = "col";
      title.textContent = text || "model";
      head.append(title);
    }
    const body = made.createTBody();
    for (const values of rows.slice(1)) {
      const row = body.insertRow();
      values.forEach((value, i) => cell(row, typeof value === "number" ? (Number.isInteger(value) ? String(value) : number(value)) : (value ?? ""), i === 0 ? "th" : typeof value === "number" ? "number" : "td"));
    }
    return made;
  };
  const fill = (details) => {
    const rows = panels[details.dataset.behind].rows();
    const place = details.querySelector(".scroll");
    if (rows.length > 301) {
      const note = document.createElement("p");
      note.textContent = "More than 300 rows: download the CSV instead.";
      place.replaceChildren(note);
    } else place.replaceChildren(table(rows, details.querySelector("summary").textContent));
  };

  /* ---- downloads ---- */
  const save = (name, content, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const quoted = (value) => {
    const plain = value === null || value === undefined ? "" : String(value);
    const formula = typeof value === "string" && /^['\s]*[=+@\-\t\r＝＋－＠]/.test(plain) && !Number.isFinite(Number(plain)); // of a spreadsheet
    const text = formula ? "'" + plain : plain;
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  };
  const galleryRows = () => {
    const found = data.gallery, rows = [["image", "model", "other", "cosine"]];
    found.cosines.forEach((image, i) => found.models.forEach((a, m) => found.models.forEach((b, n) => {
      if (m < n) rows.push([found.images[i] + 1, names[a], names[b], image[m][n]]);
    })));
    return rows;
  };
  const modelRows = () => Array.from(find("table").rows).map((row) => Array.from(row.cells).map((one) => one.textContent));
  const rowsOf = (key) => (key === "gallery" ? galleryRows() : key === "models" ? modelRows() : panels[key].rows());
  const pictures = () => ({
    images: data.gallery.images.map((image) => image + 1),
    models: Array.from(find("maps").tBodies[0].rows, (row) => ({ name: names[Number(row.dataset.model)], maps: Array.from(row.querySelectorAll("img"), (image) => image.src) })),
  });
  const savePicture = async (key) => {
    const { layout } = find("chart-" + key);
    const address = await Plotly.toImage(find("chart-" + key), { format: "svg", width: layout.width, height: layout.height });
    save("onnxspace-" + key + ".svg", decodeURIComponent(address.slice(address.indexOf(",") + 1)), "image/svg+xml");
  };

  /* ---- the table of models ---- */
  const value = (row, column) => row.cells[column].textContent;
  const compare = (a, b) => {
    const [x, y] = [a, b].map((text) => Number(text.replace("\u2212", "-")));
    return a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : a.localeCompare(b, "en", { numeric: true });
  };
  const sortable = (element) => {
    const heads = Array.from(element.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = Array.from(element.tBodies[0].rows);
        rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
        element.tBodies[0].append(...rows);
      });
    });
  };
  const filter = (words) => {
    const rows = Array.from(find("table").tBodies[0].rows), sought = words.trim().toLocaleLowerCase();
    rows.forEach((row) => { row.hidden = !row.textContent.toLocaleLowerCase().includes(sought); });
    find("filtered").textContent = rows.filter((row) => !row.hidden).length + " of " + rows.length;
  };

  /* ---- wiring ---- */
  const wire = () => {
    sortable(find("table"));
    find("filter").addEventListener("input", (event) => filter(event.target.value));
    find("target")?.addEventListener("change", (event) => choose(Number(event.target.value)));
    document.querySelectorAll("input[name=colours]").forEach((input) => input.addEventListener("change", () => find("maps").classList.toggle("grey", input.value === "grey")));
    document.querySelectorAll("[data-csv]").forEach((button) => button.addEventListener("click", () => save("onnxspace-" + button.dataset.csv + ".csv", rowsOf(button.dataset.csv).map((row) => row.map(quoted).join(",")).join("\n") + "\n", "text/csv")));
    document.querySelectorAll("[data-svg]").forEach((button) => button.addEventListener("click", () => savePicture(button.dataset.svg)));
    document.querySelectorAll("[data-json]").forEach((button) => button.addEventListener("click", () => save("onnxspace-gallery.json", JSON.stringify(pictures()), "application/json")));
    document.querySelectorAll("details.behind").forEach((details) => details.addEventListener("toggle", () => details.open && fill(details)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    let width = innerWidth, waiting = 0;
    addEventListener("resize", () => {
      if (innerWidth === width) return;
      width = innerWidth;
      clearTimeout(waiting);
      waiting = setTimeout(drawAll, 150);
    });
    const paper = (on) => {
      document.querySelectorAll("img").forEach((image) => { image.loading = "eager"; });
      document.documentElement.classList.toggle("paper", on);
      present.forEach(draw);
    };
    addEventListener("beforeprint", () => paper(true));
    addEventListener("afterprint", () => paper(false));
  };
  wire();
  if (find("target")) {
    find("target").value = String(target);
    sayBest();
    orderGallery();
  }
  requestAnimationFrame(() => setTimeout(drawAll, 0));
})();
