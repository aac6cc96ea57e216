// The page's connection: greets, takes messages, hands them to plots and tables.
import { Plots } from "/page/plots.js";
import { WindowHandles } from "/page/windows.js";
import {
  showAlarms, showChanges, showClasses, showEvents, showFates, showMonitors, showPairs,
} from "/page/tables.js";

const $ = (id) => document.getElementById(id);
const state = { token: "", hello: null, working: false };
const plots = new Plots();
const handles = new WindowHandles(plots, (windows) => change({ windows }));

function number(value, unit = "", digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const large = Math.abs(value) >= 1e6 ? [1e6, " M"] : Math.abs(value) >= 1e4 ? [1e3, " k"] : [1, ""];
  return Number((value / large[0]).toPrecision(digits)).toLocaleString("en") + large[1] + unit;
}
const percent = (value) => (value === null || value === undefined ? "–" : number(100 * value, " %"));

function show(id, text, bad = false) {
  const place = $(id);
  if (place.textContent !== text) place.textContent = text;
  place.toggleAttribute("data-bad", bad);
}

function greeted(hello) {
  state.hello = hello;
  document.title = `${hello.relay_id} – bellrelay`;
  $("relay").textContent = hello.relay_id;
  plots.begin(hello);
  handles.begin(hello);
  fillSettings(hello);
  access();
}

function access() {
  const can = Boolean(state.hello?.writable && state.token);
  $("access").textContent = can ? "may change settings" : state.hello?.writable ? "locked" : "read-only";
  $("unlock").hidden = !state.hello?.writable;
  $("why").disabled = !can;
  for (const form of [$("windows"), $("detectors")])
    for (const field of form.elements) field.disabled = !can;
  handles.enable(can);
}

function fillSettings(hello) {
  const windows = hello.tunable.windows;
  for (const name of ["early", "late"])
    for (const edge of [0, 1]) {
      const field = $("windows").elements[`${name}-${edge}`];
      if (windows && document.activeElement !== field) field.value = windows[name][edge];
    }
  const form = $("detectors");
  form.replaceChildren();
  for (const [at, detector] of (hello.tunable.detectors ?? []).entries()) {
    const set = document.createElement("fieldset");
    const legend = document.createElement("legend");
    legend.textContent = hello.detectors[at];
    set.append(legend);
    for (const [key, text] of [["deskew_ps", "deskew, ps"], ["dead_time_ps", "dead time, ps"]]) {
      const label = document.createElement("label");
      const field = document.createElement("input");
      field.type = "number";
      field.step = "1";
      field.name = `${key}-${at}`;
      field.value = detector[key];
      label.append(`${text} `, field);
      set.append(label);
    }
    form.append(set);
  }
  if (form.children.length) {
    const button = document.createElement("button");
    button.type = "submit";
    button.textContent = "Apply detectors";
    form.append(button);
  }
}

async function ask(path, body) {
  if (state.working) return;
  state.working = true;
  show("said", "…");
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${state.token}` },
      body: JSON.stringify(body),
    });
    const said = await answer.json();
    if (answer.ok) show("said", path === "/undo" ? "undone" : "in force");
    else show("said", said.message, true);
    if (answer.status === 401) { state.token = ""; access(); }
    if (!answer.ok) socket?.send("hello");
  } catch (error) {
    show("said", `not reached: ${error.message}`, true);
  } finally {
    state.working = false;
  }
}
const why = () => $("why").value.trim() || "live view";
const change = (values) => ask("/change", { values, reason: why() });

function took(message, counts) {
  const running = message.state === "running";
  show("state", message.state + (running || !message.reason ? "" : `: ${message.reason}`));
  $("state").dataset.state = running ? "running" : message.state === "connecting" ? "waiting" : "bad";
  const board = message.board;
  $("simulation").hidden = !message.simulated;
  show("about", board ? `${board.name}, gateware ${board.gateware}, acquisition ${message.acquisition ?? "–"}, ${message.consumers} consumers` : "");
  const links = message.links ?? {};
  show("n-clicks", number(message.rates.clicks_per_s));
  show("n-announced", number(message.announcements_per_s));
  show("n-live", percent(message.live_fraction), message.live_fraction !== null && message.live_fraction < 0.9);
  show("n-qber-z", percent(links.error_z), links.error_z > 0.03);
  show("n-qber-x", percent(links.error_x));
  show("n-key", number(links.key_bits_per_s));
  const phase = message.tracking?.phase_ps;
  show("n-phase", number(phase, " ps"), Math.abs(phase ?? 0) > 100);
  show("n-temperature", number(message.temperature_c, " °C"), message.temperature_c > 80);
  showFates($("fates"), message.rates.fates ?? {});
  showPairs($("pairs"), state.hello.detectors, message.rates.pairs ?? []);
  showClasses($("classes"), message.rates.classes ?? {});
  showAlarms($("alarms"), message.alarms, state.hello.runbooks);
  $("monitors-part").hidden = !message.monitors;
  if (message.monitors) showMonitors($("monitors"), message.monitors);
  if (counts) {
    plots.histogram(message.histogram, counts);
    show("histogram-span", message.histogram.seconds === null ? "" : `each of ${number(message.histogram.seconds, " s")}`);
  }
  plots.moment(message, links);
}

function unpack(data) {
  const view = new DataView(data);
  const length = view.getUint32(0, true);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const start = 4 + length + ((4 - (length % 4)) % 4);
  return [message, message.histogram ? new Uint32Array(data.slice(start)) : null];
}

let socket = null;
function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") greeted(JSON.parse(data));
    else if (state.hello) took(...unpack(data));
  };
  socket.onclose = () => {
    show("state", "not connected");
    $("state").dataset.state = "bad";
    setTimeout(connect, 1000);
  };
}

async function poll() {
  try {
    showEvents($("events"), await (await fetch("/events")).json());
    plots.records(await (await fetch("/records")).json());
    showChanges($("changes"), await (await fetch("/changes")).json());
  } catch { /* the socket says that the relay is away */ }
  setTimeout(poll, 3000);
}

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value;
  $("token").value = "";
  access();
});
$("windows").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = (name) => Number($("windows").elements[name].value);
  change({ windows: { early: [field("early-0"), field("early-1")], late: [field("late-0"), field("late-1")] } });
});
$("detectors").addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = $("detectors").elements;
  change({
    detectors: state.hello.detectors.map((_, at) => ({
      deskew_ps: Number(fields[`deskew_ps-${at}`].value),
      dead_time_ps: Number(fields[`dead_time_ps-${at}`].value),
    })),
  });
});
$("undo").addEventListener("click", () => ask("/undo", { reason: why() }));
$("log-scale").addEventListener("change", (event) => plots.logarithmic(event.target.checked));
$("sum-up").addEventListener("change", (event) => plots.addUp(event.target.checked));

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(dark));
  $("theme").textContent = dark ? "Light" : "Dark";
  plots.redraw();
}
// What a browser remembers is how its own screen looks, and nothing else.
const remembered = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* then not */ } };

function big(on) {
  document.documentElement.toggleAttribute("data-big", on);
  $("big").setAttribute("aria-pressed", String(on));
  plots.bigger(on);
}
$("theme").addEventListener("click", () => {
  theme(document.documentElement.dataset.theme !== "dark");
  remember("theme", document.documentElement.dataset.theme);
});
$("big").addEventListener("click", () => {
  big(!document.documentElement.hasAttribute("data-big"));
  remember("big", document.documentElement.hasAttribute("data-big") ? "yes" : "no");
});
theme(remembered("theme") ? remembered("theme") === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
big(remembered("big") === "yes");
connect();
poll();
