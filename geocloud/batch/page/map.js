// The map: coastlines and footprints on a canvas, in degrees, with longitude shortened as in the middle of the data.
"use strict";
{
  const SHADES = ["#2b6ca8", "#6fa3cc", "#b9b6b0", "#e39a5f", "#d55e00"];  // clear to cloud; without a number: grey
  const UNIT = 1000, LAND = 50;  // of footprints and coastlines, to a degree
  const CELL = 2, SMALL = 5;  // pixels, below which a footprint is only part of the mean of cells
  const canvas = document.querySelector("#map canvas"), paint = canvas.getContext("2d");
  let rings = [], scene = [], boxes = [], squeeze = 1, least = .01, view = null, visible = new Uint8Array(0), asked = false;

  const colour = name => getComputedStyle(document.body).getPropertyValue(name);
  const scale = () => canvas.clientWidth / view.width;  // pixels of the page for a degree of latitude
  const height = () => canvas.clientHeight / scale();
  const x = lon => ((lon - view.lon) * squeeze * scale()) + canvas.clientWidth / 2;
  const y = lat => (view.lat - lat) * scale() + canvas.clientHeight / 2;
  const place = (px, py) => [view.lon + (px - canvas.clientWidth / 2) / scale() / squeeze, view.lat - (py - canvas.clientHeight / 2) / scale()];
  const shade = cloud => Number.isNaN(cloud) ? "#8a929b" : SHADES[Math.min(4, Math.floor(cloud / 20))];

  function gather() {
    for (let at = 0; at < all.size; at++) {
      for (const flat of all.rings[at] || []) {
        let [left, bottom, right, top] = [Infinity, Infinity, -Infinity, -Infinity];
        for (let i = 0; i < flat.length; i += 2) {
          left = Math.min(left, flat[i] / UNIT); right = Math.max(right, flat[i] / UNIT);
          bottom = Math.min(bottom, flat[i + 1] / UNIT); top = Math.max(top, flat[i + 1] / UNIT);
        }
        rings.push(flat); scene.push(at); boxes.push(left, bottom, right, top);
      }
    }
  }
  function bounds(which) {  // of some rings, by their places
    const found = [Infinity, Infinity, -Infinity, -Infinity];
    for (const i of which) {
      for (const side of [0, 1]) {
        found[side] = Math.min(found[side], boxes[4 * i + side]);
        found[side + 2] = Math.max(found[side + 2], boxes[4 * i + side + 2]);
      }
    }
    return found;
  }
  function fit([left, bottom, right, top], room) {
    const ratio = canvas.clientWidth / canvas.clientHeight;
    const width = Math.max((right - left) * squeeze, (top - bottom) * ratio, least) * room;
    view = { lon: (left + right) / 2, lat: (bottom + top) / 2, width: Math.min(width, 400) };
    ask();
  }
  function start() {
    rings = []; scene = []; boxes = [];
    gather();
    document.getElementById("map").hidden = !rings.length;
    if (!rings.length) return;
    const [left, bottom, right, top] = bounds(rings.keys());
    squeeze = Math.max(.2, Math.cos((bottom + top) / 2 * Math.PI / 180));
    least = Math.min(4, 8 * (boxes[3] - boxes[1]) || 1);
    start.all = [left, bottom, right, top];
    fit(start.all, 1.12);
  }
  function ask() { if (!asked) { asked = true; requestAnimationFrame(draw); } }

  function outline(flat, unit, path = paint) {  // a ring as a path
    for (let i = 0; i < flat.length; i += 2) {
      if (i) path.lineTo(x(flat[i] / unit), y(flat[i + 1] / unit)); else path.moveTo(x(flat[i] / unit), y(flat[i + 1] / unit));
    }
    path.closePath();
  }
  function draw() {
    asked = false;
    if (!view || !canvas.clientWidth) return;
    const dense = devicePixelRatio || 1, [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(wide * dense)) { canvas.width = Math.round(wide * dense); canvas.height = Math.round(high * dense); }
    paint.setTransform(dense, 0, 0, dense, 0, 0);
    paint.fillStyle = colour("--sea");
    paint.fillRect(0, 0, wide, high);
    const land = new Path2D();
    for (const ring of report.land || []) outline(ring, LAND, land);
    paint.fillStyle = colour("--land");
    paint.fill(land);
    graticule(wide, high);
    const [left, top] = place(0, 0), [right, bottom] = place(wide, high), size = scale();
    const small = [];
    paint.strokeStyle = colour("--edge");
    paint.globalAlpha = .75;
    for (let i = 0; i < rings.length; i++) {
      const l = boxes[4 * i], b = boxes[4 * i + 1], r = boxes[4 * i + 2], t = boxes[4 * i + 3];
      if (!visible[scene[i]] || r < left || l > right || t < bottom || b > top) continue;
      if ((t - b) * size < SMALL) { small.push(i); continue; }
      paint.fillStyle = shade(all.cloud[scene[i]]);
      paint.beginPath();
      outline(rings[i], UNIT);
      paint.fill();
      paint.stroke();
    }
    paint.globalAlpha = .9;
    cells(small, wide, high);
    paint.globalAlpha = 1;
    paint.strokeStyle = colour("--coast");
    paint.lineWidth = 1;
    paint.stroke(land);
    if (chosen != null) mark();
  }
  function cells(small, wide, high) {  // many small footprints, one over the other: the mean of each cell
    const across = Math.ceil(wide / CELL) + 1, sum = new Float32Array(across * (Math.ceil(high / CELL) + 1));
    const known = new Uint32Array(sum.length), there = new Uint8Array(sum.length), cell = at => Math.max(0, Math.floor(at / CELL));
    for (const i of small) {
      const cloud = all.cloud[scene[i]], lastColumn = Math.min(across - 1, cell(x(boxes[4 * i + 2])));
      const lastRow = cell(Math.min(high, y(boxes[4 * i + 1])));
      for (let row = cell(y(boxes[4 * i + 3])); row <= lastRow; row++) {
        for (let column = cell(x(boxes[4 * i])); column <= lastColumn; column++) {
          const at = row * across + column;
          there[at] = 1;
          if (!Number.isNaN(cloud)) { sum[at] += cloud; known[at]++; }
        }
      }
    }
    there.forEach((any, at) => {
      if (!any) return;
      paint.fillStyle = shade(sum[at] / known[at]);
      paint.fillRect(at % across * CELL, Math.floor(at / across) * CELL, CELL, CELL);
    });
  }
  function mark() {  // the chosen scene: a double line, and where it is small a ring around it
    paint.beginPath();
    for (const flat of all.rings[chosen] || []) {
      outline(flat, UNIT);
      const i = rings.indexOf(flat), [l, b, r, t] = boxes.slice(4 * i, 4 * i + 4);
      if ((t - b) * scale() < 3 * SMALL) {
        paint.moveTo(x((l + r) / 2) + 9, y((b + t) / 2));
        paint.arc(x((l + r) / 2), y((b + t) / 2), 9, 0, 7);
      }
    }
    for (const [name, width] of [["--card", 5], ["--text", 2]]) {
      paint.strokeStyle = colour(name);
      paint.lineWidth = width;
      paint.stroke();
    }
  }
  function graticule(wide, high) {
    const step = [60, 30, 20, 10, 5, 2, 1, .5, .2, .1, .05, .02, .01].find(degrees => degrees * scale() * squeeze < wide / 2.5) || .01;
    const digits = step < .1 ? 2 : step < 1 ? 1 : 0, [left, top] = place(0, 0), [right, bottom] = place(wide, high);
    const degrees = (value, ends) => `${Math.abs(value).toFixed(digits)}°${Math.abs(value) < step / 2 ? "" : ends[+(value < 0)]}`;
    paint.strokeStyle = colour("--grid");
    paint.fillStyle = colour("--soft");
    paint.font = "11px system-ui, sans-serif";
    paint.lineWidth = 1;
    paint.beginPath();
    for (let lon = Math.ceil(Math.max(left, -180) / step) * step; lon <= Math.min(right, 180.001); lon += step) {
      paint.moveTo(x(lon), y(Math.min(top, 90))); paint.lineTo(x(lon), y(Math.max(bottom, -90)));
      if (x(lon) > 30 && x(lon) < wide - 30) paint.fillText(degrees(lon, "EW"), x(lon) + 3, high - 5);
    }
    for (let lat = Math.ceil(Math.max(bottom, -90) / step) * step; lat <= Math.min(top, 90); lat += step) {
      paint.moveTo(x(Math.max(left, -180)), y(lat)); paint.lineTo(x(Math.min(right, 180)), y(lat));
      if (y(lat) > 16 && y(lat) < high - 20) paint.fillText(degrees(lat, "NS"), 5, y(lat) - 3);
    }
    paint.stroke();
  }

  function within(flat, lon, lat) {  // even-odd rule
    let inside = false;
    for (let i = 0, j = flat.length - 2; i < flat.length; j = i, i += 2) {
      const [ax, ay, bx, by] = [flat[i] / UNIT, flat[i + 1] / UNIT, flat[j] / UNIT, flat[j + 1] / UNIT];
      if ((ay > lat) !== (by > lat) && lon < (bx - ax) * (lat - ay) / (by - ay) + ax) inside = !inside;
    }
    return inside;
  }
  function under(px, py) {  // the scenes at a point of the canvas, small ones with a margin for fingers
    const [lon, lat] = place(px, py), near = SMALL / scale(), found = new Set();
    for (let i = 0; i < rings.length; i++) {
      const small = (boxes[4 * i + 3] - boxes[4 * i + 1]) * scale() < SMALL, edge = small ? near : 0;
      if (visible[scene[i]] && lon >= boxes[4 * i] - edge / squeeze && lon <= boxes[4 * i + 2] + edge / squeeze &&
          lat >= boxes[4 * i + 1] - edge && lat <= boxes[4 * i + 3] + edge && (small || within(rings[i], lon, lat))) found.add(scene[i]);
    }
    return [...found];
  }
  function open(px, py) {  // of several, each click opens the next
    const there = under(px, py), next = there[(there.indexOf(chosen) + 1) % there.length];
    if (next != null) location.hash = encodeURIComponent(all.name[next]);
  }
  function hover(px, py) {
    const there = px == null ? [] : under(px, py), named = there[Math.max(0, there.indexOf(chosen))];
    document.getElementById("here").textContent = !there.length ? "" :
      `${all.name[named]}${Number.isNaN(all.cloud[named]) ? "" : `, ${number(all.cloud[named])} % cloud`}` +
      (there.length > 1 ? ` (${there.length} here)` : "");
    canvas.style.cursor = there.length ? "pointer" : "grab";
  }

  function zoom(by, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
    const [lon, lat] = place(px, py);
    view.width = Math.min(400, Math.max(least / 20, view.width / by));
    const [lonNow, latNow] = place(px, py);
    move(lonNow - lon, latNow - lat);
  }
  function move(lon, lat) {
    view.lon = Math.min(200, Math.max(-200, view.lon - lon));
    view.lat = Math.min(90, Math.max(-90, view.lat - lat));
    ask();
  }
  const fingers = new Map();
  let moved = 0;
  canvas.onpointerdown = event => {
    fingers.set(event.pointerId, event);
    moved = 0;
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = event => {
    const before = fingers.get(event.pointerId);
    if (!before) { requestAnimationFrame(() => hover(event.offsetX, event.offsetY)); return; }
    const [dx, dy] = [event.offsetX - before.offsetX, event.offsetY - before.offsetY];
    moved += Math.abs(dx) + Math.abs(dy);
    const other = [...fingers.values()].find(finger => finger.pointerId !== event.pointerId);
    if (other) {
      const far = finger => Math.hypot(finger.offsetX - other.offsetX, finger.offsetY - other.offsetY) || 1;
      zoom(far(event) / far(before), other.offsetX, other.offsetY);
    } else if (moved > 4) move(dx / scale() / squeeze, -dy / scale());
    fingers.set(event.pointerId, event);
  };
  canvas.onpointerup = event => { if (fingers.delete(event.pointerId) && moved <= 4) open(event.offsetX, event.offsetY); };
  canvas.onpointercancel = event => fingers.delete(event.pointerId);
  canvas.onpointerleave = () => hover();
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.onkeydown = event => {
    const far = view.width / 8, act = {
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => fit(start.all, 1.12), ArrowLeft: () => move(far / squeeze, 0),
      ArrowRight: () => move(-far / squeeze, 0), ArrowUp: () => move(0, -far), ArrowDown: () => move(0, far),
      Enter: () => open(canvas.clientWidth / 2, canvas.clientHeight / 2),
    }[event.key];
    if (act) { act(); event.preventDefault(); }
  };
  document.getElementById("closer").onclick = () => zoom(1.8);
  document.getElementById("farther").onclick = () => zoom(1 / 1.8);
  document.getElementById("whole").onclick = () => fit(start.all, 1.12);
  new ResizeObserver(ask).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").onchange = ask;

  listeners.shown.push(loaded => {
    visible = new Uint8Array(all.size);
    for (const at of found) visible[at] = 1;
    if (loaded) start(); else if (view) ask();
  });
  listeners.chosen.push(() => {
    const mine = scene.flatMap((at, i) => at === chosen ? [i] : []);
    if (!view || !mine.length) return;
    const [left, bottom, right, top] = bounds(mine);
    if (x(right) < 0 || x(left) > canvas.clientWidth || y(bottom) < 0 || y(top) > canvas.clientHeight) {
      view.lon = (left + right) / 2;
      view.lat = (bottom + top) / 2;
    }
    ask();
  });
}
