// The rate-distortion curves and the BD-rate of each picture, drawn by Chart.js.
"use strict";
(() => {
  if (!byId("rd")) return;
  const TICKS = [0.01, 0.02, 0.03, 0.06, 0.12, 0.25, 0.5, 1, 2, 4, 8, 16];
  const hidden = new Set();
  let rd = null;
  let spread = null;

  function axis(text) {
    return { title: { display: true, text, color: colour("--ink") }, ticks: { color: colour("--soft") },
      grid: { color: colour("--line") }, border: { display: false } };
  }

  function measured(curve, scale) {
    return curve.points.map((point) => ({ x: point.bpp, y: onAxis(scale, point[scale.key]), quality: point.quality, mean: point[scale.key] }))
      .filter((point) => point.y !== null);
  }

  function curves(scale, set) {
    const own = set.curves.map((curve) => ({ name: curve.codec, points: measured(curve, scale), isThin: false }));
    // Others measured these on pictures of the same data set, so they belong to the natural ones alone.
    const theirs = set === DATA.sets[0] ? DATA.published[scale.key] || [] : [];
    const sign = scale.axis === "negative" ? -1 : 1;
    const thin = theirs.map((curve) => ({ name: curve.codec, isThin: true, points: curve.points.map(([x, y]) => ({ x, y: sign * y })) }));
    return [...own, ...thin].filter((curve) => curve.points.length > 0);
  }

  function dataset(curve) {
    const isTest = curve.name === DATA.test;
    const line = colourOf(curve.name);
    return { label: curve.name, data: curve.points, borderColor: line, backgroundColor: line, hidden: hidden.has(curve.name),
      borderWidth: curve.isThin ? 1 : isTest ? 3 : 2, pointRadius: curve.isThin ? 0 : isTest ? 4 : 3, pointHoverRadius: 6,
      borderDash: curve.isThin ? [2, 3] : curve.name !== DATA.test && curve.name.startsWith(DATA.test) ? [6, 4] : [],
      order: isTest ? 0 : curve.isThin ? 2 : 1 };
  }

  function tooltip(scale) {
    return { callbacks: {
      title: (items) => items[0].dataset.label,
      label: (item) => {
        const { x, y, quality, mean } = item.raw;
        const ratio = scale.axis === "decibels" && mean !== undefined ? ` (${mean.toFixed(4)})` : "";
        const at = quality === undefined ? "published" : `quality ${quality}`;
        return [`${x.toFixed(3)} bits per pixel`, `${scale.label} ${y.toFixed(scale.digits)}${unitText(scale)}${ratio}`, at];
      } } };
  }

  function drawCurves() {
    const scale = SCALES[byId("measure").value];
    const set = DATA.sets[byId("set").value];
    const shown = curves(scale, set);
    const isLog = byId("log").checked;
    const rates = shown.flatMap((curve) => (curve.isThin ? [] : curve.points.map((point) => point.x)));
    const x = { ...axis("bits per pixel, whole file"), type: isLog ? "logarithmic" : "linear",
      min: isLog ? Math.min(...rates) * 0.9 : 0, max: Math.max(...rates) * 1.08 };
    if (isLog) {
      x.afterBuildTicks = (built) => { built.ticks = TICKS.filter((t) => t >= built.min && t <= built.max).map((value) => ({ value })); };
      x.ticks = { ...x.ticks, callback: (value) => String(value) };
    }
    const y = { ...axis(scale.label + (scale.unit ? ", " + scale.unit : "")), reverse: scale.axis === "negative" };
    if (rd) rd.destroy();
    rd = new Chart(byId("rd"), { type: "line", data: { datasets: shown.map(dataset) },
      options: { parsing: false, interaction: { mode: "nearest", intersect: false }, scales: { x, y },
        plugins: { legend: { display: false }, tooltip: tooltip(scale) } } });
    drawLegend(shown);
  }

  function drawLegend(shown) {
    byId("legend").replaceChildren(...shown.map((curve, index) => {
      const button = document.createElement("button");
      const line = document.createElement("i");
      line.style.borderTopColor = colourOf(curve.name);
      line.style.borderTopStyle = curve.isThin ? "dotted" : "solid";
      button.type = "button";
      button.append(line, curve.name + (curve.isThin ? ", published" : ""));
      button.setAttribute("aria-pressed", String(!hidden.has(curve.name)));
      button.addEventListener("click", () => {
        if (!hidden.delete(curve.name)) hidden.add(curve.name);
        rd.setDatasetVisibility(index, !hidden.has(curve.name));
        rd.update();
        button.setAttribute("aria-pressed", String(!hidden.has(curve.name)));
      });
      return button;
    }));
  }

  function drawSpread() {
    if (!byId("spread")) return;
    const anchor = byId("spread-anchor").value;
    const scale = SCALES[byId("spread-measure").value];
    const names = new Map([...document.querySelectorAll("#pictures tbody tr")].map((row) => [row.dataset.item, row.dataset.name]));
    const rates = Object.entries(DATA.rates[scale.key] || {}).filter(([item]) => DATA.natural.includes(item))
      .map(([item, found]) => ({ name: names.get(item) || item, percent: found[anchor] }))
      .filter((one) => one.percent !== null && one.percent !== undefined).sort((a, b) => a.percent - b.percent);
    const y = axis("BD-rate, %");
    const x = { ...axis(`${rates.length} pictures, best first, at equal ${scale.label}`), ticks: { display: rates.length <= 30 && innerWidth > 640, color: colour("--soft"), autoSkip: false, maxRotation: 60 }, grid: { display: false } };
    if (spread) spread.destroy();
    spread = new Chart(byId("spread"), { type: "bar",
      data: { labels: rates.map((one) => one.name),
        datasets: [{ data: rates.map((one) => one.percent), backgroundColor: rates.map((one) => colour(one.percent < 0 ? "--good" : "--bad")), maxBarThickness: 40 }] },
      options: { scales: { x, y }, plugins: { legend: { display: false }, tooltip: { callbacks: { label: (item) => percentText(item.raw) } } } } });
  }

  function showRates() {
    const wanted = byId("rates-of").value;
    for (const row of document.querySelectorAll("#bd tbody tr")) row.hidden = wanted !== "" && row.dataset.measure !== wanted;
  }

  for (const id of ["measure", "set", "log"]) byId(id).addEventListener("change", drawCurves);
  for (const id of ["spread-anchor", "spread-measure"]) if (byId(id)) byId(id).addEventListener("change", drawSpread);
  byId("rates-of").addEventListener("change", showRates);
  isDark.addEventListener("change", () => { drawCurves(); drawSpread(); });
  drawCurves();
  drawSpread();
  window.reportCharts = { rd: () => rd, spread: () => spread };
})();
