// The table of scenes and the details of a scene. Text is from untrusted files, so it is only set as text, never as HTML.
"use strict";
const ROWS = 100;  // per page of the table
const COLUMNS = {
  name: "Scene", day: "Acquired", cloud: "Cloud, %", shadow: "Shadow, %", snow: "Snow, %", cirrus: "Cirrus, %",
  valid: "Valid, %", seconds: "Time, s", state: "State",
};
const MARKS = { done: "✓", failed: "✕", waiting: "…", running: "▸" };
const all = {};  // column → values by index of the scene; null: unknown
const details = {};  // portion → details of the scenes in it
let about, found = [], order = { key: "name", down: false }, page = 0;

const $ = id => document.getElementById(id);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter(child => child != null));
  return made;
};
const number = (value, unit = "") => value == null ? null : value.toFixed(1) + unit;
const whole = value => value.toLocaleString("en").replaceAll(",", "\u202f");
const picture = (place, ending) => `thumbnails/${all.shelf[place]}/${encodeURIComponent(all.name[place])}${ending}`;
const load = src => new Promise((resolve, reject) => {
  const script = make("script", { src, onload: resolve, onerror: () => reject(new Error(`${src} is missing`)) });
  document.head.append(script);
});

const report = {  // called by the scripts in the folder "report"
  async about(text) {
    about = JSON.parse(text);
    head();
    const portions = [...Array(Math.ceil(about.scenes / about.portion)).keys()];
    for (const key of ["name", "state", "error", "shelf"]) all[key] = Array(about.scenes).fill(null);
    await Promise.all(portions.map(portion => load(`report/scenes/${portion}.js`))).catch(error => {
      $("totals").textContent = `Incomplete: ${error.message}. To write the report again, run: geocloud batch report.`;
    });
    show();
    document.body.dataset.ready = "all";
    follow();
  },
  scenes(text) {
    const { portion, ...columns } = JSON.parse(text);
    for (const [key, values] of Object.entries(columns)) {
      all[key] ??= Array(about.scenes).fill(null);
      values.forEach((value, at) => { all[key][portion * about.portion + at] = value; });
    }
  },
  details(text) {
    const { portion, scenes } = JSON.parse(text);
    details[portion] = scenes;
  },
};

function head() {
  document.title = $("title").textContent = about.title;
  $("overview").hidden = !about.overview;
  if (about.overview) $("overview").querySelector("img").src = "report/overview.svg";
  const states = Object.entries(about.states).sort();
  const cloud = about.cloud == null ? [] : [`${number(about.cloud)} % cloud on average`];
  const totals = [`${whole(about.scenes)} scenes`, ...states.map(([state, count]) => `${whole(count)} ${state}`),
    `${whole(Math.round(about.megapixels))} megapixels`, ...cloud, `geocloud ${about.version}`];
  $("totals").replaceChildren(...totals.map(text => make("span", {}, text)));
  $("state").append(...states.map(([state]) => new Option(state, state)));
}

function search() {  // sorted indices of the scenes that pass the filters
  const text = $("search").value.trim().toLowerCase(), state = $("state").value;
  const within = (key, low, high, unit = 1) => {
    const [minimum, maximum] = [low, high].map(id => $(id).value && $(id).valueAsNumber / unit);
    return at => minimum === "" && maximum === "" || all[key]?.[at] != null &&
      (minimum === "" || all[key][at] >= minimum) && (maximum === "" || all[key][at] <= maximum);
  };
  const cloudy = within("cloud", "low", "high"), dated = within("day", "from", "to", 864e5);
  const places = [...all.name.keys()].filter(at => (!state || all.state[at] === state) && cloudy(at) && dated(at) &&
    (!text || all.name[at].toLowerCase().includes(text) || all.error[at]?.toLowerCase().includes(text)));
  if (order.key === "name") return order.down ? places.reverse() : places;  // already sorted by name
  const column = all[order.key], missing = at => column[at] == null;  // sorted last in both directions
  const compare = (a, b) => (order.down ? -1 : 1) * ((column[a] > column[b]) - (column[a] < column[b]));
  return places.sort((a, b) => missing(a) - missing(b) || compare(a, b) || a - b);
}

const shown = () => Object.keys(COLUMNS).filter(key => all[key]);

