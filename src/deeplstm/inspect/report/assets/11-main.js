// Loss and memory curves; then everything begins.

function charts() {
  const { loss, memory } = data;
  if (loss) {
    readableChart("loss", loss.train.x, () => [
      { name: "training", ...loss.train, colour: colours.output, faint: true, dots: loss.train.x.length < 2 },
      ...(loss.valid.x.length ? [{ name: "validation", ...loss.valid, colour: colours.forget, dots: loss.valid.x.length < 60 }] : []),
    ], { xLabel: "step", yLabel: loss.label, top: loss.top, digits: (v) => v.toFixed(3) }, (x, words) => `step ${x.toLocaleString("en")}: ${words.join(", ")}`);
  }
  if (memory) {
    readableChart("memory", memory.lags, () => memory.layers.map((layer, n) => ({ name: layer.name, x: memory.lags, y: layer.norms, colour: colours.more[n % colours.more.length] })),
      { xLabel: `${data.steps.unit}s ${memory.direction}`, yLabel: memory.label, log: true, digits: (v) => v.toExponential(1) }, (x, words) => `${counted(x, data.steps.unit)} ${memory.direction}: ${words.join(", ")}`);
  }
}

if (typeof DecompressionStream === "undefined") trouble("This browser is too old to unpack the page's arrays: Chrome 80, Firefox 113 and Safari 16.4 can.");
let kept = "auto";
try { kept = localStorage.getItem("deeplstm-theme") ?? "auto"; } catch { /* see setTheme */ }
controls();
tracks();
(isText ? text : curves)();
here();
strip();
heat();
saturation();
weights();
charts();
setTheme(["auto", "light", "dark"].includes(kept) ? kept : "auto");
const { layer, value, unit, step, feature } = data.start;
change(feature ? { layer: layerNumber(layer), value, unit, step, feature } : { step });
// To try things from the browser's console; idle: whether all that is in sight is drawn.
const idle = () => views.every((one) => !(one.seen || one.always) || !one.dirty.size) && [...tables.values()].every((one) => one instanceof Table || one.failed);
window.report = { state, views, change, data, unpack, idle, colours: () => colours };
