// What the scripts of a report share: the data of the page, its colours, and how figures are written.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const SCALES = Object.fromEntries(DATA.scales.map((scale) => [scale.key, scale]));
const byId = (id) => document.getElementById(id);
document.documentElement.classList.add("scripted");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isDark = matchMedia("(prefers-color-scheme: dark)");
const OTHERS = { light: ["#2563a8", "#0f8a63", "#8a4fb0", "#a07a12", "#6b7280", "#b0306a", "#0e7490"],
  dark: ["#6aaef2", "#45c79a", "#c695ec", "#e0b84c", "#a3acba", "#f283b3", "#5cc8dd"] };

// A codec keeps its colour whichever set of pictures is shown.
const CODECS = [...new Set(DATA.sets.flatMap((set) => set.curves.map((curve) => curve.codec)))];
function colourOf(codec) {
  if (codec.startsWith(DATA.test)) return colour("--own");
  const others = CODECS.filter((name) => !name.startsWith(DATA.test));
  const list = OTHERS[isDark.matches ? "dark" : "light"];
  const place = others.indexOf(codec);
  return place < 0 ? colour("--soft") : list[place % list.length];
}

// The same as Scale.on_axis, but that a distance is drawn as it is, on an axis that is turned over.
function onAxis(scale, mean) {
  if (mean === null || mean === undefined) return null;
  if (scale.axis === "decibels") return mean >= 1 ? null : -10 * Math.log10(1 - mean);
  return mean;
}
const withSign = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const percentText = (value) => (value === null || value === undefined ? "–" : withSign(value, 1) + " %");
const bytesText = (count) => count.toLocaleString("en") + " B";
const unitText = (scale) => (scale.unit ? " " + scale.unit : "");

if (typeof Chart !== "undefined") {
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.animation = false;
  Chart.defaults.maintainAspectRatio = false;
}
