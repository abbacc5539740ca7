"use strict";
/* What each chart draws from the page's numbers, the rows behind it, and its description for screen readers. */
const charts = (data, chosen) => {
  const { names, matrix, ranks } = data;
  /* What ranks the sources: the matrix itself, or another score. */
  const values = data.values || matrix;
  const minus = (text) => text.replace("-", "\u2212");
  const number = (value, digits = 3) => (value === null ? "" : minus((Math.round(value * 10 ** digits) / 10 ** digits + 0).toFixed(digits)));
  /* Plotly reads a few tags in texts; names are no markup. */
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most) => {
    const letters = Array.from(text);
    if (letters.length <= most) return plain(text);
    const head = Math.max(1, Math.floor(((most - 1) * 4) / 9));
    return plain(letters.slice(0, head).join("") + "…" + letters.slice(letters.length - (most - 1 - head)).join(""));
  };
  /* ---- looks ---- */
  const base = (width, height, margin, colours) => ({
    width, height, margin, autosize: false, dragmode: false, showlegend: false, hovermode: "closest",
    paper_bgcolor: colours.paper, plot_bgcolor: colours.paper,
    font: { family: "system-ui, sans-serif", size: 12, color: colours.ink },
    hoverlabel: { bgcolor: colours.paper, bordercolor: colours.soft, font: { color: colours.ink }, align: "left" },
  });
  const axis = (colours, more) => ({
    fixedrange: true, zeroline: false, showline: false, gridcolor: colours.grid, tickcolor: colours.soft, linecolor: colours.soft, automargin: false, ...more,
  });
  const room = (width, share, most) => {
    const longest = Math.max(...names.map((name) => Array.from(name).length));
    return Math.round(Math.min(longest * 7.2 + 16, width * share, most));
  };
  const letters = (pixels) => Math.max(3, Math.floor((pixels - 14) / 7.2));

  /* ---- the sources of a target ---- */
  const interval = (source) => {
    const sure = data.sure[chosen()];
    if (sure && sure.rows[source]) return { low: sure.rows[source][0], high: sure.rows[source][1], ahead: sure.rows[source][2], error: null };
    const error = data.errors && !data.values ? data.errors[chosen()][source] : 0;
    const value = values[chosen()][source];
    return { low: error ? value - 1.96 * error : null, high: error ? value + 1.96 * error : null, ahead: null, error: error || null };
  };
  const inWords = (known) => {
    if (known.error !== null) return "± " + known.error.toFixed(3);
    return known.low === null ? "" : number(known.low) + " to " + number(known.high);
  };
  const MOST_BARS = 40;
  const sources = {
    draw(width, colours) {
      const shown = ranks[chosen()].slice(0, MOST_BARS);
      const left = room(width, 0.42, 260);
      const known = shown.map(interval);
      const bars = shown.map((source) => values[chosen()][source]);
      const trace = {
        type: "bar", orientation: "h", x: bars, y: shown.map((_, place) => place), width: 0.68,
        marker: { color: colours.accent }, hovertemplate: "%{customdata}<extra></extra>",
        customdata: shown.map((source, place) => plain(names[source]) + "<br>" + number(bars[place]) + " " + inWords(known[place])),
        error_x: {
          type: "data", symmetric: false, color: colours.ink, thickness: 1.5, width: 3,
          array: known.map((one, place) => (one.high === null ? 0 : Math.max(0, one.high - bars[place]))),
          arrayminus: known.map((one, place) => (one.low === null ? 0 : Math.max(0, bars[place] - one.low))),
          visible: known.some((one) => one.low !== null),
        },
      };
      const layout = {
        ...base(width, 70 + 24 * shown.length, { l: left, r: 16, t: 8, b: 44 }, colours),
        xaxis: axis(colours, { title: { text: plain(data.rankedBy[chosen()]) }, zeroline: true, zerolinecolor: colours.soft }),
        yaxis: axis(colours, { range: [shown.length - 0.4, -0.6], tickvals: shown.map((_, place) => place), ticktext: shown.map((source) => short(names[source], letters(left))), showgrid: false }),
      };
      return [[trace], layout];
    },
    rows: () => [
      ["target", "rank", "source", data.rankedBy[chosen()], "bracket", "low", "high", "ahead of the next"],
      ...ranks[chosen()].map((source, place) => {
        const known = interval(source);
        return [names[chosen()], data.places[chosen()][place], names[source], values[chosen()][source], data.brackets[chosen()][place], known.low, known.high, known.ahead];
      }),
    ],
    label: () => (data.kin[chosen()] ? "Bar chart of the models most alike to " : "Bar chart of the sources for ") + names[chosen()] + ", best first by " + data.rankedBy[chosen()] + (ranks[chosen()].length ? ": " + ranks[chosen()].slice(0, 5).map((source) => names[source] + " " + number(values[chosen()][source])).join(", ") : ""),
    choose: (point) => ranks[chosen()][point.y],
  };

  /* ---- the matrix, in the order of the tree, and the tree above it ---- */
  const flat = matrix.flat().filter((value) => value !== null);
  const lowest = flat.reduce((a, b) => Math.min(a, b), 0);
  const highest = flat.reduce((a, b) => Math.max(a, b), lowest + 1e-9);
  /* with negative values, the scale is centred at 0: ColorBrewer's red and blue, as in the gallery */
  const signed = lowest < 0, bound = Math.max(-lowest, highest);
  const redBlue = ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"].map((colour, i) => [i / 10, colour]);
  const segments = (across, height) => {
    const x = [], y = [];
    across.forEach((xs, i) => { x.push(...xs, null); y.push(...height[i], null); });
    return [x, y];
  };
  const pairs = {
    draw(width, colours) {
      const { order, tree } = data, count = order.length;
      const narrow = width < 560;
      let left = room(width, 0.34, 220);
      const bar = narrow ? 46 : 70;
      const side = Math.min(width - left - bar, Math.max(280, count * 56), 860);
      const cell = side / count, named = cell >= 9;
      if (!named) left = 16;
      const size = named ? side : Math.min(width - left - bar, 860);
      const below = named ? Math.min(left, 200) : 16, above = tree ? Math.max(48, Math.round(size * 0.16)) : 0;
      const z = order.map((i) => order.map((j) => matrix[i][j]));
      const ticks = { tickvals: order.map((_, i) => i), ticktext: named ? order.map((i) => short(names[i], letters(left))) : order.map(() => ""), showticklabels: named, showgrid: false, ticks: "", tickfont: { size: Math.min(12, Math.max(8, cell * 0.9)) } };
      const heat = {
        type: "heatmap", z, x: order.map((_, i) => i), y: order.map((_, i) => i), colorscale: signed ? redBlue : "Viridis", zmin: signed ? -bound : lowest, zmax: signed ? bound : highest, xgap: count > 60 ? 0 : 1, ygap: count > 60 ? 0 : 1, hoverongaps: false,
        colorbar: { thickness: 12, len: (size / (size + above)), y: 0, yanchor: "bottom", outlinewidth: 0, tickfont: { color: colours.ink }, x: 1.01, xpad: 4 },
        hovertemplate: count <= 150 ? "%{customdata}<br>%{z:.3f}<extra></extra>" : "%{z:.3f}<extra></extra>",
        customdata: count <= 150 ? order.map((i) => order.map((j) => plain(names[i]) + "<br>" + plain(names[j]))) : undefined,
        texttemplate: count <= 20 && cell >= 34 ? "%{z:.2f}" : undefined,
      };
      const traces = [heat];
      const layout = {
        ...base(left + size + bar, above + size + below + 8, { l: left, r: bar, t: 8, b: below }, colours),
        xaxis: axis(colours, { ...ticks, range: [-0.5, count - 0.5], tickangle: -60, anchor: "y" }),
        yaxis: axis(colours, { ...ticks, range: [count - 0.5, -0.5], domain: [0, size / (size + above)] }),
      };
      if (tree) {
        const [x, y] = segments(tree.across, tree.height);
        traces.push({ type: "scatter", mode: "lines", x, y, yaxis: "y2", line: { color: colours.ink, width: 1 }, hoverinfo: "skip" });
        layout.yaxis2 = axis(colours, { domain: [size / (size + above) + 0.005, 1], showticklabels: false, ticks: "", showgrid: false, rangemode: "tozero" });
      }
      return [traces, layout];
    },
    rows: () => [["", ...data.order.map((i) => names[i])], ...data.order.map((i) => [names[i], ...data.order.map((j) => matrix[i][j])])],
    label: () => "Heat map of " + data.by + " between every two of " + names.length + " models, from " + number(lowest, 2) + " to " + number(highest, 2) + ", ordered by the tree",
    choose: (point) => (Number.isInteger(point.y) ? data.order[point.y] : undefined),
  };

  /* ---- the tree ---- */
  const tree = {
    draw(width, colours) {
      const { order } = data, right = room(width, 0.45, 300) + 10;
      const [across, height] = segments(data.tree.across, data.tree.height);
      const own = order.indexOf(chosen());
      const top = Math.max(...data.tree.height.flat(), 1e-9);
      const layout = {
        ...base(width, 64 + Math.max(13, Math.min(22, 1400 / order.length)) * order.length, { l: 16, r: right, t: 8, b: 44 }, colours),
        xaxis: axis(colours, { title: { text: plain("1 − " + data.by) }, range: [top * 1.04, -top * 0.015] }),
        yaxis: axis(colours, { side: "right", range: [order.length - 0.4, -0.6], tickvals: order.map((_, i) => i), ticktext: order.map((i) => (i === chosen() ? "<b>" + short(names[i], letters(right - 8)) + "</b>" : short(names[i], letters(right - 8)))), showgrid: false, tickfont: { size: order.length > 100 ? 9 : 12 } }),
      };
      return [[
        { type: "scatter", mode: "lines", x: height, y: across, line: { color: colours.soft, width: 1.5 }, hoverinfo: "skip" },
        { type: "scatter", mode: "markers", x: order.map(() => 0), y: order.map((_, i) => i), cliponaxis: false,
          marker: { color: order.map((_, i) => (i === own ? colours.second : colours.accent)), size: order.map((_, i) => (i === own ? 11 : 6)), opacity: 1, symbol: order.map((_, i) => (i === own ? "diamond" : "circle")) },
          customdata: order.map((i) => plain(names[i])), hovertemplate: "%{customdata}<extra></extra>" },
      ], layout];
    },
    rows() {
      const members = names.map((name) => [name]);
      const rows = [["join", "height", "models", "left", "right"]];
      data.tree.joins.forEach(([a, b, height, count], i) => {
        rows.push([i + 1, height, count, members[a].length > 3 ? members[a].slice(0, 3).join(", ") + " and " + (members[a].length - 3) + " more" : members[a].join(", "), members[b].length > 3 ? members[b].slice(0, 3).join(", ") + " and " + (members[b].length - 3) + " more" : members[b].join(", ")]);
        members.push([...members[a], ...members[b]]);
      });
      return rows;
    },
    label: () => "Similarity tree of " + names.length + " models; in its order: " + data.order.slice(0, 30).map((i) => names[i]).join(", ") + (names.length > 30 ? " and " + (names.length - 30) + " more" : ""),
    choose: (point) => (point.curveNumber === 1 ? data.order[point.y] : undefined),
  };

  /* ---- the map ---- */
  /* Where each name finds room beside its point, the first in `order` first: positions, or null where there is none. */
  const labelled = (order, texts, at) => {
    const boxes = at.map(([x, y]) => [x - 7, y - 7, x + 7, y + 7]);
    const free = (box, own) => !boxes.some((b, i) => b && i !== own && box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3]);
    const places = at.map(() => null);
    for (const i of order) {
      const wide = Array.from(texts[i]).length * 6.4, [x, y] = at[i];
      const tries = { "middle right": [x + 8, y - 8, x + 10 + wide, y + 8], "middle left": [x - 10 - wide, y - 8, x - 8, y + 8], "top center": [x - wide / 2, y - 24, x + wide / 2, y - 8], "bottom center": [x - wide / 2, y + 8, x + wide / 2, y + 24] };
      const found = Object.keys(tries).find((place) => tries[place][0] > 24 && tries[place][2] < at.width && free(tries[place], i));
      if (found) { places[i] = found; boxes.push(tries[found]); }
    }
    return places;
  };
  let drawn = [];
  const map = {
    draw(width, colours) {
      const points = data.plane.points, best = new Set(ranks[chosen()].slice(0, 5));
      const kind = (i) => (i === chosen() ? 2 : best.has(i) ? 1 : 0);
      const most = width < 560 ? 16 : 26;
      const height = Math.min(640, Math.max(340, width * 0.7));
      const side = (which) => points.map((point) => point[which]);
      const span = (values, pixels) => {
        const low = Math.min(...values), high = Math.max(...values), wide = Math.max(high - low, 1e-6);
        return [low - wide * 0.12, high + wide * 0.12, wide * 1.24 / pixels];
      };
      const across = span(side(0), width - 60), up = span(side(1), height - 60);
      const scale = Math.max(across[2], up[2]);
      const centre = (range, pixels) => { const at = (range[0] + range[1]) / 2; return [at - scale * pixels / 2, at + scale * pixels / 2]; };
      const xs = centre(across, width - 60), ys = centre(up, height - 52);
      const at = Object.assign(points.map(([x, y]) => [30 + (x - xs[0]) / scale, 12 + (ys[1] - y) / scale]), { width });
      const order = [chosen(), ...ranks[chosen()], ...names.keys()].filter((i, place, all) => all.indexOf(i) === place).slice(0, 40);
      const places = labelled(order, names.map((name) => Array.from(name).slice(0, most).join("")), at);
      drawn = [...names.keys()].sort((a, b) => kind(a) - kind(b)); // the target on top
      const trace = {
        type: "scatter", mode: "markers+text", x: drawn.map((i) => points[i][0]), y: drawn.map((i) => points[i][1]), cliponaxis: false,
        text: drawn.map((i) => (places[i] ? short(names[i], most) : "")), textposition: drawn.map((i) => places[i] || "middle right"),
        textfont: { size: 11, color: colours.ink },
        marker: {
          color: drawn.map((i) => [colours.soft, colours.accent, colours.second][kind(i)]), size: drawn.map((i) => [8, 11, 15][kind(i)]), opacity: 1,
          symbol: drawn.map((i) => ["circle", "square", "diamond"][kind(i)]), line: { color: colours.paper, width: 1 },
        },
        customdata: drawn.map((i) => plain(names[i]) + (i === chosen() ? "" : "<br>" + plain(data.by) + " " + number(matrix[chosen()][i]))),
        hovertemplate: "%{customdata}<extra></extra>",
      };
      const layout = {
        ...base(width, height, { l: 30, r: 30, t: 12, b: 40 }, colours),
        xaxis: axis(colours, { title: { text: "first direction" }, showticklabels: false, ticks: "", range: xs }),
        yaxis: axis(colours, { title: { text: "second direction", standoff: 6 }, showticklabels: false, ticks: "", range: ys }),
      };
      return [[trace], layout];
    },
    rows: () => [["model", "first", "second"], ...names.map((name, i) => [name, ...data.plane.points[i]])],
    label: () => "Map of " + names.length + " models; nearest to the target " + names[chosen()] + ": " + ranks[chosen()].slice(0, 5).map((source) => names[source]).join(", "),
    choose: (point) => drawn[point.pointIndex],
  };

  /* ---- curves ---- */
  const curve = (name, what) => ({
    draw(width, colours) {
      const one = data.evaluation[name], k = one.mean.map((_, i) => i + 1);
      const line = (values, title, style) => ({ type: "scatter", mode: "lines+markers", x: k, y: values, name: title, hovertemplate: plain(title) + ": %{y:.3f}<extra></extra>", ...style });
      const band = { type: "scatter", mode: "lines", x: [...k, ...k.slice().reverse()], y: [...one.high, ...one.low.slice().reverse()], fill: "toself", fillcolor: colours.fill, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
      const traces = [
        band,
        line(one.best, "the best possible", { line: { color: colours.soft, dash: "dash", width: 1.5 }, marker: { symbol: "triangle-up", size: 6 } }),
        line(one.random, "a random order", { line: { color: colours.soft, dash: "dot", width: 1.5 }, marker: { symbol: "x-thin-open", size: 6 } }),
        line(one.mean, data.by, { line: { color: colours.accent, width: 2.5 }, marker: { symbol: "circle", size: 7 } }),
      ];
      const layout = {
        ...base(width, 340, { l: 52, r: 12, t: 40, b: 44 }, colours), showlegend: true, hovermode: "x unified",
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
        xaxis: axis(colours, { title: { text: "K" }, range: [0.6, k.length + 0.4], dtick: k.length <= 20 ? 1 : undefined }),
        yaxis: axis(colours, { title: { text: what }, range: [0, 1.04] }),
      };
      return [traces, layout];
    },
    rows() {
      const one = data.evaluation[name];
      return [["K", what, "low", "high", "random", "best"], ...one.mean.map((value, i) => [i + 1, value, one.low[i], one.high[i], one.random[i], one.best[i]])];
    },
    label: () => "Curve of " + what + ": " + data.evaluation[name].mean.slice(0, 5).map((value, i) => number(value, 2) + " at " + (i + 1)).join(", "),
    choose: () => undefined,
  });

  const panels = { sources, matrix: pairs, tree, map, precision: curve("precision", "P@K"), recall: curve("recall", "R@K") };
  return { panels, interval, inWords, number, mostBars: MOST_BARS };
};
