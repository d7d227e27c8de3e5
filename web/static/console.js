// Keys of the console: `/` searches, `j` and `k` move through a list, Enter opens, `?` explains.
// Also: times in the reader's zone, and a list of messages that follows what happens.
// Every page works without this file.

const FIELDS = "input:not([type=checkbox]), select, textarea";
const dialog = document.getElementById("keys");

function move(step) {
  const links = [...document.querySelectorAll("main .list tbody .what > a, main .mailbox-list a")];
  if (links.length === 0) return;
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1);
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
}

function search() {
  const box = document.querySelector("main input[type=search]");
  if (box === null) {
    location.href = "/messages#search";
    return;
  }
  box.focus();
  box.select();
}

const actions = {
  "/": search,
  j: () => move(1),
  k: () => move(-1),
  "?": () => dialog.showModal(),
};

document.addEventListener("keydown", (event) => {
  const action = Object.hasOwn(actions, event.key) ? actions[event.key] : undefined;
  if (action === undefined || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest(FIELDS) || dialog === null || dialog.open) return;
  event.preventDefault();
  action();
});

if (location.hash === "#search") search();

// Times: the page has them in UTC, which stays in the title.

const pad = (number) => String(number).padStart(2, "0");
const dayOf = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
const clockOf = (at) => `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;

function showLocalTimes(root) {
  for (const one of root.querySelectorAll("time[data-as]")) {
    const at = new Date(one.dateTime);
    one.textContent = one.dataset.as === "clock" ? clockOf(at) : `${dayOf(at)} ${clockOf(at)}`;
  }
  for (const one of root.querySelectorAll("[data-zone]")) {
    one.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "local time";
  }
  for (const list of root.querySelectorAll(".timeline ol")) {
    for (const mark of list.querySelectorAll(".daymark")) mark.remove();
    let last = "";
    for (const item of list.querySelectorAll(".event")) {
      const at = new Date(item.querySelector("time").dateTime);
      const day = at.toLocaleDateString("en-GB", { day: "2-digit", month: "long", year: "numeric" });
      if (day === last) continue;
      const mark = document.createElement("li");
      mark.className = "daymark";
      mark.textContent = last = day;
      item.before(mark);
    }
  }
}

if (new Date().getTimezoneOffset() !== 0) showLocalTimes(document);

// All boxes of a list at once.

for (const label of document.querySelectorAll("[data-all]")) {
  const boxes = () => [...label.closest("form").querySelectorAll("td.pick input")];
  label.hidden = false;
  label.querySelector("input").addEventListener("change", (event) => {
    for (const box of boxes()) box.checked = event.target.checked;
  });
}

// Messages and the mailbox: the list fetches itself anew when mail has changed, with its own filters. It can be paused.

function mergeRows(list, fetched) {
  const known = new Map([...list.children].map((row) => [row.dataset.message, row]));
  let after = null;
  let added = 0;
  for (const row of [...fetched.children]) {
    const old = known.get(row.dataset.message);
    if (old === undefined) {
      row.classList.add("arrived");
      added += 1;
      if (after === null) list.prepend(row);
      else after.after(row);
      after = row;
      continue;
    }
    const box = row.querySelector("td.pick input");
    if (box !== null) box.checked = old.querySelector("td.pick input").checked;
    if (old.contains(document.activeElement)) {
      after = old;
    } else {
      old.replaceWith(row);
      after = row;
    }
  }
  while (list.children.length > 200) list.lastElementChild.remove();
  return added;
}

function followMessages(bar) {
  const button = bar.querySelector("button");
  const said = bar.querySelector("[role=status]");
  let isPaused = false;
  let isStale = false;
  let isFetching = false;

  async function refresh() {
    isStale = true;
    if (isPaused || isFetching || document.hidden) return;
    isFetching = true;
    isStale = false;
    try {
      const answer = await fetch(location.href, { redirect: "error" });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const [list, fetched] = [document, page].map((one) => one.querySelector(bar.dataset.rows));
        if (list === null && fetched !== null) location.reload(); // the first mail
        const added = list === null || fetched === null ? 0 : mergeRows(list, fetched);
        if (added > 0) said.textContent = `${added} new`;
      }
    } catch {
      isStale = true; // the stream says when to try again
    } finally {
      isFetching = false;
    }
    if (isStale) setTimeout(refresh, 2000);
  }

  bar.hidden = false;
  new EventSource(bar.dataset.live).addEventListener("message", refresh);
  button.addEventListener("click", () => {
    isPaused = !isPaused;
    bar.classList.toggle("is-paused", isPaused);
    button.textContent = isPaused ? "Go on" : "Pause";
    button.setAttribute("aria-pressed", String(isPaused));
    bar.querySelector(".live-state").textContent = isPaused ? "Paused" : "Live";
    if (!isPaused && isStale) refresh();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && isStale) refresh();
  });
}

const live = document.querySelector("[data-live]");
if (live !== null && live.dataset.live !== "") followMessages(live);

// What is under way in the background: its part of the page is fetched anew until it has ended.

async function followProgress(part) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  let next = part;
  try {
    const answer = await fetch(location.href, { redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fetched = answer.ok ? page.getElementById(part.id) : null;
    if (fetched !== null) {
      part.replaceWith(fetched);
      showLocalTimes(fetched);
      next = fetched;
    }
  } catch {
    // the next time
  }
  if (next.dataset.progress !== undefined) followProgress(next);
}

const progress = document.querySelector("[data-progress]");
if (progress !== null) followProgress(progress);

// A file to import is read into the box, so that it can be looked at first.

const file = document.querySelector("[data-file]");
if (file !== null) {
  const box = file.closest("form").querySelector("textarea");
  file.hidden = false;
  file.querySelector("input").addEventListener("change", async (event) => {
    const text = await event.target.files[0].text();
    const isTooLong = text.length > box.maxLength;
    event.target.setCustomValidity(isTooLong ? "The file is too large; use waypost suppressions import." : "");
    if (isTooLong) event.target.reportValidity();
    else box.value = text;
  });
}
