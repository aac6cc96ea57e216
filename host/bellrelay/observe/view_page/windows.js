// The windows' edges as handles on the histogram: dragged, or moved by arrow keys, and then applied.

const EDGES = [["early", 0], ["early", 1], ["late", 0], ["late", 1]];

export class WindowHandles {
  constructor(plots, apply) {
    this.plots = plots;
    this.apply = apply;
    this.windows = null;
    this.buttons = [];
    this.enabled = false;
    plots.onDrawn = () => this.place();
  }

  begin(hello) {
    const windows = hello.tunable.windows;
    this.bin = hello.bin_ps;
    this.period = hello.slot_period_ps;
    this.windows = windows ? { early: [...windows.early], late: [...windows.late] } : null;
    this.plots.windows = this.windows;
    if (!this.buttons.length && this.windows) this.make();
    this.plots.redraw();
    this.place();
  }

  enable(can) {
    this.enabled = can;
    for (const button of this.buttons) button.disabled = !can;
  }

  make() {
    for (const [name, edge] of EDGES) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "handle";
      button.id = `handle-${name}-${edge}`;
      button.disabled = !this.enabled;
      button.setAttribute("role", "slider");
      button.setAttribute("aria-label", `${name} window, ${edge ? "end" : "start"}, ps`);
      button.addEventListener("pointerdown", (event) => this.drag(event, button, name, edge));
      button.addEventListener("keydown", (event) => this.key(event, name, edge));
      button.addEventListener("keyup", (event) => {
        if (event.key.startsWith("Arrow")) this.settle();
      });
      document.getElementById("histogram").append(button);
      this.buttons.push(button);
    }
  }

  move(name, edge, value) {
    const pair = this.windows[name];
    const whole = Math.round(Math.min(Math.max(value, 0), this.period));
    pair[edge] = edge ? Math.max(whole, pair[0]) : Math.min(whole, pair[1]);
    const field = document.getElementById("windows").elements[`${name}-${edge}`];
    field.value = pair[edge];
    this.plots.redraw();
    this.place();
  }

  drag(event, button, name, edge) {
    if (!this.enabled) return;
    event.preventDefault();
    button.focus();
    button.setPointerCapture(event.pointerId);
    const box = document.getElementById("histogram").getBoundingClientRect();
    const moved = (at) => this.move(name, edge, this.plots.timeAt(at.clientX - box.left));
    button.onpointermove = moved;
    button.onpointerup = () => {
      button.onpointermove = button.onpointerup = null;
      this.apply(this.windows);
    };
  }

  key(event, name, edge) {
    const step = (event.shiftKey ? 10 : 1) * this.bin;
    const way = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (way === undefined || !this.enabled) return;
    event.preventDefault();
    this.move(name, edge, this.windows[name][edge] + way * step);
  }

  settle() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.apply(this.windows), 400);
  }

  place() {
    if (!this.windows) return;
    const [top, height] = this.plots.area();
    EDGES.forEach(([name, edge], at) => {
      const button = this.buttons[at];
      if (!button) return;
      const value = this.windows[name][edge];
      button.style.left = `${this.plots.placeOf(value)}px`;
      button.style.top = `${top}px`;
      button.style.height = `${height}px`;
      button.setAttribute("aria-valuenow", value);
      button.setAttribute("aria-valuemin", 0);
      button.setAttribute("aria-valuemax", this.period);
    });
  }
}
