// The page: tabs, forms, and what a click on a picture opens.
import { about, ask, make } from "./net.js";
import { classes, units } from "./picker.js";
import { photo } from "./paint.js";
import { markdown } from "./card.js";
import { Outcome, percent } from "./outcome.js";

const $ = (selector, root = document) => root.querySelector(selector);
const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab, focus = true) {
  for (const one of tabs) {
    one.setAttribute("aria-selected", one === tab);
    one.tabIndex = one === tab ? 0 : -1;
    document.getElementById(one.getAttribute("aria-controls")).hidden = one !== tab;
  }
  if (focus) tab.focus();
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
}
tabs.forEach((tab, index) => {
  tab.onclick = () => choose(tab);
  tab.onkeydown = (event) => {
    const moves = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    choose(tabs[(moves[event.key] + tabs.length) % tabs.length]);
  };
});

for (const select of document.querySelectorAll("select[data-list]")) {
  for (const one of about[select.dataset.list]) select.append(make("option", { value: one, textContent: one }));
  if (select.name === "model") select.value = "natural64";
}
const pickers = new Map([...document.querySelectorAll(".class-picker")].map((place) => [place, classes(place)]));
const layers = [...document.querySelectorAll(".unit-picker")].map((place) => units(place));
document.getElementById("tab-unit").addEventListener("click", () => layers[1].load());
document.getElementById("tab-unit").addEventListener("focus", () => layers[1].load());
$("#photographs").textContent = about.photographs ? `Beside the photographs in ${about.photographs}.`
  : "Images by three methods; ppgn serve data=FOLDER adds photographs, patches and facets.";
$(".card-only").hidden = !about.photographs;

const outcomes = {}, photos = {};
for (const verb of ["sample", "inpaint", "edit", "unit"]) {
  const section = document.getElementById(verb), form = $("form", section);
  const outcome = (outcomes[verb] = new Outcome(section, verb, openPicture));
  const place = $(".photo", section);
  if (place) photos[verb] = photo(place, (text, wrong) => outcome.say(text, wrong));
  form.onsubmit = async (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    const kind = given.what;
    for (const [picker, own] of pickers) if (form.contains(picker)) Object.assign(given, own.value());
    for (const hidden of form.querySelectorAll("[data-kind][hidden] [name], .card-only[hidden] [name]")) delete given[hidden.name];
    if (kind && kind !== "class") { delete given.targets; delete given.condition; }
    try {
      if (photos[verb]) Object.assign(given, await photos[verb].value());
    } catch (error) { return outcome.say(error.message, true); }
    await outcome.start(given);
  };
}

for (const radio of document.querySelectorAll("input[name=what]")) {
  radio.onchange = () => {
    for (const part of document.querySelectorAll("[data-kind]")) part.hidden = part.dataset.kind !== radio.value;
    if (radio.value === "unit") layers[0].load();
  };
}
const fitting = { digits: "digits" };
$("#sample [name=model]").onchange = (event) => {
  pickers.get($("#sample .class-picker")).set(fitting[event.target.value] ?? "imagenet");
};

// A picture that was clicked, and what can be done from it.

const dialog = $("#picture");
let current = null;
function openPicture(row) {
  current = row;
  const known = [["network", row.prob, row.top5], ["judge", row.judge?.prob, row.judge?.top5]].filter(([, , five]) => five);
  $("h2", dialog).textContent = `${row.target}, seed ${row.seed}`;
  const image = $("img", dialog);
  image.src = row.url;
  image.alt = $("h2", dialog).textContent;
  const rows = (known[0]?.[2] ?? []).map((_, index) => make("tr", {}, ...known.map(([, , five]) => make("td", { textContent: five[index] ? `${five[index][0]} ${percent(five[index][1])}` : "" }))));
  const head = make("tr", {}, ...known.map(([who]) => make("th", { textContent: `${who} sees` })));
  $(".said", dialog).replaceChildren(...(known.length ? [make("table", {}, head, ...rows)] : [make("p", { textContent: `log p ${row.log_prob?.toFixed(2) ?? "–"}` })]));
  const file = $("a.file", dialog);
  file.href = row.url;
  file.download = `${String(row.target).replaceAll(/[^\w-]+/g, "-")}-seed-${row.seed}.png`;
  for (const button of dialog.querySelectorAll("[data-on]")) button.disabled = !row.file && button.dataset.on !== "animate";
  dialog.showModal();
}
$(".close", dialog).onclick = () => dialog.close();
dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
function goOn(how) {
  const picker = pickers.get($(".class-picker", dialog));
  const { condition, another } = picker.value();
  const { animate, init, strength, ...before } = current.form;
  const from = { init: `${current.folder}/${current.file}` };
  let form;
  if (how === "another") {
    if (!another) return $(".class-picker input", dialog).focus();
    form = { what: "class", condition, targets: [another], model: before.model, steps: before.steps, seeds: String(current.seed), ...from, strength: 0.6 };
  } else if (how === "more") form = { ...before, ...from, seeds: String(current.seed), strength: 0.3 };
  else if (how === "near") form = { ...before, ...from, seeds: "0-3", strength: 0.4 };
  else form = { ...current.form, seeds: String(current.seed), animate: "yes" };
  picker.clear();
  dialog.close();
  outcomes.sample.start(form);
}
$("form.on", dialog).onsubmit = (event) => { event.preventDefault(); goOn("another"); };
for (const button of dialog.querySelectorAll("[data-on]")) if (button.type === "button") button.onclick = () => goOn(button.dataset.on);

// Models and their cards.

async function card(name) {
  const place = $("#model-card");
  for (const button of document.querySelectorAll("#model-list button")) button.setAttribute("aria-pressed", button.textContent === name);
  place.replaceChildren(make("p", { textContent: `reading the card of ${name} …` }));
  try {
    const told = await ask(`/api/card?${new URLSearchParams({ model: name })}`);
    const facts = Object.entries(told.about).filter(([, value]) => ["string", "number"].includes(typeof value));
    const use = make("button", { type: "button", textContent: `Sample with ${told.name}` });
    use.onclick = () => {
      for (const select of document.querySelectorAll("select[name=model]")) {
        if (![...select.options].some((one) => one.value === told.name)) select.append(make("option", { value: told.name, textContent: told.name }));
      }
      const model = $("#sample [name=model]");
      model.value = told.name;
      model.dispatchEvent(new Event("change"));
      choose(tabs[0]);
    };
    place.replaceChildren(use, make("p", { className: "hint", textContent: facts.map(([key, value]) => `${key} ${value}`).join(" · ") }), ...markdown(told.text));
  } catch (error) { place.replaceChildren(make("p", { className: "wrong", textContent: error.message })); }
}
$("#model-list").append(...about.models.map((name) => {
  const button = make("button", { type: "button", textContent: name, "aria-pressed": "false" });
  button.onclick = () => card(name);
  return make("li", {}, button);
}));
$("#hub").onsubmit = (event) => { event.preventDefault(); card(new FormData(event.target).get("name").trim()); };
document.getElementById("tab-models").addEventListener("focus", () => { if (!$("#model-card").childElementCount) card(about.models[0]); });

const asked = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
if (asked) choose(asked, false);
if (asked?.id === "tab-unit") layers[1].load();
if (asked?.id === "tab-models") card(about.models[0]);
$("main").classList.add("ready");
