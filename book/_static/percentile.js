// The percentile slider of chapter 4. A figure with data-percentile (made by xai.percentile_slider) gets controls in
// place of its picture. Everything runs in the page; heatmaps are cut as xai.masks does and scored as xai.metrics.overlap does.
"use strict";

const percentile = (() => {
  /** Base64 -> Uint8Array. */
  function decode(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  /** Base64 of little-endian half-precision numbers (IEEE 754) -> Float32Array. */
  function decodeHalves(text) {
    const bytes = decode(text);
    const values = new Float32Array(bytes.length / 2);
    for (let place = 0; place < values.length; place++) {
      const bits = bytes[2 * place] | (bytes[2 * place + 1] << 8);
      const exponent = (bits >> 10) & 31;
      const fraction = bits & 1023;
      const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
      values[place] = bits & 0x8000 ? -size : size;
    }
    return values;
  }

  /** Value at a percentile, linear between neighbours as numpy.percentile has it. */
  function valueAt(sorted, level) {
    const position = ((sorted.length - 1) * level) / 100;
    const below = Math.floor(position);
    const above = Math.min(below + 1, sorted.length - 1);
    return Math.fround(sorted[below] + (sorted[above] - sorted[below]) * (position - below));
  }

  /** Pixels at or above a percentile of their own map, never its minimum. */
  function threshold(heat, sorted, level) {
    const cut = valueAt(sorted, level);
    return Uint8Array.from(heat, (value) => (value >= cut && value > sorted[0] ? 1 : 0));
  }

  /** Offsets (row, column) of a disk. */
  function disk(radius) {
    const offsets = [];
    for (let row = -radius; row <= radius; row++)
      for (let column = -radius; column <= radius; column++)
        if (row * row + column * column <= radius * radius) offsets.push([row, column]);
    return offsets;
  }

  function inside(size, row, column) {
    return row >= 0 && column >= 0 && row < size && column < size;
  }

  /** Erosion, then dilation; outside the image there is no mask. */
  function open(mask, size, radius) {
    const offsets = disk(radius);
    const eroded = new Uint8Array(mask.length);
    const opened = new Uint8Array(mask.length);
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++)
        eroded[row * size + column] = mask[row * size + column] && offsets.every(([r, c]) => inside(size, row + r, column + c) && mask[(row + r) * size + column + c]) ? 1 : 0;
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++)
        if (eroded[row * size + column])
          for (const [r, c] of offsets) opened[(row + r) * size + column + c] = 1;
    return opened;
  }

  /** Pixels that can be reached from `start` through pixels that `belongs` accepts. */
  function flood(start, size, belongs, seen, corners) {
    const found = [];
    const waiting = [start];
    seen[start] = 1;
    while (waiting.length) {
      const place = waiting.pop();
      found.push(place);
      const row = Math.floor(place / size);
      const column = place % size;
      for (let r = -1; r <= 1; r++)
        for (let c = -1; c <= 1; c++) {
          if ((!corners && r && c) || !inside(size, row + r, column + c)) continue;
          const next = (row + r) * size + column + c;
          if (!seen[next] && belongs(next)) {
            seen[next] = 1;
            waiting.push(next);
          }
        }
    }
    return found;
  }

  /** The 8-connected component with the largest sum of heat. */
  function hottest(mask, heat, size) {
    const seen = new Uint8Array(mask.length);
    let best = [];
    let most = -1;
    for (let start = 0; start < mask.length; start++) {
      if (!mask[start] || seen[start]) continue;
      const part = flood(start, size, (place) => mask[place], seen, true);
      const sum = part.reduce((total, place) => total + heat[place], 0);
      if (sum > most) [best, most] = [part, sum];
    }
    const chosen = new Uint8Array(mask.length);
    for (const place of best) chosen[place] = 1;
    return chosen;
  }

  /** Holes are background that does not reach the edge of a box around the mask. */
  function fill(mask, size) {
    let [top, bottom, left, right] = [size, -1, size, -1];
    mask.forEach((value, place) => {
      if (!value) return;
      const column = place % size;
      top = Math.min(top, Math.floor(place / size));
      bottom = Math.floor(place / size);
      left = Math.min(left, column);
      right = Math.max(right, column);
    });
    const side = Math.max(bottom - top, right - left) + 3; // one pixel of background all around
    const at = (place) => [top - 1 + Math.floor(place / side), left - 1 + (place % side)];
    const background = (place) => {
      const [row, column] = at(place);
      return !(inside(size, row, column) && mask[row * size + column]);
    };
    const reached = new Uint8Array(side * side);
    if (bottom >= 0) flood(0, side, background, reached, false);
    const filled = Uint8Array.from(mask);
    reached.forEach((seen, place) => {
      const [row, column] = at(place);
      if (bottom >= 0 && !seen && inside(size, row, column)) filled[row * size + column] = 1;
    });
    return filled;
  }

  /** Opening (skipped where it would leave nothing), hottest component, hole filling. */
  function refine(mask, heat, size, radius) {
    const opened = radius ? open(mask, size, radius) : mask;
    return fill(hottest(opened.includes(1) ? opened : mask, heat, size), size);
  }

  function score(found, truth) {
    let both = 0;
    let area = 0;
    let tumour = 0;
    for (let place = 0; place < found.length; place++) {
      both += found[place] & truth[place];
      area += found[place];
      tumour += truth[place];
    }
    return {
      dice: area + tumour ? (2 * both) / (area + tumour) : 1,
      precision: area ? both / area : Number(tumour === 0),
      recall: tumour ? both / tumour : Number(area === 0),
      pixels: area,
    };
  }

  function sort(heat) {
    return Float32Array.from(heat).sort();
  }

  return { decode, decodeHalves, threshold, refine, score, sort, inside };
})();

