// What is chosen, and who draws it. A change marks the drawings that depend on it; the next frame draws those in sight.

const state = { layer: 0, value: data.trace.layers[0].values[0].name, unit: 0, step: 0, colour: "unit", feature: null, range: 0, order: "number" };
const views = [];
const FRAME_MS = 8; // a frame's share for drawing; what does not fit waits for the next

// element: what is looked at; needs: keys of the state; draw(keys): with the keys that changed, or all; always: out of
// sight as well, for what the keyboard must be able to reach.
function view(name, element, needs, draw, always = false) {
  const one = { name, element, needs: new Set(needs), draw, dirty: new Set(["all"]), seen: false, always, draws: 0 };
  views.push(one);
  sight.observe(element);
  sizes.observe(element);
  return one;
}

function touch(one, key) {
  one.dirty.add(key);
  ask();
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries)
    for (const one of views) if (one.element === entry.target) one.seen = entry.isIntersecting;
  ask();
}, { rootMargin: "150px" });
const sizes = new ResizeObserver((entries) => {
  for (const entry of entries)
    for (const one of views) if (one.element === entry.target) one.dirty.add("all");
  ask();
});

let asked = false;
function ask() {
  if (!asked) requestAnimationFrame(draw);
  asked = true;
}

function draw() {
  asked = false;
  const began = performance.now();
  for (const one of views) {
    if (!(one.seen || one.always) || !one.dirty.size) continue;
    if (performance.now() - began > FRAME_MS) return ask();
    const changed = one.dirty;
    one.dirty = new Set();
    one.draws++;
    one.draw(changed);
  }
}

const layerNow = () => data.trace.layers[state.layer];
const packedNow = () => (layerNow().values.find((one) => one.name === state.value) ?? layerNow().values[0]).array;
const unitsNow = () => packedNow().shape[0];
const between = (low, x, high) => Math.max(low, Math.min(high, x));

function change(wanted) {
  const before = { ...state };
  Object.assign(state, wanted);
  state.layer = between(0, state.layer, data.trace.layers.length - 1);
  if (!layerNow().values.some((one) => one.name === state.value)) state.value = layerNow().values[0].name;
  state.unit = between(0, state.unit, unitsNow() - 1);
  state.step = between(0, state.step, data.steps.count - 1);
  const changed = Object.keys(state).filter((key) => state[key] !== before[key]);
  for (const one of views)
    for (const key of changed) if (one.needs.has(key)) one.dirty.add(key);
  if (changed.length) ask();
}

function redraw() {
  for (const one of views) one.dirty.add("all");
  ask();
}

const cycle = (list, now, by) => list[(list.indexOf(now) + by + list.length) % list.length];
const nextValue = (by) => change({ value: cycle(layerNow().values.map((one) => one.name), state.value, by) });
const nextLayer = (by) => change({ layer: (state.layer + by + data.trace.layers.length) % data.trace.layers.length });

// The keys of the text and of the maps.
function walk(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const moves = {
    ArrowLeft: () => change({ step: state.step - 1 }), ArrowRight: () => change({ step: state.step + 1 }),
    ArrowUp: () => change({ unit: state.unit - 1 }), ArrowDown: () => change({ unit: state.unit + 1 }),
    PageUp: () => change({ step: state.step - 100 }), PageDown: () => change({ step: state.step + 100 }),
    Home: () => change({ step: 0 }), End: () => change({ step: data.steps.count - 1 }),
    g: () => nextValue(1), G: () => nextValue(-1), l: () => nextLayer(1), L: () => nextLayer(-1),
  };
  if (!moves[event.key]) return;
  moves[event.key]();
  event.preventDefault();
}
