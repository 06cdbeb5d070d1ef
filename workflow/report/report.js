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
  for (const card of document.querySelectorAll("#gallery .card")) {
    card.hidden = event.target.value !== "" && card.dataset.side !== event.target.value;
  }
});

// Laying out thousands of rows takes seconds, so that at first only some are.
const SHOWN_AT_FIRST = 500;
const MISSING = "–";
const body = document.querySelector("#table tbody");
const find = document.getElementById("find");
const tableSide = document.getElementById("table-side");
const showAll = document.getElementById("show-all");
const collator = new Intl.Collator("en", { numeric: true });
let rows = Array.from(body.rows);
let limit = SHOWN_AT_FIRST;

function showRows() {
  const part = find.value.toLowerCase();
  let matching = 0;
  for (const row of rows) {
    const matches =
      (tableSide.value === "" || row.dataset.side === tableSide.value) &&
      row.cells[0].textContent.toLowerCase().includes(part);
    matching += matches;
    row.hidden = !matches || matching > limit;
  }
  const cut = matching > limit;
  document.getElementById("shown").textContent =
    `${matching} of ${rows.length}` + (cut ? `, the first ${limit} are shown` : "");
  showAll.hidden = !cut;
}

function compareCells(a, b) {
  return Number.isNaN(a.number) || Number.isNaN(b.number) ? collator.compare(a.text, b.text) : a.number - b.number;
}

function sortRows(header) {
  const column = header.cellIndex;
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentNode.cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const cells = rows.map((row) => {
    const text = row.cells[column].textContent;
    return { row, text, number: Number(text), missing: text === MISSING };
  });
  // What is missing comes last, whichever way round.
  cells.sort((a, b) => a.missing - b.missing || (descending ? compareCells(b, a) : compareCells(a, b)));
  rows = cells.map((cell) => cell.row);
  showRows();
  body.replaceChildren(...rows);
}

find.addEventListener("input", showRows);
tableSide.addEventListener("change", showRows);
showAll.addEventListener("click", () => {
  limit = Infinity;
  showRows();
});
for (const header of document.querySelectorAll("#table thead th")) {
  header.firstElementChild.addEventListener("click", () => sortRows(header));
}
showRows();
