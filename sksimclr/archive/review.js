"use strict";
// The page that write_review makes. Labels are kept in the browser, under data.key,
// and saved as a table of file, frame and label.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const STORE = `sksimclr review ${data.key}`;
const GIVEN = `${STORE} ${data.given}`; // there when STORE has had data.labels
const frames = data.frames; // a group after the other, each with the most urgent first
const keyOf = (frame) => JSON.stringify([frame.file, frame.frame]);
const labels = new Map(); // key of a frame: name of its class
const classes = [];
const marked = new Set();
const steps = []; // what undo takes back: lists of [key, label before]
let current = null; // the frame in focus
let unsaved = false;

// Labels

function setLabel(key, label) {
  if (label) labels.set(key, label);
  else labels.delete(key);
}

function addClass(name) {
  if (!classes.includes(name)) classes.push(name);
}

function load() {
  let stored = [];
  let given = data.labels;
  try {
    stored = JSON.parse(localStorage.getItem(STORE)) || [];
    if (localStorage.getItem(GIVEN)) given = []; // what was changed since is newer
  } catch (error) {
    warnOfLoss();
  }
  labels.clear();
  for (const [file, number, label] of [...stored, ...given]) {
    setLabel(JSON.stringify([file, number]), label);
  }
  [...data.classes, ...labels.values()].forEach(addClass);
  if (given.length) {
    write(STORE, rows());
    write(GIVEN, true);
  }
}

function keep() {
  unsaved = true;
  write(STORE, rows());
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch (error) {
    warnOfLoss();
  }
}

function warnOfLoss() {
  $("lost").textContent =
    "This browser keeps no labels: save them before you close the page.";
}

function rows() {
  return [...labels].map(([key, label]) => [...JSON.parse(key), label]);
}

function label(name) {
  const chosen = marked.size ? shown().filter((frame) => marked.has(frame)) : [current];
  if (!chosen[0]) return say("No frame to label.");
  steps.push(chosen.map((frame) => [keyOf(frame), labels.get(keyOf(frame))]));
  for (const frame of chosen) setLabel(keyOf(frame), name);
  keep();
  marked.clear();
  const next = after(chosen.at(-1));
  render();
  goTo(isShown(next) ? next : firstShown(next));
  const what = named(chosen);
  say(name ? `Labelled ${name}: ${what}.` : `No label now: ${what}.`);
}

function named(list) {
  return list.length > 1 ? `${list.length} frames` : `frame ${list[0].number}`;
}

function undo() {
  const step = steps.pop();
  if (!step) return say("Nothing to undo.");
  for (const [key, before] of step) setLabel(key, before);
  keep();
  render();
  const frame = frames.find((each) => keyOf(each) === step[0][0]);
  goTo(isShown(frame) ? frame : firstShown(frame));
  say(`Undone: ${named(step.length > 1 ? step : [frame])}.`);
}

