"use strict";
// The status page. Text of clients goes into text nodes alone. What has not changed is not touched, so that focus, selection and
// a screen reader's place stay.

const $ = (id) => document.getElementById(id);
const MODES = { read_write: "Open", draining: "Draining", read_only: "Closed to writes", offline: "Offline" };
// What a database closes for by itself. No command opens it then.
const BY_ITSELF = new Set(["primary_lost", "no_primary", "own_setting", "writes_fail"]);
const byItself = (one) => one.mode !== "read_write" && BY_ITSELF.has(one.cause);
const modeOf = (one) => (byItself(one) ? { read_only: "Degraded", offline: "Down" }[one.mode] : null) || MODES[one.mode];

const app = {
  token: sessionStorage.getItem("token"),
  role: null,
  database: null,
  search: "",
  stream: null,
  status: null,
  before: null,
  charts: new Map(),
  skew: 0,
  events: [],
  eventId: 0,
  drained: null,
};

// ---- small things

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show(node, is) {
  if (node.hidden === is) node.hidden = !is;
}

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((one) => one !== null && one !== undefined));
  return node;
}

// Replaces the children if what they show has changed.
function fill(node, key, make) {
  const text = JSON.stringify(key);
  if (node.shown === text) return;
  node.shown = text;
  node.replaceChildren(...make());
}

const count = (n) => Number(n).toLocaleString("en");

function rate(n) {
  if (n === null) return "–";
  return n >= 10 || n === 0 ? `${Math.round(n).toLocaleString("en")}/s` : `${n.toFixed(1)}/s`;
}

