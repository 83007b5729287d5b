"use strict";
// Reads out the cell of a heat map under the pointer, or under a cursor moved by the arrow keys.
(() => {
  const say = (n) => n.toLocaleString("en-US");

  // The columns that are shown: their number in the region, and their x in drawing units.
  const columnsOf = (data) => {
    const columns = [];
    for (const [first, end] of data.runs) {
      for (let column = first; column < end; column++) {
        const before = data.breaks.filter((place) => place <= columns.length).length;
        columns.push({ column, x: columns.length + before * data.gap });
      }
    }
    return columns;
  };

  const describe = (data, { column }, index, row) => {
    const first = column * data.width;
    const last = Math.min(first + data.width, data.pages) - 1;
    const written = data.written[row][index];
    const used = data.used[row][index];
    const unsettled = data.unsettled ? data.unsettled[row][index] : 0;
    const never = last - first + 1 - written - used - unsettled;
    const pages = first === last ? `page ${say(first)}` : `pages ${say(first)} to ${say(last)}`;
    const parts = [`${say(written)} written`, `${say(used)} used only`, `${say(never)} never used`];
    if (unsettled) parts.splice(1, 0, `${say(unsettled)} suspect`);
    return `Epoch ${data.epochs[row]}, ${pages}: ${parts.join(", ")}`;
  };

  const watch = (svg) => {
    const data = JSON.parse(document.getElementById(svg.dataset.map).textContent);
    const columns = columnsOf(data);
    const readout = svg.closest("figure").querySelector("output");
    const cursor = svg.querySelector(".cursor");
    const rows = data.epochs.length;
    const box = svg.viewBox.baseVal;
    let index = 0;
    let row = 0;

    const show = () => {
      cursor.setAttribute("x", columns[index].x);
      cursor.setAttribute("y", (row * box.height) / rows);
      readout.textContent = describe(data, columns[index], index, row);
    };
    svg.addEventListener("pointermove", (event) => {
      const place = svg.getBoundingClientRect();
      const x = ((event.clientX - place.left) / place.width) * box.width;
      const y = ((event.clientY - place.top) / place.height) * rows;
      const found = columns.findIndex((some) => x >= some.x && x < some.x + 1);
      if (found < 0 || y < 0 || y >= rows) return;
      index = found;
      row = Math.floor(y);
      show();
    });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (!(event.key in step)) return;
      event.preventDefault();
      index = Math.max(0, Math.min(columns.length - 1, index + step[event.key][0]));
      row = Math.max(0, Math.min(rows - 1, row + step[event.key][1]));
      show();
    });
    readout.hidden = false;
  };

  document.querySelectorAll(".legend .hint").forEach((hint) => (hint.hidden = false));

  document.querySelectorAll("svg[data-map]").forEach(watch);
})();
