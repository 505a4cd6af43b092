// A button in each column's head sorts its table by that column; again turns the order round. Rows without a number come last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const number = row => parseFloat(row.cells[column].dataset.value);
      const text = row => row.cells[column].textContent.trim();
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((one, other) => {
        const [a, b] = [number(one), number(other)];
        if (isNaN(a) && isNaN(b)) return (up ? 1 : -1) * text(one).localeCompare(text(other), undefined, { numeric: true });
        if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
        return (up ? 1 : -1) * (a - b);
      }));
    });
  });
}
// On paper nothing can be unfolded.
const folded = new Set();
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open], .screen)")) { folded.add(part); part.open = true; }
});
addEventListener("afterprint", () => { for (const part of folded) part.open = false; folded.clear(); });
