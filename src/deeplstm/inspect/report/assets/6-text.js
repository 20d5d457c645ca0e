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

function here() {
  const holder = document.querySelector(".here"), { pieces, unit: noun } = data.steps, { symbols, top } = data.expected;
  const [expected, ofUnit] = ["expected", "unit-here"].map((id) => byId(id).tBodies[0]);
  const cells = (body, count) => Array.from({ length: count }, () => {
    const row = body.insertRow(), [name, bar, number] = [0, 1, 2].map(() => row.insertCell());
    bar.append(Object.assign(document.createElement("div"), { className: "bar" }));
    bar.firstChild.append(document.createElement("i"));
    return { row, name, bar: bar.firstChild.firstChild, number };
  });
  const most = top[0].length, expectedRows = cells(expected, most + 1);
  let unitRows = [];
  const fill = (cell, name, left, width, number) => {
    cell.name.textContent = name;
    Object.assign(cell.bar.style, { left: `${100 * left}%`, width: `${100 * width}%` });
    cell.number.textContent = number;
  };
  const one = view("here", holder, ["layer", "unit", "step"], () => {
    const n = state.step, p = data.expected.p[n];
    byId("here-title").textContent = named(pieces[n]);
    byId("here-about").textContent = `${noun} ${(n + 1).toLocaleString("en")} of ${data.steps.count.toLocaleString("en")}, ${bits(n).toFixed(1)} bits of surprise`;
    const list = top[n].map(([symbol, share]) => [symbols[symbol], share, symbol === data.expected.actual[n]]);
    const ranked = list.some((entry) => entry[2]);
    if (!ranked) list.push([symbols[data.expected.actual[n]], p, true]);
    expectedRows.forEach((cell, k) => {
      cell.row.hidden = k >= list.length;
      if (cell.row.hidden) return;
      cell.row.className = list[k][2] ? "it" : "";
      fill(cell, named(list[k][0]), 0, list[k][1], percent(list[k][1]));
    });
    const values = layerNow().values;
    if (unitRows.length !== values.length) {
      ofUnit.replaceChildren();
      unitRows = cells(ofUnit, values.length);
    }
    values.forEach((value, k) => {
      const of = table(value.array, () => touch(one, "data"));
      unitRows[k].row.hidden = !of || state.unit >= of.rows;
      if (unitRows[k].row.hidden) return;
      const x = of.at(state.unit, n), share = Math.min(1, Math.abs(x) / Math.max(1, of.limitOf(state.unit)));
      if (of.unsigned) fill(unitRows[k], value.name, 0, share, signed(x));
      else fill(unitRows[k], value.name, x < 0 ? 0.5 - share / 2 : 0.5, share / 2, signed(x));
    });
    say(list);
  });

  let saying = 0;
  function say(list) { // not every step of a key that is held down
    clearTimeout(saying);
    saying = setTimeout(() => {
      const [best] = list, of = table(packedNow(), () => {});
      const value = of ? ` ${state.value} ${signed(of.at(state.unit, state.step))},` : "";
      byId("status").textContent = `${noun} ${state.step + 1}, ${spoken(pieces[state.step])}. ${layerNow().name}, unit ${state.unit},${value} most expected: ${spoken(best[0])}, ${percent(best[1])}.`;
    }, 250);
  }
}