function span(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

function bytes(n) {
  if (n < 1024) return `${n} B`;
  return n < 1048576 ? `${(n / 1024).toFixed(0)} kB` : `${(n / 1048576).toFixed(1)} MB`;
}

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const shortClock = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const time = (text) => clock.format(new Date(text));
const now = () => Date.now() + app.skew;
const ago = (text) => `${span(Math.max(0, now() - Date.parse(text)))} ago`;

function ahead(text, late) {
  const left = Date.parse(text) - now();
  return left >= 0 ? `in ${span(left)}` : `${late} by ${span(-left)}`;
}

// ---- the API

async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (app.token) headers.Authorization = `Bearer ${app.token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    throw { detail: "pgsluice does not answer." };
  }
  const value = await answer.json().catch(() => null);
  if (answer.status === 401) signedOut(app.token ? "The token is not valid any more." : "");
  if (!answer.ok) throw value || { detail: `pgsluice answers ${answer.status}.` };
  return value;
}

function words(problem) {
  const parts = [problem.detail || String(problem), problem.explanation, problem.hint];
  return parts.filter(Boolean).join(" ");
}

// Reads an event stream; the browser's own reader of them cannot send a token.
async function read(path, signal, heard) {
  const headers = { Accept: "text/event-stream" };
  if (app.token) headers.Authorization = `Bearer ${app.token}`;
  const answer = await fetch(path, { headers, signal, cache: "no-store" });
  if (answer.status === 401) {
    signedOut("The token is not valid any more.");
    return;
  }
  if (!answer.ok) throw new Error(String(answer.status));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const event = { name: "message", data: "" };
      for (const line of rest.slice(0, end).split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("event:")) event.name = line.slice(6);
        else if (line.startsWith("data: ")) event.data += line.slice(6);
        else if (line.startsWith("data:")) event.data += line.slice(5);
      }
      rest = rest.slice(end + 2);
      if (event.data) heard(event.name, JSON.parse(event.data));
    }
  }
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Follows the status until another one is wanted; a server that has gone is asked again.
async function follow() {
  app.stream?.abort();
  const stream = new AbortController();
  app.stream = stream;
  let wait = 500;
  while (!stream.signal.aborted) {
    const query = new URLSearchParams();
    if (app.database) query.set("database", app.database);
    if (app.search) query.set("search", app.search);
    try {
      await read(`/v1/status?${query}`, stream.signal, (name, data) => {
        if (name !== "status" || stream.signal.aborted) return;
        wait = 500;
        is("live");
        draw(data);
      });
    } catch {
      // Told below, and tried again.
    }
    if (stream.signal.aborted || !$("sign-in").hidden) return;
    is("lost");
    await pause(wait);
    wait = Math.min(wait * 2, 4000);
  }
}

function is(state) {
  $("live").dataset.is = state;
  set($("live"), state === "live" ? "Live" : "Connection lost, trying again");
  $("app").dataset.stale = state === "live" ? "no" : "yes";
}

// ---- signing in

function signedOut(why) {
  app.stream?.abort();
  app.token = null;
  sessionStorage.removeItem("token");
  if ($("flip").open) $("flip").close();
  show($("app"), false);
  show($("sign-out"), false);
  show($("sign-in"), true);
  set($("who"), "");
  set($("live"), "");
  set($("sign-in-error"), why);
  $("token").value = "";
  $("token").focus();
}

async function signIn(token) {
  const before = app.token;
  app.token = token;
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch("/v1/session", { headers, cache: "no-store" });
  } catch {
    app.token = before;
    return "pgsluice does not answer.";
  }
  if (!answer.ok) {
    app.token = null;
    const problem = await answer.json().catch(() => ({}));
    return answer.status === 401 && !token ? "" : words({ detail: "This token is not known.", hint: answer.status === 429 ? problem.detail : "" });
  }
  const session = await answer.json();
  if (token) sessionStorage.setItem("token", token);
  app.role = session.role;
  set($("version"), session.version);
  set($("who"), `${session.user} · ${session.role === "operate" ? "may operate" : "may look"}`);
  show($("sign-out"), Boolean(token));
  show($("sign-in"), false);
  show($("app"), true);
  const chosen = decodeURIComponent(location.hash.slice(1));
  app.database = chosen || null;
  follow();
  return null;
}

// ---- drawing

function draw(status) {
  app.skew = Date.parse(status.now) - Date.now();
  if (!app.database && status.databases.length) {
    choose(status.databases[0].database);
    return;
  }
  const seconds = app.status ? (Date.parse(status.now) - Date.parse(app.status.now)) / 1000 : 0;
  const same = app.status?.selected?.database === status.selected?.database && seconds > 0 && seconds < 30;
  app.before = same ? { status: app.status, seconds } : null;
  app.status = status;
  drawSide(status);
  show($("nothing"), !status.selected);
  show($("detail"), Boolean(status.selected));
  set($("nothing"), app.database ? `There is no database ${app.database}.` : "There is no database yet.");
  if (status.selected) {
    drawHero(status.selected);
    drawDrain(status.selected);
    drawMove(status.selected.moving);
    drawTiles(status.selected);
    drawCharts(status.selected);
    drawKept(status.selected);
    drawWriters(status.selected, status.operations);
  }
  drawMembers(status.selected ? status.selected.members : []);
  drawWaiting(status.waiting);
  drawLog(status);
}

function drawSide(status) {
  const modes = status.modes;
  const parts = [[modes.draining, "draining"], [modes.read_only, "closed"], [modes.offline, "offline"], [modes.read_write, "open"]];
  set($("modes"), parts.filter(([n]) => n).map(([n, word]) => `${count(n)} ${word}`).join(" · ") || "No database");
  const key = status.databases.map((one) => [one.database, one.mode, one.cause, one.database === app.database]);
  fill($("databases"), key, () => status.databases.map((one) => {
    const mode = byItself(one) ? modeOf(one).toLowerCase() : { read_write: "open", read_only: "closed" }[one.mode] || one.mode;
    const button = el("button", { type: "button", "data-mode": one.mode, "aria-current": one.database === app.database ? "true" : null },
      el("span", {}, one.database), el("small", {}, mode));
    button.addEventListener("click", () => choose(one.database));
    return el("li", {}, button);
  }));
  const more = status.total - status.databases.length;
  set($("more"), more > 0 ? `and ${count(more)} more: search` : "");
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function meaning(one) {
  if (byItself(one)) return `${sentence(one.reason || "")}. It opens by itself when its servers take writes again.`;
  const waits = one.in_flight === 1 ? "1 transaction" : `${count(one.in_flight)} transactions`;
  switch (one.mode) {
    case "read_write": return "Reads and writes pass.";
    case "draining": return one.in_flight ? `New writes are kept out; ${waits} may still end.` : "New writes are kept out.";
    case "read_only": return one.writes === "hold" ? "Reads go on; writes wait for the gate to open." : "Reads go on; writes are refused.";
    default: return "Only operators get in.";
  }
}

function copied(text) {
  const button = el("button", { type: "button", "aria-label": `Copy ${text}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      set(button, "Copied");
    } catch {
      getSelection().selectAllChildren(button.previousSibling);
      set(button, "Selected");
    }
    setTimeout(() => set(button, "Copy"), 1500);
  });
  return button;
}

