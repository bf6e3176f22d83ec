// The page shows what the address after # selects, of the run that the server reports.

import { card, element, key } from "/cards.js";
import * as lineage from "/lineage.js";

const EVERY_MS = 2000;
const LIVE_S = 120;
const FATES = { "": "all", yes: "learned from", no: "turned away" };
const at = (id) => document.getElementById(id);

let run = null; // the last answer of /api/run
let listed = { groups: [], revision: -1, address: "" };
let curves = "";
let failures = 0;

async function ask(address) {
  const answer = await fetch(address, { signal: AbortSignal.timeout(30000) });
  const said = await answer.text();
  if (answer.ok) return JSON.parse(said);
  let sentence = said;
  try {
    sentence = JSON.parse(said).error;
  } catch {
    // the answer was plain text, not JSON
  }
  throw new Error(sentence);
}

// Addresses: #round=3&category=counting&accepted=yes&page=2, with group=3/17 if open; #curves.
const wanted = () => new URLSearchParams(location.hash.slice(1));

function address(changes) {
  const next = wanted();
  next.delete("group");
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null) next.delete(name);
    else next.set(name, value);
  }
  return `#${next.toString().replaceAll("%2F", "/")}`;
}

const go = (changes) => (location.hash = address(changes));

function filters() {
  const choice = (name, value, label, note) => {
    const pressed = (wanted().get(name) ?? "") === String(value);
    return element(
      "button",
      { "aria-pressed": String(pressed), "data-choice": `${name}=${value}`, onclick: () => go({ [name]: pressed ? "" : value, page: "" }) },
      label,
      note === undefined ? null : element("small", {}, note),
    );
  };
  const rows = {
    fate: Object.entries(FATES).map(([value, label]) => choice("accepted", value, label)),
    round: [choice("round", "", "all"), ...run.rounds.map((r) => choice("round", r.round, String(r.round), share(r)))],
    category: [choice("category", "", "all"), ...run.categories.map(([name, count]) => choice("category", name, name, String(count)))],
  };
  for (const [name, buttons] of Object.entries(rows)) {
    const place = at(`by-${name}`).lastElementChild;
    const focused = place.contains(document.activeElement) ? document.activeElement.dataset.choice : null;
    place.replaceChildren(...buttons);
    if (focused) buttons.find((button) => button.dataset.choice === focused)?.focus();
  }
}

const share = (part) => `${part.groups ? Math.round((100 * part.accepted) / part.groups) : 0} %`;

function header() {
  document.title = `${run.name} - unicorn-ray`;
  at("name").textContent = run.name;
  const done = run.rounds.filter((round) => round.closed).length;
  const facts = [
    ["rounds", `${done} of ${run.planned}`],
    ["prompts", run.groups.toLocaleString("en")],
    ["drawings a prompt", run.rollouts],
    ["learned from", share(run)],
    ["accepted from", `${run.accept_at} of 10`],
  ];
  at("facts").replaceChildren(...facts.map(([name, value]) => element("li", {}, `${name} `, element("b", {}, String(value)))));
  at("problems").replaceChildren(...run.problems.map((problem) => element("li", {}, problem)));
  at("problems").hidden = run.problems.length === 0;
  pulse(done);
}

function pulse(done) {
  const line = at("pulse");
  const complete = done >= run.planned;
  const live = !complete && run.age !== null && run.age < LIVE_S;
  line.className = `pulse${failures ? " lost" : live ? " live" : ""}`;
  const words = failures ? "no answer; trying again" : complete ? "complete" : run.age === null ? "nothing drawn yet" : `last prompts ${ago(run.age)} ago`;
  line.lastElementChild.textContent = words;
}

