"use strict";
(() => {
  const root = document.documentElement;
  const words = document.querySelector("main").dataset;
  const comma = root.lang === "ru";
  const text = new Intl.Collator(root.lang, { numeric: true });

  function themeButton() {
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      show();
    });
    system.addEventListener("change", show);
    show();
    button.hidden = false;
  }

  // The contents stand open beside the text where there is room for them.
  function contents() {
    const wide = matchMedia("(min-width: 64rem)");
    const fit = () => { document.getElementById("contents").open = wide.matches; };
    wide.addEventListener("change", fit);
    fit();
  }

  // A cell sorts by the number it begins with (also of an interval), else by its words; an empty one comes last.
  function keyOf(row, column) {
    const shown = row.cells[column].textContent.trim();
    const found = shown.match(/^\[?([-\u2212]?\d[\d.,\u00a0]*)/);
    if (!found) return shown === "" || shown === "\u2014" ? null : shown;
    const plain = found[1].replace(/\u00a0/g, "").replace("\u2212", "-");
    return parseFloat(comma ? plain.replace(",", ".") : plain.replace(/,/g, ""));
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return text.compare(a, b);
  }

  function sortBy(table, header) {
    const falling = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const keyed = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row, header.cellIndex) }));
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return falling ? compare(b.key, a.key) : compare(a.key, b.key);
    });
    table.tBodies[0].append(...keyed.map((item) => item.row));
  }

  function sortable(table) {
    for (const header of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sortBy(table, header));
      header.append(button);
    }
  }

  // Values to choose from: a column of whole numbers or words in which few values return often.
  function choices(table, column) {
    const rows = [...table.tBodies[0].rows];
    const values = [...new Set(rows.map((row) => row.cells[column].textContent.trim()))];
    const named = values.every((value) => !/[.,]\d|[%\u00d7\u2013\u2014[/]/.test(value) && value !== "");
    return named && values.length > 1 && 3 * values.length <= rows.length ? values.sort(text.compare) : [];
  }

  function filterable(table, number) {
    const rows = [...table.tBodies[0].rows];
    const bar = document.createElement("div");
    bar.className = "filters";
    bar.setAttribute("role", "search");
    bar.setAttribute("aria-label", `${words.filter}: ${table.caption.textContent}`);
    const labelled = (name, control) => {
      const label = document.createElement("label");
      label.append(name, control);
      bar.append(label);
      control.addEventListener("input", apply);
      return control;
    };
    const search = labelled(words.filter, Object.assign(document.createElement("input"), { type: "search" }));
    const selects = [];
    for (const header of table.tHead.rows[0].cells) {
      const values = choices(table, header.cellIndex);
      if (!values.length) continue;
      const select = labelled(header.textContent, document.createElement("select"));
      select.append(new Option(words.all, ""), ...values.map((value) => new Option(value, value)));
      selects.push({ select, column: header.cellIndex });
    }
    const count = document.createElement("output");
    bar.append(count);
    function apply() {
      const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const content = row.textContent.toLowerCase();
        const chosen = selects.every(({ select, column }) =>
          select.value === "" || row.cells[column].textContent.trim() === select.value);
        row.hidden = !(chosen && wanted.every((word) => content.includes(word)));
        shown += !row.hidden;
      }
      count.textContent = words.rows.replace("{shown}", shown).replace("{all}", rows.length);
    }
    apply();
    table.parentElement.before(bar);
  }

  themeButton();
  contents();
  for (const table of document.querySelectorAll("main table")) {
    const rows = table.tBodies[0] ? [...table.tBodies[0].rows] : [];
    if (rows.length > 1) sortable(table);
    if (rows.length >= 8) filterable(table);
  }
})();
