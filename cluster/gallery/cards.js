// Builds the page's elements. A model's text is always inserted as text, never as markup.

export function element(tag, facts = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name === "class") made.className = value;
    else if (name === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A model's text may contain right-to-left letters; dir=auto keeps them from reordering the page.
export const modelText = (tag, kind, text) => element(tag, { class: kind, dir: "auto" }, text);

export const score = (value) => (value === null ? "?" : String(Math.round(value * 10) / 10));

export const key = (group) => `${group.round}/${group.index}`;

export function picture(address, alt) {
  const made = element("img", { class: "pic", src: address, alt, loading: "lazy", decoding: "async" });
  // Small drawings show their pixels; large ones look better smoothed.
  made.addEventListener("load", () => made.classList.toggle("smooth", made.naturalWidth > 128));
  return made;
}

export function badge(mark) {
  return mark ? element("span", { class: "badge" }, mark) : null;
}

function drawing(made, number) {
  const about = `drawing ${number + 1}: ${made.analysis || "no analysis that could be read"}`;
  return element(
    "div",
    { class: `drawing ${made.mark}`, title: about },
    badge(made.mark),
    picture(`/thumbnail/${made.picture}`, about),
    element("div", { class: "score" }, score(made.score)),
  );
}

function analysis(made) {
  const line = element("p", { class: `says ${made.mark}`, dir: "auto" });
  line.append(element("b", {}, `${made.mark} ${score(made.score)}`), ` ${made.analysis}`);
  return line;
}

export function card(group, isNew) {
  const marked = ["winner", "loser"].flatMap((mark) => group.drawings.filter((d) => d.mark === mark));
  return element(
    "article",
    { class: `card shot${isNew ? " new" : ""}`, "data-key": key(group) },
    element(
      "div",
      { class: "head" },
      modelText("p", "kind", `${group.category} · ${group.subcategory}`),
      element("span", { class: "place" }, `round ${group.round} · ${group.index}`),
    ),
    element("p", { class: "prompt" }, element("a", { href: `#group=${key(group)}`, dir: "auto" }, group.prompt)),
    element("div", { class: "eight" }, ...group.drawings.map(drawing)),
    ...marked.filter((d) => d.analysis).map(analysis),
    group.reason ? modelText("p", "reason", `not learned from: ${group.reason}`) : null,
  );
}