function ago(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

const pageNumber = () => Math.max(1, Number.parseInt(wanted().get("page") ?? "1", 10) || 1);

function listing() {
  const query = new URLSearchParams({ page: pageNumber() });
  for (const name of ["round", "category", "accepted"]) if (wanted().get(name)) query.set(name, wanted().get(name));
  return `/api/groups?${query}`;
}

// The first page shows new groups by itself unless the reader has scrolled down.
async function drawings(force) {
  const next = listing();
  const same = next === listed.address;
  if (same && listed.revision === run.revision && !force) return;
  const follows = pageNumber() === 1 && scrollY < 400;
  if (same && !follows && !force) {
    fresh(run.groups - listed.of);
    return;
  }
  const found = await ask(next);
  if (next !== listing()) return; // the reader has chosen something else meanwhile
  const before = same ? new Set(listed.groups.map(key)) : null;
  listed = { groups: found.groups, revision: found.revision, address: next, of: run.groups };
  fresh(0);
  cards(found, before);
  pager(found, pageNumber());
}

function cards(found, before) {
  const there = new Map([...at("cards").children].map((each) => [each.dataset.key, each]));
  const kept = (group) => (before?.has(key(group)) ? there.get(key(group)) : null);
  const made = found.groups.map((group) => kept(group) ?? card(group, before !== null));
  const nothing = run.groups ? "No prompt is like that." : "Nothing has been drawn yet; it will appear here by itself.";
  at("cards").replaceChildren(...(made.length ? made : [element("p", { class: "empty" }, nothing)]));
}

function pager(found, page) {
  const first = (page - 1) * found.size + 1;
  const span = found.groups.length ? `${first.toLocaleString("en")}–${(first + found.groups.length - 1).toLocaleString("en")} of ` : "";
  at("count").textContent = `${span}${found.total.toLocaleString("en")} prompts, the newest first`;
  const to = (label, target) =>
    element("button", { disabled: target < 1 || target > found.pages, onclick: () => (go({ page: target === 1 ? "" : target }), scrollTo(0, 0)) }, label);
  at("pager").replaceChildren(to("newest", page === 1 ? 0 : 1), to("← newer", page - 1), element("span", {}, `page ${page} of ${found.pages}`), to("older →", page + 1));
  at("pager").hidden = found.pages === 1 && page === 1;
}

function fresh(count) {
  at("fresh").hidden = count <= 0;
  at("fresh").textContent = `${count.toLocaleString("en")} new ↑`;
}

async function plots() {
  if (curves === run.curves) return;
  const found = await ask("/api/curves");
  curves = run.curves;
  const parser = new DOMParser();
  const figure = (plot) =>
    element(
      "figure",
      { class: "card" },
      element("h3", {}, plot.title),
      element("p", { class: "how" }, plot.how),
      // The server drew the chart and escaped its texts.
      document.importNode(parser.parseFromString(plot.chart, "text/html").body.firstChild, true),
      plot.names.length < 2 ? null : element("p", { class: "legend" }, ...plot.names.map((name, i) => element("span", {}, element("i", { class: `s${i}` }), name))),
    );
  at("plots").replaceChildren(...found.map(figure));
}

async function show(force) {
  const onCurves = wanted().has("curves");
  at("curves").hidden = !onCurves;
  at("drawings").hidden = onCurves;
  for (const [tab, on] of [["tab-drawings", !onCurves], ["tab-curves", onCurves]]) {
    if (on) at(tab).setAttribute("aria-current", "page");
    else at(tab).removeAttribute("aria-current");
  }
  filters();
  await (onCurves ? plots() : drawings(force));
  const group = wanted().get("group");
  const opened = (where) => go({ group: where });
  if (!group) lineage.close();
  else if (group !== listed.open) await lineage.open(group, ask, listed.groups, opened);
  listed.open = group;
}

async function look() {
  try {
    const before = run?.revision;
    run = await ask("/api/run");
    failures = 0;
    header();
    if (before !== run.revision || wanted().has("curves")) await show(false);
  } catch (error) {
    failures += 1;
    if (run) pulse(0);
    else at("name").textContent = error.message;
  }
  setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

at("fresh").addEventListener("click", () => {
  scrollTo(0, 0);
  if (wanted().get("page")) go({ page: "" });
  else drawings(true);
});
addEventListener("hashchange", () => run && show(false).catch((error) => (at("count").textContent = error.message)));
lineage.whenClosed(() => wanted().get("group") && go({ group: "" }));
look();
