"use strict";

for (const every of document.querySelectorAll("[data-every]")) {
  every.addEventListener("change", () => {
    for (const box of document.querySelectorAll(`[data-layer="${every.dataset.every}"]`)) box.checked = every.checked;
  });
}

for (const button of document.querySelectorAll(".enlarge")) {
  button.addEventListener("click", () => {
    const card = button.closest(".card");
    const large = card.classList.toggle("large");
    button.setAttribute("aria-pressed", large);
    button.textContent = large ? "Reduce" : "Enlarge";
    card.scrollIntoView({ block: "nearest" });
  });
}

document.getElementById("gallery-side").addEventListener("change", (event) => {
  for (const card of document.querySelectorAll(".card")) {
    card.hidden = event.target.value !== "" && card.dataset.side !== event.target.value;
  }
});

const body = document.querySelector("#table tbody");
const rows = Array.from(body.rows);

function filterRows() {
  const part = document.getElementById("find").value.toLowerCase();
  const side = document.getElementById("table-side").value;
  let shown = 0;
  for (const row of rows) {
    row.hidden =
      (side !== "" && row.dataset.side !== side) || !row.cells[0].textContent.toLowerCase().includes(part);
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = `${shown} of ${rows.length}`;
}
document.getElementById("find").addEventListener("input", filterRows);
document.getElementById("table-side").addEventListener("change", filterRows);

const MISSING = "–";
const collator = new Intl.Collator("en", { numeric: true });

function compareCells(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x - y;
}

function sortRows(header) {
  const column = header.cellIndex;
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentNode.cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const keyed = rows.map((row) => [row.cells[column].textContent.trim(), row]);
  // What is missing comes last, whichever way round.
  keyed.sort(
    ([a], [b]) => (a === MISSING) - (b === MISSING) || (descending ? compareCells(b, a) : compareCells(a, b)),
  );
  body.append(...keyed.map(([, row]) => row));
}
for (const header of document.querySelectorAll("#table thead th")) {
  header.firstElementChild.addEventListener("click", () => sortRows(header));
}
