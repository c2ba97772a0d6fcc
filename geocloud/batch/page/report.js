// The table of scenes and the details of one. All text comes from strangers' files: it is only ever set as text.
"use strict";
const ROWS = 100;  // of a page of the list
const COLUMNS = {
  name: "Scene", day: "Acquired", cloud: "Cloud, %", shadow: "Shadow, %", valid: "Valid, %", seconds: "Time, s", state: "State",
};
const MARKS = { done: "✓", failed: "✕", waiting: "…", running: "▸" };
const all = { name: [], state: [], error: [], shelf: [] };  // the columns of all scenes, by their place
const details = new Map();  // portion → details of its scenes
let about, found = [], shown = [], order = { key: "name", down: false }, page = 0;

const $ = id => document.getElementById(id);
const make = (tag, text, name) => {
  const made = document.createElement(tag);
  if (text != null) made.textContent = text;
  if (name) made.className = name;
  return made;
};
const number = (value, unit = "") => value == null || Number.isNaN(value) ? "" : value.toFixed(1) + unit;
const whole = value => value.toLocaleString("en").replaceAll(",", "\u202f");
const dated = day => Number.isNaN(day) ? "" : new Date(day * 864e5).toISOString().slice(0, 10);
const five = portion => String(portion).padStart(5, "0");
const picture = (place, ending) =>
  `thumbnails/${String(all.shelf[place]).padStart(3, "0")}/${encodeURIComponent(all.name[place])}${ending}`;
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
    head();
    try {
      await Promise.all(Array.from({ length: Math.ceil(about.scenes / about.portion) }, (_, at) => load(`report/scenes/${five(at)}.js`)));
    } catch (error) {
      $("totals").textContent = `Incomplete: ${error.message}. Write it again: geocloud batch report.`;
    }
    shown = Object.keys(COLUMNS).filter(key => key === "name" || key === "state" || all[key].some(value => !Number.isNaN(value)));
    show();
    document.body.dataset.ready = "all";
    follow();
  },
  scenes(text) {
    const { portion, ...columns } = JSON.parse(text), start = portion * about.portion;
    for (const [key, values] of Object.entries(columns)) {
      values.forEach((value, at) => { all[key][start + at] = value ?? (Array.isArray(all[key]) ? null : NaN); });
    }
  },
  details(text) {
    const { portion, scenes } = JSON.parse(text);
    details.set(portion, scenes);
  },
};

function head() {
  document.title = $("title").textContent = about.title;
  $("overview").hidden = !about.overview;
  if (about.overview) $("overview").querySelector("img").src = "report/overview.svg";
  const states = Object.entries(about.states).sort();
  const parts = [`${whole(about.scenes)} scenes`, ...states.map(([state, count]) => `${whole(count)} ${state}`),
    `${whole(Math.round(about.megapixels))} megapixels`];
  if (about.cloud != null) parts.push(`${number(about.cloud)} % cloud on average`);
  $("totals").replaceChildren(...[...parts, `geocloud ${about.version}`].map(text => make("span", text)));
  $("state").append(...states.map(([state]) => new Option(state, state)));
}

function search() {  // the places of the scenes that pass the filters, in order
  const text = $("search").value.trim().toLowerCase(), state = $("state").value;
  const bound = (id, other) => $(id).value === "" ? other : $(id).type === "date" ? Date.parse($(id).value) / 864e5 : +$(id).value;
  const within = (value, low, high) => low == null && high == null || value >= (low ?? -Infinity) && value <= (high ?? Infinity);
  const [low, high, from, to] = ["low", "high", "from", "to"].map(id => bound(id, null));
  const places = [...all.name.keys()].filter(at => (!state || all.state[at] === state) &&
    within(all.cloud[at], low, high) && within(all.day[at], from, to) &&
    (!text || all.name[at].toLowerCase().includes(text) || all.error[at]?.toLowerCase().includes(text)));
  const column = all[order.key], sign = order.down ? -1 : 1;
  if (order.key === "name") return order.down ? places.reverse() : places;  // they come by name
  if (order.key === "state") return places.sort((a, b) => sign * column[a].localeCompare(column[b]) || a - b);
  const missing = at => Number.isNaN(column[at]);  // comes last, either way
  return places.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : sign * (column[a] - column[b])) || a - b);
}

function show() {
  found = search();
  $("heads").replaceChildren(make("td"), ...shown.map(key => {
    const cell = make("th", null, key), button = make("button", COLUMNS[key]);
    cell.setAttribute("role", "columnheader");
    cell.setAttribute("aria-sort", order.key !== key ? "none" : order.down ? "descending" : "ascending");
    button.onclick = () => {
      order = { key, down: order.key === key && !order.down };
      show();
      $("heads").querySelector(`.${key} button`).focus();
    };
    cell.append(button);
    return cell;
  }));
  turn(0);
}

