// What if? A change in the form puts a new answer into the page without loading the page again.
//
// The script asks the app's API, as any program could, and shows the JSON it gets. At the same time it requests
// the page that the form's button would open, and replaces every element that has `data-answer` with the one
// from that page. So only the templates draw, and if you change them, this follows. Without JavaScript, the
// button does the same.

const WAIT = 150; // milliseconds without another change before the app is asked
const SETTLED = 800; // and without another answer before a screen reader reads it out
const form = document.querySelector("form[data-what-if]");
const status = document.createElement("p"); // a live region: what is put into it is read aloud
let waiting, saying, asked;

document.documentElement.classList.add("js"); // shows what needs JavaScript, such as the copy buttons
status.setAttribute("role", "status");
status.className = "visually-hidden";
(form ?? document.querySelector("main")).append(status);

function say(text, isError = false) {
  clearTimeout(saying);
  status.className = isError ? "message" : "visually-hidden";
  saying = setTimeout(() => { status.textContent = text; }, isError ? 0 : SETTLED);
}

async function ask(submitter) {
  clearTimeout(waiting);
  asked?.abort(); // a newer question cancels the older one
  asked = new AbortController();
  const { signal } = asked;
  const data = new FormData(form, submitter);
  const address = new URL(form.action);
  const sendsFile = form.enctype === "multipart/form-data";
  if (!sendsFile) address.search = new URLSearchParams(data);
  try {
    const [json, reply] = await Promise.all([
      askApi(signal),
      fetch(address, sendsFile ? { method: "POST", body: data, signal } : { signal }),
    ]);
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    if (signal.aborted) return;
    if (!reply.ok && reply.status !== 422) return say(page.querySelector("h1").textContent, true);
    const messages = showMessages(page);
    const answer = (page.querySelector("[data-say]") ?? page.querySelector("h1")).textContent.trim();
    if (reply.ok || sendsFile) showAnswer(page);
    if (json) document.getElementById("json").textContent = json;
    if (reply.ok && !sendsFile) history.replaceState(null, "", address);
    say(messages.join(" ") || answer);
  } catch (error) {
    if (error.name !== "AbortError") say("The app doesn't answer. Is it still running?", true);
  }
}

// Return the API's answer, or null if it refuses: the page says what is wrong in words for people.
async function askApi(signal) {
  if (!form.dataset.api) return null; // a form for a file
  const question = {};
  for (const field of form.querySelectorAll("[aria-describedby]")) {
    const number = Number(field.value.replace(",", ".") || NaN);
    const isNumber = field.dataset.min && !Number.isNaN(number);
    question[field.dataset.column ?? field.name] = isNumber ? number : field.value || null;
  }
  const headers = { "Content-Type": "application/json" };
  const reply = await fetch(form.dataset.api, { method: "POST", headers, body: JSON.stringify(question), signal });
  return reply.ok ? JSON.stringify(await reply.json(), null, 1) : null;
}

// Show at each field the message that `page` has for it. Return the messages.
function showMessages(page) {
  const found = [];
  for (const field of form.querySelectorAll("[aria-describedby]")) {
    const id = `${field.id}-message`;
    const message = page.getElementById(id);
    const isWrong = message !== null;
    document.getElementById(id)?.remove();
    field.setAttribute("aria-invalid", isWrong);
    field.setAttribute("aria-describedby", `${field.id}-hint${isWrong ? ` ${id}` : ""}`);
    if (!isWrong) continue;
    field.after(message);
    found.push(message.textContent);
  }
  return found;
}

function showAnswer(page) {
  const tab = document.querySelector("[name=terminal]:checked")?.id;
  for (const old of document.querySelectorAll("[data-answer]")) {
    const fresh = page.getElementById(old.id);
    if (fresh) old.replaceWith(fresh);
  }
  if (tab && document.getElementById(tab)) document.getElementById(tab).checked = true;
  document.title = page.title;
}

// A slider below each number whose range is known. It has no name, so it sends nothing: the field does.
function addSlider(field) {
  const [min, max] = [Number(field.dataset.min), Number(field.dataset.max)];
  const slider = document.createElement("input");
  const step = max > min ? 10 ** Math.floor(Math.log10((max - min) / 20)) : 1; // about a hundred steps
  Object.assign(slider, { type: "range", min, max, step, value: field.value.replace(",", ".") });
  slider.setAttribute("aria-label", `Slider: ${field.labels[0].textContent.trim()}`);
  slider.addEventListener("input", () => { field.value = slider.value; });
  field.addEventListener("input", () => { slider.value = field.value.replace(",", "."); });
  field.parentElement.append(slider);
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
  } catch { // browsers offer the clipboard to https and localhost only: copy a selection instead
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  say("Copied.");
}

if (form) {
  form.querySelectorAll("input[data-min]").forEach(addSlider);
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, WAIT);
  });
  form.addEventListener("submit", (event) => {
    if (event.submitter?.hasAttribute("formaction")) return; // leads to something else: a file to save
    event.preventDefault();
    ask(event.submitter);
  });
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
