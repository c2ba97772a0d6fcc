// The table of scenes. Text is from untrusted files, so it is only set as text, never as HTML.
"use strict";
const ROWS = 100;  // shown at a time
const COLUMNS = {
  name: "Scene", day: "Acquired", cloud: "Cloud, %", shadow: "Shadow, %", snow: "Snow, %", cirrus: "Cirrus, %",
  valid: "Valid, %", seconds: "Time, s", state: "State",
};
const MARKS = { done: "✓", failed: "✕", waiting: "…", running: "▸" };
const all = {};  // column → values by scene index; null: unknown
let about, count, found = [], order = { key: "name", down: false };

const $ = id => document.getElementById(id);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter(child => child != null));
  return made;
};
const load = src => new Promise((resolve, reject) => {
  const script = make("script", { src, onload: resolve, onerror: () => reject(new Error(`${src} is missing`)) });
  document.head.append(script);
});

const report = {  // called by the scripts in the folder "report"
  async about(text) {
    about = JSON.parse(text);
    const states = Object.entries(about.states).sort();
    count = states.reduce((sum, [, scenes]) => sum + scenes, 0);
    document.title = $("title").textContent = about.title;
    const totals = [`${count} scenes`, ...states.map(([state, scenes]) => `${scenes} ${state}`), `geocloud ${about.version}`];
    $("totals").textContent = totals.join(" · ");
    $("state").append(...states.map(([state]) => new Option(state, state)));
    $("overview").hidden = !about.overview;
    if (about.overview) $("overview").querySelector("img").src = "report/overview.svg";
    for (const key of ["name", "state", "error"]) all[key] = Array(count).fill(null);
    await Promise.all([...Array(about.portions).keys()].map(portion => load(`report/scenes-${portion}.js`))).catch(error => {
      $("totals").textContent = `Incomplete: ${error.message}. To write the report again, run: geocloud batch report.`;
    });
    show();
    document.body.dataset.ready = "all";
  },
  scenes(text) {
    const { portion, ...columns } = JSON.parse(text);
    for (const [key, values] of Object.entries(columns)) {
      all[key] ??= Array(count).fill(null);
      values.forEach((value, at) => { all[key][portion * about.portion + at] = value; });
    }
  },
};

function search() {  // sorted indices of the scenes that match the filters
  const text = $("search").value.trim().toLowerCase(), state = $("state").value;
  const within = (key, low, high, parse) => {
    const [minimum, maximum] = [low, high].map(id => $(id).value && parse($(id).value));
    return at => minimum === "" && maximum === "" || all[key]?.[at] != null &&
      (minimum === "" || all[key][at] >= minimum) && (maximum === "" || all[key][at] <= maximum);
  };
  const cloudy = within("cloud", "low", "high", Number), dated = within("day", "from", "to", String);
  const has = at => ["name", "error", "notes"].some(key => all[key]?.[at]?.toLowerCase().includes(text));
  const places = [...all.name.keys()].filter(at =>
    (!state || all.state[at] === state) && cloudy(at) && dated(at) && (!text || has(at)));
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
  $("count").textContent = `${found.length === count ? "" : `${found.length} of `}${count} scenes`;
  $("rows").replaceChildren();
  more();
}

function more() {
  const first = $("rows").childElementCount;
  $("rows").append(...found.slice(first, first + ROWS).map(row));
  $("more").hidden = first + ROWS >= found.length;
}

function row(place) {
  const of = key => all[key]?.[place], name = encodeURIComponent(of("name"));
  const picture = ending => make("img", {
    loading: "lazy", alt: "", src: `thumbnails/${of("shelf")}/${name}${ending}`, onerror() { this.remove(); },
  });
  const link = (ending, text) => make("a", { href: `./${name}${ending}` }, text);
  const contents = {
    picture: of("shelf") == null ? [] : [picture(".jpg"), make("span", {}, picture(".jpg"), picture(".png"))],
    name: [
      make("b", {}, of("name")),
      ...of("is_here") ? [" ", link("_cloudmask.tif", "mask"), " ", link(".json", "STAC item")] : [],
      of("error") && make("p", { className: "failed" }, of("error")), of("notes") && make("p", {}, of("notes")),
    ],
    day: [of("day")],
    state: [make("span", { className: of("state") }, `${MARKS[of("state")]} ${of("state")}`)],
  };
  return make("tr", { role: "row" }, ...["picture", ...shown()].map(key =>
    make("td", { className: key, role: "cell" }, ...contents[key] ?? [of(key)?.toFixed(1)])));
}

let later;
$("filters").onsubmit = event => event.preventDefault();
$("filters").oninput = () => { clearTimeout(later); later = setTimeout(show, 120); };
$("more").onclick = more;
