// All withdrawn digits, what the model answers after each epoch of ascent, and the two accuracies.

const rightShare = (answers, labels) =>
  answers.filter((answer, i) => answer === labels[i]).length / labels.length;

// Items that more than half of the retrained models misread.
const misread = (retrained, labels) => labels.map((label, i) =>
  retrained.filter(answers => answers[i] !== label).length > retrained.length / 2);

// At an epoch: accuracy on the withdrawn items, how many mistakes, how many of them outlined.
const counted = (answers, labels, hard) => {
  const wrong = labels.map((label, i) => answers[i] !== label);
  return {
    forget: rightShare(answers, labels), mistakes: wrong.filter(Boolean).length,
    shared: wrong.filter((bad, i) => bad && hard[i]).length,
  };
};

export default {
  render({model, el}) {
    const {images, labels, said, test, retrained} = model.get("data");
    const last = said.length - 1, hard = misread(retrained, labels);
    const path0 = said.map(answers => rightShare(answers, labels));
    const reached = retrained.map(answers => rightShare(answers, labels));
    const aim = mean(reached), usual = hard.filter(Boolean).length;

    const tiles = images.map((image, i) => {
      const answer = html("span");
      const tile = html("li", {class: hard[i] ? "hard" : ""}, thumbnail(pixels(image)), answer);
      return {tile, answer};
    });
    const order = range(labels.length).sort((a, b) => hard[b] - hard[a] || labels[a] - labels[b]);
    const list = html("ul", {class: "tiles"}, order.map(i => tiles[i].tile));

    const x = across([0, last]), y = upward([0, 1]);
    const curves = panel("Accuracy over the ascent", x, y, ["epochs of ascent", "accuracy"],
      {y: [0, .5, 1]});
    let change;
    const epoch = slider("epoch", 0, last, 1, value => change({epoch: value}));
    const lines = status();
    dragged(curves.picture, place =>
      change({epoch: Math.round(clamp(x.back(place), 0, last))}));

    const draw = (state, again) => {
      change = again;
      const answers = said[state.epoch], {forget, mistakes, shared} =
        counted(answers, labels, hard);
      tiles.forEach(({tile, answer}, i) => {
        const wrong = answers[i] !== labels[i];
        tile.classList.toggle("wrong", wrong);
        answer.textContent = answers[i];
        tile.setAttribute("aria-label", `a ${labels[i]}, called ${answers[i]}`
          + (hard[i] ? ", misread by most retrained models" : ""));
      });
      const at = values => values.map((value, i) => [x(i), y(value)]);
      const word = (text, place, above, color) => svg("text", {x: x(last) - 2,
        y: y(place[last]) + above, "text-anchor": "end", style: `fill: var(${color})`}, text);
      curves.inner.replaceChildren(
        svg("rect", {x: x(0), width: x(last) - x(0), y: y(Math.max(...reached)),
          height: Math.max(2, y(Math.min(...reached)) - y(Math.max(...reached))),
          fill: "var(--retrained)", opacity: .35}),
        path(at(test), {stroke: "var(--test)", "stroke-width": 2}),
        path(at(path0), {stroke: "var(--forget)", "stroke-width": 2.5}),
        word("test", test, -8, "--test"), word("withdrawn", path0, 16, "--forget"),
        svg("text", {x: x(last) - 2, y: Math.max(TOP + 12, y(Math.max(...reached)) - 5), "text-anchor": "end",
          style: "fill: var(--retrained)"}, "retrained, on withdrawn"),
        svg("line", {x1: x(state.epoch), x2: x(state.epoch), y1: TOP, y2: HIGH - BOTTOM,
          stroke: "currentColor", "stroke-width": 2}));
      epoch.put(state.epoch, `epoch ${state.epoch}`);
      lines.textContent = `After ${state.epoch} epochs: ${percent(forget, 1)} of the withdrawn `
        + `digits right (retrained models: ${percent(aim, 1)}), test accuracy `
        + `${percent(test[state.epoch], 1)}. ${mistakes} mistakes, ${shared} of them on the `
        + `${usual} outlined digits.`;
    };
    const legend = html("p", {}, "Outlined: most retrained models misread this digit. ",
      html("b", {class: "bad"}, "Bold"), ": the ascended model misreads it.");
    built(model, el, [epoch.label, lines,
      html("div", {class: "panels"}, curves.picture, html("div", {}, list, legend))],
      {epoch: 0}, draw);
  },
};
