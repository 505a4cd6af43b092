// Click a column's head, or press Enter on it, to sort its table by that column; again to turn the order round.
for (const head of document.querySelectorAll("table.sortable th")) {
  head.tabIndex = 0;
  head.addEventListener("keydown", event => { if (event.key === "Enter") head.click(); });
  head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const column = [...head.parentNode.children].indexOf(head);
    const turned = head.dataset.order === "up" ? -1 : 1;
    head.dataset.order = turned === 1 ? "up" : "down";
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [key(one), key(other)], [x, y] = [parseFloat(a), parseFloat(b)];
      return turned * (isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y);
    });
    body.append(...rows);
  });
}
