// The text, a span each step, in the colour of the chosen unit; and what there is to say about the chosen step.

function text() {
  const holder = byId("text"), { pieces } = data.steps;
  const spans = pieces.map((piece, n) => {
    const span = document.createElement("span");
    span.textContent = piece;
    if (piece.endsWith("\n")) span.className = "end";
    span.dataset.step = n;
    return span;
  });
  holder.append(...spans);
  holder.addEventListener("click", (event) => {
    const step = event.target.dataset.step;
    if (step !== undefined) change({ step: Number(step) });
  });
  holder.addEventListener("keydown", walk);

  const painted = new Array(spans.length).fill("");
  let marked = null;
  const one = view("text", holder, ["layer", "value", "unit", "step", "colour"], (changed) => {
    if (changed.has("step")) keepInSight(holder, spans[state.step]); // first, while the layout is still known
    marked?.classList.remove("at");
    marked = spans[state.step];
    marked.classList.add("at");
    if (changed.size > 1 || !changed.has("step")) paint();
  });

  function paint() {
    let colour;
    if (state.colour === "surprise") {
      const most = Math.log2(data.expected.symbols_in_all);
      colour = (n) => colours.unsigned.css[between(0, Math.round((255 * bits(n)) / most), 255)];
      byId("legend-title").textContent = "Surprise, in bits";
      legend("legend", true, "0", most.toFixed(1));
    } else {
      const of = table(packedNow(), () => touch(one, "data"));
      if (!of) return;
      const limit = of.limitOf(state.unit), place = places(of, state.unit, limit), row = of.bytes(state.unit);
      const { css } = colours[of.unsigned ? "unsigned" : "signed"];
      colour = (n) => css[place[row[n]]];
      byId("legend-title").textContent = `${layerNow().name}, ${state.value}, unit ${state.unit}`;
      legend("legend", of.unsigned, of.unsigned ? "0" : short(round(-limit)), short(round(limit)));
    }
    for (let n = 0; n < spans.length; n++) {
      const wanted = colour(n);
      if (painted[n] !== wanted) spans[n].style.backgroundColor = painted[n] = wanted;
    }
  }
}

function keepInSight(holder, span) {
  const { offsetTop: top, offsetHeight: height } = span;
  if (top < holder.scrollTop + 20) holder.scrollTop = top - 60;
  else if (top + height > holder.scrollTop + holder.clientHeight - 20) holder.scrollTop = top + height + 60 - holder.clientHeight;
}

const round = (x) => Number(x.toPrecision(2));
const bits = (n) => -Math.log2(Math.max(data.expected.p[n], 1e-6));

// What there is to say about the chosen step: what was expected or what its numbers are, and all values of the unit.
function here() {
  const noun = data.steps.unit, ofUnit = byId("unit-here").tBodies[0];
  const fillStep = isText ? hereInText() : hereInNumbers();
  let unitRows = [];
  const one = view("here", document.querySelector(".here"), ["layer", "unit", "step"], () => {
    const words = fillStep(state.step), values = layerNow().values;
    if (unitRows.length !== values.length) {
      ofUnit.replaceChildren();
      unitRows = barRows(ofUnit, values.length);
    }
    values.forEach((value, k) => {
      const of = table(value.array, () => touch(one, "data"));
      unitRows[k].row.hidden = !of || state.unit >= of.rows;
      if (unitRows[k].row.hidden) return;
      const x = of.at(state.unit, state.step), share = Math.min(1, Math.abs(x) / Math.max(1, of.limitOf(state.unit)));
      if (of.unsigned) fillBar(unitRows[k], value.name, 0, share, signed(x));
      else fillBar(unitRows[k], value.name, x < 0 ? 0.5 - share / 2 : 0.5, share / 2, signed(x));
    });
    say(words);
  });

  let saying = 0;
  function say({ step, what }) { // not every step of a key that is held down
    clearTimeout(saying);
    saying = setTimeout(() => {
      const of = table(packedNow(), () => {});
      const value = of ? ` ${state.value} ${signed(of.at(state.unit, state.step))}` : "";
      byId("status").textContent = `${noun} ${step}. ${layerNow().name}, unit ${state.unit},${value}, ${what}.`;
    }, 250);
  }
}

// Rows of a name, a bar and a number.
const barRows = (body, count) => Array.from({ length: count }, () => {
  const row = body.insertRow(), [name, bar, number] = [0, 1, 2].map(() => row.insertCell());
  bar.append(Object.assign(document.createElement("div"), { className: "bar" }));
  bar.firstChild.append(document.createElement("i"));
  return { row, name, bar: bar.firstChild.firstChild, number };
});

function fillBar(cell, name, left, width, number) {
  cell.name.textContent = name;
  Object.assign(cell.bar.style, { left: `${100 * left}%`, width: `${100 * width}%` });
  cell.number.textContent = number;
}

// Both give a function of a step that fills what stands beside the text or the curves, and returns what is to be said.
function hereInText() {
  const { pieces, unit: noun } = data.steps, { symbols, top } = data.expected;
  const most = top[0].length, rows = barRows(byId("expected").tBodies[0], most + 1);
  return (n) => {
    const p = data.expected.p[n];
    byId("here-title").textContent = named(pieces[n]);
    byId("here-about").textContent = `${noun} ${(n + 1).toLocaleString("en")} of ${data.steps.count.toLocaleString("en")}, ${bits(n).toFixed(1)} bits of surprise`;
    const list = top[n].map(([symbol, share]) => [symbols[symbol], share, symbol === data.expected.actual[n]]);
    if (!list.some((entry) => entry[2])) list.push([symbols[data.expected.actual[n]], p, true]);
    rows.forEach((cell, k) => {
      cell.row.hidden = k >= list.length;
      if (cell.row.hidden) return;
      cell.row.className = list[k][2] ? "it" : "";
      fillBar(cell, named(list[k][0]), 0, list[k][1], percent(list[k][1]));
    });
    return { step: `${n + 1}, ${spoken(pieces[n])}`, what: `most expected: ${spoken(list[0][0])}, ${percent(list[0][1])}` };
  };
}

function hereInNumbers() {
  const { pieces, unit: noun, count } = data.steps, MOST = 10;
  const tables = ["input", "output"].filter((kind) => byId(`${kind}-here`)).map((kind) => {
    const all = curvesOf(kind).map((one) => ({ ...one, extent: extent(one.values), digits: digitsOf(one) })), body = byId(`${kind}-here`).tBodies[0];
    const rows = barRows(body, Math.min(MOST, all.length));
    if (all.length > MOST) byId(`${kind}-here`).createTFoot().insertRow().insertCell().textContent = `and ${all.length - MOST} more`;
    return { all, rows };
  });
  return (n) => {
    byId("here-title").textContent = `${noun} ${numberOf(n)}`;
    byId("here-about").textContent = pieces[n] ?? `${noun}s are ${numberOf(0)} to ${numberOf(count - 1)}`;
    for (const { all, rows } of tables) rows.forEach((row, k) => {
      const { name, beside, values, extent: [low, high], digits } = all[k];
      fillBar(row, beside || name, 0, high > low ? (values[n] - low) / (high - low) : 0, written(values[n], digits));
    });
    const followed = data.features.find((one) => one.name === state.feature) ?? data.features[0];
    return { step: `${numberOf(n)}${pieces[n] ? `, ${pieces[n]}` : ""}`, what: `${followed.name} ${written(followed.values[n], digitsOf(followed))}` };
  };
}
