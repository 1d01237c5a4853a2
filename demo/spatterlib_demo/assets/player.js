// The recording with its boxes: pictures come a few at a time from the server and are kept; keys as in a cutting room.
const NS = 'http://www.w3.org/2000/svg', AHEAD = 24, KEPT = 600, RATE = 25;
let key = null, facts = null, now = 0, speed = 1, timer = null, direction = 1, asked = null, marked = null;
let kept = new Map();
const inside = selector => element.querySelector(`.player ${selector}`);
const make = (name, attributes, text) => {
  const node = document.createElementNS(NS, name);
  for (const at in attributes) node.setAttribute(at, attributes[at]);
  if (text !== undefined) node.textContent = text;
  return node;
};
function build() {
  const box = element.querySelector('.player');
  if (!box || inside('figure')) return box;
  const figure = document.createElement('figure'), caption = document.createElement('figcaption'), bar = document.createElement('div');
  figure.className = 'frame'; figure.tabIndex = 0; caption.setAttribute('aria-live', 'polite'); bar.className = 'tools play';
  figure.setAttribute('aria-label', 'Recording. Space plays, J and L go back and on, K stops, arrow keys step, N and P go to the next and last event.');
  const button = (text, name, act) => {
    const made = document.createElement('button');
    made.type = 'button'; made.textContent = text; made.title = name; made.setAttribute('aria-label', name);
    made.addEventListener('click', act); bar.append(made);
    return made;
  };
  button('|◀', 'Last event (P)', () => event(-1));
  button('◀', 'One frame back (←)', () => step(-1));
  button('▶ play', 'Play or stop (space)', toggle).classList.add('toggle');
  button('▶', 'One frame on (→)', () => step(1));
  button('▶|', 'Next event (N)', () => event(1));
  const rate = document.createElement('select');
  rate.setAttribute('aria-label', 'Speed');
  for (const value of [.1, .25, .5, 1, 2, 4]) rate.add(new Option(`${value}×`, value, value === 1, value === 1));
  rate.addEventListener('change', () => { speed = +rate.value; if (timer) play(direction); });
  const slide = document.createElement('input');
  slide.type = 'range'; slide.min = 0; slide.setAttribute('aria-label', 'Frame');
  slide.addEventListener('input', () => { stop(); go(+slide.value); });
  bar.append(rate, slide);
  button('Link', 'Copy an address that opens this recording at this frame', event => {
    const address = new URL(location.pathname, location.origin);
    address.search = new URLSearchParams({recording: facts.name, frame: now});
    navigator.clipboard?.writeText(address.href); event.target.textContent = 'Copied'; setTimeout(() => { event.target.textContent = 'Link'; }, 1500);
  });
  const help = document.createElement('span');
  help.className = 'key'; help.textContent = 'space, J K L, ← →, N P';
  bar.append(help);
  figure.append(make('svg', {class: 'picture', role: 'img'}), caption);
  box.replaceChildren(figure, bar);
  return box;
}
function draw() {
  const found = kept.get(now);
  if (!facts || !found || !build()) return;
  const svg = inside('svg'), text = `Frame ${now}, ${found.time.toFixed(2)} s: `;
  const said = found.picture ? `${found.boxes.length} spatter${facts.mark}` : 'it cannot be decoded';
  svg.setAttribute('viewBox', `0 0 ${facts.width} ${facts.height}`); svg.setAttribute('aria-label', text + said);
  svg.replaceChildren();
  if (found.picture) svg.append(make('image', {href: found.picture, width: facts.width, height: facts.height}));
  const size = Math.max(facts.width / 50, 9);
  for (const [x, y, width, height, style, label] of found.boxes) {
    svg.append(make('rect', {class: `box ${style}`, x, y, width, height}));
    svg.append(make('text', {class: `box ${style}`, x, y: Math.max(y - size / 3, size), 'font-size': size}, label));
  }
  inside('figcaption').textContent = text + said;
  const slide = inside('input');
  slide.max = facts.frames - 1; slide.value = now;
  inside('.toggle').textContent = timer ? '■ stop' : '▶ play';
}
function ask(frame, count) {
  if (asked !== null && performance.now() - asked < 8000) return;
  asked = performance.now();
  trigger('select', {frame: Math.max(0, frame), count});
}
function go(frame) {
  now = Math.min(Math.max(Math.round(frame), 0), facts.frames - 1);
  if (kept.has(now)) draw(); else ask(now, 1);
}
const step = by => { stop(); go(now + by); };
function event(by) {
  const next = by > 0 ? facts.events.find(frame => frame > now) : facts.events.findLast(frame => frame < now);
  if (next !== undefined) { stop(); go(next); }
}
function stop() { clearInterval(timer); timer = null; draw(); }
function play(to) {
  clearInterval(timer);
  direction = to;
  const rate = Math.min(facts.fps * speed, RATE), by = Math.max(1, Math.round(facts.fps * speed / rate)) * to;
  timer = setInterval(() => {
    if (!element.offsetParent) return stop();
    const next = now + by;
    if (next < 0 || next >= facts.frames) return stop();
    const ahead = next + (to > 0 ? AHEAD / 2 : -AHEAD / 2);
    if (!kept.has(next)) return ask(to > 0 ? next : next - AHEAD + 1, AHEAD);
    if (ahead > 0 && ahead < facts.frames && !kept.has(ahead)) ask(to > 0 ? first(next) : next - AHEAD, AHEAD);
    now = next; draw();
  }, 1000 / rate);
  draw();
}
function first(frame) { while (kept.has(frame)) frame++; return frame; }
const toggle = () => timer ? stop() : play(1);
function faster(to) {
  const rate = inside('select');
  if (timer && direction === to) { rate.selectedIndex = Math.min(rate.selectedIndex + 1, rate.options.length - 1); speed = +rate.value; }
  play(to);
}
function pressed(it) {
  if (!facts || !element.isConnected || !element.offsetParent || it.defaultPrevented || it.ctrlKey || it.metaKey || it.altKey) return;
  if (it.target.closest?.('input, textarea, select, [contenteditable], [role=option]')) return;
  if (it.key === ' ' && it.target.closest?.('button, a, [role=tab]')) return;
  const act = {' ': toggle, k: stop, j: () => faster(-1), l: () => faster(1), ArrowRight: () => step(it.shiftKey ? RATE : 1),
    ArrowLeft: () => step(it.shiftKey ? -RATE : -1), n: () => event(1), p: () => event(-1)}[it.key.length === 1 ? it.key.toLowerCase() : it.key];
  if (act && !(it.target.closest?.('[role=tab], [role=tablist]'))) { it.preventDefault(); act(); }
}
function changed() {
  const next = props.value && typeof props.value === 'object' ? props.value : null;
  asked = null;
  if (!next) { clearInterval(timer); timer = null; facts = key = null; kept.clear(); element.querySelector('.player')?.replaceChildren(); return; }
  if (next.key !== key) { kept.clear(); clearInterval(timer); timer = null; key = next.key; }
  facts = {...facts, ...next};
  next.pictures.forEach((picture, i) => kept.set(next.first + i, {picture, time: next.times[i], boxes: next.boxes[i]}));
  for (const frame of kept.keys()) if (kept.size > KEPT && Math.abs(frame - now) > KEPT / 3) kept.delete(frame);
  if (next.show !== null && next.stamp !== marked) {
    marked = next.stamp; clearInterval(timer); timer = null; now = next.show;
    draw();
    // What was clicked appears where one looks, and keys are for the player then.
    if (document.activeElement?.closest?.('[data-pick]')) inside('figure')?.focus({preventScroll: true});
    const box = element.getBoundingClientRect();
    if (box.top < 0 || box.bottom > innerHeight) element.scrollIntoView({block: 'center', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'});
  }
  if (!timer) draw();
}
document.addEventListener('keydown', pressed);
watch('value', changed);
changed();
