"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (name) => document.getElementById(name);
  const fields = ["model", "method", "target"];
  const photos = Array.from(document.querySelectorAll(".thumb"));
  const buttons = Array.from(document.querySelectorAll("#sheet button"));
  const state = { image: 0, column: 0 };

  function show(image, element, column, picture) {
    element.dataset.kind = column.signed ? "signed" : "unsigned";
    element.src = column.maps[image];
    element.hidden = false;
    if (picture) element.alt = picture;
  }

  // The column that has the chosen word in the changed field, and most of the others.
  function choose(field) {
    const chosen = fields.map((name) => Number(find(name).value));
    const place = fields.indexOf(field);
    let best = -1;
    data.columns.forEach((column, number) => {
      if (column.words[place] !== chosen[place]) return;
      const score = column.words.filter((word, i) => word === chosen[i]).length;
      if (score > best) { best = score; state.column = number; }
    });
    draw();
  }

  function describe() {
    const column = data.columns[state.column];
    const caption = column.captions[state.image];
    return [data.names[state.image], ...column.shown, caption].filter(Boolean).join(" · ");
  }

  function draw() {
    const column = data.columns[state.column];
    const opacity = Number(find("opacity").value) / 100;
    const photo = find("photo");
    photo.src = photos[state.image].querySelector("img").src;
    photo.alt = data.names[state.image];
    show(state.image, find("over"), column, `Map over ${data.names[state.image]}`);
    show(state.image, find("alone"), column, `Map: ${describe()}`);
    find("said").textContent = describe();
    fields.forEach((name, i) => { find(name).value = String(column.words[i]); });
    document.querySelectorAll(".scale").forEach((one) => { one.hidden = one.dataset.scale !== (column.signed ? "signed" : "unsigned"); });
    photos.forEach((label, i) => {
      label.querySelector("input").checked = i === state.image;
      show(i, label.querySelector(".over"), column);
    });
    buttons.forEach((button, i) => {
      const own = data.columns[i];
      button.querySelector(".back").src = photo.src;
      show(state.image, button.querySelector(".over"), own);
      button.querySelector(".caption").textContent = own.captions[state.image] || "";
      button.setAttribute("aria-current", String(i === state.column));
    });
    document.querySelectorAll(".over").forEach((one) => { one.style.opacity = String(opacity); });
    find("percent").textContent = `${Math.round(opacity * 100)} %`;
  }

  fields.forEach((name) => find(name).addEventListener("change", () => choose(name)));
  find("opacity").addEventListener("input", draw);
  photos.forEach((label, i) => label.querySelector("input").addEventListener("change", () => { state.image = i; draw(); }));
  buttons.forEach((button, i) => button.addEventListener("click", () => { state.column = i; draw(); }));
  draw();
  document.documentElement.dataset.drawn = "yes";
})();
