// Scores of members and non-members, a threshold to drag, and the ROC curve that it moves along.

// Whoever scores above the threshold is accused, as in minilearn.metrics.tpr_at_fpr.
const share = (scores, threshold) => scores.filter(score => score > threshold).length / scores.length;

const allowed = (fpr, count) => Math.floor(fpr * count + 1e-9);
const sureThreshold = nonmembers =>
  [...nonmembers].sort((a, b) => b - a)[allowed(.01, nonmembers.length)];

const areaUnder = (members, nonmembers) => mean(members.map(member => mean(
  nonmembers.map(other => member > other ? 1 : member === other ? .5 : 0))));

const rocPoints = (members, nonmembers) => {
  const thresholds = [...new Set([...members, ...nonmembers])].sort((a, b) => b - a);
  return [...thresholds, -Infinity].map(t => [share(nonmembers, t), share(members, t)]);
};

export default {
  render({model, el}) {
    const {scores} = model.get("data"), names = Object.keys(scores);
    const every = Object.values(scores).flat(2);
    const low = Math.min(...every), high = Math.max(...every), room = (high - low) / 50 || 1;
    const ends = [low - room, high + room], bins = 32, width = (ends[1] - ends[0]) / bins;
    const count = side => range(bins).map(i => side.filter(score =>
      Math.min(bins - 1, Math.floor((score - ends[0]) / width)) === i).length / side.length);
    const counted = Object.fromEntries(names.map(name => [name, scores[name].map(count)]));
    const most = Math.max(...Object.values(counted).flat(2));

    const x = across(ends), y = upward([0, most * 1.05]);
    const left = panel("Scores: accused are those to the right", x, y, ["score", "share"]);
    const floor = .5 / Math.max(...names.map(name => scores[name][1].length));
    const log = linear([Math.log10(floor), 0], [LEFT, WIDE - RIGHT]);
    const fx = rate => log(Math.log10(Math.max(rate, floor))), fy = upward([0, 1]);
    fx.ends = [floor, 1];
    const right = panel("ROC curve, logarithmic to the left", fx, fy,
      ["non-members accused", "members found"],
      {x: [.01, .1, 1].filter(rate => rate > floor), y: [0, .5, 1]});

    let change;
    const threshold = slider("threshold", ends[0], ends[1], (ends[1] - ends[0]) / 400,
      value => change({threshold: value}));
    const attacked = choice("attacked model", names, name => change({name}));
    const sure = button("go to 1 % falsely accused",
      () => change({threshold: sureThreshold(scores[attacked.control.value][1])}));
    const said = status();
    dragged(left.picture, place => change({threshold: clamp(x.back(place), ...ends)}));

    const bars = ([members, nonmembers]) => [[nonmembers, "--test"], [members, "--forget"]]
      .map(([shares, color]) => svg("g", {}, shares.map((value, i) => svg("rect", {
        x: x(ends[0] + i * width), width: x(ends[0] + width) - x(ends[0]), y: y(value),
        height: y(0) - y(value), fill: `var(${color})`, opacity: .55,
      }))));
    const curves = {};
    const draw = (state, again) => {
      change = again;
      const [members, nonmembers] = scores[state.name];
      const found = share(members, state.threshold), accused = share(nonmembers, state.threshold);
      curves[state.name] ??= rocPoints(members, nonmembers);
      left.inner.replaceChildren(...bars(counted[state.name]),
        svg("text", {x: WIDE - RIGHT, y: TOP + 12, "text-anchor": "end", class: "forget"},
          "members"),
        svg("text", {x: WIDE - RIGHT, y: TOP + 28, "text-anchor": "end", class: "test"},
          "non-members"),
        svg("line", {x1: x(state.threshold), x2: x(state.threshold), y1: TOP, y2: HIGH - BOTTOM,
          stroke: "currentColor", "stroke-width": 2.5}));
      const steps = curves[state.name].flatMap(([rate, hit], i, all) =>
        i ? [[fx(rate), fy(all[i - 1][1])], [fx(rate), fy(hit)]] : [[fx(rate), fy(hit)]]);
      right.inner.replaceChildren(
        path(range(60).map(i => floor ** (1 - i / 59)).map(rate => [fx(rate), fy(rate)]),
          {stroke: "var(--soft)", "stroke-dasharray": "2 4"}),
        path(steps, {stroke: "var(--method)", "stroke-width": 2}),
        svg("line", {x1: fx(.01), x2: fx(.01), y1: TOP, y2: HIGH - BOTTOM,
          stroke: "var(--retrained)", "stroke-dasharray": "5 3"}),
        svg("circle", {cx: fx(accused), cy: fy(found), r: 6, fill: "currentColor"}));
      attacked.control.value = state.name;
      threshold.put(state.threshold, state.threshold.toFixed(2));
      const best = share(members, sureThreshold(nonmembers));
      said.textContent = `Threshold ${state.threshold.toFixed(2)}: ${percent(found, 1)} of the `
        + `members found, ${percent(accused, 1)} of the non-members falsely accused. `
        + `AUC ${areaUnder(members, nonmembers).toFixed(3)}, `
        + `TPR at 1 % FPR ${best.toFixed(3)}.`;
    };
    const panels = html("div", {class: "panels"}, left.picture, right.picture);
    built(model, el, [attacked.label, panels, threshold.label, sure, said],
      {name: names[0], threshold: mean(scores[names[0]].flat())}, draw);
  },
};
