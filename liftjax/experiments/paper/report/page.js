// The report's page: sorts tables, opens the runs behind a number, draws charts and poses.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = (id) => JSON.parse($(`#data-${id}`)?.textContent ?? "null");

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // ---- tables ----------------------------------------------------------------------------------

  // The first click sorts up, the second down, the third brings the table's own order back.
  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = $$("thead th", table);
    const key = (row, i) => {
      const cell = row.cells[i];
      return cell.dataset.sort !== undefined ? Number(cell.dataset.sort)
        : cell.classList.contains("none") ? null : cell.textContent.trim();
    };
    const compare = (a, b) =>
      typeof a === "number" && typeof b === "number" ? a - b
        : String(a).localeCompare(String(b), undefined, {numeric: true});
    const sort = (head, i) => {
      const order = {none: "ascending", ascending: "descending", descending: "none"}[
        head.getAttribute("aria-sort") ?? "none"];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      const rows = [...original];
      if (order !== "none") {
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        rows.sort((a, b) => {
          const [x, y] = [key(a, i), key(b, i)];
          return (x === null) - (y === null) || sign * compare(x, y);  // gaps go last
        });
      }
      table.classList.toggle("sorted", order !== "none");
      body.append(...rows);
    };
    heads.forEach((head, i) => {
      head.tabIndex = 0;
      head.addEventListener("click", () => sort(head, i));
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(head, i); }
      });
    });
  }

  // Labels stay in view when a wide table is scrolled; the second column stops beside the first.
  function stickyLabels() {
    for (const table of $$("table")) {
      const first = table.tHead.rows[0].cells[0];
      table.style.setProperty("--second", `${first.getBoundingClientRect().width}px`);
    }
  }

  function switches() {
    for (const box of $$("[data-hides]")) {
      const apply = () => document.body.classList.toggle(`no-${box.dataset.hides}`, !box.checked);
      box.addEventListener("change", apply);
      apply();
    }
    $("#find-run").addEventListener("input", ({target}) => {
      const words = target.value.toLowerCase().split(/\s+/);
      for (const row of $$("table.runs tbody tr")) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
  }

  // ---- runs ------------------------------------------------------------------------------------

  const runs = new Map((data("runs") ?? []).map((run) => [run.id, run]));

  function flat(value, prefix = "") {
    const inside = value && typeof value === "object" && !Array.isArray(value);
    if (!inside || !Object.keys(value).length) return [[prefix, value]];
    return Object.entries(value).flatMap(([k, v]) => flat(v, prefix ? `${prefix}.${k}` : k));
  }

  const link = (id) => element("button", {"class": "link", "data-runs": id}, runs.get(id).title);

  function setting([key, value]) {
    const id = typeof value === "string" && value.startsWith("run:") ? value.slice(4) : null;
    const shown = runs.has(id) ? link(id) : typeof value === "string" ? value : JSON.stringify(value);
    return element("tr", {}, element("th", {scope: "row"}, key), element("td", {}, shown));
  }

  function config(run, open) {
    const rows = flat(run.config ?? {}).filter(([key]) => key).map(setting);
    const copy = element("button", {"class": "copy"}, "Copy as JSON");
    copy.addEventListener("click", () =>
      navigator.clipboard.writeText(JSON.stringify(run.config, null, 2))
        .then(() => { copy.textContent = "Copied"; }));
    const facts = [`seed ${run.seed}`, `${run.steps ?? 0} steps`, run.id].join(" · ");
    const parents = (run.parents ?? []).filter((id) => runs.has(id));
    return element("details", {"class": "config", ...(open ? {open: ""} : {})},
      element("summary", {}, run.title, element("small", {}, facts)),
      ...(parents.length ? [element("p", {}, "starts from ",
        ...parents.flatMap((id, i) => (i ? [", ", link(id)] : [link(id)])))] : []),
      ...(rows.length ? [copy, element("table", {}, element("tbody", {}, ...rows))]
        : [element("p", {}, "Nothing was trained here.")]));
  }

  function openRuns(ids, title, about) {
    const dialog = $("#run-dialog");
    const found = ids.map((id) => runs.get(id)).filter(Boolean);
    const chart = element("div", {"class": "chart"});
    $(".body", dialog).replaceChildren(
      element("h3", {}, title), ...(about ? [element("p", {"class": "about"}, about)] : []),
      chart, ...found.map((run, i) => config(run, i === 0)));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    const withCurves = found.filter((run) => run.curve);
    if (withCurves.length) draw(chart, "chart-run", withCurves);
    else chart.remove();
  }

  function openFrom(source) {
    const ids = source.dataset.runs.split(" ");
    const cell = source.closest("td");
    const table = source.closest("table.measured");
    if (!table) return openRuns(ids, ids.length === 1 ? runs.get(ids[0])?.title ?? ids[0] : "Runs");
    const labels = $$("th", cell.parentElement).map((th) => th.textContent);
    const head = table.tHead.rows[0].cells[cell.cellIndex];
    const column = head.firstChild.textContent.trim();
    const parts = [source.textContent, $(".unit", head)?.firstChild.textContent.trim() ?? ""].join(" ").trim();
    openRuns(ids, [...labels, column].join(" · "), [parts, source.title].filter(Boolean).join("; "));
  }

  document.addEventListener("click", (event) => {
    const source = event.target.closest("[data-runs]");
    if (source && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      openFrom(source);
    } else if (event.target.id === "run-dialog") {
      event.target.close();  // a click beside the dialog's content
    }
  });

  // ---- charts ----------------------------------------------------------------------------------

  const specifications = data("charts") ?? {};
  const drawn = new Map();  // element -> what draws it again
  const night = matchMedia("(prefers-color-scheme: dark)");

  // Vega is kept compressed, a third of its size, and unpacked when the first chart is due.
  let library;
  function vega() {
    library ??= (async () => {
      const packed = Uint8Array.from(atob($("#library").textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
      const script = element("script");
      script.textContent = await new Response(stream).text();
      document.head.append(script);
      return window.vegaEmbed;
    })();
    return library;
  }

  function theme(width) {
    const style = getComputedStyle(document.body);
    const color = (name) => style.getPropertyValue(name).trim();
    const [text, faint, line] = ["--text", "--faint", "--line"].map(color);
    return {
      background: null, font: style.fontFamily, view: {stroke: null}, style: {text: {fill: text}},
      axis: {labelColor: faint, titleColor: faint, titleFontWeight: "normal", titleFontSize: 12,
        labelFontSize: 11, gridColor: line, domainColor: line, tickColor: line},
      axisY: {domain: false, ticks: false, labelPadding: 6},
      axisQuantitative: {tickCount: 6},
      legend: {orient: "top", labelColor: text, labelFontSize: 12, labelLimit: 260, symbolOpacity: 1,
        columnPadding: 14, columns: width < 480 ? 2 : 0},
    };
  }

  async function draw(place, name, of = [...runs.values()]) {
    drawn.set(place, () => draw(place, name, of));
    const specification = {...specifications[name]};
    if (specification.data?.name === "runs") {
      const kept = of.map(({id, title, method, detector, curve}) =>
        ({id, title, method, detector, curve}));
      specification.datasets = {...specification.datasets, runs: kept};
    }
    try {
      const embed = await vega();
      const [bind, drawing] = [element("div", {"class": "choices"}), element("div")];
      place.replaceChildren(bind, drawing);
      const config = theme(place.clientWidth);
      await embed(drawing, specification, {actions: false, renderer: "svg", bind, config});
      place.dataset.drawn = "";
    } catch (error) {
      place.textContent = `This chart could not be drawn: ${error.message}`;
      console.error(error);
    }
  }

  function charts() {
    const places = $$(".chart[id]");
    const seen = new IntersectionObserver((entries) => {
      for (const {target, isIntersecting} of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        draw(target, target.id);
      }
    }, {rootMargin: "400px"});
    places.forEach((place) => seen.observe(place));
    night.addEventListener("change", () => {
      for (const [place, again] of drawn) place.isConnected ? again() : drawn.delete(place);
    });
    addEventListener("beforeprint", () =>
      places.forEach((place) => drawn.has(place) || draw(place, place.id)));
  }

  // ---- the page --------------------------------------------------------------------------------

  function contents() {
    const links = new Map($$("nav a[href^='#']").map((a) => [a.hash.slice(1), a]));
    const spy = new IntersectionObserver((entries) => {
      for (const {target, isIntersecting} of entries) {
        links.get(target.id)?.classList.toggle("here", isIntersecting);
      }
    }, {rootMargin: "-15% 0px -75% 0px"});
    $$("section[id], article[id]").forEach((part) => links.has(part.id) && spy.observe(part));
  }

  $$("table.sortable").forEach(sortable);
  switches();
  stickyLabels();
  addEventListener("resize", stickyLabels);
  contents();
  charts();
  const poses = data("poses");
  if (poses) window.reportViewer = liftjaxViewer.mount($("#viewer"), poses);
})();
