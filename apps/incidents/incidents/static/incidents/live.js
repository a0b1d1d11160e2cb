// Keeps the list of incidents up to date: it asks for the page's own incidents as JSON and changes only what differs,
// so that the scroll position, the filters and the focus stay. If the server is away, it asks less and less often.
"use strict";

(() => {
  const status = document.getElementById("live");
  const body = document.getElementById("incidents");
  const heading = document.getElementById("open");
  const empty = document.getElementById("empty");
  const region = body.closest(".scroll");
  const normal = Number(status.dataset.seconds) * 1000;
  const longest = 120_000;
  const patience = 15_000;
  let failures = 0;
  let timer = 0;
  let busy = false;

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  const time = (value) => {
    const made = element("time", { textContent: value.slice(0, 16).replace("T", " ") });
    made.dateTime = value;
    return made;
  };

  const cells = (incident) => {
    const state = incident.closed_at ? "closed" : incident.severity;
    const machine = element("th", { scope: "row" }, element("a", { href: incident.page, textContent: incident.machine }));
    if (incident.location) machine.append(" ", element("small", { textContent: incident.location }));
    const open = element("span", { textContent: "–" });
    open.setAttribute("aria-label", "still open");
    return [
      element("td", {}, element("span", { className: `badge ${state}`, textContent: state })),
      machine,
      element("td", { textContent: incident.summary }),
      element("td", {}, time(incident.opened_at)),
      element("td", {}, incident.closed_at ? time(incident.closed_at) : open),
    ];
  };

  const show = (data) => {
    const present = new Map([...body.rows].map((row) => [row.dataset.id, row]));
    const rows = data.incidents.map((incident) => {
      const known = present.get(String(incident.id));
      const row = known ?? element("tr", { className: "new" });
      const fresh = JSON.stringify([incident.closed_at, incident.severity, incident.summary, incident.machine]);
      // The rows of the page as it was loaded are replaced only when their incident closes.
      const seen = known?.dataset.seen;
      const same = known && (seen ? seen === fresh : known.classList.contains("closed") === Boolean(incident.closed_at));
      if (!same) row.replaceChildren(...cells(incident));
      row.dataset.id = incident.id;
      row.dataset.seen = fresh;
      row.classList.toggle("closed", Boolean(incident.closed_at));
      return row;
    });
    const wanted = new Set(rows);
    for (const row of present.values()) if (!wanted.has(row)) row.remove();
    rows.forEach((row, index) => {
      if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    });
    region.hidden = rows.length === 0;
    empty.hidden = rows.length > 0;
    heading.textContent = data.open ? `${data.open} open` : "All machines are fine";
    heading.className = `state ${data.open ? "bad" : "good"}`;
    document.title = data.open ? `Incidents (${data.open} open)` : "Incidents";
  };

  const again = (delay) => {
    clearTimeout(timer);
    timer = setTimeout(refresh, delay);
  };

  const refresh = async () => {
    if (document.hidden || busy) return;
    busy = true;
    try {
      const answer = await fetch(status.dataset.url + location.search, {
        headers: { Accept: "application/json" },
        cache: "no-store",
        signal: AbortSignal.timeout(patience),
      });
      if (answer.status === 401) {
        const then = encodeURIComponent(location.pathname + location.search);
        status.replaceChildren("Your session has ended. ", element("a", { href: `/login/?next=${then}`, textContent: "Log in" }));
        return;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      show(await answer.json());
      failures = 0;
      status.textContent = `Up to date at ${new Date().toISOString().slice(11, 19)} UTC`;
      again(normal);
    } catch {
      failures += 1;
      const delay = Math.min(normal * 2 ** failures, longest) * (0.8 + 0.4 * Math.random());
      status.textContent = `The server does not answer; next attempt in ${Math.round(delay / 1000)} s`;
      again(delay);
    } finally {
      busy = false;
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) again(0);
  });
  again(normal);
})();
