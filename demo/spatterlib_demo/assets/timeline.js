// A timeline in one SVG: drag to zoom in, wheel or buttons to zoom, click a bar to see its frame, arrow keys move.
const SVG = 'http://www.w3.org/2000/svg', HEIGHT = 190, TOP = 34, FOOT = 24, LEFT = 46, RIGHT = 8;
let data = null, view = null, cursor = null, drag = null, width = 800;

function make(name, attributes, parent, text) {
  const node = document.createElementNS(SVG, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}
const x = time => LEFT + (time - view[0]) / (view[1] - view[0]) * (width - LEFT - RIGHT);
const time_at = px => view[0] + (px - LEFT) / (width - LEFT - RIGHT) * (view[1] - view[0]);

function bars() {
  const step = [.04, .1, .2, .5, 1, 2, 5, 10, 20, 60, 120, 300, 600].find(s => (view[1] - view[0]) / s <= width / 6) || 1200;
  const found = new Map();
  data.time.forEach((time, i) => {
    if (time < view[0] || time > view[1]) return;
    const key = Math.floor((time - data.begin) / step);
    const bar = found.get(key) || {time: data.begin + key * step, step, count: 0, sum: 0, votes: 0, best: 0, frame: 0};
    bar.count += data.count[i];
    if (data.mean[i] >= 0) { bar.sum += data.mean[i] * data.count[i]; bar.votes += data.count[i]; }
    if (data.count[i] > bar.best) { bar.best = data.count[i]; bar.frame = data.frame[i]; bar.at = time; }
    found.set(key, bar);
  });
  return [...found.values()];
}
// Orange (first class) over grey to violet (last class): told apart by the colour-blind too.
function colour(bar) {
  if (!bar.votes) return 'var(--tl-none)';
  const p = bar.sum / bar.votes, strong = Math.round(Math.abs(p - .5) * 200);
  return `color-mix(in oklab, var(${p > .5 ? '--tl-last' : '--tl-first'}) ${strong}%, var(--tl-none))`;
}
function shades(svg, base) {
  for (const [start, stop, number, label, state] of data.layers) {
    if (stop < view[0] || start > view[1]) continue;
    const from = Math.max(x(start), LEFT), to = Math.min(Math.max(x(stop), x(start) + 2), width - RIGHT);
    make('rect', {class: 'layer' + (number % 2 ? ' odd' : ''), x: from, y: TOP - 16, width: Math.max(to - from, 1), height: base - TOP + 16}, svg);
    const room = to - from, sure = state === 'OK' || state === 'critical' || state === 'decided';
    const text = room > 92 ? `layer ${number}: ${sure ? label : 'not sure'}` : room > 16 ? String(number) : '';
    make('text', {class: 'name', x: (from + to) / 2, y: TOP - 5, 'text-anchor': 'middle'}, svg, text);
  }
  for (const [time, text] of data.changes) {
    if (time < view[0] || time > view[1]) continue;
    make('line', {class: 'change', x1: x(time), x2: x(time), y1: TOP - 20, y2: base}, svg);
    make('text', {class: 'strong', x: x(time) + 5, y: TOP - 21, 'text-anchor': x(time) > width - 120 ? 'end' : 'start'}, svg, text);
  }
}
function axes(svg, base, top, most) {
  const step = [.1, .2, .5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600].find(s => (view[1] - view[0]) / s <= width / 70) || 7200;
  for (let t = Math.ceil(view[0] / step) * step; t <= view[1]; t += step)
    make('text', {x: x(t), y: base + 16, 'text-anchor': 'middle'}, svg, `${+t.toFixed(1)} s`);
  make('text', {x: 2, y: 12}, svg, 'spatter/s');
  for (const share of [0, .5, 1]) {
    const y = base - share * (base - TOP);
    make('line', {class: 'rule', x1: LEFT, x2: width - RIGHT, y1: y, y2: y}, svg);
    make('text', {x: LEFT - 6, y: y + 4, 'text-anchor': 'end'}, svg, most ? Math.round(most * share) : share ? '' : '0');
  }
}
function draw() {
  const box = element.querySelector('.timeline');
  if (!box || !data) { if (box) box.replaceChildren(); return; }
  if (!box.querySelector('svg')) build(box);
  const svg = box.querySelector('svg'), base = HEIGHT - FOOT;
  width = Math.max(box.clientWidth, 260);
  svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren();
  const found = bars(), most = Math.max(0, ...found.map(bar => bar.count / bar.step));
  shades(svg, base);
  axes(svg, base, TOP, most);
  for (const bar of found) {
    const from = Math.max(x(bar.time), LEFT), to = Math.min(x(bar.time + bar.step), width - RIGHT);
    const tall = bar.count / bar.step / most * (base - TOP);
    const shape = make('rect', {class: 'bar', x: from, y: base - tall, width: Math.max(to - from - .5, 1), height: tall,
      style: `fill:${colour(bar)}`, 'data-frame': bar.frame}, svg);
    const sure = bar.votes ? `, ${data.high} ${(bar.sum / bar.votes).toFixed(2)}` : '';
    make('title', {}, shape, `${bar.time.toFixed(2)} s: ${(bar.count / bar.step).toFixed(0)} spatter per second${sure}; click to see the frame`);
  }
  if (cursor !== null && cursor >= view[0] && cursor <= view[1])
    make('path', {class: 'cursor', d: `M${x(cursor)} ${TOP - 4}V${base}m-5 6h10l-5 -7z`}, svg);
  if (drag && Math.abs(drag[1] - drag[0]) > 4)
    make('rect', {class: 'drag', x: Math.min(...drag), y: TOP - 16, width: Math.abs(drag[1] - drag[0]), height: base - TOP + 16}, svg);
}
function zoom(factor, middle) {
  const at = middle ?? (cursor !== null && cursor > view[0] && cursor < view[1] ? cursor : (view[0] + view[1]) / 2);
  const length = Math.min(Math.max((view[1] - view[0]) * factor, .4), data.end - data.begin);
  const share = (at - view[0]) / (view[1] - view[0]);
  show(at - share * length, length);
}
function show(start, length) {
  const from = Math.max(data.begin, Math.min(start, data.end - length));
  view = [from, from + length];
  draw();
}
function pick(time) {
  if (!data.time.length) return;
  let best = 0;
  data.time.forEach((t, i) => { if (Math.abs(t - time) < Math.abs(data.time[best] - time)) best = i; });
  choose(data.time[best], data.frame[best]);
}
function choose(time, frame) { cursor = time; draw(); trigger('select', {frame}); }
function step(by) {
  const times = data.time, now = times.findIndex(t => t >= (cursor ?? view[0]) - 1e-9);
  const next = Math.min(Math.max((now < 0 ? times.length : now) + (cursor === null ? 0 : by), 0), times.length - 1);
  if (times[next] < view[0] || times[next] > view[1]) view = [times[next] - (view[1] - view[0]) / 2, times[next] + (view[1] - view[0]) / 2];
  choose(times[next], data.frame[next]);
}
function build(box) {
  const svg = make('svg', {role: 'application', tabindex: 0,
    'aria-label': 'Spatter per second over time. Arrow keys go from frame to frame, plus and minus zoom, 0 shows all.'});
  const tools = document.createElement('div');
  tools.className = 'tools';
  const key = document.createElement('span');
  key.className = 'key';
  tools.append(key);
  for (const [text, name, act] of [['+', 'Zoom in', () => zoom(.5)], ['−', 'Zoom out', () => zoom(2)], ['All', 'Show all', () => show(data.begin, data.end - data.begin)]]) {
    const button = document.createElement('button');
    button.type = 'button'; button.textContent = text; button.setAttribute('aria-label', name); button.title = name;
    button.addEventListener('click', act);
    tools.append(button);
  }
  const place = event => (event.clientX - svg.getBoundingClientRect().left) * width / svg.getBoundingClientRect().width;
  svg.addEventListener('pointerdown', event => { drag = [place(event), place(event)]; });
  svg.addEventListener('pointermove', event => { if (drag && event.buttons) { drag[1] = place(event); draw(); } });
  svg.addEventListener('pointerup', event => {
    const [from, to] = drag ? [Math.min(...drag), Math.max(...drag)] : [0, 0], was = drag;
    drag = null;
    if (was && to - from > 8) { const a = time_at(from), b = time_at(to); show(a, Math.max(b - a, .4)); }
    else if (was) { const bar = document.elementsFromPoint(event.clientX, event.clientY).find(n => n.dataset && n.dataset.frame);
      bar ? choose(bars().find(b => b.frame === +bar.dataset.frame)?.at ?? time_at(from), +bar.dataset.frame) : pick(time_at(from)); }
  });
  svg.addEventListener('wheel', event => {
    if (!event.ctrlKey && document.activeElement !== svg) return;
    event.preventDefault(); zoom(event.deltaY > 0 ? 1.25 : .8, time_at(place(event)));
  }, {passive: false});
  svg.addEventListener('keydown', event => {
    const act = {ArrowRight: () => step(1), ArrowLeft: () => step(-1), '+': () => zoom(.5), '=': () => zoom(.5), '-': () => zoom(2),
      0: () => show(data.begin, data.end - data.begin)}[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  box.replaceChildren(tools, svg);
  new ResizeObserver(() => { if (data && Math.abs(box.clientWidth - width) > 1) draw(); }).observe(box);
}
function changed() {
  const next = props.value && typeof props.value === 'object' ? props.value : null;
  const same = next && data && next.begin === data.begin && next.end === data.end;
  if (!same) cursor = null;
  data = next;
  if (data && !(same && view)) view = [data.begin, Math.max(data.end, data.begin + .4)];
  if (data) {
    draw();
    const key = element.querySelector('.key');
    if (key) key.innerHTML = data.low ? 'colour: surely <i class="first"></i><span></span> … surely <i class="last"></i><span></span>; drag to zoom, click a bar' : 'spatter per second so far';
    if (key && data.low) { key.querySelectorAll('span')[0].textContent = data.low; key.querySelectorAll('span')[1].textContent = data.high; }
  } else draw();
}
watch('value', changed);
changed();
