// The reader draws what retrained models answer on a band that they have never seen, then looks.

const HANDLES = 7;

// The reader's curve at a place of the band, straight between its handles.
const curveAt = (curve, [low, high], place) => {
  const along = clamp((place - low) / (high - low), 0, 1) * (curve.length - 1);
  const i = Math.min(Math.floor(along), curve.length - 2);
  return curve[i] + (along - i) * (curve[i + 1] - curve[i]);
};

const apart = (a, b) => mean(a.map((value, i) => Math.abs(value - b[i])));
const meanOf = rows => rows[0].map((_, i) => mean(rows.map(row => row[i])));

// Mean distances on the band from the mean answer: of the curve, of the truth, and of one model
// from the mean of the others.
const compared = (true_, rows, curve, band) => {
  const middle = meanOf(rows);
  return {
    drawn: apart(true_.map(value => curveAt(curve, band, value)), middle),
    truth: apart(true_, middle),
    another: mean(rows.map((row, i) => apart(row, meanOf(rows.filter((_, j) => j !== i))))),
  };
};

export default {
  render({model, el}) {
    const data = model.get("data"), {band, unit, inside} = data;
    const truth = [...unpacked(data.true)], rows = data.answers.map(row => [...unpacked(row)]);
    const middle = meanOf(rows), places = range(truth.length);
    const within = values => values.filter((_, i) => inside[i]);
    const x = across([Math.min(...truth), Math.max(...truth)]), y = upward(data.ends);
    const plot = panel("Draw in the shaded band", x, y, [`true, ${unit}`, `answered, ${unit}`]);
    const at = i => band[0] + i * (band[1] - band[0]) / (HANDLES - 1);
    const dots = (which, color) => which.map(i => svg("circle", {cx: x(truth[i]).toFixed(1),
      cy: y(middle[i]).toFixed(1), r: 2, fill: `var(${color})`, opacity: .6}));
    const outside = dots(places.filter(i => !inside[i]), "--retrained");
    const hidden = dots(places.filter(i => inside[i]), "--retrained");

    let state, change;
    const moved = (handle, value) => {
      const curve = [...state.curve];
      curve[handle] = clamp(value, ...data.ends);
      change({curve, handle});
    };
    dragged(plot.picture, (px, py) => {
      const place = clamp((x.back(px) - band[0]) / (band[1] - band[0]), 0, 1);
      moved(Math.round(place * (HANDLES - 1)), y.back(py));
    });
    plot.picture.classList.add("drawn");
    plot.picture.removeAttribute("aria-hidden");
    filled(plot.picture, {tabindex: 0, role: "application", "aria-label": "Your prediction: left "
      + "and right choose a place, up and down move it, page up and page down move it far"}, []);
    plot.picture.addEventListener("keydown", event => {
      const {key} = event, small = (data.ends[1] - data.ends[0]) / 100;
      const step = {ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10}[key];
      const side = {ArrowLeft: -1, ArrowRight: 1}[key];
      if (step === undefined && side === undefined) return;
      event.preventDefault();
      if (side) change({handle: clamp(state.handle + side, 0, HANDLES - 1)});
      else moved(state.handle, state.curve[state.handle] + step * small);
    });
    const reveal = button("reveal", () => change({revealed: !state.revealed}));
    const said = status();
    const draw = (now, step) => {
      [state, change] = [now, step];
      plot.inner.replaceChildren(
        svg("rect", {x: x(band[0]), width: x(band[1]) - x(band[0]), y: TOP,
          height: HIGH - BOTTOM - TOP, fill: "var(--forget)", opacity: .12}),
        path([[x.ends[0], x.ends[0]], [x.ends[1], x.ends[1]]].map(([a, b]) => [x(a), y(b)]),
          {stroke: "var(--soft)", "stroke-dasharray": "3 3"}),
        ...outside, ...state.revealed ? hidden : [],
        path(state.curve.map((value, i) => [x(at(i)), y(value)]),
          {stroke: "var(--method)", "stroke-width": 3}),
        ...state.curve.map((value, i) => svg("circle", {cx: x(at(i)), cy: y(value),
          r: i === state.handle ? 8 : 5, fill: "var(--method)"})));
      reveal.textContent = state.revealed ? "hide" : "reveal";
      const own = `At ${at(state.handle).toFixed(0)} ${unit} you say `
        + `${state.curve[state.handle].toFixed(0)}. `;
      if (state.revealed) {
        const found = compared(within(truth), rows.map(within), state.curve, band);
        said.textContent = `${own}From the mean answer of ${rows.length} retrained models you are `
          + `off by ${found.drawn.toFixed(1)} ${unit}, the truth by ${found.truth.toFixed(1)}; `
          + `one of these models is off by ${found.another.toFixed(1)} from the others' mean.`;
      } else said.textContent = `${own}Draw, then reveal.`;
    };
    const legend = html("p", {}, "Dots: the mean answer of the retrained models to each example. "
      + "Dashed: the truth. Thick: your prediction.");
    built(model, el, [html("div", {class: "panels"}, plot.picture), reveal, said, legend],
      {curve: range(HANDLES).map(at), handle: 0, revealed: false}, draw);
  },
};
