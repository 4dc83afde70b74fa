// What has become of what was asked: state, pictures while they are drawn, curves, results, what repeats it.
import { ask, make } from "./net.js";
import { chart } from "./chart.js";

export function percent(value) {
  if (value === null || value === undefined) return "";
  if (value < 0.001) return "< 0.1 %";
  return `${(100 * value).toFixed(value > 0.1 ? 0 : 1)} %`;
}
const IDLE = { // what stands where results will be
  sample: "Pictures appear here while their chains walk; click one to go on from it.",
  inpaint: "Choose a photo, paint a hole, and see several ways to fill it, at the photo's full size.",
  edit: "Choose a photo and what the network shall see in it: it changes as little as that takes.",
  unit: "One unit inside a network: what excites it, drawn by several methods.",
};

export class Outcome {
  constructor(section, verb, open) {
    this.verb = verb;
    this.open = open; // what a click on a picture does
    section.append(document.getElementById("outcome").content.cloneNode(true));
    this.root = section.querySelector(".outcome");
    [this.status, this.bar, this.pictures, this.found, this.again] =
      [".status p", "progress", ".pictures", ".found", ".again"].map((one) => this.root.querySelector(one));
    this.charts = [...this.root.querySelectorAll(".chart")];
    this.go = section.querySelector("button.go");
    this.stop = section.querySelector("button.stop");
    this.stop.onclick = () => this.cancel();
    for (const button of this.root.querySelectorAll("[data-copy]")) {
      button.onclick = async () => {
        const text = this.root.querySelectorAll("pre")[button.dataset.copy].textContent;
        await navigator.clipboard.writeText(text).catch(() => {});
        this.say("copied");
      };
    }
    this.key = `ppgn-${verb}`;
    this.clear();
    this.say(IDLE[verb]);
    const before = sessionStorage.getItem(this.key);
    if (before) this.watch(before);
  }

  say(text, wrong = false) {
    this.status.textContent = text;
    this.status.classList.toggle("wrong", wrong);
  }

  clear() {
    this.pictures.replaceChildren();
    this.found.replaceChildren();
    this.again.hidden = true;
    this.bar.value = 0;
    this.tiles = new Map();
    this.batches = new Map(); // of every batch of seeds its points
    this.judged = new Map();
    this.steps = 0;
    this.charts.forEach((one) => one.replaceChildren());
  }

  busy(is) {
    this.go.disabled = is;
    this.stop.disabled = !is;
    this.root.setAttribute("aria-busy", is);
    this.bar.classList.add("begun");
  }

  // Puts a form's wishes into the queue.
  async start(form) {
    this.clear();
    this.busy(true);
    this.say("asking …");
    try {
      const { job } = await ask("/api/jobs", JSON.stringify({ verb: this.verb, form }), "application/json");
      sessionStorage.setItem(this.key, job);
      this.watch(job);
    } catch (error) {
      this.busy(false);
      this.say(error.message, true);
    }
  }

  async cancel() {
    this.say("stopping …");
    this.stop.disabled = true;
    try { await ask(`/api/jobs/${this.job}/cancel`, ""); } catch (error) { this.say(error.message, true); }
  }