function fact(name, value, small, copy) {
  const words = el("span", {}, value);
  return el("div", {}, el("dt", {}, name), el("dd", {}, words, copy ? copied(copy) : null, small ? el("small", {}, small) : null));
}

function drawHero(one) {
  document.body.dataset.mode = one.mode;
  document.title = `${modeOf(one)} · ${one.database} · pgsluice`;
  set($("name"), one.database);
  set($("mode"), modeOf(one));
  set($("meaning"), meaning(one));
  show($("message"), Boolean(one.message));
  set($("message"), one.message || "");
  const parts = [];
  if (one.since) parts.push(["Since", time(one.since), ago(one.since)]);
  if (one.by) parts.push(["By", one.by.user, one.by.address]);
  if (one.until) parts.push(["Writes expected back", ahead(one.until, "overdue"), time(one.until)]);
  if (one.expire_at) parts.push(["Opens by itself", ahead(one.expire_at, "due"), time(one.expire_at)]);
  if (one.quiesced_at) parts.push(["Nothing changes since", time(one.quiesced_at), one.quiesced_at, one.quiesced_at]);
  if (one.quiesced_lsn) parts.push(["WAL position", one.quiesced_lsn, "of the primary, after that", one.quiesced_lsn]);
  if (one.reads && one.mode !== "offline" && !byItself(one)) parts.push(["Reads go to", { any: "any server", replica: "replicas", primary: "the primary" }[one.reads]]);
  parts.push(["Epoch", String(one.epoch)]);
  fill($("facts"), parts, () => parts.map((part) => fact(...part)));
  const operates = app.role === "operate";
  // A person may close what has closed by itself: it stays closed then when the servers are back.
  const open = one.mode === "read_write" || byItself(one);
  show($("actions"), operates && one.mode !== "draining");
  show($("read-only-role"), !operates);
  show($("close"), open);
  show($("open"), !open && one.mode !== "draining");
  show($("check"), open);
  set($("open"), one.mode === "offline" ? "Bring it online…" : "Open the gate…");
}

function drawDrain(one) {
  const under = one.mode === "draining" ? one.under_way : null;
  show($("drain"), Boolean(under));
  if (!under) return;
  const n = Math.max(under.in_flight, under.waits_for.length);
  const step = {
    cancelling: `Ending ${n === 1 ? "1 transaction that is" : `${count(n)} transactions that are`} still open`,
    settling: "Asking the primary for its position",
    disconnecting: "Sending the last sessions away",
  };
  set($("drain-title"), step[under.step] || (n === 1 ? "Waiting for 1 transaction" : `Waiting for ${count(n)} transactions`));
  const share = under.waited_ms !== null && under.drain_timeout_ms ? Math.min(1, under.waited_ms / under.drain_timeout_ms) : null;
  $("bar").classList.toggle("unsure", share === null);
  if (share !== null) {
    $("bar-fill").style.width = `${(share * 100).toFixed(1)}%`;
    $("bar").setAttribute("aria-valuenow", Math.round(share * 100));
    $("bar").setAttribute("aria-valuetext", `${span(under.waited_ms)} of ${span(under.drain_timeout_ms)}`);
  }
  set($("drain-time"), share === null ? "" : `${span(under.waited_ms)} of ${span(under.drain_timeout_ms)}`);
  const then = one.on_timeout === "revert" ? "Then the gate opens again." : "Then what is still open is rolled back.";
  set($("drain-end"), under.step === "draining" || !under.step ? then : "");
  show($("cancel"), app.role === "operate");
  set($("cancel"), under.command === "OFFLINE" ? "Cancel, stay online" : "Cancel, open again");
  rows($("waits"), under.waits_for, (one) => [
    [span(one.age_ms), "Age"],
    [one.user, "User"],
    [one.application_name || "–", "Application"],
    [one.client_address, "Client"],
    [one.unreachable ? "its server cannot be reached" : one.statement ? el("code", {}, one.statement) : "idle in transaction", "Statement"],
  ]);
}

