// The page that documents the API: has the library draw it inside the app's own page, in the browser's colors.

const place = document.getElementById("swagger-ui");

// The library has a dark look, but leaves it to the page when to use it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// What the library draws. Its own layout has a `main`, which can't be inside ours, and a title.
const PARTS = ["AuthorizeBtnContainer", "errors", "operations", "Models"];
const ourLayout = ({ React }) => ({
  components: {
    OurLayout: ({ getComponent }) => React.createElement(
      "div", { className: "swagger-ui" },
      PARTS.map((name) => React.createElement(getComponent(name, true), { key: name })),
    ),
  },
});

// What screen readers need and the library leaves out: levels of headings without a gap, and names.
const description = (element) => element.closest(".opblock").querySelector(".opblock-summary-description").innerText;
const ATTRIBUTES = [
  ["h3", "aria-level", () => 2],
  ["h4", "aria-level", () => 3],
  ["h5", "aria-level", () => 4],
  [".body-param__text", "aria-label", () => "Request body"],
  [".responses-table", "aria-label", (table) => `Responses: ${description(table)}`],
];
new MutationObserver(() => {
  for (const [selector, name, value] of ATTRIBUTES) {
    for (const element of place.querySelectorAll(`${selector}:not([${name}])`)) {
      element.setAttribute(name, value(element));
    }
  }
}).observe(place, { childList: true, subtree: true });

SwaggerUIBundle({
  ...JSON.parse(place.dataset.config),
  url: place.dataset.url,
  domNode: place,
  plugins: [ourLayout],
  layout: "OurLayout",
  defaultModelsExpandDepth: 0, // the list of schemas is folded
});