function save() {
  if (!labels.size) return say("There is no label to save.");
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const lines = rows().map(([file, number, label]) =>
    [quoted(file), number, quoted(label)].join(","));
  const text = ["file,frame,label", ...lines, ""].join("\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = false;
  say(`Saved ${labels.size} labels as labels.csv.`);
}

function say(text) {
  $("said").textContent = text;
}

// Which frame is next

function isShown(frame) {
  return Boolean(frame) && !frame.element.hidden && Boolean(frame.image);
}

function shown() {
  return [...document.querySelectorAll(".frame:not([hidden])")]
    .map((element) => frames[element.dataset.place])
    .filter((frame) => frame.image);
}

function firstShown(near) {
  const list = shown();
  return (near && list.find((frame) => follows(near, frame))) || list[0];
}

function follows(one, other) {
  const place = one.element.compareDocumentPosition(other.element);
  return Boolean(place & Node.DOCUMENT_POSITION_FOLLOWING);
}

function after(frame) {
  const list = shown();
  const later = list.slice(list.indexOf(frame) + 1);
  const open = (each) => !labels.has(keyOf(each));
  return later.find(open) || list.find(open) || later[0] || frame;
}

function goTo(frame, takeFocus = document.activeElement.matches(".frame, body")) {
  if (current) current.element.tabIndex = -1;
  current = frame || null;
  enlarge(current);
  if (!current) return say("No frame is shown: change what to show.");
  current.element.tabIndex = 0;
  if (document.activeElement === current.element) return; // a click must not scroll
  if (takeFocus) current.element.focus();
  else current.element.scrollIntoView({ block: "nearest" });
}

function step(direction) {
  const list = shown();
  const place = list.indexOf(current);
  const goals = {
    ArrowRight: list[place + 1], ArrowLeft: list[place - 1], Home: list[0],
    End: list.at(-1), ArrowDown: below(list, 1), ArrowUp: below(list, -1),
  };
  if (goals[direction]) goTo(goals[direction], true);
}

// The frame of the next row, or of the one before, that is nearest to this column
function below(list, sign) {
  const here = current.element.getBoundingClientRect();
  let best = null;
  let least = Infinity;
  for (const frame of list) {
    const there = frame.element.getBoundingClientRect();
    const rise = sign * (there.top - here.top);
    const distance = 1000 * rise + Math.abs(there.left - here.left);
    if (rise > here.height / 2 && distance < least) [best, least] = [frame, distance];
  }
  return best;
}

// What is marked

function mark(list, on) {
  for (const frame of list) {
    if (on) marked.add(frame);
    else marked.delete(frame);
  }
  render();
  say(marked.size ? `${marked.size} marked.` : "None marked.");
}

function markGroup(list) {
  const members = shown().filter((frame) => list.contains(frame.element));
  mark(members, !members.every((frame) => marked.has(frame)));
}

// What is shown

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function whenAndWhere(frame) {
  return [frame.time || "time unknown", frame.site, frame.instrument].filter(Boolean);
}

function guessOf(frame) {
  if (frame.guess === undefined) return "";
  return frame.sure === undefined ? frame.guess : `${frame.guess} ${frame.sure} %`;
}

function makeFrame(frame, place) {
  frame.number = place + 1;
  const picture = frame.image
    ? element("img", { src: frame.image, alt: "", loading: "lazy", decoding: "async" })
    : element("span", { className: "gone" }, "The file is missing, or cannot be read.");
  frame.badge = element("span", { className: "label" });
  frame.element = element(
    "li", { className: "frame", tabIndex: -1 }, picture, frame.badge,
    element("span", { className: "guess" }, guessOf(frame)),
    element("span", {}, whenAndWhere(frame).join(" ")),
  );
  frame.element.dataset.place = place;
  frame.element.setAttribute("role", "option");
  if (!frame.image) frame.element.setAttribute("aria-disabled", "true");
}

function makeGroup(title, members) {
  const list = element("ul", { className: "frames" }, ...members.map((f) => f.element));
  const heading = element("h2", { id: `group-${members[0].number}` }, title);
  const button = element("button", { type: "button", className: "mark" }, "Mark group");
  button.setAttribute("aria-label", `Mark group: ${title}`);
  button.addEventListener("click", () => markGroup(list));
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-multiselectable", "true");
  list.setAttribute("aria-labelledby", heading.id);
  const bar = element("div", {}, heading, button);
  return element("section", { className: "group" }, bar, list);
}

function arrange() {
  const groups = [];
  if ($("order").value === "urgent") {
    const ordered = [...frames].sort((a, b) => a.rank - b.rank);
    groups.push(makeGroup("Most urgent first", ordered));
  } else {
    data.groups.forEach((title, group) => {
      groups.push(makeGroup(title, frames.filter((frame) => frame.group === group)));
    });
  }
  $("groups").replaceChildren(...groups);
}

function makeChoices() {
  const option = (value, text) => element("option", { value }, text);
  const chosen = $("by-label").value;
  $("by-label").replaceChildren(
    option("", "all frames"), option("none", "frames without a label"),
    option("some", "frames with a label"),
    ...classes.map((name, k) => option(`class ${k}`, `labelled ${name}`)),
  );
  $("by-label").value = chosen;
  if (!$("by-guess").options.length) {
    const guesses = data.classes.map((name, k) => option(`class ${k}`, name));
    $("by-guess").replaceChildren(option("", "anything"), ...guesses);
  }
}

function passes(frame) {
  const asks = (select, name) => select.value === `class ${classes.indexOf(name)}`;
  const [byLabel, byGuess] = [$("by-label"), $("by-guess")];
  const name = labels.get(keyOf(frame));
  if (byGuess.value && !asks(byGuess, frame.guess)) return false;
  if (byLabel.value === "none") return name === undefined;
  if (byLabel.value === "some") return name !== undefined;
  return !byLabel.value || asks(byLabel, name);
}

function makeClassButtons() {
  const button = (name, key, text) => {
    const made = element("button", { type: "button" });
    if (key) {
      made.append(element("kbd", {}, key), " ");
      made.setAttribute("aria-keyshortcuts", key);
    }
    made.append(text);
    made.addEventListener("click", () => label(name));
    return made;
  };
  const counted = classes.map((name, k) => {
    const made = button(name, k < 9 ? String(k + 1) : "", name);
    made.append(" ", element("span", { className: "count" }));
    return made;
  });
  $("classes").replaceChildren(...counted, button("", "0", "no label"));
}

// Bring the page up to date with labels, marks, classes and filters
function render() {
  if ($("classes").childElementCount !== classes.length + 1) {
    makeClassButtons();
    makeChoices();
  }
  const counts = new Map(classes.map((name) => [name, 0]));
  for (const name of labels.values()) counts.set(name, counts.get(name) + 1);
  classes.forEach((name, k) => {
    $("classes").children[k].querySelector(".count").textContent = counts.get(name);
  });
  for (const frame of frames) {
    const name = labels.get(keyOf(frame));
    const { element: item } = frame;
    frame.badge.textContent = name === undefined ? "" : name;
    item.hidden = !passes(frame);
    item.setAttribute("aria-selected", marked.has(frame));
    item.setAttribute("aria-label", [
      `Frame ${frame.number} of ${frames.length}`, ...whenAndWhere(frame),
      frame.guess === undefined ? "" : `the model says ${guessOf(frame)}`,
      frame.image ? "" : "missing",
      name === undefined ? "no label" : `labelled ${name}`,
    ].filter(Boolean).join(", "));
  }
  for (const group of document.querySelectorAll(".group")) {
    group.hidden = !group.querySelector(".frame:not([hidden])");
  }
  const usable = frames.filter((frame) => frame.image);
  const done = usable.filter((frame) => labels.has(keyOf(frame))).length;
  $("progress").max = usable.length;
  $("progress").value = done;
  $("count").textContent = `${done} of ${usable.length} labelled.`;
}

function enlarge(frame) {
  $("large").hidden = !frame;
  if (!frame) return;
  $("picture").src = frame.image;
  const label = labels.get(keyOf(frame));
  const facts = {
    Frame: `${frame.number} of ${frames.length}`, Label: label || "none",
    "The model says": guessOf(frame),
    Time: frame.time ? `${frame.time} UTC` : "unknown",
    Station: frame.site, Instrument: frame.instrument,
    File: `${frame.file}, frame ${frame.frame}`,
  };
  $("facts").replaceChildren();
  for (const [name, fact] of Object.entries(facts)) {
    if (fact) $("facts").append(element("dt", {}, name), element("dd", {}, fact));
  }
}

function toggleLarge(on) {
  document.body.classList.toggle("enlarged", on);
  $("enlarge").setAttribute("aria-pressed", on);
}

// What the user does

const isLarge = () => document.body.classList.contains("enlarged");
const actions = {
  u: undo, s: save, e: () => toggleLarge(!isLarge()), n: () => goTo(after(current)),
  g: () => current && markGroup(current.element.parentElement),
  0: () => label(""), Delete: () => label(""), Backspace: () => label(""),
};
const moves = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End"];

function actionOf(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey) return key === "z" && undo;
  if (moves.includes(key)) return () => current && step(key);
  if (key === "Escape") {
    return () => (isLarge() ? toggleLarge(false) : mark(frames, false));
  }
  if (target.matches(".frame") && key === "Enter") return actions.e;
  if (target.matches(".frame") && key === " ") {
    return () => mark([current], !marked.has(current));
  }
  if (!$("keys").checked) return null;
  const name = /^[1-9]$/.test(key) && classes[key - 1];
  return name ? () => label(name) : Object.hasOwn(actions, key) && actions[key];
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("select, input, summary") || event.altKey) return;
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
});

