// All values of one unit around the chosen step, above the text itself or its steps' numbers: a panel for those in [0, 1], one for those in
// [-1, 1], one for those that go further.

function strip() {
  const canvas = byId("strip"), { pieces, count } = data.steps;
  let from = 0, wide = 1, left = 40;
  const one = view("strip", canvas, ["layer", "unit", "step", "feature", "value"], () => {
    const { context, width, height } = sized(canvas);
    const longest = data.steps.unit === "word" ? 56 : isText ? 13 : 6;
    const steps = Math.max(8, Math.min(count, Math.floor((width - left - 6) / longest)));
    wide = (width - left - 6) / steps;
    from = between(0, state.step - (steps >> 1), Math.max(0, count - steps));
    const shown = Math.min(steps, count - from), middle = (n) => left + (n - from + 0.5) * wide;
    const all = layerNow().values.map((value, n) => ({ name: value.name, of: table(value.array, () => touch(one, "data")), colour: colourOf(value.name, n) }));
    if (all.some((entry) => !entry.of)) return;
    const here = all.filter((entry) => state.unit < entry.of.rows);
    const kind = ({ of }) => (of.unsigned ? 0 : of.high.every((high) => high <= 1) ? 1 : 2);
    const panels = [0, 1, 2].map((wanted) => here.filter((entry) => kind(entry) === wanted)).filter((panel) => panel.length);
    const room = (height - 30) / panels.length;
    context.fillStyle = colours.line;
    context.fillRect(middle(state.step) - wide / 2, 0, wide, height);
    panels.forEach((panel, k) => {
      const unsigned = panel[0].of.unsigned, high = kind(panel[0]) < 2 ? 1 : largest(panel, from, shown), low = unsigned ? 0 : -high;
      const [top, bottom] = [k * room + 8, (k + 1) * room - 8];
      const y = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);
      context.strokeStyle = colours.line;
      context.fillStyle = colours.dim;
      context.textAlign = "right";
      context.lineWidth = 1;
      for (const v of unsigned ? [0, 1] : [low, 0, high]) {
        context.beginPath(); context.moveTo(left, y(v)); context.lineTo(width - 6, y(v)); context.stroke();
        context.fillText(short(round(v)), left - 5, y(v));
      }
      for (const { name, of, colour } of panel) {
        context.strokeStyle = colour;
        context.lineWidth = name === state.value ? 3 : 1.5;
        context.lineJoin = "round";
        context.beginPath();
        for (let n = 0; n < shown; n++) context.lineTo(middle(from + n), y(of.at(state.unit, from + n)));
        context.stroke();
      }
      const feature = data.features.find((entry) => entry.name === state.feature);
      if (feature && k === panels.length - 1) {
        const [least, most] = extent(feature.values), apart = most - least || 1;
        context.strokeStyle = colours.accent;
        context.lineWidth = 1.5;
        context.setLineDash([5, 4]);
        context.beginPath();
        for (let n = 0; n < shown; n++) context.lineTo(middle(from + n), y(low + ((feature.values[from + n] - least) / apart) * (high - low)));
        context.stroke();
        context.setLineDash([]);
      }
    });
    if (!isText) {
      context.fillStyle = colours.dim;
      timeTicks(context, from, shown, wide, left, width - 6, height - 9);
      timeName(context, left / 2 - 2, height - 6);
    } else {
      context.font = "13px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
      context.textAlign = "center";
    }
    for (let n = from; isText && n < from + shown; n++) {
      context.fillStyle = n === state.step ? colours.accent : colours.ink;
      const word = named(pieces[n].trim() || pieces[n]);
      if (word.length > 1) context.fillText(word, middle(n), height - 12, wide - 4);
      else context.fillText(word, middle(n), height - 12);
    }
    keys(here);
  });
  const largest = (panel, begin, length) => panel.reduce((most, { of }) => {
    for (let n = begin; n < begin + length; n++) most = Math.max(most, Math.abs(of.at(state.unit, n)));
    return most;
  }, 1e-3) * 1.08;
  function keys(entries) {
    const made = entries.map(({ name, colour }) => key(name, colour));
    if (state.feature) made.push(key(`${state.feature} (scaled)`, colours.accent, "dashed"));
    byId("strip-keys").replaceChildren(...made);
  }
  function key(name, colour, kind = "") {
    const holder = document.createElement("span"), line = document.createElement("i");
    line.className = kind;
    line.style.borderColor = colour;
    holder.append(line, name);
    return holder;
  }
  canvas.addEventListener("click", (event) => change({ step: from + Math.floor((event.offsetX - left) / wide) }));
}
