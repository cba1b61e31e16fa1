// Makes elements. Whatever comes from the network becomes text, never markup.

/** The element with this id. */
export const at = (id) => document.getElementById(id);

/** An element with these attributes (`text` and `state` among them) and children. */
export function make(tag, { text, state, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text != null) element.textContent = text;
  if (state != null) element.dataset.state = state;
  for (const [name, value] of Object.entries(attributes)) {
    if (value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A name with its value, for a list of tiles. */
export function tile(name, value, ...more) {
  const shown = make("dd", { class: "value", text: value });
  return make("div", { class: "tile" }, make("dt", { text: name }), shown, ...more.map((extra) => make("dd", {}, extra)));
}

/** Gives an element a text. One that stands there already is not written again: a screen reader would read it out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a text, or hides its element where there is none. */
export function tell(element, text) {
  say(element, text ?? "");
  element.hidden = text == null;
}

/** A line through the last values, for the eye alone. */
export function line(values) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 28");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const known = values.filter((value) => value != null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  let pen = "M";
  const steps = [];
  values.forEach((value, place) => {
    if (value == null) {
      pen = "M";
      return;
    }
    const x = values.length > 1 ? (place / (values.length - 1)) * 100 : 0;
    const y = high > low ? 26 - ((value - low) / (high - low)) * 24 : 14;
    steps.push(`${pen}${x.toFixed(1)} ${y.toFixed(1)}`);
    pen = "L";
  });
  path.setAttribute("d", steps.join(""));
  svg.append(path);
  return svg;
}

/** A text with its fenced code apart from its prose. */
export function prose(text) {
  return text.split(/^```.*$/m).flatMap((part, place) => {
    const content = part.replace(/^\n+|\n+$/g, "");
    if (content === "") return [];
    return [place % 2 === 1 ? make("pre", { tabindex: "0" }, make("code", { text: content })) : make("p", { text: content })];
  });
}
