"use strict";
(() => {
  const { sizes, images } = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("downloads"), rows = [...table.tBodies[0].rows];
  const names = rows.map((row) => row.cells[0].textContent);
  const chooser = document.getElementById("have"), list = chooser.querySelector("select");

  function sizeText(value) {
    const units = ["B", "KB", "MB", "GB", "TB", "PB"];
    let at = 0;
    while (value >= 999.5 && at < units.length - 1) { value /= 1000; at += 1; }
    return `${at && value < 9.95 ? value.toFixed(1) : value.toFixed(0)} ${units[at]}`;
  }

  // A blob that an image has twice is downloaded once.
  const taken = (blobs) => [...new Set(blobs)].reduce((sum, blob) => sum + sizes[blob], 0);

  function tell() {
    const chosen = [...list.selectedOptions].map((one) => Number(one.value));
    const blobs = new Set(), places = new Set();
    for (const image of chosen) for (const [blob, place] of images[image]) { blobs.add(blob); places.add(place); }
    images.forEach((layers, number) => {
      const cells = rows[number].cells;
      cells[2].textContent = sizeText(taken(layers.filter(([, place]) => !places.has(place)).map(([blob]) => blob)));
      cells[3].textContent = sizeText(taken(layers.map(([blob]) => blob).filter((blob) => !blobs.has(blob))));
    });
    const some = chosen.slice(0, 3).map((image) => names[image]).join(", ");
    const more = chosen.length > 3 ? ` and ${chosen.length - 3} more` : "";
    document.getElementById("host").textContent = `on a host that has ${chosen.length ? some + more : "nothing"}`;
    chooser.querySelector(".status").textContent = chosen.length ? `${chosen.length} of ${names.length} images` : "";
  }

  names.forEach((name, number) => {
    const option = document.createElement("option");
    option.value = String(number);
    option.textContent = name;
    list.append(option);
  });
  list.addEventListener("change", tell);
  chooser.querySelector("button").addEventListener("click", () => {
    for (const one of list.options) one.selected = false;
    tell();
  });
  chooser.hidden = false;

  // Light and dark

  const root = document.documentElement, button = document.getElementById("theme");
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefers.matches);
  function themed() {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  }
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; themed(); });
  prefers.addEventListener("change", themed);
  button.hidden = false;
  themed();
})();
