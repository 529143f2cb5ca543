// Copy buttons: each names the element whose text, or whose link, it copies.

for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.textContent;
  button.hidden = false; // without JavaScript there is nothing to press
  button.setAttribute("aria-live", "polite"); // so that "Copied" is said
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const copied = await copy(source.href ?? source.textContent, source);
    button.textContent = copied ? "Copied" : "Press Ctrl+C to copy";
    setTimeout(() => { button.textContent = label; }, 3000);
  });
}

// Browsers have a clipboard only for https and this machine. Elsewhere, the text is selected to be copied by hand.
async function copy(text, source) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return false;
  }
}
