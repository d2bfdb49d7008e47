// A network with one hidden layer, trained in the page, and what becomes of it when points withdraw.

// Weights are one list: for each hidden unit two weights, a bias and an outgoing weight; a last bias.
const logit = (weights, [a, b]) => {
  let sum = weights[weights.length - 1];
  for (let i = 0; i + 1 < weights.length; i += 4)
    sum += weights[i + 3] * Math.tanh(weights[i] * a + weights[i + 1] * b + weights[i + 2]);
  return sum;
};
const sigmoid = value => 1 / (1 + Math.exp(-value));

// The gradient of the mean cross-entropy.
const slope = (weights, points, labels) => {
  const gradient = new Float64Array(weights.length), last = weights.length - 1;
  points.forEach(([a, b], k) => {
    const pull = (sigmoid(logit(weights, [a, b])) - labels[k]) / points.length;
    for (let i = 0; i < last; i += 4) {
      const unit = Math.tanh(weights[i] * a + weights[i + 1] * b + weights[i + 2]);
      const inner = pull * weights[i + 3] * (1 - unit * unit);
      gradient[i] += inner * a;
      gradient[i + 1] += inner * b;
      gradient[i + 2] += inner;
      gradient[i + 3] += pull * unit;
    }
    gradient[last] += pull;
  });
  return gradient;
};

// Gradient descent; with a negative rate, ascent.
const descend = (weights, points, labels, steps, rate, momentum) => {
  const now = Float64Array.from(weights), speed = new Float64Array(weights.length);
  for (let step = 0; step < steps; step++) {
    const gradient = slope(now, points, labels);
    for (let i = 0; i < now.length; i++) {
      speed[i] = momentum * speed[i] + gradient[i];
      now[i] -= rate * speed[i];
    }
  }
  return now;
};

// Where the network is undecided: short lines through the cells of a grid (marching squares).
const contour = (value, xs, ys) => {
  const heights = ys.map(y => xs.map(x => value([x, y]))), lines = [];
  for (let r = 0; r + 1 < ys.length; r++) for (let c = 0; c + 1 < xs.length; c++) {
    const corners = [[c, r], [c + 1, r], [c + 1, r + 1], [c, r + 1]];
    const crossings = corners.flatMap(([x, y], i) => {
      const [x2, y2] = corners[(i + 1) % 4], a = heights[y][x], b = heights[y2][x2];
      if (a > 0 === b > 0) return [];
      const t = a / (a - b);
      return [[xs[x] + t * (xs[x2] - xs[x]), ys[y] + t * (ys[y2] - ys[y])]];
    });
    for (let i = 0; i + 1 < crossings.length; i += 2) lines.push([crossings[i], crossings[i + 1]]);
  }
  return lines;
};

const MODELS = ["original", "retrained", "fine-tuned", "ascended"];