$("groups").addEventListener("click", (event) => {
  const item = event.target.closest(".frame");
  const frame = item && frames[item.dataset.place];
  if (!frame || !frame.image) return;
  mark([frame], !marked.has(frame));
  goTo(frame);
});
$("groups").addEventListener("focusin", (event) => {
  const frame = frames[event.target.dataset.place];
  if (frame && frame !== current && frame.image) goTo(frame);
});
$("groups").addEventListener("mouseover", (event) => {
  const item = event.target.closest(".frame");
  const frame = item ? frames[item.dataset.place] : current;
  enlarge(frame && frame.image ? frame : current);
});
$("groups").addEventListener("mouseleave", () => enlarge(current));

$("new").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  $("name").value = "";
  if (!name) return say("Type the name of the class first.");
  addClass(name);
  render();
  const place = classes.indexOf(name) + 1;
  say(`Class ${name}: ${place < 10 ? `key ${place}` : "no key, use its button"}.`);
  if (current) current.element.focus();
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", (event) => {
  if (event.target.id === "order") arrange();
  marked.clear();
  render();
  goTo(isShown(current) ? current : firstShown());
});
$("undo").addEventListener("click", undo);
$("save").addEventListener("click", save);
$("enlarge").addEventListener("click", actions.e);

window.addEventListener("storage", (event) => {
  if (event.key !== STORE) return; // another tab with this page
  load();
  render();
});
window.addEventListener("beforeunload", (event) => {
  if (unsaved && $("lost").textContent) event.preventDefault();
});
new ResizeObserver(([bar]) => {
  const height = `${bar.target.offsetHeight + 8}px`;
  document.documentElement.style.setProperty("--bar", height);
}).observe($("bar"));

const gone = frames.filter((frame) => !frame.image).length;
$("missing").hidden = !gone;
$("missing").textContent =
  `${gone} of the frames are missing: their files have gone or cannot be read.`;
$("guess-label").hidden = frames.every((frame) => frame.guess === undefined);
load();
frames.forEach(makeFrame);
arrange();
render();
goTo(firstShown());
