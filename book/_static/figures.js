// On a narrow window a wide figure keeps a size at which its words can be read, and scrolls sideways in its own box.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const image of document.querySelectorAll(".bd-article figure:not(.interactive) img")) {
    const box = document.createElement("div");
    const tell = () => {
      // Only what is drawn wider than the window is worth scrolling for.
      box.classList.toggle("wide", image.naturalWidth > 500);
      const scrolls = box.scrollWidth - box.clientWidth > 2;
      box.classList.toggle("more", scrolls && box.scrollWidth - box.clientWidth - box.scrollLeft > 2);
      // Keys scroll what has the focus, and its name is said then.
      for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": "figure, scrolls sideways" })) {
        if (scrolls) box.setAttribute(name, value);
        else box.removeAttribute(name);
      }
    };
    box.className = "figure-box";
    const shown = image.closest("a") ?? image;
    shown.replaceWith(box);
    box.append(shown);
    box.addEventListener("scroll", tell, { passive: true });
    image.addEventListener("load", tell);
    new ResizeObserver(tell).observe(box);
  }
});
