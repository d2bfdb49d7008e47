// A field of pixels to paint in, and networks that answer at once. A network is a list of layers.

// x has `channels` maps of size x size, one after another, row by row.
const convolution = ({shape: [out, inputs, kernel], padding, weight, bias}, x, size) => {
  const grown = size + 2 * padding - kernel + 1, result = new Float64Array(out * grown * grown);
  for (let o = 0; o < out; o++) for (let row = 0; row < grown; row++)
    for (let column = 0; column < grown; column++) {
      let sum = bias[o];
      for (let i = 0; i < inputs; i++) for (let a = 0; a < kernel; a++) {
        const r = row + a - padding;
        if (r < 0 || r >= size) continue;
        for (let b = 0; b < kernel; b++) {
          const c = column + b - padding;
          if (c < 0 || c >= size) continue;
          sum += weight[((o * inputs + i) * kernel + a) * kernel + b] * x[(i * size + r) * size + c];
        }
      }
      result[(o * grown + row) * grown + column] = sum;
    }
  return [result, grown];
};

const pool = (x, size) => {
  const half = Math.floor(size / 2), maps = x.length / size / size;
  const result = new Float64Array(maps * half * half);
  for (let m = 0; m < maps; m++) for (let r = 0; r < half; r++) for (let c = 0; c < half; c++) {
    const first = (m * size + 2 * r) * size + 2 * c;
    result[(m * half + r) * half + c] =
      Math.max(x[first], x[first + 1], x[first + size], x[first + size + 1]);
  }
  return [result, half];
};

const lined = ({shape: [out, inputs], weight, bias}, x) => Float64Array.from({length: out}, (_, o) => {
  let sum = bias[o];
  for (let i = 0; i < inputs; i++) sum += weight[o * inputs + i] * x[i];
  return sum;
});

const ready = layers => layers.map(layer => layer.weight
  ? {...layer, weight: unpacked(layer.weight), bias: unpacked(layer.bias)} : layer);

// The logits of one image.
const forward = (layers, image) => {
  let x = Float64Array.from(image), size = Math.sqrt(image.length);
  for (const layer of layers) {
    if (layer.kind === "convolution") [x, size] = convolution(layer, x, size);
    else if (layer.kind === "pool") [x, size] = pool(x, size);
    else if (layer.kind === "linear") x = lined(layer, x);
    else if (layer.kind === "relu") x = x.map(value => Math.max(0, value));
  }
  return x;
};

const softmax = logits => {
  const top = Math.max(...logits), powers = logits.map(value => Math.exp(value - top));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map(power => power / sum);
};

const INKS = {black: 1, grey: .5, paper: 0};

// Ten bars; the largest is the answer.
const bars = name => {
  const title = svg("text", {x: 0, y: 14, class: "title"});
  const inner = svg("g");
  const picture = svg("svg", {viewBox: "0 0 340 96", "aria-hidden": "true"}, title, inner);
  const show = probabilities => {
    const answer = probabilities.indexOf(Math.max(...probabilities));
    title.textContent = `${name}: ${answer} (${percent(probabilities[answer])})`;
    inner.replaceChildren(...[...probabilities].flatMap((value, digit) => [
      svg("rect", {x: 34 * digit + 5, width: 24, y: 78 - 56 * value, height: 56 * value + 1,
        fill: digit === answer ? "var(--method)" : "var(--soft)"}),
      svg("text", {x: 34 * digit + 17, y: 92, "text-anchor": "middle"}, String(digit)),
    ]));
    return answer;
  };
  return {picture, show};
};

export default {
  render({model, el}) {
    const {images, labels, models} = model.get("data");
    const names = Object.keys(models), start = images.map(text => [...pixels(text)]);
    const networks = names.map(name => ready(models[name]));
    const size = Math.sqrt(start[0].length), cell = 240 / size;
    const panels = names.map(bars), said = status();

    const cells = range(size * size).map(i => svg("rect", {x: i % size * cell,
      y: Math.floor(i / size) * cell, width: cell, height: cell}));
    const cursor = svg("rect", {width: cell, height: cell, class: "cursor"});
    const field = svg("svg", {viewBox: "0 0 240 240", class: "paint drawn", tabindex: 0,
      role: "application", "aria-label": "The image: arrow keys move, space paints"},
      cells, cursor);

    let state, change;
    const painted = (row, column) => {
      const image = [...state.image];
      image[row * size + column] = INKS[state.ink];
      change({image, row, column});
    };
    const within = place => clamp(Math.floor(place / cell), 0, size - 1);
    dragged(field, (x, y) => painted(within(y), within(x)));
    field.addEventListener("keydown", event => {
      const [down, right] = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1],
        ArrowRight: [0, 1], " ": [0, 0], Enter: [0, 0]}[event.key] ?? [];
      if (down === undefined) return;
      event.preventDefault();
      if (down || right) change({row: clamp(state.row + down, 0, size - 1),
        column: clamp(state.column + right, 0, size - 1)});
      else painted(state.row, state.column);
    });
    const options = labels.map((label, i) => `digit ${i + 1}, a ${label}`);
    const begin = choice("begin with", options,
      option => change({image: start[options.indexOf(option)]}));
    const ink = choice("paint in", Object.keys(INKS), name => change({ink: name}));
    const again = button("begin again",
      () => change({image: start[options.indexOf(begin.control.value)]}));
    const empty = button("empty", () => change({image: Array(size * size).fill(0)}));

    const draw = (now, step) => {
      [state, change] = [now, step];
      state.image.forEach((value, i) => {
        const grey = Math.round(255 * (1 - value));
        cells[i].setAttribute("fill", `rgb(${grey}, ${grey}, ${grey})`);
      });
      cursor.setAttribute("x", state.column * cell);
      cursor.setAttribute("y", state.row * cell);
      ink.control.value = state.ink;
      const answers = networks.map((layers, i) =>
        panels[i].show(softmax(forward(layers, state.image))));
      said.textContent = names.map((name, i) => `${name} says ${answers[i]}`).join(", ")
        + `. Row ${state.row + 1}, column ${state.column + 1}: `
        + `${percent(state.image[state.row * size + state.column])} ink.`;
    };
    built(model, el, [html("div", {class: "controls"}, begin.label, ink.label, again, empty),
      html("div", {class: "panels"}, field,
        html("div", {}, panels.map(({picture}) => picture))), said],
      {image: start[0], row: 0, column: 0, ink: "black"}, draw);
  },
};