const percentileSlider = (() => {
  const SIDE = 480; // pixels of the canvas; the page scales it
  const MASK = "#E69F00";
  const TRUTH = "#56B4E9";
  const { inside } = percentile;
  let count = 0;

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function labelled(text, control) {
    return element("label", { class: "control" }, element("span", {}, text), control);
  }

  function choice(names) {
    return element("select", {}, ...names.map((name, number) => element("option", { value: number }, name)));
  }

  /** Draw the border of a mask along the edges of its pixels. */
  function outline(context, mask, size, colour) {
    const scale = SIDE / size;
    const at = (row, column) => inside(size, row, column) && mask[row * size + column] === 1;
    const stroke = (row, column, toRow, toColumn) => {
      context.moveTo(column * scale, row * scale);
      context.lineTo(toColumn * scale, toRow * scale);
    };
    context.beginPath();
    for (let row = 0; row <= size; row++)
      for (let column = 0; column <= size; column++) {
        if (at(row, column) !== at(row - 1, column)) stroke(row, column, row, column + 1);
        if (at(row, column) !== at(row, column - 1)) stroke(row, column, row + 1, column);
      }
    context.strokeStyle = colour;
    context.lineWidth = 3;
    context.lineCap = "round";
    context.stroke();
  }

  /** The slice, the heatmap over it where wanted, and both outlines. */
  function paint(canvas, view, data, colours, withHeat) {
    const size = data.size;
    const small = element("canvas", { width: size, height: size });
    const pixels = small.getContext("2d").createImageData(size, size);
    for (let place = 0; place < size * size; place++) {
      const value = view.heat[place];
      const share = withHeat ? Math.min(2 * value, 1) : 0;
      const colour = 3 * Math.round(255 * value);
      for (let channel = 0; channel < 3; channel++)
        pixels.data[4 * place + channel] = share * colours[colour + channel] + (1 - share) * view.image[place];
      pixels.data[4 * place + 3] = 255;
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = !withHeat || size < SIDE;
    context.drawImage(small, 0, 0, SIDE, SIDE);
    outline(context, view.truth, size, TRUTH);
    outline(context, view.mask, size, MASK);
  }

  function svg(name, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function enhance(figure) {
    const data = JSON.parse(figure.dataset.percentile);
    const colours = percentile.decode(data.colours);
    const body = figure.querySelector(".interactive-body");
    const name = `percentile-${(count += 1)}`;
    const slices = choice(data.slices.map((slice) => slice.name));
    const methods = choice(data.methods.map((method) => method.name));
    const slider = element("input", { type: "range", min: data.lowest, max: data.highest, step: data.step, id: name });
    const heat = element("input", { type: "checkbox", checked: "" });
    const clean = element("input", { type: "checkbox", checked: "" });
    const canvas = element("canvas", { width: SIDE, height: SIDE, role: "img" });
    const chart = svg("svg", { viewBox: "0 0 300 90", class: "percentile-curve", role: "img", "aria-label": "Dice against percentile" });
    const path = svg("path", { class: "line" });
    const stem = svg("line", { class: "stem", y1: 8, y2: 82 });
    const dot = svg("circle", { class: "dot", r: 5 });
    chart.append(svg("line", { class: "axis", x1: 8, x2: 292, y1: 82, y2: 82 }), path, stem, dot);
    const values = Object.fromEntries(["percentile", "dice", "precision", "recall", "pixels"].map((key) => [key, element("dd")]));
    const titles = { percentile: "Percentile", dice: "Dice", precision: "Precision", recall: "Recall", pixels: "Pixels" };
    const numbers = element("dl", { class: "percentile-numbers" }, ...Object.keys(values).map((key) => element("div", {}, element("dt", {}, titles[key]), values[key])));
    const back = element("button", { type: "button" });
    const x = (level) => 8 + (284 * (level - data.lowest)) / (data.highest - data.lowest);
    const y = (dice) => 82 - 74 * dice;
    let view = {};
    let turn = 0;

    function cut(level) {
      const mask = percentile.threshold(view.heat, view.sorted, level);
      return clean.checked ? percentile.refine(mask, view.heat, data.size, data.opening) : mask;
    }

    function take() {
      const slice = data.slices[slices.value];
      const method = data.methods[methods.value];
      const map = percentile.decodeHalves(slice.heat[method.key]);
      view = { name: slice.name, method: method, image: percentile.decode(slice.image), truth: percentile.decode(slice.truth), heat: map, sorted: percentile.sort(map) };
      back.textContent = `To the percentile chosen on validation: ${method.percentile}`;
      move();
      trace((turn += 1));
    }

    /** Draw the curve a level at a time, so that the page answers meanwhile; another choice ends it. */
    function trace(mine, steps = []) {
      if (mine !== turn) return;
      const level = data.lowest + steps.length;
      if (level <= data.highest) {
        steps.push({ level, dice: percentile.score(cut(level), view.truth).dice });
        setTimeout(() => trace(mine, steps));
        return;
      }
      path.setAttribute("d", steps.map((step, number) => `${number ? "L" : "M"}${x(step.level).toFixed(1)} ${y(step.dice).toFixed(1)}`).join(""));
      const best = steps.reduce((one, other) => (other.dice > one.dice ? other : one));
      chart.setAttribute("aria-label", `Dice against percentile for this slice: largest, ${best.dice.toFixed(2)}, at percentile ${best.level}`);
    }

    function move() {
      const level = Number(slider.value);
      view.mask = cut(level);
      const found = percentile.score(view.mask, view.truth);
      values.percentile.textContent = level.toFixed(1);
      for (const key of ["dice", "precision", "recall"]) values[key].textContent = found[key].toFixed(3);
      values.pixels.textContent = found.pixels;
      slider.setAttribute("aria-valuetext", `percentile ${level}, Dice ${found.dice.toFixed(2)}`);
      canvas.setAttribute("aria-label", `${view.name}, ${view.method.name}: mask at percentile ${level}, ${found.pixels} pixels, Dice ${found.dice.toFixed(2)}`);
      for (const mark of ["x1", "x2"]) stem.setAttribute(mark, x(level));
      dot.setAttribute("cx", x(level));
      dot.setAttribute("cy", y(found.dice));
      paint(canvas, view, data, colours, heat.checked);
    }

    for (const control of [slices, methods, clean]) control.addEventListener("change", take);
    heat.addEventListener("change", move);
    slider.addEventListener("input", move);
    back.addEventListener("click", () => {
      slider.value = view.method.percentile;
      move();
    });
    slider.value = data.methods[0].percentile;
    const legend = element("p", { class: "percentile-legend" }, element("span", { class: "mask" }, "mask"), element("span", { class: "truth" }, "drawn tumour"));
    const controls = element(
      "div", { class: "percentile-controls" },
      labelled("Slice", slices), labelled("Method", methods), element("label", { class: "control", for: name }, element("span", {}, "Percentile of the heatmap"), slider),
      back, numbers, chart, element("p", { class: "chart-words" }, "Dice of this slice, 0 to 1, against the percentile"),
      element("div", { class: "checks" }, element("label", {}, heat, " heatmap"), element("label", {}, clean, " clean-up")),
    );
    take();
    body.replaceChildren(element("div", { class: "percentile-slider" }, element("div", { class: "percentile-picture" }, canvas, legend), controls));
  }

  return { enhance };
})();

if (typeof module !== "undefined") module.exports = percentile;
else
  document.addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll("figure[data-percentile]")) percentileSlider.enhance(figure);
  });
