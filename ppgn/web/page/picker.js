// What is typed is looked up: a combobox of classes, one or several of them, and the layers of a network.
import { about, ask, make } from "./net.js";

let number = 0;

// Fills `place` with a list of conditions and a box to type a class into; `value()` gives what was chosen.
export function classes(place) {
  const id = `classes-${number++}`;
  const { many, start, label, name } = place.dataset;
  const chosen = [];
  const condition = make("select", {}, ...about.conditions.map((one) => make("option", { value: one, textContent: one })));
  const box = make("input", {
    id, autocomplete: "off", role: "combobox", "aria-expanded": "false", "aria-controls": `${id}-list`,
    "aria-autocomplete": "list", placeholder: "goldfish, or dog",
  });
  if (!many) box.value = start ?? "";
  const list = make("ul", { id: `${id}-list`, role: "listbox", hidden: true, "aria-label": "Classes that match" });
  const chips = make("ul", { className: "chips", "aria-label": "Classes chosen" });
  const wide = make("div", { className: "wide" }, make("label", { htmlFor: id, textContent: label }), box, list);
  place.append(wide, make("label", {}, "Of network ", condition), ...(many ? [chips] : []));
  let rows = [], at = -1, asked = 0, waiting, stale = false; // stale: the list is not of what stands in the box

  function close() {
    clearTimeout(waiting);
    asked += 1;
    list.hidden = true;
    at = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }
  function mark(row) {
    at = rows.length ? (row + rows.length) % rows.length : -1;
    [...list.children].forEach((one, index) => one.setAttribute("aria-selected", index === at));
    if (at >= 0) {
      box.setAttribute("aria-activedescendant", list.children[at].id);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  }
  function take(row) {
    const { word, names } = row;
    if (many) {
      if (chosen.length < 8 && !chosen.some((one) => one.word === word)) chosen.push({ word, names });
      box.value = "";
      show();
    } else box.value = word;
    box.dataset.names = names;
    close();
  }
  function show() {
    chips.replaceChildren(...chosen.map((one, index) => {
      const button = make("button", { type: "button", textContent: `${one.names.split(",")[0]} ×`, "aria-label": `Remove ${one.names}` });
      button.onclick = () => { chosen.splice(index, 1); show(); box.focus(); };
      return make("li", {}, button);
    }));
  }
  async function search() {
    clearTimeout(waiting);
    const turn = ++asked;
    const pattern = box.value.trim();
    if (!pattern) return close();
    try {
      const found = await ask(`/api/classes?${new URLSearchParams({ condition: condition.value, pattern })}`);
      if (turn !== asked) return;
      rows = found;
    } catch { rows = []; }
    stale = false;
    at = -1;
    box.removeAttribute("aria-activedescendant");
    list.replaceChildren(...rows.map((row, index) => {
      const option = make("li", { id: `${id}-${index}`, role: "option", "aria-selected": "false" }, row.names, make("small", { textContent: row.kinds }));
      option.onpointerdown = (event) => { event.preventDefault(); take(row); };
      return option;
    }));
    if (!rows.length) list.append(make("li", { role: "option", "aria-disabled": "true", textContent: `nothing is called “${pattern}”` }));
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
  }
  box.oninput = () => { stale = true; clearTimeout(waiting); waiting = setTimeout(search, 120); };
  box.onblur = close;
  box.onkeydown = async (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden || stale) await search();
      mark(at + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter" && (at >= 0 || (many && box.value.trim()))) {
      event.preventDefault();
      if (at < 0 || stale) await search();
      if (at >= 0 || rows.length) take(rows[Math.max(0, at)]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      close();
    } else if (event.key === "Backspace" && many && !box.value && chosen.length) {
      chosen.pop();
      show();
    }
  };
  condition.onchange = () => { chosen.length = 0; box.value = ""; show(); close(); };
  if (many && start) { chosen.push({ word: start, names: start }); show(); }
  return {
    value() {
      const typed = box.value.trim();
      const words = many ? [...chosen.map((one) => one.word), ...(typed ? [typed] : [])] : typed;
      return { condition: condition.value, [name ?? "targets"]: words };
    },
    clear() { box.value = ""; close(); },
    set(kind) { condition.value = kind; },
  };
}

// Fills `place` with network, layer and unit; the layers are those of the network that is typed.
export function units(place) {
  const id = `layers-${number++}`;
  const networks = make("datalist", { id: `${id}-networks` }, ...about.networks.map((one) => make("option", { value: one })));
  const layers = make("datalist", { id });
  const network = make("input", { name: "network", value: about.networks[1], autocomplete: "off" });
  const layer = make("input", { name: "layer", value: "blocks.4.2", autocomplete: "off" });
  const unit = make("input", { name: "unit", value: "17", inputMode: "numeric", autocomplete: "off" });
  const hint = make("p", { className: "hint", role: "note", textContent: " " });
  network.setAttribute("list", `${id}-networks`);
  layer.setAttribute("list", id);
  let known = [];
  const tell = () => {
    const found = known.find(([name]) => name === layer.value.trim());
    hint.textContent = found ? `${found[0]} has ${found[1]} units, 0 to ${found[1] - 1}, at ${found[2]} places.`
      : known.length ? `${known.length} layers, from ${known[0][0]} to ${known.at(-1)[0]}.` : "timm/NAME and torchvision/NAME will do as well.";
  };
  const load = async () => {
    try {
      known = await ask(`/api/layers?${new URLSearchParams({ network: network.value.trim() })}`);
      layers.replaceChildren(...known.map(([name, count]) => make("option", { value: name, label: `${count} units` })));
      tell();
    } catch (error) {
      known = [];
      layers.replaceChildren();
      hint.textContent = error.message;
    }
  };
  network.onchange = load;
  layer.oninput = tell;
  place.append(
    make("label", {}, "Network ", network), networks,
    make("div", { className: "row" }, make("label", {}, "Layer ", layer), make("label", {}, "Unit ", unit)), layers, hint,
  );
  let loaded = false;
  return { load() { if (!loaded) { loaded = true; load(); } } };
}
