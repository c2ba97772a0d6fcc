// The list of scenes and the panel of one. All text comes from strangers' files: it is only ever set as text.
"use strict";
const ROWS = 100;  // of a page of the list
const COLUMNS = [
  { key: "name", head: "Scene" }, { key: "day", head: "Acquired" }, { key: "cloud", head: "Cloud, %" },
  { key: "shadow", head: "Shadow, %" }, { key: "valid", head: "Valid, %" }, { key: "seconds", head: "Time, s" },
  { key: "state", head: "State" },
];
const MARKS = { done: "✓", failed: "✕", waiting: "…", running: "▸" };
const all = { size: 0, name: [], state: [], error: [], rings: [] };  // the columns of all scenes, by their place
const there = new Set();  // the columns that hold something
let about, found = [], order = { key: "name", down: false }, page = 0, chosen = null;
const details = new Map(), listeners = { shown: [], chosen: [] };

const $ = id => document.getElementById(id);
const make = (tag, text, name) => {
  const made = document.createElement(tag);
  if (text != null) made.textContent = text;
  if (name) made.className = name;
  return made;
};
const named = (tag, text) => {  // a name, that may be broken after an underscore
  const made = make(tag);
  text.split(/(?<=_)/).forEach((part, at) => made.append(...(at ? [make("wbr")] : []), part));
  return made;
};
const number = (value, digits = 1) => Number.isNaN(value) ? "" : value.toFixed(digits);
const whole = value => value.toLocaleString("en").replaceAll(",", "\u202f");
const dated = day => Number.isNaN(day) ? "" : new Date(day * 864e5).toISOString().slice(0, 10);
const five = portion => String(portion).padStart(5, "0");
const thumbnail = (place, form) =>
  `report/thumbnails/${five(Math.floor(place / about.portion))}/${String(place % about.portion).padStart(3, "0")}.${form}`;
const load = address => new Promise((done, failed) => {
  const script = make("script");
  script.src = address;
  script.onload = () => { script.remove(); done(); };
  script.onerror = () => failed(new Error(`${address} is missing`));
  document.head.append(script);
});

const report = {  // called by the scripts of the folder "report"
  async about(text) {
    about = JSON.parse(text);
    for (const key of ["day", "cloud", "shadow", "valid", "seconds"]) all[key] = new Float32Array(about.scenes).fill(NaN);
    all.picture = new Uint8Array(about.scenes);
    head();
    const portions = Math.ceil(about.scenes / about.portion);
    try {
      if (portions) await load(`report/scenes/${five(0)}.js`);
      show();
      await Promise.all(Array.from({ length: portions - 1 }, (_, at) => load(`report/scenes/${five(at + 1)}.js`)));
    } catch (error) {
      $("totals").textContent = `Incomplete: ${error.message}. Write it again: geocloud batch report.`;
    }
    show();
    listeners.shown.forEach(call => call(true));
    document.body.dataset.ready = "all";
    follow();
    if (chosen == null && matchMedia("(min-width: 1000px)").matches && all.size) choose(Math.max(0, all.picture.indexOf(1)));
  },
  scenes(text) {
    const { portion, ...columns } = JSON.parse(text);
    const start = portion * about.portion;
    for (const [key, values] of Object.entries(columns)) {
      const column = all[key];
      there.add(key);
      values.forEach((value, at) => { column[start + at] = value ?? (Array.isArray(column) ? null : NaN); });
    }
    all.size = Math.max(all.size, start + columns.name.length);
  },
  details(text) {
    const { portion, scenes } = JSON.parse(text);
    details.set(portion, scenes);
  },
  coast(rings) { report.land = rings.map(unfold); },
};

function unfold(letters) {  // an encoded polyline: a ring's points, longitude and latitude by turns
  const flat = [];
  for (let at = 0; at < letters.length;) {
    let value = 0, shift = 0, bits;
    do { bits = letters.charCodeAt(at++) - 63; value |= (bits & 31) << shift; shift += 5; } while (bits >= 32);
    flat.push((flat.at(-2) || 0) + (value & 1 ? ~(value >> 1) : value >> 1));
  }
  return flat;
}

