// Colours: those of the style sheet, and two scales. Signed values go from blue over the page's own colour to orange,
// shares from the page's colour to violet; letters stay readable on all of them.

const SCALES = {
  light: { signed: [[58, 134, 216], [250, 249, 246], [240, 132, 46]], unsigned: [[250, 249, 246], [196, 172, 245], [150, 110, 240]] },
  dark: { signed: [[38, 100, 180], [20, 23, 28], [172, 82, 14]], unsigned: [[20, 23, 28], [66, 48, 118], [112, 74, 206]] },
};
let colours = {};
const BIG_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 0;

function readColours() {
  const probe = document.createElement("i");
  document.body.append(probe);
  const of = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (getComputedStyle(document.documentElement).colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  colours = { dark };
  for (const name of ["ink", "dim", "line", "card", "page", "accent", "input", "forget", "cell", "output", "c", "h"]) colours[name] = of(name);
  colours.more = [colours.input, colours.forget, colours.output, colours.cell, colours.c, colours.h];
  for (const [kind, stops] of Object.entries(SCALES[dark ? "dark" : "light"])) colours[kind] = scale(stops);
  probe.remove();
}

// 256 colours as words for an image and as text for a style.
function scale(stops) {
  const words = new Uint32Array(256), css = [];
  for (let n = 0; n < 256; n++) {
    const place = (n / 255) * (stops.length - 1), from = Math.min(Math.floor(place), stops.length - 2);
    const [r, g, b] = stops[from].map((low, k) => Math.round(low + (stops[from + 1][k] - low) * (place - from)));
    words[n] = BIG_ENDIAN ? ((r << 24) | (g << 16) | (b << 8) | 255) >>> 0 : ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    css.push(`rgb(${r},${g},${b})`);
  }
  return { words, css };
}

const GATES = { input: "input", forget: "forget", cell: "cell", output: "output", c: "c", h: "h", reset: "input", update: "forget", candidate: "cell" };
const colourOf = (name, n) => colours[GATES[name]] ?? colours.more[n % colours.more.length];

// For the bytes of one row: which of 256 colours, where the scale ends at `limit`.
function places(of, row, limit) {
  const from = of.unsigned ? 0 : -limit;
  return Uint8Array.from({ length: of.levels }, (_, q) => between(0, Math.round((255 * (of.valueOf(row, q) - from)) / (limit - from)), 255));
}

function legend(id, unsigned, low, high) {
  const canvas = byId(id), context = canvas.getContext("2d"), image = context.createImageData(128, 1);
  const { words } = colours[unsigned ? "unsigned" : "signed"];
  new Uint32Array(image.data.buffer).set(Uint32Array.from({ length: 128 }, (_, n) => words[Math.round((n * 255) / 127)]));
  context.putImageData(image, 0, 0);
  canvas.previousElementSibling.textContent = low;
  canvas.nextElementSibling.textContent = high;
}

const theme = byId("theme");
function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  for (const input of theme.querySelectorAll("input")) input.checked = input.value === name;
  try { localStorage.setItem("deeplstm-theme", name); } catch { /* a page from a file may not be allowed to keep things */ }
  readColours();
  redraw();
}
theme.addEventListener("change", (event) => setTheme(event.target.value));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