  watch(job) {
    this.job = job;
    this.source?.close();
    this.clear();
    this.busy(true);
    const source = (this.source = new EventSource(`/api/jobs/${job}/events`));
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      this[event.kind](event);
      if (["done", "failed", "cancelled"].includes(event.state)) {
        source.close();
        this.busy(false);
      }
    };
    source.onopen = () => { if (this.seen) this.clear(); this.seen = true; }; // the events come again from the first
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return this.say("the server does not answer; trying again …", true);
      this.busy(false);
      this.bar.classList.remove("begun");
      this.say(IDLE[this.verb]);
    };
    this.seen = false;
  }

  state({ state, ahead, text, result }) {
    if (state === "queued") this.say(ahead ? `waiting, ${ahead} before this one` : "waiting");
    else if (state === "running") this.say("loading …");
    else if (state === "failed") this.say(text, true);
    else if (state === "cancelled") this.say(text && !text.startsWith("0 of") ? `stopped: ${text}` : "stopped");
    else {
      this.bar.value = 1;
      this.say(result.text);
      this.show(result);
    }
  }

  said({ text }) { this.say(`${text} …`); }

  moved({ what, share }) {
    this.say(what || "working");
    if (share !== null) this.bar.value = share;
  }

  call({ command, python, form, folder }) {
    this.form = form;
    this.folder = folder;
    const [shell, lines] = this.root.querySelectorAll("pre");
    shell.textContent = command;
    lines.textContent = python;
    const zip = this.root.querySelector(".zip");
    zip.href = `/folder/${folder}.zip`;
  }

  tile(key) {
    if (!this.tiles.has(key)) {
      const image = make("img", { alt: "" }), caption = make("span", { className: "caption" });
      const button = make("button", { type: "button", disabled: true }, image, caption);
      this.tiles.set(key, { button, image, caption });
      this.pictures.append(make("li", {}, button));
    }
    return this.tiles.get(key);
  }

  frame({ step, steps, seeds, pictures, log_p, judge }) {
    this.steps = Math.max(this.steps, steps);
    this.bar.value = step / steps;
    this.say(`step ${step} of ${steps}`);
    const key = seeds.join();
    if (!this.batches.has(key)) { this.batches.set(key, []); this.judged.set(key, []); }
    if (step <= this.batches.get(key).at(-1)?.[0]) { this.batches.set(key, []); this.judged.set(key, []); } // another chain of them
    this.batches.get(key).push([step, log_p]);
    if (judge) this.judged.get(key).push([step, judge]);
    seeds.forEach((seed, row) => {
      const { image, caption } = this.tile(seed);
      if (pictures) image.src = pictures[row];
      image.alt = `Seed ${seed} at step ${step}`;
      caption.replaceChildren(`seed ${seed}, log p `, make("b", { textContent: log_p[row] === null ? "–" : log_p[row].toFixed(2) }));
    });
    if (pictures) this.curves();
  }

  curves() {
    const joined = (batches) => {
      const steps = new Map();
      let before = 0;
      for (const points of batches.values()) {
        for (const [step, values] of points) {
          if (!steps.has(step)) steps.set(step, []);
          const row = steps.get(step);
          while (row.length < before) row.push(null);
          row.push(...values);
        }
        before += points[0]?.[1].length ?? 0;
      }
      return [...steps].sort(([a], [b]) => a - b);
    };
    const [own, other] = this.charts;
    chart(own, this.verb === "inpaint" ? "log p of what is known and asked for" : "log p by the condition, a line a chain", joined(this.batches), this.steps);
    const judged = joined(this.judged);
    if (judged.length) chart(other, "log p by a judge that takes no part", judged, this.steps);
    else other.replaceChildren();
  }

  url(file) { return `/files/${this.folder}/${file}`; }

  show(result) {
    this.again.hidden = false;
    if (this.verb === "unit") this.charts.forEach((one) => one.replaceChildren());
    else if (this.batches.size) this.curves();
    if (this.verb === "sample") this.samples(result);
    else if (this.verb === "inpaint") this.completions(result);
    else if (this.verb === "edit") this.edits(result);
    else if (result.page) this.card(result);
    else this.methods(result);
  }

  samples({ pictures, animation }) {
    this.pictures.replaceChildren();
    this.tiles.clear();
    pictures.forEach((row, index) => {
      const { button, image, caption } = this.tile(index);
      image.src = row.data ?? this.url(row.file);
      const seen = percent(row.prob), judged = row.judge ? `, judge ${percent(row.judge.prob)}` : "";
      image.alt = `${row.target}, seed ${row.seed}`;
      caption.replaceChildren(make("b", { textContent: row.target }), ` seed ${row.seed}${seen ? `: ${seen}` : ""}${judged}`);
      button.disabled = false;
      button.onclick = () => this.open({ ...row, url: image.src, folder: this.folder, form: this.form }, button);
      if (row.sound) button.after(make("audio", { controls: true, src: this.url(row.sound), "aria-label": `${row.target}, seed ${row.seed}` }));
    });
    if (animation) {
      const alt = "The chain as it walks, again and again";
      this.found.append(make("figure", {}, make("img", { alt, src: this.url(animation) }), make("figcaption", {}, make("a", { href: this.url(animation), download: "" }, "Download the animation"))));
    }
  }

  figure(url, alt, words, size) {
    const image = make("img", { alt, src: url, ...(size ? { width: size[0], height: size[1] } : {}) });
    return make("figure", {}, make("a", { href: url, target: "_blank" }, image), make("figcaption", {}, words, " · ", make("a", { href: url, download: "" }, "download")));
  }

  completions({ pictures, size }) {
    this.pictures.replaceChildren();
    this.found.append(make("h2", { textContent: `At full size, ${size[0]} × ${size[1]} pixels, the best first` }));
    const several = make("div", { className: "several" });
    this.found.append(several);
    for (const row of pictures) {
      const p = row.prob === undefined ? "" : `, p of the target ${percent(row.prob)}`;
      const words = `seed ${row.seed}: log p of what is known ${row.log_context?.toFixed(1) ?? "–"}${p}`;
      several.append(this.figure(this.url(row.file), `Completion, seed ${row.seed}`, words, size));
    }
  }

  edits({ pictures, size, before }) {
    this.pictures.replaceChildren();
    const photo = `/files/${this.form.image}`;
    const said = (one) => [["network", one.condition?.prob], ["judge", one.judge?.prob]]
      .filter(([, value]) => value !== undefined).map(([who, value]) => `${who} ${percent(value)}`).join(", ");
    for (const row of pictures) {
      const trio = make("div", { className: "trio" },
        this.figure(photo, "Before", `before: ${said(before)}`, size),
        this.figure(this.url(row.file), `After, seed ${row.seed}`, `after: ${said(row)}`, size),
        this.figure(this.url(row.difference), `Difference, seed ${row.seed}`, "difference, grey where nothing changed", size));
      this.found.append(make("h2", { textContent: `Seed ${row.seed}${row.nothing_changed ? ": nothing changed" : ""}` }), trio);
    }
  }

  methods({ methods }) {
    this.pictures.replaceChildren();
    for (const name of new Set(methods.map((row) => row.method))) {
      const list = make("ul", { className: "pictures", "aria-label": `Images by ${name}` });
      for (const row of methods.filter((one) => one.method === name)) {
        list.append(make("li", {}, make("a", { href: this.url(row.file), target: "_blank" }, make("img", { alt: `${name}, seed ${row.seed}`, src: this.url(row.file) })),
          make("span", { className: "caption" }, make("b", { textContent: row.activation.toFixed(2) }), ` seed ${row.seed}`)));
      }
      this.found.append(make("h2", { textContent: name }), list);
    }
  }

  async card({ page }) {
    this.pictures.replaceChildren();
    const text = await (await fetch(this.url(page))).text();
    const body = new DOMParser().parseFromString(text, "text/html").body;
    const shown = make("div", { className: "page" });
    let part = shown;
    for (const one of body.querySelectorAll("h1, h2, p, img")) {
      if (one.tagName === "H2") shown.append((part = make("section", {}, make("h3", { textContent: one.textContent }))));
      else if (one.tagName === "IMG") {
        const image = make("img", { alt: one.alt, src: one.getAttribute("src") });
        await image.decode().catch(() => {});
        part.classList.toggle("narrow", image.naturalWidth < 2 * image.naturalHeight);
        part.append(image);
      } else part.append(make(one.tagName === "H1" ? "h2" : "p", { textContent: one.textContent }));
    }
    shown.append(make("p", {}, make("a", { href: this.url(page), download: "" }, "Download the card, one file")));
    this.found.append(shown);
  }
}
