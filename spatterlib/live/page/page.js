"use strict";
// Text from outside is text: it only ever goes into textContent. Every 250 ms the page asks what has changed.
const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const PAUSE = 250, HIDDEN = 3000, MOST = 900, SPAN = 600;
let entry = 0, shown = 0, following = true, first = 0, last = 0, picture = null, wanted = null, fetching = false;
let simulated = null, ended = null;
const verdicts = [], layers = new Map(), charted = [];

const seconds = (value) => {
  const whole = Math.max(0, Math.floor(value)), two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};
const text = (id, value) => { const node = at(id); if (node.textContent !== value) node.textContent = value; };
const made = (name, attributes, content) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (content !== undefined) node.textContent = content;
  return node;
};
const drawn = (name, attributes) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const share = (value) => (value === null || value === undefined ? "" : value.toFixed(2));

async function ask() {
  let pause = document.hidden ? HIDDEN : PAUSE;
  try {
    const answer = await fetch(`/now?after=${entry}`, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.status === 401 ? "the key has changed: open the new address" : `answer ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    document.body.dataset.state = "lost";
    text("sign", "✕"); text("word", "no answer");
    text("reason", `The watch does not answer: ${error.message}. What is below is old.`);
    text("link", "no answer from the watch"); at("link").className = "bad";
    pause = 1000;
  }
  setTimeout(ask, pause);
}

function show(now) {
  for (const found of now.entries) take(found);
  if (now.start) text("source", `${now.start.source} · ${now.start.model.name}`);
  const marks = [];
  if (now.simulated) marks.push("simulated stream");
  if (now.model_origin && now.model_origin !== "not stated") marks.push(`model learned from ${now.model_origin} recordings`);
  text("marks", marks.join(" · "));
  if (now.status) { showState(now); showFacts(now.status); }
  if (now.shots) {
    [first, last] = now.shots;
    const slider = at("back");
    slider.disabled = false; slider.min = first; slider.max = last;
    if (following) { slider.value = last; wantShot(last); }
    else if (Number(slider.value) < first) { slider.value = first; wantShot(first); }
  }
}

function take(found) {
  entry = Math.max(entry, found.entry);
  if (found.type === "verdict" && found.scope === "window") {
    verdicts.push(found);
    while (verdicts.length > MOST || (verdicts.length && found.time - verdicts[0].time > SPAN)) verdicts.shift();
    drawCurve();
  } else if (found.type === "verdict") {
    layers.set(found.number, { ...layers.get(found.number), ...found });
    drawLayers();
  } else if (found.type === "chart") {
    charted.push(found);
    if (charted.length > 60) charted.shift();
    layers.set(found.number, { ...layers.get(found.number), number: found.number, differs: found.alarms.length > 0 });
    drawLayers(); drawCharts();
  } else if (found.type === "alarm" || found.type === "gap") note(found);
  else if (found.type === "end") ended = found.reason;
}

function showState(now) {
  const { status, spans, events } = now;
  const scope = spans.layer ? "layer" : "window", span = spans[scope];
  const other = events.filter((found) => !["critical", "attention", "decided"].includes(found.state));
  let state = span ? span.state : "no verdict", word = state, sign = { OK: "✓", decided: "✓", critical: "✕", attention: "!" }[state] || "–";
  let reason = span ? span.reason : "no spatter was seen yet";
  if (ended !== null) { state = "ended"; word = "ended"; sign = "■"; reason = ended; }
  else if (!status.connected) { state = "lost"; word = "no picture"; sign = "✕"; reason = other.length ? other[0].reason : "the stream is not there"; }
  else if (other.length) { state = "alarm"; word = other[0].state; sign = "!"; reason = other.map((found) => `${found.state}: ${found.reason}`).join("; "); }
  document.body.dataset.state = state;
  text("sign", sign); text("word", word); text("reason", reason);
  const label = span ? span.label || (span.leading ? `(${span.leading})` : "") : "";
  const interval = span && span.low !== null ? ` [${share(span.low)}–${share(span.high)}]` : "";
  text("label", label ? `${label} ${share(span.probability)}${interval}` : "");
  const scale = at("scale"), has = Boolean(span && span.low !== null);
  scale.hidden = !has;
  if (has) {
    at("interval").style.left = `${100 * span.low}%`; at("interval").style.width = `${100 * (span.high - span.low)}%`;
    at("mean").style.left = `${100 * span.probability}%`;
  }
  text("votes", span ? `${scope === "layer" ? `layer ${span.number}` : "last seconds"} · ${span.votes} vote${span.votes === 1 ? "" : "s"}` : "");
  text("link", ended !== null ? "ended" : status.connected ? "pictures come" : "no pictures");
  at("link").className = status.connected ? "good" : "bad";
  const news = `${word}. ${label}`;
  if (at("news").dataset.word !== word) { at("news").dataset.word = word; text("news", news); }
  document.title = `${sign} ${word} · spatterlib watch`;
}

function showFacts(status) {
  const ms = (value) => (value === null ? "–" : `${Math.round(1000 * value)} ms`);
  const facts = [
    ["Frames looked at", status.decoded], ["Dropped", status.dropped], ["Not decoded", status.undecoded],
    ["Verdict after, 99 %", ms(status.latency_p99)], ["Median", ms(status.latency_p50)], ["Waiting", status.waiting],
    ["Times connected", status.connections], ["Without pictures", `${status.gap_seconds.toFixed(1)} s`],
    ["Seen before", status.repeated], ["Events", status.events], ["Layers", status.layers], ["Not handed over", status.undelivered],
  ];
  if (status.store !== null) facts.push(["Store", status.store]);
  if (status.charts !== null) facts.push(["Charts", status.charts]);
  if (status.clips) facts.push(["Clips", status.clips]);
  const list = at("facts");
  if (list.children.length !== facts.length) {
    list.replaceChildren(...facts.map(([name]) => { const part = made("div", {}); part.append(made("dt", {}, name), made("dd", {})); return part; }));
  }
  facts.forEach(([name, value], index) => {
    const part = list.children[index].lastChild;
    if (part.textContent !== String(value)) part.textContent = String(value);
    part.className = ["Dropped", "Not handed over"].includes(name) && value > 0 ? "bad" : "";
  });
}

function note(found) {
  const log = at("log");
  if (!log.dataset.used) { log.dataset.used = "1"; log.replaceChildren(); }
  const alarm = found.type === "alarm";
  const line = made("li", { "data-phase": alarm ? found.phase : "gap" });
  line.append(made("time", { datetime: found.at }, new Date(found.at).toLocaleTimeString()));
  line.append(alarm ? `${found.event} ${found.phase}: ${found.state}: ${found.reason}` : `nothing was seen for ${found.seconds.toFixed(1)} s: ${found.reason}`);
  log.prepend(line);
  while (log.children.length > 200) log.lastChild.remove();
}

function drawLayers() {
  const list = at("layers"), stays = list.scrollLeft + list.clientWidth >= list.scrollWidth - 8;
  const last = [...layers.keys()].sort((a, b) => a - b).slice(-120);
  for (const number of layers.keys()) if (number < last[0]) layers.delete(number);
  list.replaceChildren(...last.map((number) => {
    const layer = layers.get(number);
    const node = made("li", { "data-state": layer.state || "no verdict", title: layer.reason || "" });
    node.append(made("b", {}, { OK: "✓", decided: layer.label || "✓", critical: "✕", attention: "!" }[layer.state] || "–"), String(number));
    node.append(made("span", { class: "away" }, ` ${layer.state || ""} ${layer.label || ""}${layer.differs ? " differs from the reference" : ""}`));
    if (!layer.final) node.classList.add("running");
    if (layer.differs) node.classList.add("differs");
    return node;
  }));
  if (stays) list.scrollLeft = list.scrollWidth;
}

function drawCurve() {
  const seen = verdicts.filter((found) => found.probability !== null);
  if (seen.length < 2) return;
  const label = seen[seen.length - 1].leading, end = seen[seen.length - 1].time, span = Math.max(60, Math.min(SPAN, end - seen[0].time));
  // The share of one class throughout: where another leads, two classes leave the rest.
  const of = (found, value) => (found.leading === label ? value : 1 - value);
  const x = (found) => 600 * (1 - (end - found.time) / span), y = (value) => 150 - 140 * value;
  const with_ = seen.filter((found) => found.low !== null);
  const upper = with_.map((found) => `${x(found).toFixed(1)},${y(of(found, found.leading === label ? found.high : found.low)).toFixed(1)}`);
  const lower = with_.map((found) => `${x(found).toFixed(1)},${y(of(found, found.leading === label ? found.low : found.high)).toFixed(1)}`).reverse();
  const parts = [0, 0.5, 1].map((value) => drawn("line", { x1: 0, x2: 600, y1: y(value), y2: y(value), class: "grid" }));
  parts.push(drawn("polygon", { points: [...upper, ...lower].join(" "), class: "band" }));
  parts.push(drawn("polyline", { points: seen.map((found) => `${x(found).toFixed(1)},${y(of(found, found.probability)).toFixed(1)}`).join(" "), class: "mean" }));
  at("curve").replaceChildren(...parts);
  const newest = seen[seen.length - 1], words = `${label}: ${share(newest.probability)} now; from 0 (below) to 1 (above), ${Math.round(span)} s`;
  at("curve").setAttribute("aria-label", words); text("curve-text", words);
}

function drawCharts() {
  at("charts-part").hidden = false;
  const ratio = (found) => Math.max(...Object.entries(found.limits).map(([name, limit]) => (found[name] || 0) / limit));
  const top = Math.max(2, ...charted.map(ratio)), y = (value) => 150 - (140 * value) / top;
  const x = (index) => (charted.length < 2 ? 300 : 10 + (580 * index) / (charted.length - 1));
  at("charts").replaceChildren(
    drawn("line", { x1: 0, x2: 600, y1: y(0), y2: y(0), class: "grid" }), drawn("line", { x1: 0, x2: 600, y1: y(1), y2: y(1), class: "limit" }),
    drawn("polyline", { points: charted.map((found, index) => `${x(index).toFixed(1)},${y(ratio(found)).toFixed(1)}`).join(" "), class: "mean" }));
  const newest = charted[charted.length - 1];
  const words = `layer ${newest.number}: ${newest.alarms.length ? newest.alarms.join(", ") : "within all limits"} (the chart that is farthest, as a share of its limit)`;
  at("charts").setAttribute("aria-label", words); text("charts-text", words);
}

function wantShot(number) {
  wanted = number;
  if (!fetching) loadShot();
}

async function loadShot() {
  fetching = true;
  try {
    while (wanted !== null && wanted !== shown) {
      const number = wanted;
      const answer = await fetch(`/shot/${number}`, { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) break;
      const facts = JSON.parse(answer.headers.get("X-Shot")), address = URL.createObjectURL(await answer.blob()), image = at("picture");
      image.src = address;
      await image.decode();
      if (picture) URL.revokeObjectURL(picture);
      picture = address; shown = number;
      image.hidden = false; at("nothing").hidden = true;
      at("frame").style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`;
      showBoxes(facts.boxes);
      image.alt = `The camera's picture at ${seconds(facts.time)} with ${facts.boxes.length} boxes`;
      at("frame").dataset.number = number;
      text("moment", seconds(facts.time));
      at("back").setAttribute("aria-valuetext", `${seconds(facts.time)}${following ? ", live" : ""}`);
    }
  } catch (error) { /* the next answer says what is wrong */ }
  fetching = false;
}

function showBoxes(boxes) {
  at("boxes").replaceChildren(...boxes.map(([x, y, width, height]) => drawn("rect", { x, y, width, height })));
  at("names").replaceChildren(...boxes.map(([x, y, width, height, label, probability]) => {
    const name = made("span", {}, `${label} ${share(probability)}`);
    const under = y < 0.07;
    name.style.left = `${100 * Math.min(x, 0.85)}%`; name.style.top = `${100 * (under ? y + height : y)}%`;
    if (under) name.className = "under";
    return name;
  }));
}

function follow(on) {
  following = on;
  at("live").disabled = on;
  if (on && last) { at("back").value = last; wantShot(last); }
}

at("back").addEventListener("input", () => { const number = Number(at("back").value); follow(number >= last); if (!following) wantShot(number); });
at("live").addEventListener("click", () => follow(true));
ask();
