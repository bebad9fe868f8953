import { around } from "./painting.js";

// Picture, map, proposal and paint in layers that zoom and pan together.

const HEAT = [[66, 10, 105], [148, 38, 102], [222, 82, 59], [252, 166, 10], [252, 255, 163]]; // dark violet to pale yellow, as data.overlay has it
const INK = [0, 230, 191], HATCH = [255, 214, 64];

export class Easel {
  constructor(stage) {
    this.stage = stage;
    this.layers = Object.fromEntries(["base", "ink", "over"].map((name) => { // picture, map and proposal; paint; cursor
      const canvas = document.createElement("canvas");
      canvas.setAttribute("aria-hidden", "true");
      stage.append(canvas);
      return [name, canvas];
    }));
    this.scale = 1; this.x = 0; this.y = 0; // screen = image * scale + (x, y), in CSS pixels
    this.contrast = 0; this.opacity = 0.35;
    this.cursor = null; this.corners = [];
    this.clear();
  }

  clear() {
    this.picture = this.heat = this.proposal = this.painting = this.wet = null;
    this.width = this.height = 0;
    this.ask("all");
  }

  // pixels: Uint8Array with 1 or 3 bytes per pixel; low, high: the gray levels of bytes 0 and 255.
  show({ width, height, channels, pixels, low, high }, painting) {
    Object.assign(this, { width, height, channels, pixels, low, high, painting, heat: null, proposal: null, corners: [] });
    this.gray = channels === 1 ? pixels : luminance(pixels);
    this.range = percentiles(this.gray);
    this.picture = blank(width, height);
    this.develop();
    painting.takeDirty();
    this.fit();
  }

  // The picture's bytes as colors on the screen, under the contrast of the moment.
  develop() {
    const [dark, bright] = this.range, table = new Uint8ClampedArray(256), { width, height, channels, pixels } = this;
    for (let b = 0; b < 256; b++) {
      const plain = 255 * this.low + b * (this.high - this.low), wide = ((b - dark) / Math.max(1, bright - dark)) * 255;
      table[b] = Math.round((1 - this.contrast) * plain + this.contrast * wide);
    }
    const gray = Uint32Array.from(table, (v) => (255 << 24) | (v << 16) | (v << 8) | v);
    const context = this.picture.getContext("2d"), rows = Math.max(1, Math.floor(2 ** 20 / width));
    for (let top = 0; top < height; top += rows) {
      const count = Math.min(rows, height - top), data = new ImageData(width, count), out = new Uint32Array(data.data.buffer), at = top * width;
      if (channels === 1) for (let k = 0; k < out.length; k++) out[k] = gray[pixels[at + k]];
      else for (let k = 0, j = 3 * at; k < out.length; k++, j += 3) out[k] = (255 << 24) | (table[pixels[j + 2]] << 16) | (table[pixels[j + 1]] << 8) | table[pixels[j]];
      context.putImageData(data, 0, top);
    }
    this.ask("base");
  }

  setContrast(amount) {
    this.contrast = amount;
    if (this.picture && !this.developing) this.developing = requestAnimationFrame(() => { this.developing = 0; if (this.picture) this.develop(); });
  }

  // levels: Uint8Array, 0 cold to 255 hot, at the model's own size.
  setHeat(levels, width, height) {
    this.heat = blank(width, height);
    const data = new ImageData(width, height);
    for (let k = 0; k < levels.length; k++) {
      const at = (levels[k] / 255) * (HEAT.length - 1), low = Math.min(HEAT.length - 2, Math.floor(at)), part = at - low;
      for (let c = 0; c < 3; c++) data.data[4 * k + c] = (1 - part) * HEAT[low][c] + part * HEAT[low + 1][c];
      data.data[4 * k + 3] = levels[k];
    }
    this.heat.getContext("2d").putImageData(data, 0, 0);
    this.ask("base");
  }

  setOpacity(amount) { this.opacity = amount; this.ask("base"); }

  // The proposed mask as a hatch, so that it differs from paint by more than its color; null takes it away.
  setProposal(mask) {
    this.proposal = null;
    if (mask) {
      const stripe = Math.max(3, Math.round(Math.max(this.width, this.height) / 160)), box = bounds(mask, this.width, this.height);
      const canvas = blank(box.width, box.height), data = new ImageData(box.width, box.height);
      for (let y = 0, k = 0; y < box.height; y++) {
        for (let x = 0; x < box.width; x++, k += 4) {
          const i = (box.top + y) * this.width + box.left + x;
          if (!mask[i]) continue;
          const edge = rim(mask, i, this.width);
          if (edge || (x + y) % (2 * stripe) < stripe) { [data.data[k], data.data[k + 1], data.data[k + 2]] = HATCH; data.data[k + 3] = edge ? 255 : 120; }
        }
      }
      canvas.getContext("2d").putImageData(data, 0, 0);
      this.proposal = { canvas, ...box };
    }
    this.ask("base");
  }

