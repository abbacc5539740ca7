"use strict";
/* Both graphs as a grid of rows that unfold; edges are drawn beside the rows that are on the screen. */
const graphs = (data, signs) => {
  const find = (id) => document.getElementById(id);
  const words = Object.keys(data.statuses);
  const [STATUS, LEVEL, ASIDE, OLD, NEW] = [0, 1, 2, 3, 4];
  const UNIT = 36, LANES = 6, BUDGET = 120;
  const grid = find("grid"), scroller = find("scroller");
  let withAside = false, visible = [], active = null, selected = null;

  const element = (tag, name, text) => {
    const created = document.createElement(tag);
    if (name) created.className = name;
    if (text !== undefined) created.textContent = text;
    return created;
  };

  /* ---- the tree: an item is a row of nodes, or a fold of items ---- */
  const items = new Array(data.rows.length);
  const build = (kid, parent, depth) => {
    const item = { parent, depth, open: false, row: null, kids: [], counts: {}, level: 0, shown: 0, plain: 0 };
    if (typeof kid === "number") {
      item.row = kid;
      items[kid] = item;
      const row = data.rows[kid];
      item.level = row[LEVEL];
      item.counts[words[row[STATUS]]] = 1;
      item.plain = row[ASIDE] ? 0 : 1;
      item.shown = row[ASIDE] ? 0 : 1;
    } else {
      item.name = kid[0];
      item.kids = kid.slice(1).map((one) => build(one, item, depth + 1));
      for (const one of item.kids) {
        item.level = Math.max(item.level, one.level);
        item.plain += one.plain;
        if (one.row !== null && !one.plain) continue;
        for (const [word, count] of Object.entries(one.counts)) item.counts[word] = (item.counts[word] || 0) + count;
      }
    }
    return item;
  };
  const roots = data.tree.map((kid) => build(kid, null, 0));
  const isVisible = (item) => withAside || item.plain > 0 || item.level >= 3;
  const walk = (list, visit) => { for (const item of list) { visit(item); walk(item.kids, visit); } };

  /* Folds with changes are opened, those that change values first, as long as the whole stays short. */
  const openChanges = () => {
    walk(roots, (item) => { item.open = false; });
    let room = BUDGET - roots.filter(isVisible).length;
    for (const least of [3, 2]) {
      walk(roots, (item) => {
        const count = item.kids.filter(isVisible).length;
        if (item.row !== null || item.open || item.level < least || count > room || (item.parent && !item.parent.open)) return;
        item.open = true;
        room -= count;
      });
    }
  };

  /* ---- rows ---- */
  const tail = (name) => {
    const parts = name.split("/"), end = parts.length > 2 ? parts.slice(-2).join("/") : name;
    return end.length > 44 ? "…" + end.slice(-43) : end;
  };
  const percent = (value) => (value >= 0.995 ? Math.round(100 * value) + " %" : value >= 1e-4 ? Number((100 * value).toPrecision(2)) + " %" : value ? value.toExponential(1).replace("-", "−") : "0");
  const cell = (name, ...content) => {
    const made = element("div", "cell " + name);
    made.setAttribute("role", "gridcell");
    made.append(...content);
    return made;
  };
  const mark = (word) => {
    const made = element("span", "mark s-" + word, signs[word]);
    made.setAttribute("aria-hidden", "true");
    return made;
  };
  const nodeBox = (side, places) => {
    if (!places.length) return element("span", "none");
    const main = places.filter((place) => data.nodes[side][place][3] !== null);
    const listed = (main.length ? main : places).map((place) => data.nodes[side][place]);
    const box = element("span", "node"), name = listed[listed.length - 1][0];
    box.append(element("span", "op", listed.slice(0, 4).map((node) => node[1]).join(" → ") + (listed.length > 4 ? " → …" : "")));
    box.append(element("span", "name", tail(name)));
    box.title = name;
    return box;
  };
  const describe = (row) => {
    const [, , , , , error, , weights, matters] = row, parts = [words[row[STATUS]]];
    if (row[LEVEL] === 0) return row[5] > 1e-6 ? "equal · error " + percent(error) : "equal";
    if (weights && weights !== "equal") parts.push("weights " + weights);
    if (matters) parts.push("values differ behind it");
    if (error !== null && error > 1e-6) parts.push("error " + percent(error));
    return parts.join(" · ");
  };
  const leaf = (item) => {
    const row = data.rows[item.row], word = words[row[STATUS]];
    const made = element("div", `row s-${word}${row[LEVEL] > 1 ? " changed" : ""} d${Math.min(4, item.depth)}`);
    made.append(
      cell("old", nodeBox(0, row[OLD])), cell("mid", mark(word)), cell("new", nodeBox(1, row[NEW])), cell("what", element("span", "", describe(row))),
    );
    made.lastChild.title = describe(row);
    return made;
  };
  const countsOf = (item) => {
    const made = element("span", "counts");
    for (const word of words) {
      if (!item.counts[word]) continue;
      const one = element("span");
      one.append(mark(word), ` ${word} ${item.counts[word]}`);
      made.append(one);
    }
    return made;
  };
  const title = (item) => {
    if (item.name) return tail(item.name);
    const rows = [];
    walk([item], (one) => { if (one.row !== null && isVisible(one)) rows.push(data.rows[one.row]); });
    const operator = (row) => { const side = row[NEW].length ? 1 : 0, places = row[side ? NEW : OLD]; return data.nodes[side][places[places.length - 1]][1]; };
    return rows.length ? `${rows.length} ${item.level ? "rows" : "equal"}: ${operator(rows[0])} … ${operator(rows[rows.length - 1])}` : "constants and shapes";
  };
  const fold = (item) => {
    const made = element("div", `row fold d${Math.min(4, item.depth)}`);
    const arrow = element("span", "arrow"), name = element("span", "", title(item));
    arrow.setAttribute("aria-hidden", "true");
    if (item.name) name.title = item.name;
    made.append(cell("old", arrow, name), cell("new", countsOf(item)));
    return made;
  };
  const draw = (item) => {
    if (item.element) return item.element;
    item.element = item.row === null ? fold(item) : leaf(item);
    item.element.setAttribute("role", "row");
    item.element.setAttribute("aria-level", item.depth + 1);
    item.element.tabIndex = -1;
    item.element.item = item;
    return item.element;
  };
  const show = () => {
    visible = [];
    const list = (some) => { for (const item of some) if (isVisible(item)) { visible.push(item); if (item.open) list(item.kids); } };
    list(roots);
    grid.classList.toggle("many", visible.length > 500);
    grid.replaceChildren(...visible.map(draw));
    for (const item of visible) if (item.row === null) item.element.setAttribute("aria-expanded", String(item.open));
    if (!visible.includes(active)) activate(nearest(active) || visible[0], false);
    drawRails();
  };
  const nearest = (item) => {
    while (item && !visible.includes(item)) item = item.parent;
    return item;
  };

  /* ---- edges ---- */
  const owners = [0, 1].map((side) => {
    const found = new Array(data.nodes[side].length).fill(-1);
    data.rows.forEach((row, place) => { for (const node of row[side ? NEW : OLD]) found[node] = place; });
    return found;
  });
  const edgesOf = (side, places) => {
    const found = new Map(), rows = new Set(), seen = new Map();
    const visibleAt = (row) => {
      if (!seen.has(row)) {
        let item = items[row];
        while (item && !places.has(item)) item = item.parent;
        seen.set(row, item ? places.get(item) : -1);
      }
      return seen.get(row);
    };
    data.nodes[side].forEach((node, index) => {
      if (node === null || owners[side][index] < 0) return;
      const to = visibleAt(owners[side][index]);
      if (to < 0) return;
      if (node[3] !== null) rows.add(to);
      for (const source of node[5]) {
        const from = owners[side][source] < 0 ? -1 : visibleAt(owners[side][source]);
        if (from >= 0 && from !== to) found.set(from * visible.length + to, [from, to]);
      }
    });
    return [[...found.values()], [...rows].sort((a, b) => a - b)];
  };
  const lanesOf = (edges, rows) => {
    const place = new Map(rows.map((row, i) => [row, i])), ends = new Array(LANES + 1).fill(-1), lanes = new Map();
    for (const edge of [...edges].sort((a, b) => Math.min(...a) - Math.min(...b) || Math.abs(a[1] - a[0]) - Math.abs(b[1] - b[0]))) {
      const [low, high] = edge[0] < edge[1] ? edge : [edge[1], edge[0]];
      if (Math.abs((place.get(edge[1]) ?? 1e9) - (place.get(edge[0]) ?? -1e9)) === 1) { lanes.set(edge, 0); continue; }
      let lane = 1;
      while (lane < LANES && ends[lane] > low) lane += 1;
      ends[lane] = Math.max(ends[lane], high);
      lanes.set(edge, lane);
    }
    return lanes;
  };
  const curve = ([from, to], lane) => {
    const x = 40, a = from * UNIT + UNIT / 2, b = to * UNIT + UNIT / 2;
    if (!lane) return `M${x} ${a}V${b}`;
    const left = x - 6 * lane, turn = a < b ? 10 : -10;
    return `M${x} ${a}Q${left} ${a} ${left} ${a + turn}V${b - turn}Q${left} ${b} ${x} ${b}`;
  };
  const rails = [null, null];
  const drawRails = () => {
    const places = new Map(visible.map((item, i) => [item, i]));
    for (const side of [0, 1]) {
      const [edges, rows] = edgesOf(side, places), lanes = lanesOf(edges, rows), svg = find("rail-" + side);
      rails[side] = { edges, lanes };
      svg.setAttribute("viewBox", `0 0 44 ${Math.max(1, visible.length) * UNIT}`);
      svg.style.height = visible.length * 2.25 + "rem";
      svg.querySelector(".dots").setAttribute("d", rows.map((row) => `M40 ${row * UNIT + UNIT / 2}h.01`).join(""));
      svg.querySelector(".edges").setAttribute("d", edges.map((edge) => curve(edge, lanes.get(edge))).join(""));
    }
    light();
  };
  const light = () => {
    const place = visible.indexOf(selected);
    for (const side of [0, 1]) {
      const { edges, lanes } = rails[side];
      const near = place < 0 ? [] : edges.filter((edge) => edge.includes(place));
      find("rail-" + side).querySelector(".lit").setAttribute("d", near.map((edge) => curve(edge, lanes.get(edge))).join(""));
    }
  };

  /* ---- moving and choosing ---- */
  const activate = (item, focus = true) => {
    if (active && active.element) active.element.tabIndex = -1;
    active = item;
    if (!item) return;
    draw(item).tabIndex = 0;
    if (focus) {
      item.element.focus({ preventScroll: true });
      reveal(item);
    }
  };
  const reveal = (item) => {
    const box = item.element.getBoundingClientRect(), frame = scroller.getBoundingClientRect(), head = find("heads").offsetHeight;
    if (box.top < frame.top + head) scroller.scrollTop -= frame.top + head - box.top;
    else if (box.bottom > frame.bottom) scroller.scrollTop += box.bottom - frame.bottom;
  };
  const toggle = (item, open) => {
    if (item.row !== null || item.open === open) return;
    item.open = open;
    show();
  };
  const choose = (item) => {
    if (item.row === null) { toggle(item, !item.open); return; }
    if (selected && selected.element) selected.element.removeAttribute("aria-selected");
    selected = item;
    item.element.setAttribute("aria-selected", "true");
    light();
    onChoice(item.row);
    reveal(item);
  };
  let onChoice = () => {};
  const close = () => {
    if (selected && selected.element) selected.element.removeAttribute("aria-selected");
    selected = null;
    light();
  };
  const goTo = (row, { chosen = false, focus = true } = {}) => {
    const item = items[row];
    let missing = false;
    if (!isVisible(item)) { withAside = true; find("aside").checked = true; missing = true; }
    for (let one = item.parent; one; one = one.parent) if (!one.open) { one.open = true; missing = true; }
    if (missing) show();
    activate(item, focus);
    if (!focus) reveal(item);
    if (chosen) choose(item);
  };
  const changes = data.rows.flatMap((row, place) => (row[LEVEL] > 1 ? [place] : []));
  const firstRow = (item) => { while (item.row === null) item = item.kids[0]; return item.row; };
  const step = (by) => {
    const words = find("said");
    if (!changes.length) { words.textContent = "No node changed."; return; }
    const here = active ? firstRow(active) : -1, inside = active && (active.row === null || !selected) ? 1 : 0;
    const next = by > 0 ? changes.find((row) => row > here - inside) ?? changes[0] : changes.findLast((row) => row < here) ?? changes[changes.length - 1];
    goTo(next, { chosen: true });
    words.textContent = `Change ${changes.indexOf(next) + 1} of ${changes.length}`;
  };

  const keys = {
    ArrowDown: () => activate(visible[Math.min(visible.length - 1, visible.indexOf(active) + 1)]),
    ArrowUp: () => activate(visible[Math.max(0, visible.indexOf(active) - 1)]),
    Home: () => activate(visible[0]),
    End: () => activate(visible[visible.length - 1]),
    PageDown: () => activate(visible[Math.min(visible.length - 1, visible.indexOf(active) + 12)]),
    PageUp: () => activate(visible[Math.max(0, visible.indexOf(active) - 12)]),
    ArrowRight: () => (active.row === null && !active.open ? toggle(active, true) : keys.ArrowDown()),
    ArrowLeft: () => (active.open ? toggle(active, false) : active.parent && activate(active.parent)),
    Enter: () => choose(active),
    " ": () => choose(active),
    n: () => step(1),
    p: () => step(-1),
  };
  grid.addEventListener("keydown", (event) => {
    const act = event.ctrlKey || event.metaKey || event.altKey || !active ? undefined : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
    if (active && document.activeElement !== active.element) active.element.focus({ preventScroll: true });
  });
  grid.addEventListener("click", (event) => {
    const made = event.target.closest(".row");
    if (!made) return;
    activate(made.item);
    choose(made.item);
  });
  find("next").addEventListener("click", () => step(1));
  find("previous").addEventListener("click", () => step(-1));
  find("unfold").addEventListener("click", () => { walk(roots, (item) => { item.open = item.row === null; }); show(); });
  find("fold").addEventListener("click", () => { openChanges(); show(); });
  find("aside").addEventListener("change", (event) => { withAside = event.target.checked; show(); });
  const names = () => data.rows.map((row) => [OLD, NEW].map((side) => row[side].map((node) => data.nodes[side - OLD][node].slice(0, 2).join(" ")).join(" ")).join(" ").toLowerCase());
  let searched = null;
  find("find").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.value) return;
    searched = searched || names();
    const text = event.target.value.toLowerCase(), here = active && active.row !== null ? active.row : -1;
    const hits = searched.flatMap((name, place) => (name.includes(text) ? [place] : []));
    find("said").textContent = hits.length ? `${hits.length} found; Enter shows the next one.` : "No node has this in its name or operator.";
    if (hits.length) goTo(hits.find((place) => place > here) ?? hits[0], { chosen: true, focus: false });
  });

  const start = () => {
    openChanges();
    find("viewer").hidden = false;
    show();
    const most = Math.max(...roots.map((item) => item.level)), worst = visible.find((item) => item.row !== null && item.level === most);
    if (most > 1 && worst) {
      activate(worst, false);
      reveal(worst);
    }
  };
  return { start, goTo, close, percent, words, element, focus: () => active && active.element.focus(), whenChosen: (act) => { onChoice = act; } };
};
