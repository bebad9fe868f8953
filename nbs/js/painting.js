// A mask that can be painted, filled, undone and packed. No page is needed: everything here is arithmetic on bytes.

const TILE = 128; // pixels; undo remembers tiles, so a small stroke on a large picture costs little
const MEMORY = 160e6; // bytes that undo may hold

export class Painting {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.length = width * height;
    this.mask = new Uint8Array((this.length + 7) & ~7); // 0 or 1, row by row, padded to whole bytes of bits
    this.across = Math.ceil(width / TILE);
    this.done = [];
    this.undone = [];
    this.saved = null; // tiles as they were before the step under way
    this.dirty = null; // rectangle that changed since it was last taken
    this.extent = { left: 0, top: 0, right: 0, bottom: 0 }; // all paint lies inside
  }

  // Begins with a mask that was painted before.
  load(mask) {
    this.mask.set(mask);
    this.extent = { left: 0, top: 0, right: this.width, bottom: this.height };
  }

  // What changed since the last call: { left, top, right, bottom }, right and bottom excluded, or null.
  takeDirty() {
    const dirty = this.dirty;
    this.dirty = null;
    return dirty;
  }

  begin() {
    this.saved = new Map();
  }

  // Ends a step. Returns whether it changed anything; a step without change is not remembered, unless it has a `mark`, which undo and redo give back.
  end(mark = null) {
    const tiles = new Map();
    for (const [index, before] of this.saved ?? []) if (!same(before, this.tile(index))) tiles.set(index, before);
    this.saved = null;
    if (!tiles.size && !mark) return false;
    tiles.mark = mark;
    this.done.push(tiles);
    this.undone = [];
    let memory = 0;
    for (let k = this.done.length - 1; k >= 0; k--) {
      memory += this.done[k].size * TILE * TILE;
      if (memory > MEMORY && k < this.done.length - 1) { this.done.splice(0, k + 1); break; }
    }
    return true;
  }

  undo() { return this.swap(this.done, this.undone); }
  redo() { return this.swap(this.undone, this.done); }

  swap(from, to) {
    const tiles = from.pop();
    if (!tiles) return false;
    const other = Object.assign(new Map(), { mark: tiles.mark });
    for (const [index, content] of tiles) {
      other.set(index, this.tile(index));
      const { left, top, right, bottom } = this.corners(index);
      for (let y = top, k = 0; y < bottom; y++, k += right - left) this.mask.set(content.subarray(k, k + right - left), y * this.width + left);
      this.grow(left, top, right, bottom);
    }
    to.push(other);
    return other;
  }

  corners(index) {
    const left = (index % this.across) * TILE, top = Math.floor(index / this.across) * TILE;
    return { left, top, right: Math.min(left + TILE, this.width), bottom: Math.min(top + TILE, this.height) };
  }

  tile(index) {
    const { left, top, right, bottom } = this.corners(index), copy = new Uint8Array((right - left) * (bottom - top));
    for (let y = top, k = 0; y < bottom; y++, k += right - left) copy.set(this.mask.subarray(y * this.width + left, y * this.width + right), k);
    return copy;
  }

  grow(left, top, right, bottom) {
    const box = { left, top, right, bottom };
    this.dirty = this.dirty ? around(this.dirty, box) : box;
    this.extent = this.extent.right ? around(this.extent, box) : box;
  }

  // Sets the pixels from `left` to before `right` in row y.
  span(y, left, right, value) {
    left = Math.max(0, left);
    right = Math.min(this.width, right);
    if (y < 0 || y >= this.height || left >= right) return;
    const row = Math.floor(y / TILE) * this.across;
    for (let column = Math.floor(left / TILE); column <= Math.floor((right - 1) / TILE); column++) {
      if (this.saved && !this.saved.has(row + column)) this.saved.set(row + column, this.tile(row + column));
    }
    this.mask.fill(value, y * this.width + left, y * this.width + right);
    this.grow(left, y, right, y + 1);
  }

  // A straight stroke: all pixels whose center lies within half of `size` of the way between the centers of two pixels.
  stroke(x0, y0, x1, y1, size, value) {
    [x0, y0, x1, y1] = [x0, y0, x1, y1].map((v) => Math.floor(v) + 0.5);
    const r = size / 2, dx = x1 - x0, dy = y1 - y0, length = Math.hypot(dx, dy);
    const first = Math.max(0, Math.floor(Math.min(y0, y1) - r)), last = Math.min(this.height - 1, Math.floor(Math.max(y0, y1) + r));
    for (let y = first; y <= last; y++) {
      const c = y + 0.5;
      let low = Infinity, high = -Infinity;
      for (const [px, py] of [[x0, y0], [x1, y1]]) {
        const rest = r * r - (c - py) * (c - py);
        if (rest >= 0) { low = Math.min(low, px - Math.sqrt(rest)); high = Math.max(high, px + Math.sqrt(rest)); }
      }
      if (length) { // the straight part: a rectangle, cut by row c
        const cut = band(dx, dy * (c - y0), 0, length * length, x0), side = band(-dy, dx * (c - y0), -r * length, r * length, x0);
        const a = Math.max(cut[0], side[0]), b = Math.min(cut[1], side[1]);
        if (a <= b) { low = Math.min(low, a); high = Math.max(high, b); }
      }
      if (low <= high) this.span(y, Math.ceil(low - 0.5 - 1e-9), Math.floor(high - 0.5 + 1e-9) + 1, value);
    }
  }

  // All pixels whose center lies inside a polygon [[x, y], …] (even-odd rule).
  polygon(points, value) {
    const ys = points.map((p) => p[1]);
    for (let y = Math.max(0, Math.floor(Math.min(...ys))); y <= Math.min(this.height - 1, Math.floor(Math.max(...ys))); y++) {
      const c = y + 0.5, crossings = [];
      points.forEach(([x0, y0], k) => {
        const [x1, y1] = points[(k + 1) % points.length];
        if ((y0 <= c) !== (y1 <= c)) crossings.push(x0 + ((c - y0) / (y1 - y0)) * (x1 - x0));
      });
      crossings.sort((a, b) => a - b);
      for (let k = 0; k + 1 < crossings.length; k += 2) this.span(y, Math.ceil(crossings[k] - 0.5), Math.floor(crossings[k + 1] - 0.5) + 1, value);
    }
  }

  // Fills from a pixel: through unpainted neighbors whose gray differs by at most `tolerance` from where it starts; or erases the connected paint.
  flood(x, y, gray, tolerance, value) {
    const { width, height, mask } = this;
    x = Math.floor(x); y = Math.floor(y);
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const start = gray[y * width + x];
    const inside = value ? (i) => !mask[i] && Math.abs(gray[i] - start) <= tolerance : (i) => mask[i] === 1;
    const open = [y * width + x];
    while (open.length) {
      const seed = open.pop();
      if (!inside(seed)) continue;
      const row = Math.floor(seed / width), begin = row * width, end = begin + width;
      let left = seed, right = seed + 1;
      while (left > begin && inside(left - 1)) left--;
      while (right < end && inside(right)) right++;
      this.span(row, left - begin, right - begin, value);
      for (const step of [-width, width]) {
        if (row * width + step < 0 || row * width + step >= this.length) continue;
        for (let i = left + step, was = false; i < right + step; i++) {
          const is = inside(i);
          if (is && !was) open.push(i);
          was = is;
        }
      }
    }
  }

  // Adds a mask of the same size (`replace`: takes it over instead).
  take(other, replace = false) {
    for (let y = 0; y < this.height; y++) {
      const begin = y * this.width;
      for (let x = 0; x < this.width; x++) {
        if (!other[begin + x] && !(replace && this.mask[begin + x])) continue;
        const value = other[begin + x];
        let right = x + 1;
        while (right < this.width && other[begin + right] === value && (value || (replace && this.mask[begin + right]))) right++;
        this.span(y, x, right, value);
        x = right;
      }
    }
  }

  area() {
    const words = new Uint32Array(this.mask.buffer);
    let count = 0;
    for (let k = 0; k < words.length; k++) if (words[k]) count += ((words[k] * 0x01010101) >>> 24);
    return count;
  }
}

