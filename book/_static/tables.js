// Tables of the study sort by a click, or Enter or space, on a column's name: ascending, descending, as it was.
"use strict";

const studyTables = (() => {
  /** What a cell is sorted by: a number where it shows one (its interval aside), else its text; null where it shows nothing. */
  function keyOf(cell) {
    const copy = cell.cloneNode(true);
    for (const interval of copy.querySelectorAll(".interval")) interval.remove();
    const text = copy.textContent.trim();
    if (["", "–", "-"].includes(text)) return null;
    const number = Number(text.replace(/[\s\u202f]/g, "").replace("\u2212", "-").replace(/%$/, ""));
    return Number.isNaN(number) ? text : number;
  }

  /** Missing values last in either direction, numbers before texts. */
  function compare(one, other, direction) {
    if (one === null || other === null) return (one === null) - (other === null);
    if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
    const order = typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
    return direction * order;
  }

  function enhance(table) {
    const body = table.tBodies[0];
    const headers = [...table.tHead.rows[0].cells];
    const original = [...body.rows];
    if (original.length < 2) return;
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...header.childNodes);
      header.append(button);
      header.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[header.getAttribute("aria-sort")];
        for (const other of headers) other.setAttribute("aria-sort", "none");
        header.setAttribute("aria-sort", next);
        const direction = next === "descending" ? -1 : 1;
        const keys = new Map(original.map((row) => [row, keyOf(row.cells[column])]));
        const rows = next === "none" ? original : [...original].sort((one, other) => compare(keys.get(one), keys.get(other), direction));
        body.append(...rows);
      });
    });
  }

  /** Tell the style sheet whether columns stand behind the right edge of the box that a table scrolls in. */
  function watch(box) {
    const tell = () => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 2);
    box.addEventListener("scroll", tell, { passive: true });
    new ResizeObserver(tell).observe(box);
  }

  return { enhance, watch };
})();

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".study-table table")) studyTables.enhance(table);
  for (const box of document.querySelectorAll(".study-table")) studyTables.watch(box);
});
