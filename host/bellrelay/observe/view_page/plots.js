// The plots, by uPlot.

const COLOURS = ["#2f7ed8", "#e0762b", "#2a9d5c", "#c2409c", "#8c8c8c", "#b58900", "#6c71c4", "#dc322f"];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Type of the axes in px of the screen; two metres away twice as much.
const SIZE = { normal: 13, big: 26 };
let size = SIZE.normal;
const axis = (label, along = false) => ({
  label, font: `${size}px system-ui, sans-serif`, labelFont: `bold ${size}px system-ui, sans-serif`,
  size: along ? size + 22 : 3.6 * size + 16, space: along ? 6 * size : 2.4 * size, labelSize: size + 12, stroke: () => css("--ink"), grid: { stroke: () => css("--line") }, ticks: { stroke: () => css("--line") },
});

const clock = (seconds) => new Date(seconds * 1e3).toISOString().slice(11, 19);

export class Plots {
  constructor() {
    this.windows = null;
    this.onDrawn = () => {};
    this.summed = false;
    this.sum = null;
    this.log = false;
    this.made = {};
    this.history = [];
    this.shown = 0;
    new ResizeObserver(() => this.resize()).observe(document.querySelector("main"));
  }

  begin(hello) {
    this.hello = hello;
    this.history = hello.history;
    this.sum = null;
    this.makeHistogram();
    this.makeDrift();
    this.makeKey();
  }

  make(id, options, data) {
    const place = document.getElementById(id);
    this.made[id]?.destroy();
    const more = size / SIZE.normal;
    const area = { width: Math.max(place.clientWidth, 200), height: (id === "histogram" ? 320 : 200) * (0.5 + 0.5 * more) };
    this.made[id] = new uPlot({ ...area, ...options }, data, place);
    return this.made[id];
  }

  makeHistogram() {
    const bins = Math.min(1024, Math.ceil(this.hello.slot_period_ps / this.hello.bin_ps));
    this.x = Float64Array.from({ length: bins }, (_, at) => (at + 0.5) * this.hello.bin_ps);
    const empty = this.hello.channels.map(() => new Float64Array(bins));
    this.make("histogram", {
      scales: { x: { time: false }, y: { distr: this.log ? 3 : 1, range: this.log ? undefined : (u, low, high) => [0, Math.max(high, 1) * 1.05] } },
      axes: [axis("ps in the slot", true), axis("counts")],
      cursor: { drag: { x: false, y: false } },
      series: [{ label: "ps" }, ...this.hello.channels.map((name, at) => ({
        label: name, stroke: COLOURS[at % COLOURS.length], width: 2, paths: uPlot.paths.stepped({ align: 0 }),
        show: at < this.hello.detectors.length,
      }))],
      hooks: { drawClear: [(u) => this.shade(u)], draw: [() => this.onDrawn()] },
    }, [this.x, ...empty]);
  }

  shade(u) {
    if (!this.windows) return;
    u.ctx.save();
    u.ctx.fillStyle = css("--window");
    for (const [start, end] of Object.values(this.windows)) {
      if (end <= start) continue;
      const left = u.valToPos(start, "x", true);
      u.ctx.fillRect(left, u.bbox.top, u.valToPos(end, "x", true) - left, u.bbox.height);
    }
    u.ctx.restore();
  }

  histogram(shape, counts) {
    const u = this.made.histogram;
    if (!u) return;
    if (this.summed) {
      if (this.sum?.length !== counts.length) this.sum = new Float64Array(counts.length);
      for (let at = 0; at < counts.length; at++) this.sum[at] += counts[at];
      counts = this.sum;
    }
    const rows = [this.x];
    for (let channel = 0; channel < shape.channels; channel++) {
      const row = counts.subarray(channel * shape.bins, channel * shape.bins + this.x.length);
      rows.push(this.log ? Float64Array.from(row, (n) => (n > 0 ? n : NaN)) : row);
    }
    u.setData(rows);
    this.shown += 1;
    document.getElementById("histogram").dataset.shown = this.shown;
    document.getElementById("histogram").dataset.acquisition = this.acquisition ?? "";
  }

