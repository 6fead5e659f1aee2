"use strict";
// The move that the chosen database takes part in: its steps, and the one that is taken now.

const STATES = { running: "goes on", done: "is done", failed: "has failed" };

function drawMove(move) {
  show($("move"), Boolean(move));
  if (!move) return;
  $("move").dataset.state = move.state;
  set($("move-title"), `${move.command} ${STATES[move.state]}`);
  const others = move.databases.length > 1 ? ` It is for ${move.databases.join(", ")}.` : "";
  const now = move.state === "running" ? `${sentence(move.aim)}, for ${span(Date.now() + app.skew - Date.parse(move.step_since))}.` : move.why ? sentence(move.why) : `${time(move.ended)}, ${ago(move.ended)}.`;
  set($("move-now"), now);
  set($("move-who"), `By ${move.user}${move.address ? ` from ${move.address}` : ""}, ${time(move.began)}.${others}`);
  // What was fine beforehand is nobody's concern any more.
  const told = move.steps.filter((one) => one.step !== "check" || one.status !== "ok");
  rows($("move-steps"), told, (one) => [
    [one.step === one.name ? one.step : `${one.step}: ${one.name}`, "Step", one.status],
    [one.step === "check" ? "–" : span(one.took_ms), "Took", "number"],
    [[one.detail, one.status === "ok" ? "" : one.remedy].filter(Boolean).join(". "), "What"],
  ]);
}