function head() {
  document.title = $("title").textContent = about.title;
  const parts = [[whole(about.scenes), about.scenes === 1 ? "scene" : "scenes"],
    ...Object.entries(about.states).sort().map(([state, count]) => [whole(count), state]),
    [whole(Math.round(about.megapixels)), "megapixels"],
    ...(about.cloud == null ? [] : [[`${number(about.cloud)} %`, "cloud on average"]])];
  $("totals").replaceChildren(...parts.map(([value, what]) => {
    const part = make("span");
    part.append(make("b", value), ` ${what}`);
    return part;
  }), make("span", `geocloud ${about.version}`));
  for (const state of Object.keys(about.states).sort()) $("state").append(new Option(state, state));
}

function search() {  // the places of the scenes that pass the filters, in order
  const text = $("search").value.trim().toLowerCase(), state = $("state").value;
  const bound = (id, other) => $(id).value === "" ? other : +$(id).value;
  const low = bound("low", null), high = bound("high", null);
  const day = id => $(id).value ? Date.parse($(id).value) / 864e5 : null;
  const from = day("from"), to = day("to"), places = [];
  for (let at = 0; at < all.size; at++) {
    if (state && all.state[at] !== state) continue;
    if (low != null && !(all.cloud[at] >= low) || high != null && !(all.cloud[at] <= high)) continue;
    if (from != null && !(all.day[at] >= from) || to != null && !(all.day[at] <= to)) continue;
    if (text && !all.name[at].toLowerCase().includes(text) && !all.error[at]?.toLowerCase().includes(text)) continue;
    places.push(at);
  }
  const column = all[order.key], sign = order.down ? -1 : 1;
  if (order.key === "name") { if (order.down) places.reverse(); }  // they come by name
  else if (order.key === "state") places.sort((a, b) => sign * column[a].localeCompare(column[b]) || a - b);
  else places.sort((a, b) => {  // what is missing comes last, either way
    const lacks = Number.isNaN(column[a]) - Number.isNaN(column[b]);
    return lacks || (Number.isNaN(column[a]) ? 0 : sign * (column[a] - column[b])) || a - b;
  });
  return places;
}

function show() {
  found = search();
  $("heads").replaceChildren(make("td"), ...shown().map(({ key, head }) => {
    const cell = make("th", null, key), button = make("button", head);
    cell.setAttribute("role", "columnheader");
    cell.setAttribute("aria-sort", order.key !== key ? "none" : order.down ? "descending" : "ascending");
    button.onclick = () => { sort(key, order.key === key && !order.down); $("heads").querySelector(`.${key} button`).focus(); };
    cell.dataset.key = key;
    cell.append(button);
    return cell;
  }));
  $("order").replaceChildren(...shown().flatMap(({ key, head }) => [
    new Option(`${head} ↑`, `${key} up`), new Option(`${head} ↓`, `${key} down`)]));
  $("order").value = `${order.key} ${order.down ? "down" : "up"}`;
  turn(0);
  listeners.shown.forEach(call => call(false));
}
const shown = () => COLUMNS.filter(({ key }) => there.has(key));
function sort(key, down) { order = { key, down }; show(); }

function turn(to) {
  const pages = Math.max(1, Math.ceil(found.length / ROWS));
  page = Math.min(Math.max(0, to || 0), pages - 1);
  const places = found.slice(page * ROWS, (page + 1) * ROWS);
  $("rows").replaceChildren(...places.map(row));
  $("count").textContent = found.length === about.scenes
    ? `${whole(found.length)} scenes` : `${whole(found.length)} of ${whole(about.scenes)} scenes`;
  $("page").value = page + 1;
  $("page").max = pages;
  $("pages").textContent = `of ${whole(pages)}`;
  $("pager").classList.toggle("single", pages === 1);
  $("first").disabled = $("back").disabled = page === 0;
  $("next").disabled = $("last").disabled = page === pages - 1;
}

function row(place) {
  const made = make("tr"), picture = make("td", null, "picture"), name = make("td", null, "name");
  made.dataset.place = place;
  if (all.picture[place]) {
    const image = make("img");
    image.loading = "lazy";
    image.alt = "";
    image.src = thumbnail(place, "jpg");
    picture.append(image);
  }
  const link = named("a", all.name[place]);
  link.href = `#${encodeURIComponent(all.name[place])}`;
  name.append(link);
  if (all.error[place]) name.append(make("p", all.error[place], "reason failed"));
  made.append(picture, name, ...shown().slice(1).map(({ key, head }) => {
    const cell = make("td", null, key);
    if (key === "state") cell.append(make("span", `${MARKS[all.state[place]] || ""} ${all.state[place]}`, all.state[place]));
    else cell.textContent = key === "day" ? dated(all.day[place]) : number(all[key][place]);
    if (key === "cloud" && !Number.isNaN(all.cloud[place])) cell.style.setProperty("--cloudy", all.cloud[place]);
    cell.dataset.head = head;
    return cell;
  }));
  for (const cell of made.children) cell.setAttribute("role", "cell");
  made.setAttribute("role", "row");
  made.onclick = event => { if (event.target.tagName !== "A" && !getSelection().toString()) link.click(); };
  if (place === chosen) mark(made);
  return made;
}
function mark(row) { row.classList.add("chosen"); row.setAttribute("aria-current", "true"); }