export function around(a, b) {
  return { left: Math.min(a.left, b.left), top: Math.min(a.top, b.top), right: Math.max(a.right, b.right), bottom: Math.max(a.bottom, b.bottom) };
}

function same(a, b) {
  for (let k = 0; k < a.length; k++) if (a[k] !== b[k]) return false;
  return true;
}

// Where low <= factor * (x - origin) + offset <= high: the interval of x.
function band(factor, offset, low, high, origin) {
  if (Math.abs(factor) < 1e-12) return low - 1e-9 <= offset && offset <= high + 1e-9 ? [-Infinity, Infinity] : [Infinity, -Infinity];
  const a = (low - offset) / factor + origin, b = (high - offset) / factor + origin;
  return a < b ? [a, b] : [b, a];
}

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

// One bit per pixel, the first in the highest bit, deflated; as `unpack_mask` in Python reads it.
export async function pack(mask, length) {
  const bytes = new Uint8Array((length + 7) >> 3), words = new Uint32Array(mask.buffer);
  for (let i = 0; i < bytes.length; i++) {
    if (!words[2 * i] && !words[2 * i + 1]) continue;
    let byte = 0;
    for (let k = 0; k < 8; k++) if (mask[8 * i + k]) byte |= 128 >> k;
    bytes[i] = byte;
  }
  return through(new CompressionStream("deflate"), bytes);
}

export async function unpack(data, length) {
  const bytes = await through(new DecompressionStream("deflate"), data), mask = new Uint8Array((length + 7) & ~7);
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte) for (let k = 0; k < 8; k++) mask[8 * i + k] = (byte >> (7 - k)) & 1;
  }
  return mask;
}
