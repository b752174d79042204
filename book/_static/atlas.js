// The viewer of chapter 5. A figure with data-atlas (made by xai.atlas_viewer) gets a choice of slice and of candidate
// in place of its picture; everything drawn was computed when the chapter ran.
"use strict";

const atlasViewer = (() => {
  let count = 0;

  function svg(name, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  /** Grey pixels (base64, rows first) as the address of a picture. */
  function picture(view) {
    const grey = Uint8Array.from(atob(view.image), (character) => character.charCodeAt(0));
    const canvas = element("canvas", { width: view.width, height: view.height });
    const pixels = canvas.getContext("2d").createImageData(view.width, view.height);
    grey.forEach((value, place) => pixels.data.set([value, value, value, 255], 4 * place));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }

  // Pixels are named by their centres; the picture's corner lies half a pixel before the first one.
  function path(points, closed) {
    return points.map(([x, y], number) => `${number ? "L" : "M"}${x + 0.5} ${y + 0.5}`).join("") + (closed ? "Z" : "");
  }

  /** One plane: template, band, candidates with the chosen one in bold, mask. */
  function draw(view, group, chosen) {
    const most = Math.max(...group.weights);
    const drawn = svg("svg", { viewBox: `0 0 ${view.width} ${view.height}`, role: "img" });
    drawn.setAttribute("aria-label", `Template, ${view.plane} view at ${view.axis} = ${view.level} mm`);
    drawn.append(svg("image", { href: picture(view), width: view.width, height: view.height }));
    if (view.lines.length) drawn.append(svg("path", { class: "band", d: path(view.band, true) }));
    view.lines.forEach((line, number) => {
      if (number !== chosen) drawn.append(svg("path", { class: "other", d: path(line), "stroke-opacity": 0.35 + (0.65 * group.weights[number]) / most }));
    });
    if (view.lines.length) drawn.append(svg("path", { class: "chosen", d: path(view.lines[chosen]) }));
    for (const outline of view.outlines) drawn.append(svg("path", { class: "outline", d: path(outline, true) }));
    drawn.append(svg("circle", { class: "centre", cx: view.point[0] + 0.5, cy: view.point[1] + 0.5, r: 1.5 }));
    return element("div", { class: "atlas-view" }, drawn, element("p", {}, `${view.plane} view, ${view.axis} = ${Math.round(view.level)} mm`));
  }

  function enhance(figure) {
    const cases = JSON.parse(figure.dataset.atlas).cases;
    const name = `atlas-${(count += 1)}`;
    const select = element("select", {}, ...cases.map((one, number) => element("option", { value: number }, `${one.name}, ${one.plane}`)));
    const slider = element("input", { type: "range", min: 1, value: 1, step: 1, id: name });
    const said = element("p", { class: "atlas-said" });
    const views = element("div", { class: "atlas-views" });

    function show() {
      const group = cases[select.value];
      const chosen = Number(slider.value) - 1;
      const place = `${group.axis} = ${group.positions[chosen].toFixed(1)} mm`;
      const words = `Candidate ${chosen + 1} of ${group.positions.length}: mask at ${place}, weight ${(100 * group.weights[chosen]).toFixed(0)} %.`;
      said.textContent = `${words} Standard deviation over all candidates: ${group.spread.toFixed(1)} mm.`;
      slider.setAttribute("aria-valuetext", words);
      views.replaceChildren(...group.views.map((view) => draw(view, group, chosen)));
    }

    select.addEventListener("change", () => {
      slider.max = cases[select.value].positions.length;
      slider.value = 1;
      show();
    });
    slider.addEventListener("input", show);
    slider.max = cases[0].positions.length;
    show();
    const controls = element(
      "div", { class: "atlas-controls" },
      element("label", { class: "control" }, element("span", {}, "Slice"), select),
      element("label", { class: "control", for: name }, element("span", {}, "Candidate place, most probable first"), slider),
    );
    figure.querySelector(".interactive-body").replaceChildren(controls, views, said);
  }

  return { enhance };
})();

document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure[data-atlas]")) atlasViewer.enhance(figure);
});