function show() {
  found = search();
  $("heads").replaceChildren(make("td"), ...shown().map(key => {
    const onclick = () => {
      order = { key, down: order.key === key && !order.down };
      show();
      $("heads").querySelector(`.${key} button`).focus();
    };
    const ariaSort = order.key !== key ? "none" : order.down ? "descending" : "ascending";
    return make("th", { className: key, role: "columnheader", ariaSort }, make("button", { onclick }, COLUMNS[key]));
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
  const { name, error, state, shelf, day, cloud } = Object.fromEntries(Object.keys(all).map(key => [key, all[key][place]]));
  const link = make("a", { href: `#${encodeURIComponent(name)}` }, name);
  const contents = {
    name: [link, error && make("p", { className: "reason failed" }, error)],
    day: [day != null ? new Date(day * 864e5).toISOString().slice(0, 10) : null],
    state: [make("span", { className: state }, `${MARKS[state]} ${state}`)],
    picture: [shelf && make("img", { loading: "lazy", alt: "", src: picture(place, ".jpg"), onerror() { this.remove(); } })],
  };
  const cells = ["picture", ...shown()].map(key =>
    make("td", { className: key, role: "cell" }, ...contents[key] ?? [number(all[key][place])]));
  for (const cell of cells) if (cell.className === "cloud") cell.style.setProperty("--cloudy", cloud ?? 0);
  const onclick = event => { if (event.target !== link && !getSelection().toString()) link.click(); };
  return make("tr", { role: "row", onclick }, ...cells);
}

async function follow() {  // shows the scene named in the URL's hash
  const place = all.name.indexOf(decodeURIComponent(location.hash.slice(1)));
  if (place < 0) return $("detail").close();
  const portion = Math.floor(place / about.portion), pictured = all.shelf[place] != null;
  if (!details[portion]) await load(`report/details/${portion}.js`).catch(() => { details[portion] = []; });
  const more = details[portion][place % about.portion] || {};
  $("name").textContent = all.name[place];
  $("reason").textContent = all.error[place];
  $("pictures").hidden = !pictured;
  for (const [id, ending] of pictured ? [["scene", ".jpg"], ["mask", ".png"]] : []) $(id).src = picture(place, ending);
  if (pictured) $("mask").style.background = `url("${picture(place, ".jpg")}") center / contain no-repeat`;  // shown where the mask is clear
  $("files").replaceChildren(...Object.entries(more.files || {}).map(([kind, name]) => make("li", {}, more.uploaded
    ? `${kind}: ${more.uploaded.replace(/\/$/, "")}/${name}`  // browsers cannot open s3://
    : make("a", { href: `./${encodeURIComponent(name)}` }, kind === "item" ? "STAC item" : kind))));
  const percent = key => number(all[key]?.[place], " % of valid pixels");
  const facts = {
    State: all.state[place], Acquired: more.acquired?.slice(0, 16).replace("T", " "),
    Cloud: percent("cloud"), Shadow: percent("shadow"), Snow: percent("snow"), Cirrus: percent("cirrus"),
    Valid: number(all.valid?.[place], " % of all pixels"),
    Size: more.width && `${whole(more.width)} × ${whole(more.height)} pixels`, CRS: more.crs, Model: more.model,
    Time: number(all.seconds?.[place], " s"), Source: more.source, Notes: more.notes,
  };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  if (!$("detail").open) $("detail").showModal();
}

let later;
$("filters").onsubmit = event => event.preventDefault();
$("filters").oninput = () => { clearTimeout(later); later = setTimeout(show, 120); };
for (const [id, step] of [["back", -1], ["next", 1]]) $(id).onclick = () => { turn(page + step); $("filters").scrollIntoView(); };
$("page").onchange = () => turn($("page").value - 1);
$("close").onclick = () => $("detail").close();
$("detail").onclick = event => { if (event.target === $("detail")) $("detail").close(); };  // a click outside
$("detail").onclose = () => { if (location.hash) location.hash = ""; };  // so that the same row can be opened again
window.onhashchange = follow;
document.onkeydown = event => {
  const row = event.target.closest?.("#rows tr");
  const next = row && { ArrowDown: row.nextSibling, ArrowUp: row.previousSibling }[event.key];
  if (next) { next.querySelector("a").focus(); event.preventDefault(); }
};
