// The page: a picture in, an answer out, and every step in between. All that is private happens in
// amicus.js and amicus.wasm, in this browser.

import { AmicusError, connect, fromPixels, parseTokens } from "./amicus.js";

const $ = (id) => document.getElementById(id);

/** What is known while the page is open. */
const state = { cluster: undefined, client: undefined, numbers: undefined, busy: false, digit: false, chosen: 0, loading: 0 };

// Problems.

const SENT = "Your picture had left this browser, masked, before this happened. Nobody can unmask it.";
const UNSENT = "Nothing of your picture has left this browser.";

function problem(error) {
  console.error(error);
  const known = error instanceof AmicusError;
  const parts = known
    ? error
    : { what: `This page failed: ${error.message}`, where: "this page", whose: "the page's host's", next: "load it again" };
  const cheated = known && error.cheated;
  $("problem-what").textContent = cheated ? "A party cheated, and was caught. Nothing was released." : parts.what;
  $("problem-said").textContent = `The helper says: ${parts.what}.`;
  $("problem-said").hidden = !cheated;
  $("problem-where").textContent = parts.where;
  $("problem-whose").textContent = cheated ? culprit(parts.what) : parts.whose;
  $("problem-next").textContent = parts.next;
  $("problem-sent").textContent = known && error.sent ? SENT : UNSENT;
  $("problem").hidden = false;
  $("problem").focus();
}

/** Whom the helper names; of a check that failed it cannot know. */
const culprit = (what) => what.match(/party \d/)?.[0] ?? "one of the parties; which one, the check cannot tell";

const yours = (what, next) => new AmicusError({ what, where: "your picture", whose: "yours", next });

// Connecting.

async function describe() {
  const answer = await fetch("cluster.json", { cache: "no-store", credentials: "omit" }).catch(() => undefined);
  if (!answer?.ok) {
    const what = "this page was served without the description of a cluster";
    throw new AmicusError({ what, where: "cluster.json", whose: "the page's host's", next: "have it served beside the page" });
  }
  state.cluster = await answer.json();
  for (const { name } of state.cluster.models ?? []) $("model").append(new Option(name, name));
  $("model-field").hidden = $("model").options.length < 2;
  fillFingerprint();
}

function fillFingerprint() {
  const model = state.cluster.models?.find(({ name }) => name === $("model").value);
  $("fingerprint").value = model?.fingerprint ?? "";
}

/** Tokens that came behind `#`, which browsers send nobody; they do not stay in the address. */
function tokensOfAddress() {
  const behind = new URLSearchParams(location.hash.slice(1));
  if ([...behind].length === 0) return false;
  $("tokens").value = [...behind].map(([node, token]) => `${node} = "${token}"`).join("\n");
  history.replaceState(null, "", location.pathname);
  return true;
}

async function connectNow() {
  begin();
  try {
    state.client = undefined;
    $("connected").textContent = "Connecting…";
    const options = { model: $("model").value || undefined, fingerprint: $("fingerprint").value.trim() || undefined };
    const client = await connect(state.cluster, parseTokens($("tokens").value), options);
    state.client = client;
    const nodes = state.cluster.parties.length;
    const word = client.expected ? "It is the owner's fingerprint." : "Nobody told you which it should be.";
    $("connected").textContent =
      `Connected to the helper and ${nodes} parties, for the model ${client.model}. ` +
      `All parties name the fingerprint ${client.fingerprint.slice(0, 16)}…. ${word}${trial()}`;
    $("settings").open = false;
    prepare(client.plan);
  } catch (error) {
    $("settings").open = true;
    $("connected").textContent = "Not connected.";
    problem(error);
  } finally {
    end();
  }
}

/** Whether one machine has all roles, which keeps nothing from whoever has the machine. */
function trial() {
  const near = [state.cluster.helper, ...state.cluster.parties].every((at) => new URL(at).hostname === "127.0.0.1");
  return near ? " All nodes are on this machine: that is for trying, and protects nobody." : "";
}

/** Fits the page to what the network takes. */
function prepare(plan) {
  const [channels, height, width] = plan.shape;
  state.digit = channels === 1;
  $("drawing").hidden = !state.digit;
  for (const id of ["small", "masked"]) Object.assign($(id), { width: width ?? 1, height: height ?? 1 });
  clear();
  const reveal = plan.labels
    ? `The plan reveals ${plan.labels === 1 ? "only the label" : `only the ${plan.labels} best labels`}, no numbers.`
    : `The plan reveals ${plan.outputs} numbers, one for each class; bars are their softmax.`;
  const watch = plan.watches
    ? " It also tells you if a number inside left what the network was made for."
    : " It does not look whether numbers inside leave what the network was made for.";
  $("reveals").textContent = reveal + watch;
}

// Steps.

function stepList() {
  const parties = state.cluster?.parties.map((_, at) => `party ${at + 1}`) ?? [];
  return [
    ["compared", "Compare the model's fingerprint at all parties"],
    ["asked", "Ask the helper for an inference"],
    ["masked", "Mask the picture here"],
    ...parties.map((node) => [`sent ${node}`, `Send the masked picture to ${node}`]),
    ...parties.map((node) => [`computed ${node}`, `Masked answer of ${node}`]),
    ["accepted", "Check accepted: nobody cheated"],
    ["unmasked", "Unmask the answer here"],
  ];
}

