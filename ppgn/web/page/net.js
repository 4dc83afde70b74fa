// Asks the server; what it refuses is an Error with its one line.

export async function ask(path, body, type = "application/json") {
  const sent = body === undefined ? {} : { method: "POST", headers: { "x-ppgn": "1", "content-type": type }, body };
  let answer;
  try {
    answer = await fetch(path, sent);
  } catch {
    throw new Error("the server does not answer; is ppgn serve still running?");
  }
  const told = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(told?.error ?? `the server answers ${answer.status}; load the page again`);
  return told;
}

export const about = JSON.parse(document.getElementById("about").textContent);

// An element of a name, with properties and children.
export function make(name, given = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
