"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") !== "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const order = (a, b) => key(a).localeCompare(key(b), undefined, { numeric: true });
      const byNumber = (a, b) => Number(key(a)) - Number(key(b));
      const compare = body.rows[0].cells[column].dataset.value === undefined ? order : byNumber;
      const sorted = [...body.rows].sort(compare);
      body.append(...(descending ? sorted.reverse() : sorted));
    });
  });
}

for (const clip of document.querySelectorAll(".clip")) {
  const [canvas, sheet, button, slider, output] =
    ["canvas", "img", "button", "input", "output"].map((tag) => clip.querySelector(tag));
  const captions = JSON.parse(clip.dataset.captions);
  const columns = Number(clip.dataset.columns);
  const { width, height } = canvas;
  let timer = null;

  const show = () => {
    const frame = Number(slider.value);
    const left = (frame % columns) * width;
    const top = Math.floor(frame / columns) * height;
    canvas.getContext("2d").drawImage(sheet, left, top, width, height, 0, 0, width, height);
    output.textContent = captions[frame];
  };
  button.addEventListener("click", () => {
    button.textContent = timer ? "▶" : "⏸";
    if (timer) {
      clearInterval(timer);
      timer = null;
    } else {
      timer = setInterval(() => {
        slider.value = (Number(slider.value) + 1) % captions.length;
        show();
      }, 120);
    }
  });
  slider.addEventListener("input", show);
  sheet.decode().then(show);
}