function resetSteps() {
  $("steps").replaceChildren(
    ...stepList().map(([key, text]) => {
      const item = document.createElement("li");
      item.dataset.key = key;
      item.textContent = text;
      return item;
    }),
  );
}

const stepOf = (key) => [...$("steps").children].find((item) => item.dataset.key === key);

function mark(key, done = "done") {
  const item = stepOf(key);
  if (!item || item.dataset.state === "spare") return;
  item.dataset.state = done;
  $("said").textContent = `${item.textContent}: ${done}`;
}

function took(step) {
  mark(step.node ? `${step.step} ${step.node}` : step.step);
  if (step.step === "masked") showMasked(step);
}

/** An answer needs the masked answer of one party: those of others may come later. */
function spareSteps() {
  for (const item of $("steps").children) {
    if (item.dataset.state === undefined) [item.dataset.state, item.textContent] = ["spare", `${item.textContent}: not needed`];
  }
}

/** A check can fail before all masked answers are here. */
function failSteps({ cheated }) {
  const next = cheated ? stepOf("accepted") : [...$("steps").children].find((item) => item.dataset.state !== "done");
  if (next) mark(next.dataset.key, "failed");
}

// Pictures.

/** Bytes of [channels, height, width] as a picture. */
function put(canvas, shape, byte) {
  const [channels, height, width] = shape;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const each = width * height;
  for (let at = 0; at < each; at++) {
    for (let colour = 0; colour < 3; colour++) {
      image.data[4 * at + colour] = byte(channels === 1 ? at : colour * each + at);
    }
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function showMasked({ picture, shape, bytes }) {
  if (shape.length !== 3) return;
  put($("masked"), shape, (at) => picture[at]);
  $("masked").setAttribute("aria-label", `The masked picture: noise. ${bytes} bytes go to every party.`);
}

/** What is on the small canvas becomes the numbers that are asked about. */
function take(words) {
  const { plan } = state.client;
  const canvas = $("small");
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  state.numbers?.fill(0);
  state.numbers = fromPixels(plan, image);
  canvas.setAttribute("aria-label", `The picture as the network takes it: ${words}`);
  ready();
}

function clear() {
  state.numbers?.fill(0);
  state.numbers = undefined;
  for (const id of ["draw", "small", "masked"]) {
    const canvas = $(id);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  $("small").setAttribute("aria-label", "The picture as the network takes it: none yet");
  $("masked").setAttribute("aria-label", "The masked picture: none yet");
  $("answer").textContent = "None yet.";
  $("outside").hidden = true;
  $("bars").replaceChildren();
  $("problem").hidden = true;
  resetSteps();
  pen.down = false;
  pen.drawn = false;
  ready();
}

const PEN = 20;
const pen = { x: 140, y: 140, down: false, drawn: false };

function line(x, y) {
  const context = $("draw").getContext("2d");
  context.strokeStyle = "#fff";
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(pen.x, pen.y);
  // A line of no length would leave no dot.
  context.lineTo(x + 0.01, y);
  context.stroke();
  pen.drawn = true;
}

/** As MNIST has its digits: within 20 x 20 pixels, the centre of mass in the middle of 28 x 28. */
function digit() {
  const draw = $("draw");
  const { data, width, height } = draw.getContext("2d").getImageData(0, 0, draw.width, draw.height);
  let [left, top, right, bottom, mass, sumX, sumY] = [width, height, 0, 0, 0, 0, 0];
  for (let at = 0; at < width * height; at++) {
    const value = data[4 * at];
    if (value === 0) continue;
    const [x, y] = [at % width, Math.floor(at / width)];
    [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
    mass += value;
    sumX += value * (x + 0.5);
    sumY += value * (y + 0.5);
  }
  if (mass === 0) return;
  const small = $("small");
  const context = small.getContext("2d");
  const scale = ((20 / 28) * small.width) / Math.max(right - left, bottom - top);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(0, 0, small.width, small.height);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  // Whole pixels, so that strokes stay as sharp as they are.
  const shift = (sum, size) => Math.round(size / 2 - (sum / mass) * scale);
  const at = [shift(sumX, small.width), shift(sumY, small.height)];
  context.drawImage(draw, at[0], at[1], width * scale, height * scale);
  take("a drawing");
}

function place(event) {
  const box = $("draw").getBoundingClientRect();
  const scale = $("draw").width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function pointers() {
  const draw = $("draw");
  draw.addEventListener("pointerdown", (event) => {
    if (!state.client || state.busy) return;
    draw.setPointerCapture(event.pointerId);
    pen.held = true;
    [pen.x, pen.y] = place(event);
    line(pen.x, pen.y);
  });
  draw.addEventListener("pointermove", (event) => {
    if (!pen.held) return;
    const [x, y] = place(event);
    line(x, y);
    [pen.x, pen.y] = [x, y];
  });
  for (const over of ["pointerup", "pointercancel"]) {
    draw.addEventListener(over, () => {
      if (pen.held) digit();
      pen.held = false;
    });
  }
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  draw.addEventListener("keydown", (event) => {
    if (!state.client || state.busy) return;
    const move = moves[event.key];
    if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) line(pen.x, pen.y);
    } else if (move) {
      const within = (value) => Math.min(270, Math.max(10, value));
      const [x, y] = [within(pen.x + 10 * move[0]), within(pen.y + 10 * move[1])];
      if (pen.down) line(x, y);
      [pen.x, pen.y] = [x, y];
    } else {
      return;
    }
    event.preventDefault();
    const [column, row] = [pen.x, pen.y].map((value) => Math.round(value / 10));
    $("pen").textContent = `Pen ${pen.down ? "down" : "up"}, column ${column} of 27, row ${row} of 27.`;
    if (pen.drawn) digit();
  });
}

const LARGEST = 64 << 20;

async function photograph(file) {
  if (!file || state.busy) return;
  $("problem").hidden = true;
  // Until it is there nobody is asked about the picture before it; of several the last one counts.
  const chosen = (state.chosen += 1);
  state.loading += 1;
  ready();
  let picture;
  try {
    if (!state.client) throw yours("there is no cluster yet to ask", "connect first");
    if (file.size > LARGEST) throw yours("that file is too large for a picture", "choose one below 64 MiB");
    picture = await createImageBitmap(file).catch(() => {
      throw yours(`“${file.name}” is no picture that this browser can read`, "choose a PNG or JPEG file");
    });
    if (chosen !== state.chosen) return;
    const small = $("small");
    const context = small.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, small.width, small.height);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    // The middle of it, as large as fits.
    const side = Math.min(picture.width / small.width, picture.height / small.height);
    const [width, height] = [small.width * side, small.height * side];
    const [x, y] = [(picture.width - width) / 2, (picture.height - height) / 2];
    context.drawImage(picture, x, y, width, height, 0, 0, small.width, small.height);
    take("a photograph");
  } catch (error) {
    problem(error);
  } finally {
    picture?.close();
    state.loading -= 1;
    ready();
  }
}

// Asking.

function ready() {
  $("ask").disabled = state.busy || state.loading > 0 || !state.client || !state.numbers;
}

function begin() {
  state.busy = true;
  $("problem").hidden = true;
  $("go").disabled = true;
  ready();
}

function end() {
  state.busy = false;
  $("go").disabled = false;
  ready();
}

async function ask() {
  begin();
  resetSteps();
  $("answer").textContent = "Asking…";
  $("bars").replaceChildren();
  $("outside").hidden = true;
  try {
    show(await state.client.predict(state.numbers, { onstep: took }));
    spareSteps();
  } catch (error) {
    failSteps(error);
    $("answer").textContent = "None: see above.";
    problem(error);
  } finally {
    end();
  }
}

function show(answer) {
  const name = (label) => state.client.classes?.[label] ?? `class ${label}`;
  const plain = (label) => (state.digit && !state.client.classes ? `${label}` : name(label));
  $("answer").textContent = plain(answer.class);
  $("outside").hidden = answer.outside !== true;
  const rows = answer.outputs
    ? shares(answer.outputs).map(([label, share]) => [plain(label), share])
    : answer.labels.map((label, at) => [`${at + 1}. ${plain(label)}`, undefined]);
  $("bars").replaceChildren(...rows.slice(0, 10).map(([text, share]) => bar(text, share)));
}

/** Softmax of outputs, the largest first. */
function shares(outputs) {
  const most = Math.max(...outputs);
  const powers = outputs.map((output) => Math.exp(output - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power, label) => [label, power / sum]).sort((a, b) => b[1] - a[1]);
}

function bar(text, share) {
  const item = document.createElement("li");
  const label = document.createElement("span");
  label.textContent = text;
  item.append(label);
  if (share !== undefined) {
    const percent = `${(100 * share).toFixed(1)}%`;
    const meter = document.createElement("meter");
    Object.assign(meter, { min: 0, max: 1, value: share });
    meter.setAttribute("aria-label", `${text}: ${percent}`);
    const said = document.createElement("span");
    said.className = "share";
    said.setAttribute("aria-hidden", "true");
    said.textContent = percent;
    item.append(meter, said);
  }
  return item;
}

// The page.

$("connecting").addEventListener("submit", (event) => {
  event.preventDefault();
  connectNow();
});
$("model").addEventListener("change", fillFingerprint);
$("clear").addEventListener("click", clear);
$("ask").addEventListener("click", ask);
$("file").addEventListener("change", (event) => {
  photograph(event.target.files[0]);
  event.target.value = "";
});
for (const over of ["dragover", "dragenter"]) {
  document.addEventListener(over, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  photograph(event.dataTransfer.files[0]);
});
pointers();
clear();
describe().then(() => (tokensOfAddress() ? connectNow() : undefined)).catch(problem);