// A row for each thing, each cell as [what, its column, a class].
function rows(table, things, cells) {
  show(table, things.length > 0);
  const body = table.tBodies[0];
  const made = things.map(cells);
  const key = made.map((row) => row.map(([what]) => (typeof what === "string" ? what : what.textContent)));
  fill(body, key, () => made.map((row) => el("tr", {}, ...row.map(([what, label, kind]) => el("td", { "data-label": label, class: kind }, what)))));
}

function perSecond(get) {
  if (!app.before) return null;
  const [then, here] = [get(app.before.status.selected), get(app.status.selected)];
  return here >= then ? (here - then) / app.before.seconds : null;
}

function drawTiles(one) {
  const kept = one.kept_out;
  const current = kept && one.mode !== "read_write" && kept.epoch === one.epoch;
  const figure = (name) => (current ? kept[name] : 0);
  const speed = (name) => (current && app.before?.status.selected.kept_out?.epoch === kept.epoch ? perSecond((of) => of.kept_out[name]) : null);
  set($("refused"), count(figure("refused")));
  set($("refused-rate"), rate(speed("refused") ?? 0));
  set($("held"), count(one.held));
  set($("held-rate"), `${count(figure("held"))} since it closed`);
  set($("discarded"), count(figure("discarded")));
  set($("discarded-rate"), rate(speed("discarded") ?? 0));
  set($("allowed"), count(figure("allowed")));
  set($("allowed-rate"), rate(speed("allowed") ?? 0));
  const errors = current ? kept.errors.reduce((sum, one) => sum + one.count, 0) : 0;
  set($("errors"), count(errors));
  set($("errors-which"), errors ? kept.errors.map((one) => `${one.sqlstate}: ${count(one.count)}`).join(", ") : "other than 25006");
  set($("dropped"), count(figure("dropped")));
  $("errors").parentElement.classList.toggle("bad", errors > 0);
  $("dropped").parentElement.classList.toggle("bad", figure("dropped") > 0);
}

function drawCharts(one) {
  if (app.chartsOf !== one.database) {
    app.chartsOf = one.database;
    app.charts.clear();
  }
  const add = (name, title, format, value) => {
    if (!app.charts.has(name)) {
      app.charts.set(name, new Chart(title, format));
      $("charts").replaceChildren(...[...app.charts.values()].map((chart) => chart.node));
    }
    app.charts.get(name).add(value);
  };
  const all = perSecond((of) => of.traffic.transactions);
  const replica = perSecond((of) => of.traffic.replica_transactions);
  add("primary", "Transactions on the primary", rate, all === null ? null : Math.max(0, all - replica));
  add("replicas", "Transactions on replicas", rate, replica);
  const named = new Set(["primary", "replicas"]);
  one.servers.forEach((server, at) => {
    if (server.role === "primary" && one.servers.length > 0) return;
    const name = `lag ${server.address}`;
    named.add(name);
    const words = (ms) => (server.lag_ms === null ? server.role : `${span(ms)}${server.lag_bytes ? `, ${bytes(server.lag_bytes)}` : ""}`);
    add(name, `Lag of ${server.address} (${server.role})`, words, server.lag_ms);
    const chart = app.charts.get(name);
    chart.format = words;
    chart.title = `Lag of ${server.address} (${server.role})`;
    set(chart.label, server.error ? `${chart.title}: ${server.error}` : chart.title);
  });
  for (const name of [...app.charts.keys()]) {
    if (!named.has(name)) {
      app.charts.get(name).node.remove();
      app.charts.delete(name);
    }
  }
}

