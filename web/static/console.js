// Keys of the console: `/` searches, `j` and `k` move through a list, Enter opens, `?` explains.
// Every page works without this file. It asks nothing and sends nothing.

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