function follow() {  // the address names the scene that is shown
  const name = decodeURIComponent(location.hash.slice(1));
  const place = name ? all.name.indexOf(name) : -1;
  if (place >= 0) { choose(place); document.body.classList.add("open"); }
}
async function choose(place) {
  chosen = place;
  document.querySelectorAll("tr.chosen").forEach(old => { old.classList.remove("chosen"); old.removeAttribute("aria-current"); });
  document.querySelectorAll(`tr[data-place="${place}"]`).forEach(mark);
  listeners.chosen.forEach(call => call());
  const portion = Math.floor(place / about.portion);
  if (!details.has(portion)) await load(`report/details/${five(portion)}.js`).catch(() => details.set(portion, []));
  if (chosen === place) tell(place, details.get(portion)[place % about.portion] || {});
}

function tell(place, more) {
  $("detail").hidden = false;
  $("name").replaceChildren(...named("h2", all.name[place]).childNodes);
  $("reason").textContent = all.error[place] || "";
  $("pictures").hidden = $("slide").hidden = !all.picture[place];
  if (all.picture[place]) { $("scene").src = thumbnail(place, "jpg"); $("mask").src = thumbnail(place, "png"); slide(); }
  $("files").replaceChildren(...Object.entries(more.files || {}).map(([kind, name]) => {
    const item = make("li"), link = make(more.uploaded ? "span" : "a", kind);
    if (more.uploaded) link.textContent = `${kind}: ${more.uploaded.replace(/\/$/, "")}/${name}`;  // no browser opens s3://
    else link.href = `./${encodeURIComponent(name)}`;
    item.append(link);
    return item;
  }));
  const percent = (value, of) => Number.isNaN(value) ? null : `${number(value)} %${of}`;
  const facts = {
    State: all.state[place], Acquired: more.acquired?.slice(0, 16).replace("T", " ") || dated(all.day[place]),
    Cloud: percent(all.cloud[place], " of valid pixels"), Shadow: percent(all.shadow[place], " of valid pixels"),
    Valid: percent(all.valid[place], " of all pixels"),
    Size: more.width ? `${whole(more.width)} × ${whole(more.height)} pixels` : null, CRS: more.crs, Model: more.model,
    Time: Number.isNaN(all.seconds[place]) ? null : `${number(all.seconds[place])} s`, Source: more.source, Notes: more.notes,
  };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}
function slide() {
  const at = $("slider").value;
  $("mask").style.clipPath = `inset(0 0 0 ${at}%)`;
  $("bar").style.left = `${at}%`;
}
function close() {
  document.body.classList.remove("open");
  document.querySelector(`tr[data-place="${chosen}"] a`)?.focus();
  if (location.hash) location.hash = "";  // or a second click on the same row would change nothing
}

let later;
$("filters").onsubmit = event => event.preventDefault();
$("filters").oninput = event => {
  clearTimeout(later);
  if (event.target.id === "order") { const [key, way] = $("order").value.split(" "); sort(key, way === "down"); }
  else later = setTimeout(show, 120);
};
for (const [id, to] of Object.entries({ first: () => 0, back: () => page - 1, next: () => page + 1, last: () => Infinity })) {
  $(id).onclick = () => { turn(to()); $("scenes").scrollIntoView(); };
}
$("page").onchange = () => turn($("page").value - 1);
$("slider").oninput = slide;
$("close").onclick = close;
window.onhashchange = follow;
document.onkeydown = event => {
  if (event.key === "Escape" && document.body.classList.contains("open")) close();
  const row = event.target.closest?.("#rows tr");
  const next = row && { ArrowDown: row.nextSibling, ArrowUp: row.previousSibling }[event.key];
  if (next) { next.querySelector("a").focus(); event.preventDefault(); }
};
