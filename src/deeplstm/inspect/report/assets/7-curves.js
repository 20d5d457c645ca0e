// Numbers over time, in the place of a text: a lane for each curve, in front of the colours of the chosen unit. Colours, curves
// and marks lie on canvases of their own, so that each change redraws what it must.

const curvesOf = (kind) => data.features.filter((one) => one.kind === kind);

// A number with the digits that its curve has.
function digitsOf({ values }) {
  const [low, high] = extent(values), size = high - low || Math.abs(high) || 1;
  return between(0, 2 - Math.floor(Math.log10(size)), 6);
}
function extent(values) {
  return values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
}
const written = (value, digits) => value.toFixed(digits).replace("-", "−");

// Which steps are shown: all, or as many around the chosen one as the range says.
function spanOf(range, step) {
  const { count } = data.steps, steps = Math.min(range || count, count);
  return [between(0, step - (steps >> 1), count - steps), steps];
}

function rangeChoice(select) {
  const { count, unit: noun } = data.steps;
  for (const steps of [0, 500, 200, 80].filter((steps) => steps < count)) select.append(new Option(steps ? `${steps} ${noun}s around the chosen one` : isText ? "the whole text" : `all ${noun}s`, steps));
  select.addEventListener("change", () => change({ range: Number(select.value) }));
}

