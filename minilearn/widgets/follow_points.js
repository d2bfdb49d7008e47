// A cloud of points at several times. Each is a digit; one of them is shown with its way.

// The middle of the retained points of each class, and the class whose middle is nearest.
const middles = (points, labels, forgotten) => {
  const found = {};
  [...new Set(labels.slice(forgotten))].forEach(label => {
    const own = points.filter((_, i) => i >= forgotten && labels[i] === label);
    found[label] = [mean(own.map(point => point[0])), mean(own.map(point => point[1]))];
  });
  return found;
};
const nearestMiddle = ([a, b], found) => Number(Object.entries(found).reduce((best, [label, m]) => {
  const far = Math.hypot(m[0] - a, m[1] - b);
  return far < best[1] ? [label, far] : best;
}, [-1, Infinity])[0]);
const ownShare = (points, labels, forgotten) => {
  const found = middles(points, labels, forgotten);
  return mean(range(forgotten).map(i => nearestMiddle(points[i], found) === labels[i] ? 1 : 0));
};

export default {
  render({model, el}) {
    const data = model.get("data"), {steps, forgotten, images, labels} = data;
    const names = Object.keys(data.places), count = labels.length;
    const clouds = Object.fromEntries(names.map(name => {
      const flat = unpacked(data.places[name]);
      return [name, steps.map((_, s) => range(count).map(i => {
        const first = 2 * (s * count + i);
        return [flat[first], flat[first + 1]];
      }))];
    }));
    const every = Object.values(clouds).flat(2);
    const ends = axis => every.reduce(([low, high], point) =>
      [Math.min(low, point[axis]), Math.max(high, point[axis])], [Infinity, -Infinity]);
    const x = linear(ends(0), [12, 328]), y = linear(ends(1), [292, 12]);
    const color = label => `hsl(${36 * label} 65% 55%)`;

    // Retained points are small dots, forgotten ones crosses.
    const dots = labels.map((label, i) => i < forgotten
      ? svg("path", {d: "M-4 -4L4 4M-4 4L4 -4", stroke: color(label), "stroke-width": 1.8})
      : svg("circle", {r: 2, fill: color(label)}));
    const words = [...new Set(labels)].map(label => svg("text", {"text-anchor": "middle",
      class: "middle"}, String(label)));
    const way = svg("g"), field = svg("svg", {viewBox: "0 0 340 304", "aria-hidden": "true"},
      svg("rect", {x: 1, y: 1, width: 338, height: 302, fill: "none", class: "grid"}),
      dots.slice(forgotten), dots.slice(0, forgotten), words, way);
    const card = html("div", {class: "pointed"});

    let state, change;
    const form = choice("losses", names, name => change({name}));
    const time = slider("epoch", 0, steps.length - 1, 1, step => change({step}));
    const which = slider("forgotten digit", 1, forgotten, 1, value => change({point: value - 1}));
    const said = status();
    const nearest = event => {
      const [px, py] = pointed(event, field), now = clouds[state.name][state.step];
      const far = i => Math.hypot(x(now[i][0]) - px, y(now[i][1]) - py);
      const best = range(forgotten).reduce((a, b) => far(b) < far(a) ? b : a);
      if (far(best) < 20 && best !== state.point) change({point: best});
    };
    field.classList.add("dragged");
    field.addEventListener("pointermove", nearest);
    field.addEventListener("pointerdown", nearest);

    const draw = (now, again) => {
      [state, change] = [now, again];
      const frames = clouds[state.name], points = frames[state.step], {point} = state;
      points.forEach(([a, b], i) =>
        dots[i].setAttribute("transform", `translate(${x(a).toFixed(1)} ${y(b).toFixed(1)})`));
      const found = middles(points, labels, forgotten);
      words.forEach(word => {
        const middle = found[word.textContent];
        word.setAttribute("display", middle ? "" : "none");
        if (!middle) return;
        word.setAttribute("x", x(middle[0]));
        word.setAttribute("y", y(middle[1]) + 5);
      });
      const trail = frames.slice(0, state.step + 1).map(frame => frame[point]);
      const [a, b] = trail[trail.length - 1];
      way.replaceChildren(
        path(trail.map(([u, v]) => [x(u), y(v)]), {stroke: "currentColor", "stroke-width": 2}),
        ...trail.map(([u, v]) => svg("circle", {cx: x(u), cy: y(v), r: 2.5, fill: "currentColor"})),
        svg("circle", {cx: x(a), cy: y(b), r: 9, fill: "none", stroke: "currentColor",
          "stroke-width": 2}));
      const far = Math.hypot(a - trail[0][0], b - trail[0][1]);
      card.replaceChildren(thumbnail(pixels(images[point])), html("p", {}, `a ${labels[point]}`));
      form.control.value = state.name;
      time.put(state.step, `epoch ${steps[state.step]}`);
      which.put(point + 1, `digit ${point + 1}, a ${labels[point]}`);
      said.textContent = `Epoch ${steps[state.step]}, ${state.name}. Forgotten digit `
        + `${point + 1}, a ${labels[point]}, has moved by ${far.toFixed(1)} and lies nearest to `
        + `the retained ${nearestMiddle(points[point], found)}s. `
        + `${percent(ownShare(points, labels, forgotten))} of the forgotten digits lie nearest to `
        + "their own digit in this plane.";
    };
    const legend = html("p", {}, "Crosses: forgotten; dots: retained; numbers: the middle of the "
      + "retained points of a digit. Point at a cross, or step through the digits.");
    built(model, el, [form.label, time.label, which.label, said,
      html("div", {class: "panels"}, field, card), legend],
      {name: names[0], step: 0, point: 0}, draw);
  },
};
