// The page's data, and its arrays: unpacked when first wanted, kept.

const data = JSON.parse(document.getElementById("data").textContent);
const isText = data.steps.kind === "text"; // else numbers over time
const byId = (id) => document.getElementById(id);

// An array of N rows and T columns: q holds a byte each, evenly between the low and the high of its row, or bent around 0.
class Table {
  constructor(packed, q) {
    [this.rows, this.columns] = packed.shape;
    Object.assign(this, { q, limit: packed.limit, levels: packed.levels, low: packed.low, high: packed.high, bent: packed.bent });
    this.unsigned = packed.low === 0;
  }
  highOf(row) { return Array.isArray(this.high) ? this.high[row] : this.high; }
  lowOf(row) { return Array.isArray(this.low) ? this.low[row] : this.low; }
  valueOf(row, q) {
    const low = this.lowOf(row), high = this.highOf(row), share = q / (this.levels - 1);
    return this.bent ? high * (2 * share - 1) * Math.abs(2 * share - 1) : low + share * (high - low);
  }
  at(row, column) { return this.valueOf(row, this.q[row * this.columns + column]); }
  bytes(row) { return this.q.subarray(row * this.columns, (row + 1) * this.columns); }
  // Where the colours of one row should end: 98 of 100 values lie within.
  limitOf(row) {
    if (this.unsigned) return 1;
    const sizes = Float64Array.from(this.bytes(row), (q) => Math.abs(this.valueOf(row, q))).sort();
    return sizes[Math.floor(0.98 * (sizes.length - 1))] || this.highOf(row);
  }
}

const tables = new Map(); // packed -> Table, or the promise of one

async function unpack(packed) {
  const text = atob(packed.data);
  const bytes = new Uint8Array(text.length);
  for (let n = 0; n < bytes.length; n++) bytes[n] = text.charCodeAt(n);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Table(packed, new Uint8Array(await new Response(stream).arrayBuffer()));
}

// The array if it is there; else null, and `then` is called when it is.
function table(packed, then) {
  const known = tables.get(packed);
  if (known instanceof Table) return known;
  const coming = known ?? unpack(packed).then((one) => { tables.set(packed, one); return one; });
  tables.set(packed, coming);
  coming.then(then, (error) => {
    coming.failed = true;
    trouble(`An array of this page cannot be read: ${error.message}`);
  });
  return null;
}

function trouble(words) {
  byId("trouble").textContent = words;
  byId("trouble").hidden = false;
}

// How a symbol is named where blanks would not be seen.
const NAMES = { " ": "␣", "\n": "↵", "\t": "⇥", "": "∅" };
const named = (symbol) => NAMES[symbol] ?? symbol;
const SPOKEN = { " ": "blank", "\n": "line end", "\t": "tab" };
const spoken = (symbol) => SPOKEN[symbol] ?? symbol;
const percent = (share) => (share >= 0.0995 ? `${(100 * share).toFixed(0)} %` : share >= 0.0005 ? `${(100 * share).toFixed(1)} %` : "< 0.1 %");
// A step's number, a text's counted from 1; and what it is called besides: its symbol, its time, or nothing.
const numberOf = (step) => (step + data.steps.first).toLocaleString("en");
const calledHere = (step) => (data.steps.pieces.length ? ` (${named(data.steps.pieces[step])})` : "");
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const signed = (value) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(2);