  area() {
    const u = this.made.histogram;
    return u ? [u.bbox.top / devicePixelRatio, u.bbox.height / devicePixelRatio] : [0, 0];
  }

  placeOf(ps) {
    const u = this.made.histogram;
    return u ? u.valToPos(ps, "x") + u.bbox.left / devicePixelRatio : 0;
  }

  timeAt(pixels) {
    const u = this.made.histogram;
    return u.posToVal(pixels - u.bbox.left / devicePixelRatio, "x");
  }

  logarithmic(on) {
    this.log = on;
    if (this.hello) this.makeHistogram();
  }

  addUp(on) {
    this.summed = on;
    this.sum = null;
  }

  over(id, series, axes) {
    const x = this.history.map((moment) => moment.utc_s);
    this.make(id, {
      scales: { x: { time: true } },
      axes: [{ ...axis("UTC", true), values: (u, all) => all.map(clock), incrs: [1, 2, 5, 10, 30, 60, 120, 300] }, ...axes],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
      series: [{ label: "UTC", value: (u, at) => (at === null ? "--" : clock(at)) }, ...series.map((one, at) => ({ width: 2, stroke: COLOURS[at], ...one }))],
    }, [x, ...series.map((one) => this.history.map((moment) => moment[one.key] ?? null))]);
  }

  makeDrift() {
    this.driftSeries = [{ label: "phase, ps", key: "phase_ps", scale: "y" }, { label: "rate, ppm", key: "rate_ppm", scale: "ppm" }];
    this.over("drift", this.driftSeries, [axis("ps"), { ...axis("ppm"), scale: "ppm", side: 1 }]);
  }

  makeKey() {
    this.keySeries = [
      { label: "key bits per second", key: "key_bits_per_s", scale: "y" },
      { label: "QBER Z", key: "error_z", scale: "share" },
      { label: "announced per second", key: "announcements_per_s", scale: "y" },
    ];
    this.over("key", this.keySeries, [axis("per second"), { ...axis("QBER"), scale: "share", side: 1 }]);
  }

  moment(message, links) {
    this.acquisition = message.acquisition;
    const now = message.utc_ns / 1e9;
    if (this.history.length && now - this.history.at(-1).utc_s < 1) return;
    this.history.push({
      utc_s: now, clicks_per_s: message.rates.clicks_per_s, announcements_per_s: message.announcements_per_s,
      phase_ps: message.tracking?.phase_ps, rate_ppm: message.tracking?.rate_ppm,
      error_z: links.error_z, key_bits_per_s: links.key_bits_per_s,
    });
    if (this.history.length > 600) this.history.shift();
    for (const [id, series] of [["drift", this.driftSeries], ["key", this.keySeries]])
      this.made[id]?.setData([
        this.history.map((one) => one.utc_s),
        ...series.map((each) => this.history.map((one) => one[each.key] ?? null)),
      ]);
  }

  records(records) {
    const none = { dip: "no scan yet: bellrelay calibrate hom", tdc: "not measured yet: bellrelay calibrate tdc" };
    for (const [id, text] of Object.entries(none)) {
      const record = records[id];
      document.getElementById(`${id}-said`).textContent = record ? record.said : text;
      const image = document.getElementById(id);
      image.hidden = !record?.picture;
      if (record?.picture && image.getAttribute("src") !== record.picture) image.src = record.picture;
    }
  }

  bigger(on) {
    size = on ? SIZE.big : SIZE.normal;
    if (!this.hello) return;
    this.makeHistogram();
    this.makeDrift();
    this.makeKey();
    this.onDrawn();
  }

  redraw() {
    for (const u of Object.values(this.made)) u.redraw(false, true);
  }

  resize() {
    for (const [id, u] of Object.entries(this.made)) {
      const width = document.getElementById(id).clientWidth;
      if (width > 0 && Math.abs(width - u.width) > 1) u.setSize({ width, height: u.height });
    }
    this.onDrawn();
  }
}
