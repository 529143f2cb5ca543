// What if? Next to an answer, a change in the form asks the API, and the page follows: no button, no new page.
// Without JavaScript, the form's button leads to the same.

const form = document.getElementById("question");
const fields = [...form.querySelectorAll("[data-feature]")];
const PAUSE = 150; // milliseconds without a change, before the app is asked
const SETTLED = 800; // and without another answer, before screen readers say it
let asked = new AbortController(); // the question that is on its way, so that the last answer wins
let waiting, saying;

async function ask() {
  asked.abort();
  asked = new AbortController();
  const row = Object.fromEntries(fields.map((field) => [field.dataset.feature, field.value]));
  const body = JSON.stringify(row);
  const headers = { "Content-Type": "application/json" };
  try {
    const answer = await fetch(form.dataset.api, { method: "POST", headers, body, signal: asked.signal });
    const found = await answer.json();
    showErrors(answer.ok ? [] : found.errors);
    if (!answer.ok) return say(`No new prediction: ${found.errors[0]?.message ?? found.detail}`);
    show(found);
    const typed = new URLSearchParams(fields.map((field) => [field.name, field.value]));
    history.replaceState(null, "", `${form.getAttribute("action")}?${typed}`); // so that it can be reloaded and shared
  } catch (error) {
    if (error.name !== "AbortError") say("The app doesn't answer. Is it still running?");
  }
}

// Numbers as the page writes them: six digits at most; and never a false 0.0% or 100.0%.
const plain = (value) => Number(value.toPrecision(6)).toLocaleString("en-US", { useGrouping: false, maximumSignificantDigits: 6 });
const percent = (share) => (share < 0.0005 ? "< 0.1%" : share < 0.9995 ? `${(100 * share).toFixed(1)}%` : "> 99.9%");

function show({ prediction, probabilities, interval, warnings }) {
  const text = probabilities ? prediction : plain(prediction);
  write("prediction", text, prediction);
  if (probabilities) showBars(Object.entries(probabilities).sort((one, other) => other[1] - one[1]).slice(0, 10));
  else ["low", "high"].forEach((id, end) => write(id, plain(interval[end]), interval[end]));
  document.getElementById("warnings").replaceChildren(...warnings.map((warning) => {
    const notice = Object.assign(document.createElement("div"), { className: "notice warning" });
    const paragraph = notice.appendChild(document.createElement("p"));
    paragraph.append(Object.assign(document.createElement("strong"), { textContent: "Treat this as a guess." }), ` ${warning}`);
    return notice;
  }));
  say(`Prediction: ${text}${probabilities ? `, ${percent(probabilities[prediction])}` : ""}.`);
}

function write(id, text, value) {
  const element = document.querySelector(`#${id} data`) ?? document.getElementById(id);
  element.textContent = text;
  if (element.tagName === "DATA") element.value = value;
}

// There are as many bars as before; only their names, numbers and lengths change.
function showBars(shares) {
  [...document.querySelectorAll("#bars li")].forEach((bar, place) => {
    const [name, share] = shares[place];
    bar.querySelector("span").textContent = name;
    bar.querySelector(".number").textContent = percent(share);
    bar.querySelector(".value").setAttribute("width", (100 * share).toFixed(2));
  });
}

// Write the messages at their fields, in the form in which the page writes them.
function showErrors(errors) {
  for (const field of fields) {
    const found = errors.find((error) => error.field === field.dataset.feature);
    const id = `${field.id}-message`;
    document.getElementById(id)?.remove();
    field.setAttribute("aria-invalid", String(Boolean(found)));
    field.setAttribute("aria-describedby", `${field.id}-hint${found ? ` ${id}` : ""}`);
    if (found) field.after(Object.assign(document.createElement("p"), { className: "message", id, textContent: found.message }));
  }
}

function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { document.getElementById("said").textContent = text; }, SETTLED);
}

form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(ask, PAUSE);
});
