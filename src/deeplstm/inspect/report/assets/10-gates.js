// Saturation and weights, gate by gate, of the chosen layer.

function saturation() {
  const holder = byId("saturation");
  if (!holder) return;
  let old = [], shown = -1;
  view("saturation", holder, ["layer"], () => {
    if (shown === state.layer) return;
    shown = state.layer;
    forget(old);
    holder.replaceChildren();
    old = data.saturation.filter((one) => one.layer === layerNow().name).map((gate) => {
      const { button, canvas } = picture(holder, gate.gate);
      button.tabIndex = -1; // a dot is chosen with the pointer; the keys have the unit's number
      const place = (width, height) => [(share) => 44 + share * (width - 58), (share) => height - 42 - share * (height - 54)];
      canvas.addEventListener("click", (event) => {
        const [x, y] = place(canvas.clientWidth, canvas.clientHeight);
        const away = (n) => (x(gate.left[n] / 1000) - event.offsetX) ** 2 + (y(gate.right[n] / 1000) - event.offsetY) ** 2;
        const unit = gate.left.reduce((best, _, n) => (away(n) < away(best) ? n : best), 0);
        change({ unit, value: gate.gate });
      });
      return view(`saturation ${gate.gate}`, canvas, ["unit"], () => {
        const { context, width, height } = sized(canvas), [x, y] = place(width, height);
        context.strokeStyle = colours.line;
        context.fillStyle = colours.dim;
        context.beginPath(); context.moveTo(x(0), y(1)); context.lineTo(x(0), y(0)); context.lineTo(x(1), y(0)); context.closePath(); context.stroke();
        for (const share of [0, 0.5, 1]) {
          context.textAlign = "center";
          context.fillText(share, x(share), y(0) + 13);
          context.textAlign = "right";
          context.fillText(share, x(0) - 8, y(share));
          context.fillRect(x(share) - 0.5, y(0), 1, 5);
          context.fillRect(x(0) - 5, y(share) - 0.5, 5, 1);
        }
        context.textAlign = "center";
        context.fillText(`below ${short(gate.low)}, share of steps`, x(0.5), height - 9);
        upwards(context, `above ${short(gate.high)}, share of steps`, 8, y(0.5));
        context.fillStyle = colourOf(gate.gate, 0);
        context.globalAlpha = 0.55;
        for (let n = 0; n < gate.left.length; n++) { context.beginPath(); context.arc(x(gate.left[n] / 1000), y(gate.right[n] / 1000), 3, 0, 7); context.fill(); }
        if (state.unit >= gate.left.length) return;
        context.globalAlpha = 1;
        context.strokeStyle = colours.ink;
        context.lineWidth = 2;
        context.beginPath(); context.arc(x(gate.left[state.unit] / 1000), y(gate.right[state.unit] / 1000), 6, 0, 7); context.fill(); context.stroke();
      });
    });
  }, true);
}

function weights() {
  const holder = byId("weights");
  if (!holder) return;
  let old = [], shown = -1;
  view("weights", holder, ["layer", "value"], () => {
    const all = data.weights.filter((one) => one.layer === layerNow().name);
    if (shown !== state.layer) {
      shown = state.layer;
      build(all);
    }
    old.forEach(({ button }, n) => button.setAttribute("aria-pressed", all[n].gate === state.value));
  }, true);
  function build(all) {
    forget(old.map((one) => one.view));
    holder.replaceChildren();
    old = all.map((gate) => {
      const { button, canvas } = picture(holder, gate.name, gate.split < gate.columns ? `${gate.rows} × (${gate.split} + ${gate.columns - gate.split})` : `${gate.rows} × ${gate.columns}`);
      canvas.addEventListener("click", (event) => {
        const unit = Math.floor((event.offsetY / canvas.clientHeight) * gate.rows);
        if (gate.rows === unitsNow()) change({ unit });
      });
      button.addEventListener("click", () => { if (layerNow().values.some((one) => one.name === gate.gate)) change({ value: gate.gate }); });
      const one = view(`weights ${gate.gate}`, canvas, ["unit"], () => {
        const of = table(gate.array, () => touch(one, "data"));
        if (!of) return;
        legend("weights-legend", false, `${short(-of.limit)} and beyond`, `${short(of.limit)} and beyond`);
        const { context, width, height } = sized(canvas);
        context.imageSmoothingEnabled = false;
        context.drawImage(imageOf(of), 0, 0, of.columns, of.rows, 0, 0, width, height);
        const x = (gate.split / gate.columns) * width, y = ((state.unit + 0.5) / gate.rows) * height;
        context.fillStyle = colours.ink;
        if (gate.split < gate.columns) context.fillRect(x - 1, 0, 2, height);
        if (gate.rows !== unitsNow()) return;
        context.beginPath();
        for (const [edge, by] of [[0, 9], [width, -9]]) { context.moveTo(edge, y - 5); context.lineTo(edge + by, y); context.lineTo(edge, y + 5); }
        context.fill();
      });
      return { button, view: one };
    });
    const block = all[0]?.block ?? 1;
    byId("weights-note").textContent = block > 1 ? ` Each pixel shows the largest of ${block} × ${block} weights.` : "";
  }
}