export default {
  render({model, el}) {
    const {points, labels, axes, classes, begin, first, training, unlearning} = model.get("data");
    const ends = axis => {
      const values = points.map(point => point[axis]);
      return [Math.min(...values) - .3, Math.max(...values) + .3];
    };
    const x = linear(ends(0), [6, 334]), y = linear(ends(1), [206, 24]);
    const grid = (axis, count) => {
      const [low, high] = ends(axis);
      return range(count).map(i => low + (high - low) * i / (count - 1));
    };
    const xs = grid(0, 49), ys = grid(1, 33);
    const rate = training.lr, drive = training.momentum;
    const original = descend(first, points, labels, training.steps, rate, drive);
    const right = (weights, k) => {
      const share = sigmoid(logit(weights, points[k]));
      return labels[k] ? share : 1 - share;
    };

    const kept = {};
    const retrained = (stay, key) => kept[key] ??= descend(first, stay.map(k => points[k]),
      stay.map(k => labels[k]), training.steps, rate, drive);
    const all = (withdrawn, steps) => {
      const stay = range(points.length).filter(k => !withdrawn.includes(k));
      if (!withdrawn.length) return MODELS.map(() => original);
      const some = list => [list.map(k => points[k]), list.map(k => labels[k])];
      return [original, retrained(stay, withdrawn.join()),
        descend(original, ...some(stay), steps, unlearning.finetune, drive),
        descend(original, ...some(withdrawn), steps, -unlearning.ascent, drive)];
    };

    let state, change;
    const toggled = k => change({point: k, withdrawn: state.withdrawn.includes(k)
      ? state.withdrawn.filter(other => other !== k)
      : [...state.withdrawn, k].sort((a, b) => a - b)});
    const nearest = (px, py) => range(points.length).reduce((best, k) => {
      const far = ([a, b]) => Math.hypot(x(a) - px, y(b) - py);
      return far(points[k]) < far(points[best]) ? k : best;
    }, 0);
    const panels = MODELS.map(name => {
      const inner = svg("g");
      const picture = svg("svg", {viewBox: "0 0 340 224", "aria-hidden": "true"},
        svg("text", {x: 6, y: 14, class: "title"}, name),
        svg("rect", {x: 6, y: 24, width: 328, height: 182, fill: "none", class: "grid"}),
        svg("text", {x: 170, y: 220, "text-anchor": "middle"}, `${axes[0]} \u2192`), inner);
      picture.classList.add("dragged");
      // a click, so that a finger that only scrolls past withdraws nothing
      picture.addEventListener("click", event => toggled(nearest(...pointed(event, picture))));
      return {picture, inner};
    });
    const mark = (k, weights) => {
      const [a, b] = [x(points[k][0]), y(points[k][1])], gone = state.withdrawn.includes(k);
      const color = `var(${gone ? "--forget" : labels[k] ? "--test" : "--retain"})`;
      const shape = labels[k] ? `M${a} ${b - 5}l5 9h-10z` : `M${a - 4} ${b}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0`;
      return [
        svg("path", {d: shape, fill: gone ? "none" : color, stroke: color, "stroke-width": 1.5}),
        right(weights, k) < .5 ? svg("circle", {cx: a, cy: b, r: 8, fill: "none",
          stroke: "currentColor", "stroke-width": 1}) : [],
        gone ? path([[a - 6, b - 6], [a + 6, b + 6]], {stroke: color, "stroke-width": 2}) : [],
        gone ? path([[a - 6, b + 6], [a + 6, b - 6]], {stroke: color, "stroke-width": 2}) : [],
        k === state.point ? svg("rect", {x: a - 10, y: b - 10, width: 20, height: 20, fill: "none",
          stroke: "var(--forget)", "stroke-width": 2}) : [],
      ].flat();
    };
    const boundary = (weights, attributes) => svg("path", {fill: "none", ...attributes,
      d: contour(point => logit(weights, point), xs, ys).map(([a, b]) =>
        `M${x(a[0]).toFixed(1)} ${y(a[1]).toFixed(1)}L${x(b[0]).toFixed(1)} ${y(b[1]).toFixed(1)}`)
        .join("")});

    const point = slider("point", 1, points.length, 1, value => change({point: value - 1}));
    const take = button("withdraw", () => toggled(state.point));
    const steps = slider("steps of fine-tuning and of ascent", 0, unlearning.steps, 1,
      value => change({steps: value}));
    const said = status();
    const draw = (now, step) => {
      [state, change] = [now, step];
      const models = all(state.withdrawn, state.steps);
      panels.forEach(({inner}, i) => inner.replaceChildren(
        boundary(original, {stroke: "var(--soft)", "stroke-dasharray": "3 3"}),
        boundary(models[i], {stroke: i === 1 ? "var(--retrained)" : "currentColor",
          "stroke-width": 2}),
        ...points.flatMap((_, k) => mark(k, models[i]))));
      const gone = state.withdrawn.includes(state.point);
      const words = `${classes[labels[state.point]]}${gone ? ", withdrawn" : ""}`;
      point.put(state.point + 1, `point ${state.point + 1}, ${words}`);
      take.textContent = gone ? "give back" : "withdraw";
      steps.put(state.steps, `${state.steps} steps`);
      const shares = models.map((weights, i) =>
        `${MODELS[i]} ${percent(right(weights, state.point))}`).join(", ");
      const wrong = models.map((weights, i) => `${MODELS[i]} ${range(points.length).filter(k =>
        !state.withdrawn.includes(k) && right(weights, k) < .5).length}`).join(", ");
      said.textContent = `Point ${state.point + 1} (${words}), how sure each model is of its `
        + `class: ${shares}. Mistakes on the points that stay: ${wrong}.`;
    };
    const legend = html("p", {}, `Click a point to withdraw it. Triangles: ${classes[1]}; dots: ${classes[0]}. `
      + `Upwards: ${axes[1]}. Dashed: the original's boundary. Ringed: a mistake.`);
    built(model, el, [html("div", {class: "controls"}, point.label, take), steps.label, said,
      html("div", {class: "panels"}, panels.map(({picture}) => picture)), legend],
      {point: begin, withdrawn: [], steps: 20}, draw);
  },
};
