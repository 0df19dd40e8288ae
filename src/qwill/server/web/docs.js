// What can be asked, from the server's own OpenAPI document.

import { element, find } from "./dom.js";
import { recall } from "./kept.js";

const KEY = "qwill.key";
const place = find("#operations");
const problem = find("#problem");
const form = find("#key-form");
const field = find("#key");

/** The name of what a schema refers to. */
function nameOf(reference) {
  return reference.split("/").pop();
}

/** What kind of value a schema stands for, in words; names lead to their tables. */
function kind(schema) {
  if (!schema || Object.keys(schema).length === 0) return ["anything"];
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    return [element("a", { href: `#schema-${name}`, text: name })];
  }
  const union = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (union) return union.flatMap((one, index) => (index ? [" or ", ...kind(one)] : kind(one)));
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((one) => JSON.stringify(one)).join(", ")];
  if (schema.type === "array") return ["list of ", ...kind(schema.items)];
  return [schema.type ?? "object"];
}

/** A table of fields: their names, kinds and meanings. */
function table(fields) {
  const head = element("tr", {}, element("th", { text: "field" }), element("th", { text: "what" }), element("th", { text: "" }));
  const rows = fields.map(({ name, schema, required, description }) =>
    element(
      "tr",
      {},
      element("td", {}, element("code", { text: name })),
      element("td", {}, ...kind(schema)),
      element("td", { class: "faint", text: [required ? "required" : "", description ?? ""].filter(Boolean).join("; ") }),
    ),
  );
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}

function fieldsOf(schema) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, one]) => ({
    name,
    schema: one,
    required: required.has(name),
    description: one.description,
  }));
}

function operation(path, method, told) {
  const inside = element("div", { class: "inside" }, element("p", { text: told.description ?? "" }));
  const parameters = (told.parameters ?? []).map((one) => ({ ...one, name: `${one.name} (in the ${one.in})` }));
  if (parameters.length) inside.append(table(parameters));
  for (const [type, body] of Object.entries(told.requestBody?.content ?? {})) {
    inside.append(element("p", {}, `Body, ${type}: `, ...kind(body.schema)));
  }
  for (const [status, answer] of Object.entries(told.responses ?? {})) {
    const forms = Object.values(answer.content ?? {}).filter((one) => one.schema?.$ref);
    const kinds = forms.flatMap((one) => [" (", ...kind(one.schema), ")"]);
    inside.append(element("div", { class: "faint" }, `${status}: ${answer.description}`, ...kinds));
  }
  const title = element("summary", {}, element("code", { text: `${method.toUpperCase()} ${path}` }), ` ${told.summary ?? ""}`);
  return element("details", {}, title, inside);
}

function show(document_) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, told] of Object.entries(methods)) {
      const group = told.tags?.[0] ?? "other";
      groups.set(group, [...(groups.get(group) ?? []), operation(path, method, told)]);
    }
  }
  place.replaceChildren();
  for (const [group, operations] of groups) place.append(element("h2", { text: group }), ...operations);
  place.append(element("h2", { text: "Forms" }));
  for (const [name, schema] of Object.entries(document_.components?.schemas ?? {})) {
    const inside = element("div", { class: "inside" }, element("p", { text: schema.description ?? "" }), table(fieldsOf(schema)));
    place.append(element("details", { id: `schema-${name}` }, element("summary", {}, element("code", { text: name })), inside));
  }
  openTarget();
}

/** A link to a form opens it. */
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target) target.open = true;
}

async function load(key) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  try {
    const answer = await fetch("openapi.json", { headers });
    form.hidden = answer.status !== 401;
    if (answer.ok) show(await answer.json());
    problem.textContent = answer.ok ? "" : ((await answer.json()).error?.message ?? `status ${answer.status}`);
  } catch (error) {
    problem.textContent = `the server cannot be reached (${error.message})`;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  load(field.value.trim());
});
window.addEventListener("hashchange", openTarget);
load(recall(KEY) ?? recall(KEY, "sessionStorage"));
