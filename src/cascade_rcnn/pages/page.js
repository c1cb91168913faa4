// Filters: within data-filters="#id", a button with data-show="x" shows the elements with x in data-tags; "" shows all.
const shows = (wanted, item) => wanted === "" || item.dataset.tags.split("|").includes(wanted);
for (const bar of document.querySelectorAll(".filters")) {
  const all = [...document.querySelectorAll(`${bar.dataset.filters} [data-tags]`)];
  for (const button of bar.querySelectorAll("button")) button.disabled = !all.some((item) => shows(button.dataset.show, item));
  bar.hidden = all.length === 0;
  bar.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    for (const other of bar.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
    for (const item of all) item.hidden = !shows(button.dataset.show, item);
  });
}
// Pictures open at full size.
const large = document.getElementById("large");
for (const picture of document.querySelectorAll(".gallery img")) {
  picture.tabIndex = 0;
  const open = () => {
    large.querySelector("img").src = picture.src;
    large.querySelector("img").alt = picture.alt;
    large.querySelector("figcaption").innerHTML = picture.closest("figure").querySelector("figcaption")?.innerHTML ?? "";
    large.showModal();
  };
  picture.addEventListener("click", open);
  picture.addEventListener("keydown", (event) => event.key === "Enter" && open());
}
large.addEventListener("click", () => large.close());