function turn(to) {
  const pages = Math.max(1, Math.ceil(found.length / ROWS));
  page = Math.min(Math.max(0, to || 0), pages - 1);
  $("rows").replaceChildren(...found.slice(page * ROWS, (page + 1) * ROWS).map(row));
  $("count").textContent = `${found.length === about.scenes ? "" : `${whole(found.length)} of `}${whole(about.scenes)} scenes`;
  $("page").value = page + 1;
  $("pages").textContent = `of ${whole(pages)}`;
  $("back").disabled = page === 0;
  $("next").disabled = page === pages - 1;
}

function row(place) {
  const made = make("tr"), cells = { picture: make("td", null, "picture") };
  made.setAttribute("role", "row");
  if (all.shelf[place] != null) {
    const image = make("img");
    Object.assign(image, { loading: "lazy", alt: "", src: picture(place, ".jpg"), onerror: () => image.remove() });
    cells.picture.append(image);
  }
  for (const key of shown) {
    const cell = cells[key] = make("td", null, key);
    if (key === "day") cell.textContent = dated(all.day[place]);
    else if (key === "state") cell.append(make("span", `${MARKS[all.state[place]]} ${all.state[place]}`, all.state[place]));
    else if (key !== "name") cell.textContent = number(all[key][place]);
  }
  const link = make("a", all.name[place]);
  link.href = `#${encodeURIComponent(all.name[place])}`;
  cells.name.append(link);
  if (all.error[place]) cells.name.append(make("p", all.error[place], "reason failed"));
  if (cells.cloud?.textContent) cells.cloud.style.setProperty("--cloudy", all.cloud[place]);
  for (const cell of Object.values(cells)) cell.setAttribute("role", "cell");
  made.append(...Object.values(cells));
  made.onclick = event => { if (event.target !== link && !getSelection().toString()) link.click(); };
  return made;
}

async function follow() {  // the address names the scene that is shown
  const place = all.name.indexOf(decodeURIComponent(location.hash.slice(1)));
  if (place < 0) return $("detail").close();
  const portion = Math.floor(place / about.portion);
  if (!details.has(portion)) await load(`report/details/${five(portion)}.js`).catch(() => details.set(portion, []));
  const more = details.get(portion)[place % about.portion] || {}, pictured = all.shelf[place] != null;
  $("name").textContent = all.name[place];
  $("reason").textContent = all.error[place] || "";
  $("pictures").hidden = !pictured;
  for (const [id, ending] of pictured ? [["scene", ".jpg"], ["mask", ".png"]] : []) $(id).src = picture(place, ending);
  if (pictured) $("mask").style.background = `url("${picture(place, ".jpg")}") center / contain no-repeat`;  // what is clear
  $("files").replaceChildren(...Object.entries(more.files || {}).map(([kind, name]) => {
    const item = make("li"), link = make(more.uploaded ? "span" : "a", kind);
    if (more.uploaded) link.textContent = `${kind}: ${more.uploaded.replace(/\/$/, "")}/${name}`;  // no browser opens s3://
    else link.href = `./${encodeURIComponent(name)}`;
    item.append(link);
    return item;
  }));
  const facts = {
    State: all.state[place], Acquired: more.acquired?.slice(0, 16).replace("T", " "),
    Cloud: number(all.cloud[place], " % of valid pixels"), Shadow: number(all.shadow[place], " % of valid pixels"),
    Valid: number(all.valid[place], " % of all pixels"),
    Size: more.width && `${whole(more.width)} × ${whole(more.height)} pixels`, CRS: more.crs, Model: more.model,
    Time: number(all.seconds[place], " s"), Source: more.source, Notes: more.notes,
  };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  if (!$("detail").open) $("detail").showModal();
}

let later;
$("filters").onsubmit = event => event.preventDefault();
$("filters").oninput = () => { clearTimeout(later); later = setTimeout(show, 120); };
for (const [id, step] of [["back", -1], ["next", 1]]) $(id).onclick = () => { turn(page + step); $("filters").scrollIntoView(); };
$("page").onchange = () => turn($("page").value - 1);
$("close").onclick = () => $("detail").close();
$("detail").onclick = event => { if (event.target === $("detail")) $("detail").close(); };  // beside it
$("detail").onclose = () => { if (location.hash) location.hash = ""; };  // or a second click on a row would change nothing
window.onhashchange = follow;
document.onkeydown = event => {
  const row = event.target.closest?.("#rows tr");
  const next = row && { ArrowDown: row.nextSibling, ArrowUp: row.previousSibling }[event.key];
  if (next) { next.querySelector("a").focus(); event.preventDefault(); }
};
