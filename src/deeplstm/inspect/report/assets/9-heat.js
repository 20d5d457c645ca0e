// Heat maps: a row a unit, a column a step. An image of the array's own size is made once for each array and theme, and
// drawn scaled; the marks lie on a canvas of their own, so that moving them redraws no map.

const images = new Map(); // Table -> {dark, limit, canvas}

function imageOf(of) {
  const known = images.get(of);
  if (known?.dark === colours.dark) return known.canvas;
  const canvas = known?.canvas ?? Object.assign(document.createElement("canvas"), { width: of.columns, height: of.rows });
  const context = canvas.getContext("2d"), image = context.createImageData(of.columns, of.rows), pixels = new Uint32Array(image.data.buffer);
  const { words } = colours[of.unsigned ? "unsigned" : "signed"], same = !Array.isArray(of.high);
  let of256 = null;
  for (let row = 0, n = 0; row < of.rows; row++) {
    if (!of256 || !same) of256 = Uint32Array.from(places(of, row, of.limit), (place) => words[place]);
    for (const end = n + of.columns; n < end; n++) pixels[n] = of256[of.q[n]];
  }
  context.putImageData(image, 0, 0);
  images.set(of, { dark: colours.dark, canvas });
  return canvas;
}

// Units from the least to the greatest mean, as row numbers of the array.
const orders = new Map();
function orderOf(of) {
  if (state.order === "number") return null;
  if (!orders.has(of)) {
    const means = Array.from({ length: of.rows }, (_, row) => {
      let sum = 0;
      for (const q of of.bytes(row)) sum += of.valueOf(row, q);
      return sum / of.columns;
    });
    orders.set(of, means.map((_, row) => row).sort((a, b) => means[b] - means[a]));
  }
  return orders.get(of);
}

function heat() {
  const holder = byId("heat"), image = byId("heat-image"), mark = byId("heat-mark"), { count, unit: noun } = data.steps;
  const range = byId("range");
  rangeChoice(range);
  byId("order").addEventListener("change", (event) => change({ order: event.target.value }));
  holder.addEventListener("keydown", walk);
  let drawn = [0, count];

  const map = view("heat", holder, ["layer", "value", "range", "order", "step"], (changed) => {
    if (changed.size === 1 && changed.has("step") && !state.range) return; // the whole text stays where it is
    const of = table(packedNow(), () => touch(map, "data"));
    if (!of) return;
    const { context, width, height } = sized(image), source = imageOf(of), order = orderOf(of);
    drawn = spanOf(state.range, state.step);
    range.value = state.range;
    byId("order").value = state.order;
    context.imageSmoothingEnabled = drawn[1] > width || of.rows > height;
    if (!order) context.drawImage(source, drawn[0], 0, drawn[1], of.rows, 0, 0, width, height);
    else order.forEach((row, n) => context.drawImage(source, drawn[0], row, drawn[1], 1, 0, (n * height) / of.rows, width, Math.ceil(height / of.rows)));
    byId("heat-name").textContent = `${layerNow().name}, ${state.value}`;
    const beyond = of.unsigned || Math.max(...of.high) <= of.limit ? "" : " and beyond";
    axes(of.rows, order);
    legend("heat-legend", of.unsigned, of.unsigned ? "0" : short(-of.limit) + beyond, short(of.unsigned ? 1 : of.limit) + beyond);
    touch(marks, "data");
  });
  // Beside and below the map; where units stand by their means, a row has the number of the unit in it.
  function axes(rows, order) {
    const { context, width, height } = sized(byId("heat-units")), y = (row) => ((row + 0.5) / rows) * height;
    context.fillStyle = colours.dim;
    context.textAlign = "right";
    for (const row of rows > 1 ? ticks(0, rows - 1, Math.min(8, height / 30)).filter(Number.isInteger) : [0]) {
      context.fillRect(width - 5, y(row) - 0.5, 5, 1);
      context.fillText(String(order ? order[row] : row), width - 8, between(7, y(row), height - 7));
    }
    upwards(context, order ? "unit, greatest mean on top" : "unit", 8, height / 2);
    const { context: below, width: along } = sized(byId("heat-steps"));
    below.fillStyle = colours.dim;
    timeTicks(below, ...drawn, along / drawn[1], 0, along, 9);
    timeName(below, along / 2, 30);
  }
  const marks = view("heat-mark", mark, ["layer", "value", "unit", "step", "range", "order"], () => {
    const { context, width, height } = sized(mark), rows = unitsNow();
    const of = table(packedNow(), () => touch(marks, "data")), order = of && orderOf(of);
    const row = order ? order.indexOf(state.unit) : state.unit;
    const x = ((state.step + 0.5 - drawn[0]) / drawn[1]) * width, y = ((row + 0.5) / rows) * height;
    context.strokeStyle = colours.ink;
    context.globalAlpha = 0.8;
    const gap = 7;
    context.beginPath();
    for (const [a, b, c, d] of [[x, 0, x, y - gap], [x, y + gap, x, height], [0, y, x - gap, y], [x + gap, y, width, y]]) { context.moveTo(a, b); context.lineTo(c, d); }
    context.stroke();
    context.strokeRect(x - gap, y - gap, 2 * gap, 2 * gap);
  });

  const under = (event) => {
    const of = table(packedNow(), () => {}), rows = unitsNow(), order = of && orderOf(of);
    const row = between(0, Math.floor((event.offsetY / holder.clientHeight) * rows), rows - 1);
    return { step: between(0, drawn[0] + Math.floor((event.offsetX / holder.clientWidth) * drawn[1]), count - 1), unit: order ? order[row] : row, of };
  };
  mark.addEventListener("click", (event) => { const { step, unit } = under(event); change({ step, unit }); });
  mark.addEventListener("pointermove", (event) => {
    const { step, unit, of } = under(event);
    if (of) byId("heat-readout").textContent = `unit ${unit} at ${noun} ${numberOf(step)}${calledHere(step)}: ${signed(of.at(unit, step))}`;
  });
  maps();
}

// A small picture with a name: a button with a canvas.
function picture(holder, name, about) {
  const button = document.createElement("button"), title = document.createElement("b"), canvas = document.createElement("canvas");
  Object.assign(button, { type: "button", className: "map" });
  title.textContent = name;
  button.append(title, about ? ` ${about}` : "", canvas);
  holder.append(button);
  return { button, canvas };
}

// The small maps of all values of the layer.
function maps() {
  const holder = byId("maps");
  let small = [];
  view("maps", holder, ["layer", "value"], (changed) => {
    if (changed.has("layer") || !small.length) build();
    for (const { button, name } of small) button.setAttribute("aria-pressed", name === state.value);
  }, true);
  function build() {
    forget(small.map((one) => one.view));
    holder.replaceChildren();
    small = layerNow().values.map((value) => {
      const { button, canvas } = picture(holder, value.name);
      button.addEventListener("click", () => change({ value: value.name }));
      const one = view(`map ${value.name}`, canvas, [], () => {
        const of = table(value.array, () => touch(one, "data"));
        if (!of) return;
        const { context, width, height } = sized(canvas);
        context.drawImage(imageOf(of), 0, 0, of.columns, of.rows, 0, 0, width, height);
      });
      return { button, name: value.name, view: one };
    });
  }
}

function forget(old) {
  for (const one of old) {
    sight.unobserve(one.element);
    sizes.unobserve(one.element);
    views.splice(views.indexOf(one), 1);
  }
}