function drawKept(one) {
  const kept = one.kept_out;
  const all = kept ? kept.rows : [];
  show($("kept-none"), all.length === 0);
  set($("kept-title"), one.mode === "read_write" && all.length ? "Kept out when it was last closed" : "Kept out since the gate closed");
  const before = new Map();
  const name = (row) => JSON.stringify([row.fate, row.user, row.application_name, row.statement]);
  for (const row of app.before?.status.selected.kept_out?.rows || []) before.set(name(row), row.count);
  rows($("kept"), all, (row) => [
    [el("span", { class: "tag" }, row.fate === "allowed" ? "let through" : row.fate), "What"],
    [row.user || "(others)", "User"],
    [row.application_name || "–", "Application"],
    [row.statement === null ? "(others)" : el("code", {}, row.statement), "Statement"],
    [count(row.count), "Count", "number"],
    [rate(app.before ? Math.max(0, row.count - (before.get(name(row)) || 0)) / app.before.seconds : 0), "Per second", "number"],
    [shortClock.format(new Date(row.last)), "Last", "number"],
  ]);
}

function drawWriters(one, operations) {
  rows($("operators"), one.operators, (who) => [
    [who.user, "Operator"], [who.application_name || "–", "Application"], [who.client_address, "Client"],
    [who.in_transaction ? "in a transaction" : "idle", "Now"],
  ]);
  show($("writers-none"), one.operators.length === 0);
  const last = operations.find((op) => op.state === "done" && op.result?.some((row) => row.database === one.database && row.foreign_writers !== undefined));
  const foreign = one.mode === "read_write" || byItself(one) ? "" : last?.result.find((row) => row.database === one.database)?.foreign_writers || "";
  show($("foreign"), Boolean(foreign));
  set($("foreign"), foreign ? `Past this proxy: ${foreign}` : "");
}

function drawMembers(members) {
  show($("fleet"), members.length > 0);
  rows($("members"), members, (one) => [
    [one.leads ? `${one.member} (leads)` : one.member, "Member"], [one.state, "State"], [one.version, "Version"],
    [count(one.clients), "Clients", "number"], [one.passed === null ? "–" : one.passed ? "done" : one.waits_for || "not yet", "Last command"],
  ]);
}

function drawWaiting(waiting) {
  show($("waiting-none"), waiting.length === 0);
  rows($("waiting"), waiting, (pool) => [
    [pool.database, "Database"], [pool.user, "User"], [count(pool.waiting), "Waiting", "number"], [count(pool.held), "Held", "number"],
    [span(pool.longest_ms), "Longest", "number"],
  ]);
}

function drawLog(status) {
  const events = status.events || [];
  const of = events.filter((one) => !one.databases?.length || one.databases.includes(app.database));
  const shown = of.slice(-60).reverse();
  show($("log-none"), shown.length === 0);
  fill($("log"), shown.map((one) => one.id), () => shown.map((one) => el("li", { "data-severity": one.severity },
    el("time", { datetime: one.at }, shortClock.format(new Date(one.at))), el("span", {}, one.message, el("small", {}, details(one))))));
}

// The named values of an event, in words.
function details(one) {
  const parts = [one.upstream, ...Object.entries(one.fields || {}).map(([name, value]) => `${name} ${value}`)];
  return parts.filter(Boolean).join(", ");
}

function choose(database) {
  app.database = database;
  app.status = null;
  location.hash = encodeURIComponent(database);
  follow();
}

// ---- commands

const path = (what) => `/v1/databases/${encodeURIComponent(app.database)}/${what}`;

function flipDialog(kind) {
  const one = app.status.selected;
  const name = one.database;
  app.flip = { kind, name, offline: one.mode === "offline" };
  const closes = kind === "close";
  const checks = kind !== "open";
  set($("flip-title"), closes ? `Close ${name} to writes` : kind === "check" ? `Check ${name}` : app.flip.offline ? `Bring ${name} online` : `Open ${name}`);
  set($("flip-text"), closes ? "Open transactions may end first. Reads go on." : kind === "check" ? "What would be in the way of a maintenance now. Nothing is changed." : "Writes pass again at once.");
  show($("findings"), checks);
  show($("options"), closes);
  show($("confirm").parentElement, kind !== "check");
  show($("flip-do"), kind !== "check");
  set($("flip-do"), closes ? "Close to writes" : app.flip.offline ? "Bring it online" : "Open the gate");
  set($("flip-leave"), kind === "check" ? "Done" : "Leave as it is");
  set($("confirm-name"), name);
  set($("flip-error"), "");
  $("flip-form").reset();
  app.flip.checked = !closes;
  confirmable();
  $("flip").showModal();
  if (checks) check();
  (kind === "open" ? $("confirm") : $("flip-leave")).focus();
}

