// Tables and lists. Cells are made once and only their text changes: ten times a second is often.

function rate(value) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}

function fill(table, head, rows) {
  const shape = JSON.stringify([head, rows.map((row) => [row[0], row.length])]);
  if (table.dataset.shape !== shape) {
    table.dataset.shape = shape;
    table.replaceChildren();
    const top = table.createTHead().insertRow();
    for (const text of head) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = text;
      top.append(cell);
    }
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = row[0];
      line.append(name);
      for (let at = 1; at < row.length; at++) line.insertCell();
    }
  }
  const lines = table.tBodies[0].rows;
  rows.forEach((row, y) => row.slice(1).forEach((text, x) => {
    const cell = lines[y].cells[x + 1];
    if (cell.textContent !== text) cell.textContent = text;
  }));
  return lines;
}

const FATES = ["early", "late", "outside", "dead_time", "pile_up"];

export function showFates(table, fates) {
  const rows = Object.entries(fates).map(([name, of]) => [name, ...FATES.map((fate) => rate(of[fate]))]);
  fill(table, ["detector", "early", "late", "outside", "dead time", "pile-up"], rows);
}

export function showPairs(table, names, pairs) {
  const rows = pairs.map((row, y) => [names[y], ...row.map((value) => (value === null ? "" : rate(value)))]);
  const lines = fill(table, ["", ...names], rows);
  const most = Math.max(1e-9, ...pairs.flat().map((value) => value ?? 0));
  pairs.forEach((row, y) => row.forEach((value, x) => {
    const share = Math.round((100 * (value ?? 0)) / most);
    lines[y].cells[x + 1].style.background = `color-mix(in srgb, var(--mark) ${share * 0.45}%, transparent)`;
  }));
}

const CLASSES = {
  class_1: "psi-minus", class_2: "psi-plus, same detector", class_3: "psi-plus, two detectors",
  class_4: "single", class_5: "same bin", class_6: "more than two", class_7: "multi-click", class_8: "not live",
};

export function showClasses(table, classes) {
  const rows = Object.entries(CLASSES).filter(([key]) => key in classes).map(([key, name]) => [name, rate(classes[key])]);
  fill(table, ["slots per second", ""], rows);
}

export function showAlarms(list, alarms, runbooks) {
  const shape = JSON.stringify(alarms);
  if (list.dataset.shape === shape) return;
  list.dataset.shape = shape;
  list.replaceChildren(...alarms.map((alarm) => {
    const item = document.createElement("li");
    const title = document.createElement("strong");
    title.textContent = alarm.title;
    const page = document.createElement(runbooks ? "a" : "code");
    page.textContent = runbooks ? `runbook ${alarm.runbook}` : `docs/runbooks/${alarm.runbook}.md`;
    if (runbooks) Object.assign(page, { href: `${runbooks}${alarm.runbook}.md`, target: "_blank", rel: "noreferrer" });
    item.append(title, ` ${alarm.text} `, page);
    return item;
  }));
  if (!alarms.length) list.textContent = "none";
}

const UNITS = {
  power_w: ["W", 1], temperature_c: ["°C", 1], wavelength_nm: ["nm", 1], linewidth_ghz: ["GHz wide", 1],
  suppression_db: ["dB side modes", 1],
};

function quantity(name, value) {
  const [unit, scale] = UNITS[name] ?? [name, 1];
  if (value === null) return `– ${unit}`;
  if (name === "power_w" && value > 0) return `${(10 * Math.log10(value) + 30).toFixed(2)} dBm`;
  return `${Number((value * scale).toPrecision(name === "wavelength_nm" ? 8 : 4))} ${unit}`;
}

export function showMonitors(table, monitors) {
  const rows = Object.entries(monitors).map(([name, one]) => [
    name,
    Object.entries(one.quantities).map(([key, value]) => quantity(key, value)).join(", ") || `${one.readings} readings`,
    one.readings === 0 ? "" : one.age_s < 10 ? `${one.age_s.toFixed(1)} s ago` : `${Math.round(one.age_s)} s ago`,
    one.stale ? "stale" : one.beyond.length ? "beyond limits" : one.readings ? "well" : "waiting",
  ]);
  const lines = fill(table, ["monitor", "last", "", ""], rows);
  rows.forEach((row, at) => lines[at].cells[3].toggleAttribute("data-bad", ["stale", "beyond limits"].includes(row[3])));
}

export function showChanges(list, versions) {
  const shape = JSON.stringify(versions.map((one) => [one.number, one.state]));
  if (list.dataset.shape === shape) return;
  list.dataset.shape = shape;
  list.replaceChildren(...versions.filter((one) => one.number > 0).toReversed().map((one) => {
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = new Date(one.utc_ns / 1e6).toISOString().slice(0, 19).replace("T", " ");
    item.append(time, ` version ${one.number}, ${one.state}, by ${one.author}: ${one.reason}`);
    return item;
  }));
  if (!list.children.length) list.textContent = "none: what is in force is the configuration file";
}

export function showEvents(list, events) {
  const shape = JSON.stringify(events.at(-1) ?? null) + events.length;
  if (list.dataset.shape === shape) return;
  list.dataset.shape = shape;
  list.replaceChildren(...events.toReversed().map((event) => {
    const { utc_ns, acquisition, kind, ...rest } = event;
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = new Date(utc_ns / 1e6).toISOString().slice(0, 19).replace("T", " ");
    const details = Object.entries(rest).filter(([, value]) => value !== null && typeof value !== "object");
    item.append(time, ` ${kind}, acquisition ${acquisition}: `, details.map(([key, value]) => `${key} ${value}`).join(", "));
    return item;
  }));
}
