// Tables that sort by a click on a heading, and the filter of the pictures.
"use strict";
(() => {
  function valueOf(row, column, kind) {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (kind === "text") return text.toLowerCase();
    const value = text === "" ? NaN : Number(text.replace("−", "-").replace(",", ""));
    return value;
  }

  function compare(a, b) {
    if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
    return a - b;
  }

  function sort(table, heading) {
    const isRising = heading.getAttribute("aria-sort") !== "ascending";
    const column = heading.cellIndex;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column, heading.dataset.sort) }));
    // What is missing stands last, whichever way the rest goes.
    const isMissing = (one) => typeof one.value === "number" && Number.isNaN(one.value);
    rows.sort((a, b) => isMissing(a) - isMissing(b) || (isMissing(a) ? 0 : (isRising ? 1 : -1) * compare(a.value, b.value)));
    body.append(...rows.map((one) => one.row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", isRising ? "ascending" : "descending");
  }

  for (const heading of document.querySelectorAll("th[data-sort]")) {
    heading.tabIndex = 0;
    const table = heading.closest("table");
    heading.addEventListener("click", () => sort(table, heading));
    heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(table, heading); });
  }

  const filter = byId("filter");
  function showFiltered() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...document.querySelectorAll("#pictures tbody tr")];
    for (const row of rows) {
      const note = row.cells[row.cells.length - 1].textContent;
      const text = `${row.dataset.name} ${note}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    byId("filtered").textContent = words.length ? `${shown} of ${rows.length}` : "";
  }
  filter.addEventListener("input", showFiltered);
})();
