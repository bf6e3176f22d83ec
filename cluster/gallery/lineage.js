// Shows one group in a dialog, from its prompt to what was learned from it.

import { badge, element, key, modelText, picture, score } from "/cards.js";

const dialog = document.getElementById("lineage");

function step(title, ...lines) {
  return element("li", {}, element("b", {}, title), ...lines.map((line) => element("div", {}, line)));
}

function steps(group) {
  const lessons = group.lessons.length;
  return element(
    "ol",
    { class: "steps" },
    step("The Proposer wrote it", `round ${group.round}, prompt ${group.index}`, `seed ${group.prompt_seed}`),
    step(`The Solver drew it ${group.drawings.length} times`, `with weights v${group.weight_version}`),
    step("The Judge marked the drawings", `with weights v${group.judge_version}`, `accepts from ${score(group.accept_at)} on`),
    lessons
      ? step(`${lessons} examples`, group.complete ? `of what made weights v${group.round}` : "until the round's end all may be learned from")
      : step("Nothing was learned", modelText("span", "", group.reason)),
  );
}

function drawing(made) {
  return element(
    "div",
    { class: `drawing ${made.mark}` },
    badge(made.mark),
    element("a", { href: `/picture/${made.picture}`, target: "_blank", rel: "noopener" },
      picture(`/picture/${made.picture}`, `drawing ${made.number}`)),
    element(
      "div",
      { class: "marks" },
      element("span", { class: "score" }, score(made.score)),
      made.oracle === null ? null : element("span", {}, `oracle ${score(made.oracle)} `, element("span", { class: made.right ? "yes" : "no" }, made.right ? "✓" : "·")),
    ),
    modelText("q", "", made.analysis || "nothing that could be read"),
    element("p", { class: "trace" }, `${made.number}: ${made.origin}`),
  );
}

function piece(part) {
  if (part.picture) return element("img", { class: "pic", src: part.picture, alt: "drawing" });
  return element("code", { dir: "auto" }, part.text);
}

function lesson(taught) {
  return element(
    "div",
    { class: `lesson${taught.times === 0 ? " idle" : ""}` },
    element("h4", {}, `${taught.pattern} `, element("span", {}, taught.used)),
    element("div", { class: "flow" }, ...taught.context.map(piece)),
    element("div", { class: "flow" }, element("span", { class: "arrow" }, "→"), ...taught.target.map(piece)),
  );
}

function lineage(group) {
  const parts = [
    modelText("p", "kind", `${group.category} · ${group.subcategory}`),
    element("p", { class: "asked", id: "lineage-prompt", dir: "auto" }, group.prompt),
    steps(group),
  ];
  if (group.drawings.length) {
    parts.push(element("h3", {}, "How it was drawn and judged"), element("div", { class: "rollouts" }, ...group.drawings.map(drawing)));
  }
  if (group.lessons.length) {
    parts.push(element("h3", {}, "What the model learned from it"), element("div", { class: "lessons" }, ...group.lessons.map(lesson)));
  }
  parts.push(modelText("p", "trace", group.origin));
  return element("div", { class: "tale" }, ...parts);
}

// The buttons of the dialog. `others` are the groups on the page, which `go` opens.
function bar(where, others, go) {
  const at = others.findIndex((other) => key(other) === where);
  const to = (label, name, by) => {
    const other = at < 0 ? undefined : others[at + by];
    return element("button", { id: name, disabled: !other, onclick: () => go(key(other)) }, label);
  };
  const [round, index] = where.split("/");
  return element(
    "div",
    { class: "bar" },
    to("← newer", "newer", -1),
    to("older →", "older", 1),
    element("span", { class: "where" }, `round ${round} · prompt ${index}`),
    element("button", { onclick: () => dialog.close(), "aria-label": "close" }, "close"),
  );
}

export async function open(where, ask, others, go) {
  let body;
  try {
    body = lineage(await ask(`/api/groups/${where}`));
  } catch (error) {
    body = element("div", { class: "tale" }, modelText("p", "reason", error.message));
  }
  dialog.replaceChildren(bar(where, others, go), body);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

export const close = () => dialog.open && dialog.close();

export function whenClosed(then) {
  dialog.addEventListener("close", then);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const name = { ArrowLeft: "newer", ArrowRight: "older" }[event.key];
    if (name) dialog.querySelector(`#${name}`)?.click();
  });
}