  // Notes what was painted since the last call; the next frame shows it.
  dip() {
    const box = this.painting?.takeDirty();
    if (!box) return;
    this.wet = this.wet ? around(this.wet, box) : box;
    this.ask("ink");
  }

  // Zoom and pan

  fit() {
    const { clientWidth: w, clientHeight: h } = this.stage;
    if (!this.width || !w || !h) return;
    this.scale = Math.min(w / this.width, h / this.height);
    this.x = (w - this.width * this.scale) / 2;
    this.y = (h - this.height * this.scale) / 2;
    this.ask("all");
  }

  // Zooms by a factor around a point of the stage (CSS pixels); without a point around its middle.
  zoom(factor, px = this.stage.clientWidth / 2, py = this.stage.clientHeight / 2) {
    if (!this.width) return;
    const least = Math.min(this.stage.clientWidth / this.width, this.stage.clientHeight / this.height) / 2;
    const scale = Math.min(64, Math.max(least, this.scale * factor)), by = scale / this.scale;
    this.x = px - (px - this.x) * by;
    this.y = py - (py - this.y) * by;
    this.scale = scale;
    this.pan(0, 0);
  }

  pan(dx, dy) {
    const { clientWidth: w, clientHeight: h } = this.stage, room = 40;
    this.x = Math.min(w - room, Math.max(room - this.width * this.scale, this.x + dx));
    this.y = Math.min(h - room, Math.max(room - this.height * this.scale, this.y + dy));
    this.ask("all");
  }

  toImage(event) {
    const box = this.stage.getBoundingClientRect();
    return [(event.clientX - box.left - this.stage.clientLeft - this.x) / this.scale, (event.clientY - box.top - this.stage.clientTop - this.y) / this.scale];
  }

  // Moves the view so that a place of the image is well inside the stage.
  reveal(ix, iy) {
    const { clientWidth: w, clientHeight: h } = this.stage, px = ix * this.scale + this.x, py = iy * this.scale + this.y, rim = 30;
    const shift = (p, size) => (p < rim ? rim - p : p > size - rim ? size - rim - p : 0);
    const dx = shift(px, w), dy = shift(py, h);
    if (dx || dy) this.pan(dx, dy);
  }

  // Drawing, at most once a frame

  ask(what) {
    (this.wanted ??= new Set()).add(what);
    this.frame ??= requestAnimationFrame(() => {
      const { wanted } = this;
      this.frame = this.wanted = null;
      this.draw(wanted);
    });
  }

