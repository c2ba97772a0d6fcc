// The table of scenes and the details of one. All text comes from strangers' files: it is only ever set as text.
"use strict";
const ROWS = 100;  // that are shown at a time
const NUMBERS = {
  cloud: "Cloud, %", shadow: "Shadow, %", snow: "Snow, %", cirrus: "Cirrus, %", valid: "Valid, %", seconds: "Time, s",
};
const COLUMNS = { name: "Scene", day: "Acquired", ...NUMBERS, state: "State" };
const MARKS = { done: "✓", failed: "✕", waiting: "…", running: "▸" };
const all = {};  // column → its values, by the place of a scene; null: not known
const details = {};  // portion → details of its scenes
let about, found = [], order = { key: "name", down: false };

const $ = id => document.getElementById(id);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter(child => child != null));
  return made;
};
const number = (key, place) => all[key]?.[place]?.toFixed(1);
const picture = (place, ending) => `thumbnails/${all.shelf[place]}/${encodeURIComponent(all.name[place])}${ending}`;
const load = src => new Promise((resolve, reject) => {
  const script = make("script", { src, onload: resolve, onerror: () => reject(new Error(`${src} is missing`)) });
  document.head.append(script);
});

const report = {  // called by the scripts of the folder "report"
  async about(text) {
    about = JSON.parse(text);
    head();
    const portions = [...Array(Math.ceil(about.scenes / about.portion)).keys()];
    for (const key of ["name", "state", "error", "shelf"]) all[key] = Array(about.scenes).fill(null);
    await Promise.all(portions.map(portion => load(`report/scenes/${portion}.js`))).catch(error => {
      $("totals").textContent = `Incomplete: ${error.message}. Write it again: geocloud batch report.`;
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
  const totals = [`${about.scenes} scenes`, ...states.map(([state, count]) => `${count} ${state}`)];
  if (about.cloud != null) totals.push(`${about.cloud.toFixed(1)} % cloud on average`);
  $("totals").textContent = [...totals, `geocloud ${about.version}`].join(" · ");
  $("state").append(...states.map(([state]) => new Option(state, state)));
}

function search() {  // the places of the scenes that pass the filters, in order
  const text = $("search").value.trim().toLowerCase(), state = $("state").value;
  const within = (key, low, high, unit = 1) => {
    const [least, most] = [low, high].map(id => $(id).value && $(id).valueAsNumber / unit);
    return at => least === "" && most === "" || all[key]?.[at] != null &&
      (least === "" || all[key][at] >= least) && (most === "" || all[key][at] <= most);
  };
  const cloudy = within("cloud", "low", "high"), dated = within("day", "from", "to", 864e5);
  const places = [...all.name.keys()].filter(at => (!state || all.state[at] === state) && cloudy(at) && dated(at) &&
    (!text || all.name[at].toLowerCase().includes(text) || all.error[at]?.toLowerCase().includes(text)));
  if (order.key === "name") return order.down ? places.reverse() : places;  // they come by name
  const column = all[order.key], missing = at => column[at] == null;  // comes last, either way
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
  $("count").textContent = `${found.length === about.scenes ? "" : `${found.length} of `}${about.scenes} scenes`;
  $("rows").replaceChildren();
  more();
}

function more() {
  const first = $("rows").childElementCount;
  $("rows").append(...found.slice(first, first + ROWS).map(row));
  $("more").hidden = first + ROWS >= found.length;
}

function row(place) {
  const [name, error, state, day] = ["name", "error", "state", "day"].map(key => all[key]?.[place]);
  const link = make("a", { href: `#${encodeURIComponent(name)}` }, name);
  const image = { loading: "lazy", alt: "", src: picture(place, ".jpg"), onerror() { this.remove(); } };
  const contents = {
    name: [link, error && make("p", { className: "reason failed" }, error)],
    day: [day != null ? new Date(day * 864e5).toISOString().slice(0, 10) : null],
    state: [make("span", { className: state }, `${MARKS[state]} ${state}`)],
    picture: [all.shelf[place] && make("img", image)],
  };
  const cells = ["picture", ...shown()].map(key =>
    make("td", { className: key, role: "cell" }, ...contents[key] ?? [number(key, place)]));
  const onclick = event => { if (event.target !== link && !getSelection().toString()) link.click(); };
  return make("tr", { role: "row", onclick }, ...cells);
}

async function follow() {  // the address names the scene that is shown
  const place = all.name.indexOf(decodeURIComponent(location.hash.slice(1)));
  if (place < 0) return $("detail").close();
  const portion = Math.floor(place / about.portion), pictured = all.shelf[place] != null;
  if (!details[portion]) await load(`report/details/${portion}.js`).catch(() => { details[portion] = []; });
  const { files = {}, uploaded, facts = {} } = details[portion][place % about.portion] ?? {};
  $("name").textContent = all.name[place];
  $("reason").textContent = all.error[place];
  $("pictures").hidden = !pictured;
  for (const [id, ending] of pictured ? [["scene", ".jpg"], ["mask", ".png"]] : []) $(id).src = picture(place, ending);
  if (pictured) $("mask").style.background = `url("${picture(place, ".jpg")}") center / contain no-repeat`;  // what is clear
  $("files").replaceChildren(...Object.entries(files).map(([kind, name]) => make("li", {}, uploaded
    ? `${kind}: ${uploaded.replace(/\/$/, "")}/${name}`  // no browser opens s3://
    : make("a", { href: `./${encodeURIComponent(name)}` }, kind === "item" ? "STAC item" : kind))));
  const numbers = Object.keys(NUMBERS).map(key => [NUMBERS[key], number(key, place)]).filter(([, value]) => value);
  $("facts").replaceChildren(...[["state", all.state[place]], ...numbers, ...Object.entries(facts)]
    .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  if (!$("detail").open) $("detail").showModal();
}

let later;
$("filters").onsubmit = event => event.preventDefault();
$("filters").oninput = () => { clearTimeout(later); later = setTimeout(show, 120); };
$("more").onclick = more;
$("close").onclick = () => $("detail").close();
$("detail").onclick = event => { if (event.target === $("detail")) $("detail").close(); };  // beside it
$("detail").onclose = () => { if (location.hash) location.hash = ""; };  // or a second click on a row would change nothing
window.onhashchange = follow;
document.onkeydown = event => {
  const row = event.target.closest?.("#rows tr");
  const next = row && { ArrowDown: row.nextSibling, ArrowUp: row.previousSibling }[event.key];
  if (next) { next.querySelector("a").focus(); event.preventDefault(); }
};
