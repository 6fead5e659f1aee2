"use strict";
// Small line charts of the last minutes. Each is a heading with the newest value, and a line that screen readers are told in words.

const CHART_POINTS = 120;

class Chart {
  constructor(title, format) {
    this.format = format;
    this.values = [];
    const svg = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
    this.node = document.createElement("div");
    this.node.className = "chart";
    const head = document.createElement("h3");
    this.label = document.createElement("span");
    this.label.textContent = title;
    this.now = document.createElement("b");
    head.append(this.label, this.now);
    this.svg = svg("svg");
    this.svg.setAttribute("viewBox", `0 0 ${CHART_POINTS - 1} 100`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.under = svg("path");
    this.under.setAttribute("class", "under");
    this.line = svg("path");
    this.svg.append(this.under, this.line);
    this.node.append(head, this.svg);
    this.title = title;
  }

  add(value) {
    this.values.push(value);
    if (this.values.length > CHART_POINTS) this.values.shift();
    const known = this.values.filter((one) => one !== null);
    const most = Math.max(1, ...known);
    const words = value === null ? "unknown" : this.format(value);
    this.now.textContent = words;
    this.svg.setAttribute("aria-label", `${this.title}: now ${words}, at most ${this.format(known.length ? Math.max(...known) : 0)}`);
    const first = CHART_POINTS - this.values.length;
    let path = "", under = "", from = null;
    this.values.forEach((one, at) => {
      const x = first + at;
      if (one === null) {
        if (from !== null) under += `V100H${from}Z`;
        from = null;
        return;
      }
      const y = (97 - (one / most) * 92).toFixed(1);
      path += `${from === null ? "M" : "L"}${x} ${y}`;
      under += from === null ? `M${x} 100L${x} ${y}` : `L${x} ${y}`;
      if (from === null) from = x;
    });
    if (from !== null) under += `V100H${from}Z`;
    this.line.setAttribute("d", path);
    this.under.setAttribute("d", under);
  }
}
