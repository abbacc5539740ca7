"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const signs = data.signs, both = graphs(data, signs);
  const { element, percent, words } = both;
  const column = Object.fromEntries(data.columns.map((name, i) => [name, i + 1]));
  const layerOf = new Map(data.layers.map((layer) => [layer[0], layer]));

  /* ---- numbers in words ---- */
  const number = (value, digits = 3) => {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    return (size && (size < 1e-3 || size >= 1e5) ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)))).replace(/-/g, "−");
  };
  const share = (value) => (value === null || value === undefined ? "" : value ? percent(value) : "0");
  const shape = (sizes) => (sizes ? sizes.join("×") : "");
  const range = (pair) => (pair ? `${number(pair[0])} to ${number(pair[1])}` : "");

  /* ---- the chosen row ---- */
  const pair = (list, term, text, name) => {
    if (text === "" || text === null || text === undefined) return;
    const row = element("div", name);
    row.append(element("dt", "", term), element("dd", "", text));
    list.append(row);
  };
  const attributesOf = (side, places) => (places.length === 1 ? Object.fromEntries(data.attributes[data.nodes[side][places[0]][2]]) : null);
  const describeSide = (side, row, layer) => {
    const part = element("div"), places = row[3 + side], others = attributesOf(1 - side, row[4 - side]);
    part.append(element("h4", "", (side ? "New" : "Old") + (places.length ? "" : ": not there")));
    for (const place of places) {
      const [name, operator, attributes, sizes, type] = data.nodes[side][place];
      part.append(element("h4", "", `${operator} ${name}`));
      const list = element("dl");
      pair(list, "output", [shape(sizes), type].filter(Boolean).join(" "));
      const known = others && places.length === 1 ? others : null;
      for (const [key, value] of data.attributes[attributes]) pair(list, key, value || "empty", known && known[key] !== value ? "other" : "");
      part.append(list);
    }
    if (layer && places.length) {
      const list = element("dl");
      pair(list, "range", range(layer[column[side ? "new_range" : "old_range"]]));
      part.append(list);
    }
    return part;
  };
  const describeRow = (place) => {
    const row = data.rows[place], word = words[row[0]], layer = layerOf.get(place), panel = find("details");
    const head = element("h3"), sign = element("span", "mark s-" + word, signs[word]), close = element("button", "close", "Close");
    sign.setAttribute("aria-hidden", "true");
    head.append(sign, ` ${word}: ${data.statuses[word]}`);
    close.type = "button";
    close.addEventListener("click", hide);
    const figures = element("dl", "figures");
    pair(figures, "weights", row[7]);
    pair(figures, "error", share(row[5]));
    pair(figures, "own error", share(row[6]));
    if (layer) {
      pair(figures, "largest error", number(layer[column.max_error]));
      pair(figures, "cosine", number(layer[column.cosine], 6));
      pair(figures, "SNR", layer[column.snr_db] === null ? "" : number(layer[column.snr_db]) + " dB");
    }
    if (row[8]) pair(figures, "effect", "values differ behind it");
    const sides = element("div", "sides");
    sides.append(describeSide(0, row, layer), describeSide(1, row, layer));
    panel.replaceChildren(close, head, figures, sides);
    panel.hidden = false;
    panel.scrollTop = 0;
  };
  const hide = () => {
    find("details").hidden = true;
    both.close();
    both.focus();
  };
  both.whenChosen(describeRow);
  find("frame").addEventListener("keydown", (event) => { if (event.key === "Escape" && !find("details").hidden) hide(); });
  find("strip").addEventListener("click", (event) => {
    const box = find("strip").getBoundingClientRect();
    both.goTo(Math.min(data.rows.length - 1, Math.floor((event.clientX - box.left) / box.width * data.rows.length)), { chosen: true });
    find("frame").scrollIntoView({ block: "nearest" });
  });

  /* ---- the table ---- */
  const cells = {
    status: (layer) => words[layer[column.status]],
    old_op: (layer) => [...new Set([layer[column.old_op], layer[column.new_op]])].join(" → "),
    new: (layer) => layer[column.new],
    relative_error: (layer) => share(layer[column.relative_error]),
    own_error: (layer) => number(layer[column.own_error]),
    max_error: (layer) => number(layer[column.max_error]),
    cosine: (layer) => number(layer[column.cosine], 5),
    snr_db: (layer) => number(layer[column.snr_db]),
    new_shape: (layer) => [...new Set([shape(layer[column.old_shape]), shape(layer[column.new_shape])])].join(" → "),
    new_type: (layer) => [...new Set([layer[column.old_type], layer[column.new_type]])].join(" → "),
    old_range: (layer) => range(layer[column.old_range]),
    new_range: (layer) => range(layer[column.new_range]),
    half_overflow: (layer) => share(layer[column.half_overflow]),
    half_underflow: (layer) => share(layer[column.half_underflow]),
    int8_saturated: (layer) => share(layer[column.int8_saturated]),
  };
  const heads = [...document.querySelectorAll("#table thead th")], order = { name: "own_error", down: true }, STEP = 100;
  let most = STEP;
  const keyOf = {
    status: (layer) => words.length - layer[column.status], old_op: cells.old_op, new: (layer) => layer[column.place],
    new_shape: (layer) => layer[column.new_shape].reduce((a, b) => a * b, 1), new_type: cells.new_type,
    old_range: (layer) => spread(layer[column.old_range]), new_range: (layer) => spread(layer[column.new_range]),
  };
  const spread = (pair) => (pair ? pair[1] - pair[0] : null);
  const compare = (a, b) => (a === null || b === null ? (a === null) - (b === null) : (a > b) - (a < b));
  const listed = () => {
    const status = find("change").value, operator = find("operator").value, text = find("filter").value.toLowerCase();
    const rows = data.layers.filter((layer) => (!status || words[layer[column.status]] === status)
      && (!operator || layer[column.old_op] === operator || layer[column.new_op] === operator)
      && (!text || [column.old, column.new, column.old_op, column.new_op].some((i) => layer[i].toLowerCase().includes(text))));
    const key = keyOf[order.name] || ((layer) => layer[column[order.name]]), sign = order.down ? -1 : 1;
    return rows.map((layer) => [key(layer), layer]).sort(([a, one], [b, other]) =>
      (a === null || b === null ? compare(a, b) : sign * compare(a, b)) || one[column.place] - other[column.place]).map(([, layer]) => layer);
  };
  const tableRow = (layer) => {
    const row = element("tr");
    for (const head of heads) {
      const name = head.dataset.column, text = cells[name](layer), made = element("td");
      if (name === "status") {
        const sign = element("span", "mark s-" + text, signs[text]);
        sign.setAttribute("aria-hidden", "true");
        made.append(sign, " " + text);
      } else if (name === "new" && layer[0] >= 0) {
        const link = element("button", "link", text.length > 60 ? "…" + text.slice(-59) : text);
        link.type = "button";
        link.title = `Show ${text} in the graphs`;
        link.addEventListener("click", () => { both.goTo(layer[0], { chosen: true }); find("graphs").scrollIntoView(); });
        made.append(link);
      } else made.textContent = text;
      row.append(made);
    }
    return row;
  };
  const fill = () => {
    const rows = listed();
    document.querySelector("#table tbody").replaceChildren(...rows.slice(0, most).map(tableRow));
    find("filtered").textContent = `${rows.length} of ${data.layers.length}`;
    find("more").hidden = rows.length <= most;
    for (const head of heads) head.setAttribute("aria-sort", head.dataset.column === order.name ? (order.down ? "descending" : "ascending") : "none");
    document.querySelector("#table caption").textContent = `Layers, ${Math.min(most, rows.length)} of ${rows.length}`;
  };
  const again = () => { most = STEP; fill(); };
  const quote = (value) => {
    const text = value === null || value === undefined ? "" : Array.isArray(value) ? value.join("×") : String(value);
    const plain = /^[=+\-@\t\r]/.test(text) && typeof value === "string" ? "'" + text : text;
    return /[",\n]/.test(plain) ? `"${plain.replace(/"/g, '""')}"` : plain;
  };
  const download = () => {
    const rows = listed().map((layer) => data.columns.map((name) => quote(name === "status" ? words[layer[column.status]] : name.endsWith("_range") ? JSON.stringify(layer[column[name]]) : layer[column[name]])).join(","));
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([[data.columns.join(","), ...rows].join("\n") + "\n"], { type: "text/csv" }));
    link.download = "layers.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const startTable = () => {
    for (const head of heads) {
      const button = element("button", "", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => {
        order.down = order.name === head.dataset.column ? !order.down : true;
        order.name = head.dataset.column;
        again();
      });
      head.replaceChildren(button);
    }
    const present = (texts) => [...new Set(texts)].sort();
    const options = (id, texts) => find(id).append(...texts.map((text) => new Option(text, text)));
    options("change", words.filter((word, i) => data.layers.some((layer) => layer[column.status] === i)));
    options("operator", present(data.layers.flatMap((layer) => [layer[column.old_op], layer[column.new_op]])));
    for (const id of ["change", "operator"]) find(id).addEventListener("change", again);
    find("filter").addEventListener("input", again);
    find("more").addEventListener("click", () => { most += 5 * STEP; fill(); });
    find("csv").addEventListener("click", download);
    find("choices").hidden = find("csv").hidden = false;
    fill();
  };

  /* Paper is light, and has no fold that hides something. */
  addEventListener("beforeprint", () => document.documentElement.classList.add("paper"));
  addEventListener("afterprint", () => document.documentElement.classList.remove("paper"));
  /* The page is on the screen before its rows are built. */
  setTimeout(() => {
    both.start();
    startTable();
    document.documentElement.dataset.drawn = "yes";
  }, 0);
})();
