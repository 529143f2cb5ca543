// What if? Next to an answer, a change in the form asks the API, and the page follows: no button, no new page.
// Without JavaScript, the form's button leads to the same.

const form = document.getElementById("question");
const map = document.getElementById("map-figure");
const reply = document.getElementById("reply"); // only a page with an answer has it
const PAUSE = 150; // milliseconds without a change, before the app is asked
const SETTLED = 800; // and without another answer, before screen readers say it
let asked = new AbortController(); // the question that is on its way, so that the last answer wins
let waiting, saying;

for (const element of document.querySelectorAll(".without-script")) element.hidden = true;

// What was typed, as the API takes it. What is no number stays text, which the API refuses.
function district() {
  const found = {};
  for (const { name, value } of form.querySelectorAll("input[name]:not([type=hidden])")) {
    const plain = value.trim().replace(",", ".").replace("−", "-");
    found[name] = plain && Number.isFinite(Number(plain)) ? Number(plain) : value;
  }
  return found;
}

async function ask() {
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  const question = district();
  const over = form.elements.over.value;
  const address = `${form.getAttribute("action")}?${new URLSearchParams({ ...question, over })}`;
  const json = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question), signal };
  try {
    const answer = await fetch(reply.dataset.api, json);
    const found = await answer.json();
    if (answer.ok) showPrices(found);
    showErrors(answer.ok ? [] : found.errors);
    if (!answer.ok) return;
    // The pictures are drawn by the app, so the page for this address has them.
    const page = await fetch(address, { signal });
    if (page.ok) follow(await page.text(), address);
  } catch (error) {
    if (error.name !== "AbortError") say("The app doesn't answer. Is it still running?");
  }
}

const dollars = (amount) => `$${amount.toLocaleString("en-US")}`;

function showPrices({ price_usd: price, interval_usd: [low, high] }) {
  document.getElementById("answer").textContent = `Predicted price: ${dollars(price)}`;
  say(`Predicted price: ${dollars(price)}, between ${dollars(low)} and ${dollars(high)}.`);
}

function follow(text, address) {
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    if (fresh) part.replaceChildren(...fresh.childNodes);
    for (const name of ["href", "src"]) if (fresh?.hasAttribute(name)) part.setAttribute(name, fresh.getAttribute(name));
  }
  document.title = page.title;
  history.replaceState(null, "", address); // so that reloading and sharing keep the answer
  prepareMap();
}

// Write the messages at their fields, in the form in which the page writes them.
function showErrors(errors) {
  for (const input of form.querySelectorAll("input[name]:not([type=hidden])")) {
    const found = errors.find(({ field }) => field === input.name);
    const id = `${input.id}-message`;
    document.getElementById(id)?.remove();
    input.setAttribute("aria-invalid", String(Boolean(found)));
    input.setAttribute("aria-describedby", `${input.id}-hint${found ? ` ${id}` : ""}`);
    if (!found) continue;
    const number = Number.isFinite(Number(input.value.replace(",", ".").replace("−", "-")));
    const message = document.createElement("p");
    Object.assign(message, { className: "message", id });
    message.textContent = input.value.trim() && number ? `${found.message}.` : "This is not a number. Enter digits, for example 3.5.";
    input.after(message);
  }
  const wrong = form.querySelectorAll("[aria-invalid=true]").length;
  if (wrong) say(`No new answer: ${wrong === 1 ? "a field needs" : `${wrong} fields need`} another look.`);
}

function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { document.getElementById("said").textContent = text; }, SETTLED);
}

function change() {
  if (!reply) return; // nothing is answered yet: the button asks
  clearTimeout(waiting);
  waiting = setTimeout(ask, PAUSE);
}

function goTo(latitude, longitude, place = "") {
  form.elements.latitude.value = latitude;
  form.elements.longitude.value = longitude;
  form.elements.place.value = place;
  change();
}

function prepareMap() {
  for (const hint of map.querySelectorAll(".needs-script")) hint.hidden = false;
  const svg = document.getElementById("map");
  svg.classList.add("clickable");
  svg.addEventListener("click", ({ clientX, clientY }) => {
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(svg.getScreenCTM().inverse());
    const { north, west, down, right } = svg.dataset;
    goTo((north - y / down).toFixed(2), (Number(west) + x / right).toFixed(2));
  });
}

document.addEventListener("input", ({ target }) => {
  if (target.form !== form) return;
  const place = form.elements.place;
  if (target === place && place.value) {
    goTo(...map.querySelector(`[data-place="${place.value}"]`).dataset.at.split(" "), place.value);
  } else if (["latitude", "longitude"].includes(target.name)) place.value = "";
  change();
});
prepareMap();
