// A photo that is uploaded, and a hole painted into it, by pointer or by keyboard.
import { ask, make } from "./net.js";

const SIDE = 1024; // pixels of the mask's longer side, at most; the server makes it as large as the photo
const STEP = 0.02; // of the width that an arrow key moves the brush

export function photo(place, say) {
  const what = place.dataset.paint;
  const hole = what === "hole";
  const file = make("input", { type: "file", accept: "image/png,image/jpeg,image/webp" });
  const picture = make("img", { alt: "The photo" });
  const canvas = make("canvas", {
    tabIndex: 0, role: "application",
    "aria-label": `Paint the ${what}: arrow keys move the brush, space paints, Delete wipes, plus and minus change its size`,
  });
  const brush = make("input", { type: "range", min: 1, max: 30, value: 8 });
  const area = make("div", { className: "paint", hidden: true }, picture, canvas);
  const clear = make("button", { type: "button", textContent: "Clear" });
  const middle = make("button", { type: "button", textContent: "Square in the middle" });
  const tools = make("div", { hidden: true }, make("label", {}, "Brush ", brush), make("div", { className: "buttons" }, middle, clear));
  const hint = make("p", { className: "hint", textContent: hole
    ? "Paint the hole with the mouse, a finger or the arrow keys and space. Nothing painted: a square in the middle."
    : "Paint what may change, if not everything may." });
  place.append(make("label", {}, "Photo (PNG, JPEG, WebP) ", file), area, tools, hint);

  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const mask = make("canvas");
  const ink = mask.getContext("2d");
  let name = null, painted = false, last = null, spot = { x: 0.5, y: 0.5 };

  function show() {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(mask, 0, 0);
    if (document.activeElement === canvas) {
      pen.lineWidth = Math.max(2, canvas.width / 300);
      for (const [colour, grow] of [["#fff", 0], ["#000", pen.lineWidth]]) {
        pen.strokeStyle = colour;
        pen.beginPath();
        pen.arc(spot.x * canvas.width, spot.y * canvas.height, radius() + grow, 0, 7);
        pen.stroke();
      }
    }
  }
  const radius = () => (brush.value / 100) * Math.max(mask.width, mask.height);
  function stroke(from, to, wipe = false) {
    ink.globalCompositeOperation = wipe ? "destination-out" : "source-over";
    ink.strokeStyle = ink.fillStyle = "#e4007c";
    ink.lineCap = "round";
    ink.lineWidth = 2 * radius();
    ink.beginPath();
    ink.moveTo(from.x * mask.width, from.y * mask.height);
    ink.lineTo(to.x * mask.width + 0.01, to.y * mask.height);
    ink.stroke();
    painted = true;
    show();
  }
  const where = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = spot = where(event);
    stroke(last, last, event.button === 2);
  };
  canvas.onpointermove = (event) => {
    if (!last) return;
    const next = where(event);
    stroke(last, next, event.buttons === 2);
    last = spot = next;
  };
  canvas.onpointerup = canvas.onpointercancel = () => { last = null; };
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.onfocus = canvas.onblur = show;
  canvas.onkeydown = (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (move) {
      const before = spot;
      const clip = (value) => Math.min(1, Math.max(0, value));
      spot = { x: clip(spot.x + STEP * move[0]), y: clip(spot.y + STEP * move[1]) };
      if (event.shiftKey) stroke(before, spot);
      else show();
    } else if (event.key === " ") stroke(spot, spot);
    else if (event.key === "Delete" || event.key === "Backspace") stroke(spot, spot, true);
    else if (event.key === "+" || event.key === "-") { brush.value = +brush.value + (event.key === "+" ? 2 : -2); show(); }
    else return;
    event.preventDefault();
  };
  brush.oninput = show;
  clear.onclick = () => { ink.clearRect(0, 0, mask.width, mask.height); painted = false; show(); };
  middle.onclick = () => {
    clear.onclick();
    ink.globalCompositeOperation = "source-over";
    ink.fillStyle = "#e4007c";
    ink.fillRect(mask.width / 4, mask.height / 4, mask.width / 2, mask.height / 2);
    painted = true;
    show();
  };
  async function upload() {
    const chosen = file.files[0];
    if (!chosen) return;
    name = null;
    area.hidden = tools.hidden = true;
    if (chosen.size > 64e6) return say("this file has more than 64 MB; give a smaller one", true);
    say(`uploading ${chosen.name} …`);
    try {
      const told = await ask("/api/upload", chosen, "application/octet-stream");
      const scale = Math.min(1, SIDE / Math.max(told.width, told.height));
      for (const one of [canvas, mask]) {
        one.width = Math.max(1, Math.round(told.width * scale));
        one.height = Math.max(1, Math.round(told.height * scale));
      }
      picture.width = told.width;
      picture.height = told.height;
      picture.src = `/files/${told.name}`;
      await picture.decode();
      name = told.name;
      painted = false;
      area.hidden = tools.hidden = false;
      say(`${chosen.name}: ${told.width} × ${told.height} pixels`);
    } catch (error) { say(error.message, true); }
  }
  file.onchange = upload;
  place.ondragover = (event) => event.preventDefault();
  place.ondrop = (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) { file.files = event.dataTransfer.files; upload(); }
  };
  return {
    async value() {
      if (!name) throw new Error("image is missing: choose a photo");
      if (!painted) return { image: name };
      const drawn = await new Promise((done) => mask.toBlob(done, "image/png"));
      const told = await ask(`/api/upload?${new URLSearchParams({ of: name })}`, drawn, "application/octet-stream");
      return { image: name, mask: told.name };
    },
  };
}
