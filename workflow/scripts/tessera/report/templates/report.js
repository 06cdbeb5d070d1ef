"use strict";

for (const all of document.querySelectorAll("[data-all]")) {
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll(`[data-layer="${all.dataset.all}"]`)) box.checked = all.checked;
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

document.getElementById("gallery-subset").addEventListener("change", (event) => {
  for (const card of document.querySelectorAll("#gallery .card")) {
    card.hidden = event.target.value !== "" && card.dataset.subset !== event.target.value;
  }
});

// Laying out thousands of rows takes seconds, so only some are shown at first.
const SHOWN_AT_FIRST = 500;
const MISSING = "–";
const body = document.querySelector("#table tbody");
const find = document.getElementById("find");
const tableSubset = document.getElementById("table-subset");
const showAll = document.getElementById("show-all");
const collator = new Intl.Collator("en", { numeric: true });
let rows = Array.from(body.rows);
let limit = SHOWN_AT_FIRST;

function showRows() {
  const text = find.value.toLowerCase();
  let matching = 0;
  for (const row of rows) {
    const matches =
      (tableSubset.value === "" || row.dataset.subset === tableSubset.value) &&
      row.cells[0].textContent.toLowerCase().includes(text);
    matching += matches;
    row.hidden = !matches || matching > limit;
  }
  const cut = matching > limit;
  document.getElementById("shown").textContent =
    `${matching} of ${rows.length}` + (cut ? `, showing the first ${limit}` : "");
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
  // Missing values come last in both orders.
  cells.sort((a, b) => a.missing - b.missing || (descending ? compareCells(b, a) : compareCells(a, b)));
  rows = cells.map((cell) => cell.row);
  showRows();
  body.replaceChildren(...rows);
}

find.addEventListener("input", showRows);
tableSubset.addEventListener("change", showRows);
showAll.addEventListener("click", () => {
  limit = Infinity;
  showRows();
});
for (const header of document.querySelectorAll("#table thead th")) {
  header.firstElementChild.addEventListener("click", () => sortRows(header));
}
showRows();
