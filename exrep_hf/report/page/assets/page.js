"use strict";
const specs = JSON.parse(document.getElementById("specs").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function look() {
  const ink = dark.matches ? "#e6e8eb" : "#1c1e21", line = dark.matches ? "#343941" : "#d9dce1";
  const text = {labelColor: ink, titleColor: ink, domainColor: line, tickColor: line, gridColor: line};
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: {stroke: null},
    axis: {...text, titleFontWeight: "normal"},
    legend: text,
    title: {color: ink, anchor: "start", fontWeight: "normal"},
    rule: {color: ink},
    text: {color: ink},
  };
}

async function draw() {
  const options = {actions: false, ast: true, renderer: "svg", config: look(), tooltip: {theme: dark.matches ? "dark" : "light"}};
  for (const place of document.querySelectorAll("[data-chart]")) {
    await vegaEmbed(place, specs[place.dataset.chart], {...options, mode: "vega-lite"});
  }
  document.body.dataset.drawn = "yes";
}

function value(row, column) {
  const text = row.cells[column].textContent.trim(), found = text.match(/^([-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s?([GMk])?/);
  if (!found) return text;
  return Number(found[1].replace("−", "-")) * ({G: 1e9, M: 1e6, k: 1e3}[found[2]] || 1);
}

function compare(a, b) {
  const numbers = (typeof b === "number") - (typeof a === "number");
  if (numbers) return numbers;
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

for (const button of document.querySelectorAll(".sorts th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0], column = head.cellIndex;
    // Names from A, figures from the highest.
    const first = column ? "descending" : "ascending", other = column ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of head.parentElement.cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].map(row => [value(row, column), row]);
    rows.sort(([a], [b]) => typeof a === typeof b ? sign * compare(a, b) : compare(a, b));
    body.append(...rows.map(([, row]) => row));
  });
}

dark.addEventListener("change", draw);
draw();
