// A canvas in the size it has on the screen, and lines on it.

function sized(canvas) {
  const scale = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  return { context, width, height };
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1) }, (_, n) => (first + n) * step);
}

const short = (x) => (x !== 0 && (Math.abs(x) < 0.001 || Math.abs(x) >= 1e6) ? x.toExponential(0).replace("-", "−").replace("+", "") : String(Number(x.toPrecision(4))).replace("-", "−").replace(/(\d)(?=(\d{3})+$)/g, "$1,"));

// series: [{name, x, y, colour, dots, faint}]; options: {xLabel, yLabel, log, top}. Returns the places of x and y on the canvas.
function lines(canvas, series, options) {
  const { context, width, height } = sized(canvas);
  const rows = rowsOf(context, series, width - 12, context.measureText(options.yLabel).width + 16);
  const box = { left: 58, right: width - 12, top: 6 + 16 * rows.length, bottom: height - 40 };
  const all = (key) => series.flatMap((one) => one[key]).filter((v) => Number.isFinite(v) && (key === "x" || !options.log || v > 0));
  const f = options.log ? Math.log10 : (v) => v;
  const [xs, ys] = [all("x"), all("y").map(f)];
  const low = (list) => list.reduce((a, b) => Math.min(a, b), Infinity), high = (list) => list.reduce((a, b) => Math.max(a, b), -Infinity);
  const [x0, x1] = [low(xs), Math.max(high(xs), low(xs) + 1)];
  let [y0, y1] = [low(ys), Math.min(high(ys), options.top ?? Infinity)];
  const room = (y1 - y0 || 1) * 0.06;
  [y0, y1] = [y0 - room, y1 + room];
  const px = (x) => box.left + ((x - x0) / (x1 - x0)) * (box.right - box.left);
  const py = (y) => box.bottom - ((f(y) - y0) / (y1 - y0)) * (box.bottom - box.top);
  context.strokeStyle = colours.line;
  context.fillStyle = colours.dim;
  context.lineWidth = 1;
  context.textAlign = "right";
  const yTicks = options.log ? ticks(y0, y1, Math.min(5, Math.max(1, y1 - y0))).map((t) => 10 ** t) : ticks(y0, y1, 5);
  for (const t of yTicks) {
    context.beginPath(); context.moveTo(box.left, py(t)); context.lineTo(box.right, py(t)); context.stroke();
    context.fillText(short(t), box.left - 7, py(t));
  }
  context.textAlign = "center";
  for (const t of ticks(x0, x1, Math.max(4, width / 130))) {
    const half = context.measureText(short(t)).width / 2;
    context.fillText(short(t), Math.min(px(t), width - half - 1), box.bottom + 12);
  }
  context.fillText(options.xLabel, (box.left + box.right) / 2, height - 9);
  context.textAlign = "left";
  context.fillText(options.yLabel, 4, 9);
  context.save();
  context.beginPath(); context.rect(box.left, box.top - 4, box.right - box.left + 4, box.bottom - box.top + 8); context.clip();
  for (const one of series) {
    context.strokeStyle = context.fillStyle = one.colour;
    context.lineWidth = one.faint ? 1.3 : 2.2;
    context.globalAlpha = one.faint ? 0.75 : 1;
    context.lineJoin = "round";
    context.beginPath();
    one.x.forEach((x, n) => (options.log && !(one.y[n] > 0) ? 0 : context.lineTo(px(x), py(one.y[n]))));
    context.stroke();
    if (one.dots) for (let n = 0; n < one.x.length; n++) { context.beginPath(); context.arc(px(one.x[n]), py(one.y[n]), 3.5, 0, 7); context.fill(); }
  }
  context.restore();
  context.fillStyle = colours.dim;
  const cut = options.log ? null : series.find((one) => one.y.some((v) => v > y1));
  if (cut) sayCut(context, cut, { px, box, top: y1 });
  context.textAlign = "right"; // names above, from the right
  rows.forEach((row, n) => {
    let at = box.right;
    for (const one of [...row].reverse()) {
      context.fillStyle = one.colour;
      context.fillText(one.name, at, 9 + 16 * n);
      at -= context.measureText(one.name).width + 16;
      context.fillRect(at + 0.5, 8 + 16 * n, 11, 3);
      at -= 14;
    }
  });
  return { px, py, box, x: (place) => x0 + ((place - box.left) / (box.right - box.left)) * (x1 - x0) };
}

