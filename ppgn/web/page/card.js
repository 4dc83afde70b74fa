// A model's card: enough of Markdown for headings, paragraphs, lists, tables, code, links and pictures. No HTML of it.
import { make } from "./net.js";

function inline(text) {
  const parts = [];
  const marks = /!\[([^\]]*)\]\(([^)\s]+)\)|\[([^\]]+)\]\(([^)\s]+)\)|`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*/g;
  let end = 0;
  for (const found of text.matchAll(marks)) {
    parts.push(text.slice(end, found.index));
    end = found.index + found[0].length;
    const [, alt, source, shown, link, code, strong, weak] = found;
    if (source) parts.push(make("img", { alt, src: `/cards/${encodeURIComponent(source.split("/").pop())}`, loading: "lazy" }));
    else if (link) parts.push(/^https?:/.test(link) ? make("a", { href: link, rel: "noreferrer", target: "_blank" }, shown) : shown);
    else if (code) parts.push(make("code", { textContent: code }));
    else parts.push(make(strong ? "strong" : "em", { textContent: strong ?? weak }));
  }
  return [...parts, text.slice(end)];
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

export function markdown(text) {
  const found = [], lines = text.split("\n");
  let at = 0;
  const while_ = (test) => { const taken = []; while (at < lines.length && test(lines[at])) taken.push(lines[at++]); return taken; };
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) at += 1;
    else if (line.startsWith("```")) {
      at += 1;
      const code = while_((one) => !one.startsWith("```"));
      at += 1;
      found.push(make("pre", { textContent: code.join("\n"), tabIndex: 0 }));
    } else if (/^#{1,6} /.test(line)) {
      const level = Math.min(6, line.indexOf(" ") + 1);
      found.push(make(`h${level}`, {}, ...inline(line.replace(/^#+ /, ""))));
      at += 1;
    } else if (line.startsWith("|")) {
      const rows = while_((one) => one.startsWith("|")).filter((one) => !/^[|\s:-]+$/.test(one) || /^(\|\s*)+$/.test(one));
      const table = make("table", { tabIndex: 0 });
      rows.map(cells).forEach((row, index) => {
        if (row.every((cell) => !cell)) return;
        table.append(make("tr", {}, ...row.map((cell) => make(index ? "td" : "th", {}, ...inline(cell)))));
      });
      found.push(table);
    } else if (/^\s*[-*] /.test(line)) {
      const items = [];
      for (const one of while_((one) => one.trim() && !/^(#|\||```)/.test(one))) {
        if (/^\s*[-*] /.test(one)) items.push(one.replace(/^\s*[-*] /, ""));
        else items[items.length - 1] += ` ${one.trim()}`;
      }
      found.push(make("ul", {}, ...items.map((item) => make("li", {}, ...inline(item)))));
    } else found.push(make("p", {}, ...inline(while_((one) => one.trim() && !/^(#|\||```|\s*[-*] )/.test(one)).join(" "))));
  }
  return found;
}
