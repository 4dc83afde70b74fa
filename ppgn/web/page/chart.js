// A chart of one curve a chain and their mean, over steps.
const NS = "http://www.w3.org/2000/svg";
const W = 340, H = 190, LEFT = 46, RIGHT = 10, TOP = 26, BOTTOM = 32;

function draw(name, given, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(given)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function nice(low, high) {
  const rough = (high - low) / 4 || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * unit >= rough) * unit;
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) ticks.push(+value.toPrecision(6));
  return ticks;
}

// `points` are [step, values], values of the chains beside each other, null where nothing is known.
export function chart(place, title, points, steps) {
  const values = points.flatMap(([, row]) => row).filter((value) => value !== null);
  const low = Math.min(-1, ...values), high = Math.max(0, ...values);
  const x = (step) => LEFT + ((W - LEFT - RIGHT) * step) / Math.max(1, steps);
  const y = (value) => TOP + ((H - TOP - BOTTOM) * (high - value)) / (high - low);
  const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
  svg.append(draw("text", { x: LEFT, y: 15, class: "title" }, title));
  for (const tick of nice(low, high)) {
    svg.append(draw("line", { x1: LEFT, x2: W - RIGHT, y1: y(tick), y2: y(tick), class: "axis" }));
    svg.append(draw("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, tick));
  }
  for (const step of nice(0, Math.max(1, steps))) svg.append(draw("text", { x: x(step), y: H - 16, "text-anchor": "middle" }, step));
  svg.append(draw("text", { x: (W + LEFT) / 2, y: H - 3, "text-anchor": "middle" }, "step"));
  const line = (pairs, kind) => {
    const known = pairs.filter(([, value]) => value !== null);
    if (known.length === 1) svg.append(draw("circle", { cx: x(known[0][0]), cy: y(known[0][1]), r: 3 }));
    if (known.length > 1) svg.append(draw("polyline", { points: known.map(([s, v]) => `${x(s)},${y(v)}`).join(" "), class: kind }));
  };
  const count = Math.max(0, ...points.map(([, row]) => row.length));
  if (count > 1) for (let chain = 0; chain < count; chain++) line(points.map(([s, row]) => [s, row[chain] ?? null]), "chain");
  const means = points.map(([step, row]) => {
    const known = row.filter((value) => value !== null);
    return [step, known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null];
  });
  line(means, "mean");
  const last = means.filter(([, value]) => value !== null).at(-1);
  svg.setAttribute("aria-label", last ? `${title}: the mean of ${count} chains is ${last[1].toFixed(2)} at step ${last[0]} of ${steps}` : `${title}: nothing yet`);
  place.replaceChildren(svg);
}