// The series in as many rows as their names need; the first has the name of the axis at its left.
function rowsOf(context, series, width, taken) {
  const rows = [[]];
  let room = width - taken;
  for (const one of series) {
    const long = context.measureText(one.name).width + 30;
    if (long > room && (rows.length === 1 || rows[rows.length - 1].length)) { rows.push([]); room = width; }
    rows[rows.length - 1].push(one);
    room -= long;
  }
  return rows;
}

// Words that are read from below, as beside an axis.
function upwards(context, words, x, y) {
  context.save();
  context.translate(x, y);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(words, 0, 0);
  context.restore();
}

// A word where a curve leaves the picture: how high it goes.
function sayCut(context, { x, y }, { px, box, top }) {
  const last = y.reduce((found, v, n) => (v > top ? n : found), 0), next = Math.min(last + 1, x.length - 1);
  const words = `↑ up to ${short(Number(y.reduce((a, b) => Math.max(a, b)).toPrecision(3)))}`;
  const back = x[last] + ((y[last] - top) / (y[last] - y[next] || 1)) * (x[next] - x[last]); // where it comes into the picture
  context.textAlign = "left";
  context.fillText(words, Math.min(px(back) + 8, box.right - context.measureText(words).width), box.top + 4);
}

// A chart with a line of words below that reads the curves where the pointer is, or where the keys moved to.
// steps: the x that can be read.
function readableChart(id, steps, makeSeries, options, words) {
  const canvas = byId(id), readout = byId(`${id}-readout`);
  if (!canvas) return;
  const nearestOf = (xs, x) => xs.reduce((best, other, n) => (Math.abs(other - x) < Math.abs(xs[best] - x) ? n : best), 0);
  let places = null, at = null; // at: which of the steps is read
  const one = view(id, canvas, [], () => {
    const series = makeSeries();
    places = lines(canvas, series, options);
    if (at === null) return;
    const context = canvas.getContext("2d"), x = steps[at];
    context.strokeStyle = colours.dim;
    context.beginPath(); context.moveTo(places.px(x), places.box.top); context.lineTo(places.px(x), places.box.bottom); context.stroke();
    readout.textContent = words(x, series.map((of) => {
      const n = nearestOf(of.x, x), value = Number.isFinite(of.y[n]) ? options.digits(of.y[n]) : "none";
      return `${of.name} ${value}${of.x[n] === x ? "" : ` (at ${of.x[n].toLocaleString("en")})`}`;
    }));
    canvas.setAttribute("aria-valuenow", x);
    canvas.setAttribute("aria-valuetext", readout.textContent);
  });
  const read = (n) => { at = n === null ? null : between(0, n, steps.length - 1); touch(one, "at"); };
  const hasFocus = () => document.activeElement === canvas;
  canvas.setAttribute("aria-valuemin", steps[0]);
  canvas.setAttribute("aria-valuemax", steps[steps.length - 1]);
  canvas.addEventListener("pointermove", (event) => { if (places) read(nearestOf(steps, places.x(event.offsetX))); });
  canvas.addEventListener("pointerleave", () => { if (!hasFocus()) read(null); });
  canvas.addEventListener("focus", () => { if (at === null) read(0); });
  canvas.addEventListener("blur", () => read(null));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: Infinity }[event.key];
    if (to === undefined) return;
    read(to);
    event.preventDefault();
  });
}
