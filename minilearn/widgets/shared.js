// What every figure is built with. The text of this file stands before a figure's own.

// A model as anywidget has it, for a page without a kernel.
const standIn = values => {
  const listeners = {};
  return {
    get: name => values[name],
    set(name, value) {
      values[name] = value;
      (listeners[`change:${name}`] ?? []).forEach(listener => listener());
    },
    on(event, listener) { (listeners[event] ??= []).push(listener); },
    save_changes() {},
  };
};

// Put a figure's parts into its place, then follow its state: `draw(state, change)` shows the whole,
// and `change` takes what differs. In a notebook the state is also Python's.
const built = (model, el, parts, initial, draw) => {
  el.classList.add("minilearn-figure");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", model.get("alt"));
  el.append(...parts);
  const read = () => ({...initial, ...model.get("state")});
  const change = part => {
    model.set("state", {...read(), ...part});
    model.save_changes();
  };
  model.on("change:state", () => draw(read(), change));
  draw(read(), change);
};

const filled = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  // JupyterLab takes the arrow keys for itself unless a control asks it not to.
  if (element.matches("input, button, select, [tabindex]")) element.dataset.lmSuppressShortcuts = true;
  element.append(...children.flat());
  return element;
};
const html = (name, attributes = {}, ...children) =>
  filled(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const percent = (value, places = 0) => `${(100 * value).toFixed(places)} %`;
const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const range = count => [...Array(count).keys()];

// A linear map between two intervals, and back.
const linear = ([a, b], [c, d]) => {
  const map = value => c + (value - a) / (b - a) * (d - c);
  map.back = place => a + (place - c) / (d - c) * (b - a);
  map.ends = [a, b];
  return map;
};

// Round numbers between two ends, about as many as asked for.
const ticks = ([low, high], count = 5) => {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return range(Math.floor(high / step + 1e-9) - first + 1)
    .map(i => Number(((first + i) * step).toPrecision(12)));
};

// A panel of 340 x 240 with axes. It is as wide as a phone, so that its text is never shrunk.
const WIDE = 340, HIGH = 240, LEFT = 52, RIGHT = 10, TOP = 24, BOTTOM = 40;
const panel = (title, x, y, labels, marks = {}) => {
  const show = value => String(value).replace("-", "\u2212");
  const inner = svg("g");
  const picture = svg("svg", {viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true"},
    svg("text", {x: LEFT, y: 14, class: "title"}, title),
    (marks.x ?? ticks(x.ends)).map(value => [
      svg("line", {x1: x(value), x2: x(value), y1: TOP, y2: HIGH - BOTTOM, class: "grid"}),
      svg("text", {x: x(value), y: HIGH - BOTTOM + 14, "text-anchor": "middle"}, show(value)),
    ]).flat(),
    (marks.y ?? ticks(y.ends)).map(value => [
      svg("line", {x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value), class: "grid"}),
      svg("text", {x: LEFT - 5, y: y(value) + 4, "text-anchor": "end"}, show(value)),
    ]).flat(),
    svg("text", {x: (LEFT + WIDE - RIGHT) / 2, y: HIGH - 8, "text-anchor": "middle"}, labels[0]),
    svg("text", {transform: `translate(11 ${(TOP + HIGH - BOTTOM) / 2}) rotate(-90)`,
      "text-anchor": "middle"}, labels[1] ?? ""),
    inner);
  return {picture, inner};
};
const across = ends => linear(ends, [LEFT, WIDE - RIGHT]);
const upward = ends => linear(ends, [HIGH - BOTTOM, TOP]);
const path = (points, attributes) => svg("path", {
  d: points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""),
  fill: "none", ...attributes,
});

// Where the pointer is, in the coordinates of the panel.
const pointed = (event, picture) => {
  const box = picture.getBoundingClientRect(), view = picture.viewBox.baseVal;
  return [(event.clientX - box.left) / box.width * view.width,
    (event.clientY - box.top) / box.height * view.height];
};

// Call back while the pointer is held down; a finger may still scroll the page up and down.
const dragged = (picture, move) => {
  picture.classList.add("dragged");
  picture.addEventListener("pointerdown", event => {
    picture.setPointerCapture(event.pointerId);
    move(...pointed(event, picture));
  });
  picture.addEventListener("pointermove", event => {
    if (picture.hasPointerCapture(event.pointerId)) move(...pointed(event, picture));
  });
};

// A slider with its name; `say` puts its value into words.
const slider = (name, low, high, step, input) => {
  const control = html("input", {type: "range", min: low, max: high, step,
    oninput: () => input(Number(control.value))});
  const label = html("label", {}, html("span", {}, name), control);
  const put = (value, words) => {
    control.value = value;
    control.setAttribute("aria-valuetext", words);
  };
  return {label, control, put};
};
const choice = (name, options, input) => {
  const control = html("select", {onchange: () => input(control.value)},
    options.map(option => html("option", {}, option)));
  return {label: html("label", {}, html("span", {}, name), control), control};
};
const button = (words, click) => html("button", {type: "button", onclick: click}, words);
const status = () => html("p", {role: "status", "aria-live": "polite"});

// Numbers and images as Python has packed them.
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const unpacked = ({text, low, step}) => Float64Array.from({length: text.length / 2}, (_, i) =>
  low + step * (64 * DIGITS.indexOf(text[2 * i]) + DIGITS.indexOf(text[2 * i + 1])));
const pixels = text => Float64Array.from(text, letter => DIGITS.indexOf(letter) / 48);
const thumbnail = (ink, attributes = {}) => {
  const size = Math.sqrt(ink.length);
  const canvas = html("canvas", {width: size, height: size, "aria-hidden": "true", ...attributes});
  const image = new ImageData(size, size);
  ink.forEach((value, i) => image.data.set([...Array(3).fill(255 * (1 - value)), 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
};