function curves() {
  const holder = byId("curves"), scroll = holder.parentElement, [paint, ink, mark, axis] = ["curves-colour", "curves-lines", "curves-mark", "curves-axis"].map(byId);
  const lanes = data.features.filter((one) => !one.beside).map((one) => {
    const all = [one, ...data.features.filter(({ beside }) => beside === one.name)]; // what was expected is drawn over what came
    return { ...one, all, extent: extent(all.flatMap(({ values }) => values)), digits: digitsOf(one) };
  });
  const isChosen = ({ name }) => name === state.feature;
  const height = between(44, Math.floor(420 / lanes.length), 130), gap = 3;
  holder.style.height = `${height * lanes.length - gap}px`;
  const range = byId("curves-range");
  rangeChoice(range);
  scroll.addEventListener("keydown", walk);
  const isStill = (changed) => changed.size === 1 && changed.has("step") && !state.range; // all steps: none moves
  const y = (lane, n) => {
    const [low, high] = lanes[n].extent, top = n * height + 19, bottom = (n + 1) * height - gap - 5;
    return (v) => bottom - (high > low ? (v - low) / (high - low) : 0.5) * (bottom - top);
  };

  const one = view("curves-colour", paint, ["layer", "value", "unit", "range", "step"], (changed) => {
    if (isStill(changed)) return;
    const of = table(packedNow(), () => touch(one, "data"));
    if (!of) return;
    const limit = of.limitOf(state.unit), place = places(of, state.unit, limit), row = of.bytes(state.unit), { words } = colours[of.unsigned ? "unsigned" : "signed"];
    const strip = Object.assign(document.createElement("canvas"), { width: of.columns, height: 1 }), brush = strip.getContext("2d"), image = brush.createImageData(of.columns, 1);
    new Uint32Array(image.data.buffer).set(Uint32Array.from(row, (q) => words[place[q]]));
    brush.putImageData(image, 0, 0);
    const { context, width, height: whole } = sized(paint), [from, steps] = spanOf(state.range, state.step);
    context.imageSmoothingEnabled = steps > width;
    context.drawImage(strip, from, 0, steps, 1, 0, 0, width, whole);
    for (let n = 1; n < lanes.length; n++) context.clearRect(0, n * height - gap, width, gap);
    byId("legend-title").textContent = `${layerNow().name}, ${state.value}, unit ${state.unit}`;
    legend("legend", of.unsigned, of.unsigned ? "0" : short(round(-limit)), short(round(limit)));
  });

  view("curves", ink, ["range", "step", "feature"], (changed) => {
    if (isStill(changed)) return;
    const { context, width } = sized(ink), [from, steps] = spanOf(state.range, state.step), wide = width / steps;
    range.value = state.range;
    lanes.forEach((lane, n) => {
      const of = y(lane, n);
      const stroke = ({ values }, colour, lineWidth, dashes) => {
        Object.assign(context, { strokeStyle: colour, lineWidth, lineJoin: "round" });
        context.setLineDash(dashes);
        context.beginPath();
        for (let k = 0; k < steps; k++) context.lineTo((k + 0.5) * wide, of(values[from + k]));
        context.stroke();
      };
      for (const one of lane.all) if (one.beside) stroke(one, colours.card, 4, []); // so that it is seen on any colour
      for (const one of lane.all) stroke(one, one.beside ? colours.accent : colours.ink, isChosen(one) ? 2.4 : 1.4, one.kind === "output" ? [6, 3] : []);
    });
    context.setLineDash([]);
    const { context: under, width: along } = sized(axis);
    under.fillStyle = colours.dim;
    timeTicks(under, from, steps, along / steps, 0, along, 9);
    timeName(under, along / 2, 30);
  });

  view("curves-mark", mark, ["step", "range", "feature"], () => {
    const { context, width, height: whole } = sized(mark), [from, steps] = spanOf(state.range, state.step), wide = width / steps;
    const x = (state.step - from + 0.5) * wide;
    context.fillStyle = context.strokeStyle = colours.ink;
    context.globalAlpha = 0.8;
    context.strokeRect(x - Math.max(wide, 3) / 2, -2, Math.max(wide, 3), whole + 4);
    context.globalAlpha = 1;
    lanes.forEach((lane, n) => {
      const of = y(lane, n), chosen = lane.all.some(isChosen);
      const words = lane.all.map(({ name, values }, k) => `${k ? "predicted" : name}  ${written(values[state.step], lane.digits)}`).join("   ");
      for (const one of lane.all) {
        context.fillStyle = one.beside ? colours.accent : colours.ink;
        context.beginPath(); context.arc(x, of(one.values[state.step]), 3, 0, 7); context.fill();
      }
      context.font = `${chosen ? 700 : 500} 12px system-ui, sans-serif`;
      const long = Math.min(context.measureText(words).width, width - 20), left = x < long + 24 ? width - long - 14 : 4;
      context.fillStyle = colours.card;
      context.globalAlpha = 0.85;
      context.fillRect(left, n * height + 2, long + 10, 16);
      context.globalAlpha = 1;
      context.fillStyle = chosen ? colours.accent : colours.ink;
      context.fillText(words, left + 5, n * height + 10, long);
      context.fillStyle = colours.ink;
    });
  });

  mark.addEventListener("click", (event) => {
    const [from, steps] = spanOf(state.range, state.step);
    change({ step: from + Math.floor((event.offsetX / mark.clientWidth) * steps) });
  });
}

// Numbers of steps, or their times, below a drawing of them: as many as have room, each under its step.
function timeTicks(context, from, steps, wide, left, right, y) {
  const { pieces, first } = data.steps, last = from + steps - 1;
  const name = (n) => (isText ? numberOf(n) : pieces[n] ?? String(n + first)), room = 26 + context.measureText([from, last].map(name).sort((a, b) => b.length - a.length)[0]).width;
  const shown = steps > 1 ? ticks(from + first, last + first, Math.max(1, Math.floor((right - left) / room))).filter(Number.isInteger).map((n) => n - first) : [from];
  context.textAlign = "center";
  for (const n of shown) {
    const x = left + (n - from + 0.5) * wide, half = context.measureText(name(n)).width / 2;
    context.fillRect(x - 0.5, y - 9, 1, 4);
    context.fillText(name(n), between(left + half, x, right - half), y + 3);
  }
}

function timeName(context, x, y) {
  context.textAlign = "center";
  context.fillText(data.steps.unit, x, y);
}
