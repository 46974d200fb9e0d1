"use strict";
// The page's behaviour: filters, the grid's keyboard, the drawer. What guests wrote is only ever set as text.
(() => {
  const byId = (id) => document.getElementById(id);
  const outline = JSON.parse(byId("outline").textContent);
  const { rules, kernels, worst, verdicts } = outline;
  const GLYPH = Object.fromEntries(outline.statuses);
  const ORDER = outline.statuses.map(([status]) => status);
  const grid = byId("grid");
  const rows = [...grid.querySelectorAll("tr.rule")];
  const drawer = byId("drawer");

  function el(name, facts, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(facts || {})) {
      if (value === true) made.setAttribute(key, "");
      else if (value !== false && value != null) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child != null && child !== ""));
    return made;
  }
  const verdictAt = (row, column) => (worst[row][column] ? verdicts[worst[row][column][0]] : null);
  const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

  // ---- filters -----------------------------------------------------------------------------------------------------
  const hidden = document.head.appendChild(el("style"));
  const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
  const ruleText = rules.map((r) => [r.id, r.family, r.contract, r.level, r.outcome, r.statement].join(" ").toLowerCase());
  const kernelText = kernels.map((k) =>
    [k.cell, k.name, k.version, k.release, k.arch, k.variety, k.state, k.page ? `${k.page / 1024}k` : ""].join(" ").toLowerCase());
  let shownRows = rows.map((_, i) => i);
  let shownColumns = kernels.map((_, i) => i);

  const wanted = () => ({
    words: wordsOf(byId("words").value),
    kernel: wordsOf(byId("kernel").value),
    kind: byId("kind").value,
    differ: byId("differ").checked,
    statuses: [...document.querySelectorAll(".chip[aria-pressed=true]")].map((chip) => chip.dataset.status),
  });

  // Cells that say one thing throughout (no mseal, no boot) would make every row differ, and are told in their column.
  function differs(row) {
    const seen = new Set();
    for (const column of shownColumns) {
      const verdict = verdictAt(row, column);
      if (verdict && !outline.flat[column]) seen.add(`${verdict[0]} ${verdict[1]} ${outline.letters[row][column] || ""}`);
    }
    return seen.size > 1;
  }

  function matches(row, want) {
    if (!want.words.every((word) => ruleText[row].includes(word))) return false;
    if (want.differ && !differs(row)) return false;
    if (!want.statuses.length && !want.kind) return true;
    return shownColumns.some((column) => {
      const verdict = verdictAt(row, column);
      return verdict && (!want.statuses.length || want.statuses.includes(verdict[0])) && (!want.kind || verdict[1] === want.kind);
    });
  }

  function filter() {
    const want = wanted();
    shownColumns = kernels.map((_, i) => i).filter((i) => want.kernel.every((word) => kernelText[i].includes(word)));
    shownRows = rows.map((_, i) => i).filter((i) => matches(i, want));
    const columns = new Set(shownColumns);
    const visible = new Set(shownRows);
    hidden.textContent = kernels.map((_, i) => i).filter((i) => !columns.has(i))
      .map((i) => `#grid .rule > :nth-child(${i + 2}), #grid .kernels > :nth-child(${i + 2})`).join(",") + (columns.size < kernels.length ? "{display:none!important}" : "");
    rows.forEach((row, i) => { row.hidden = !visible.has(i); });
    for (const body of grid.tBodies) body.hidden = ![...body.querySelectorAll("tr.rule")].some((row) => !row.hidden);
    for (const head of grid.querySelectorAll(".arches th")) {
      const number = shownColumns.filter((i) => kernels[i].arch === head.dataset.arch).length;
      head.colSpan = number || 1;
      head.hidden = !number;
    }
    grid.className = want.statuses.length ? ["only", ...want.statuses.map((s) => `only-${s}`)].join(" ") : "";
    byId("none").hidden = shownRows.length > 0 && shownColumns.length > 0;
    byId("found").textContent = `${shownRows.length} of ${count(rules.length, "rule")}, ${shownColumns.length} of ${count(kernels.length, "cell")}`;
    roving(shownRows[0], shownColumns[0]);
  }

  for (const kind of ["input", "change"]) byId("controls").addEventListener(kind, filter);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("reset", () => {
    for (const chip of document.querySelectorAll(".chip")) chip.setAttribute("aria-pressed", "false");
    setTimeout(filter);  // a form's fields are reset only after this event
  });
  for (const chip of document.querySelectorAll(".chip")) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
      filter();
    });
  }

  // ---- the grid's keyboard: one cell is in the tab order, arrows move it -----------------------------------------------
  let stop = null;
  const cellAt = (row, column) => rows[row] && rows[row].cells[column + 1];
  function roving(row, column) {
    if (stop) stop.tabIndex = -1;
    stop = cellAt(row, column) || null;
    if (stop) stop.tabIndex = 0;
    return stop;
  }
  const placeOf = (cell) => [rows.indexOf(cell.parentElement), cell.cellIndex - 1];
  function step(list, at, by) {
    const place = list.indexOf(at) + by;
    return list[Math.max(0, Math.min(list.length - 1, place))];
  }
  const PAGE = 10;
  const MOVES = {
    ArrowUp: (r, c) => [step(shownRows, r, -1), c], ArrowDown: (r, c) => [step(shownRows, r, 1), c],
    ArrowLeft: (r, c) => [r, step(shownColumns, c, -1)], ArrowRight: (r, c) => [r, step(shownColumns, c, 1)],
    PageUp: (r, c) => [step(shownRows, r, -PAGE), c], PageDown: (r, c) => [step(shownRows, r, PAGE), c],
    Home: (r, c, all) => [all ? shownRows[0] : r, shownColumns[0]],
    End: (r, c, all) => [all ? shownRows.at(-1) : r, shownColumns.at(-1)],
  };
  const bodyCell = (target) => target.closest && target.closest("tr.rule > td");
  grid.addEventListener("keydown", (event) => {
    const cell = bodyCell(event.target);
    if (!cell || event.altKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") open(...placeOf(cell));
    else if (MOVES[event.key]) roving(...MOVES[event.key](...placeOf(cell), event.ctrlKey)).focus();
    else return;
    event.preventDefault();
  });
  grid.addEventListener("click", (event) => {
    const cell = bodyCell(event.target);
    if (cell) open(...placeOf(cell));
  });

  // ---- the evidence: unpacked when it is first asked for ----------------------------------------------------------------
  let unpacking = null;
  function evidence() {
    unpacking = unpacking || (async () => {
      if (typeof DecompressionStream === "undefined") return null;
      const bytes = Uint8Array.from(atob(byId("evidence").textContent.trim()), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      return JSON.parse(await new Response(stream).text());
    })();
    return unpacking;
  }

  // ---- the drawer -------------------------------------------------------------------------------------------------------
  let at = null;  // [row, column] of what the drawer shows

  async function open(row, column) {
    const verdict = verdictAt(row, column);
    if (!verdict) return;
    at = [row, column];
    roving(row, column);
    const rule = rules[row];
    const kernel = kernels[column];
    byId("drawer-title").textContent = rule.id;
    byId("drawer-body").replaceChildren(...summary(rule, kernel, verdict, outline.counts[worst[row][column][1]]));
    byId("previous").disabled = shownColumns.indexOf(column) <= 0;
    byId("next").disabled = shownColumns.indexOf(column) === shownColumns.length - 1;
    window.history.replaceState(null, "", `#${new URLSearchParams({ rule: rule.id, cell: kernel.cell })}`);
    if (!drawer.open) {
      drawer.showModal();
      byId("drawer-title").focus();
    }
    drawer.scrollTop = 0;
    const facts = await evidence();
    if (at && at[0] === row && at[1] === column) byId("drawer-body").append(...details(facts, row, column));
  }

  function summary(rule, kernel, verdict, counts) {
    const [status, kind, reason, probe, follows] = verdict;
    const level = `${rule.contract}, ${rule.level}, ${rule.outcome}`;
    const place = [kernel.name, kernel.release || kernel.version, kernel.arch, kernel.variety, kernel.page ? `${kernel.page / 1024} KiB pages` : ""];
    const pairs = [
      ["contract", rule.thread ? `${level}; the mail thread wants: ${rule.thread}` : level],
      ["probes", counts],
      ["follows", follows],
      ...rule.sources.map((source) => ["source", source]),
      ...rule.known.map((known) => ["known", known]),
    ];
    return [
      el("p", { class: "where" }, place.filter(Boolean).join(" · ")),
      el("p", { class: "statement" }, rule.statement),
      el("div", { class: `verdict ${status}` },
        el("span", { class: `tile ${status}`, "aria-hidden": "true" }, GLYPH[status]),
        el("div", {}, el("span", { class: `word ${status}` }, `${status} ${kind}`.trim()), reason || explain(status))),
      el("dl", { class: "pairs" }, ...pairs.filter(([, text]) => text).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])),
      el("h3", {}, "Repeat it"),
      command(`${kernel.repeat} -r ${quoted(probe)}`),
      el("p", { class: "further" }, `As a C program of its own: sealmatrix rules show ${rule.id} --probe ${quoted(probe)} --reproducer`),
    ];
  }
  const explain = (status) => document.querySelector(`.chip[data-status="${status}"]`).title;
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

  function command(text) {
    const shown = el("pre", {}, text);
    const copy = el("button", { type: "button" }, "Copy");
    copies(copy, shown);
    return el("div", { class: "command" }, shown, copy);
  }
  function copies(button, shown) {
    button.addEventListener("click", async () => {
      window.getSelection().selectAllChildren(shown);
      try {
        await navigator.clipboard.writeText(shown.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected";  // pages from disk may not write to the clipboard
      }
    });
  }
  for (const button of document.querySelectorAll(".commands .copy")) copies(button, button.previousElementSibling);

  function details(facts, row, column) {
    if (!facts) {
      return [el("p", { class: "soft" }, `This browser cannot unpack the observations; they are in cells/${kernels[column].cell}/observations.jsonl.`)];
    }
    const judged = facts.judged[row][column];
    const probes = facts.lists[judged[0]];
    const groups = new Map();
    facts.answers[judged[1]].forEach((number, i) => groups.set(number, [...(groups.get(number) || []), probes[i]]));
    const rank = ([status, kind]) => ORDER.indexOf(status) * 10 + (kind ? outline.kinds.indexOf(kind) : 9);
    const sorted = [...groups].sort((a, b) => rank(facts.verdicts[a[0]]) - rank(facts.verdicts[b[0]]));
    return [
      ...consoleParts(facts.console[column], probes.map((p) => facts.probes[p])),
      el("h3", {}, `${count(probes.length, "probe")}, ${count(sorted.length, "answer")}`),
      ...sorted.map(([number, members], i) => group(facts, column, facts.verdicts[number], members, i === 0)),
    ];
  }

  function consoleParts(said, probes) {
    const parts = [];
    for (const crash of said.crashes || []) {
      const suspects = crash.during ? [crash.during, ...(crash.also || [])] : [];
      if (suspects.length && !suspects.some((probe) => probes.includes(probe))) continue;
      const place = crash.where ? ` at ${crash.where}` : "";
      const others = crash.others.length ? `; the same on ${crash.others.join(", ")}` : "";
      const title = `${crash.title}${suspects.length ? ` during ${suspects.join(" or ")}` : ""}`;
      parts.push([`${title}${place}${others}`, crash.lines]);
    }
    for (const [probe, lines] of Object.entries(said.probes || {})) {
      if (probes.includes(probe)) parts.push([`during ${probe}`, lines]);
    }
    if (said.tail) parts.push(["its last lines", said.tail]);
    return parts.flatMap(([title, lines]) => [el("h3", {}, `Console: ${title}`), el("pre", {}, lines.join("\n"))]);
  }

  const FIRST = 12;
  function group(facts, column, verdict, members, unfolded) {
    const [status, kind, reason, observed, follows] = verdict;
    // The changes are part of many reasons already; what both halves answered is not.
    const [answers, ...changes] = observed.split("; ");
    const news = changes.every((change) => reason.includes(change)) ? answers : observed;
    const text = [reason, news, follows ? `follows ${follows}` : ""].filter(Boolean).join(" · ");
    const box = el("details", { class: "group", open: unfolded },
      el("summary", {}, el("span", { class: `tile ${status}`, "aria-hidden": "true" }, GLYPH[status]),
        el("span", { class: `word ${status}` }, `${status} ${kind}`.trim()), ` ${count(members.length, "probe")}`, text ? el("span", { class: "soft" }, ` · ${text}`) : null));
    const show = (numbers, first) => numbers.map((number, i) => probe(facts, column, number, first && i === 0));
    box.append(...show(members.slice(0, FIRST), unfolded));
    if (members.length > FIRST) {
      const more = el("button", { type: "button", class: "more" }, `Show ${members.length - FIRST} more`);
      more.addEventListener("click", () => more.replaceWith(...show(members.slice(FIRST), false)));
      box.append(more);
    }
    return box;
  }

  // A probe's observation is built when it is unfolded: a rule may speak for hundreds.
  function probe(facts, column, number, unfolded) {
    const name = facts.probes[number];
    const box = el("details", { class: "probe" }, el("summary", {}, name));
    const fill = () => {
      if (box.childElementCount > 1) return;
      const seen = facts.observations[facts.seen[column][number]];
      if (seen) box.append(observation(facts, seen));
      else box.append(el("p", { class: "soft" }, "There is no observation of this probe."));
      const program = at && facts.reproducers[`${rules[at[0]].id} ${name}`];
      if (program) box.append(el("h3", {}, "As a C program of its own"), command(program));
    };
    box.addEventListener("toggle", fill);
    if (unfolded) {
      fill();
      box.open = true;
    }
    return box;
  }

  function observation(facts, [layout, unit, control, sealed]) {
    return el("div", {},
      el("p", { class: "further" }, `Units of ${unit} bytes. The bar above marks the operation's range; a heavy frame, a unit that was sealed.`),
      el("div", { class: "halves" }, half("control", facts.halves[control], layout), half("sealed", facts.halves[sealed], layout)));
  }

  const errno = (number) => (number ? outline.errnos[number] || `errno ${number}` : "0");
  function said(half) {
    if (half.timeout) return `no answer in time (${half.stage})`;
    if (half.signal != null) return `killed by signal ${half.signal} (${half.stage})`;
    if (half.step != null) return `${half.step}: ${errno(half.step_errno)}`;
    if (half.stage !== "done") return `stopped in ${half.stage}`;
    return half.errno ? errno(half.errno) : String(half.result);
  }

  const PARTS = { p: "plain", s: "sealed", g: "gap" };
  function half(name, facts, layout) {
    const units = [...layout];
    const line = (title, values, cell) => (values && values.length ? el("tr", {}, el("th", { scope: "row" }, title), ...units.map((_, i) => cell(values[i], i))) : null);
    const fact = (text) => el("td", { class: "fact" }, text);
    const isSealed = (i) => name === "sealed" && units[i].toLowerCase() === "s";
    const further = [
      facts.seal && facts.seal.length ? `mseal: ${facts.seal.map(errno).join(", ")}` : "",
      ...Object.entries(facts.extra || {}).map(([key, value]) => `${key}: ${value}`),
    ].filter(Boolean).join("; ");
    return el("div", { class: "half" },
      el("h4", {}, `${name}: `, el("code", {}, said(facts))),
      el("table", { class: "window" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "unit"), ...units.map((letter, i) =>
          el("th", { scope: "col", class: letter === letter.toUpperCase() ? "range" : "" }, String(i), el("br"), name === "control" && letter.toLowerCase() === "s" ? "(sealed)" : PARTS[letter.toLowerCase()])))),
        el("tbody", {}, ...[
          line("before", facts.before, (text, i) => unitCell(text, null, isSealed(i))),
          line("after", facts.after, (text, i) => unitCell(text, facts.before && facts.before[i], isSealed(i))),
          line("store", facts.write ? [...facts.write] : [], (letter) => fact({ w: "works", "-": "faults", ".": "not tried" }[letter] || letter)),
          line("mprotect", facts.mprotect, (number) => fact(errno(number))),
          line("munmap", facts.munmap, (number) => fact(errno(number))),
        ].filter(Boolean))),
      further ? el("p", { class: "further" }, further) : null);
  }

  // "rw-p anon a0 a -": protection, backing, contents, presence, seal. The seal's mark is no change of its own.
  function unitCell(text, before, sealed) {
    if (text === undefined) return el("td", { class: "hole" }, "not read");
    const content = (unit) => unit.split(" ").slice(0, 4).join(" ");
    const changed = before != null && content(before) !== content(text);
    const names = [sealed ? "sealed" : "", changed ? "changed" : ""];
    if (text === "-") return el("td", { class: ["hole", ...names].join(" ") }, "none", changed ? el("span", {}, " ≠") : null);
    const [perms, backing, data] = text.split(" ");
    return el("td", { class: names.join(" ").trim(), title: text }, el("b", {}, data, changed ? " ≠" : ""), perms, el("br"), backing);
  }

  // What the plainest probe of each cause saw, drawn as the drawer draws it.
  async function fillCauses() {
    const places = [...document.querySelectorAll(".cause .evidence")];
    const facts = places.length ? await evidence() : null;
    for (const place of facts ? places : []) {
      const column = kernels.findIndex((kernel) => kernel.cell === place.dataset.cell);
      const seen = facts.observations[(facts.seen[column] || [])[facts.probes.indexOf(place.dataset.probe)]];
      if (seen) place.append(observation(facts, seen));
    }
  }

  const move = (by) => at && shownColumns.includes(at[1]) && open(at[0], step(shownColumns, at[1], by));
  byId("previous").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  byId("close").addEventListener("click", () => drawer.close());
  drawer.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && !event.altKey && !event.ctrlKey) {
      event.preventDefault();
      move(by);
    }
  });
  drawer.addEventListener("click", (event) => {
    if (event.target === drawer && event.clientX < drawer.getBoundingClientRect().left) drawer.close();
  });
  drawer.addEventListener("close", () => {
    at = null;
    window.history.replaceState(null, "", window.location.pathname + window.location.search);
    if (stop) stop.focus();
  });

  function follow() {
    const asked = new URLSearchParams(window.location.hash.slice(1));
    const row = rules.findIndex((rule) => rule.id === asked.get("rule"));
    const column = kernels.findIndex((kernel) => kernel.cell === asked.get("cell"));
    if (row >= 0 && column >= 0) open(row, column);
  }
  window.addEventListener("hashchange", follow);
  for (const row of rows) for (const cell of [...row.cells].slice(1)) cell.tabIndex = -1;
  filter();
  follow();
  fillCauses();
})();
