// Two bell curves of one candidate, and the attack on all candidates, as in minilearn.metrics.ulira.

// Mean and shrunken variance of every candidate; rows are models, as many of the first as wanted.
const fitted = (rows, prior) => {
  const n = rows.length, means = rows[0].map((_, i) => mean(rows.map(row => row[i])));
  const squares = means.map((m, i) => rows.reduce((sum, row) => sum + (row[i] - m) ** 2, 0));
  const pooled = mean(squares) / (n - 1), degrees = prior + n - 1;
  const widths = squares.map(s =>
    Math.sqrt(Math.max((prior * pooled + s) / degrees, 1e-12) * (1 + 1 / n)));
  return {means, widths, degrees};
};

// Gamma((n + 1) / 2) / Gamma(n / 2) for a whole number, from that of one.
const gammas = n => range(n - 1).reduce((ratio, i) => (i + 1) / 2 / ratio, 1 / Math.sqrt(Math.PI));
const density = ({means, widths, degrees}, i, x) => gammas(degrees)
  / (Math.sqrt(degrees * Math.PI) * widths[i])
  * (1 + ((x - means[i]) / widths[i]) ** 2 / degrees) ** (-(degrees + 1) / 2);

// log p(x; unlearned) - log p(x; retrained) at a candidate.
const logRatio = (unlearned, retrained, i, x) => {
  const of = ({means, widths, degrees}) => -Math.log(widths[i])
    - (degrees + 1) / 2 * Math.log1p(((x - means[i]) / widths[i]) ** 2 / degrees);
  return of(unlearned) - of(retrained);
};

// The area of one row of scores against another; ties count one half.
const areaOf = (members, others) => {
  const sorted = [...members.map(s => [s, 1]), ...others.map(s => [s, 0])]
    .sort(([a], [b]) => a - b);
  let below = 0, area = 0;
  for (let start = 0, end; start < sorted.length; start = end) {
    for (end = start; end < sorted.length && sorted[end][0] === sorted[start][0];) end++;
    const tied = sorted.slice(start, end), mine = tied.filter(([, kind]) => kind).length;
    area += mine * (below + (tied.length - mine) / 2);
    below += tied.length - mine;
  }
  return area / members.length / others.length;
};

// The attack's area: fitted on the first models, read at the others, or at the same ones.
const attackArea = (unlearned, retrained, fit, same, prior) => {
  const [u, r] = [unlearned, retrained].map(rows => fitted(rows.slice(0, fit), prior));
  const read = rows => same ? rows.slice(0, fit) : rows.slice(fit);
  const scores = row => row.map((x, i) => logRatio(u, r, i, x));
  const others = read(retrained);
  return mean(read(unlearned).map((row, j) => areaOf(scores(row), scores(others[j]))));
};

