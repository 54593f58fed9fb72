// Before anything else: says why the page does not begin where a part of it is missing or broken
// off, or the browser is too old for it. No module, for modules are what may fail.

addEventListener("error", tell, true); // the third argument: also of files that do not load

function tell({ target }) {
  if (target instanceof Element && target.localName !== "script") return; // a picture
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", show);
  else show();
}

function show() {
  if (document.body.dataset.begun) return; // page.js tells from now on what goes wrong
  const alert = document.getElementById("alert");
  alert.textContent =
    "The page could not begin: load it again. If that does not help, a part of it is missing " +
    "(build it again with `ferlib web`), or this browser is too old.";
  alert.hidden = false;
  document.getElementById("state").textContent = "Not ready";
}