async function check() {
  const flip = app.flip;
  set($("findings-wait"), "Checking…");
  $("findings-list").replaceChildren();
  try {
    const operation = await call("POST", path("check?wait=60s"), {});
    if (app.flip !== flip) return;
    const found = (operation.result || []).sort((a, b) => rank(a.status) - rank(b.status));
    const bad = found.filter((one) => one.status !== "ok").length;
    set($("findings-wait"), bad ? `${count(bad)} of ${count(found.length)} need a look` : `All ${count(found.length)} checks are fine`);
    $("findings-list").replaceChildren(...found.map((one) => el("li", { "data-status": one.status },
      el("span", {}, one.status), el("b", {}, one.check), el("p", {}, [one.detail, one.status === "ok" ? "" : one.remedy].filter(Boolean).join(" ")))));
  } catch (problem) {
    if (app.flip !== flip) return;
    set($("findings-wait"), `The check has failed: ${words(problem)}`);
  }
  flip.checked = true;
  confirmable();
}

const rank = (status) => ({ fail: 0, warn: 1 })[status] ?? 2;

function confirmable() {
  $("flip-do").disabled = !(app.flip && app.flip.checked && $("confirm").value === app.flip.name);
}

async function flip() {
  const { kind, offline } = app.flip;
  const body = {};
  if (kind === "close") {
    const add = (name, id) => { const value = $(id).value.trim(); if (value) body[name] = value; };
    add("message", "o-message");
    add("drain_timeout", "o-drain");
    add("on_timeout", "o-timeout");
    add("writes", "o-writes");
    add("reads", "o-reads");
    add("expire", "o-expire");
    if ($("o-until").value) body.until = new Date($("o-until").value).toISOString();
  }
  $("flip-do").disabled = true;
  set($("flip-error"), "");
  try {
    if (kind === "close") await call("PUT", path("maintenance"), body);
    else await call("DELETE", path(offline ? "offline" : "maintenance"));
    set($("said"), kind === "close" ? "The gate closes." : "The gate is open.");
    $("flip").close();
    $("main").focus({ preventScroll: true });
    scrollTo(0, 0);
  } catch (problem) {
    set($("flip-error"), words(problem));
    confirmable();
  }
}

async function cancelDrain() {
  const under = app.status.selected.under_way;
  $("cancel").disabled = true;
  try {
    await call("DELETE", path(under?.command === "OFFLINE" ? "offline" : "maintenance"));
    set($("said"), "The drain was cancelled.");
  } catch (problem) {
    set($("drain-end"), words(problem));
  } finally {
    $("cancel").disabled = false;
  }
}

// ---- begin

function theme(next) {
  if (next) localStorage.setItem("theme", next);
  const chosen = localStorage.getItem("theme") || "system";
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  set($("theme"), `Theme: ${chosen}`);
  return chosen;
}

$("theme").addEventListener("click", () => theme({ system: "light", light: "dark", dark: "system" }[theme()]));
$("sign-out").addEventListener("click", () => signedOut(""));
$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = $("token").value;
  $("token").value = "";
  const why = await signIn(token);
  if (why !== null) set($("sign-in-error"), why);
});
$("search").addEventListener("input", () => {
  clearTimeout(app.typing);
  app.typing = setTimeout(() => { app.search = $("search").value; follow(); }, 250);
});
$("close").addEventListener("click", () => flipDialog("close"));
$("open").addEventListener("click", () => flipDialog("open"));
$("check").addEventListener("click", () => flipDialog("check"));
$("cancel").addEventListener("click", cancelDrain);
$("confirm").addEventListener("input", confirmable);
$("flip-form").addEventListener("submit", (event) => { event.preventDefault(); if (!$("flip-do").disabled) flip(); });
$("flip-leave").addEventListener("click", () => $("flip").close());
$("flip").addEventListener("close", () => { app.flip = null; });
addEventListener("hashchange", () => {
  const chosen = decodeURIComponent(location.hash.slice(1));
  if (chosen && chosen !== app.database) choose(chosen);
});
theme();
signIn(app.token).then((why) => { if (why !== null) signedOut(why); });