export default {
  render({model, el}) {
    const data = model.get("data"), {pairs, prior, images, labels} = data, count = labels.length;
    const answers = Object.fromEntries(Object.entries(data.answers).map(([name, text]) => {
      const flat = [...unpacked(text)];
      return [name, range(pairs).map(j => flat.slice(j * count, (j + 1) * count))];
    }));
    const retrained = answers[data.retrained];
    const names = Object.keys(answers).filter(name => name !== data.retrained);
    const numbers = range(pairs - 3).map(i => i + 2), READ = ["new models", "the fitted models"];
    const areas = {};
    const areaBy = (name, same) => areas[[name, same]] ??= numbers.map(fit =>
      [fit, attackArea(answers[name], retrained, fit, same, prior)]);

    const left = html("div"), ax = across([2, pairs - 2]), ay = upward([.3, 1]);
    const right = panel("The attack on all candidates", ax, ay, ["models that the curves are fitted to", "AUC"]);
    const card = html("div", {class: "pointed"});

    let change;
    const method = choice("models", names, name => change({name}));
    const read = choice("the attack judges", READ, said => change({same: said === READ[1]}));
    const which = slider("candidate", 1, count, 1, value => change({item: value - 1}));
    const fits = slider("curves fitted to", 2, pairs - 2, 1, fit => change({fit}));
    const said = status();
    dragged(right.picture, place => change({fit: Math.round(clamp(ax.back(place), 2, pairs - 2))}));

    const draw = (state, again) => {
      change = again;
      const {name, item, fit, same} = state, unlearned = answers[name];
      const kinds = [["unlearned", unlearned, "--method"], ["retrained", retrained, "--retrained"]];
      const curves = kinds.map(([, rows]) => fitted(rows.slice(0, fit), prior));
      const own = kinds.map(([, rows]) => rows.map(row => row[item]));

      // A candidate has an axis of its own: from one curve's end to the other's, and all models.
      const ends = curves.flatMap(c => [-4, 4].map(k => c.means[item] + k * c.widths[item]));
      const x = across([Math.min(...ends, ...own.flat()), Math.max(...ends, ...own.flat())]);
      const places = range(121).map(i => x.ends[0] + i / 120 * (x.ends[1] - x.ends[0]));
      const heights = curves.map(c => places.map(place => density(c, item, place)));
      const y = upward([0, 1.35 * Math.max(...heights.flat())]);
      const {picture, inner} = panel("One candidate", x, y, ["how sure of the right label"], {y: []});
      const isRead = j => same ? j < fit : j >= fit;
      const dot = (kind, j) => {
        const color = `var(${kinds[kind][2]})`;
        return svg("circle", {cx: x(own[kind][j]), cy: TOP + 10 + 14 * kind, r: 4, stroke: color,
          "stroke-width": 1.5, fill: isRead(j) ? color : "none"});
      };
      inner.append(
        ...heights.map((line, kind) => path(places.map((place, i) => [x(place), y(line[i])]),
          {stroke: `var(${kinds[kind][2]})`, "stroke-width": 2})),
        ...range(2).flatMap(kind => range(pairs).map(j => dot(kind, j))));
      left.replaceChildren(picture);

      const line = areaBy(name, same), area = line[fit - 2][1];
      right.inner.replaceChildren(
        path([[ax(2), ay(.5)], [ax(pairs - 2), ay(.5)]],
          {stroke: "var(--retrained)", "stroke-dasharray": "5 3"}),
        path(line.map(([n, value]) => [ax(n), ay(Math.max(value, .3))]),
          {stroke: "var(--method)", "stroke-width": 2}),
        svg("circle", {cx: ax(fit), cy: ay(Math.max(area, .3)), r: 6, fill: "currentColor"}));

      card.replaceChildren(thumbnail(pixels(images[item])), html("p", {}, `a ${labels[item]}`));
      method.control.value = name;
      read.control.value = READ[Number(same)];
      which.put(item + 1, `candidate ${item + 1}, a ${labels[item]}`);
      fits.put(fit, `${fit} models of each kind`);
      const accused = own.map(values => values.filter((value, j) =>
        isRead(j) && logRatio(...curves, item, value) > 0).length);
      const judged = range(pairs).filter(isRead).length;
      said.textContent = `Candidate ${item + 1}, a ${labels[item]}. The curves are fitted to ${fit} `
        + `models of each kind. Of ${judged} of each kind that are judged, the attack accuses `
        + `${accused[0]} of "${name}" and ${accused[1]} retrained ones. `
        + `AUC over all ${count} candidates: ${area.toFixed(3)}.`;
    };
    const legend = html("p", {}, "Upper dots and blue curve: the chosen models. Lower dots and green "
      + "curve: retrained ones. Filled dots are judged, and accused where the blue curve is higher.");
    built(model, el, [html("div", {class: "controls"}, method.label, read.label), which.label,
      fits.label, said, html("div", {class: "panels"}, left, right.picture, card), legend],
      {name: names[0], item: 0, fit: Math.floor(pairs / 2), same: false}, draw);
  },
};