  draw(wanted) {
    if (!this.stage.clientWidth || !this.stage.clientHeight) { // hidden for this one frame (a change of theme), or for longer: then its new size will be heard of
      if ((this.missed = (this.missed ?? 0) + 1) < 60) for (const what of wanted) this.ask(what);
      return;
    }
    this.missed = 0;
    const ratio = window.devicePixelRatio || 1, width = Math.round(this.stage.clientWidth * ratio), height = Math.round(this.stage.clientHeight * ratio);
    for (const [name, layer] of Object.entries(this.layers)) {
      const whole = layer.width !== width || layer.height !== height || wanted.has("all");
      if (layer.width !== width) layer.width = width;
      if (layer.height !== height) layer.height = height;
      if (!whole && !wanted.has(name)) continue;
      const context = layer.getContext("2d");
      if (name === "ink" && this.picture) { this.ink(context, ratio, whole ? null : this.wet); continue; }
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, width, height);
      if (!this.picture) continue;
      context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.x, ratio * this.y);
      this[name](context);
    }
  }

  // The paint, straight from the mask: a pixel of the screen is inked if any painted pixel lies below it, so that thin scratches
  // stay visible from afar. Only where `box` (in the image) has changed; null: everywhere.
  ink(context, ratio, box) {
    const { mask, extent } = this.painting, by = ratio * this.scale, ox = ratio * this.x, oy = ratio * this.y, { width: W, height: H } = context.canvas;
    const clip = (v, high) => Math.max(0, Math.min(high, v));
    const region = (b) => [clip(Math.floor(b.left * by + ox) - 1, W), clip(Math.floor(b.top * by + oy) - 1, H), clip(Math.ceil(b.right * by + ox) + 1, W), clip(Math.ceil(b.bottom * by + oy) + 1, H)];
    this.wet = null;
    if (!box) context.clearRect(0, 0, W, H);
    const [left, top, right, bottom] = region(box ?? extent), width = right - left, height = bottom - top;
    if (width <= 0 || height <= 0) return;
    const data = new ImageData(width, height), out = new Uint32Array(data.data.buffer), color = (150 << 24) | (INK[2] << 16) | (INK[1] << 8) | INK[0];
    const places = (from, count, offset, size) => Int32Array.from({ length: 2 * count }, (_, k) => clip(by >= 1 ? Math.floor((from + (k >> 1) + 0.5 - offset) / by) + (k & 1) : Math.floor((from + (k >> 1) + (k & 1) - offset) / by), size));
    const xs = places(left, width, ox, this.width), ys = places(top, height, oy, this.height);
    for (let v = 0, k = 0; v < height; v++) {
      for (let u = 0; u < width; u++, k++) {
        look: for (let y = ys[2 * v]; y < ys[2 * v + 1]; y++) for (let i = y * this.width + xs[2 * u], end = y * this.width + xs[2 * u + 1]; i < end; i++) if (mask[i]) { out[k] = color; break look; }
      }
    }
    context.putImageData(data, left, top);
  }

  base(context) {
    context.imageSmoothingEnabled = this.scale < 2;
    context.drawImage(this.picture, 0, 0);
    if (this.heat && this.opacity) {
      context.imageSmoothingEnabled = true;
      context.globalAlpha = this.opacity;
      context.drawImage(this.heat, 0, 0, this.width, this.height);
      context.globalAlpha = 1;
    }
    context.imageSmoothingEnabled = this.scale < 1;
    if (this.proposal) context.drawImage(this.proposal.canvas, this.proposal.left, this.proposal.top);
  }

  over(context) {
    const line = 1.5 / this.scale;
    if (this.corners.length) {
      outline(context, line, () => { context.beginPath(); this.corners.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y))); if (this.cursor) context.lineTo(this.cursor.x, this.cursor.y); });
      for (const [x, y] of this.corners) outline(context, line, () => { context.beginPath(); context.arc(x, y, 3 / this.scale, 0, 7); });
    }
    if (!this.cursor) return;
    const { x, y, size, cross } = this.cursor;
    if (size) outline(context, line, () => { context.beginPath(); context.arc(Math.floor(x) + 0.5, Math.floor(y) + 0.5, size / 2, 0, 7); });
    if (cross) {
      const arm = 9 / this.scale;
      outline(context, line, () => { context.beginPath(); context.moveTo(x - arm, y); context.lineTo(x + arm, y); context.moveTo(x, y - arm); context.lineTo(x, y + arm); });
    }
  }
}

// A line that shows on any ground: white on black.
function outline(context, width, path) {
  for (const [style, times] of [["rgba(0,0,0,.75)", 2.4], ["#fff", 1]]) { context.strokeStyle = style; context.lineWidth = width * times; path(); context.stroke(); }
}

function blank(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function luminance(pixels) {
  const gray = new Uint8Array(pixels.length / 3);
  for (let k = 0, j = 0; k < gray.length; k++, j += 3) gray[k] = (77 * pixels[j] + 150 * pixels[j + 1] + 29 * pixels[j + 2] + 128) >> 8;
  return gray;
}

// The bytes below which half a percent, and all but half a percent, of the picture lies.
function percentiles(gray) {
  const counts = new Uint32Array(256), step = Math.max(1, Math.floor(gray.length / 1e6)) | 1;
  let total = 0;
  for (let k = 0; k < gray.length; k += step, total++) counts[gray[k]]++;
  const at = (share) => { let sum = 0; for (let b = 0; b < 256; b++) if ((sum += counts[b]) > share * total) return b; return 255; };
  return [at(0.005), at(0.995)];
}

function bounds(mask, width, height) {
  let left = width, right = 0, top = height, bottom = 0;
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) if (mask[i]) { left = Math.min(left, x); right = Math.max(right, x + 1); top = Math.min(top, y); bottom = y + 1; }
  return { left, top, width: Math.max(1, right - left), height: Math.max(1, bottom - top) };
}

function rim(mask, i, width) { return !mask[i - 1] || !mask[i + 1] || !mask[i - width] || !mask[i + width]; }
