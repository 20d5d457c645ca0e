// Layer, value and unit: radio buttons and a number, the gates of the diagram, and the units that track a feature.

function segments(fieldset, name, entries, choose) {
  for (const old of fieldset.querySelectorAll("label")) old.remove();
  for (const [value, label] of entries) {
    const holder = document.createElement("label"), input = document.createElement("input"), words = document.createElement("span");
    Object.assign(input, { type: "radio", name, value });
    words.textContent = label;
    holder.append(input, words);
    input.addEventListener("change", () => choose(value));
    fieldset.append(holder);
  }
}
const check = (fieldset, value) => { for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === String(value); };

function controls() {
  segments(byId("layers"), "layer", data.trace.layers.map((layer, n) => [n, layer.name.replace(/^layer /, "")]), (n) => change({ layer: Number(n) }));
  let shown = null; // the layer whose values the buttons name
  const unit = byId("unit");
  unit.addEventListener("input", () => { if (unit.value !== "") change({ unit: Math.round(Number(unit.value)) || 0 }); });
  unit.addEventListener("change", () => { unit.value = state.unit; });
  byId("unit-less").addEventListener("click", () => change({ unit: state.unit - 1 }));
  byId("unit-more").addEventListener("click", () => change({ unit: state.unit + 1 }));
  byId("colour-by")?.addEventListener("change", (event) => change({ colour: event.target.value }));
  const gates = [...document.querySelectorAll(".gates button")];
  for (const gate of gates) gate.addEventListener("click", () => change({ layer: layerNumber(gate.dataset.layer), value: gate.dataset.value }));

  view("controls", byId("controls"), ["layer", "value", "unit"], () => {
    if (shown !== state.layer) {
      segments(byId("values"), "value", layerNow().values.map((one) => [one.name, one.name]), (value) => change({ value, colour: "unit" }));
      shown = state.layer;
    }
    check(byId("layers"), state.layer);
    check(byId("values"), state.value);
    unit.max = unitsNow() - 1;
    if (document.activeElement !== unit || Number(unit.value) !== state.unit) unit.value = state.unit;
    byId("unit-of").textContent = `of ${unitsNow().toLocaleString("en")}`;
  }, true);
  view("network", document.querySelector(".network"), ["layer", "value"], () => {
    for (const block of document.querySelectorAll(".block[data-layer]")) block.classList.toggle("chosen", layerNumber(block.dataset.layer) === state.layer);
    for (const gate of gates) gate.setAttribute("aria-pressed", layerNumber(gate.dataset.layer) === state.layer && gate.dataset.value === state.value);
  }, true);
}
const layerNumber = (name) => data.trace.layers.findIndex((layer) => layer.name === name);

function tracks() {
  const holder = byId("tracks"), found = byId("found");
  for (const feature of data.features) {
    const chip = document.createElement("button");
    Object.assign(chip, { type: "button", className: "chip", textContent: feature.name, disabled: !feature.best.length });
    chip.title = feature.best.length ? feature.about : isText ? "This text has nothing of it, or nothing else." : "It never changes.";
    chip.addEventListener("click", () => {
      const again = state.feature === feature.name;
      change({ feature: again ? null : feature.name });
      if (!again) goTo(feature.best[0]);
    });
    holder.append(chip);
  }
  const goTo = (one) => change({ layer: layerNumber(one.layer), value: one.value, unit: one.unit, colour: "unit" });
  view("tracks", holder.parentElement, ["feature", "layer", "value", "unit"], (changed) => {
    const feature = data.features.find((one) => one.name === state.feature);
    for (const chip of holder.children) chip.setAttribute("aria-pressed", chip.textContent === state.feature);
    found.hidden = !feature;
    if (!feature) return;
    if (changed.has("feature") || changed.has("all")) {
      const list = document.createElement("ol");
      for (const one of feature.best) {
        const entry = document.createElement("li"), button = document.createElement("button"), r = document.createElement("b");
        button.type = "button";
        r.textContent = signed(one.r);
        button.append(`${one.layer} · ${one.value} · unit ${one.unit}`, r);
        button.addEventListener("click", () => goTo(one));
        entry.append(button);
        list.append(entry);
      }
      const words = document.createElement("p");
      words.className = "dim";
      words.textContent = `Correlation with ${feature.about}, over this ${isText ? "text" : "sequence"}. Chance alone reaches ${feature.chance.toFixed(2)} (the best of all units against ${feature.shifts} copies of the feature shifted in time).`;
      found.replaceChildren(list, words);
    }
    found.querySelectorAll("button").forEach((button, n) => {
      const one = feature.best[n];
      button.setAttribute("aria-current", layerNumber(one.layer) === state.layer && one.value === state.value && one.unit === state.unit);
    });
  }, true);
}
